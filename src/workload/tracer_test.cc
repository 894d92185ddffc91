#include "workload/tracer.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "workload/hops.h"

namespace brokkr::workload {
namespace {

TEST(Tracer, WritesWhatCollectorsRead) {
  Span span;
  span.context = *parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
  span.parent[7] = 1;
  span.kind = Span::Kind::Consumer;
  span.name = "invoke \"f\"";
  span.start = WallTime(Duration(1'700'000'000'000'000'001));
  span.end = span.start + std::chrono::milliseconds(2);
  span.attributes = {{"faas.name", "f"}};
  span.has_failed = true;
  span.error = "no";
  const auto value = json::parse(encode_spans({span}, {{"service.name", "brokkr"}}));
  ASSERT_TRUE(value);
  const json::Value& resource = value->find("resourceSpans")->items().at(0);
  EXPECT_EQ(resource.find("resource")->find("attributes")->items().at(0).get_string("key"),
            "service.name");
  const json::Value& written =
      resource.find("scopeSpans")->items().at(0).find("spans")->items().at(0);
  EXPECT_EQ(written.get_string("traceId"), "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(written.get_string("spanId"), "00f067aa0ba902b7");
  EXPECT_EQ(written.get_string("parentSpanId"), "0000000000000001");
  EXPECT_EQ(written.get_int("kind"), 5);
  EXPECT_EQ(written.get_string("startTimeUnixNano"), "1700000000000000001");
  EXPECT_EQ(written.find("status")->get_int("code"), 2);
}

TEST(Tracer, TheEndpointGetsItsPathOnce) {
  EXPECT_EQ(tracer_options("http://h:4318").endpoint, "http://h:4318/v1/traces");
  EXPECT_EQ(tracer_options("http://h:4318/").endpoint, "http://h:4318/v1/traces");
  EXPECT_EQ(tracer_options("http://h/otel/v1/traces").endpoint, "http://h/otel/v1/traces");
}

TEST(Hops, AreReadFromHeadersAndNonsenseIsTheLimit) {
  EXPECT_EQ(hops_of(""), 0);
  EXPECT_EQ(hops_of("NATS/1.0\r\nOther: 3\r\n\r\n"), 0);
  EXPECT_EQ(hops_of("NATS/1.0\r\nNats-Brokkr-Hops: 3\r\n\r\n"), 3);
  EXPECT_EQ(hops_of("NATS/1.0\r\nNats-Brokkr-Hops: 200\r\n\r\n"), kHopsMax);
  EXPECT_EQ(hops_of("NATS/1.0\r\nNats-Brokkr-Hops: x\r\n\r\n"), kHopsMax);
  for (const char* method : {"create", "update", "delete", "purge"}) EXPECT_TRUE(is_sending("kv", method));
  EXPECT_TRUE(is_sending("http", "get") && !is_sending("kv", "get"));
}

TEST(Hops, OnlyWhatSendsOnCounts) {
  EXPECT_TRUE(is_sending("messaging", "publish") && is_sending("messaging", "request"));
  EXPECT_TRUE(is_sending("kv", "set") && is_sending("objectStore", "put"));
  EXPECT_FALSE(is_sending("kv", "get") || is_sending("kv", "keys"));
}

}  // namespace
}  // namespace brokkr::workload
