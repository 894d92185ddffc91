#include "store/byte_reader.h"

#include "store/numbered_name.h"

namespace brokkr::store {
void append_varint(uint64_t value, std::string& out) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

uint64_t ByteReader::long_varint() {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && at_ < end_; shift += 7) {
    const auto byte = static_cast<uint8_t>(*at_++);
    value |= uint64_t{byte & 0x7fU} << shift;
    if (byte < 0x80) return value;
  }
  return fail();
}

std::string numbered_name(uint64_t number, std::string_view suffix) {
  char digits[16];
  for (unsigned i = 0; i < 16; ++i)
    digits[i] = "0123456789abcdef"[number >> (60 - 4 * i) & 0xf];
  return std::string(digits, sizeof digits).append(suffix);
}

uint64_t parse_numbered_name(std::string_view name, std::string_view suffix) {
  if (name.size() != 16 + suffix.size() || !name.ends_with(suffix)) return 0;
  uint64_t number = 0;
  for (const char c : name.substr(0, 16)) {
    if ((c < '0' || c > '9') && (c < 'a' || c > 'f')) return 0;
    number = number << 4 | static_cast<uint64_t>(c <= '9' ? c - '0' : c - 'a' + 10);
  }
  return number;
}

}  // namespace brokkr::store
