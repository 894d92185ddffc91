#pragma once

#include <cstdint>
#include <span>

namespace brokkr {

// A source of random numbers. Passed in, never fetched. Loop-confined. Not for keys: what must be
// unguessable comes from `fill_secure`.
class Random {
 public:
  virtual ~Random() = default;
  virtual uint64_t next() = 0;
  // Uniform in [0, bound); `bound` > 0.
  uint64_t below(uint64_t bound) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
  }
};

// xoshiro256**; the same seed gives the same numbers on every machine.
class SeededRandom final : public Random {
 public:
  explicit SeededRandom(uint64_t seed);
  uint64_t next() override;

 private:
  uint64_t state_[4];
};

// Bytes from the kernel's generator, fit for keys and nonces. Thread-safe.
void fill_secure(std::span<uint8_t> out);

// A 64-bit seed from the kernel, for a SeededRandom that need not be repeatable.
uint64_t secure_seed();

}  // namespace brokkr
