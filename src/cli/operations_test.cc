#include <gtest/gtest.h>

#include "cli/columns.h"
#include "cli/event_text.h"
#include "cli/pattern.h"
#include "cli/server_check.h"
#include "cli/system_api.h"
#include "cli/terminal.h"
#include "cli/top_text.h"
#include "cli/trace_text.h"

namespace brokkr::cli {
namespace {

json::Value parsed(std::string_view text) {
  auto value = json::parse(text);
  EXPECT_TRUE(value) << text;
  return value ? std::move(*value) : json::Value();
}

TEST(CompactNames, SharedEndsAreLeftOutButNoFirstPart) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(compact_names({"n1.a.net", "n2.a.net"}), (Names{"n1", "n2"}));
  EXPECT_EQ(compact_names({"n1.a.net", "n2.b.net"}), (Names{"n1.a", "n2.b"}));
  EXPECT_EQ(compact_names({"hub"}), Names{"hub"});
  EXPECT_EQ(compact_names({"127.0.0.1"}), Names{"127"});
  EXPECT_EQ(compact_names({}), Names{});
}

TEST(BarGraph, TheLeastHasNoBarAndOneAloneAFullOne) {
  EXPECT_EQ(bar_graph("CPU", {{"hub", 3, "3"}}).size(),
            std::string("CPU\n\n  hub:  (3)\n").size() + 30 * 3);
  EXPECT_EQ(bar_graph("CPU", {{"b", 0, "0"}}), "CPU\n\n  b: ▏ (0)\n");
  const std::string two = bar_graph("CPU", {{"most", 31, "31"}, {"a", 1, "1"}});
  EXPECT_LT(two.find("   a: ▏ (1)"), two.find("most: █"));
}

TEST(Table, ColumnsWithoutCellsAreNumbersAndNoRowsMeanNoSecondLine) {
  Table table("T");
  table.header({"Name", "Count"});
  table.footer({"", "7"});
  EXPECT_EQ(table.text(),
            "╭──────────────╮\n│       T      │\n├──────┬───────┤\n│ Name │ Count "
            "│\n├──────┼───────┤\n│      │     7 │\n"
            "╰──────┴───────╯\n");
}

TEST(Pattern, MatchesAnywhereAndKnowsDigits) {
  auto digits = Pattern::make("^a\\d+$");
  ASSERT_TRUE(digits);
  EXPECT_TRUE(digits->matches("a12"));
  EXPECT_FALSE(digits->matches("a12x"));
  EXPECT_TRUE(Pattern::make("CLOSED", true)->matches("Client Closed"));
  EXPECT_TRUE(Pattern::make(".")->matches(std::string_view("\0x", 2)));
  EXPECT_FALSE(Pattern::make(".")->matches({}));
  EXPECT_EQ(Pattern::make("(").error().code, Errc::Syntax);
}

TEST(Check, WorstFindingComesFirstInNagios) {
  Check check{"kv", "B"};
  check.ok("bucket B");
  EXPECT_EQ(check.nagios_text(), "OK B OK:bucket B\n");
  check.warn("7 values");
  check.critical("key x not found");
  check.measures = {{"values", "How many", 7, 5, 0, ""},
                    {"age", "How old", 0.25, 0, 1, "s"},
                    {"bytes", "", 10, 0, 0, "B"}};
  EXPECT_EQ(check.nagios_text(),
            "CRITICAL B Crit:key x not found Warn:7 values OK:bucket B | values=7;5 "
            "age=0.2500s;;1.0000 bytes=10B\n");
  EXPECT_EQ(check.health(), Health::Critical);
}

TEST(Check, PrometheusNumbersAreShortAndExact) {
  Check check{"server", "a\"b"};
  check.measures = {{"mem", "Memory", 27619328},
                    {"cpu", "", 0.1},
                    {"up", "", 123456.5, 0, 0, "s"},
                    {"small", "", 0.00001}};
  const std::string text = check.prometheus_text("ns");
  EXPECT_NE(text.find("ns_server_mem{item=\"a.b\"} 2.7619328e+07\n"), std::string::npos) << text;
  EXPECT_NE(text.find("ns_server_cpu{item=\"a.b\"} 0.1\n"), std::string::npos) << text;
  EXPECT_NE(text.find("# HELP ns_server_cpu Data about the NATS CLI check server\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("ns_server_up{item=\"a.b\"} 123456.5\n"), std::string::npos) << text;
  EXPECT_NE(text.find("ns_server_small{item=\"a.b\"} 1e-05\n"), std::string::npos) << text;
  EXPECT_NE(text.find("ns_server_status_code{item=\"a.b\",status=\"OK\"} 0\n"), std::string::npos)
      << text;
}

TEST(Check, HumanTableGroupsThousands) {
  Check check{"server", "hub"};
  check.measures = {{"mem", "Memory", 1234567.25, 0, 12}};
  EXPECT_NE(check.human_text().find("│ mem    │ 1,234,567.250 │      │ 12.000             │ 0.000  "
                                    "           │ Memory      │"),
            std::string::npos)
      << check.human_text();
}

std::string tail_of(const std::string& text) {
  return text.substr(text.find(']') + 1);
}

TEST(EventText, OptionalPartsAppearOnlyWhenGiven) {
  const std::string start =
      R"({"type":"io.nats.server.advisory.v1.client_connect","id":"X","timestamp":"2026-11-23T17:53:17Z",)"
      R"("server":{"name":"hub"},"client":{"id":7,"acc":"APP")";
  const std::string with_user = event_text(parsed(start + R"(,"user":"me"}})"), EventFormat::Short);
  EXPECT_TRUE(with_user.ends_with("[Connection] user: me cid: 7 in account APP")) << with_user;
  const std::string without = event_text(parsed(start + "}}"), EventFormat::Short);
  EXPECT_TRUE(without.ends_with("[Connection]  cid: 7 in account APP")) << without;
  const std::string extended =
      event_text(parsed(start + R"(,"host":"h"}})"), EventFormat::Extended);
  EXPECT_EQ(tail_of(extended),
            " [X] Client Connection\n\n   Server: hub\n\n   Client:\n                 ID: 7\n      "
            "      Account: APP\n"
            "    Library Version:   Language: Unknown\n               Host: h\n");
}

TEST(EventText, ActionsAreTitles) {
  const auto event = parsed(
      R"({"type":"io.nats.jetstream.advisory.v1.stream_action","id":"I","timestamp":"2026-11-23T17:53:17Z",)"
      R"("stream":"S","action":"create"})");
  EXPECT_TRUE(event_text(event, EventFormat::Short).ends_with(" [Stream Create] S"));
  EXPECT_EQ(tail_of(event_text(event, EventFormat::Extended)),
            " [I] Stream Create Action\n\n        Stream: S");
  const std::string cloud = event_text(event, EventFormat::CloudEvent);
  EXPECT_NE(cloud.find("\"source\": \"urn:nats:jetstream\""), std::string::npos) << cloud;
  EXPECT_NE(cloud.find("/schemas/jetstream/advisory/v1/stream_action.json\""), std::string::npos)
      << cloud;
}

TEST(EventText, UnknownTypesAndNoEventsGiveNothing) {
  EXPECT_EQ(event_text(parsed(R"({"type":"io.nats.other"})"), EventFormat::Short), "");
  EXPECT_EQ(event_text(parsed("[1]"), EventFormat::Extended), "");
}

TEST(EventText, EveryKindIsShownEvenWhenEmpty) {
  for (const char* type :
       {"jetstream.advisory.v1.api_audit", "jetstream.advisory.v1.consumer_pause",
        "jetstream.advisory.v1.nak", "jetstream.advisory.v1.stream_leader_elected",
        "jetstream.advisory.v1.snapshot_complete", "jetstream.metric.v1.consumer_ack",
        "server.advisory.v1.account_connections", "server.advisory.v1.client_disconnect",
        "server.metric.v1.service_latency"}) {
    const auto event = parsed(R"({"type":"io.nats.)" + std::string(type) + R"("})");
    for (const auto format : {EventFormat::Short, EventFormat::Extended, EventFormat::CloudEvent}) {
      const std::string text = event_text(event, format);
      EXPECT_FALSE(text.empty()) << type;
      if (format == EventFormat::CloudEvent) continue;
      EXPECT_EQ(text.find_first_of("{@?"), std::string::npos) << type << ": " << text;
    }
  }
}

constexpr const char* kOrigin =
    R"({"server":{"name":"hub","ver":"2"},"request":{},"hops":1,"events":[{"type":"in","ts":"2026-11-23T10:00:00Z","kind":0,"cid":3,)"
    R"("name":"me","acc":"A","subj":"a"},{"type":"js","ts":"2026-11-23T10:00:00.0001Z","stream":"S","subject":"a"},)"
    R"({"type":"eg","ts":"2026-11-23T10:00:00.0002Z","kind":4,"cid":9,"name":"edge","hop":"1"}]})";

TEST(MessageTrace, WaitsForEveryServerTheMessageWentTo) {
  MessageTrace trace;
  EXPECT_FALSE(trace.add(parsed("{}")));
  EXPECT_TRUE(trace.add(parsed(kOrigin)));
  EXPECT_FALSE(trace.is_complete());
  const std::string partial = trace.text(false);
  EXPECT_NE(partial.find("This trace event was missing"), std::string::npos) << partial;
  EXPECT_TRUE(trace.add(parsed(
      R"({"server":{"name":"edge","ver":"2"},"request":{"header":{"Nats-Trace-Hop":["1"]}},"events":[{"type":"in",)"
      R"("ts":"2026-11-23T10:00:00.0003Z","kind":4,"cid":2},{"type":"eg","ts":"2026-11-23T10:00:00.0004Z","kind":0,"cid":5,)"
      R"("sub":"a","queue":"q"}]})")));
  EXPECT_TRUE(trace.is_complete());
  EXPECT_EQ(trace.text(false),
            "Client \"me\" cid:3 server:\"hub\" version:\"2\"\n--J JetStream action:\"stored\" "
            "stream:\"S\" subject:\"a\"\n"
            "~~> Leafnode \"edge\" lid:9\n    Leafnode lid:2 server:\"edge\" version:\"2\"\n"
            "    --C Client cid:5 subject:\"a\" queue:\"q\"\n");
  EXPECT_EQ(trace.egress_counts().at("Client"), 1);
  EXPECT_NE(trace.text(true).find("[100µs] --J"), std::string::npos) << trace.text(true);
}

TEST(TopText, RatesCompareTwoLooks) {
  TopSample before{parsed(R"({"now":"2026-11-23T10:00:00Z","in_msgs":100})"),
                   parsed(R"({"connections":[{"cid":1,"in_msgs":10}]})")};
  TopSample now{
      parsed(
          R"({"now":"2026-11-23T10:00:02Z","in_msgs":2100,"version":"2","server_name":"hub","server_id":"ID","uptime":"1s"})"),
      parsed(
          R"({"num_connections":1,"connections":[{"cid":1,"ip":"1.2.3.4","port":5,"in_msgs":2010,"name":"worker"}]})")};
  const std::string text = top_text(now, &before, {});
  EXPECT_NE(text.find("In:   Msgs: 2.1K  Bytes: 0  Msgs/Sec: 1000.0"), std::string::npos) << text;
  EXPECT_NE(text.find("  1.2.3.4:5        1      worker   0"), std::string::npos) << text;
  EXPECT_NE(text.find("2.0K"), std::string::npos) << text;
  TopOptions rates;
  rates.has_rates = true;
  EXPECT_NE(top_text(now, &before, rates).find("1.0K"), std::string::npos);
}

TEST(TopText, DelimitedFieldsHaveNoPadding) {
  TopSample now{
      parsed(R"({"version":"2","uptime":"1s"})"),
      parsed(
          R"({"num_connections":1,"connections":[{"cid":1,"ip":"::1","port":5,"subscriptions_list":["a","b"]}]})")};
  const std::string text = top_text(now, nullptr, {true, true, false, ";"}, {{"::1", "home"}});
  EXPECT_NE(text.find("\nHOST;CID;NAME;SUBS;"), std::string::npos) << text;
  EXPECT_NE(text.find("\nhome;1;;0;0;0;0;0;0;;;;"), std::string::npos) << text;
  EXPECT_TRUE(text.ends_with("a  b\n")) << text;
}

}  // namespace
}  // namespace brokkr::cli
