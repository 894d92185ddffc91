#include "cli/columns.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>

#include "base/bytes.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

using std::chrono::seconds;

Duration rounded(Duration value, Duration unit) {
  const int64_t half = unit.count() / 2;
  const int64_t count = value.count();
  return Duration((count + (count < 0 ? -half : half)) / unit.count() * unit.count());
}

// The fraction of a second in nanoseconds, and where it ends in `text`.
int64_t parse_fraction(std::string_view text, size_t& at) {
  int64_t nanos = 0;
  if (at >= text.size() || text[at] != '.') return 0;
  int64_t scale = 100'000'000;
  for (++at; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    nanos += (text[at] - '0') * scale;
    scale /= 10;
  }
  return nanos;
}

}  // namespace

std::string comma(uint64_t value) { return format_count(value); }
std::string comma(int64_t value) {
  return value < 0 ? "-" + format_count(0 - static_cast<uint64_t>(value))
                   : format_count(static_cast<uint64_t>(value));
}

std::string short_bytes(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  size_t power = 0;
  auto value = static_cast<double>(bytes);
  while (value >= 1024 && power + 1 < std::size(kUnits)) {
    value /= 1024;
    ++power;
  }
  const double tenths = std::floor(value * 10 + 0.5) / 10;
  char text[32];
  if (tenths < 10) {
    std::snprintf(text, sizeof text, "%.1f %s", tenths, kUnits[power]);
  } else {
    std::snprintf(text, sizeof text, "%.0f %s", value, kUnits[power]);
  }
  return text;
}

std::string long_duration(Duration value) {
  if (value == Duration::max()) return "never";
  if (value < std::chrono::milliseconds(1)) {
    return format_go_duration(rounded(value, std::chrono::microseconds(1)));
  }
  if (value < seconds(1)) return format_go_duration(rounded(value, std::chrono::milliseconds(1)));
  const int64_t total = std::chrono::duration_cast<seconds>(value).count();
  const int64_t minutes = total / 60;
  const int64_t hours = minutes / 60;
  const int64_t days = hours / 24;
  char text[64];
  if (minutes == 0) {
    std::snprintf(text, sizeof text, "%.2fs", std::chrono::duration<double>(value).count());
    return text;
  }
  std::string out;
  if (days / 365 > 0) out += std::to_string(days / 365) + "y";
  if (days > 0) out += std::to_string(days % 365) + "d";
  if (hours > 0) out += std::to_string(hours % 24) + "h";
  return out + std::to_string(minutes % 60) + "m" + std::to_string(total % 60) + "s";
}

std::optional<WallTime> parse_time(std::string_view text) {
  std::tm parts{};
  const std::string copy(text);
  int end = 0;
  if (std::sscanf(copy.c_str(), "%d-%d-%d%*1[Tt ]%d:%d:%d%n", &parts.tm_year, &parts.tm_mon,
                  &parts.tm_mday, &parts.tm_hour, &parts.tm_min, &parts.tm_sec, &end) != 6) {
    return std::nullopt;
  }
  if (parts.tm_year < 1700 || parts.tm_year > 2200) return std::nullopt;
  parts.tm_year -= 1900;
  parts.tm_mon -= 1;
  auto at = static_cast<size_t>(end);
  const int64_t nanos = parse_fraction(text, at);
  int64_t shift = 0;  // seconds east of UTC
  int hours = 0;
  int minutes = 0;
  char sign = '+';
  if (std::sscanf(copy.c_str() + at, "%c%d:%d", &sign, &hours, &minutes) == 3) {
    shift = (hours * 3600 + minutes * 60) * (sign == '-' ? -1 : 1);
  }
  return WallTime(seconds(timegm(&parts) - shift)) + Duration(nanos);
}

Duration time_between(std::string_view since, std::string_view until) {
  const auto from = parse_time(since);
  if (!from) return Duration::max();
  const auto to = parse_time(until);
  return (to ? *to : SystemClock().wall_now()) - *from;
}

std::string date_text(std::string_view rfc3339) {
  const auto time = parse_time(rfc3339);
  return time ? local_date_text(*time) : "0001-01-01 00:00:00";
}

std::string go_time_text(std::string_view rfc3339) {
  std::string out(rfc3339);
  if (const size_t at = out.find('T'); at != std::string::npos) out[at] = ' ';
  if (out.ends_with('Z')) out.pop_back();
  return out + " +0000 UTC";
}

std::string bar_graph(std::string_view caption, std::vector<Bar> bars, bool is_sorted) {
  constexpr double kBlocks = 30;
  const auto less = [](const Bar& a, const Bar& b) { return a.value < b.value; };
  if (is_sorted) std::stable_sort(bars.begin(), bars.end(), less);
  std::string out = std::string(caption) + "\n\n";
  if (bars.empty()) return out;
  const double least = std::min_element(bars.begin(), bars.end(), less)->value;
  const double most = std::max_element(bars.begin(), bars.end(), less)->value;
  size_t longest = 0;
  for (const Bar& bar : bars) longest = std::max(longest, bar.name.size());
  for (const Bar& bar : bars) {
    // Alone, or all the same: a full bar. Otherwise the least has none.
    double blocks = kBlocks;
    if (most > least) blocks = (bar.value - least) / ((most - least) / kBlocks);
    if (bar.value == 0) blocks = 0;
    std::string blocks_text;
    for (int i = 0; i < static_cast<int>(blocks); ++i) blocks_text += "█";
    out += std::string(longest - bar.name.size() + 2, ' ') + bar.name + ": " +
           (blocks_text.empty() ? "▏" : blocks_text) + " (" + bar.value_text + ")\n";
  }
  return out;
}

void Columns::row(std::string name, std::string value) {
  parts_.push_back({Kind::Row, std::move(name), std::move(value)});
}
void Columns::row_if_any(std::string name, std::string_view value) {
  if (!value.empty()) row(std::move(name), std::string(value));
}
void Columns::rows(std::string name, const std::vector<std::string>& values) {
  for (const std::string& value : values) {
    row(std::move(name), value);
    name.clear();
  }
}
void Columns::section(std::string title) { parts_.push_back({Kind::Title, std::move(title), {}}); }
void Columns::indent(size_t blanks) {
  parts_.push_back({Kind::Indent, std::string(blanks, ' '), {}});
}
void Columns::line(std::string text) { parts_.push_back({Kind::Line, std::move(text), {}}); }

std::string Columns::text() const {
  size_t longest = 0;
  for (const Part& part : parts_) {
    if (part.kind == Kind::Row) longest = std::max(longest, part.name.size());
  }
  std::string out = heading_.empty() ? "" : heading_ + "\n\n";
  std::string indent;
  const Part* previous = nullptr;  // the last one that was printed
  for (const Part& part : parts_) {
    const bool is_after_title = previous != nullptr && previous->kind == Kind::Title;
    const bool is_after_blank =
        previous != nullptr && previous->kind == Kind::Line && previous->name.empty();
    if (part.kind == Kind::Indent) {
      indent = part.name;
      continue;
    }
    if (part.kind == Kind::Line) {
      if (is_after_title && part.name.empty()) continue;
      out += indent + (part.name.empty() ? "" : " " + part.name) + "\n";
    } else if (part.kind == Kind::Title) {
      if (&part != &parts_.front() && !is_after_title && !is_after_blank) out += '\n';
      out += indent + part.name + (part.name.ends_with(':') ? "" : ":") + "\n\n";
    } else {
      const size_t width = display_width(part.name);
      out += indent + std::string(longest - std::min(longest, width) + 2, ' ') + part.name;
      out += (part.name.empty() ? "  " : ": ") + part.value + "\n";
    }
    previous = &part;
  }
  return out;
}

}  // namespace brokkr::cli
