#include "config/reader.h"

#include <algorithm>
#include <tuple>

#include "base/bytes.h"

namespace brokkr::config {

std::vector<const Member*> in_text_order(const Value& map) {
  std::vector<const Member*> members;
  members.reserve(map.members.size());
  for (const Member& member : map.members)
    members.push_back(&member);
  std::stable_sort(members.begin(), members.end(), [](const Member* a, const Member* b) {
    const Position& x = a->value.at;
    const Position& y = b->value.at;
    return std::tie(x.file, x.line, x.column) < std::tie(y.file, y.line, y.column);
  });
  return members;
}

Diagnostic Reader::make(Position at, std::string reason) const {
  return {document_.files[at.file], at.line, at.column, std::move(reason)};
}

void Reader::fail(Position at, std::string reason) {
  if (errors_.size() < kErrorsMax) errors_.push_back(make(at, std::move(reason)));
}

void Reader::warn(Position at, std::string reason) {
  if (warnings_.size() < kErrorsMax) warnings_.push_back(make(at, std::move(reason)));
}

void Reader::fail_type(const Value& value, std::string_view name, std::string_view expected) {
  fail(value.at,
       std::string(name) + ": expected " + std::string(expected) + ", found " + describe(value));
}

void Reader::add_later(std::string name) {
  later_.push_back(std::move(name));
}

std::vector<std::string> Reader::take_later() {
  std::sort(later_.begin(), later_.end());
  later_.erase(std::unique(later_.begin(), later_.end()), later_.end());
  return std::move(later_);
}

void Reader::read(const Value& value, std::string_view name, bool& out) {
  if (!value.is_bool()) return fail_type(value, name, "true or false");
  out = value.boolean;
}

void Reader::read(const Value& value, std::string_view name, std::string& out) {
  if (!value.is_string()) return fail_type(value, name, "a string");
  out = value.text;
}

void Reader::read(const Value& value, std::string_view name, int64_t& out, int64_t min,
                  int64_t max) {
  if (!value.is_int()) return fail_type(value, name, "an integer (without quotes, like 1MB)");
  if (value.integer < min || value.integer > max) {
    return fail(value.at, std::string(name) + ": " + std::to_string(value.integer) +
                              " is not between " + std::to_string(min) + " and " +
                              std::to_string(max));
  }
  out = value.integer;
}

void Reader::read_port(const Value& value, std::string_view name, int& out) {
  int64_t port = out;
  read(value, name, port, -1, 65535);
  out = static_cast<int>(port);
}

void Reader::read_listen(const Value& value, std::string_view name, HostPort& out) {
  if (value.is_int()) {
    out.host.clear();
    return read_port(value, name, out.port);
  }
  if (!value.is_string()) return fail_type(value, name, "a port or host:port");
  const std::string& text = value.text;
  const size_t colon = text.rfind(':');
  std::string host = text.substr(0, colon == std::string::npos ? 0 : colon);
  const bool is_bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (is_bracketed) host = host.substr(1, host.size() - 2);
  if (colon == std::string::npos || (!is_bracketed && host.find(':') != std::string::npos) ||
      host.find_first_of("[]") != std::string::npos) {
    return fail(value.at, std::string(name) + ": could not parse address string \"" + text +
                              "\", expected host:port");
  }
  const auto port = parse_int(text.substr(colon + 1));
  if (!port || *port < -1 || *port > 65535) {
    return fail(value.at,
                std::string(name) + ": could not parse port \"" + text.substr(colon + 1) + "\"");
  }
  out = {host, static_cast<int>(*port)};
}

void Reader::read_duration(const Value& value, std::string_view name, Duration& out) {
  if (!value.is_int()) return read_duration_text(value, name, out);
  warn(value.at, std::string(name) + " should be converted to a duration, " +
                     std::to_string(value.integer) + " is read as seconds");
  static constexpr int64_t kSecondsMax = 9'000'000'000;
  if (value.integer > kSecondsMax || value.integer < -kSecondsMax) {
    return fail(value.at, std::string(name) + ": too long");
  }
  out = std::chrono::seconds(value.integer);
}

void Reader::read_duration_text(const Value& value, std::string_view name, Duration& out) {
  if (!value.is_string()) return fail_type(value, name, "a duration in quotes like \"10s\"");
  Duration duration{};
  if (!parse_go_duration(value.text, duration)) {
    return fail(value.at, std::string(name) + ": \"" + value.text +
                              "\" is no duration, write it like \"1h2m3.5s\"");
  }
  out = duration;
}

void Reader::read_seconds(const Value& value, std::string_view name, Duration& out) {
  static constexpr double kSecondsMax = 1e9;
  if (value.is_string()) return read_duration_text(value, name, out);
  double seconds = 0;
  if (value.is_int()) {
    seconds = static_cast<double>(value.integer);
  } else if (value.kind == Value::Kind::Float) {
    seconds = value.number;
  } else {
    return fail_type(value, name, "seconds or a duration like \"2s\"");
  }
  if (seconds < -kSecondsMax || seconds > kSecondsMax) {
    return fail(value.at, std::string(name) + ": too long");
  }
  out = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

void Reader::read_list(const Value& value, std::string_view name, std::vector<std::string>& out) {
  if (!value.is_array()) return fail_type(value, name, "a list of strings");
  out.clear();
  read_strings(value, name, out);
}

void Reader::read_strings(const Value& value, std::string_view name,
                          std::vector<std::string>& out) {
  if (value.is_string()) {
    out.push_back(value.text);
    return;
  }
  if (!value.is_array()) return fail_type(value, name, "a string or a list of strings");
  for (const Value& item : value.items) {
    if (item.is_string()) {
      out.push_back(item.text);
    } else {
      fail_type(item, name, "strings in the list");
    }
  }
}

void Reader::for_each_member(const Value& value, std::string_view name, TakeMember take) {
  if (!value.is_map()) return fail_type(value, name, "a map");
  for (const Member* const member : in_text_order(value)) {
    if (take(to_lower(member->name), *member) || member->value.is_used_variable) continue;
    fail(member->value.at, "unknown field \"" + member->name + "\"");
  }
}

}  // namespace brokkr::config
