#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/json.h"

namespace brokkr::json {
namespace {

// The length of the well-formed UTF-8 sequence at the front of `text`, 0 when it is none.
size_t utf8_length(std::string_view text) {
  const auto c = static_cast<uint8_t>(text[0]);
  if (c < 0x80) return 1;
  const size_t length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
  if (c < 0xc2 || c > 0xf4 || length > text.size()) return 0;
  const auto second = static_cast<uint8_t>(text[1]);
  if (c == 0xe0 && second < 0xa0) return 0;
  if (c == 0xed && second > 0x9f) return 0;
  if (c == 0xf0 && second < 0x90) return 0;
  if (c == 0xf4 && second > 0x8f) return 0;
  for (size_t k = 1; k < length; ++k) {
    if ((static_cast<uint8_t>(text[k]) & 0xc0) != 0x80) return 0;
  }
  return length;
}

void append_ascii(std::string& out, char c, bool go_escapes) {
  switch (c) {
    case '"': out += "\\\""; return;
    case '\\': out += "\\\\"; return;
    case '\n': out += "\\n"; return;
    case '\r': out += "\\r"; return;
    case '\t': out += "\\t"; return;
    case '\b': out += "\\b"; return;
    case '\f': out += "\\f"; return;
    default: break;
  }
  const bool is_html = go_escapes && (c == '<' || c == '>' || c == '&');
  if (static_cast<uint8_t>(c) >= 0x20 && !is_html) {
    out += c;
    return;
  }
  char text[8];
  std::snprintf(text, sizeof text, "\\u%04x", static_cast<unsigned>(static_cast<uint8_t>(c)));
  out += text;
}

}  // namespace

void append_quoted(std::string& out, std::string_view text, bool go_escapes) {
  out += '"';
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length == 1) {
      append_ascii(out, text[0], go_escapes);
    } else if (length == 0) {
      out += "\\ufffd";
    } else if (go_escapes && (text.substr(0, 3) == "\xe2\x80\xa8" || text.substr(0, 3) == "\xe2\x80\xa9")) {
      out += text[2] == '\xa8' ? "\\u2028" : "\\u2029";
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  out += '"';
}

void Writer::new_line() {
  out_ += '\n';
  out_.append(static_cast<size_t>(depth_ * options_.indent), ' ');
}

void Writer::before_value() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (needs_comma_) out_ += ',';
  if (options_.indent > 0 && depth_ > 0) new_line();
}

Writer& Writer::begin_object() {
  before_value();
  out_ += '{';
  ++depth_;
  needs_comma_ = false;
  return *this;
}

Writer& Writer::end_object() {
  --depth_;
  if (options_.indent > 0 && needs_comma_) new_line();
  out_ += '}';
  needs_comma_ = true;
  return *this;
}

Writer& Writer::begin_array() {
  before_value();
  out_ += '[';
  ++depth_;
  needs_comma_ = false;
  return *this;
}

Writer& Writer::end_array() {
  --depth_;
  if (options_.indent > 0 && needs_comma_) new_line();
  out_ += ']';
  needs_comma_ = true;
  return *this;
}

Writer& Writer::key(std::string_view name) {
  before_value();
  append_quoted(out_, name, options_.go_escapes);
  out_ += options_.indent > 0 ? ": " : ":";
  after_key_ = true;
  return *this;
}

Writer& Writer::string(std::string_view text) {
  before_value();
  append_quoted(out_, text, options_.go_escapes);
  needs_comma_ = true;
  return *this;
}

Writer& Writer::raw(std::string_view text) {
  before_value();
  out_ += text;
  needs_comma_ = true;
  return *this;
}

Writer& Writer::number(int64_t v) {
  return raw(std::to_string(v));
}

Writer& Writer::number(uint64_t v) {
  return raw(std::to_string(v));
}

Writer& Writer::number(double v) {
  if (!std::isfinite(v)) return raw("0");
  char digits[32];
  const auto result = std::to_chars(digits, digits + sizeof digits, v);
  return raw({digits, static_cast<size_t>(result.ptr - digits)});
}

Writer& Writer::boolean(bool v) {
  return raw(v ? "true" : "false");
}

Writer& Writer::null() {
  return raw("null");
}

Writer& Writer::value(const Value& v) {
  switch (v.kind()) {
    case Value::Kind::Null: return null();
    case Value::Kind::Bool: return boolean(*v.as_bool());
    case Value::Kind::Int: return number(*v.as_int());
    case Value::Kind::Uint: return number(*v.as_uint());
    case Value::Kind::Double: return number(*v.as_double());
    case Value::Kind::String: return string(v.as_string());
    case Value::Kind::Array: {
      begin_array();
      for (const Value& item : v.items()) value(item);
      return end_array();
    }
    case Value::Kind::Object: break;
  }
  begin_object();
  for (const auto& [name, member] : v.members()) key(name).value(member);
  return end_object();
}

}  // namespace brokkr::json
