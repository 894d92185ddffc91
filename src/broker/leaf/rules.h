#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/hash.h"
#include "protocol/leaf_info.h"

namespace brokkr::broker {

// Which subjects may pass a leaf link in one direction. Loop-confined.
class LeafRules {
 public:
  // Only what one of `subjects` covers, in addition to what is allowed already.
  void allow(const std::vector<std::string>& subjects);
  void deny(const std::vector<std::string>& subjects);
  // Both lists; null allows everything.
  void add(const protocol::LeafSubjects* subjects);

  // Whether a message may pass. Remembers answers: links carry few subjects, or many of one kind.
  bool allows(std::string_view subject) const;
  // Whether the other side may be told that somebody here wants `pattern`, or the other way round. A
  // pattern that reaches beyond what is allowed passes; its messages are looked at one by one.
  bool allows_interest(std::string_view pattern) const;

 private:
  static constexpr size_t kAnswersMax = 1024;
  bool look_up(std::string_view subject) const;

  bool has_allow_ = false;
  std::vector<std::string> allow_;
  std::vector<std::string> deny_;
  mutable std::unordered_map<std::string, bool, StringHash, std::equal_to<>> answers_;
};

}  // namespace brokkr::broker
