#include "base/ids.h"

#include <cstring>

namespace brokkr {
namespace {

constexpr char kBase62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr size_t kPrefixLength = 12;
constexpr uint64_t kSequenceEnd = 839299365868340224ULL;  // 62^10
constexpr uint64_t kStepMin = 33;
constexpr uint64_t kStepMax = 333;

}  // namespace

Nuid::Nuid(Random& random) : random_(random) {
  renew_prefix();
}

void Nuid::renew_prefix() {
  uint8_t bytes[kPrefixLength];
  fill_secure(bytes);
  for (size_t i = 0; i < kPrefixLength; ++i) text_[i] = kBase62[bytes[i] % 62];
  sequence_ = random_.below(kSequenceEnd);
  step_ = kStepMin + random_.below(kStepMax - kStepMin);
}

std::string_view Nuid::next() {
  sequence_ += step_;
  if (sequence_ >= kSequenceEnd) renew_prefix();
  uint64_t rest = sequence_;
  for (size_t i = kLength; i > kPrefixLength; rest /= 62) text_[--i] = kBase62[rest % 62];
  return {text_, kLength};
}

}  // namespace brokkr
