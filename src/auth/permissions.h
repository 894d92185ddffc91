#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
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
  int64_t responses_max = 1;                         // negative means no limit
  Duration responses_ttl = std::chrono::minutes(2);  // negative means no limit
};

// The rules compiled for asking. Immutable; shared by all connections of the user. Answers cost a
// hash look-up for rules without wildcards and a walk over those with wildcards: callers on the hot
// path remember the answers.
class Permissions {
 public:
  explicit Permissions(PermissionRules rules);

  // Whether the subject may be published to, replies granted by ReplyGrants aside.
  bool may_publish(std::string_view subject) const;
  // Whether the subscription may be made. A pattern wider than a deny is allowed; what the deny
  // covers is then filtered at delivery. A pattern wider than every allow is not: nats-server
  // lets "a.>" pass under an allow of "a.*" and delivers what was never allowed; we do not.
  bool may_subscribe(std::string_view pattern, std::string_view queue) const;
  // Whether messages of an allowed subscription have to be checked with may_receive one by one.
  bool needs_delivery_filter(std::string_view pattern, std::string_view queue) const;
  bool may_receive(std::string_view subject, std::string_view queue) const;

  bool allows_responses() const { return rules_.allow_responses; }
  const PermissionRules& rules() const { return rules_; }

 private:
  // A subject with the queue it is limited to; empty for none.
  struct Entry {
    std::string subject;
    std::string queue;
  };
  // The plain subjects of a list: literals by hash, patterns one after the other.
  struct SubjectSet {
    std::unordered_set<std::string, StringHash, std::equal_to<>> literals;
    std::vector<std::string> patterns;
    void add(const std::string& subject);
    bool has_match(std::string_view subject) const;
  };
  static std::vector<Entry> split_entries(const std::vector<std::string>& texts);
  static bool queue_is_covered(const Entry& entry, std::string_view queue);

  PermissionRules rules_;
  SubjectSet publish_allow_;
  SubjectSet publish_deny_;
  std::vector<Entry> subscribe_allow_;
  std::vector<Entry> subscribe_deny_;
};

// The replies one connection may publish because requests reached it. The broker calls grant() when
// it delivers a message with a reply the user may not publish to anyway. Bounded: when full, what
// has expired goes first, then the oldest quarter. Loop-confined.
class ReplyGrants {
 public:
  static constexpr size_t kGrantsMax = 65536;
  static constexpr size_t kPruneMin = 4096;
  explicit ReplyGrants(const Permissions& permissions);
  // Starts the count and the time of `reply` anew when it is granted already.
  void grant(std::string_view reply, MonotonicTime now);
  // Whether one more message may go to `subject`; uses up one of its count.
  bool use(std::string_view subject, MonotonicTime now);
  size_t size() const { return grants_.size(); }

 private:
  struct Grant {
    MonotonicTime granted;
    int64_t left = 0;
  };
  bool is_expired(const Grant& grant, MonotonicTime now) const;
  void prune(MonotonicTime now);
  int64_t max_;
  Duration ttl_;
  size_t prune_at_ = kPruneMin;
  std::unordered_map<std::string, Grant, StringHash, std::equal_to<>> grants_;
};

}  // namespace brokkr::auth
