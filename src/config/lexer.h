#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace brokkr::config {

struct Token {
  enum class Kind : uint8_t {
    Error,  // text is the reason
    End,
    Key,
    String,
    Bool,
    Integer,  // with its unit, as written
    Float,
    Date,
    Variable,  // the name without '$'
    Include,   // the path
    ArrayStart,
    ArrayEnd,
    MapStart,
    MapEnd,
  };
  Kind kind = Kind::End;
  std::string text;
  uint32_t line = 1;
  uint32_t column = 1;
};

// Cuts the text of a nats.conf into tokens, by nats-server's rules: what ends a value depends on
// where it stands, so the lexer keeps the stack of open maps and arrays. After an Error it resumes
// with the next entry of the same container, so that one run reports every error.
// `text` must outlive the lexer. Loop-confined.
class Lexer {
 public:
  // Containers may be nested this deep; deeper is an error.
  static constexpr size_t kDepthMax = 200;

  explicit Lexer(std::string_view text) : text_(text) {}

  // The next token. After End, End again.
  Token next();

 private:
  // Where in the grammar the next byte is read. The *End states follow a complete value.
  enum class State : uint8_t {
    Top,
    TopValueEnd,
    // Inside the optional braces around the whole file.
    BlockStart,
    BlockValueEnd,
    BlockEnd,
    Key,
    KeyEnd,
    Value,
    ArrayValue,
    ArrayValueEnd,
    MapKeyStart,
    MapKeyEnd,
    MapValue,
    MapValueEnd,
    Done,
  };

  void step();
  void top();
  void top_value_end();
  void block_start();
  void block_value_end();
  void block_end();
  void key_start();
  void key_end();
  void value();
  void array_value();
  void array_value_end();
  void map_key_start();
  void map_key_end();
  void map_value();
  void map_value_end();

  void quoted_key();
  void bare_key(bool in_map);
  void include();
  void quoted_string();
  void double_quoted_string();
  void bare_string(size_t start);
  void block_string();
  void number();
  void negative_number();
  void number_with_unit(size_t start);
  void number_with_point(size_t start);
  void date(size_t start);
  // Reads what follows a backslash into `parts_`; the reason when there is no such escape.
  std::string escape();

  char peek(size_t ahead = 0) const {
    return pos_ + ahead < text_.size() ? text_[pos_ + ahead] : '\0';
  }
  bool at_end() const { return pos_ >= text_.size(); }
  // True when a comment begins here; it is skipped.
  bool skip_comment();
  void skip_blanks();
  void skip_spaces();
  bool ends_number(bool unit) const;
  void push(State state) { stack_.push_back(state); }
  void pop();
  void emit(Token::Kind, std::string text, size_t offset);
  void finish_value(Token::Kind, std::string text, size_t offset);
  void fail(std::string reason, size_t offset);
  // The value is wrong but its end is known: the text goes on from there.
  void fail_value(std::string reason, size_t offset) {
    has_failed_ = true;
    finish_value(Token::Kind::Error, std::move(reason), offset);
  }
  void fail_at_end(std::string reason, size_t offset);
  void fail_too_deep();
  void locate(size_t offset);
  std::string shown(size_t offset) const;

  std::string_view text_;
  size_t pos_ = 0;
  State state_ = State::Top;
  std::vector<State> stack_;
  Token token_;
  bool ready_ = false;
  bool has_failed_ = false;
  std::string last_key_;
  // What escapes have produced of the string being read.
  std::string parts_;
  // The line of the last located offset; offsets are located in ascending order, mostly.
  size_t located_ = 0;
  size_t line_start_ = 0;
  uint32_t line_ = 1;
};

}  // namespace brokkr::config
