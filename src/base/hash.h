#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace brokkr {

// XXH3, 64 bits. Not stable across versions of ours: for tables in memory, never for a format.
uint64_t hash_bytes(std::string_view, uint64_t seed = 0);

// For short keys on the hot path: multiply-fold over 8-byte words, inlined.
inline uint64_t hash_short(const char* data, size_t size, uint64_t seed = 0) {
  const auto fold = [](uint64_t a, uint64_t b) {
    const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  };
  const auto load = [](const char* from, auto word) {
    __builtin_memcpy(&word, from, sizeof word);
    return static_cast<uint64_t>(word);
  };
  uint64_t h = seed ^ (size * 0x9e3779b97f4a7c15ULL);
  // The last word overlaps the one before it: a copy of unknown length would cost a call.
  uint64_t last = 0;
  if (size >= 8) {
    const char* const end = data + size;
    for (; end - data > 8; data += 8) h = fold(h ^ load(data, uint64_t{}), 0xa0761d6478bd642fULL);
    last = load(end - 8, uint64_t{});
  } else if (size >= 4) {
    last = load(data, uint32_t{}) | load(data + size - 4, uint32_t{}) << 32;
  } else if (size > 0) {
    last = load(data, uint8_t{}) | load(data + size / 2, uint8_t{}) << 8 |
           load(data + size - 1, uint8_t{}) << 16;
  }
  h = fold(h ^ last, 0xe7037ed1a0b428dbULL);
  return h ^ (h >> 29);
}

// Whether two keys of `size` bytes are the same; inlined for the lengths hash_short is meant for.
inline bool equal_short(const char* a, const char* b, size_t size) {
  const auto differ = [&](size_t at, auto word) {
    auto other = word;
    __builtin_memcpy(&word, a + at, sizeof word);
    __builtin_memcpy(&other, b + at, sizeof other);
    return word != other;
  };
  if (size < 4) {
    for (size_t i = 0; i < size; ++i) {
      if (a[i] != b[i]) return false;
    }
    return true;
  }
  if (size < 8) return !differ(0, uint32_t{}) && !differ(size - 4, uint32_t{});
  for (size_t at = 0; at + 8 < size; at += 8) {
    if (differ(at, uint64_t{})) return false;
  }
  return !differ(size - 8, uint64_t{});
}

// For containers keyed by text that are looked up by string_view.
struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return hash_bytes(text); }
};

}  // namespace brokkr
