#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/clock.h"
#include "base/json.h"
#include "jetstream/api_error.h"

// JSON as nats-server takes it: Go's reader, which fills structs, with Go's messages for what does
// not fit. All errors are 10025.
namespace brokkr::jetstream {

// Blank text is a null value. Syntax errors say at which offset.
ApiResult<json::Value> parse_go_json(std::string_view text);

class StructReader;

// One member of an object, offered to the fields of a struct one after the other. Each call says
// whether the member has that name (whatever its case); if so its value is now in `out`, or an error
// is kept. Null leaves `out` alone.
class JsonMember {
 public:
  bool operator()(std::string_view name, std::string& out);
  bool operator()(std::string_view name, bool& out);
  bool operator()(std::string_view name, int& out);
  bool operator()(std::string_view name, int32_t& out, const char* go_type);
  bool operator()(std::string_view name, int64_t& out, const char* go_type = "int64");
  bool operator()(std::string_view name, uint64_t& out);
  bool operator()(std::string_view name, Duration& out);
  bool operator()(std::string_view name, std::optional<WallTime>& out);
  bool operator()(std::string_view name, std::vector<std::string>& out);
  bool operator()(std::string_view name, std::vector<Duration>& out);
  bool operator()(std::string_view name, std::map<std::string, std::string>& out);
  // One of `words`; the index of it goes to `out`. `error`, with "{}" for the quoted value or
  // "{raw}" for the value: what is said otherwise.
  template <typename Enum>
  bool word(std::string_view name, Enum& out, std::span<const std::string_view> words,
            std::string_view error = "can not unmarshal {}") {
    size_t index = static_cast<size_t>(out);
    if (!read_word(name, index, words, error)) return false;
    out = static_cast<Enum>(index);
    return true;
  }
  // A struct of Go's type "server.<type>", made when it is there.
  using Fields = FunctionRef<bool(JsonMember&)>;
  bool object(std::string_view name, const char* type, Fields fields);
  template <typename T, typename Read>
  bool object(std::string_view name, const char* type, std::optional<T>& out, Read read) {
    if (!is_named(name)) return false;
    if (value_.is_null()) {
      out.reset();
      return true;
    }
    T made = out.value_or(T{});
    object(name, type, [&](JsonMember& member) { return read(member, made); });
    out = std::move(made);
    return true;
  }
  template <typename T, typename Read>
  bool list(std::string_view name, const char* type, std::vector<T>& out, Read read) {
    if (!is_named(name)) return false;
    out.clear();
    each_object(name, type, [&](JsonMember& member) { return read(member, out.back()); },
                [&] { out.emplace_back(); });
    return true;
  }
  // The fields of a struct that Go embeds in this one.
  bool embedded(const char* type, Fields fields);
  // Any value.
  bool raw(std::string_view name, const json::Value*& out);

 private:
  friend class StructReader;
  JsonMember(StructReader& reader, std::string_view name, const json::Value& value)
      : reader_(reader), name_(name), value_(value) {}
  bool is_named(std::string_view name) const;
  bool read_word(std::string_view name, size_t& out, std::span<const std::string_view> words,
                 std::string_view error);
  bool read_number(std::string_view name, const char* go_type, int64_t min, uint64_t max,
                   FunctionRef<void(const json::Value&)> take);
  void each_object(std::string_view name, const char* type, Fields fields,
                   FunctionRef<void()> next);
  void mismatch(std::string_view name, const json::Value& value, std::string_view go_type,
                bool with_number = false);

  StructReader& reader_;
  std::string_view name_;
  const json::Value& value_;
};

// Reads one JSON value into C++ as Go's decoder reads it into a struct. Loop-confined.
class StructReader {
 public:
  // Strict: a member that no field takes is an error.
  explicit StructReader(bool is_strict) : is_strict_(is_strict) {}
  // `type` is the name of Go's struct. A null value changes nothing.
  void read(const json::Value& value, const char* type, JsonMember::Fields fields);
  // The first thing that was wrong.
  ApiStatus status() const;

 private:
  friend class JsonMember;
  void read_members(const json::Value& object, const char* type, JsonMember::Fields fields);
  void fail(std::string text);   // and goes on, as Go does
  void abort(std::string text);  // outranks what went wrong before

  const bool is_strict_;
  const char* type_ = "";                // of the struct being read
  std::vector<std::string_view> path_;  // names of the fields down to it
  std::string error_;
  bool is_aborted_ = false;
};

}  // namespace brokkr::jetstream
