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
