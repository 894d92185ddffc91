// What a publish is read with: headers, times to live, counters' numbers, schedules' patterns.
#include <gtest/gtest.h>

#include "base/time_zone.h"
#include "jetstream/big_decimal.h"
#include "jetstream/publish_headers.h"
#include "jetstream/schedule_pattern.h"

namespace brokkr::jetstream {
namespace {

constexpr std::string_view kBlock =
    "NATS/1.0\r\nX-Nats-Msg-Id: no\r\nNats-Msg-Id:  a b \r\nNats-Msg-Id: second\r\nnats-ttl: 5\r\n"
    "Nats-TTL:7\r\nNats-Expected-Last-Subject-Sequence-Subject: a.>\r\nKV-Operation: DEL\r\n\r\n";

TEST(PublishHeaders, FindsKnownKeysInOnePass) {
  const PublishHeaders fields(kBlock);
  EXPECT_EQ(fields.get(HeaderKey::MsgId), "a b ");
  EXPECT_EQ(fields.get(HeaderKey::Ttl), "7");
  EXPECT_EQ(fields.get(HeaderKey::ExpectedLastSubjectSeqOf), "a.>");
  EXPECT_EQ(fields.get(HeaderKey::KvOperation), "DEL");
  EXPECT_FALSE(fields.has(HeaderKey::ExpectedLastSubjectSeq));
}

TEST(PublishHeaders, FindsEveryName) {
  for (size_t i = 0; i < kHeaderKeys; ++i) {
    const auto key = static_cast<HeaderKey>(i);
    const std::string block = "NATS/1.0\r\n" + std::string(header_name(key)) + ": v\r\n\r\n";
    EXPECT_EQ(PublishHeaders(block).get(key), "v") << header_name(key);
  }
}

TEST(PublishHeaders, StandsBrokenBlocks) {
  for (const char* block : {"", "\r\n", "NATS/1.0", "NATS/1.0\r\n", "NATS/1.0\r\nNats-TTL",
                            "NATS/1.0\r\nNats-TTL:", "NATS/1.0\r\n:\r\n\r\n"}) {
    EXPECT_EQ(PublishHeaders(block).get(HeaderKey::Ttl), "") << block;
  }
}

TEST(PublishHeaders, AreChangedAsLines) {
  std::string block(kBlock);
  remove_header(block, "Nats-Msg-Id");
  EXPECT_EQ(block.find("second"), std::string::npos);
  EXPECT_NE(block.find("X-Nats-Msg-Id: no"), std::string::npos);
  set_header(block, "Nats-TTL", "60");
  EXPECT_NE(block.find("\r\nNats-TTL:60\r\n"), std::string::npos);
  std::string one = "NATS/1.0\r\nA: b\r\n\r\n";
  remove_header(one, "A");
  EXPECT_EQ(one, "");
  append_header(one, "B", "c");
  append_header(one, "D", "e");
  EXPECT_EQ(one, "NATS/1.0\r\nB: c\r\nD: e\r\n\r\n");
}

TEST(PublishHeaders, StatusIsDropped) {
  std::string storage;
  EXPECT_EQ(without_status("NATS/1.0 503\r\n\r\n", storage), "");
  EXPECT_EQ(without_status("NATS/1.0 503 x\r\nA: b\r\n\r\n", storage), "NATS/1.0\r\nA: b\r\n\r\n");
  EXPECT_EQ(without_status("NATS/1.0\r\nA: b\r\n\r\n", storage), "NATS/1.0\r\nA: b\r\n\r\n");
}

TEST(Ttl, IsSecondsDurationOrNever) {
  EXPECT_EQ(parse_ttl("5"), 5);
  EXPECT_EQ(parse_ttl("1m30s"), 90);
  EXPECT_EQ(parse_ttl("1500ms"), 1);
  EXPECT_EQ(parse_ttl("NeVer"), kTtlNever);
  for (const char* bad : {"0", "-1", "999ms", "x", "5 s", "1.5"}) {
    EXPECT_EQ(parse_ttl(bad), kTtlInvalid) << bad;
  }
}

TEST(BigDecimal, AddsSignedNumbersOfAnySize) {
  EXPECT_EQ(parse_decimal("+007"), "7");
  EXPECT_EQ(parse_decimal("-0"), "0");
  EXPECT_EQ(parse_decimal("1a"), "");
  EXPECT_EQ(parse_decimal("-"), "");
  EXPECT_EQ(add_decimals("99999999999999999999", "1"), "100000000000000000000");
  EXPECT_EQ(add_decimals("-100000000000000000000", "1"), "-99999999999999999999");
  EXPECT_EQ(add_decimals("5", "-5"), "0");
  EXPECT_EQ(subtract_decimals("-3", "-10"), "7");
  for (int a = -120; a <= 120; a += 7) {
    for (int b = -120; b <= 120; ++b) {
      EXPECT_EQ(add_decimals(std::to_string(a), std::to_string(b)), std::to_string(a + b));
    }
  }
}

WallTime at(std::string_view text) {
  WallTime out;
  EXPECT_TRUE(parse_rfc3339(text, out)) << text;
  return out;
}

std::string next_of(std::string_view pattern, std::string_view from, const char* zone = nullptr) {
  const std::string name = zone == nullptr ? "" : zone;
  const SchedulePattern parsed =
      parse_schedule(pattern, zone == nullptr ? nullptr : &name, at(from), at(from));
  return parsed.error != 0 ? std::to_string(parsed.error) : format_rfc3339(parsed.next);
}

TEST(SchedulePattern, FindsTheNextTime) {
  constexpr const char* kFrom = "2026-11-23T08:39:28.3Z";
  EXPECT_EQ(next_of("@at 2030-01-02T03:04:05Z", kFrom), "2030-01-02T03:04:05Z");
  EXPECT_EQ(next_of("@every 90s", kFrom), "2026-11-23T08:40:58Z");
  EXPECT_EQ(next_of("* * * * * *", kFrom), "2026-11-23T08:39:29Z");
  EXPECT_EQ(next_of("0 */15 * * * *", kFrom), "2026-11-23T08:45:00Z");
  EXPECT_EQ(next_of("0 30 6 * * mon-fri", kFrom), "2026-11-24T06:30:00Z");
  EXPECT_EQ(next_of("0 0 0 29 feb *", kFrom), "2028-02-29T00:00:00Z");
  EXPECT_EQ(next_of("0 0 0 13 * 5", kFrom), "2026-11-27T00:00:00Z");  // either day is enough
  EXPECT_EQ(next_of("@yearly", kFrom), "2027-01-01T00:00:00Z");
  EXPECT_EQ(next_of("@weekly", kFrom), "2026-11-29T00:00:00Z");
  EXPECT_EQ(next_of("@hourly", kFrom), "2026-11-23T09:00:00Z");
}

TEST(SchedulePattern, KnowsTimeZones) {
  EXPECT_EQ(next_of("0 0 9 * * *", "2026-07-01T00:00:00Z", "Europe/Berlin"), "2026-07-01T07:00:00Z");
  EXPECT_EQ(next_of("0 0 9 * * *", "2026-12-01T00:00:00Z", "Europe/Berlin"), "2026-12-01T08:00:00Z");
  // Past the changes that the file lists, by the rule at its end.
  EXPECT_EQ(next_of("0 0 9 1 7 *", "2045-06-01T00:00:00Z", "America/New_York"),
            "2045-07-01T13:00:00Z");
  // 2026-03-29 has no 02:30 in Berlin.
  EXPECT_EQ(next_of("0 30 2 * * *", "2026-03-28T12:00:00Z", "Europe/Berlin"), "2026-03-30T00:30:00Z");
  EXPECT_EQ(next_of("0 0 9 * * *", "2026-07-01T00:00:00Z", "Mars/Base"), "10223");
  EXPECT_EQ(next_of("0 0 9 * * *", "2026-07-01T00:00:00Z", ""), "10223");
  EXPECT_EQ(next_of("0 0 9 * * *", "2026-07-01T00:00:00Z", "../passwd"), "10223");
  EXPECT_EQ(next_of("@every 5s", "2026-07-01T00:00:00Z", "Europe/Berlin"), "10189");
}

TEST(SchedulePattern, RefusesWhatNeverComesAndWhatIsNone) {
  for (const char* bad : {"@every 500ms", "@every", "@at tomorrow", "* * * * *", "* * * * * * *",
                          "60 * * * * *", "* * * 0 * *", "* * * * 13 *", "* * * * * 7", "5-1 * * * * *",
                          "*/0 * * * * *", ", * * * * *", "0 0 0 31 2 *", "a * * * * *", "@often"}) {
    EXPECT_EQ(next_of(bad, "2026-11-23T08:39:28Z"), "10189") << bad;
  }
}

TEST(TimeZone, CivilTimesAreDaysAndBack) {
  for (int64_t seconds = -62'000'000'000; seconds < 62'000'000'000; seconds += 86'400'017 * 13) {
    const CivilTime civil = civil_from_unix(seconds);
    EXPECT_EQ(days_from_civil(civil.year, civil.month, civil.day) * 86400 + civil.hour * 3600 +
                  civil.minute * 60 + civil.second,
              seconds);
  }
  EXPECT_EQ(civil_from_unix(1'795'422'000).weekday, 1);  // a Monday
}

TEST(TimeZone, BrokenFilesAreRefused) {
  EXPECT_FALSE(TimeZone::parse(""));
  EXPECT_FALSE(TimeZone::parse("TZif2"));
  std::string bytes = "TZif2" + std::string(15, '\0') + std::string(24, '\xff');
  EXPECT_FALSE(TimeZone::parse(bytes));
}

}  // namespace
}  // namespace brokkr::jetstream
