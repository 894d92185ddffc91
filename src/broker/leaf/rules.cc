#include "broker/leaf/rules.h"

#include <algorithm>

#include "subject/subject.h"

namespace brokkr::broker {
namespace {

// Entries that name a queue or are no subjects concern nobody here.
void add_subjects(std::vector<std::string>& to, const std::vector<std::string>& from) {
  for (const std::string& subject : from) {
    if (subject::is_valid(subject)) to.push_back(subject);
  }
}

}  // namespace

void LeafRules::allow(const std::vector<std::string>& subjects) {
  has_allow_ = true;
  add_subjects(allow_, subjects);
  answers_.clear();
}

void LeafRules::deny(const std::vector<std::string>& subjects) {
  add_subjects(deny_, subjects);
  answers_.clear();
}

void LeafRules::add(const protocol::LeafSubjects* subjects) {
  if (subjects == nullptr) return;
  if (subjects->has_allow) allow(subjects->allow);
  deny(subjects->deny);
}

bool LeafRules::allows(std::string_view subject) const {
  if (!has_allow_ && deny_.empty()) return true;
  const auto known = answers_.find(subject);
  if (known != answers_.end()) return known->second;
  if (answers_.size() >= kAnswersMax) answers_.clear();
  return answers_.emplace(subject, look_up(subject)).first->second;
}

bool LeafRules::look_up(std::string_view subject) const {
  const auto covers = [&](const std::string& pattern) { return subject::matches(pattern, subject); };
  if (has_allow_ && std::none_of(allow_.begin(), allow_.end(), covers)) return false;
  return std::none_of(deny_.begin(), deny_.end(), covers);
}

bool LeafRules::allows_interest(std::string_view pattern) const {
  const auto meets = [&](const std::string& allowed) { return subject::collide(allowed, pattern); };
  const auto covers = [&](const std::string& denied) { return subject::is_subset(pattern, denied); };
  if (has_allow_ && std::none_of(allow_.begin(), allow_.end(), meets)) return false;
  return std::none_of(deny_.begin(), deny_.end(), covers);
}

}  // namespace brokkr::broker
