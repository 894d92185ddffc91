#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace brokkr::jetstream {

// When a schedule fires next.
struct SchedulePattern {
  uint16_t error = 0;  // JetStream's number of what is wrong with it; 0: it is right
  bool is_set = false;
  bool repeats = false;
  WallTime next;
};

// Reads "@at <time>", "@every <duration>", "@yearly" and its like, or six cron fields (second, minute,
// hour, day of month, month, day of week), in the IANA zone named (null: none given, UTC). The next
// time after `from`; one that would lie before `now` is passed over. An empty pattern is right and not
// set. Reads the system's time zones; the search ends after five years (10189).
SchedulePattern parse_schedule(std::string_view pattern, const std::string* zone, WallTime from,
                               WallTime now);

}  // namespace brokkr::jetstream
