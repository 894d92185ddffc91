// Faults of the store and of the ways to it, in simulated time.
#include "workload/scheduler_sim.h"

namespace brokkr::workload {
namespace {

using namespace std::chrono_literals;
using OutageSim = SchedulerSim;

void fill(OutageSim& sim, int workloads = 30) {
  sim.run(1s);
  for (int i = 0; i < workloads; ++i) sim.apply("w" + std::to_string(i), 2, 1);
  sim.expect_settles(5s);
}

size_t copies_on(const OutageSim& sim) {
  size_t count = 0;
  for (const auto& node : sim.nodes) count += node.copies.size();
  return count;
}

TEST(SchedulerOutage, NothingStopsWhileNobodyHasTheStore) {
  for (const auto length : {3s, 6s, 30s}) {
    OutageSim sim(21, 3);
    sim.is_strict = true;
    fill(sim, 10);
    const size_t starts = sim.starts;
    sim.is_store_down = true;
    for (Duration passed{}; passed < length; passed += 100ms) {
      sim.run(100ms);
      ASSERT_EQ(copies_on(sim), 20U);
    }
    sim.is_store_down = false;
    sim.run(15s);
    EXPECT_EQ(sim.complaint(true), "");
    EXPECT_EQ(sim.starts, starts);
  }
}

TEST(SchedulerOutage, WhoCannotAskTheOthersStops) {
  OutageSim sim(22, 3);
  sim.is_strict = true;
  fill(sim);
  sim.is_store_down = true;
  sim.run(10s);
  sim.nodes[1].is_cut = true;
  sim.run(5s);
  // Neither side knows whether the other has the store again.
  EXPECT_EQ(copies_on(sim), 0U);
  sim.is_store_down = false;
  sim.expect_settles(15s);
  sim.nodes[1].is_cut = false;
  sim.run(3s);
  sim.expect_settles(5s);
}

TEST(SchedulerOutage, NodesThatAreCutOffTogetherStopBeforeTheOthersStart) {
  OutageSim sim(23, 3);
  sim.is_strict = true;
  fill(sim);
  for (size_t i : {0U, 1U}) {
    sim.nodes[i].is_blind = true;
    sim.nodes[i].island = 1;
  }
  sim.run(5s);
  EXPECT_TRUE(sim.nodes[0].copies.empty());
  EXPECT_TRUE(sim.nodes[1].copies.empty());
  sim.expect_settles(5s);
  for (auto& node : sim.nodes) {
    node.is_blind = false;
    node.island = 0;
  }
  sim.run(3s);
  sim.expect_settles(5s);
}

TEST(SchedulerOutage, ABlindNodeStopsWhenOthersHaveTheStore) {
  OutageSim sim(24, 3);
  sim.is_strict = true;
  fill(sim);
  sim.nodes[0].is_blind = true;
  sim.run(5s);
  EXPECT_TRUE(sim.nodes[0].copies.empty());
  sim.expect_settles(5s);
}

TEST(SchedulerOutage, ANodeThatDiesMeanwhileIsReplacedAfterwards) {
  OutageSim sim(25, 3);
  sim.is_strict = true;
  fill(sim);
  sim.is_store_down = true;
  sim.run(10s);
  sim.kill(sim.nodes[2]);
  sim.run(10s);
  sim.is_store_down = false;
  sim.expect_settles(15s);
}

TEST(SchedulerOutage, ANewcomerWithTheStoreEndsIt) {
  OutageSim sim(26, 3);
  fill(sim);
  sim.kill(sim.nodes[2]);
  sim.run(20s);
  sim.nodes[0].is_blind = sim.nodes[1].is_blind = true;
  sim.run(10s);
  EXPECT_EQ(copies_on(sim), 60U);
  sim.start(sim.nodes[2]);
  sim.run(6s);
  EXPECT_TRUE(sim.nodes[0].copies.empty());
  EXPECT_TRUE(sim.nodes[1].copies.empty());
}

// Outages of the store, of chance length, with nodes that die, freeze and are cut off meanwhile: copies of
// nodes that run their own time are never two, and what is declared is there again afterwards.
class SchedulerOutages : public testing::TestWithParam<int> {};

TEST_P(SchedulerOutages, NeverTwo) {
  const uint64_t seed = seed_of_run() + static_cast<uint64_t>(GetParam());
  SCOPED_TRACE("seed " + std::to_string(seed));
  OutageSim sim(seed, 2 + seed % 4);
  sim.is_strict = true;
  fill(sim, 6);
  for (int round = 0; round < 6 && !testing::Test::HasFailure(); ++round) {
    auto& victim = sim.nodes[sim.random.below(sim.nodes.size())];
    const uint64_t fault = sim.random.below(5);
    const auto hit = [&] {
      if (fault == 0) sim.kill(victim);
      if (fault == 1) victim.is_cut = true;
      if (fault == 2) victim.is_blind = true;
      if (fault == 3) {
        victim.is_blind = true;
        victim.island = 1;
      }
    };
    const bool is_first = sim.random.below(2) == 0;
    if (is_first) hit();
    if (is_first) sim.run(sim.late(8000));
    sim.is_store_down = true;
    sim.run(sim.late(9000));
    if (!is_first) hit();
    if (!is_first) sim.run(sim.late(9000));
    if (sim.random.below(2) == 0) sim.apply("w1", 1 + static_cast<uint32_t>(sim.random.below(3)), 1);
    sim.is_store_down = false;
    sim.run(sim.late(7000));
    if (fault == 0) sim.start(victim);
    victim.is_cut = victim.is_blind = false;
    victim.island = 0;
    sim.run(8s);
    sim.expect_settles(15s);
  }
}
INSTANTIATE_TEST_SUITE_P(Seeds, SchedulerOutages, testing::Range(0, 4));

}  // namespace
}  // namespace brokkr::workload
