#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace brokkr {

// A date and time of day as a calendar shows it.
struct CivilTime {
  int64_t year = 1970;
  int month = 1;    // 1 to 12
  int day = 1;      // 1 to 31
  int hour = 0;
  int minute = 0;
  int second = 0;
  int weekday = 4;  // 0 is Sunday; filled in, never read
};

// The rules of one IANA time zone, read from the system's database. Immutable.
class TimeZone {
 public:
  static std::shared_ptr<const TimeZone> utc();
  // NotFound when the system does not know the name; Corrupt when its file cannot be read. "" and
  // "UTC" are UTC.
  static Result<std::shared_ptr<const TimeZone>> load(const std::string& name);
  // The bytes of a TZif file (RFC 8536).
  static Result<std::shared_ptr<const TimeZone>> parse(std::string_view bytes);

  CivilTime to_civil(int64_t unix_seconds) const;
  // Of a time that the zone skips, the instant as far after the skip; of one it has twice, the first.
  int64_t to_unix(const CivilTime& civil) const;
  int32_t offset_at(int64_t unix_seconds) const;

 private:
  struct Change {
    int64_t at = 0;
    int32_t offset = 0;  // seconds east of UTC from then on
  };
  // A day by the rule "Mm.w.d/time" of the file's footer, for what comes after the last change.
  struct RuleDay {
    int month = 0;
    int week = 0;
    int weekday = 0;
    int32_t time = 7200;
  };
  struct Rule {
    int32_t offset = 0;
    int32_t summer_offset = 0;
    RuleDay summer_begins;
    RuleDay summer_ends;
    bool has_summer = false;
  };

  static bool parse_rule(std::string_view text, Rule& out);
  static bool parse_rule_day(std::string_view& text, RuleDay& out);
  int32_t offset_by_rule(int64_t unix_seconds) const;
  static int64_t day_of_rule(int64_t year, const RuleDay& day);

  int32_t first_offset_ = 0;
  std::vector<Change> changes_;
  bool has_rule_ = false;
  Rule rule_;
};

// Days since 1970-01-01 of a date in the Gregorian calendar, and back. Month and day may lie beyond
// their range for days_from_civil.
int64_t days_from_civil(int64_t year, int month, int day);
CivilTime civil_from_unix(int64_t unix_seconds);

}  // namespace brokkr
