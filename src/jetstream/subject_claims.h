#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/hash.h"

namespace brokkr::jetstream {

// The subjects an account's streams capture, for telling quickly whether another's would overlap.
// Subjects are kept by their first two tokens; those with a wildcard there are compared with all.
// Loop-confined.
class SubjectClaims {
 public:
  // `owner` tells claims apart; no two may have one subject in common.
  void add(const void* owner, const std::vector<std::string>& subjects);
  void remove(const void* owner, const std::vector<std::string>& subjects);
  // Whether some subject is matched by `subject` and by a claim of another than `except`.
  bool overlaps(std::string_view subject, const void* except) const;

 private:
  struct Claim {
    const void* owner = nullptr;
    std::string subject;
  };
  using Claims = std::vector<Claim>;
  static bool overlaps(const Claims& claims, std::string_view subject, const void* except);

  std::unordered_map<std::string, Claims, StringHash, std::equal_to<>> by_start_;
  Claims wild_;
};

}  // namespace brokkr::jetstream
