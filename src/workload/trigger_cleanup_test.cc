#include "workload/trigger_cleanup.h"

#include <gtest/gtest.h>

namespace brokkr::workload {
namespace {

using Kind = Trigger::Kind;

Trigger trigger_of(Kind kind, std::string Trigger::*member, const std::string& name) {
  Trigger trigger;
  trigger.kind = kind;
  trigger.*member = name;
  return trigger;
}

bool has(const std::vector<TriggerConsumer>& all, const TriggerConsumer& wanted) {
  return std::find(all.begin(), all.end(), wanted) != all.end();
}

TEST(TriggerCleanup, FindsTheConsumersOfEveryRevision) {
  DesiredWorkload workload;
  workload.ns = "acme";
  workload.name = "bill";
  RunRequest& run = workload.current.run;
  run.triggers = {trigger_of(Kind::Subject, &Trigger::subject, "a.b"),
                  trigger_of(Kind::Stream, &Trigger::stream, "acme__S"),
                  trigger_of(Kind::Http, &Trigger::path, "/x"),
                  trigger_of(Kind::Schedule, &Trigger::schedule, "@daily")};
  WorkloadRevision& before = workload.previous.emplace_back();
  before.run.triggers = {trigger_of(Kind::Stream, &Trigger::stream, "acme__OLD"),
                         trigger_of(Kind::KeyValue, &Trigger::bucket, "conf")};
  const auto found = trigger_consumers(workload, {});
  EXPECT_TRUE(has(found, {"acme__S", "nex-acme-bill-0", "trigger 0 of workload acme/bill"}));
  EXPECT_TRUE(has(found, {"NEX_SCHEDULE_acme", "nex-acme-bill-2", "trigger 2 of workload acme/bill"}));
  EXPECT_TRUE(has(found, {"acme__OLD", "nex-acme-bill-0", "trigger 0 of workload acme/bill"}));
  EXPECT_TRUE(has(found, {"KV_acme__conf", "nex-acme-bill-1", "trigger 1 of workload acme/bill"}));
  // A record that listed the bucket may be gone.
  EXPECT_TRUE(has(found, {"KV_conf", "nex-acme-bill-1", "trigger 1 of workload acme/bill"}));
  EXPECT_EQ(found.size(), 5U);
}

TEST(TriggerCleanup, LeavesWhatIsToBeKept) {
  DesiredWorkload workload;
  workload.ns = "default";
  workload.name = "f";
  Trigger kept = trigger_of(Kind::Stream, &Trigger::stream, "S");
  kept.is_kept = true;
  workload.current.run.triggers = {kept, trigger_of(Kind::Stream, &Trigger::stream, "T")};
  const auto found = trigger_consumers(workload, {});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].stream, "T");
  EXPECT_EQ(found[0].name, "nex-default-f-1");
  const auto again = decode_run_request(encode(workload.current.run));
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->triggers[0].is_kept);
  EXPECT_FALSE(again->triggers[1].is_kept);
}

}  // namespace
}  // namespace brokkr::workload
