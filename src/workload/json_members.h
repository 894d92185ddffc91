#pragma once

#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/bytes.h"
#include "base/json.h"
#include "base/result.h"
#include "workload/run_request.h"

// How the room reads and writes members of JSON objects; for its .cc files only.
namespace brokkr::workload {

inline void write_pairs(json::Writer& out, std::string_view name, const Pairs& pairs) {
  out.key(name).begin_object();
  for (const auto& [key, value] : pairs) out.field(key, value);
  out.end_object();
}

inline void write_strings(json::Writer& out, std::string_view name, const std::vector<std::string>& items) {
  out.key(name).begin_array();
  for (const std::string& item : items) out.string(item);
  out.end_array();
}

inline void write_limits(json::Writer& out, std::string_view name, const RunLimits& limits) {
  out.key(name).begin_object();
  out.field("wall_time_ms", limits.wall_time_ms).field("heap_bytes", limits.heap_bytes);
  out.field("reply_bytes", limits.reply_bytes);
  out.field("in_flight", uint64_t{limits.in_flight}).field("queue", uint64_t{limits.queue});
  out.field("max_instances", uint64_t{limits.max_instances});
  out.field("log_lines_per_second", uint64_t{limits.log_lines_per_second}).end_object();
}

// Reads members of one object and keeps the first mistake. An absent member leaves its default.
class MemberReader {
 public:
  explicit MemberReader(const json::Value& value) : value_(value) {}

  MemberReader& read(std::string_view name, std::string& into) {
    const json::Value* found = find(name);
    if (found == nullptr) return *this;
    if (!found->is_string()) return wrong(name, "a string");
    into = found->as_string();
    return *this;
  }
  MemberReader& need(std::string_view name, std::string& into) {
    read(name, into);
    if (into.empty() && status_) fail("\"" + std::string(name) + "\" is missing or empty");
    return *this;
  }
  MemberReader& read(std::string_view name, bool& into) {
    const json::Value* found = find(name);
    if (found == nullptr) return *this;
    if (!found->is_bool()) return wrong(name, "true or false");
    into = *found->as_bool();
    return *this;
  }
  template <typename T>
    requires std::is_unsigned_v<T>
  MemberReader& read(std::string_view name, T& into) {
    const json::Value* found = find(name);
    if (found == nullptr) return *this;
    const auto number = found->as_uint();
    if (!number || *number > std::numeric_limits<T>::max()) return wrong(name, "a whole number");
    into = static_cast<T>(*number);
    return *this;
  }
  MemberReader& read(std::string_view name, int64_t& into) {
    const json::Value* found = find(name);
    if (found == nullptr) return *this;
    const auto number = found->as_int();
    if (!number) return wrong(name, "a whole number");
    into = *number;
    return *this;
  }
  MemberReader& read(std::string_view name, Pairs& into) {
    const json::Value* found = find(name);
    if (found == nullptr) return *this;
    if (!found->is_object()) return wrong(name, "an object of strings");
    for (const auto& [key, value] : found->members()) {
      if (!value.is_string()) return wrong(name, "an object of strings");
      into.emplace_back(key, value.as_string());
    }
    return *this;
  }
  MemberReader& read(std::string_view name, std::vector<std::string>& into) {
    const json::Value* found = find(name);
    if (found == nullptr) return *this;
    if (!found->is_array()) return wrong(name, "an array of strings");
    for (const json::Value& value : found->items()) {
      if (!value.is_string()) return wrong(name, "an array of strings");
      into.emplace_back(value.as_string());
    }
    return *this;
  }
  MemberReader& read(std::string_view name, RunLimits& into) {
    const json::Value* found = find(name);
    if (found == nullptr) return *this;
    if (!found->is_object()) return wrong(name, "an object");
    MemberReader limits(*found);
    limits.read("wall_time_ms", into.wall_time_ms).read("heap_bytes", into.heap_bytes);
    limits.read("reply_bytes", into.reply_bytes).read("in_flight", into.in_flight);
    limits.read("queue", into.queue).read("max_instances", into.max_instances);
    limits.read("log_lines_per_second", into.log_lines_per_second);
    if (!limits.status_) fail(std::string(name) + ": " + limits.status_.error().text);
    return *this;
  }
  // Null pointer when absent or null.
  const json::Value* find(std::string_view name) const {
    const json::Value* found = value_.find(name);
    return found == nullptr || found->is_null() ? nullptr : found;
  }
  void fail(std::string text) {
    if (status_) status_ = Error{Errc::InvalidArgument, std::move(text)};
  }
  const Status& status() const { return status_; }

  template <typename T>
  Result<T> finish(T value) {
    if (!status_) return status_.error();
    return value;
  }

 private:
  MemberReader& wrong(std::string_view name, const char* wanted) {
    fail("\"" + std::string(name) + "\" must be " + wanted);
    return *this;
  }

  const json::Value& value_;
  Status status_;
};

// An empty request body is an empty object, as micro services have it.
inline Result<json::Value> parse_object(std::string_view text) {
  Result<json::Value> value = json::parse(trim(text).empty() ? "{}" : text);
  if (!value) return value.error();
  if (!value->is_object()) return Error{Errc::Syntax, "the request is not a JSON object"};
  return value;
}

}  // namespace brokkr::workload
