#pragma once

#include <cstdint>
#include <cstring>
#include <span>

namespace brokkr::runtime {

// A WebAssembly program's linear memory as its host sees it: every access is checked against the
// size, with sums in 64 bits so that none wraps. Little endian. Valid until the program runs again
// (it may grow). Pure.
class WasiMemory {
 public:
  WasiMemory() = default;
  explicit WasiMemory(std::span<uint8_t> bytes) : bytes_(bytes) {}

  // Whether [address, address + size) lies within.
  bool holds(uint64_t address, uint64_t size) const {
    return address <= bytes_.size() && size <= bytes_.size() - address;
  }
  // The bytes of a range that `holds`; the caller has asked.
  std::span<uint8_t> at(uint64_t address, uint64_t size) const {
    return bytes_.subspan(static_cast<size_t>(address), static_cast<size_t>(size));
  }
  template <typename T>
  bool load(uint64_t address, T& out) const {
    if (!holds(address, sizeof(T))) return false;
    std::memcpy(&out, bytes_.data() + address, sizeof(T));
    return true;
  }
  template <typename T>
  bool store(uint64_t address, T value) const {
    if (!holds(address, sizeof(T))) return false;
    std::memcpy(bytes_.data() + address, &value, sizeof(T));
    return true;
  }

 private:
  std::span<uint8_t> bytes_;
};

}  // namespace brokkr::runtime
