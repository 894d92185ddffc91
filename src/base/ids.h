#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/random.h"

namespace brokkr {

// NATS unique identifiers: 22 base62 characters, a random 12-character prefix and a 10-character
// sequence with random steps, as every NATS client makes them. Loop-confined.
class Nuid {
 public:
  static constexpr size_t kLength = 22;
  explicit Nuid(Random& random);
  // The text is valid until the next call.
  std::string_view next();

 private:
  void renew_prefix();
  Random& random_;
  uint64_t sequence_ = 0;
  uint64_t step_ = 0;
  char text_[kLength];
};

}  // namespace brokkr
