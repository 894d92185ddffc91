#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "auth/account_rules.h"
#include "broker/subscription.h"
#include "subject/transform.h"

// How messages get from one account to another, and how subjects are rewritten on the way in:
// nats-core.md section 3.3. Each loop has the whole of it, so nothing of it crosses loops but the
// messages themselves.
namespace brokkr::broker {

class Account;
class Shard;

// Turns one subject into another: by a transform, or always into the same.
class SubjectRule {
 public:
  SubjectRule(std::string_view source, std::string_view destination);
  // False when source and destination cannot go together; `apply` gives nothing then.
  bool is_usable() const { return transform_.has_value() || !fixed_.empty() || is_same_; }
  // Empty when the subject does not match the source.
  std::string apply(std::string_view subject) const;
  bool is_same() const { return is_same_; }
  const std::string& source() const { return source_; }

 private:
  std::string source_;
  std::optional<subject::Transform> transform_;
  std::string fixed_;
  bool is_same_ = false;
};

// A service of another account as the importer reaches it.
struct ServiceRoute {
  ServiceRoute(Account& from, Account& to, auth::ServiceImportRule what);
  Account& importer;
  Account& exporter;
  const auth::ServiceImportRule rule;
  const SubjectRule subject;
  Subscription subscription;  // in the importer's tree, on `rule.local`
};

// A stream of another account as the importer sees it.
struct StreamRoute {
  StreamRoute(Account& from, auth::StreamImportRule what);
  Account& exporter;
  const auth::StreamImportRule rule;
  const SubjectRule subject;  // from the exporter's to the importer's
  // The exporter's subjects that may become what `pattern` matches; empty: none may.
  std::string exported_for(std::string_view pattern) const;
};

// The mappings and imports of one account on one loop. Loop-confined.
class AccountRoutes {
 public:
  AccountRoutes(Shard& shard, Account& account, std::shared_ptr<const auth::AccountRules> rules);
  ~AccountRoutes();
  AccountRoutes(const AccountRoutes&) = delete;
  AccountRoutes& operator=(const AccountRoutes&) = delete;

  bool has_mappings() const { return !mappings_.empty(); }
  // The patterns of what is mapped.
  std::vector<std::string> mapping_sources() const;
  // Where a message that was published to `subject` goes instead; empty: nowhere else.
  std::string map(std::string_view subject) const;
  // A subscription of the account came or goes: its shadows do too.
  void on_added(Subscription& subscription);
  void on_removed(Subscription& subscription);

 private:
  struct Destination {
    int below;  // of a number from 0 to 99
    SubjectRule subject;
  };
  struct Mapping {
    std::string source;
    std::vector<Destination> destinations;
  };
  using Shadows = std::vector<std::unique_ptr<ShadowSubscription>>;
  void add_mapping(const config::SubjectMapping& mapping);
  void drop(Shadows& shadows);

  Shard& shard_;
  Account& account_;
  std::vector<Mapping> mappings_;
  std::vector<std::unique_ptr<ServiceRoute>> services_;
  std::vector<std::unique_ptr<StreamRoute>> streams_;
  std::unordered_map<const Subscription*, Shadows> shadows_;
};

}  // namespace brokkr::broker
