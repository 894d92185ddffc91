#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace brokkr {

using Duration = std::chrono::nanoseconds;
// Never goes back; for deadlines and timers.
using MonotonicTime = std::chrono::time_point<std::chrono::steady_clock, Duration>;
// Nanoseconds since 1970 UTC; for what people and messages see.
using WallTime = std::chrono::time_point<std::chrono::system_clock, Duration>;

// The source of time. Passed in, never fetched, so that a test or a simulator can hold the hands.
// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual MonotonicTime now() const = 0;
  virtual WallTime wall_now() const = 0;
};

// The kernel's clocks.
class SystemClock final : public Clock {
 public:
  MonotonicTime now() const override;
  WallTime wall_now() const override;
};

// A clock that moves only when told. Loop-confined.
class ManualClock final : public Clock {
 public:
  MonotonicTime now() const override { return now_; }
  WallTime wall_now() const override { return wall_; }
  void advance(Duration by) {
    now_ += by;
    wall_ += by;
  }

 private:
  MonotonicTime now_{std::chrono::hours(1)};
  WallTime wall_{std::chrono::hours(24 * 365 * 50)};
};

// "2026-11-23T08:39:28.322529589Z", trailing zeros of the fraction dropped (Go's RFC3339Nano).
std::string format_rfc3339(WallTime);
// Reads what Go's RFC 3339 reader takes: "2026-11-23T08:39:28.5Z", "...+02:00"; at most nine digits of
// fraction count. False on anything else and on years that nanoseconds since 1970 cannot express.
bool parse_rfc3339(std::string_view text, WallTime& out);

// Go's time.Duration text: "1h2m3.5s", "100.78974ms", "0s". The inverse of parse_go_duration.
std::string format_go_duration(Duration);

// Whole-second uptime as nats-server prints it: "3d4h5m6s", "9s".
std::string format_uptime(Duration);

// Go's ParseDuration: "1h2m3.5s", "-1.5ms", units ns us µs ms s m h. False on anything else.
bool parse_go_duration(std::string_view text, Duration& out);

}  // namespace brokkr
