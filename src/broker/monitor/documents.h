#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "broker/connection.h"
#include "broker/jetstream_report.h"
#include "broker/leaf_report.h"
#include "broker/monitor/query.h"
#include "broker/monitor/subsz.h"

// The smaller monitoring documents: accounts, health, and those of features this server does not
// have, in the shape nats-server gives them when they are off. Pure.
namespace brokkr::auth {
struct AccountRules;
}

namespace brokkr::broker {

struct DocumentHead {
  std::string server_id;
  std::string server_name;
  WallTime now;
  WallTime start;
  std::string system_account;
  bool has_jetstream = false;
  std::string jetstream_domain;
};

// What one account is and has done.
struct AccountReport {
  std::string name;
  uint64_t connections = 0;
  uint64_t leafnodes = 0;
  bool has_jetstream = false;
  uint64_t slow_consumers = 0;
  Traffic traffic;
  Traffic leaf_traffic;
  InterestSummary interest;
};

std::string render_accountz(const DocumentHead& head, const std::vector<AccountReport>& accounts);
// `rules` may be null.
std::string render_account_detail(const DocumentHead& head, const AccountReport& account,
                                  const auth::AccountRules* rules);
// With `unused` also the accounts without a connection.
// The members of one entry of accstatz, into the object that is open.
void write_account_statistics(json::Writer& out, const AccountReport& account);
std::string render_accstatz(const DocumentHead& head, const std::vector<AccountReport>& accounts,
                            bool unused);
std::string render_routez(const DocumentHead& head);
std::string render_gatewayz(const DocumentHead& head);
struct LeafzOptions {
  bool subscriptions = false;
  std::string account;  // empty: all
};
std::string render_leafz(const DocumentHead& head, const std::vector<LeafReport>& leafs,
                         const LeafzOptions& options);
std::string render_jsz(const DocumentHead& head);

struct HealthzOptions {
  bool details = false;
  bool skips_assets = false;  // asks for the server only
  std::string account;
  std::string stream;
  std::string consumer;
};
HealthzOptions parse_healthz_options(QueryReader& query);
struct Healthz {
  int status = 200;
  std::string body;
};
// `is_ready`: clients can connect.
Healthz render_healthz(const HealthzOptions& options, bool is_ready);
// When JetStream has something to tell.
Healthz render_healthz(const HealthzOptions& options, const JetStreamProblem& problem);

// The page at the root. `prefix` is where the endpoints are below it: "" or "mon/".
std::string render_index(std::string_view version, std::string_view prefix);

}  // namespace brokkr::broker
