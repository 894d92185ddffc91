#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

// JetStream's objects with their members in the order, and with the zero values, that the nats CLI
// writes, whatever a server left out; and objects that can be changed before they are sent.
namespace brokkr::cli {

struct ShapeMember {
  enum class Type : uint8_t { Text, Number, Flag, Time, Raw, Object, List, Map };
  std::string_view name;
  Type type = Type::Text;
  bool omits_zero = false;
  std::span<const ShapeMember> inner{};  // of an Object, or of each item of a List
  std::string_view zero{};               // another text that counts as absent: "none"
};
using Shape = std::span<const ShapeMember>;

extern const Shape kStreamConfigShape;
extern const Shape kStreamInfoShape;
extern const Shape kConsumerConfigShape;
extern const Shape kConsumerInfoShape;
extern const Shape kStoredMessageShape;
extern const Shape kBackupShape;  // config and state, of backup.json

void write_shaped(json::Writer& out, const json::Value& value, Shape shape);
// Indented by two as json.MarshalIndent does.
std::string shaped_text(const json::Value& value, Shape shape);

// A JSON object that is put together or changed member by member. A value type.
class Draft {
 public:
  Draft() = default;
  // A copy of an object's members; empty for any other kind.
  explicit Draft(const json::Value& object);

  void text(std::string_view name, std::string_view value);
  void number(std::string_view name, int64_t value);
  void flag(std::string_view name, bool value);
  void texts(std::string_view name, const std::vector<std::string>& values);
  void map(std::string_view name, const std::vector<std::pair<std::string, std::string>>& values);
  void object(std::string_view name, const Draft& value) { raw(name, value.text()); }
  void raw(std::string_view name, std::string json);
  void erase(std::string_view name);

  std::string text() const;
  // The same, parsed; an empty object when a raw member was no JSON.
  json::Value value() const;

 private:
  std::vector<std::pair<std::string, std::string>> members_;
};

}  // namespace brokkr::cli
