#include "base/json.h"

#include <simdjson.h>

#include <limits>

namespace brokkr::json {

// Copies simdjson's document into ours, so that its header stays in this file.
struct Builder {
  static constexpr int kDepthMax = 128;

  static bool build(simdjson::dom::element element, Value& out, int depth) {
    if (depth > kDepthMax) return false;
    using Type = simdjson::dom::element_type;
    switch (element.type()) {
      case Type::NULL_VALUE: return true;
      case Type::BOOL:
        out.kind_ = Value::Kind::Bool;
        out.bool_ = bool(element);
        return true;
      case Type::INT64:
        out.kind_ = Value::Kind::Int;
        out.int_ = int64_t(element);
        return true;
      case Type::UINT64:
        out.kind_ = Value::Kind::Uint;
        out.uint_ = uint64_t(element);
        return true;
      case Type::DOUBLE:
        out.kind_ = Value::Kind::Double;
        out.double_ = double(element);
        return true;
      case Type::STRING:
        out.kind_ = Value::Kind::String;
        out.text_ = std::string_view(element);
        return true;
      case Type::ARRAY:
        out.kind_ = Value::Kind::Array;
        for (simdjson::dom::element item : simdjson::dom::array(element)) {
          if (!build(item, out.items_.emplace_back(), depth + 1)) return false;
        }
        return true;
      case Type::OBJECT: break;
    }
    out.kind_ = Value::Kind::Object;
    for (const auto& field : simdjson::dom::object(element)) {
      Value& member = out.members_.emplace_back(std::string(field.key), Value()).second;
      if (!build(field.value, member, depth + 1)) return false;
    }
    return true;
  }
};

Result<Value> parse(std::string_view text) {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  const auto error = parser.parse(simdjson::padded_string(text)).get(root);
  if (error != simdjson::SUCCESS) return Error{Errc::Syntax, simdjson::error_message(error)};
  Value value;
  if (!Builder::build(root, value, 0)) return Error{Errc::Syntax, "nested deeper than 128"};
  return value;
}

std::optional<bool> Value::as_bool() const {
  if (kind_ != Kind::Bool) return std::nullopt;
  return bool_;
}

std::optional<int64_t> Value::as_int() const {
  if (kind_ == Kind::Int) return int_;
  return std::nullopt;
}

std::optional<uint64_t> Value::as_uint() const {
  if (kind_ == Kind::Uint) return uint_;
  if (kind_ == Kind::Int && int_ >= 0) return static_cast<uint64_t>(int_);
  return std::nullopt;
}

std::optional<double> Value::as_double() const {
  if (kind_ == Kind::Double) return double_;
  if (kind_ == Kind::Int) return static_cast<double>(int_);
  if (kind_ == Kind::Uint) return static_cast<double>(uint_);
  return std::nullopt;
}

const Value* Value::find(std::string_view name) const {
  for (auto it = members_.rbegin(); it != members_.rend(); ++it) {
    if (it->first == name) return &it->second;
  }
  return nullptr;
}

std::string_view Value::get_string(std::string_view name, std::string_view fallback) const {
  const Value* member = find(name);
  return member != nullptr && member->is_string() ? member->as_string() : fallback;
}

int64_t Value::get_int(std::string_view name, int64_t fallback) const {
  const Value* member = find(name);
  return member != nullptr ? member->as_int().value_or(fallback) : fallback;
}

bool Value::get_bool(std::string_view name, bool fallback) const {
  const Value* member = find(name);
  return member != nullptr ? member->as_bool().value_or(fallback) : fallback;
}

}  // namespace brokkr::json
