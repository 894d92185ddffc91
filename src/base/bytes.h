#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// Small pure functions on text and bytes. Pure; safe from any thread.
namespace brokkr {

inline char to_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}
std::string to_lower(std::string_view);
bool equals_ignore_case(std::string_view, std::string_view);

std::string_view trim(std::string_view);
// Splits at every `separator`; "" gives one empty part.
std::vector<std::string_view> split(std::string_view text, char separator);

// Decimal digits only, whole text; absent on an empty text, another character or overflow.
std::optional<uint64_t> parse_uint(std::string_view);
std::optional<int64_t> parse_int(std::string_view);
std::optional<double> parse_double(std::string_view);

// Appends `value` in decimal.
void append_uint(std::string& out, uint64_t value);

std::string hex_encode(std::string_view);
// RFC 4648 section 4 with padding; section 5 (url) without.
std::string base64_encode(std::string_view);
std::string base64url_encode(std::string_view);
// Accepts both alphabets, with or without padding.
std::optional<std::string> base64_decode(std::string_view);

// "1.0 KiB", "3.2 MiB": powers of 1024, one digit.
std::string format_bytes(uint64_t);
// "1,234,567".
std::string format_count(uint64_t);

// Small edit distance for "did you mean"; counts insert, delete, replace, swap of neighbours.
size_t edit_distance(std::string_view, std::string_view);

bool is_valid_utf8(std::string_view);

}  // namespace brokkr
