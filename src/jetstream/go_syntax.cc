#include "jetstream/go_syntax.h"

#include <cstdint>

namespace brokkr::jetstream {
namespace {

constexpr std::string_view kCutShort = "unexpected EOF";
constexpr int kDepthMax = 10'000;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// A character as Go quotes it in this message.
std::string quote_char(char c) {
  if (c == '\'') return R"('\'')";
  if (c == '"') return R"('"')";
  if (c == '\\') return R"('\\')";
  const auto byte = static_cast<uint8_t>(c);
  if (c == '\n') return R"('\n')";
  if (c == '\r') return R"('\r')";
  if (c == '\t') return R"('\t')";
  if (c == '\a') return R"('\a')";
  if (c == '\b') return R"('\b')";
  if (c == '\f') return R"('\f')";
  if (c == '\v') return R"('\v')";
  constexpr std::string_view kHex = "0123456789abcdef";
  if (byte < 0x20 || byte == 0x7f) {
    return std::string("'\\x") + kHex[byte >> 4] + kHex[byte & 15] + "'";
  }
  if (byte < 0x80) return std::string("'") + c + "'";
  if (byte < 0xa0 || byte == 0xad) return std::string("'\\u00") + kHex[byte >> 4] + kHex[byte & 15] + "'";
  // The byte as the character with that number.
  return std::string("'") + static_cast<char>(0xc0 | (byte >> 6)) +
         static_cast<char>(0x80 | (byte & 0x3f)) + "'";
}

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  std::string run() {
    for (;;) {
      skip_blanks();
      if (at_end()) return {};
      if (!value(0)) return error_;
    }
  }

 private:
  bool at_end() const { return at_ == text_.size(); }
  char peek() const { return text_[at_]; }
  void skip_blanks() {
    while (!at_end() && (peek() == ' ' || peek() == '\t' || peek() == '\r' || peek() == '\n')) ++at_;
  }
  bool fail(std::string_view where) {
    if (at_end()) {
      error_ = kCutShort;
    } else {
      error_ = "invalid character " + quote_char(peek());
      error_.append(" ").append(where).append(" at offset ").append(std::to_string(at_ + 1));
    }
    return false;
  }

  bool value(int depth) {
    if (at_end()) return fail({});
    const char c = peek();
    if ((c == '{' || c == '[') && depth == kDepthMax) {
      error_ = "exceeded max depth at offset " + std::to_string(at_ + 1);
      return false;
    }
    if (c == '{') return object(depth + 1);
    if (c == '[') return array(depth + 1);
    if (c == '"') return string();
    if (c == '-' || is_digit(c)) return number();
    for (const std::string_view word : {"true", "false", "null"}) {
      if (c == word[0]) return literal(word);
    }
    return fail("looking for beginning of value");
  }

  bool object(int depth) {
    ++at_;
    skip_blanks();
    if (!at_end() && peek() == '}') return ++at_, true;
    for (;;) {
      skip_blanks();
      if (at_end() || peek() != '"') return fail("looking for beginning of object key string");
      if (!string()) return false;
      skip_blanks();
      if (at_end() || peek() != ':') return fail("after object key");
      ++at_;
      skip_blanks();
      if (!value(depth)) return false;
      skip_blanks();
      if (at_end() || (peek() != ',' && peek() != '}')) return fail("after object key:value pair");
      if (text_[at_++] == '}') return true;
    }
  }

  bool array(int depth) {
    ++at_;
    skip_blanks();
    if (!at_end() && peek() == ']') return ++at_, true;
    for (;;) {
      skip_blanks();
      if (!value(depth)) return false;
      skip_blanks();
      if (at_end() || (peek() != ',' && peek() != ']')) return fail("after array element");
      if (text_[at_++] == ']') return true;
    }
  }

  bool string() {
    ++at_;
    for (;;) {
      if (at_end()) return fail({});
      const char c = peek();
      if (c == '"') return ++at_, true;
      if (static_cast<uint8_t>(c) < 0x20) return fail("in string literal");
      ++at_;
      if (c == '\\' && !escape()) return false;
    }
  }

  bool escape() {
    if (at_end()) return fail({});
    const char c = peek();
    if (c != 'u') {
      if (std::string_view("bfnrt\\/\"").find(c) == std::string_view::npos) {
        return fail("in string escape code");
      }
      return ++at_, true;
    }
    ++at_;
    for (int i = 0; i < 4; ++i, ++at_) {
      const bool is_hex = !at_end() && (is_digit(peek()) || (peek() >= 'a' && peek() <= 'f') ||
                                        (peek() >= 'A' && peek() <= 'F'));
      if (!is_hex) return fail("in \\u hexadecimal character escape");
    }
    return true;
  }

  bool number() {
    if (peek() == '-') ++at_;
    if (at_end() || !is_digit(peek())) return fail("in numeric literal");
    if (peek() == '0') {
      ++at_;
    } else {
      digits();
    }
    if (!at_end() && peek() == '.') {
      ++at_;
      if (at_end() || !is_digit(peek())) return fail("after decimal point in numeric literal");
      digits();
    }
    if (!at_end() && (peek() == 'e' || peek() == 'E')) {
      ++at_;
      if (!at_end() && (peek() == '+' || peek() == '-')) ++at_;
      if (at_end() || !is_digit(peek())) return fail("in exponent of numeric literal");
      digits();
    }
    return true;
  }
  void digits() {
    while (!at_end() && is_digit(peek())) ++at_;
  }

  bool literal(std::string_view word) {
    for (size_t i = 0; i < word.size(); ++i, ++at_) {
      if (!at_end() && peek() == word[i]) continue;
      std::string where = "in literal ";
      where.append(word).append(" (expecting '").append(1, word[i]).append("')");
      return fail(where);
    }
    return true;
  }

  const std::string_view text_;
  size_t at_ = 0;
  std::string error_;
};

}  // namespace

std::string find_go_syntax_error(std::string_view text) {
  return Scanner(text).run();
}

std::string find_go_unmarshal_error(std::string_view text) {
  std::string error = find_go_syntax_error(text);
  if (error == kCutShort || error.empty()) return "unexpected end of JSON input";
  return error.substr(0, error.rfind(" at offset "));
}

}  // namespace brokkr::jetstream
