#include "workload/trace_context.h"

#include <gtest/gtest.h>

#include "protocol/headers.h"

namespace brokkr::workload {
namespace {

constexpr std::string_view kParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST(TraceContext, ReadsAndWritesTheStandardsExample) {
  const auto context = parse_traceparent(kParent);
  ASSERT_TRUE(context);
  EXPECT_TRUE(context->is_sampled());
  EXPECT_EQ(to_hex(context->trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(to_hex(context->span_id), "00f067aa0ba902b7");
  EXPECT_EQ(format_traceparent(*context), kParent);
}

TEST(TraceContext, RefusesWhatIsNone) {
  std::string text(kParent);
  EXPECT_TRUE(parse_traceparent("cc" + text.substr(2) + "-what-comes-later"));
  EXPECT_FALSE(parse_traceparent("ff" + text.substr(2)));
  EXPECT_FALSE(parse_traceparent(text + "-more"));
  EXPECT_FALSE(parse_traceparent(text.substr(0, 54)));
  EXPECT_FALSE(parse_traceparent("00-00000000000000000000000000000000-00f067aa0ba902b7-01"));
  EXPECT_FALSE(parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"));
  EXPECT_FALSE(parse_traceparent("00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
  EXPECT_FALSE(parse_traceparent(""));
}

TEST(TraceContext, AChildKeepsTheTraceAndARootIsSampled) {
  const uint64_t seed = 7;
  RecordProperty("seed", static_cast<int>(seed));
  SeededRandom random(seed);
  const auto parent = parse_traceparent(kParent);
  const TraceContext child = make_child(*parent, random);
  EXPECT_EQ(child.trace_id, parent->trace_id);
  EXPECT_NE(child.span_id, parent->span_id);
  const TraceContext root = make_child({}, random);
  EXPECT_TRUE(root.is_set() && root.is_sampled());
  EXPECT_NE(root.trace_id, parent->trace_id);
  EXPECT_TRUE(parse_traceparent(format_traceparent(root)));
}

TEST(TraceContext, TravelsInHeaders) {
  protocol::HeaderWriter headers;
  headers.add("Traceparent", kParent);
  headers.add("tracestate", "vendor=1");
  headers.add("Other", "x");
  const std::string block = headers.take();
  TraceContext context = trace_context_of(block);
  ASSERT_TRUE(context.is_set());
  EXPECT_EQ(context.state, "vendor=1");
  context.flags = 0;
  const std::string sent = with_trace_context("", context);
  const auto parsed = protocol::Headers::parse(sent);
  ASSERT_TRUE(parsed);
  std::string unsampled(kParent.substr(0, 54));
  EXPECT_EQ(parsed->get("traceparent"), unsampled.append("0"));
  EXPECT_EQ(parsed->get("tracestate"), "vendor=1");
  EXPECT_FALSE(trace_context_of("NATS/1.0\r\ntraceparent: x\r\n\r\n").is_set());
  EXPECT_FALSE(trace_context_of("").is_set());
}

}  // namespace
}  // namespace brokkr::workload
