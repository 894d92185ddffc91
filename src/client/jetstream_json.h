#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "base/result.h"

// Reading and writing the kinds of members JetStream's JSON has. Internal to this room. Pure.
namespace brokkr::client {

// Reads members of one object into variables; a member that is absent leaves its variable alone.
// The first member that cannot be read is remembered.
class FieldReader {
 public:
  explicit FieldReader(const json::Value& object) : object_(object) {}

  void read(const char* name, std::string& out);
  void read(const char* name, bool& out);
  void read(const char* name, int64_t& out);
  void read(const char* name, uint64_t& out);
  void read(const char* name, int& out);
  void read(const char* name, Duration& out);
  void read(const char* name, std::optional<WallTime>& out);  // Go's zero time is none
  void read(const char* name, std::vector<std::string>& out);
  void read(const char* name, std::vector<Duration>& out);
  void read(const char* name, std::vector<uint64_t>& out);
  void read(const char* name, std::map<std::string, std::string>& out);
  void read(const char* name, std::map<std::string, uint64_t>& out);
  // A word of an enumeration whose last value is `last`.
  template <typename Enum>
  void read_word(const char* name, Enum& out, Enum last) {
    const json::Value* member = object_.find(name);
    if (member == nullptr) return;
    for (int i = 0; i <= static_cast<int>(last); ++i) {
      if (member->as_string() != to_string(static_cast<Enum>(i))) continue;
      out = static_cast<Enum>(i);
      return;
    }
    if (!member->as_string().empty()) fail(name);
  }
  // The member when it is an object.
  const json::Value* object(const char* name) const;
  const std::vector<json::Value>* array(const char* name) const;

  void fail(const char* name);
  Status status() const;

 private:
  const json::Value& object_;
  std::string bad_;
};

// Members that are left out when empty, false, zero or absent.
class FieldWriter {
 public:
  explicit FieldWriter(json::Writer& out) : out_(out) {}

  void write(const char* name, const std::string& value);
  void write(const char* name, bool value);
  void write(const char* name, int64_t value);
  void write(const char* name, uint64_t value);
  void write(const char* name, Duration value);
  void write(const char* name, const std::optional<WallTime>& value);
  void write(const char* name, const std::vector<std::string>& value);
  void write(const char* name, const std::vector<Duration>& value);
  void write(const char* name, const std::map<std::string, std::string>& value);

 private:
  json::Writer& out_;
};

}  // namespace brokkr::client
