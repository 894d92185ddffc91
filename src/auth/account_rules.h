#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/hash.h"
#include "config/options_accounts.h"

namespace brokkr::config {
struct Options;
}

namespace brokkr::auth {

// An activation token that was verified: `exporter` lets the account that holds it import `subject`.
struct Activation {
  std::string exporter;
  std::string subject;
  bool is_service = false;
  int64_t issued_at = 0;  // seconds; against the exporter's revocations
};

// An account as its configuration or its JWT describes it: nats-core.md section 3.3.
struct AccountDescription {
  config::Account settings;  // in operator mode the name is the public key
  std::string display_name;  // of the JWT; empty in a configuration
  // Of JWTs: what must be imported with an activation token, which tokens this account holds, and
  // which accounts' tokens issued before a time it has revoked. "*" stands for every account.
  struct PrivateExport {
    std::string subject;
    bool is_service = false;
    std::map<std::string, int64_t> revoked;  // account -> seconds
  };
  std::vector<PrivateExport> private_exports;
  std::vector<Activation> activations;
};

// The accounts of a configuration; the global one is there when it has mappings.
std::vector<AccountDescription> describe_accounts(const config::Options& options);

// A stream import that is allowed: what `exporter` publishes to `subject` appears under `local`.
struct StreamImportRule {
  std::string exporter;
  std::string subject;
  std::string local;        // as a pattern, for subscriptions
  std::string destination;  // the same for a transform, with "$1" for each wildcard
  bool allow_trace = false;
  bool operator==(const StreamImportRule&) const = default;
};

// A service import that is allowed: what is published to `local` goes to `exporter`.
struct ServiceImportRule {
  std::string exporter;
  std::string local;        // as a pattern
  std::string destination;  // where it goes, for a transform with `local` as its source
  std::string exported;     // the export that allows it
  bool share = false;       // the exporter is told who asks
  bool allow_trace = false;
  config::ResponseType response_type = config::ResponseType::Singleton;
  Duration response_threshold = std::chrono::minutes(2);
  std::optional<config::ServiceLatency> latency;
  bool operator==(const ServiceImportRule&) const = default;
};

// What an account has on all loops together. Counted only; thread-safe.
struct AccountTotals {
  std::atomic<int64_t> connections{0};
  std::atomic<int64_t> leafnodes{0};
  std::atomic<int64_t> subscriptions{0};  // while the account has a limit for them
};

// One account with its imports resolved. Immutable but for `totals`, which outlives the rules.
struct AccountRules {
  std::string name;
  std::string display_name;
  config::Account settings;
  std::vector<StreamImportRule> stream_imports;
  std::vector<ServiceImportRule> service_imports;
  bool exports_services = false;
  std::shared_ptr<AccountTotals> totals;
  bool operator==(const AccountRules&) const = default;
  bool has_routes() const {
    return !stream_imports.empty() || !service_imports.empty() || !settings.mappings.empty();
  }
};

// All accounts that are known, their imports checked against the exports. Immutable; shared by the
// loops and swapped whole.
class AccountTable {
 public:
  // Imports that nobody exports to the account, or that lead back to where they started, are left
  // out and named in `problems`. Of two accounts of one name the last counts.
  // What accounts of `previous`, which may be null, have counted goes on.
  static std::shared_ptr<const AccountTable> make(const std::vector<AccountDescription>& accounts,
                                                  const AccountTable* previous = nullptr);

  // Null for an account without rules.
  std::shared_ptr<const AccountRules> find(std::string_view name) const;
  const std::vector<std::string>& problems() const { return problems_; }
  size_t size() const { return accounts_.size(); }
  template <typename Visitor>
  void for_each(Visitor visit) const {
    for (const auto& [name, rules] : accounts_) visit(*rules);
  }

 private:
  std::unordered_map<std::string, std::shared_ptr<const AccountRules>, StringHash, std::equal_to<>>
      accounts_;
  std::vector<std::string> problems_;
};

// "a.$1.b", "a.{{wildcard(1)}}.b" -> "a.*.b": the pattern of the subjects a destination makes.
std::string pattern_of(std::string_view destination);
// "a.*.b.*" -> "a.$1.b.$2"; what holds references already stays as it is.
std::string number_wildcards(std::string_view pattern);

}  // namespace brokkr::auth
