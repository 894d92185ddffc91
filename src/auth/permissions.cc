#include "auth/permissions.h"

#include <algorithm>
#include <utility>

#include "subject/subject.h"

namespace brokkr::auth {

void Permissions::SubjectSet::add(const std::string& subject) {
  if (subject::is_literal(subject)) {
    literals.insert(subject);
  } else {
    patterns.push_back(subject);
  }
}

bool Permissions::SubjectSet::has_match(std::string_view subject) const {
  if (literals.contains(subject)) return true;
  return std::any_of(patterns.begin(), patterns.end(), [subject](const std::string& pattern) {
    return subject::matches(pattern, subject);
  });
}

std::vector<Permissions::Entry> Permissions::split_entries(const std::vector<std::string>& texts) {
  std::vector<Entry> entries;
  for (const std::string& text : texts) {
    static constexpr std::string_view kBlanks = " \t\n\r\f";
    const size_t subject_end = std::min(text.find_first_of(kBlanks), text.size());
    const size_t queue_start = std::min(text.find_first_not_of(kBlanks, subject_end), text.size());
    const size_t queue_end = std::min(text.find_first_of(kBlanks, queue_start), text.size());
    entries.push_back({text.substr(0, subject_end),
                       text.substr(queue_start, queue_end - queue_start)});
  }
  return entries;
}

// A queue name may look like a pattern itself, so the same name always counts.
bool Permissions::queue_is_covered(const Entry& entry, std::string_view queue) {
  if (entry.queue == queue) return true;
  return !subject::is_literal(entry.queue) && subject::is_valid(queue) &&
         subject::is_subset(queue, entry.queue);
}

Permissions::Permissions(PermissionRules rules) : rules_(std::move(rules)) {
  for (const std::string& subject : rules_.publish.allow) publish_allow_.add(subject);
  for (const std::string& subject : rules_.publish.deny) publish_deny_.add(subject);
  subscribe_allow_ = split_entries(rules_.subscribe.allow);
  subscribe_deny_ = split_entries(rules_.subscribe.deny);
}

bool Permissions::may_publish(std::string_view subject) const {
  if (rules_.publish.has_allow && !publish_allow_.has_match(subject)) return false;
  return !publish_deny_.has_match(subject);
}

bool Permissions::may_subscribe(std::string_view pattern, std::string_view queue) const {
  if (rules_.subscribe.has_allow) {
    if (!subject::is_valid(pattern)) return false;
    bool is_plainly_allowed = false;
    bool has_queue_rule = false;
    bool is_queue_allowed = false;
    for (const Entry& entry : subscribe_allow_) {
      if (!subject::is_subset(pattern, entry.subject)) continue;
      is_plainly_allowed |= entry.queue.empty();
      has_queue_rule |= !entry.queue.empty();
      is_queue_allowed |= !entry.queue.empty() && queue_is_covered(entry, queue);
    }
    // For a queue subscription, rules that name queues decide alone.
    const bool decides_by_queue = !queue.empty() && has_queue_rule;
    if (!(decides_by_queue ? is_queue_allowed : is_plainly_allowed)) return false;
  }
  return std::none_of(subscribe_deny_.begin(), subscribe_deny_.end(), [&](const Entry& entry) {
    if (!subject::matches(entry.subject, pattern)) return false;
    return entry.queue.empty() || (!queue.empty() && queue_is_covered(entry, queue));
  });
}

bool Permissions::needs_delivery_filter(std::string_view pattern, std::string_view queue) const {
  // A literal that a deny covers has been refused already.
  if (subject::is_literal(pattern) || !subject::is_valid(pattern)) return false;
  return std::any_of(subscribe_deny_.begin(), subscribe_deny_.end(), [&](const Entry& entry) {
    if (!subject::collide(entry.subject, pattern)) return false;
    return entry.queue.empty() || (!queue.empty() && queue_is_covered(entry, queue));
  });
}

bool Permissions::may_receive(std::string_view subject, std::string_view queue) const {
  return std::none_of(subscribe_deny_.begin(), subscribe_deny_.end(), [&](const Entry& entry) {
    if (!subject::matches(entry.subject, subject)) return false;
    return entry.queue.empty() || (!queue.empty() && queue_is_covered(entry, queue));
  });
}

ReplyGrants::ReplyGrants(const Permissions& permissions)
    : max_(permissions.rules().responses_max), ttl_(permissions.rules().responses_ttl) {}

bool ReplyGrants::is_expired(const Grant& grant, MonotonicTime now) const {
  return ttl_ > Duration::zero() && now - grant.granted > ttl_;
}

void ReplyGrants::grant(std::string_view reply, MonotonicTime now) {
  if (const auto known = grants_.find(reply); known != grants_.end()) {
    known->second = {now, max_};
    return;
  }
  if (grants_.size() >= prune_at_) prune(now);
  grants_.emplace(std::string(reply), Grant{now, max_});
}

bool ReplyGrants::use(std::string_view subject, MonotonicTime now) {
  const auto found = grants_.find(subject);
  if (found == grants_.end()) return false;
  if (is_expired(found->second, now)) {
    grants_.erase(found);
    return false;
  }
  if (max_ > 0 && --found->second.left <= 0) grants_.erase(found);
  return true;
}

void ReplyGrants::prune(MonotonicTime now) {
  std::erase_if(grants_, [&](const auto& entry) { return is_expired(entry.second, now); });
  if (grants_.size() >= kGrantsMax) {
    std::vector<MonotonicTime> times;
    times.reserve(grants_.size());
    for (const auto& entry : grants_) times.push_back(entry.second.granted);
    const auto quarter = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 4);
    std::nth_element(times.begin(), quarter, times.end());
    // Many may share one time: count, so that no more than a quarter goes.
    size_t to_drop = times.size() / 4;
    std::erase_if(grants_, [&](const auto& entry) {
      if (to_drop == 0 || entry.second.granted > *quarter) return false;
      --to_drop;
      return true;
    });
  }
  // The cost of a walk over all is spread over as many grants as there are.
  prune_at_ = std::clamp(grants_.size() * 2, kPruneMin, kGrantsMax);
}

}  // namespace brokkr::auth
