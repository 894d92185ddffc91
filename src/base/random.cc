#include "base/random.h"

#include <sys/random.h>

#include "base/check.h"

namespace brokkr {
namespace {

uint64_t rotate(uint64_t x, int k) {
  return (x << k) | (x >> (64 - k));
}

// splitmix64, the generator the xoshiro authors name for seeding.
uint64_t split_mix(uint64_t& x) {
  x += 0x9e3779b97f4a7c15ULL;
  uint64_t z = x;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

}  // namespace

SeededRandom::SeededRandom(uint64_t seed) {
  for (uint64_t& word : state_) word = split_mix(seed);
}

uint64_t SeededRandom::next() {
  const uint64_t result = rotate(state_[1] * 5, 7) * 9;
  const uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = rotate(state_[3], 45);
  return result;
}

void fill_secure(std::span<uint8_t> out) {
  while (!out.empty()) {
    const ssize_t n = getrandom(out.data(), out.size(), 0);
    if (n < 0) continue;  // interrupted by a signal before the pool was ready
    out = out.subspan(static_cast<size_t>(n));
  }
}

uint64_t secure_seed() {
  uint64_t seed = 0;
  fill_secure({reinterpret_cast<uint8_t*>(&seed), sizeof seed});
  return seed;
}

}  // namespace brokkr
