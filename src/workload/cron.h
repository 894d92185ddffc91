#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace brokkr::workload {

// When something is to happen, again and again, in UTC:
//
//   "@every 5s"                      every multiple of so much time since 1970, at least 1s
//   "@yearly" "@monthly" "@weekly" "@daily" "@hourly" "@minutely"
//   "30 4 * * 1-5"                   minute hour day-of-month month day-of-week
//   "*/10 30 4 * * mon-fri"          the same with seconds in front
//
// A field is "*", numbers, ranges, lists and steps ("1-5,10,*/15"); months and days also by their
// first three letters; 0 and 7 are Sunday. When both days are restricted, either may match, as cron
// has it. The same text gives the same times on every machine. A value type.
class Schedule {
 public:
  // Fails with Syntax, saying which field.
  static Result<Schedule> parse(std::string_view text);

  // The first time after `time`; absent when there is none within eight years (the 30th of February).
  std::optional<WallTime> next_after(WallTime time) const;

 private:
  Duration every_{};       // not zero: nothing else counts
  uint64_t seconds_ = 0;   // a bit for each number that matches
  uint64_t minutes_ = 0;
  uint32_t hours_ = 0;
  uint32_t days_ = 0;      // of the month, from bit 1
  uint32_t months_ = 0;    // from bit 1
  uint32_t weekdays_ = 0;  // from Sunday, bit 0
  bool any_day_ = true;
  bool any_weekday_ = true;
};

}  // namespace brokkr::workload
