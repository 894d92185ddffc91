#include "config/digest.h"

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <string_view>

#include "base/json.h"
#include "base/sha256.h"

namespace brokkr::config {
namespace {

// Go writes the shortest digits that read back, plain between 1e-6 and 1e21 (filled up with zeros),
// else with an exponent without its leading zero.
void append_number(std::string& out, double number) {
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::scientific);
  std::string_view text(buffer, static_cast<size_t>(end.ptr - buffer));
  const double size = std::fabs(number);
  if (text[0] == '-') {
    out += '-';
    text.remove_prefix(1);
  }
  const size_t e = text.find('e');
  int exponent = 0;
  const char* const exponent_start = text.data() + e + (text[e + 1] == '+' ? 2 : 1);
  std::from_chars(exponent_start, text.data() + text.size(), exponent);
  if (size != 0 && (size < 1e-6 || size >= 1e21)) {
    out += text.substr(0, e);
    out += exponent < 0 ? "e-" : "e+";
    out += std::to_string(std::abs(exponent));
    return;
  }
  std::string digits(1, text[0]);
  if (e > 1) digits += text.substr(2, e - 2);
  if (exponent < 0) {
    out += "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
    return;
  }
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) {
    out += digits + std::string(whole - digits.size(), '0');
  } else {
    out += digits.substr(0, whole) + "." + digits.substr(whole);
  }
}

// Recursion is bounded by Lexer::kDepthMax.
void append_json(std::string& out, const Value& value) {
  switch (value.kind) {
    case Value::Kind::Null:
      out += "null";
      return;
    case Value::Kind::Bool:
      out += value.boolean ? "true" : "false";
      return;
    case Value::Kind::Int:
      out += std::to_string(value.integer);
      return;
    case Value::Kind::Float:
      append_number(out, value.number);
      return;
    case Value::Kind::String:
    case Value::Kind::Date:
      json::append_quoted(out, value.text);
      return;
    case Value::Kind::Array:
      out += '[';
      for (size_t i = 0; i < value.items.size(); ++i) {
        if (i > 0) out += ',';
        append_json(out, value.items[i]);
      }
      out += ']';
      return;
    case Value::Kind::Map:
      out += '{';
      for (size_t i = 0; i < value.members.size(); ++i) {
        if (i > 0) out += ',';
        json::append_quoted(out, value.members[i].name);
        out += ':';
        append_json(out, value.members[i].value);
      }
      out += '}';
      return;
  }
}

}  // namespace

std::string to_json(const Value& value) {
  std::string out;
  append_json(out, value);
  out += '\n';
  return out;
}

std::string digest(const Value& value) {
  return "sha256:" + sha256_hex(to_json(value));
}

}  // namespace brokkr::config
