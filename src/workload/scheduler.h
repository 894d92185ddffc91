#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "workload/control_desired.h"
#include "workload/desired.h"
#include "workload/placement.h"

namespace brokkr::workload {

constexpr Duration kBeatEvery = std::chrono::seconds(1);
// Counted from when the last acknowledged beat was sent. After it a node stops what it holds leases for...
constexpr Duration kFenceAfter = std::chrono::seconds(4);
// ...and after this one, counted from when a beat was heard last, others may take them.
constexpr Duration kLostAfter = std::chrono::seconds(5);
// What our own beats may be late by before the others' silence says nothing about them.
constexpr Duration kViewGapMax = std::chrono::seconds(2);
// While its beats are not acknowledged, a node asks the others whether theirs are.
constexpr Duration kAskEvery = std::chrono::milliseconds(250);

// What one node does about the desired state: which leases it takes, keeps and gives up, and what it starts
// and stops. Every node has one and they only meet in the key-value store: each change is a
// compare-and-set on one key, and who comes second looks again. No I/O, no clock: what happened is told
// by the on_ functions, `step` says what to do. Loop-confined.
//
// Fencing. A lease is good as long as nobody may take it, and others may once they have not heard of its
// node for kLostAfter. They count that in their own beats that came back to them: when their own stay away
// for longer than kViewGapMax, all that is lost is counted anew from the next one on. So a node that cannot
// reach the store at some time `t` takes nothing before `t` + kLostAfter, and saying so is worth as much as
// an acknowledged beat. A node whose beats are late therefore asks every other, past the store, and goes on
// for kFenceAfter from its last question that all who were alive have answered with "I have not heard my
// own either". Thus an outage of the store stops nothing, and what must stop before others may start it
// still does:
//  - cut off alone: nobody answers; together, from one that is elsewhere: that one does not answer.
//  - only this one cannot reach the store: the others do not say so.
//  - one of them has died, or stands still: it might as well have the store, so it counts as if it had.
//  - one that was not known when the outage began, and has the store: its answer ends it; only when it can
//    neither be asked does its taking over overlap, until this node hears of it, as it does for a node
//    that was alone.
// The time that counts is when the question was sent, so that neither late answers nor a node that stands
// still between its answer and its next step matter. An answer never ends a fence: a beat does, and then
// each lease is written anew before anything starts.
class Scheduler {
 public:
  struct Action {
    enum class Kind : uint8_t {
      PutSlot,         // lease at `key`, only when `revision` is its last (0: it has no value)
      DeleteSlot,      // the same for its deletion
      DeleteWorkload,  // of `key` at `revision`
      Start,           // `run` of `workload` as copy `id`
      Stop,            // copy `id`; at once when `is_urgent`
    };
    Kind kind;
    std::string key;
    uint64_t revision = 0;
    SlotLease lease;
    std::string id;
    uint32_t slot = 0;
    DesiredWorkload workload;  // without its revisions
    WorkloadRevision run;
    std::vector<std::string> digests;  // DeleteWorkload: artifacts it had
    bool is_urgent = false;
  };
  struct Self {
    std::string node;
    uint64_t incarnation = 0;
  };

  Scheduler(Self self, Random& random);

  // What the buckets hold; `gone` when the key was deleted.
  void on_workload(const std::string& key, DesiredWorkload workload, uint64_t revision);
  void on_workload_gone(const std::string& key, uint64_t revision);
  void on_slot(const std::string& key, SlotLease lease, uint64_t revision);
  void on_slot_gone(const std::string& key, uint64_t revision);
  // What is stored there cannot be read, or (revision 0) is not there although nobody deleted it: who has
  // the slot, as far as is known, writes its lease anew.
  void on_slot_damaged(const std::string& key, uint64_t revision);
  // The buckets are others than before, their revisions start anew; on_synced follows.
  void on_replaced();
  void on_node(NodeRecord record, MonotonicTime now);
  void on_namespace(NamespaceRecord record);
  void on_namespace_gone(const std::string& ns);
  // All of the buckets was read once.
  void on_synced(MonotonicTime now);

  // A write of a slot that `step` asked for has ended. After a failure the key is told again by on_slot or
  // on_slot_gone before this.
  void on_written(const std::string& key, bool is_ok, uint64_t revision);
  // What became of copies. `is_final`: starting it again would give the same.
  void on_live(const std::string& id, MonotonicTime now);
  void on_start_failed(const std::string& id, const std::string& error, bool is_final,
                       MonotonicTime now);
  void on_health(const std::string& id, bool is_healthy);
  void on_ended(const std::string& id, int exit_code, const std::string& error,
                const std::string& result);
  void on_stopped(const std::string& id);
  // A beat that was sent at that time has been acknowledged.
  void on_beat(MonotonicTime sent_at);
  // A question is due, each kAskEvery, as long as this is so.
  bool needs_witnesses(MonotonicTime now) const;
  // What we answer to others: we have not heard our own beat for so long that we take nothing for now.
  bool is_blind(MonotonicTime now) const;
  // What another has answered to a question of ours that was sent at that time.
  void on_witness(const std::string& node, bool is_blind, MonotonicTime asked_at);
  // "running", "draining" or "stopped": what our own record says from now on.
  void set_state(const std::string& state) { state_ = state; mark_all(); }
  // A draining node waits for nobody any more.
  void release_all() { releases_ = true; mark_all(); }
  void cancel_release() { releases_ = false; mark_all(); }
  // Leaves a slot alone while somebody else writes it.
  void hold(const std::string& key) { held_.insert(key); }
  void unhold(const std::string& key);
  // A copy that runs already is the slot's now: `lease` was written with `revision`.
  void adopt(const std::string& key, SlotLease lease, uint64_t revision);

  std::vector<Action> step(MonotonicTime now);
  // Whether something waits for time to pass, so that `step` should come again soon.
  bool is_waiting() const { return !pending_.empty() || !timed_.empty(); }
  bool is_fenced() const { return is_fenced_; }
  MonotonicTime last_step() const { return now_; }
  bool is_synced() const { return synced_at_.has_value(); }

  // Views for the control API.
  struct WorkloadView {
    DesiredWorkload workload;
    uint64_t revision = 0;
  };
  const std::map<std::string, WorkloadView>& workloads() const { return workloads_; }
  const WorkloadView* find(std::string_view ns, std::string_view id_or_name) const;
  // Those that are alive as far as this node knows.
  std::vector<NodeRecord> nodes(MonotonicTime now) const;
  const std::map<std::string, NamespaceRecord>& namespaces() const { return namespaces_; }
  struct SlotView {
    SlotLease lease;
    uint64_t revision = 0;
    bool is_gone = false;     // deleted, or never there
    bool is_writing = false;
    bool is_damaged = false;  // the store has no lease that can be read; `lease` is the last one that could
    std::string counted_node;  // whose load it is part of
    Demand counted;
  };
  const SlotView* find_slot(const std::string& workload_key, uint32_t slot) const;
  RolloutStatus status(const WorkloadView&, MonotonicTime now) const;
  NamespaceUse use_of(const std::string& ns) const;
  // Whether a workload of the namespace has an artifact in any of its revisions.
  bool is_digest_used(const std::string& ns, const std::string& sha256) const;
  size_t lease_count() const;  // this node's

 private:
  enum class Owner : uint8_t { Alive, Lost };
  struct Copy {
    enum class State : uint8_t { Starting, Running, Unhealthy, Ended, Failed };
    std::string id;
    uint64_t generation = 0;
    State state = State::Starting;
    MonotonicTime started{};
    std::string error;
    bool is_final = false;
    int exit_code = 0;
    std::string result;
  };
  struct Local {
    std::optional<Copy> current;
    std::optional<Copy> next;     // of a newer generation, until it takes over
    std::optional<SlotLease> before;  // whose place a handover takes, to give it back
    bool is_confirmed = false;    // the lease was written by us since the last fence
    uint32_t attempts = 0;         // in a row, of `current` and of `next`
    uint32_t update_attempts = 0;
    MonotonicTime retry_at{};
  };
  struct Writing {
    SlotLease lease;
    bool is_delete = false;
  };
  struct Node {
    NodeRecord record;
    MonotonicTime heard{};
  };
  using Slots = std::map<uint32_t, SlotView>;

  void mark(const std::string& workload_key) { dirty_.insert(workload_key); }
  void mark_all();
  void check_fence(MonotonicTime now);
  void check_lost(MonotonicTime now);
  bool has_others(MonotonicTime now) const;
  MonotonicTime witnessed_at(MonotonicTime now) const;
  Owner owner_of(const SlotLease&, MonotonicTime now) const;
  bool is_node_alive(const std::string& node, MonotonicTime now) const;
  bool is_mine(const SlotLease& lease) const {
    return lease.node == self_.node && lease.incarnation == self_.incarnation;
  }

  void evaluate(const std::string& key, MonotonicTime now);
  void evaluate_slot(const WorkloadView*, const std::string& key, uint32_t slot, MonotonicTime now);
  void evaluate_unwanted(const std::string& slot_key, SlotView&, MonotonicTime now);
  void evaluate_others(const WorkloadView&, const std::string& slot_key, uint32_t slot, SlotView&,
                       MonotonicTime now);
  void evaluate_mine(const WorkloadView&, const std::string& slot_key, uint32_t slot, SlotView&,
                     MonotonicTime now);
  void evaluate_update(const WorkloadView&, const std::string& slot_key, uint32_t slot, SlotView&,
                       Local&, MonotonicTime now);
  void restart(const WorkloadView&, const std::string& slot_key, uint32_t slot, SlotView&, Local&,
               MonotonicTime now);
  void settle_failed(const WorkloadView&, const std::string& slot_key, SlotView&, Local&,
                     MonotonicTime now);
  void settle_ended(const WorkloadView&, const std::string& slot_key, SlotView&, const Copy&);
  bool may_update(const WorkloadView&, uint32_t slot, MonotonicTime now) const;
  const WorkloadRevision& choose_revision(const WorkloadView&, uint32_t slot, const SlotLease* lease,
                                          MonotonicTime now) const;
  bool is_within_quota(const DesiredWorkload&) const;
  std::string refusals(const WorkloadView&, MonotonicTime now) const;
  bool wants_move(const WorkloadView&, const SlotLease&) const;

  void place_pending(MonotonicTime now);
  void plan_claims_under_way();
  void plan_replica(const WorkloadView& workload, const std::string& workload_key,
                    const WorkloadRevision& revision, const std::string& node);
  bool place(const std::string& slot_key, MonotonicTime since, MonotonicTime now);
  void recount(const std::string& workload_key, SlotView&);
  void claim(const WorkloadView&, const std::string& slot_key, uint32_t slot, SlotView&,
             MonotonicTime now);
  bool is_caretaker(MonotonicTime now) const;
  void need(const std::string& slot_key, MonotonicTime now) { pending_.try_emplace(slot_key, now); }

  void put(const std::string& slot_key, SlotView&, SlotLease lease);
  void erase(const std::string& slot_key, SlotView&);
  void start(const WorkloadView&, const std::string& slot_key, uint32_t slot,
             const WorkloadRevision&, Copy&, MonotonicTime now);
  void stop(const std::string& slot_key, std::optional<Copy>& copy, bool is_urgent = false);
  Copy* find_copy(const std::string& id);
  std::string make_id();
  void forget_copy(const std::string& id);
  SlotView* view_of(const std::string& slot_key);

  const Self self_;
  Random& random_;
  std::string state_ = "running";
  bool releases_ = false;
  bool is_fenced_ = false;
  std::optional<MonotonicTime> synced_at_;
  MonotonicTime beat_sent_{};     // the last acknowledged one
  MonotonicTime own_heard_{};     // our own beat came back to us
  // Since that beat: when those who were as blind were asked last, and strangers who were not, first.
  std::map<std::string, MonotonicTime> witnesses_;
  std::map<std::string, MonotonicTime> strangers_;
  std::map<std::string, WorkloadView> workloads_;
  std::map<std::string, Slots> slots_;       // by the key of the workload
  std::map<std::string, Node> nodes_;
  std::map<std::string, bool> alive_;        // as of the last look
  std::map<std::string, NamespaceRecord> namespaces_;
  std::map<std::string, Local> locals_;      // by slot key
  std::map<std::string, std::string> copies_;    // copy id -> slot key, until it has stopped
  std::map<std::string, Writing> writing_;       // by slot key
  std::set<std::string> stopping_;           // copy ids
  std::set<std::string> held_;
  std::set<std::string> dirty_;
  std::set<std::string> timed_;              // workload keys to look at again as time passes
  std::map<std::string, MonotonicTime> pending_;  // slot keys that want a node, and since when
  std::map<std::string, MonotonicTime> orphans_;  // slot keys without a workload
  std::map<std::string, NodeLoad> loads_;    // by node; `record` is not set
  std::map<std::string, uint32_t> planned_;  // by "workload node", in one round of placing
  std::map<std::string, uint32_t> copy_count_;  // by slot key, those that are stopping included
  std::vector<Action> actions_;
  uint32_t starting_ = 0;
  MonotonicTime now_{};
};

// What a namespace's record forbids of such a use; empty when nothing.
std::string quota_violation(const NamespaceRecord&, const NamespaceUse&);

// The two halves of a slot's key.
struct SlotName {
  std::string workload_key;
  uint32_t slot = 0;
};
std::optional<SlotName> parse_slot_key(std::string_view key);

}  // namespace brokkr::workload
