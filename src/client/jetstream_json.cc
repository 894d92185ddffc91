#include "client/jetstream_json.h"

namespace brokkr::client {

void FieldReader::read(const char* name, std::string& out) {
  const json::Value* member = object_.find(name);
  if (member == nullptr || member->is_null()) return;
  if (!member->is_string()) return fail(name);
  out = member->as_string();
}

void FieldReader::read(const char* name, bool& out) {
  const json::Value* member = object_.find(name);
  if (member == nullptr || member->is_null()) return;
  if (const auto value = member->as_bool()) {
    out = *value;
  } else {
    fail(name);
  }
}

void FieldReader::read(const char* name, int64_t& out) {
  const json::Value* member = object_.find(name);
  if (member == nullptr || member->is_null()) return;
  if (const auto value = member->as_int()) {
    out = *value;
  } else {
    fail(name);
  }
}

void FieldReader::read(const char* name, uint64_t& out) {
  const json::Value* member = object_.find(name);
  if (member == nullptr || member->is_null()) return;
  if (const auto value = member->as_uint()) {
    out = *value;
  } else {
    fail(name);
  }
}

void FieldReader::read(const char* name, int& out) {
  int64_t value = out;
  read(name, value);
  if (value < INT32_MIN || value > INT32_MAX) return fail(name);
  out = static_cast<int>(value);
}

void FieldReader::read(const char* name, Duration& out) {
  int64_t nanoseconds = out.count();
  read(name, nanoseconds);
  out = Duration(nanoseconds);
}

void FieldReader::read(const char* name, std::optional<WallTime>& out) {
  std::string text;
  read(name, text);
  if (text.empty()) return;
  out.reset();
  if (text.starts_with("0001-01-01T00:00:00")) return;
  WallTime time;
  if (!parse_rfc3339(text, time)) return fail(name);
  out = time;
}

void FieldReader::read(const char* name, std::vector<std::string>& out) {
  const auto* items = array(name);
  if (items == nullptr) return;
  out.clear();
  for (const json::Value& item : *items) {
    if (!item.is_string()) return fail(name);
    out.emplace_back(item.as_string());
  }
}

void FieldReader::read(const char* name, std::vector<Duration>& out) {
  const auto* items = array(name);
  if (items == nullptr) return;
  out.clear();
  for (const json::Value& item : *items) {
    const auto value = item.as_int();
    if (!value) return fail(name);
    out.emplace_back(*value);
  }
}

void FieldReader::read(const char* name, std::vector<uint64_t>& out) {
  const auto* items = array(name);
  if (items == nullptr) return;
  out.clear();
  for (const json::Value& item : *items) {
    const auto value = item.as_uint();
    if (!value) return fail(name);
    out.push_back(*value);
  }
}

void FieldReader::read(const char* name, std::map<std::string, std::string>& out) {
  const json::Value* members = object(name);
  if (members == nullptr) return;
  out.clear();
  for (const auto& [key, value] : members->members()) {
    if (!value.is_string()) return fail(name);
    out[key] = value.as_string();
  }
}

void FieldReader::read(const char* name, std::map<std::string, uint64_t>& out) {
  const json::Value* members = object(name);
  if (members == nullptr) return;
  out.clear();
  for (const auto& [key, value] : members->members()) {
    const auto number = value.as_uint();
    if (!number) return fail(name);
    out[key] = *number;
  }
}

const json::Value* FieldReader::object(const char* name) const {
  const json::Value* member = object_.find(name);
  return member != nullptr && member->is_object() ? member : nullptr;
}

const std::vector<json::Value>* FieldReader::array(const char* name) const {
  const json::Value* member = object_.find(name);
  return member != nullptr && member->is_array() ? &member->items() : nullptr;
}

void FieldReader::fail(const char* name) {
  if (bad_.empty()) bad_ = name;
}

Status FieldReader::status() const {
  if (bad_.empty()) return {};
  return Error{Errc::Syntax, "member \"" + bad_ + "\" cannot be read"};
}

void FieldWriter::write(const char* name, const std::string& value) {
  if (!value.empty()) out_.field(name, value);
}

void FieldWriter::write(const char* name, bool value) {
  if (value) out_.field(name, true);
}

void FieldWriter::write(const char* name, int64_t value) {
  if (value != 0) out_.field(name, value);
}

void FieldWriter::write(const char* name, uint64_t value) {
  if (value != 0) out_.field(name, value);
}

void FieldWriter::write(const char* name, Duration value) {
  if (value != Duration(0)) out_.field(name, int64_t{value.count()});
}

void FieldWriter::write(const char* name, const std::optional<WallTime>& value) {
  if (value) out_.field(name, format_rfc3339(*value));
}

void FieldWriter::write(const char* name, const std::vector<std::string>& value) {
  if (value.empty()) return;
  out_.key(name).begin_array();
  for (const std::string& item : value) out_.string(item);
  out_.end_array();
}

void FieldWriter::write(const char* name, const std::vector<Duration>& value) {
  if (value.empty()) return;
  out_.key(name).begin_array();
  for (const Duration item : value) out_.number(int64_t{item.count()});
  out_.end_array();
}

void FieldWriter::write(const char* name, const std::map<std::string, std::string>& value) {
  if (value.empty()) return;
  out_.key(name).begin_object();
  for (const auto& [key, item] : value) out_.field(key, item);
  out_.end_object();
}

}  // namespace brokkr::client
