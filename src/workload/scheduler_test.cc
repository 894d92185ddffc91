#include "workload/scheduler.h"

#include "workload/scheduler_sim.h"

namespace brokkr::workload {
namespace {

using namespace std::chrono_literals;
using Sim = SchedulerSim;

TEST(Scheduler, OneNodeRunsAllReplicas) {
  Sim sim(1, 1);
  sim.apply("x", 3, 1);
  sim.expect_settles(3s);
  EXPECT_EQ(sim.starts, 3U);
}

TEST(Scheduler, ReplicasSpread) {
  Sim sim(2, 3);
  sim.run(2s);
  for (int i = 0; i < 20; ++i) sim.apply("w" + std::to_string(i), 3, 1);
  sim.expect_settles(5s);
  for (const auto& node : sim.nodes) {
    EXPECT_GE(node.copies.size(), 14U);
    EXPECT_LE(node.copies.size(), 26U);
  }
}

TEST(Scheduler, AFullNodeHasItsReplicasAgainAfterARestart) {
  Sim sim(7, 1);
  sim.workloads_max = 20;
  sim.run(2s);
  for (int i = 0; i < 20; ++i) sim.apply("w" + std::to_string(i), 1, 1);
  sim.expect_settles(5s);
  sim.kill(sim.nodes[0]);
  sim.start(sim.nodes[0]);
  sim.expect_settles(20s);
}

TEST(Scheduler, ScalesDownAndRemoves) {
  Sim sim(3, 2);
  sim.apply("x", 4, 1);
  sim.expect_settles(5s);
  sim.apply("x", 1, 1);
  sim.expect_settles(5s);
  sim.apply("x", 1, 1, [](DesiredWorkload& w) { w.is_removed = true; });
  sim.run(5s);
  EXPECT_TRUE(sim.desired.empty());
  EXPECT_TRUE(sim.last.at("s/a.x.0").is_gone);
}

TEST(Scheduler, RestartedNodeTakesItsOwnBack) {
  Sim sim(4, 3);
  sim.run(1s);
  for (int i = 0; i < 9; ++i) sim.apply("w" + std::to_string(i), 1, 1);
  sim.expect_settles(5s);
  const auto before = sim.nodes[1].copies.size();
  sim.kill(sim.nodes[1]);
  sim.run(500ms);
  sim.start(sim.nodes[1]);
  sim.expect_settles(3s);
  EXPECT_EQ(sim.nodes[1].copies.size(), before);
}

TEST(Scheduler, DamagedLeaseIsWrittenAnewAndItsCopyRunsOn) {
  Sim sim(12, 2);
  sim.apply("x", 2, 1);
  sim.expect_settles(5s);
  const auto before = sim.starts;
  for (const char* damage : {"", "{", "[]", "{\"node\":5}"}) {
    sim.store("s", "a.x.0", damage);
    sim.run(1s);
    EXPECT_TRUE(decode_slot_lease(sim.last.at("s/a.x.0").value)) << damage;
  }
  EXPECT_EQ(sim.starts, before);
  sim.apply("x", 2, 2);
  sim.run(5s);
  EXPECT_EQ(sim.running(true, 2).size(), 2U);
}

TEST(Scheduler, LeaseNobodyCanReadIsClaimedAfterARestart) {
  Sim sim(13, 1);
  sim.apply("x", 1, 1);
  sim.expect_settles(5s);
  sim.kill(sim.nodes[0]);
  sim.store("s", "a.x.0", "{bad");
  sim.start(sim.nodes[0]);
  sim.expect_settles(5s);
}

TEST(Scheduler, BucketsThatWereMadeAnewGetTheLeasesBack) {
  Sim sim(14, 1);
  sim.apply("x", 2, 1);
  sim.expect_settles(5s);
  const auto before = sim.starts;
  sim.revision = 0;
  sim.last.clear();
  sim.nodes[0].scheduler->on_replaced();
  sim.nodes[0].scheduler->on_synced(sim.now);
  sim.run(2s);
  EXPECT_TRUE(sim.last.contains("s/a.x.0") && sim.last.contains("s/a.x.1"));
  EXPECT_EQ(sim.starts, before);
  sim.apply("x", 2, 2);
  sim.run(5s);
  EXPECT_EQ(sim.running(true, 2).size(), 2U);
}

TEST(Scheduler, LeaseThatVanishedIsWrittenAnewWithTheNextChange) {
  Sim sim(15, 1);
  sim.apply("x", 1, 1);
  sim.expect_settles(5s);
  sim.last.erase("s/a.x.0");
  sim.apply("x", 1, 2);
  sim.run(5s);
  EXPECT_EQ(sim.running(true, 2).size(), 1U);
}

TEST(Scheduler, DeadNodesWorkIsTakenOver) {
  Sim sim(5, 3);
  sim.is_strict = true;
  sim.run(1s);
  for (int i = 0; i < 30; ++i) sim.apply("w" + std::to_string(i), 2, 1);
  sim.expect_settles(5s);
  sim.kill(sim.nodes[0]);
  sim.expect_settles(9s);
}

TEST(Scheduler, CutNodeStopsBeforeOthersStart) {
  Sim sim(6, 3);
  sim.is_strict = true;
  sim.run(1s);
  for (int i = 0; i < 30; ++i) sim.apply("w" + std::to_string(i), 2, 1);
  sim.expect_settles(5s);
  sim.nodes[2].is_cut = true;
  sim.expect_settles(9s);
  EXPECT_TRUE(sim.nodes[2].copies.empty());
  sim.nodes[2].is_cut = false;
  sim.run(3s);
  sim.expect_settles(1s);
}

TEST(Scheduler, LoneNodeGoesOnWithoutTheStore) {
  Sim sim(7, 1);
  sim.apply("x", 2, 1);
  sim.expect_settles(3s);
  sim.nodes[0].is_cut = true;
  sim.run(20s);
  EXPECT_EQ(sim.nodes[0].copies.size(), 2U);
  EXPECT_EQ(sim.starts, 2U);
}

TEST(Scheduler, UpdateGoesSlotBySlotAndStopsAtAFailure) {
  Sim sim(8, 3);
  sim.run(1s);
  sim.apply("x", 3, 1);
  sim.expect_settles(5s);
  sim.apply("x", 3, 2);
  sim.run(5s);
  EXPECT_EQ(sim.running(true, 2).size(), 3U);
  EXPECT_EQ(sim.running(true).size(), 3U);
  sim.bad_generation = 3;
  sim.apply("x", 3, 3);
  const size_t before = sim.starts;
  sim.run(10s);
  EXPECT_EQ(sim.starts, before + 1);
  EXPECT_EQ(sim.running(true, 2).size(), 3U);
  const auto status = sim.nodes[1].scheduler->status(*sim.nodes[1].scheduler->find("a", "x"), sim.now);
  EXPECT_EQ(status.state, "failed");
  EXPECT_NE(status.message.find("boom"), std::string::npos);
  // A replica that is lost meanwhile comes back as what runs.
  for (auto& node : sim.nodes) {
    if (node.copies.empty()) continue;
    sim.kill(node);
    break;
  }
  sim.run(10s);
  EXPECT_EQ(sim.running(true, 2).size(), 3U);
  sim.apply("x", 3, 4);
  sim.run(5s);
  EXPECT_EQ(sim.running(true, 4).size(), 3U);
}

TEST(Scheduler, FirstRevisionThatFailsStaysFailed) {
  Sim sim(9, 2);
  sim.bad_generation = 1;
  sim.apply("x", 1, 1);
  sim.run(20s);
  EXPECT_EQ(sim.starts, 1U);
  EXPECT_EQ(decode_slot_lease(sim.last.at("s/a.x.0").value)->state, "failed");
  sim.apply("x", 1, 2);
  sim.expect_settles(3s);
}

TEST(Scheduler, DrainingNodeHandsOverWithoutAGap) {
  Sim sim(10, 3);
  sim.run(1s);
  for (int i = 0; i < 12; ++i) sim.apply("w" + std::to_string(i), 1, 1);
  sim.expect_settles(5s);
  sim.nodes[0].state = "draining";
  for (int i = 0; i < 200; ++i) {
    sim.run(20ms);
    ASSERT_EQ(sim.complaint(false), "");
  }
  EXPECT_TRUE(sim.nodes[0].copies.empty());
  EXPECT_EQ(sim.complaint(true), "");
}

TEST(Scheduler, LastNodeDrainsByTime) {
  Sim sim(11, 1);
  sim.apply("x", 2, 1);
  sim.expect_settles(3s);
  sim.nodes[0].state = "draining";
  sim.run(5s);
  EXPECT_EQ(sim.nodes[0].copies.size(), 2U);
  sim.nodes[0].scheduler->release_all();
  sim.run(2s);
  EXPECT_TRUE(sim.nodes[0].copies.empty());
  EXPECT_TRUE(sim.last.at("s/a.x.0").is_gone);
}

TEST(Scheduler, TagsAndPinsDecideWhere) {
  Sim sim(12, 3);
  sim.nodes[2].tags = {{"zone", "b"}};
  sim.run(2s);
  sim.apply("t", 2, 1, [](DesiredWorkload& w) { w.tags = {{"zone", "b"}}; });
  sim.apply("p", 1, 1, [](DesiredWorkload& w) { w.node = "N1"; });
  sim.expect_settles(4s);
  EXPECT_EQ(sim.nodes[2].copies.size(), 2U);
  EXPECT_EQ(sim.nodes[1].copies.size(), 1U);
  sim.apply("p", 1, 1, [](DesiredWorkload& w) { w.node = "N0"; });
  sim.run(3s);
  sim.expect_settles(2s);
  EXPECT_EQ(sim.nodes[0].copies.size(), 1U);
}

TEST(Scheduler, FinishedJobsDoNotRunAgain) {
  Sim sim(13, 2);
  sim.apply("j", 1, 1, [](DesiredWorkload& w) { w.workload_lifecycle = "job"; });
  sim.run(3s);
  for (auto& node : sim.nodes) {
    for (auto& [id, copy] : node.copies) node.scheduler->on_ended(id, 0, "", "42");
    node.copies.clear();
  }
  sim.run(2s);
  const auto lease = decode_slot_lease(sim.last.at("s/a.j.0").value);
  EXPECT_EQ(lease->state, "completed");
  EXPECT_EQ(lease->result, "42");
  for (auto& node : sim.nodes) sim.start(node);
  sim.run(15s);
  EXPECT_EQ(sim.starts, 1U);
  sim.apply("j", 1, 2);
  sim.run(3s);
  EXPECT_EQ(sim.starts, 2U);
}

TEST(Scheduler, QuotaHoldsBackWhatCameLast) {
  Sim sim(14, 1);
  NamespaceRecord record;
  record.ns = "a";
  record.replicas_max = 3;
  sim.nodes[0].scheduler->on_namespace(record);
  sim.apply("first", 2, 1, [](DesiredWorkload& w) { w.created = "2026-01-01"; });
  sim.apply("second", 2, 1, [](DesiredWorkload& w) { w.created = "2026-01-02"; });
  sim.run(5s);
  EXPECT_EQ(sim.starts, 2U);
  sim.apply("second", 1, 1);
  sim.run(3s);
  EXPECT_EQ(sim.starts, 3U);
}

// Faults of every kind, one after the other and together: what is declared is always back within ten
// seconds, and once all is well nothing runs that should not.
class SchedulerFaults : public testing::TestWithParam<int> {};

TEST_P(SchedulerFaults, AlwaysBackNeverMore) {
  const uint64_t seed = seed_of_run() + static_cast<uint64_t>(GetParam());
  SCOPED_TRACE("seed " + std::to_string(seed));
  Sim sim(seed, 3 + seed % 3);
  SeededRandom& random = sim.random;
  uint64_t generation = 1;
  sim.run(2s);
  for (int i = 0; i < 12; ++i) {
    sim.apply("w" + std::to_string(i), static_cast<uint32_t>(1 + random.below(3)), generation);
  }
  sim.expect_settles(5s);
  for (int round = 0; round < 8 && !testing::Test::HasFailure(); ++round) {
    Sim::Node& victim = sim.nodes[random.below(sim.nodes.size())];
    const uint64_t fault = random.below(4);
    if (fault == 0) sim.kill(victim);
    if (fault == 1) victim.is_cut = true;
    if (fault == 2) victim.is_frozen = true;
    if (fault == 3) victim.state = "draining";
    if (random.below(2) == 0) {
      const std::string name = "w" + std::to_string(random.below(12));
      sim.apply(name, static_cast<uint32_t>(random.below(4)), random.below(2) == 0 ? ++generation : sim.desired[name].current.generation);
    }
    if (random.below(3) == 0) sim.run(1ms * random.below(9000));
    sim.expect_settles(10s, false);
    sim.run(1ms * random.below(8000));
    if (fault == 0) sim.start(victim);
    victim.is_cut = victim.is_frozen = false;
    victim.state = "running";
    if (random.below(2) == 0) sim.run(1ms * random.below(5000));
    sim.run(3s);
    sim.expect_settles(6s);
  }
}
INSTANTIATE_TEST_SUITE_P(Seeds, SchedulerFaults, testing::Range(0, 2));

}  // namespace
}  // namespace brokkr::workload
