#include "config/value.h"

#include <algorithm>

namespace brokkr::config {

const Value* Value::find(std::string_view name) const {
  const auto at_or_after =
      std::lower_bound(members.begin(), members.end(), name,
                       [](const Member& m, std::string_view wanted) { return m.name < wanted; });
  if (at_or_after == members.end() || at_or_after->name != name) return nullptr;
  return &at_or_after->value;
}

std::string describe(const Value& value) {
  switch (value.kind) {
    case Value::Kind::Null:
      return "nothing";
    case Value::Kind::Bool:
      return value.boolean ? "the boolean true" : "the boolean false";
    case Value::Kind::Int:
      return "the integer " + std::to_string(value.integer);
    case Value::Kind::Float:
      return "a floating-point number";
    case Value::Kind::String:
      if (value.text.size() > 40) return "a string";
      return "the string \"" + value.text + "\"";
    case Value::Kind::Date:
      return "the date " + value.text;
    case Value::Kind::Array:
      return "an array";
    case Value::Kind::Map:
      return "a map";
  }
  return "nothing";
}

std::string Diagnostic::to_string() const {
  if (line == 0) return file + ": " + reason;
  return file + ":" + std::to_string(line) + ":" + std::to_string(column) + ": " + reason;
}

}  // namespace brokkr::config
