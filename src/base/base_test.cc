#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/callback.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/metrics.h"
#include "base/random.h"
#include "base/sha256.h"

namespace brokkr {
namespace {

TEST(Duration, GoTextRoundTrips) {
  for (const char* text : {"0s", "1ns", "1.5\xc2\xb5s", "100.78974ms", "9s", "1m0s", "1h2m3.5s"}) {
    Duration parsed{};
    ASSERT_TRUE(parse_go_duration(text, parsed)) << text;
    EXPECT_EQ(format_go_duration(parsed), text);
  }
}

TEST(Duration, BadTextIsRejected) {
  Duration parsed{};
  for (const char* text : {"", "5", "s", "1x", "1.s.", "-", "1h2", "99999999999h"}) {
    EXPECT_FALSE(parse_go_duration(text, parsed)) << text;
  }
}

TEST(Duration, UptimeIsInWholeSeconds) {
  EXPECT_EQ(format_uptime(std::chrono::milliseconds(9900)), "9s");
  EXPECT_EQ(format_uptime(std::chrono::hours(25) + std::chrono::seconds(61)), "1d1h1m1s");
}

TEST(WallTime, FractionDropsTrailingZeros) {
  EXPECT_EQ(format_rfc3339(WallTime(Duration(0))), "1970-01-01T00:00:00Z");
  EXPECT_EQ(format_rfc3339(WallTime(Duration(1'500'000'000))), "1970-01-01T00:00:01.5Z");
}

TEST(Sha256, InPartsIsTheSameAsInOne) {
  Sha256 digest;
  digest.update("hello ");
  digest.update("");
  digest.update("world");
  EXPECT_EQ(hex_encode(digest.finish()), sha256_hex("hello world"));
}

TEST(Rfc3339, IsReadAsItIsWritten) {
  for (const char* text : {"1970-01-01T00:00:00Z", "2026-11-23T08:39:28.322529589Z",
                           "2024-02-29T23:59:59.5Z", "1969-12-31T23:59:59.999999999Z"}) {
    WallTime time;
    ASSERT_TRUE(parse_rfc3339(text, time)) << text;
    EXPECT_EQ(format_rfc3339(time), text);
  }
  WallTime time;
  ASSERT_TRUE(parse_rfc3339("2026-11-23T10:39:28+02:00", time));
  EXPECT_EQ(format_rfc3339(time), "2026-11-23T08:39:28Z");
  for (const char* text :
       {"", "2026-11-23", "2026-11-23T08:39:28", "2026-11-23 08:39:28Z", "2026-11-23T08:39:28.Z",
        "2026-02-29T08:39:28Z", "2026-13-01T08:39:28Z", "2026-11-23T24:00:00Z",
        "2026-11-23T08:39:28Zx", "0001-01-01T00:00:00Z", "2026-11-23T08:39:28+0200"}) {
    EXPECT_FALSE(parse_rfc3339(text, time)) << text;
  }
}

TEST(Bytes, Base64RoundTripsBothAlphabets) {
  const std::string bytes("\x00\xff\x7f\x80hello", 9);
  EXPECT_EQ(base64_decode(base64_encode(bytes)), bytes);
  EXPECT_EQ(base64_decode(base64url_encode(bytes)), bytes);
  EXPECT_EQ(base64_encode("a"), "YQ==");
  EXPECT_FALSE(base64_decode("a"));
  EXPECT_FALSE(base64_decode("a*bc"));
}

TEST(Bytes, NumbersRejectWhatIsNotDigits) {
  EXPECT_EQ(parse_uint("42"), 42U);
  for (const char* text : {"", "-1", "+1", " 1", "1 ", "0x1", "18446744073709551616"}) {
    EXPECT_FALSE(parse_uint(text)) << text;
  }
}

TEST(Bytes, EditDistanceCountsSwapAsOne) {
  EXPECT_EQ(edit_distance("pub", "pub"), 0U);
  EXPECT_EQ(edit_distance("pbu", "pub"), 1U);
  EXPECT_EQ(edit_distance("strem", "stream"), 1U);
}

TEST(Bytes, Utf8IsChecked) {
  EXPECT_TRUE(is_valid_utf8("h\xc3\xa9\xe2\x82\xac\xf0\x9f\x9a\x80"));
  for (const char* text : {"\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"}) {
    EXPECT_FALSE(is_valid_utf8(text));
  }
}

TEST(Nuid, GivesDistinctTextsOfFixedLength) {
  SeededRandom random(1);
  Nuid nuid(random);
  const std::string first(nuid.next());
  EXPECT_EQ(first.size(), Nuid::kLength);
  EXPECT_NE(first, nuid.next());
}

TEST(Json, ReadsWhatItWrites) {
  json::Writer writer;
  writer.begin_object().field("a", 1).field("b", "x<\n\"").key("c").begin_array().number(1.5).null();
  writer.end_array().end_object();
  EXPECT_EQ(writer.text(), R"({"a":1,"b":"x\u003c\n\"","c":[1.5,null]})");
  const auto value = json::parse(writer.text());
  ASSERT_TRUE(value);
  EXPECT_EQ(value->get_int("a"), 1);
  EXPECT_EQ(value->get_string("b"), "x<\n\"");
  EXPECT_EQ(value->find("c")->items().size(), 2U);
}

TEST(Json, IndentIsGos) {
  json::Writer writer(json::Writer::Options{.indent = 2});
  writer.begin_object().field("a", 1).key("e").begin_object().end_object().key("l").begin_array();
  writer.string("x").end_array().end_object();
  EXPECT_EQ(writer.text(), "{\n  \"a\": 1,\n  \"e\": {},\n  \"l\": [\n    \"x\"\n  ]\n}");
}

TEST(Json, BadTextIsAnError) {
  for (const char* text : {"", "{", "{\"a\":}", "[1,]", "nul", "{\"a\":1}}"}) {
    EXPECT_FALSE(json::parse(text)) << text;
  }
  EXPECT_FALSE(json::parse(std::string(200, '[') + std::string(200, ']')));
}

TEST(Callback, OwnsMoveOnlyState) {
  Callback<int(int)> add = [n = std::make_unique<int>(2)](int x) { return *n + x; };
  Callback<int(int)> moved = std::move(add);
  EXPECT_FALSE(add);
  EXPECT_EQ(moved(3), 5);
}

TEST(Metrics, EscapesLabelValues) {
  MetricsText text;
  text.family("x_total", MetricsText::Type::Counter, "help");
  text.sample("x_total", 3, {{"a", "q\"\n"}});
  EXPECT_EQ(text.text(), "# HELP x_total help\n# TYPE x_total counter\nx_total{a=\"q\\\"\\n\"} 3\n");
}

}  // namespace
}  // namespace brokkr
