#include "workload/cron.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <vector>

namespace brokkr::workload {
namespace {

using std::chrono::days;
using std::chrono::floor;

constexpr Duration kEveryMin = std::chrono::seconds(1);
constexpr Duration kEveryMax = std::chrono::hours(24 * 366);
constexpr int kYearsMax = 8;

constexpr std::string_view kMonths[] = {"jan", "feb", "mar", "apr", "may", "jun",
                                        "jul", "aug", "sep", "oct", "nov", "dec"};
constexpr std::string_view kWeekdays[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

struct CronField {
  const char* name;
  uint32_t min;
  uint32_t max;
  const std::string_view* words = nullptr;
  uint32_t word_count = 0;
};
constexpr CronField kCronFields[] = {{"second", 0, 59},
                                     {"minute", 0, 59},
                                     {"hour", 0, 23},
                                     {"day of month", 1, 31},
                                     {"month", 1, 12, kMonths, 12},
                                     {"day of week", 0, 7, kWeekdays, 7}};

Error bad_cron_field(const CronField& field, std::string_view text) {
  return {Errc::Syntax, std::string(field.name) + " \"" + std::string(text) + "\" is not " +
                            std::to_string(field.min) + " to " + std::to_string(field.max)};
}

// A number or one of the field's words.
std::optional<uint32_t> read_cron_number(std::string_view text, const CronField& field) {
  for (uint32_t i = 0; i < field.word_count; ++i) {
    const bool is_same = std::equal(text.begin(), text.end(), field.words[i].begin(),
                                    field.words[i].end(), [](char a, char b) { return (a | 32) == b; });
    if (is_same) return field.min + i;
  }
  uint32_t number = 0;
  const auto end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, number);
  if (read.ec != std::errc() || read.ptr != end || text.empty()) return std::nullopt;
  return number;
}

std::vector<std::string_view> split_at(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// "*", "*/5", "3", "3-7", "3-7/2", "3/5" (from 3 on).
Status add_cron_item(std::string_view item, const CronField& field, uint64_t& bits) {
  const size_t slash = item.find('/');
  std::optional<uint32_t> step = 1;
  if (slash != std::string_view::npos) {
    step = read_cron_number(item.substr(slash + 1), {"", 0, 0});
    if (!step || *step == 0) return bad_cron_field(field, item);
  }
  const std::string_view range = item.substr(0, slash);
  std::optional<uint32_t> first = field.min;
  std::optional<uint32_t> last = field.max;
  if (range != "*") {
    const size_t dash = range.find('-');
    first = read_cron_number(range.substr(0, dash), field);
    if (dash != std::string_view::npos) {
      last = read_cron_number(range.substr(dash + 1), field);
    } else if (slash == std::string_view::npos) {
      last = first;
    }
  }
  if (!first || !last || *first < field.min || *last > field.max || *first > *last) {
    return bad_cron_field(field, item);
  }
  for (uint32_t n = *first; n <= *last; n += *step) bits |= uint64_t{1} << n;
  return {};
}

Result<uint64_t> parse_cron_field(std::string_view text, const CronField& field) {
  uint64_t bits = 0;
  for (const std::string_view item : split_at(text, ',')) {
    if (Status s = add_cron_item(item, field, bits); !s) return s.error();
  }
  return bits;
}

std::string_view spelled_out(std::string_view text) {
  constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
      {"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},    {"@midnight", "0 0 * * *"},
      {"@hourly", "0 * * * *"}, {"@minutely", "* * * * *"}};
  for (const auto& [name, fields] : kNames) {
    if (text == name) return fields;
  }
  return text;
}

// The first set bit at `from` or above; absent when there is none.
std::optional<uint32_t> next_bit(uint64_t bits, uint32_t from) {
  if (from >= 64) return std::nullopt;
  bits &= ~uint64_t{0} << from;
  if (bits == 0) return std::nullopt;
  return static_cast<uint32_t>(__builtin_ctzll(bits));
}

}  // namespace

Result<Schedule> Schedule::parse(std::string_view text) {
  Schedule schedule;
  if (text.starts_with("@every ")) {
    if (!parse_go_duration(text.substr(7), schedule.every_) || schedule.every_ < kEveryMin ||
        schedule.every_ > kEveryMax) {
      return Error{Errc::Syntax, "schedule \"" + std::string(text) +
                                     "\" is not @every with a duration of 1s to a year"};
    }
    return schedule;
  }
  std::vector<std::string_view> words;
  for (const std::string_view word : split_at(spelled_out(text), ' ')) {
    if (!word.empty()) words.push_back(word);
  }
  if (words.size() != 5 && words.size() != 6) {
    return Error{Errc::Syntax, "schedule \"" + std::string(text) +
                                   "\" is not @every, @daily or the like, or 5 or 6 fields"};
  }
  if (words.size() == 5) words.insert(words.begin(), "0");
  uint64_t bits[6] = {};
  for (size_t i = 0; i < 6; ++i) {
    const auto field = parse_cron_field(words[i], kCronFields[i]);
    if (!field) {
      return Error{Errc::Syntax, "schedule \"" + std::string(text) + "\": " + field.error().text};
    }
    bits[i] = *field;
  }
  schedule.seconds_ = bits[0];
  schedule.minutes_ = bits[1];
  schedule.hours_ = static_cast<uint32_t>(bits[2]);
  schedule.days_ = static_cast<uint32_t>(bits[3]);
  schedule.months_ = static_cast<uint32_t>(bits[4]);
  schedule.weekdays_ = static_cast<uint32_t>((bits[5] | bits[5] >> 7) & 0x7f);
  schedule.any_day_ = words[3].starts_with('*');
  schedule.any_weekday_ = words[5].starts_with('*');
  return schedule;
}

std::optional<WallTime> Schedule::next_after(WallTime time) const {
  if (every_ != Duration::zero()) {
    const Duration since = time.time_since_epoch();
    return WallTime((since / every_ + 1) * every_);
  }
  const auto start = floor<std::chrono::seconds>(time) + std::chrono::seconds(1);
  auto day = floor<days>(start);
  auto of_day = static_cast<uint32_t>((start - day).count());
  const auto last_year = std::chrono::year_month_day(day).year() + std::chrono::years(kYearsMax);
  for (;; day += days(1), of_day = 0) {
    const std::chrono::year_month_day date(day);
    if (date.year() > last_year) return std::nullopt;
    if ((months_ >> static_cast<unsigned>(date.month()) & 1) == 0) continue;
    const bool is_day = (days_ >> static_cast<unsigned>(date.day()) & 1) != 0;
    const bool is_weekday = (weekdays_ >> std::chrono::weekday(day).c_encoding() & 1) != 0;
    const bool either = !any_day_ && !any_weekday_;
    if (either ? !is_day && !is_weekday : !is_day || !is_weekday) continue;
    uint32_t hour = of_day / 3600;
    uint32_t minute = of_day / 60 % 60;
    uint32_t second = of_day % 60;
    while (const auto found_hour = next_bit(hours_, hour)) {
      if (*found_hour != hour) minute = second = 0;
      hour = *found_hour;
      while (const auto found_minute = next_bit(minutes_, minute)) {
        if (*found_minute != minute) second = 0;
        minute = *found_minute;
        if (const auto found = next_bit(seconds_, second)) {
          const uint32_t at = hour * 3600 + minute * 60 + *found;
          return WallTime(day.time_since_epoch() + std::chrono::seconds(at));
        }
        ++minute;
        second = 0;
      }
      ++hour;
      minute = second = 0;
    }
  }
}

}  // namespace brokkr::workload
