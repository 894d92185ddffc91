#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/bytes.h"

// What the two parsers share. Internal to the room. Pure.
namespace brokkr::protocol::scan {

inline bool is_blank(char c) { return c == ' ' || c == '\t'; }

// The first byte in [from, end) that is not above a space, or `end`.
inline const char* find_low(const char* from, const char* end) {
#if defined(__SSE2__)
  const __m128i space = _mm_set1_epi8(' ');
  while (end - from >= 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    const int low = _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(bytes, space), bytes));
    if (low != 0) return from + __builtin_ctz(static_cast<unsigned>(low));
    from += 16;
  }
#endif
  while (from != end && static_cast<unsigned char>(*from) > ' ') ++from;
  return from;
}

inline constexpr size_t kSizeDigitsMax = 9;

// A size as nats-server reads it: one to nine digits, leading zeros allowed.
inline std::optional<uint32_t> parse_size(std::string_view text) {
  if (text.empty() || text.size() > kSizeDigitsMax) return std::nullopt;
  uint32_t value = 0;
  for (const char c : text) {
    const auto digit = static_cast<unsigned char>(c - '0');
    if (digit > 9) return std::nullopt;
    value = value * 10 + digit;
  }
  return value;
}

// The arguments of a control line. Counts all but keeps five, one more than any verb takes.
class Arguments {
 public:
  explicit Arguments(std::string_view line) {
    const char* at = line.data();
    const char* const end = at + line.size();
    while (true) {
      while (at != end && is_blank(*at)) ++at;
      if (at == end) return;
      const char* const begin = at;
      while (at != end && !is_blank(*at)) ++at;
      if (count_ < kMax) items_[count_] = {begin, static_cast<size_t>(at - begin)};
      if (++count_ > kMax) return;
    }
  }
  size_t count() const { return count_; }
  std::string_view operator[](size_t index) const { return items_[index]; }
  std::string_view last() const { return items_[count_ - 1]; }

 private:
  static constexpr size_t kMax = 5;
  std::array<std::string_view, kMax> items_;
  size_t count_ = 0;
};

enum class VerbMatch : uint8_t { No, Partly, Yes };

// Whether `input`, not empty, begins with `name` (given in lower case) or may still come to.
inline VerbMatch match_verb(std::string_view input, std::string_view name) {
  if (to_lower(input[0]) != name[0]) return VerbMatch::No;
  const size_t size = input.size() < name.size() ? input.size() : name.size();
  for (size_t i = 1; i < size; ++i) {
    if (to_lower(input[i]) != name[i]) return VerbMatch::No;
  }
  return size == name.size() ? VerbMatch::Yes : VerbMatch::Partly;
}

// The control line from `from` on, or as much of it as there is.
struct Line {
  bool is_complete = false;
  std::string_view text;  // without LF and a CR at the end; a CR elsewhere is text
  size_t next = 0;        // index after the LF of a complete line
};
inline Line find_line(std::string_view input, size_t from) {
  const std::string_view rest = input.substr(from);
  const void* lf = rest.empty() ? nullptr : std::memchr(rest.data(), '\n', rest.size());
  const bool is_complete = lf != nullptr;
  const size_t size =
      is_complete ? static_cast<size_t>(static_cast<const char*>(lf) - rest.data()) : rest.size();
  const bool has_cr = size > 0 && rest[size - 1] == '\r';
  return {is_complete, rest.substr(0, has_cr ? size - 1 : size), from + size + 1};
}

}  // namespace brokkr::protocol::scan
