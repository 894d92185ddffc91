#include "config/lexer.h"

#include <utility>

#include "base/bytes.h"

// A NUL byte ends values like the end of the text does in nats-server; where it would end the whole
// file silently it is an error here.
namespace brokkr::config {
namespace {

bool is_blank(char c) {
  return c == ' ' || c == '\t';
}
bool is_line_end(char c) {
  return c == '\n' || c == '\r';
}
bool is_key_separator(char c) {
  return c == '=' || c == ':';
}
bool is_ascii_digit(char c) {
  return c >= '0' && c <= '9';
}

// The length of the Unicode white space at `offset`, 0 when there is none.
size_t space_length(std::string_view text, size_t offset) {
  if (offset >= text.size()) return 0;
  const char c = text[offset];
  if (c == ' ' || (c >= '\t' && c <= '\r')) return 1;
  if (static_cast<uint8_t>(c) < 0x80) return 0;
  static constexpr std::string_view kTwo[] = {"\xc2\x85", "\xc2\xa0"};
  for (const std::string_view space : kTwo) {
    if (text.substr(offset, 2) == space) return 2;
  }
  const std::string_view three = text.substr(offset, 3);
  if (three.size() < 3) return 0;
  static constexpr std::string_view kThree[] = {"\xe1\x9a\x80", "\xe2\x80\xa8", "\xe2\x80\xa9",
                                                "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};
  for (const std::string_view space : kThree) {
    if (three == space) return 3;
  }
  // U+2000 to U+200A.
  const auto last = static_cast<uint8_t>(three[2]);
  return three.substr(0, 2) == "\xe2\x80" && last >= 0x80 && last <= 0x8a ? 3 : 0;
}

}  // namespace

Token Lexer::next() {
  ready_ = false;
  while (!ready_)
    step();
  return std::move(token_);
}

void Lexer::step() {
  switch (state_) {
    case State::Top:
      return top();
    case State::TopValueEnd:
      return top_value_end();
    case State::BlockStart:
      return block_start();
    case State::BlockValueEnd:
      return block_value_end();
    case State::BlockEnd:
      return block_end();
    case State::Key:
      return key_start();
    case State::KeyEnd:
      return key_end();
    case State::Value:
      return value();
    case State::ArrayValue:
      return array_value();
    case State::ArrayValueEnd:
      return array_value_end();
    case State::MapKeyStart:
      return map_key_start();
    case State::MapKeyEnd:
      return map_key_end();
    case State::MapValue:
      return map_value();
    case State::MapValueEnd:
      return map_value_end();
    case State::Done:
      return emit(Token::Kind::End, {}, text_.size());
  }
}

// ---- between values ----

void Lexer::top() {
  skip_spaces();
  if (skip_comment()) return;
  const char c = peek();
  if (c == '{') {
    ++pos_;
    push(State::Top);
    state_ = State::BlockStart;
  } else if (c == '/') {
    fail("unexpected '/', a comment starts with '#' or '//'", pos_);
  } else if (at_end()) {
    state_ = State::Done;
  } else if (c == '\0') {
    fail("unexpected NUL byte", pos_);
  } else {
    push(State::TopValueEnd);
    state_ = State::Key;
  }
}

void Lexer::top_value_end() {
  skip_blanks();
  if (skip_comment()) {
    state_ = State::Top;
    return;
  }
  const char c = peek();
  if (c == '/') {
    ++pos_;
  } else if (is_line_end(c) || c == '\0' || c == ';' || c == ',' || c == '}') {
    if (!at_end()) ++pos_;
    state_ = State::Top;
  } else {
    fail("unexpected " + shown(pos_) + " after the value of '" + last_key_ +
             "', a value ends with its line, ',' or ';' (quote text that holds blanks or starts "
             "with a number)",
         pos_);
  }
}

void Lexer::block_start() {
  skip_spaces();
  if (skip_comment()) return;
  const char c = peek();
  if (c == '{') {
    if (stack_.size() >= kDepthMax) return fail_too_deep();
    ++pos_;
    push(State::BlockEnd);
  } else if (c == '}') {
    ++pos_;
    pop();
  } else if (c == '/') {
    fail("unexpected '/', a comment starts with '#' or '//'", pos_);
  } else if (at_end()) {
    state_ = State::Done;
  } else if (c == '\0') {
    fail("unexpected NUL byte", pos_);
  } else {
    push(State::BlockValueEnd);
    state_ = State::Key;
  }
}

void Lexer::block_value_end() {
  skip_blanks();
  if (skip_comment()) return;
  const char c = peek();
  if (c == '/') {
    ++pos_;
  } else if (is_line_end(c) || c == ';' || c == ',') {
    ++pos_;
    state_ = State::BlockStart;
  } else if (c == '}') {
    state_ = State::BlockEnd;
  } else if (at_end()) {
    fail_at_end("the text ends before the closing '}'", pos_);
  } else {
    fail("unexpected " + shown(pos_) + " after the value of '" + last_key_ +
             "', a value ends with its line, ',' or '}'",
         pos_);
  }
}

void Lexer::block_end() {
  while (is_blank(peek()) || is_line_end(peek()))
    ++pos_;
  if (skip_comment()) {
    state_ = State::BlockStart;
    return;
  }
  const char c = peek();
  if (c == '/') {
    ++pos_;
  } else if (c == ';' || c == ',') {
    ++pos_;
    state_ = State::BlockStart;
  } else if (c == '}') {
    ++pos_;
    pop();
  } else if (at_end()) {
    fail_at_end("the text ends before the closing '}'", pos_);
  } else {
    fail("expected '}', found " + shown(pos_), pos_);
  }
}

void Lexer::array_value() {
  skip_spaces();
  if (skip_comment()) return;
  const char c = peek();
  if (c == ',' || c == '/') {
    fail("unexpected " + shown(pos_) + ", expected a value of the array", pos_);
  } else if (c == ']') {
    ++pos_;
    finish_value(Token::Kind::ArrayEnd, {}, pos_ - 1);
  } else if (at_end()) {
    fail_at_end("the array of '" + last_key_ + "' has no closing ']'", pos_);
  } else {
    push(State::ArrayValueEnd);
    state_ = State::Value;
  }
}

void Lexer::array_value_end() {
  skip_blanks();
  if (skip_comment()) return;
  const char c = peek();
  // A lone slash separates, as it does in nats-server.
  if (c == ',' || c == '/' || is_line_end(c)) {
    ++pos_;
    state_ = State::ArrayValue;
  } else if (c == ']') {
    ++pos_;
    finish_value(Token::Kind::ArrayEnd, {}, pos_ - 1);
  } else if (at_end()) {
    fail_at_end("the array of '" + last_key_ + "' has no closing ']'", pos_);
  } else {
    fail("unexpected " + shown(pos_) + " in an array, expected ',' or ']'", pos_);
  }
}

void Lexer::map_key_start() {
  skip_spaces();
  if (skip_comment()) return;
  const char c = peek();
  if (is_key_separator(c)) return fail("unexpected " + shown(pos_) + ", expected a key", pos_);
  if (c == ']') return fail("unexpected ']' inside a map", pos_);
  if (c == '}') {
    ++pos_;
    return finish_value(Token::Kind::MapEnd, {}, pos_ - 1);
  }
  if (c == '\'' || c == '"') return quoted_key();
  if (at_end()) return fail_at_end("a map has no closing '}'", pos_);
  if (c == '\0') return fail("unexpected NUL byte", pos_);
  if (c == '/') ++pos_;  // A lone slash before a key is ignored.
  bare_key(true);
}

void Lexer::map_key_end() {
  skip_spaces();
  if (is_key_separator(peek())) ++pos_;
  state_ = State::MapValue;
}

void Lexer::map_value() {
  skip_spaces();
  const char c = peek();
  if (c == ',' || c == '}') return fail("key '" + last_key_ + "' has no value", pos_);
  push(State::MapValueEnd);
  state_ = State::Value;
}

void Lexer::map_value_end() {
  skip_blanks();
  if (skip_comment()) return;
  const char c = peek();
  if (c == ';' || c == ',' || c == '/' || is_line_end(c)) {
    ++pos_;
    state_ = State::MapKeyStart;
  } else if (c == '}') {
    ++pos_;
    finish_value(Token::Kind::MapEnd, {}, pos_ - 1);
  } else if (at_end()) {
    fail_at_end("a map has no closing '}'", pos_);
  } else {
    fail("unexpected " + shown(pos_) + " after the value of '" + last_key_ +
             "', a value ends with its line, ',' or '}' (quote text that holds blanks or starts "
             "with a number)",
         pos_);
  }
}

// ---- keys ----

void Lexer::key_start() {
  const char c = peek();
  if (is_key_separator(c)) return fail("unexpected " + shown(pos_) + ", expected a key", pos_);
  if (c == '\'' || c == '"') return quoted_key();
  bare_key(false);
}

void Lexer::quoted_key() {
  const size_t start = pos_;
  const char quote = text_[pos_++];
  size_t end = pos_;
  while (end < text_.size() && text_[end] != quote && text_[end] != '\0')
    ++end;
  if (end >= text_.size() || text_[end] == '\0') {
    pos_ = end;
    return fail_at_end(std::string("a key has no closing ") + quote, start);
  }
  const std::string_view key = text_.substr(pos_, end - pos_);
  pos_ = end + 1;
  last_key_ = key;
  state_ = state_ == State::MapKeyStart ? State::MapKeyEnd : State::KeyEnd;
  emit(Token::Kind::Key, std::string(key), start);
}

void Lexer::bare_key(bool in_map) {
  const size_t start = pos_;
  if (!at_end()) ++pos_;  // Whatever it is, the first byte belongs to the key.
  bool before_space = false;
  for (;; ++pos_) {
    before_space = space_length(text_, pos_) > 0;
    if (before_space || is_key_separator(peek())) break;
    if (peek() != '\0') continue;
    if (in_map) return fail_at_end("the text ends inside a key", start);
    break;
  }
  const std::string_view key = text_.substr(start, pos_ - start);
  if (before_space && equals_ignore_case(key, "include")) {
    if (in_map) push(State::MapValueEnd);
    state_ = State::Value;
    return include();
  }
  last_key_ = key;
  state_ = in_map ? State::MapKeyEnd : State::KeyEnd;
  emit(Token::Kind::Key, std::string(key), start);
}

void Lexer::key_end() {
  skip_spaces();
  if (is_key_separator(peek())) {
    ++pos_;
  } else if (peek() == '\0') {
    // A file may close braces it did not open: the '}' was read as a key.
    if (at_end() && last_key_ == "}") {
      state_ = State::Done;
      return;
    }
    return fail("key '" + last_key_ + "' has no value", pos_);
  }
  state_ = State::Value;
}

void Lexer::include() {
  skip_blanks();
  const size_t start = pos_;
  const char c = peek();
  if (c == '\'' || c == '"') {
    size_t end = pos_ + 1;
    while (end < text_.size() && text_[end] != c && text_[end] != '\0')
      ++end;
    if (end >= text_.size() || text_[end] == '\0') {
      pos_ = end;
      return fail_at_end("the path after 'include' has no closing quote", start);
    }
    pos_ = end + 1;
    return finish_value(Token::Kind::Include, std::string(text_.substr(start + 1, end - start - 1)),
                        start);
  }
  if (c == '[' || c == '{' || c == '(' || c == '-' || c == '\\' || is_ascii_digit(c) ||
      is_line_end(c) || at_end()) {
    return fail("expected a path after 'include', found " + shown(pos_), pos_);
  }
  while (!is_line_end(peek()) && peek() != '\0' && peek() != ';' && peek() != '}' &&
         !is_blank(peek()) && peek() != '\'') {
    ++pos_;
  }
  const std::string_view path = text_.substr(start, pos_ - start);
  if (peek() == '\'') ++pos_;
  finish_value(Token::Kind::Include, std::string(path), start);
}

// ---- small parts ----

bool Lexer::skip_comment() {
  if (peek() != '#' && !(peek() == '/' && peek(1) == '/')) return false;
  while (!is_line_end(peek()) && peek() != '\0')
    ++pos_;
  return true;
}

void Lexer::skip_blanks() {
  while (is_blank(peek()))
    ++pos_;
}

void Lexer::skip_spaces() {
  while (const size_t length = space_length(text_, pos_))
    pos_ += length;
}

void Lexer::pop() {
  state_ = stack_.back();
  stack_.pop_back();
}

void Lexer::locate(size_t offset) {
  if (offset < located_) {
    located_ = 0;
    line_start_ = 0;
    line_ = 1;
  }
  for (; located_ < offset; ++located_) {
    if (text_[located_] != '\n') continue;
    ++line_;
    line_start_ = located_ + 1;
  }
  token_.line = line_;
  token_.column = static_cast<uint32_t>(offset - line_start_ + 1);
}

void Lexer::emit(Token::Kind kind, std::string text, size_t offset) {
  token_.kind = kind;
  token_.text = std::move(text);
  locate(offset);
  ready_ = true;
}

void Lexer::finish_value(Token::Kind kind, std::string text, size_t offset) {
  pop();
  emit(kind, std::move(text), offset);
}

void Lexer::fail(std::string reason, size_t offset) {
  has_failed_ = true;
  switch (state_) {
    case State::Key:
    case State::KeyEnd:
    case State::Value:
      pop();
      break;
    case State::Top:
      state_ = State::TopValueEnd;
      break;
    case State::BlockStart:
    case State::BlockEnd:
      state_ = State::BlockValueEnd;
      break;
    case State::ArrayValue:
      state_ = State::ArrayValueEnd;
      break;
    case State::MapKeyStart:
    case State::MapKeyEnd:
    case State::MapValue:
      state_ = State::MapValueEnd;
      break;
    default:
      break;
  }
  // Each of these states moves on from its stop characters, so a second error here is impossible.
  const std::string_view stops = state_ == State::ArrayValueEnd ? "\n,]"
                                 : state_ == State::MapValueEnd ? "\n,;}"
                                                                : "\n";
  while (!at_end() && stops.find(text_[pos_]) == std::string_view::npos)
    ++pos_;
  if (at_end()) state_ = State::Done;
  emit(Token::Kind::Error, std::move(reason), offset);
}

void Lexer::fail_at_end(std::string reason, size_t offset) {
  // An earlier error is the likelier cause of a container left open.
  const bool is_consequence = has_failed_;
  pos_ = text_.size();
  fail(std::move(reason), offset);
  if (is_consequence) ready_ = false;
}

void Lexer::fail_too_deep() {
  const size_t offset = pos_;
  pos_ = text_.size();
  fail("nested deeper than " + std::to_string(kDepthMax) + " levels", offset);
}

std::string Lexer::shown(size_t offset) const {
  if (offset >= text_.size()) return "the end of the text";
  const auto c = static_cast<uint8_t>(text_[offset]);
  if (c == '\n' || c == '\r') return "the end of the line";
  if (c == '\t') return "a tab";
  if (c < 0x20 || c == 0x7f) return "a control character";
  const size_t length = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
  return "'" + std::string(text_.substr(offset, length)) + "'";
}

}  // namespace brokkr::config
