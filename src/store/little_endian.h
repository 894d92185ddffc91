#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

// Numbers of the formats on disk: little endian, at any alignment. Pure.
namespace brokkr::store {

static_assert(std::endian::native == std::endian::little, "the formats are copied as they are");

template <typename T>
inline T load_le(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename T>
inline void store_le(char* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

// The next multiple of 8.
inline size_t pad8(size_t bytes) { return (bytes + 7) & ~size_t{7}; }

}  // namespace brokkr::store
