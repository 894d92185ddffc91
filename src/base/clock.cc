#include "base/clock.h"

#include <time.h>

#include <cmath>
#include <cstdint>
#include <cstdio>

namespace brokkr {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

int64_t read_clock(clockid_t id) {
  timespec t{};
  clock_gettime(id, &t);
  return static_cast<int64_t>(t.tv_sec) * kSecond + t.tv_nsec;
}

// Appends "123.45" for value/unit with trailing zeros of the fraction dropped.
void append_fraction(std::string& out, uint64_t value, uint64_t unit) {
  out += std::to_string(value / unit);
  uint64_t rest = value % unit;
  if (rest == 0) return;
  std::string digits;
  for (uint64_t scale = unit / 10; rest != 0; scale /= 10) {
    digits += static_cast<char>('0' + rest / scale);
    rest %= scale;
  }
  out += '.';
  out += digits;
}

struct Unit {
  std::string_view name;
  double nanoseconds;
};
constexpr Unit kUnits[] = {{"ns", 1},        {"us", 1e3}, {"\xc2\xb5s", 1e3}, {"\xce\xbcs", 1e3},
                           {"ms", 1e6},      {"s", 1e9},  {"m", 60e9},        {"h", 3600e9}};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Exactly `width` digits from the front of `text`; -1 when they are not there.
int take_digits(std::string_view& text, size_t width) {
  if (text.size() < width) return -1;
  int value = 0;
  for (size_t i = 0; i < width; ++i) {
    if (!is_digit(text[i])) return -1;
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(width);
  return value;
}

bool take_char(std::string_view& text, char wanted) {
  if (text.empty() || text[0] != wanted) return false;
  text.remove_prefix(1);
  return true;
}

// ".5" as nanoseconds; -1 when there is a point and no digit after it.
int64_t take_fraction(std::string_view& text) {
  if (!take_char(text, '.')) return 0;
  int64_t nanoseconds = 0;
  int64_t scale = kSecond;
  size_t digits = 0;
  for (; digits < text.size() && is_digit(text[digits]); ++digits) {
    scale /= 10;
    nanoseconds += (text[digits] - '0') * scale;
  }
  text.remove_prefix(digits);
  return digits == 0 ? -1 : nanoseconds;
}

// "Z", "+02:00" as seconds east of UTC.
bool take_zone(std::string_view& text, int64_t& seconds) {
  seconds = 0;
  if (take_char(text, 'Z')) return true;
  const int sign = take_char(text, '+') ? 1 : take_char(text, '-') ? -1 : 0;
  const int hours = take_digits(text, 2);
  const bool has_colon = take_char(text, ':');
  const int minutes = take_digits(text, 2);
  if (sign == 0 || !has_colon || hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return false;
  seconds = sign * (hours * 3600 + minutes * 60);
  return true;
}

}  // namespace

MonotonicTime SystemClock::now() const {
  return MonotonicTime(Duration(read_clock(CLOCK_MONOTONIC)));
}

WallTime SystemClock::wall_now() const {
  return WallTime(Duration(read_clock(CLOCK_REALTIME)));
}

std::string format_rfc3339(WallTime time) {
  const int64_t ns = time.time_since_epoch().count();
  int64_t seconds = ns / kSecond;
  int64_t rest = ns % kSecond;
  if (rest < 0) {
    rest += kSecond;
    --seconds;
  }
  const time_t t = static_cast<time_t>(seconds);
  tm parts{};
  gmtime_r(&t, &parts);
  char text[64];
  const size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::string out(text, n);
  if (rest != 0) {
    char fraction[16];
    std::snprintf(fraction, sizeof fraction, ".%09lld", static_cast<long long>(rest));
    out += fraction;
    while (out.back() == '0') out.pop_back();
  }
  return out + "Z";
}

bool parse_rfc3339(std::string_view text, WallTime& out) {
  namespace chrono = std::chrono;
  const int year = take_digits(text, 4);
  if (!take_char(text, '-')) return false;
  const int month = take_digits(text, 2);
  if (!take_char(text, '-')) return false;
  const int day = take_digits(text, 2);
  if (!take_char(text, 'T')) return false;
  const int hour = take_digits(text, 2);
  if (!take_char(text, ':')) return false;
  const int minute = take_digits(text, 2);
  if (!take_char(text, ':')) return false;
  const int second = take_digits(text, 2);
  const int64_t fraction = take_fraction(text);
  int64_t zone = 0;
  if (!take_zone(text, zone) || !text.empty() || fraction < 0) return false;
  if (year < 1678 || year > 2261 || month < 1 || day < 1 || hour < 0 || hour > 23 || minute < 0 ||
      minute > 59 || second < 0 || second > 59) {
    return false;
  }
  const chrono::year_month_day date{chrono::year(year), chrono::month(static_cast<unsigned>(month)),
                                    chrono::day(static_cast<unsigned>(day))};
  if (!date.ok()) return false;
  const int64_t seconds = chrono::sys_days(date).time_since_epoch().count() * int64_t{86400} +
                          hour * 3600 + minute * 60 + second - zone;
  out = WallTime(Duration(seconds * kSecond + fraction));
  return true;
}

std::string format_go_duration(Duration duration) {
  const int64_t ns = duration.count();
  if (ns == 0) return "0s";
  std::string out = ns < 0 ? "-" : "";
  const uint64_t u = ns < 0 ? 0 - static_cast<uint64_t>(ns) : static_cast<uint64_t>(ns);
  if (u < 1'000) return out + std::to_string(u) + "ns";
  if (u < 1'000'000) return append_fraction(out, u, 1'000), out + "\xc2\xb5s";
  if (u < 1'000'000'000) return append_fraction(out, u, 1'000'000), out + "ms";
  const uint64_t hours = u / 3'600'000'000'000ULL;
  const uint64_t minutes = u / 60'000'000'000ULL % 60;
  if (hours > 0) out += std::to_string(hours) + "h";
  if (hours > 0 || minutes > 0) out += std::to_string(minutes) + "m";
  append_fraction(out, u % 60'000'000'000ULL, 1'000'000'000ULL);
  return out + "s";
}

std::string format_uptime(Duration duration) {
  const int64_t total = duration.count() / kSecond;
  const int64_t days = total / 86400;
  const int64_t hours = total / 3600 % 24;
  const int64_t minutes = total / 60 % 60;
  std::string out;
  // nats-server also knows years (365 days) in front of the days.
  if (days >= 365) out += std::to_string(days / 365) + "y";
  if (days > 0) out += std::to_string(days % 365) + "d";
  if (days > 0 || hours > 0) out += std::to_string(hours) + "h";
  if (days > 0 || hours > 0 || minutes > 0) out += std::to_string(minutes) + "m";
  return out + std::to_string(total % 60) + "s";
}

bool parse_go_duration(std::string_view text, Duration& out) {
  bool negative = false;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    negative = text[0] == '-';
    text.remove_prefix(1);
  }
  if (text == "0") return out = Duration(0), true;
  if (text.empty()) return false;
  double total = 0;
  while (!text.empty()) {
    double value = 0;
    double scale = 1;
    size_t digits = 0;
    size_t i = 0;
    for (; i < text.size() && is_digit(text[i]); ++i, ++digits) value = value * 10 + (text[i] - '0');
    if (i < text.size() && text[i] == '.') {
      for (++i; i < text.size() && is_digit(text[i]); ++i, ++digits) {
        scale /= 10;
        value += (text[i] - '0') * scale;
      }
    }
    if (digits == 0) return false;
    text.remove_prefix(i);
    size_t length = 0;
    while (length < text.size() && text[length] != '.' && !is_digit(text[length])) ++length;
    const std::string_view name = text.substr(0, length);
    const Unit* unit = nullptr;
    for (const Unit& candidate : kUnits) {
      if (candidate.name == name) unit = &candidate;
    }
    if (unit == nullptr) return false;
    total += value * unit->nanoseconds;
    text.remove_prefix(length);
  }
  if (total > 9.2e18) return false;
  out = Duration(static_cast<int64_t>(std::llround(negative ? -total : total)));
  return true;
}

}  // namespace brokkr
