#include "jetstream/go_json.h"

#include <algorithm>
#include <limits>

#include "jetstream/go_syntax.h"

namespace brokkr::jetstream {
namespace {

ApiError invalid_json(std::string_view text) {
  return api_error(10025, text);
}

std::string quoted(std::string_view text) {
  std::string out;
  json::append_quoted(out, text, false);
  return out;
}

std::string_view kind_name(const json::Value& value) {
  switch (value.kind()) {
    case json::Value::Kind::Null: return "null";
    case json::Value::Kind::Bool: return "bool";
    case json::Value::Kind::Int:
    case json::Value::Kind::Uint:
    case json::Value::Kind::Double: return "number";
    case json::Value::Kind::String: return "string";
    case json::Value::Kind::Array: return "array";
    case json::Value::Kind::Object: return "object";
  }
  return "";
}

std::string text_of(const json::Value& value) {
  json::Writer writer;
  writer.value(value);
  return writer.take();
}

// What Go's time package says of a text that is no RFC 3339 time.
std::string time_error(std::string_view text) {
  struct Element {
    std::string_view name;
    int digits;  // 0: the name itself
  };
  constexpr Element kElements[] = {{"2006", 4}, {"-", 0}, {"01", 2}, {"-", 0}, {"02", 2}, {"T", 0},
                                   {"15", 2},   {":", 0}, {"04", 2}, {":", 0}, {"05", 2}};
  std::string_view rest = text;
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::string_view failed = "Z07:00";
  for (const auto& [name, digits] : kElements) {
    const size_t size = digits == 0 ? name.size() : static_cast<size_t>(digits);
    const std::string_view part = rest.substr(0, size);
    const bool fits = digits == 0 ? part == name
                                  : part.size() == size && std::all_of(part.begin(), part.end(), is_digit);
    if (!fits) {
      failed = name;
      break;
    }
    rest.remove_prefix(size);
  }
  if (failed == "Z07:00" && rest.starts_with('.')) {
    rest.remove_prefix(1);
    while (!rest.empty() && is_digit(rest[0])) rest.remove_prefix(1);
  }
  return "parsing time " + quoted(text) + " as \"2006-01-02T15:04:05Z07:00\": cannot parse " +
         quoted(rest) + " as " + quoted(failed);
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

}  // namespace

ApiResult<json::Value> parse_go_json(std::string_view text) {
  const bool is_blank = text.find_first_not_of(" \t\r\n") == std::string_view::npos;
  if (is_blank) return json::Value();
  auto parsed = json::parse(text);
  if (parsed) return std::move(*parsed);
  const std::string wrong = find_go_syntax_error(text);
  return invalid_json(wrong.empty() ? parsed.error().text : wrong);
}

// --- members ---------------------------------------------------------------------------------

bool JsonMember::is_named(std::string_view name) const {
  return name.size() == name_.size() &&
         std::equal(name.begin(), name.end(), name_.begin(),
                    [](char a, char b) { return lower(a) == lower(b); });
}

// "json: cannot unmarshal string into Go struct field Type.path.name of type int64"
void JsonMember::mismatch(std::string_view name, const json::Value& value, std::string_view go_type,
                          bool with_number) {
  std::string text = "json: cannot unmarshal ";
  text += kind_name(value);
  if (with_number && value.is_number()) text += " " + text_of(value);
  text.append(" into Go struct field ").append(reader_.type_).append(".");
  for (const std::string_view each : reader_.path_) text.append(each).append(".");
  text.append(name).append(" of type ").append(go_type);
  reader_.fail(std::move(text));
}

bool JsonMember::operator()(std::string_view name, std::string& out) {
  if (!is_named(name)) return false;
  if (value_.is_string()) {
    out = value_.as_string();
  } else if (!value_.is_null()) {
    mismatch(name, value_, "string");
  }
  return true;
}

bool JsonMember::operator()(std::string_view name, bool& out) {
  if (!is_named(name)) return false;
  if (value_.is_bool()) {
    out = *value_.as_bool();
  } else if (!value_.is_null()) {
    mismatch(name, value_, "bool");
  }
  return true;
}

bool JsonMember::read_number(std::string_view name, const char* go_type, int64_t min, uint64_t max,
                             FunctionRef<void(const json::Value&)> take) {
  if (!is_named(name)) return false;
  if (value_.is_null()) return true;
  const auto below_zero = value_.as_int();
  const auto above = value_.as_uint();
  const bool fits = above ? *above <= max : below_zero && *below_zero >= min;
  if (fits) {
    take(value_);
  } else {
    mismatch(name, value_, go_type, true);
  }
  return true;
}

bool JsonMember::operator()(std::string_view name, int& out) {
  constexpr auto kMax = std::numeric_limits<int64_t>::max();
  return read_number(name, "int", std::numeric_limits<int64_t>::min(), kMax,
                     [&](const json::Value& value) {
                       out = static_cast<int>(std::clamp<int64_t>(
                           value.as_int().value_or(kMax), std::numeric_limits<int>::min(),
                           std::numeric_limits<int>::max()));
                     });
}

bool JsonMember::operator()(std::string_view name, int32_t& out, const char* go_type) {
  using Limits = std::numeric_limits<int32_t>;
  return read_number(name, go_type, Limits::min(), Limits::max(), [&](const json::Value& value) {
    out = static_cast<int32_t>(*value.as_int());
  });
}

bool JsonMember::operator()(std::string_view name, int64_t& out, const char* go_type) {
  using Limits = std::numeric_limits<int64_t>;
  return read_number(name, go_type, Limits::min(), Limits::max(), [&](const json::Value& value) {
    out = value.as_int().value_or(Limits::max());
  });
}

bool JsonMember::operator()(std::string_view name, uint64_t& out) {
  return read_number(name, "uint64", 0, std::numeric_limits<uint64_t>::max(),
                     [&](const json::Value& value) { out = *value.as_uint(); });
}

bool JsonMember::operator()(std::string_view name, Duration& out) {
  int64_t nanoseconds = out.count();
  if (!(*this)(name, nanoseconds, "time.Duration")) return false;
  out = Duration(nanoseconds);
  return true;
}

bool JsonMember::operator()(std::string_view name, std::optional<WallTime>& out) {
  if (!is_named(name)) return false;
  if (value_.is_null()) {
    out.reset();
    return true;
  }
  if (!value_.is_string()) {
    reader_.abort("Time.UnmarshalJSON: input is not a JSON string");
    return true;
  }
  WallTime time;
  if (parse_rfc3339(value_.as_string(), time)) {
    out = time;
    return true;
  }
  const std::string_view text = value_.as_string();
  if (text.starts_with("0001-01-01T00:00:00")) {  // Go's zero time
    out.reset();
    return true;
  }
  reader_.abort(time_error(text));
  return true;
}

bool JsonMember::operator()(std::string_view name, std::vector<std::string>& out) {
  if (!is_named(name)) return false;
  if (value_.is_null()) {
    out.clear();
    return true;
  }
  if (!value_.is_array()) {
    mismatch(name, value_, "[]string");
    return true;
  }
  out.clear();
  for (const json::Value& item : value_.items()) {
    out.emplace_back(item.as_string());
    if (!item.is_string() && !item.is_null()) mismatch(name, item, "string");
  }
  return true;
}

bool JsonMember::operator()(std::string_view name, std::vector<Duration>& out) {
  if (!is_named(name)) return false;
  if (value_.is_null()) {
    out.clear();
    return true;
  }
  if (!value_.is_array()) {
    mismatch(name, value_, "[]time.Duration");
    return true;
  }
  out.clear();
  for (const json::Value& item : value_.items()) {
    out.emplace_back(item.as_int().value_or(0));
    if (!item.as_int() && !item.is_null()) mismatch(name, item, "time.Duration", true);
  }
  return true;
}

bool JsonMember::operator()(std::string_view name, std::map<std::string, std::string>& out) {
  if (!is_named(name)) return false;
  if (value_.is_null()) {
    out.clear();
    return true;
  }
  if (!value_.is_object()) {
    mismatch(name, value_, "map[string]string");
    return true;
  }
  for (const auto& [key, value] : value_.members()) {
    out[key] = value.as_string();
    if (!value.is_string() && !value.is_null()) mismatch(name, value, "string");
  }
  return true;
}

bool JsonMember::read_word(std::string_view name, size_t& out,
                           std::span<const std::string_view> words, std::string_view error) {
  if (!is_named(name)) return false;
  const auto* const found =
      value_.is_string() ? std::find(words.data(), words.data() + words.size(), value_.as_string())
                         : words.data() + words.size();
  if (found != words.data() + words.size()) {
    out = static_cast<size_t>(found - words.data());
    return true;
  }
  std::string text(error);
  if (const size_t at = text.find("{}"); at != std::string::npos) {
    text.replace(at, 2, quoted(text_of(value_)));
  } else if (const size_t raw = text.find("{raw}"); raw != std::string::npos) {
    text.replace(raw, 5, text_of(value_));
  }
  reader_.abort(std::move(text));
  return true;
}

bool JsonMember::object(std::string_view name, const char* type, Fields fields) {
  if (!is_named(name)) return false;
  if (value_.is_null()) return true;
  if (!value_.is_object()) {
    mismatch(name, value_, "server." + std::string(type));
    return true;
  }
  reader_.path_.push_back(name);
  reader_.read_members(value_, type, fields);
  reader_.path_.pop_back();
  return true;
}

void JsonMember::each_object(std::string_view name, const char* type, Fields fields,
                             FunctionRef<void()> next) {
  if (value_.is_null()) return;
  if (!value_.is_array()) return mismatch(name, value_, "[]*server." + std::string(type));
  for (const json::Value& item : value_.items()) {
    next();
    if (item.is_null()) continue;
    if (!item.is_object()) {
      mismatch(name, item, "server." + std::string(type));
      continue;
    }
    reader_.path_.push_back(name);
    reader_.read_members(item, type, fields);
    reader_.path_.pop_back();
  }
}

bool JsonMember::embedded(const char* type, Fields fields) {
  reader_.path_.push_back(type);
  const bool is_known = fields(*this);
  reader_.path_.pop_back();
  return is_known;
}

bool JsonMember::raw(std::string_view name, const json::Value*& out) {
  if (!is_named(name)) return false;
  out = &value_;
  return true;
}

// --- structs ---------------------------------------------------------------------------------

void StructReader::read(const json::Value& value, const char* type, JsonMember::Fields fields) {
  if (value.is_null()) return;
  if (!value.is_object()) {
    return fail("json: cannot unmarshal " + std::string(kind_name(value)) +
                " into Go value of type server." + type);
  }
  read_members(value, type, fields);
}

void StructReader::read_members(const json::Value& object, const char* type,
                                JsonMember::Fields fields) {
  const char* const outer = std::exchange(type_, type);
  for (const auto& [name, value] : object.members()) {
    if (is_aborted_) break;
    JsonMember member(*this, name, value);
    if (!fields(member) && is_strict_) fail("json: unknown field " + quoted(name));
  }
  type_ = outer;
}

void StructReader::fail(std::string text) {
  if (error_.empty()) error_ = std::move(text);
}

void StructReader::abort(std::string text) {
  if (is_aborted_) return;
  is_aborted_ = true;
  error_ = std::move(text);
}

ApiStatus StructReader::status() const {
  if (error_.empty()) return {};
  return invalid_json(error_);
}

}  // namespace brokkr::jetstream
