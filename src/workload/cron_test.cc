#include "workload/cron.h"

#include <gtest/gtest.h>

namespace brokkr::workload {
namespace {

WallTime cron_time(std::string_view text) {
  WallTime time{};
  EXPECT_TRUE(parse_rfc3339(text, time)) << text;
  return time;
}

std::string next_of(std::string_view schedule, std::string_view after) {
  const auto parsed = Schedule::parse(schedule);
  if (!parsed) return parsed.error().text;
  const auto next = parsed->next_after(cron_time(after));
  return next ? format_rfc3339(*next) : "never";
}

TEST(Cron, EveryIsAlignedToTheEpoch) {
  EXPECT_EQ(next_of("@every 5s", "2026-11-23T08:39:28.3Z"), "2026-11-23T08:39:30Z");
  EXPECT_EQ(next_of("@every 5s", "2026-11-23T08:39:30Z"), "2026-11-23T08:39:35Z");
  EXPECT_EQ(next_of("@every 1h30m", "2026-11-23T00:00:01Z"), "2026-11-23T01:30:00Z");
}

TEST(Cron, NamesStandForFields) {
  EXPECT_EQ(next_of("@hourly", "2026-11-23T08:39:28Z"), "2026-11-23T09:00:00Z");
  EXPECT_EQ(next_of("@daily", "2026-12-31T08:39:28Z"), "2027-01-01T00:00:00Z");
  EXPECT_EQ(next_of("@weekly", "2026-11-23T08:39:28Z"), "2026-11-29T00:00:00Z");
  EXPECT_EQ(next_of("@monthly", "2026-11-23T08:39:28Z"), "2026-12-01T00:00:00Z");
  EXPECT_EQ(next_of("@yearly", "2026-11-23T08:39:28Z"), "2027-01-01T00:00:00Z");
}

TEST(Cron, FieldsTakeListsRangesStepsAndWords) {
  EXPECT_EQ(next_of("30 4 * * *", "2026-11-23T04:30:00Z"), "2026-11-24T04:30:00Z");
  EXPECT_EQ(next_of("*/15 9-17 * * mon-FRI", "2026-11-20T17:50:00Z"), "2026-11-23T09:00:00Z");
  EXPECT_EQ(next_of("*/10 * * * * *", "2026-11-23T08:39:59.999Z"), "2026-11-23T08:40:00Z");
  EXPECT_EQ(next_of("5/20 0 0 1 feb,apr *", "2026-02-01T00:00:25Z"), "2026-02-01T00:00:45Z");
  EXPECT_EQ(next_of("0 0 * * 7", "2026-11-23T00:00:00Z"), "2026-11-29T00:00:00Z");
}

TEST(Cron, EitherDayMatchesWhenBothAreGiven) {
  EXPECT_EQ(next_of("0 0 13 * fri", "2026-11-23T00:00:00Z"), "2026-11-27T00:00:00Z");
  EXPECT_EQ(next_of("0 0 13 * fri", "2026-12-12T00:00:00Z"), "2026-12-13T00:00:00Z");
  EXPECT_EQ(next_of("0 0 13 * *", "2026-11-23T00:00:00Z"), "2026-12-13T00:00:00Z");
}

TEST(Cron, LeapDaysAreFoundAndImpossibleDaysAreNot) {
  EXPECT_EQ(next_of("0 0 29 2 *", "2026-11-23T00:00:00Z"), "2028-02-29T00:00:00Z");
  EXPECT_EQ(next_of("0 0 30 2 *", "2026-11-23T00:00:00Z"), "never");
}

TEST(Cron, WhatIsNoScheduleIsRefusedByName) {
  for (const char* text : {"", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *",
                           "* * * * 8", "5-1 * * * *", "*/0 * * * *", "a * * * *", "1,,2 * * * *",
                           "@every", "@every 10ms", "@every x", "@sometimes", "- * * * *"}) {
    const auto parsed = Schedule::parse(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, Errc::Syntax);
  }
  EXPECT_EQ(Schedule::parse("* 24 * * *").error().text,
            "schedule \"* 24 * * *\": hour \"24\" is not 0 to 23");
}

}  // namespace
}  // namespace brokkr::workload
