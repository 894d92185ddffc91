#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace brokkr::json {

// One parsed JSON value. Numbers keep whether they were written as an integer; objects keep the
// order of their members and, of members with one name, all (find returns the last, as Go does).
// A value type; Immutable once parsed.
class Value {
 public:
  enum class Kind : uint8_t { Null, Bool, Int, Uint, Double, String, Array, Object };
  using Member = std::pair<std::string, Value>;

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::Null; }
  bool is_object() const { return kind_ == Kind::Object; }
  bool is_array() const { return kind_ == Kind::Array; }
  bool is_string() const { return kind_ == Kind::String; }
  bool is_bool() const { return kind_ == Kind::Bool; }
  bool is_number() const { return kind_ >= Kind::Int && kind_ <= Kind::Double; }

  // Each is absent when the value is of another kind (as_int also when out of range).
  std::optional<bool> as_bool() const;
  std::optional<int64_t> as_int() const;
  std::optional<uint64_t> as_uint() const;
  std::optional<double> as_double() const;
  // Empty when not a string; the text lives as long as the value.
  std::string_view as_string() const { return text_; }
  const std::vector<Value>& items() const { return items_; }
  const std::vector<Member>& members() const { return members_; }

  // Null pointer when absent or when this is no object.
  const Value* find(std::string_view name) const;
  // The member's content, or `fallback` when absent or of another kind.
  std::string_view get_string(std::string_view name, std::string_view fallback = {}) const;
  int64_t get_int(std::string_view name, int64_t fallback = 0) const;
  bool get_bool(std::string_view name, bool fallback = false) const;

 private:
  friend struct Builder;
  Kind kind_ = Kind::Null;
  bool bool_ = false;
  int64_t int_ = 0;
  uint64_t uint_ = 0;
  double double_ = 0;
  std::string text_;
  std::vector<Value> items_;
  std::vector<Member> members_;
};

// Reads one JSON text. Fails with Syntax, the parser's reason in the text. Depth limit 128.
Result<Value> parse(std::string_view text);

// Writes JSON text in order of calls; commas are its own affair. A misuse (a value without a key
// inside an object) is a bug of the caller. With `indent` > 0 it writes as Go's MarshalIndent does.
// `go_escapes` also writes < > & U+2028 U+2029 as \uXXXX, as Go's encoder does.
class Writer {
 public:
  struct Options {
    int indent = 0;
    bool go_escapes = true;
  };
  Writer() = default;
  explicit Writer(Options options) : options_(options) {}

  Writer& begin_object();
  Writer& end_object();
  Writer& begin_array();
  Writer& end_array();
  Writer& key(std::string_view);
  Writer& string(std::string_view);
  Writer& number(int64_t);
  Writer& number(uint64_t);
  Writer& number(int value) { return number(static_cast<int64_t>(value)); }
  Writer& number(double);
  Writer& boolean(bool);
  Writer& null();
  // Text that already is JSON.
  Writer& raw(std::string_view);
  Writer& value(const Value&);

  Writer& field(std::string_view name, std::string_view v) { return key(name).string(v); }
  Writer& field(std::string_view name, const char* v) { return key(name).string(v); }
  Writer& field(std::string_view name, int64_t v) { return key(name).number(v); }
  Writer& field(std::string_view name, uint64_t v) { return key(name).number(v); }
  Writer& field(std::string_view name, int v) { return key(name).number(v); }
  Writer& field(std::string_view name, double v) { return key(name).number(v); }
  Writer& field(std::string_view name, bool v) { return key(name).boolean(v); }

  const std::string& text() const { return out_; }
  std::string take() { return std::move(out_); }

 private:
  void before_value();
  void new_line();
  std::string out_;
  Options options_;
  int depth_ = 0;
  bool needs_comma_ = false;
  bool after_key_ = false;
};

// Appends `text` with quotes and escapes. Invalid UTF-8 becomes U+FFFD.
void append_quoted(std::string& out, std::string_view text, bool go_escapes = true);

}  // namespace brokkr::json
