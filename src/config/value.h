#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace brokkr::config {

// Where a value was written. `file` indexes Document::files; line and column start at 1, the
// column counts bytes.
struct Position {
  uint32_t file = 0;
  uint32_t line = 1;
  uint32_t column = 1;
};

struct Member;

// One value of a configuration file. A value type; Immutable once parsed. Only the field of its
// kind has content: text holds strings and dates (as written, `2006-01-02T15:04:05Z`).
struct Value {
  enum class Kind : uint8_t { Null, Bool, Int, Float, String, Date, Array, Map };

  Kind kind = Kind::Null;
  bool boolean = false;
  // A key that some `$name` refers to need not be a known option.
  bool is_used_variable = false;
  int64_t integer = 0;
  double number = 0;
  std::string text;
  std::vector<Value> items;
  // Sorted by name, names unique (the last one written wins).
  std::vector<Member> members;
  // Of a member's value: where its key stands.
  Position at;

  bool is_map() const { return kind == Kind::Map; }
  bool is_array() const { return kind == Kind::Array; }
  bool is_string() const { return kind == Kind::String; }
  bool is_int() const { return kind == Kind::Int; }
  bool is_bool() const { return kind == Kind::Bool; }

  // Null when absent or when this is no map. Logarithmic; names are compared as written.
  const Value* find(std::string_view name) const;
};

struct Member {
  std::string name;
  Value value;
};

// "a map", "the integer 5", `the string "x"`: for error texts.
std::string describe(const Value&);

// One thing wrong with a configuration.
struct Diagnostic {
  std::string file;
  uint32_t line = 0;  // 0 when the whole file is meant
  uint32_t column = 0;
  std::string reason;

  // "file:line:column: reason".
  std::string to_string() const;
};

// What was read from one file and the files it includes. `errors` is empty when all of it is well
// formed, else it holds every error found, in the order of the text; `root` then is what could be
// understood.
struct Document {
  Value root;
  std::vector<std::string> files;
  std::vector<Diagnostic> errors;
};

}  // namespace brokkr::config
