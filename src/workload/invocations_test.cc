#include "workload/invocations.h"

#include <gtest/gtest.h>

#include "workload/call_stats.h"

namespace brokkr::workload {
namespace {

using namespace std::chrono_literals;

void add_invocation(RecentInvocations& recent, const std::string& subject, uint16_t code = 200,
                    const std::string& error = {}) {
  RecentInvocations::Entry entry;
  entry.took = 5ms;
  entry.waited = 1ms;
  entry.payload_bytes = 3;
  entry.code = code;
  recent.add(std::move(entry), subject, error);
}

std::string subjects_of(const RecentInvocations& recent, size_t limit, bool only_errors = false) {
  std::string text;
  for (const auto& record : recent.list(limit, only_errors)) text += record.subject + " ";
  return text;
}

TEST(RecentInvocations, KeepsTheLastNewestFirst) {
  RecentInvocations recent(3);
  EXPECT_EQ(subjects_of(recent, 10), "");
  add_invocation(recent, "a");
  add_invocation(recent, "b");
  EXPECT_EQ(subjects_of(recent, 10), "b a ");
  for (const char* subject : {"c", "d", "e", "f"}) add_invocation(recent, subject);
  EXPECT_EQ(subjects_of(recent, 10), "f e d ");
  EXPECT_EQ(subjects_of(recent, 2), "f e ");
}

TEST(RecentInvocations, KeepsOneCutLineOfAnError) {
  RecentInvocations recent;
  add_invocation(recent, std::string(1000, 's'), 500, "TypeError: x\nat y");
  add_invocation(recent, "fine");
  const auto records = recent.list(10, true);
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].error, "TypeError: x");
  EXPECT_EQ(records[0].subject.size(), RecentInvocations::kSubjectBytesMax);
  EXPECT_EQ(records[0].code, 500U);
  EXPECT_EQ(records[0].duration_ns, 5'000'000U);
  EXPECT_EQ(records[0].waited_ns, 1'000'000U);
  EXPECT_EQ(records[0].trace_id, "");
}

TEST(ControlInvocations, TheReplySurvivesItsJson) {
  InvocationsReply reply{"id", "name", "node", 1, {}};
  reply.invocations.push_back(
      {"2026-11-23T08:39:28Z", "a.b", 5, 1, 500, "no", 3, 4, 2, "4bf92f3577b34da6a3ce929d0e0e4736"});
  const auto read = decode_invocations_reply(encode(reply));
  ASSERT_TRUE(read);
  EXPECT_EQ(encode(*read), encode(reply));
  EXPECT_EQ(read->invocations[0].deliveries, 2U);
  EXPECT_EQ(decode_invocations_request("")->limit, 100U);
  EXPECT_TRUE(decode_invocations_request(R"({"limit":5,"errors":true})")->errors);
  EXPECT_FALSE(decode_invocations_request(R"({"limit":"x"})"));
}

TEST(LatencyHistogram, BoundsAreInclusiveAndDouble) {
  LatencyHistogram histogram;
  for (const Duration took : {Duration(0), Duration(100us), Duration(100us) + 1ns, Duration(200us),
                              Duration(1h)}) {
    histogram.add(took);
  }
  EXPECT_EQ(histogram.count_up_to(0), 2U);
  EXPECT_EQ(histogram.count_up_to(1), 4U);
  EXPECT_EQ(histogram.count_up_to(LatencyHistogram::kBounds - 1), 4U);
  EXPECT_EQ(histogram.count(), 5U);
  EXPECT_EQ(LatencyHistogram::bound(3), 800us);
}

TEST(LatencyHistogram, QuantilesLieWithinTheirBucket) {
  LatencyHistogram histogram;
  EXPECT_EQ(histogram.quantile(0.5), 0ns);
  for (int i = 0; i < 99; ++i) histogram.add(150us);
  histogram.add(3ms);
  EXPECT_GT(histogram.quantile(0.5), 100us);
  EXPECT_LE(histogram.quantile(0.5), 200us);
  EXPECT_LE(histogram.quantile(0.99), 200us);
  EXPECT_GT(histogram.quantile(1), 1600us);
  EXPECT_LE(histogram.quantile(1), 3200us);
}

TEST(CallStats, CountsErrorsByCode) {
  CallStats stats;
  stats.add(200, 1ms, 10, 20);
  stats.add(500, 1ms, 1, 0);
  stats.add(500, 1ms, 1, 0);
  stats.add(504, 1s, 1, 0);
  EXPECT_EQ(stats.calls, 4U);
  EXPECT_EQ(stats.errors, 3U);
  EXPECT_EQ(stats.errors_by_code.at(500), 2U);
  EXPECT_EQ(stats.payload_bytes, 13U);
  EXPECT_EQ(stats.reply_bytes, 20U);
}

}  // namespace
}  // namespace brokkr::workload
