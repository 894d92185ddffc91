#include "jetstream/schedule_pattern.h"

#include <array>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/time_zone.h"

namespace brokkr::jetstream {
namespace {

constexpr uint16_t kBadPattern = 10189;
constexpr uint16_t kBadZone = 10223;
constexpr int64_t kYearsMax = 5;

// The values of one cron field, as bits.
struct CronField {
  uint64_t bits = 0;
  bool is_star = false;
  bool has(int value) const { return (bits >> value & 1) != 0; }
};

struct CronBounds {
  int min = 0;
  int max = 0;
  std::string_view names;  // three letters each, the first stands for `min`
};

constexpr std::array<CronBounds, 6> kBounds = {{
    {0, 59, {}},
    {0, 59, {}},
    {0, 23, {}},
    {1, 31, {}},
    {1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
    {0, 6, "sunmontuewedthufrisat"},
}};

std::optional<int> parse_cron_value(std::string_view text, const CronBounds& bounds) {
  if (text.size() == 3 && !bounds.names.empty()) {
    const size_t at = bounds.names.find(to_lower(text));
    if (at != std::string_view::npos && at % 3 == 0) return bounds.min + static_cast<int>(at / 3);
  }
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto value = parse_uint(text);
  if (!value || *value > 100'000) return std::nullopt;
  return static_cast<int>(*value);
}

// value | value "-" value | "*", and perhaps "/" step.
bool add_cron_range(std::string_view text, const CronBounds& bounds, CronField& field) {
  const auto range_and_step = split(text, '/');
  const auto ends = split(range_and_step[0], '-');
  if (range_and_step.size() > 2) return false;
  int first = bounds.min;
  int last = bounds.max;
  const bool is_star = ends[0] == "*" || ends[0] == "?";
  if (!is_star) {
    if (ends.size() > 2) return false;
    const auto low = parse_cron_value(ends[0], bounds);
    const auto high = parse_cron_value(ends.back(), bounds);
    if (!low || !high) return false;
    first = *low;
    last = *high;
  }
  int step = 1;
  if (range_and_step.size() == 2) {
    const auto given = parse_uint(range_and_step[1]);
    if (!given || *given == 0 || *given > 100'000) return false;
    step = static_cast<int>(*given);
    if (ends.size() == 1) last = bounds.max;
  }
  if (first < bounds.min || last > bounds.max || first > last) return false;
  for (int value = first; value <= last; value += step) field.bits |= uint64_t{1} << value;
  if (is_star && step == 1) field.is_star = true;
  return true;
}

struct Cron {
  std::array<CronField, 6> fields;
  const CronField& seconds() const { return fields[0]; }
  const CronField& minutes() const { return fields[1]; }
  const CronField& hours() const { return fields[2]; }
  const CronField& months() const { return fields[4]; }
  // With both days restricted one of them is enough.
  bool has_day(const CivilTime& at) const {
    const bool by_month = fields[3].has(at.day);
    const bool by_week = fields[5].has(at.weekday);
    return fields[3].is_star || fields[5].is_star ? by_month && by_week : by_month || by_week;
  }
};

std::optional<Cron> parse_cron(std::string_view pattern) {
  Cron cron;
  size_t count = 0;
  for (size_t at = 0; at < pattern.size();) {
    const size_t begin = pattern.find_first_not_of(" \t\n\v\f\r", at);
    if (begin == std::string_view::npos) break;
    const size_t end = std::min(pattern.find_first_of(" \t\n\v\f\r", begin), pattern.size());
    if (count == cron.fields.size()) return std::nullopt;
    for (const std::string_view range : split(pattern.substr(begin, end - begin), ',')) {
      if (range.empty()) continue;
      if (!add_cron_range(range, kBounds[count], cron.fields[count])) return std::nullopt;
    }
    ++count;
    at = end;
  }
  if (count != cron.fields.size()) return std::nullopt;
  for (const CronField& field : cron.fields) {
    if (field.bits == 0) return std::nullopt;  // "," chooses nothing, ever
  }
  return cron;
}

// The first second after `from` that the fields choose. Steps over whole months, days, hours and
// minutes that they do not.
std::optional<int64_t> next_cron(const Cron& cron, const TimeZone& zone, int64_t from) {
  int64_t at = from + 1;
  const int64_t last_year = zone.to_civil(at).year + kYearsMax;
  for (;;) {
    CivilTime civil = zone.to_civil(at);
    if (civil.year > last_year) return std::nullopt;
    int64_t next = 0;
    if (!cron.months().has(civil.month) || !cron.has_day(civil)) {
      if (cron.months().has(civil.month)) {
        ++civil.day;
      } else {
        ++civil.month;
        civil.day = 1;
      }
      civil.hour = civil.minute = civil.second = 0;
      next = zone.to_unix(civil);
    } else if (!cron.hours().has(civil.hour)) {
      // By the hour as it passes, so that one the zone repeats or skips is met as it comes.
      next = at + 3600 - civil.minute * 60 - civil.second;
    } else if (!cron.minutes().has(civil.minute)) {
      next = at + 60 - civil.second;
    } else if (!cron.seconds().has(civil.second)) {
      next = at + 1;
    } else {
      return at;
    }
    at = next > at ? next : at + 1;
  }
}

std::string_view expand_name(std::string_view pattern) {
  if (pattern == "@yearly" || pattern == "@annually") return "0 0 0 1 1 *";
  if (pattern == "@monthly") return "0 0 0 1 * *";
  if (pattern == "@weekly") return "0 0 0 * * 0";
  if (pattern == "@daily" || pattern == "@midnight") return "0 0 0 * * *";
  if (pattern == "@hourly") return "0 0 * * * *";
  return pattern;
}

WallTime round_to_second(WallTime at) {
  return std::chrono::floor<std::chrono::seconds>(at + std::chrono::milliseconds(500));
}

int64_t seconds_of(WallTime at) {
  return std::chrono::floor<std::chrono::seconds>(at).time_since_epoch().count();
}

}  // namespace

SchedulePattern parse_schedule(std::string_view pattern, const std::string* zone_name, WallTime from,
                               WallTime now) {
  SchedulePattern out;
  std::shared_ptr<const TimeZone> zone = TimeZone::utc();
  if (zone_name != nullptr) {
    out.error = kBadZone;
    if (zone_name->empty()) return out;
    auto loaded = TimeZone::load(*zone_name);
    if (!loaded) return out;
    zone = *loaded;
    out.error = 0;
  }
  if (pattern.empty()) return out;
  out.error = kBadPattern;
  out.is_set = true;
  const bool is_at = pattern.starts_with("@at ");
  const bool is_every = pattern.starts_with("@every ");
  if ((is_at || is_every) && zone_name != nullptr) return out;
  if (is_at) {
    if (parse_rfc3339(pattern.substr(4), out.next)) out.error = 0;
    return out;
  }
  out.repeats = true;
  if (is_every) {
    Duration every;
    if (!parse_go_duration(pattern.substr(7), every) || every < std::chrono::seconds(1)) return out;
    out.next = round_to_second(from) + every;
    if (out.next < now) out.next = round_to_second(now) + every;
    out.error = 0;
    return out;
  }
  const auto cron = parse_cron(expand_name(pattern));
  if (!cron) return out;
  auto next = next_cron(*cron, *zone, seconds_of(from));
  if (next && *next < seconds_of(now)) next = next_cron(*cron, *zone, seconds_of(round_to_second(now)));
  if (!next) return out;
  out.next = WallTime(std::chrono::seconds(*next));
  out.error = 0;
  return out;
}

}  // namespace brokkr::jetstream
