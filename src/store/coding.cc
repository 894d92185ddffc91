#include "store/coding.h"

namespace brokkr::store {

void put_varint(std::string& out, uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

void put_signed(std::string& out, int64_t value) {
  const auto bits = static_cast<uint64_t>(value);
  put_varint(out, bits << 1 ^ (value < 0 ? UINT64_MAX : 0));
}

void put_text(std::string& out, std::string_view text) {
  put_varint(out, text.size());
  out.append(text);
}

uint64_t Decoder::varint() {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  ok_ = false;
  rest_ = {};
  return 0;
}

int64_t Decoder::signed_varint() {
  const uint64_t bits = varint();
  return static_cast<int64_t>(bits >> 1 ^ (bits & 1 ? UINT64_MAX : 0));
}

std::string_view Decoder::text() { return bytes(varint()); }

std::string_view Decoder::bytes(size_t size) {
  if (size > rest_.size()) {
    ok_ = false;
    rest_ = {};
    return {};
  }
  const std::string_view taken = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return taken;
}

uint64_t Decoder::count() {
  const uint64_t count = varint();
  if (count <= rest_.size()) return count;
  ok_ = false;
  rest_ = {};
  return 0;
}

}  // namespace brokkr::store
