#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "store/little_endian.h"

// Integers written to and taken from bytes, little-endian. Pure.
namespace brokkr::store {

template <typename T>
void append_int(T value, std::string& out) {
  char bytes[sizeof value];
  store_le(bytes, value);
  out.append(bytes, sizeof value);
}
// Seven bits a byte, lowest first, the high bit set on all but the last.
void append_varint(uint64_t value, std::string& out);

// Takes integers and texts off the front of some bytes. After the first that is not there
// everything reads as zero and `ok` is false.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : at_(bytes.data()), end_(at_ + bytes.size()) {}
  bool ok() const { return ok_; }
  size_t left() const { return static_cast<size_t>(end_ - at_); }
  template <typename T>
  T take() {
    if (left() < sizeof(T)) return static_cast<T>(fail());
    const T value = load_le<T>(at_);
    at_ += sizeof(T);
    return value;
  }
  uint64_t varint() {
    if (at_ < end_ && static_cast<uint8_t>(*at_) < 0x80) return static_cast<uint8_t>(*at_++);
    return long_varint();
  }
  std::string_view text(uint64_t size) {
    if (left() < size) {
      fail();
      return {};
    }
    const std::string_view out(at_, size);
    at_ += size;
    return out;
  }

 private:
  uint64_t long_varint();
  uint64_t fail() {
    ok_ = false;
    at_ = end_;
    return 0;
  }
  const char* at_;
  const char* end_;
  bool ok_ = true;
};

}  // namespace brokkr::store
