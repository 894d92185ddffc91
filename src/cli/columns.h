#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

// Numbers, times and reports as the nats CLI writes them. Pure.
namespace brokkr::cli {

// "-1", "1,234".
std::string comma(int64_t);
std::string comma(uint64_t);
// "0 B", "9.5 KiB", "12 KiB": a digit after the point only below ten.
std::string short_bytes(uint64_t);
// "230µs", "51ms", "2.83s", "1m3s", "2d0h0m1s"; "never" for Duration::max().
std::string long_duration(Duration);

// An RFC 3339 time; absent when it is none or lies outside what a WallTime holds, as Go's zero time
// (year 1) does.
std::optional<WallTime> parse_time(std::string_view text);
// From `since` to `until`; Duration::max() when `since` is no time.
Duration time_between(std::string_view since, std::string_view until);
// "2026-11-23 14:09:19" of local time.
std::string date_text(std::string_view rfc3339);
// "2026-11-23 14:09:20.207940074 +0000 UTC".
std::string go_time_text(std::string_view rfc3339);

// One line of a bar graph; `value_text` stands behind the bar.
struct Bar {
  std::string name;
  double value = 0;
  std::string value_text;
};
// Bars of at most 30 blocks below a caption, the least first when `is_sorted`.
std::string bar_graph(std::string_view caption, std::vector<Bar> bars, bool is_sorted = true);

// A report of "name: value" lines whose colons stand below each other, with a heading and section
// titles. A value type.
class Columns {
 public:
  explicit Columns(std::string heading) : heading_(std::move(heading)) {}

  // An empty name continues the row before.
  void row(std::string name, std::string value);
  void row(std::string name, const char* value) { row(std::move(name), std::string(value)); }
  void row(std::string name, bool value) { row(std::move(name), value ? "true" : "false"); }
  void row(std::string name, int64_t value) { row(std::move(name), comma(value)); }
  void row(std::string name, uint64_t value) { row(std::move(name), comma(value)); }
  void row(std::string name, Duration value) { row(std::move(name), long_duration(value)); }
  void row_if_any(std::string name, std::string_view value);
  // The name on the first line only.
  void rows(std::string name, const std::vector<std::string>& values);
  void section(std::string title);
  // What follows is moved to the right by so many blanks.
  void indent(size_t blanks);
  // A line outside the columns.
  void line(std::string text = {});

  std::string text() const;

 private:
  enum class Kind : uint8_t { Row, Indent, Line, Title };
  struct Part {
    Kind kind;
    std::string name;
    std::string value;
  };
  std::string heading_;
  std::vector<Part> parts_;
};

}  // namespace brokkr::cli
