#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "workload/scheduler.h"

// A simulated store and the nodes around it, for the scheduler's tests only.
namespace brokkr::workload {

// A key-value store and several nodes around it, in simulated time. Nodes hear of changes in order, late;
// writes take their time; a cut node hears and writes nothing, a frozen one does nothing, a dead one has
// lost all it ran. A blind node, or any while the store is down, has no way to the store and talks with
// those of its island.
class SchedulerSim {
  using Kind = Scheduler::Action::Kind;

 public:
  static constexpr Duration kSimStep = std::chrono::milliseconds(20);
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
    bool is_blind = false;
    int island = 0;
    MonotonicTime next_question{};
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
  struct Talk {
    MonotonicTime arrives{};
    Node* from = nullptr;
    Node* to = nullptr;
    MonotonicTime asked_at{};
    bool is_answer = false;
    bool is_blind = false;
  };

  SchedulerSim(uint64_t seed, size_t node_count) : random(seed) {
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
    node.is_cut = node.is_frozen = node.is_blind = false;
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

  bool reaches_store(const Node& node) const {
    return !node.is_cut && !node.is_blind && !is_store_down;
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
      auto lease = decode_slot_lease(event.value);
      if (!lease) return to.on_slot_damaged(event.key, event.revision);
      return to.on_slot(event.key, std::move(*lease), event.revision);
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
      carry_talk();
      for (Node& node : nodes) apply_writes(node);
      check_doubles();
    }
  }

  void turn(Node& node) {
    if (reaches_store(node)) {
      while (node.heard < log.size() && node.hears_at <= now) {
        tell(node, log[node.heard++]);
        if (random.below(3) == 0) node.hears_at = now + late(80);
      }
    }
    while (!node.acks.empty() && node.acks.front().first <= now) {
      if (reaches_store(node)) node.scheduler->on_beat(node.acks.front().second);
      node.acks.pop_front();
    }
    answer_writes(node);
    run_copies(node);
    node.scheduler->set_state(node.state);
    for (Scheduler::Action& action : node.scheduler->step(now)) act(node, std::move(action));
    if (now >= node.next_beat) beat(node);
    if (now < node.next_question || node.is_cut || !node.scheduler->needs_witnesses(now)) return;
    node.next_question = now + kAskEvery;
    for (Node& other : nodes) {
      if (&other != &node) talk.push_back({now + late(40), &node, &other, now, false, false});
    }
  }

  Duration late(uint64_t ms_max) {
    return std::chrono::milliseconds(static_cast<int64_t>(random.below(ms_max)));
  }

  void carry_talk() {
    for (size_t i = 0; i < talk.size(); ++i) {
      const Talk one = talk[i];
      const bool waits = one.arrives > now || one.to->is_frozen;
      if (waits) continue;
      talk.erase(talk.begin() + static_cast<ptrdiff_t>(i--));
      const bool is_lost = one.to->scheduler == nullptr || one.to->is_cut || one.from->is_cut ||
                           one.to->island != one.from->island;
      if (is_lost) continue;
      if (one.is_answer) {
        one.to->scheduler->on_witness(one.from->id, one.is_blind, one.asked_at);
        continue;
      }
      talk.push_back({now + late(40), one.to, one.from, one.asked_at, true,
                      one.to->scheduler->is_blind(now)});
    }
  }

  void beat(Node& node) {
    node.next_beat = now + kBeatEvery;
    if (!reaches_store(node)) return;
    NodeRecord record;
    record.node = node.id;
    record.incarnation = node.incarnation + 1000;
    record.beat = ++node.beat;
    record.state = node.state;
    record.types = {"v8"};
    record.workloads_max = workloads_max;
    record.tags = node.tags;
    store("n", node.id, encode(record));
    node.acks.emplace_back(now + late(100), now);
  }

  void act(Node& node, Scheduler::Action action) {
    switch (action.kind) {
      case Kind::Start:
        ++starts;
        node.copies[action.id] = {action.key, action.run.generation, now + late(300),
                                  Copy::State::Starting};
        return;
      case Kind::Stop: {
        const auto copy = node.copies.find(action.id);
        if (copy == node.copies.end()) return node.scheduler->on_stopped(action.id);
        copy->second.state = Copy::State::Stopping;
        copy->second.due = now + (action.is_urgent ? Duration() : late(200));
        return;
      }
      default: {
        Write& write = node.writes.emplace_back();
        write.action = std::move(action);
        write.apply_at = now + late(60);
      }
    }
  }

  void apply_writes(Node& node) {
    for (Write& write : node.writes) {
      if (write.is_applied || write.apply_at > now) continue;
      write.is_applied = true;
      write.answer_at = now + late(60);
      write.was_cut = !reaches_store(node);
      if (write.was_cut || node.scheduler == nullptr) continue;
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
      if (!reaches_store(node)) {
        write.was_cut = true;
        continue;
      }
      const Write done = write;
      node.writes.erase(node.writes.begin() + static_cast<ptrdiff_t>(i--));
      if (done.action.kind == Kind::DeleteWorkload) continue;
      const bool is_ok = done.is_ok && !done.was_cut;
      if (!is_ok) {
        const auto found = last.find("s/" + done.action.key);
        if (found != last.end()) {
          tell(node, found->second);
        } else {
          node.scheduler->on_slot_damaged(done.action.key, 0);
        }
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
      if (healthy_only && (node.is_cut || node.is_blind || node.is_frozen || node.scheduler == nullptr)) continue;
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
    while (now < end && !complaint(exact).empty()) run(std::chrono::milliseconds(100));
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
  MonotonicTime now{std::chrono::hours(1)};
  uint64_t revision = 0;
  std::vector<Event> log;
  std::map<std::string, Event> last;
  std::map<std::string, DesiredWorkload> desired;
  std::deque<Node> nodes;
  std::deque<Talk> talk;
  bool is_store_down = false;
  uint64_t bad_generation = 0;
  bool is_strict = false;
  uint32_t workloads_max = 0;  // of each node
  size_t starts = 0;
};

inline uint64_t seed_of_run() {
  const char* text = std::getenv("BROKKR_SEED");
  const uint64_t seed = text != nullptr ? std::strtoull(text, nullptr, 10) : secure_seed() >> 32;
  std::printf("BROKKR_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

}  // namespace brokkr::workload
