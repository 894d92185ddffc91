#include "jetstream/subject_claims.h"

#include <algorithm>

#include "subject/subject.h"

namespace brokkr::jetstream {
namespace {

// The first two tokens; empty when one of them is a wildcard.
std::string_view start_of(std::string_view subject) {
  size_t end = 0;
  size_t tokens = 0;
  for (const std::string_view token : subject::Tokens(subject)) {
    if (token == "*" || token == ">") return {};
    end += token.size() + (tokens > 0 ? 1 : 0);
    if (++tokens == 2) break;
  }
  return subject.substr(0, end);
}

}  // namespace

void SubjectClaims::add(const void* owner, const std::vector<std::string>& subjects) {
  for (const std::string& subject : subjects) {
    const std::string_view start = start_of(subject);
    Claims& claims = start.empty() ? wild_ : by_start_[std::string(start)];
    claims.push_back({owner, subject});
  }
}

void SubjectClaims::remove(const void* owner, const std::vector<std::string>& subjects) {
  const auto is_theirs = [owner](const Claim& claim) { return claim.owner == owner; };
  for (const std::string& subject : subjects) {
    const std::string_view start = start_of(subject);
    if (start.empty()) {
      std::erase_if(wild_, is_theirs);
      continue;
    }
    const auto found = by_start_.find(start);
    if (found == by_start_.end()) continue;
    std::erase_if(found->second, is_theirs);
    if (found->second.empty()) by_start_.erase(found);
  }
}

bool SubjectClaims::overlaps(const Claims& claims, std::string_view subject, const void* except) {
  return std::any_of(claims.begin(), claims.end(), [&](const Claim& claim) {
    return claim.owner != except && subject::collide(claim.subject, subject);
  });
}

bool SubjectClaims::overlaps(std::string_view subject, const void* except) const {
  if (overlaps(wild_, subject, except)) return true;
  const std::string_view start = start_of(subject);
  if (start.empty()) {
    return std::any_of(by_start_.begin(), by_start_.end(),
                       [&](const auto& entry) { return overlaps(entry.second, subject, except); });
  }
  const auto found = by_start_.find(start);
  return found != by_start_.end() && overlaps(found->second, subject, except);
}

}  // namespace brokkr::jetstream
