#include "base/time_zone.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

namespace brokkr {
namespace {

constexpr const char* kDatabase = "/usr/share/zoneinfo/";
constexpr size_t kFileMax = 256 << 10;
constexpr size_t kNameMax = 128;
constexpr int64_t kDay = 86400;
constexpr size_t kTzifHeader = 44;

int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

// Reads big-endian numbers; past the end everything is zero and `failed`.
class TzifReader {
 public:
  explicit TzifReader(std::string_view bytes) : rest_(bytes) {}
  std::string_view take(size_t count) {
    if (count > rest_.size()) {
      failed_ = true;
      rest_ = {};
      return {};
    }
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }
  uint64_t number(size_t bytes) {
    uint64_t value = 0;
    for (const char c : take(bytes)) value = value << 8 | static_cast<uint8_t>(c);
    return value;
  }
  bool failed() const { return failed_; }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
  bool failed_ = false;
};

struct TzifCounts {
  uint64_t isut = 0, isstd = 0, leap = 0, times = 0, types = 0, chars = 0;
  size_t body_bytes(size_t time_bytes) const {
    return times * time_bytes + times + types * 6 + chars + leap * (time_bytes + 4) + isstd + isut;
  }
};

TzifCounts read_counts(TzifReader& reader) {
  TzifCounts counts;
  for (uint64_t* count : {&counts.isut, &counts.isstd, &counts.leap, &counts.times, &counts.types,
                          &counts.chars}) {
    *count = reader.number(4);
  }
  return counts;
}

bool is_leap(int64_t year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

int days_in_month(int64_t year, int month) {
  constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return month == 2 && is_leap(year) ? 29 : kDays[month - 1];
}

// "<+03>" or "EST": a name in the footer, skipped.
bool skip_zone_name(std::string_view& text) {
  size_t end = 0;
  if (text.starts_with('<')) {
    end = text.find('>');
    if (end == std::string_view::npos) return false;
    ++end;
  } else {
    while (end < text.size() && ((text[end] | 0x20) >= 'a' && (text[end] | 0x20) <= 'z')) ++end;
  }
  text.remove_prefix(end);
  return end >= 3;
}

bool read_small(std::string_view& text, int& out) {
  size_t digits = 0;
  out = 0;
  while (digits < text.size() && digits < 3 && text[digits] >= '0' && text[digits] <= '9') {
    out = out * 10 + (text[digits++] - '0');
  }
  text.remove_prefix(digits);
  return digits > 0;
}

// "[+-]hh[:mm[:ss]]" in seconds.
bool read_hours(std::string_view& text, int32_t& out) {
  const bool is_negative = text.starts_with('-');
  if (is_negative || text.starts_with('+')) text.remove_prefix(1);
  int parts[3] = {0, 0, 0};
  if (!read_small(text, parts[0])) return false;
  for (int i = 1; i < 3 && text.starts_with(':'); ++i) {
    text.remove_prefix(1);
    if (!read_small(text, parts[i])) return false;
  }
  out = parts[0] * 3600 + parts[1] * 60 + parts[2];
  if (is_negative) out = -out;
  return true;
}

Result<std::string> read_zone_file(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Error{Errc::NotFound, "time zone file " + path + " is not there"};
  std::string bytes(kFileMax, '\0');
  size_t size = 0;
  for (;;) {
    const ssize_t n = read(fd, bytes.data() + size, bytes.size() - size);
    if (n <= 0) break;
    size += static_cast<size_t>(n);
  }
  close(fd);
  bytes.resize(size);
  return bytes;
}

}  // namespace

int64_t days_from_civil(int64_t year, int month, int day) {
  year += floor_div(month - 1, 12);
  month = static_cast<int>((month - 1) - 12 * floor_div(month - 1, 12)) + 1;
  // Years that begin in March end with the leap day.
  const int64_t y = month <= 2 ? year - 1 : year;
  const int64_t era = floor_div(y, 400);
  const int64_t year_of_era = y - era * 400;
  const int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  const int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146097 + day_of_era - 719468;
}

CivilTime civil_from_unix(int64_t unix_seconds) {
  const int64_t days = floor_div(unix_seconds, kDay);
  const auto seconds = static_cast<int>(unix_seconds - days * kDay);
  CivilTime out;
  out.hour = seconds / 3600;
  out.minute = seconds / 60 % 60;
  out.second = seconds % 60;
  out.weekday = static_cast<int>((days % 7 + 11) % 7);
  // A guess that is a year too early at most, and then the months in turn.
  out.year = 1970 + floor_div(days * 400, 146097) - 1;
  while (days_from_civil(out.year + 1, 1, 1) <= days) ++out.year;
  auto rest = static_cast<int>(days - days_from_civil(out.year, 1, 1));
  out.month = 1;
  while (rest >= days_in_month(out.year, out.month)) rest -= days_in_month(out.year, out.month++);
  out.day = rest + 1;
  return out;
}

std::shared_ptr<const TimeZone> TimeZone::utc() { return std::make_shared<const TimeZone>(); }

Result<std::shared_ptr<const TimeZone>> TimeZone::load(const std::string& name) {
  if (name.empty() || name == "UTC") return utc();
  const bool is_odd = name.size() > kNameMax || name.front() == '/' || name.front() == '\\' ||
                      name.find("..") != std::string::npos ||
                      name.find('\0') != std::string::npos;
  if (is_odd) return Error{Errc::NotFound, "no time zone has the name " + name};
  auto bytes = read_zone_file(kDatabase + name);
  if (!bytes) return bytes.error();
  return parse(*bytes);
}

Result<std::shared_ptr<const TimeZone>> TimeZone::parse(std::string_view bytes) {
  const Error corrupt{Errc::Corrupt, "no time zone file"};
  TzifReader reader(bytes);
  if (reader.take(4) != "TZif") return corrupt;
  const std::string_view version = reader.take(1);
  reader.take(15);
  TzifCounts counts = read_counts(reader);
  size_t time_bytes = 4;
  if (!version.empty() && version[0] >= '2') {
    reader.take(counts.body_bytes(4));
    if (reader.take(4) != "TZif") return corrupt;
    reader.take(kTzifHeader - 4 - 24);
    counts = read_counts(reader);
    time_bytes = 8;
  }
  if (reader.failed() || counts.body_bytes(time_bytes) > reader.rest().size() || counts.types == 0) {
    return corrupt;
  }
  auto zone = std::make_shared<TimeZone>();
  zone->changes_.resize(counts.times);
  for (Change& change : zone->changes_) {
    const uint64_t at = reader.number(time_bytes);
    change.at = time_bytes == 8 ? static_cast<int64_t>(at) : static_cast<int32_t>(at);
  }
  const std::string_view kinds = reader.take(counts.times);
  std::vector<int32_t> offsets(counts.types);
  for (int32_t& offset : offsets) {
    offset = static_cast<int32_t>(reader.number(4));
    reader.take(2);
  }
  for (size_t i = 0; i < kinds.size(); ++i) {
    const auto kind = static_cast<uint8_t>(kinds[i]);
    if (kind >= offsets.size()) return corrupt;
    zone->changes_[i].offset = offsets[kind];
  }
  zone->first_offset_ = offsets[0];
  reader.take(counts.chars + counts.leap * (time_bytes + 4) + counts.isstd + counts.isut);
  std::string_view footer = reader.rest();
  if (time_bytes == 8 && footer.starts_with('\n')) {
    footer.remove_prefix(1);
    zone->has_rule_ = parse_rule(footer.substr(0, footer.find('\n')), zone->rule_);
  }
  return std::shared_ptr<const TimeZone>(std::move(zone));
}

bool TimeZone::parse_rule(std::string_view text, Rule& out) {
  int32_t west = 0;
  if (!skip_zone_name(text) || !read_hours(text, west)) return false;
  out.offset = -west;
  if (text.empty()) return true;
  if (!skip_zone_name(text)) return false;
  out.summer_offset = out.offset + 3600;
  if (!text.starts_with(',')) {
    if (!read_hours(text, west)) return false;
    out.summer_offset = -west;
  }
  out.has_summer = parse_rule_day(text, out.summer_begins) && parse_rule_day(text, out.summer_ends);
  return out.has_summer && text.empty();
}

bool TimeZone::parse_rule_day(std::string_view& text, RuleDay& out) {
  if (!text.starts_with(",M")) return false;
  text.remove_prefix(2);
  if (!read_small(text, out.month) || !text.starts_with('.')) return false;
  text.remove_prefix(1);
  if (!read_small(text, out.week) || !text.starts_with('.')) return false;
  text.remove_prefix(1);
  if (!read_small(text, out.weekday)) return false;
  if (text.starts_with('/')) {
    text.remove_prefix(1);
    if (!read_hours(text, out.time)) return false;
  }
  return out.month >= 1 && out.month <= 12 && out.week >= 1 && out.week <= 5 && out.weekday <= 6;
}

// Seconds since 1970 of the rule's moment in that year, on a clock without offset.
int64_t TimeZone::day_of_rule(int64_t year, const RuleDay& rule) {
  const int64_t first = days_from_civil(year, rule.month, 1);
  const auto first_weekday = static_cast<int>((first % 7 + 11) % 7);
  int day = 1 + (rule.weekday - first_weekday + 7) % 7 + (rule.week - 1) * 7;
  if (day > days_in_month(year, rule.month)) day -= 7;
  return (first + day - 1) * kDay + rule.time;
}

int32_t TimeZone::offset_by_rule(int64_t unix_seconds) const {
  if (!rule_.has_summer) return rule_.offset;
  const int64_t year = civil_from_unix(unix_seconds + rule_.offset).year;
  const int64_t begins = day_of_rule(year, rule_.summer_begins) - rule_.offset;
  const int64_t ends = day_of_rule(year, rule_.summer_ends) - rule_.summer_offset;
  const bool is_summer = begins < ends ? unix_seconds >= begins && unix_seconds < ends
                                       : unix_seconds >= begins || unix_seconds < ends;
  return is_summer ? rule_.summer_offset : rule_.offset;
}

int32_t TimeZone::offset_at(int64_t unix_seconds) const {
  const auto after = std::upper_bound(
      changes_.begin(), changes_.end(), unix_seconds,
      [](int64_t seconds, const Change& change) { return seconds < change.at; });
  if (after == changes_.end() && has_rule_) return offset_by_rule(unix_seconds);
  return after == changes_.begin() ? first_offset_ : std::prev(after)->offset;
}

CivilTime TimeZone::to_civil(int64_t unix_seconds) const {
  return civil_from_unix(unix_seconds + offset_at(unix_seconds));
}

int64_t TimeZone::to_unix(const CivilTime& civil) const {
  const int64_t local = days_from_civil(civil.year, civil.month, civil.day) * kDay +
                        civil.hour * 3600 + civil.minute * 60 + civil.second;
  // The offsets a day before and after are those on both sides of a change.
  const int32_t before = offset_at(local - kDay);
  const int32_t after = offset_at(local + kDay);
  for (const int32_t offset : {before, after}) {
    if (offset_at(local - offset) == offset) return local - offset;
  }
  return local - before;
}

}  // namespace brokkr
