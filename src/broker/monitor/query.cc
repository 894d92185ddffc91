#include "broker/monitor/query.h"

#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "base/json.h"

namespace brokkr::broker {
namespace {

constexpr std::array<std::string_view, 6> kTrue = {"1", "t", "T", "true", "TRUE", "True"};
constexpr std::array<std::string_view, 6> kFalse = {"0", "f", "F", "false", "FALSE", "False"};

bool is_all_digits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::string_view reason_for(std::string_view digits) {
  return is_all_digits(digits) ? "value out of range" : "invalid syntax";
}

}  // namespace

void QueryReader::fail(std::string text) {
  if (error_.empty()) error_ = std::move(text);
}

void QueryReader::fail_decoding(std::string_view type, std::string_view name,
                                std::string_view function, std::string_view value,
                                std::string_view reason) {
  std::string text = "Error decoding ";
  text.append(type).append(" for '").append(name).append("': strconv.").append(function);
  text.append(": parsing ");
  json::append_quoted(text, value, false);
  text.append(": ").append(reason);
  fail(std::move(text));
}

bool QueryReader::boolean(std::string_view name) {
  const std::string_view value = request_.find_query(name);
  if (value.empty()) return false;
  if (std::find(kTrue.begin(), kTrue.end(), value) != kTrue.end()) return true;
  if (std::find(kFalse.begin(), kFalse.end(), value) == kFalse.end()) {
    fail_decoding("boolean", name, "ParseBool", value, "invalid syntax");
  }
  return false;
}

int64_t QueryReader::integer(std::string_view name) {
  const std::string_view value = request_.find_query(name);
  if (value.empty()) return 0;
  std::string_view digits = value;
  const bool is_negative = digits[0] == '-';
  if (is_negative || digits[0] == '+') digits.remove_prefix(1);
  const auto parsed = parse_uint(digits);
  const uint64_t limit = static_cast<uint64_t>(INT64_MAX);
  if (!parsed || *parsed > limit) {
    fail_decoding("int", name, "Atoi", value, reason_for(digits));
    return 0;
  }
  return is_negative ? -static_cast<int64_t>(*parsed) : static_cast<int64_t>(*parsed);
}

uint64_t QueryReader::unsigned_integer(std::string_view name) {
  const std::string_view value = request_.find_query(name);
  if (value.empty()) return 0;
  const auto parsed = parse_uint(value);
  if (!parsed) fail_decoding("uint64", name, "ParseUint", value, reason_for(value));
  return parsed.value_or(0);
}

}  // namespace brokkr::broker
