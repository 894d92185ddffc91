#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "broker/system/system_services.h"

// What the parts of SystemServices share.
namespace brokkr::broker {

// One kind of request to the system account.
struct SystemServices::Service {
  enum class Kind : uint8_t {
    Idz, Statsz, Varz, Subsz, Connz, Routez, Gatewayz, Leafz, Accountz, Jsz, Healthz, Profilez,
    Expvarz, Ipqueuesz, Raftz,
    AccountSubsz, AccountConnz, AccountLeafz, AccountJsz, AccountInfo, AccountStatz, AccountConns,
    AllAccountStatz, CountRequest, CountSubscribers, Reload, Kick, LameDuck,
  };
  // What stands before the name: every server or this one, this one only, an account, nothing.
  enum class Scope : uint8_t { Servers, ThisServer, Account, Whole };
  const char* name;
  Kind kind;
  Scope scope;
};

// A request with all it brought, on its way to the thread that answers it.
struct SystemServices::Request {
  Service::Kind kind = Service::Kind::Idz;
  std::string account;        // the one it asks about
  std::string reply_account;  // where `reply` is
  std::string reply;
  std::string headers;
  std::string body;
};

}  // namespace brokkr::broker
