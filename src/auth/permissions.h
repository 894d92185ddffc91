#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/hash.h"

namespace brokkr::auth {

// What a user may do, as written: nats-core.md section 3.2.
struct PermissionRules {
  struct Side {
    bool has_allow = false;  // an allow list was given, even an empty one
    std::vector<std::string> allow;
    std::vector<std::string> deny;
  };
  Side publish;
  Side subscribe;  // entries may be "subject queue"; both may hold wildcards
  bool allow_responses = false;
  int32_t responses_max = 1;                         // -1 means no limit
  Duration responses_ttl = std::chrono::minutes(2);  // zero or less means no limit
};

// The rules compiled for asking. Immutable; shared by all connections of the user.
class Permissions {
 public:
  explicit Permissions(PermissionRules rules);

  // Whether the subject may be published to, replies granted by ReplyGrants aside.
  bool may_publish(std::string_view subject) const;
  // Whether the subscription may be made. A pattern wider than a deny is allowed; what the deny
  // covers is then filtered at delivery.
  bool may_subscribe(std::string_view pattern, std::string_view queue) const;
  // Whether messages of a subscription on `pattern` have to be checked one by one.
  bool needs_delivery_filter(std::string_view pattern, std::string_view queue) const;
  bool may_receive(std::string_view subject, std::string_view queue) const;

  bool allows_responses() const { return rules_.allow_responses; }
  const PermissionRules& rules() const { return rules_; }

 private:
  PermissionRules rules_;
};

// The replies one connection may publish because requests reached it. Bounded: when full, what has
// expired goes first, then the oldest. Loop-confined.
class ReplyGrants {
 public:
  static constexpr size_t kGrantsMax = 65536;
  explicit ReplyGrants(const Permissions& permissions);
  void grant(std::string_view reply, MonotonicTime now);
  // Whether one more message may go to `subject`; uses up one of its count.
  bool use(std::string_view subject, MonotonicTime now);
  size_t size() const { return grants_.size(); }

 private:
  struct Grant {
    MonotonicTime expires;
    int32_t left = 0;
  };
  void prune(MonotonicTime now);
  int32_t max_;
  Duration ttl_;
  std::unordered_map<std::string, Grant, StringHash, std::equal_to<>> grants_;
};

}  // namespace brokkr::auth
