#include "jetstream/subject_claims.h"

#include <gtest/gtest.h>

#include <map>

#include "base/random.h"
#include "subject/subject.h"

namespace brokkr::jetstream {
namespace {

std::string random_subject(Random& random) {
  constexpr const char* kTokens[] = {"a", "b", "*"};
  std::string subject;
  const uint64_t tokens = 1 + random.below(4);
  for (uint64_t i = 0; i < tokens; ++i) {
    if (i > 0) subject += '.';
    if (i + 1 == tokens && random.below(4) == 0) return subject + ">";
    subject += kTokens[random.below(3)];
  }
  return subject;
}

TEST(SubjectClaims, AgreesWithComparingAll) {
  const uint64_t seed = secure_seed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  SeededRandom random(seed);
  SubjectClaims claims;
  std::map<int, std::vector<std::string>> owners;
  int names[8] = {};
  for (int step = 0; step < 5000; ++step) {
    const auto owner = static_cast<int>(random.below(8));
    if (owners.contains(owner)) {
      claims.remove(&names[owner], owners[owner]);
      owners.erase(owner);
    } else {
      for (uint64_t i = random.below(3); i > 0; --i) owners[owner].push_back(random_subject(random));
      claims.add(&names[owner], owners[owner]);
    }
    const std::string subject = random_subject(random);
    const auto except = static_cast<int>(random.below(8));
    bool expected = false;
    for (const auto& [other, subjects] : owners) {
      for (const std::string& each : subjects) {
        expected = expected || (other != except && subject::collide(each, subject));
      }
    }
    ASSERT_EQ(claims.overlaps(subject, &names[except]), expected) << subject;
  }
}

}  // namespace
}  // namespace brokkr::jetstream
