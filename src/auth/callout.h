#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

// Auth callout: a service of the operator's own decides who may connect. nats-core.md section 3.6.
namespace brokkr::auth {

inline constexpr std::string_view kCalloutSubject = "$SYS.REQ.USER.AUTH";
inline constexpr std::string_view kCalloutKeyHeader = "Nats-Server-Xkey";
inline constexpr std::string_view kCalloutAudience = "nats-authorization-request";

// Who is asked, and whose answers count. Immutable.
struct CalloutRule {
  bool is_operator_mode = false;
  std::string account;  // the request is published there
  std::string issuer;   // configuration: signs the answers; operator mode: the account
  std::string xkey;     // the service's curve key; empty: nothing is encrypted
  std::vector<std::string> allowed_accounts;  // operator mode: beside `account`; "*" for any
  std::vector<std::string> delegated_accounts;  // configuration: whose users are asked for; empty: all
  std::vector<std::string> auth_users;  // names and nkeys of those who are not asked for
};

// One question about one connection.
struct CalloutQuestion {
  std::shared_ptr<const CalloutRule> rule;
  std::string user_nkey;   // made for this question: the answer must be about it
  std::string server_id;
  std::string connection_type;
  std::string client_host;
  bool is_proxy_required = false;
};

}  // namespace brokkr::auth
