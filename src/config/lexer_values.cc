#include <string>
#include <utility>

#include "base/bytes.h"
#include "config/lexer.h"

// The part of the lexer that reads one scalar.
namespace brokkr::config {
namespace {

bool ends_bare_text(char c) {
  switch (c) {
    case '\n': case '\r': case '\0': case ' ': case '\t': case ';': case ',': case ']': case '}':
      return true;
    default: return false;
  }
}

bool is_decimal(char c) { return c >= '0' && c <= '9'; }

bool is_unit_letter(char c) {
  switch (to_lower(c)) {
    case 'k': case 'm': case 'g': case 't': case 'p': case 'e': return true;
    default: return false;
  }
}

int hex_digit(char c) {
  if (is_decimal(c)) return c - '0';
  const char low = to_lower(c);
  return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

bool is_boolean_word(std::string_view word) {
  for (const std::string_view known : {"true", "false", "on", "off", "yes", "no"}) {
    if (equals_ignore_case(word, known)) return true;
  }
  return false;
}

}  // namespace

void Lexer::value() {
  skip_blanks();
  const size_t start = pos_;
  const char c = peek();
  if (c == '[' || c == '{') {
    if (stack_.size() >= kDepthMax) return fail_too_deep();
    ++pos_;
    state_ = c == '[' ? State::ArrayValue : State::MapKeyStart;
    return emit(c == '[' ? Token::Kind::ArrayStart : Token::Kind::MapStart, {}, start);
  }
  if (c == '\'') return quoted_string();
  if (c == '"') return double_quoted_string();
  if (c == '(') return block_string();
  if (c == '-') return negative_number();
  if (is_decimal(c)) return number();
  if (c == '.') return fail("a number starts with a digit, not '.'", start);
  if (c == '\n' || c == '\r') {
    return fail("expected the value of '" + last_key_ + "', found the end of the line", start);
  }
  bare_string(start);
}

void Lexer::quoted_string() {
  const size_t start = pos_;
  size_t end = pos_ + 1;
  while (end < text_.size() && text_[end] != '\'' && text_[end] != '\0') ++end;
  pos_ = end;
  if (peek() == '\0') return fail_at_end("a string has no closing '", start);
  ++pos_;
  finish_value(Token::Kind::String, std::string(text_.substr(start + 1, end - start - 1)), start);
}

void Lexer::double_quoted_string() {
  const size_t start = pos_++;
  parts_.clear();
  std::string fault;
  size_t fault_at = 0;
  for (;;) {
    const char c = peek();
    if (c == '\0') return fail_at_end("a string has no closing \"", start);
    ++pos_;
    if (c == '"') break;
    if (c != '\\') {
      parts_ += c;
      continue;
    }
    const size_t at = pos_ - 1;
    std::string reason = escape();
    if (reason.empty() || !fault.empty()) continue;
    fault = std::move(reason);
    fault_at = at;
  }
  if (!fault.empty()) return fail_value(std::move(fault), fault_at);
  finish_value(Token::Kind::String, std::move(parts_), start);
}

std::string Lexer::escape() {
  const char c = peek();
  static constexpr std::string_view kLetters = "tnr\"\\";
  static constexpr std::string_view kMeanings = "\t\n\r\"\\";
  const size_t known = c == '\0' ? std::string_view::npos : kLetters.find(c);
  if (known != std::string_view::npos) {
    parts_ += kMeanings[known];
    ++pos_;
    return {};
  }
  if (c != 'x') return "unknown escape, known are \\xHH \\t \\n \\r \\\" \\\\";
  ++pos_;
  const int high = hex_digit(peek());
  const int low = hex_digit(peek(1));
  if (high < 0 || low < 0) return "expected two hexadecimal digits after '\\x'";
  parts_ += static_cast<char>(high * 16 + low);
  pos_ += 2;
  return {};
}

// Continues a word at `pos_` that began at `start`; what precedes `pos_` is taken as it is.
void Lexer::bare_string(size_t start) {
  parts_.assign(text_.substr(start, pos_ - start));
  bool has_escape = false;
  while (!ends_bare_text(peek()) && peek() != '\'') {
    const char c = text_[pos_++];
    if (c != '\\') {
      parts_ += c;
      continue;
    }
    has_escape = true;
    const size_t at = pos_ - 1;
    std::string fault = escape();
    if (!fault.empty()) return fail(std::move(fault), at);
  }
  std::string word = std::move(parts_);
  if (peek() == '\'') {
    ++pos_;
  } else if (!has_escape) {
    if (is_boolean_word(word)) return finish_value(Token::Kind::Bool, std::move(word), start);
    if (!word.empty() && word[0] == '$') {
      return finish_value(Token::Kind::Variable, word.substr(1), start);
    }
  }
  finish_value(Token::Kind::String, std::move(word), start);
}

void Lexer::block_string() {
  const size_t start = pos_++;
  for (; !at_end(); ++pos_) {
    const char c = text_[pos_];
    if (c == '\0') break;
    if (c != ')' || text_[pos_ - 1] != '\n' || (peek(1) != '\n' && peek(1) != '\0')) continue;
    // At the very end of the text the parenthesis stays in the string, as in nats-server.
    const size_t end = pos_ + 1 == text_.size() ? pos_ + 1 : pos_;
    ++pos_;
    return finish_value(Token::Kind::String, std::string(text_.substr(start + 1, end - start - 1)),
                        start);
  }
  fail_at_end("a block has no closing ')' alone on its line", start);
}

bool Lexer::ends_number(bool unit) const {
  const char c = peek();
  if (c == ']') return !unit && !stack_.empty() && stack_.back() == State::ArrayValueEnd;
  return ends_bare_text(c);
}

void Lexer::number() {
  const size_t start = pos_;
  while (is_decimal(peek())) ++pos_;
  const char c = peek();
  if (c == '-') {
    ++pos_;
    return date(start);
  }
  if (c == '.') return number_with_point(start);
  if (is_unit_letter(c)) return number_with_unit(start);
  if (!ends_number(false)) {
    ++pos_;  // Whatever ended the digits is text, be it a quote or a backslash.
    return bare_string(start);
  }
  finish_value(Token::Kind::Integer, std::string(text_.substr(start, pos_ - start)), start);
}

void Lexer::negative_number() {
  const size_t start = pos_++;
  if (!is_decimal(peek())) {
    return fail("expected a digit after '-', found " + shown(pos_), pos_);
  }
  while (is_decimal(peek())) ++pos_;
  const char c = peek();
  if (c == '.') return number_with_point(start);
  if (is_unit_letter(c)) return number_with_unit(start);
  finish_value(Token::Kind::Integer, std::string(text_.substr(start, pos_ - start)), start);
}

void Lexer::number_with_unit(size_t start) {
  ++pos_;
  while (to_lower(peek()) == 'b' || to_lower(peek()) == 'i') ++pos_;
  if (!ends_number(true)) return bare_string(start);
  finish_value(Token::Kind::Integer, std::string(text_.substr(start, pos_ - start)), start);
}

void Lexer::number_with_point(size_t start) {
  ++pos_;
  if (!is_decimal(peek())) {
    return fail("expected a digit after the point of a number, found " + shown(pos_), pos_);
  }
  while (is_decimal(peek())) ++pos_;
  Token::Kind kind = Token::Kind::Float;
  if (peek() == '.') {
    // A second point makes it an address with an optional port.
    kind = Token::Kind::String;
    while (is_decimal(peek()) || peek() == '.' || peek() == ':' || peek() == '-') ++pos_;
  }
  finish_value(kind, std::string(text_.substr(start, pos_ - start)), start);
}

void Lexer::date(size_t start) {
  static constexpr std::string_view kShape = "dddd-dd-ddTdd:dd:ddZ";
  for (size_t i = 0; i < kShape.size(); ++i) {
    const char c = start + i < text_.size() ? text_[start + i] : '\0';
    if (kShape[i] == 'd' ? is_decimal(c) : c == kShape[i]) continue;
    return fail("a bare value of digits and '-' must be a date like 2006-01-02T15:04:05Z", start);
  }
  pos_ = start + kShape.size();
  finish_value(Token::Kind::Date, std::string(text_.substr(start, kShape.size())), start);
}

}  // namespace brokkr::config
