#include "workload/scheduler.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>

namespace brokkr::workload {
namespace {

using namespace std::chrono_literals;
using Kind = Scheduler::Action::Kind;

constexpr auto kSimStep = 20ms;

// A key-value store and several nodes around it, in simulated time. Nodes hear of changes in order, late;
// writes take their time; a cut node hears and writes nothing, a frozen one does nothing, a dead one has
// lost all it ran.
class Sim {
 public:
  struct Copy {
    std::string slot_key;
    uint64_t generation = 0;
    MonotonicTime due{};  // of its next change
    enum class State { Starting, Running, Stopping } state = State::Starting;
  };
  struct Event {
    std::string bucket;
    std::string key;
    bool is_gone = false;
    uint64_t revision = 0;
    std::string value;
  };
  struct Write {
    Scheduler::Action action;
    MonotonicTime apply_at{};
    bool is_applied = false;
    bool is_ok = false;
    bool was_cut = false;
    uint64_t revision = 0;
    MonotonicTime answer_at{};
  };
  struct Node {
    std::string id;
    uint64_t incarnation = 0;
    std::unique_ptr<Scheduler> scheduler;  // null: dead
    bool is_cut = false;
    bool is_frozen = false;
    std::string state = "running";
    size_t heard = 0;
    MonotonicTime hears_at{};
    uint64_t beat = 0;
    MonotonicTime next_beat{};
    std::deque<std::pair<MonotonicTime, MonotonicTime>> acks;  // when, of a beat sent when
    std::deque<Write> writes;
    std::map<std::string, Copy> copies;
    Pairs tags;
  };

  Sim(uint64_t seed, size_t node_count) : random(seed) {
    for (size_t i = 0; i < node_count; ++i) {
      Node& node = nodes.emplace_back();
      node.id = "N" + std::to_string(i);
      start(node);
    }
  }

  void start(Node& node) {
    ++node.incarnation;
    node.scheduler = std::make_unique<Scheduler>(
        Scheduler::Self{node.id, node.incarnation + 1000}, random);
    node.is_cut = node.is_frozen = false;
    node.state = "running";
    node.heard = 0;
    node.next_beat = now;
    node.acks.clear();
    node.writes.clear();
    node.copies.clear();
    // The snapshot: the last of every key.
    for (const auto& [key, event] : last) tell(node, event);
    node.heard = log.size();
    node.scheduler->on_beat(now);
    node.scheduler->on_synced(now);
  }
  void kill(Node& node) {
    node.scheduler.reset();
    node.copies.clear();
  }

  void store(const std::string& bucket, const std::string& key, const std::string& value,
             bool is_gone = false) {
    Event event{bucket, key, is_gone, ++revision, value};
    last[bucket + "/" + key] = event;
    log.push_back(event);
  }
  void apply(const std::string& name, uint32_t replicas, uint64_t generation,
             const std::function<void(DesiredWorkload&)>& change = {}) {
    DesiredWorkload& workload = desired[name];
    if (workload.id.empty()) {
      workload.id = name;
      workload.ns = "a";
      workload.name = name;
      workload.workload_type = "v8";
      workload.workload_lifecycle = "function";
    }
    if (workload.current.generation != generation) {
      if (workload.current.generation != 0) {
        workload.previous.insert(workload.previous.begin(), workload.current);
      }
      workload.current.generation = generation;
    }
    workload.replicas = replicas;
    if (change) change(workload);
    store("w", "a." + name, encode(workload));
  }

  void tell(Node& node, const Event& event) {
    Scheduler& to = *node.scheduler;
    if (event.bucket == "w") {
      if (event.is_gone) return to.on_workload_gone(event.key, event.revision);
      return to.on_workload(event.key, *decode_desired_workload(event.value), event.revision);
    }
    if (event.bucket == "s") {
      if (event.is_gone) return to.on_slot_gone(event.key, event.revision);
      return to.on_slot(event.key, *decode_slot_lease(event.value), event.revision);
    }
    to.on_node(*decode_node_record(event.value), now);
  }

  void run(Duration time) {
    const MonotonicTime end = now + time;
    while (now < end) {
      now += kSimStep;
      for (Node& node : nodes) {
        if (node.scheduler != nullptr && !node.is_frozen) turn(node);
      }
      for (Node& node : nodes) apply_writes(node);
      check_doubles();
    }
  }

  void turn(Node& node) {
    if (!node.is_cut) {
      while (node.heard < log.size() && node.hears_at <= now) {
        tell(node, log[node.heard++]);
        if (random.below(3) == 0) node.hears_at = now + 1ms * random.below(80);
      }
    }
    while (!node.acks.empty() && node.acks.front().first <= now) {
      if (!node.is_cut) node.scheduler->on_beat(node.acks.front().second);
      node.acks.pop_front();
    }
    answer_writes(node);
    run_copies(node);
    node.scheduler->set_state(node.state);
    for (Scheduler::Action& action : node.scheduler->step(now)) act(node, std::move(action));
    if (now >= node.next_beat) beat(node);
  }

  void beat(Node& node) {
    node.next_beat = now + kBeatEvery;
    if (node.is_cut) return;
    NodeRecord record;
    record.node = node.id;
    record.incarnation = node.incarnation + 1000;
    record.beat = ++node.beat;
    record.state = node.state;
    record.types = {"v8"};
    record.workloads_max = workloads_max;
    record.tags = node.tags;
    store("n", node.id, encode(record));
    node.acks.emplace_back(now + 1ms * random.below(100), now);
  }

  void act(Node& node, Scheduler::Action action) {
    switch (action.kind) {
      case Kind::Start:
        ++starts;
        node.copies[action.id] = {action.key, action.run.generation, now + 1ms * random.below(300),
                                  Copy::State::Starting};
        return;
      case Kind::Stop: {
        const auto copy = node.copies.find(action.id);
        if (copy == node.copies.end()) return node.scheduler->on_stopped(action.id);
        copy->second.state = Copy::State::Stopping;
        copy->second.due = now + Duration(action.is_urgent ? 0 : 1000000 * static_cast<int64_t>(random.below(200)));
        return;
      }
      default: {
        Write& write = node.writes.emplace_back();
        write.action = std::move(action);
        write.apply_at = now + 1ms * random.below(60);
      }
    }
  }

  void apply_writes(Node& node) {
    for (Write& write : node.writes) {
      if (write.is_applied || write.apply_at > now) continue;
      write.is_applied = true;
      write.answer_at = now + 1ms * random.below(60);
      write.was_cut = node.is_cut;
      if (node.is_cut || node.scheduler == nullptr) continue;
      const bool is_workload = write.action.kind == Kind::DeleteWorkload;
      const std::string bucket = is_workload ? "w" : "s";
      const auto found = last.find(bucket + "/" + write.action.key);
      const bool has_value = found != last.end() && !found->second.is_gone;
      write.is_ok = write.action.revision == 0
                        ? !has_value
                        : found != last.end() && found->second.revision == write.action.revision;
      if (!write.is_ok) continue;
      store(bucket, write.action.key,
            write.action.kind == Kind::PutSlot ? encode(write.action.lease) : "",
            write.action.kind != Kind::PutSlot);
      write.revision = revision;
      if (is_workload) desired.erase(write.action.workload.name);
    }
  }

  void answer_writes(Node& node) {
    for (size_t i = 0; i < node.writes.size(); ++i) {
      Write& write = node.writes[i];
      if (!write.is_applied || write.answer_at > now) continue;
      if (node.is_cut) {
        write.was_cut = true;
        continue;
      }
      const Write done = write;
      node.writes.erase(node.writes.begin() + static_cast<ptrdiff_t>(i--));
      if (done.action.kind == Kind::DeleteWorkload) continue;
      const bool is_ok = done.is_ok && !done.was_cut;
      if (!is_ok) {
        const auto found = last.find("s/" + done.action.key);
        if (found != last.end()) tell(node, found->second);
      }
      node.scheduler->on_written(done.action.key, is_ok, is_ok ? done.revision : 0);
    }
  }

  void run_copies(Node& node) {
    for (auto at = node.copies.begin(); at != node.copies.end();) {
      auto& [id, copy] = *at;
      if (copy.due > now || copy.state == Copy::State::Running) {
        ++at;
        continue;
      }
      if (copy.state == Copy::State::Stopping) {
        node.scheduler->on_stopped(id);
        at = node.copies.erase(at);
        continue;
      }
      if (copy.generation == bad_generation) {
        node.scheduler->on_start_failed(id, "boom", true, now);
        at = node.copies.erase(at);
        continue;
      }
      copy.state = Copy::State::Running;
      node.scheduler->on_live(id, now);
      ++at;
    }
  }

  // Running copies of each slot, by node; `healthy_only`: on nodes that can do their work.
  std::map<std::string, size_t> running(bool healthy_only, uint64_t generation = 0) const {
    std::map<std::string, size_t> count;
    for (const Node& node : nodes) {
      if (healthy_only && (node.is_cut || node.is_frozen || node.scheduler == nullptr)) continue;
      for (const auto& [id, copy] : node.copies) {
        if (copy.state != Copy::State::Running) continue;
        if (generation != 0 && copy.generation != generation) continue;
        ++count[copy.slot_key];
      }
    }
    return count;
  }

  void check_doubles() {
    if (!is_strict) return;
    std::map<std::string, size_t> count;
    for (const Node& node : nodes) {
      if (node.is_frozen) continue;
      for (const auto& [id, copy] : node.copies) {
        if (copy.state == Copy::State::Running) ++count[copy.slot_key];
      }
    }
    for (const auto& [key, n] : count) EXPECT_LE(n, 1U) << key << " runs twice";
  }

  // Whether every wanted slot runs once, and nothing else.
  std::string complaint(bool exact) const {
    const auto count = running(true);
    size_t total = 0;
    for (const auto& [name, workload] : desired) {
      if (workload.is_removed) continue;
      for (uint32_t slot = 0; slot < workload.replicas; ++slot) {
        const auto found = count.find(slot_key("a", name, slot));
        if (found == count.end()) return name + "." + std::to_string(slot) + " does not run";
        if (exact && found->second != 1) return name + " runs " + std::to_string(found->second);
        ++total;
      }
    }
    size_t all = 0;
    for (const auto& [key, n] : count) all += n;
    if (exact && all != total) return std::to_string(all - total) + " too many run";
    return {};
  }
  void expect_settles(Duration within, bool exact = true) {
    const MonotonicTime end = now + within;
    while (now < end && !complaint(exact).empty()) run(100ms);
    EXPECT_EQ(complaint(exact), "") << describe();
  }
  std::string describe() const {
    std::string text;
    for (const Node& node : nodes) {
      text += node.id + (node.scheduler == nullptr ? " dead" : "") + (node.is_cut ? " cut" : "") +
              (node.is_frozen ? " frozen" : "") + "\n";
      for (const auto& [id, copy] : node.copies) {
        text += "  " + id + " " + copy.slot_key + " g" + std::to_string(copy.generation) + " s" +
                std::to_string(static_cast<int>(copy.state)) + "\n";
      }
    }
    for (const auto& [key, event] : last) {
      if (key[0] == 's') text += key + (event.is_gone ? " gone" : " " + event.value) + "\n";
    }
    return text;
  }

  SeededRandom random;
  MonotonicTime now{1h};
  uint64_t revision = 0;
  std::vector<Event> log;
  std::map<std::string, Event> last;
  std::map<std::string, DesiredWorkload> desired;
  std::deque<Node> nodes;
  uint64_t bad_generation = 0;
  bool is_strict = false;
  uint32_t workloads_max = 0;  // of each node
  size_t starts = 0;
};

uint64_t seed_of_run() {
  const char* text = std::getenv("BROKKR_SEED");
  const uint64_t seed = text != nullptr ? std::strtoull(text, nullptr, 10) : secure_seed() >> 32;
  std::printf("BROKKR_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

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
