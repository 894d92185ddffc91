// What the scheduler decides for one slot.
#include <algorithm>

#include "workload/scheduler.h"

namespace brokkr::workload {
namespace {

constexpr Duration kRankPause = std::chrono::milliseconds(300);
constexpr Duration kProgressDeadline = std::chrono::seconds(60);
constexpr Duration kRetryMin = std::chrono::seconds(1);
constexpr Duration kRetryMax = std::chrono::seconds(30);
constexpr uint32_t kAttemptsMax = 8;

bool is_final(const SlotLease& lease) {
  return lease.state == "completed" || lease.state == "failed";
}

const WorkloadRevision* find_revision(const DesiredWorkload& workload, uint64_t generation) {
  if (workload.current.generation == generation) return &workload.current;
  for (const WorkloadRevision& revision : workload.previous) {
    if (revision.generation == generation) return &revision;
  }
  return nullptr;
}

Duration retry_pause(uint32_t attempts) {
  return std::min<Duration>(kRetryMax, kRetryMin * (1U << std::min(attempts, 5U)));
}

DesiredWorkload without_revisions(const DesiredWorkload& from) {
  DesiredWorkload workload;
  workload.id = from.id;
  workload.ns = from.ns;
  workload.name = from.name;
  workload.description = from.description;
  workload.workload_type = from.workload_type;
  workload.workload_lifecycle = from.workload_lifecycle;
  workload.tags = from.tags;
  workload.metadata = from.metadata;
  workload.replicas = from.replicas;
  return workload;
}

}  // namespace

void Scheduler::put(const std::string& slot_key, SlotView& view, SlotLease lease) {
  Action& action = actions_.emplace_back();
  action.kind = Action::Kind::PutSlot;
  action.key = slot_key;
  action.revision = view.is_gone && !view.is_damaged ? 0 : view.revision;
  action.lease = lease;
  writing_[slot_key] = {std::move(lease), false};
  view.is_writing = true;
}

void Scheduler::erase(const std::string& slot_key, SlotView& view) {
  Action& action = actions_.emplace_back();
  action.kind = Action::Kind::DeleteSlot;
  action.key = slot_key;
  action.revision = view.revision;
  writing_[slot_key] = {{}, true};
  view.is_writing = true;
}

void Scheduler::start(const WorkloadView& workload, const std::string& slot_key, uint32_t slot,
                      const WorkloadRevision& revision, Copy& copy, MonotonicTime now) {
  copy.generation = revision.generation;
  copy.state = Copy::State::Starting;
  copy.started = now;
  copies_[copy.id] = slot_key;
  ++copy_count_[slot_key];
  ++starting_;
  Action& action = actions_.emplace_back();
  action.kind = Action::Kind::Start;
  action.key = slot_key;
  action.id = copy.id;
  action.slot = slot;
  action.workload = without_revisions(workload.workload);
  action.run = revision;
}

void Scheduler::stop(const std::string&, std::optional<Copy>& copy, bool is_urgent) {
  if (!copy) return;
  if (copy->state == Copy::State::Starting) --starting_;
  // One that failed to start has gone already.
  if (copy->state != Copy::State::Failed) {
    stopping_.insert(copy->id);
    Action& action = actions_.emplace_back();
    action.kind = Action::Kind::Stop;
    action.id = copy->id;
    action.is_urgent = is_urgent;
  }
  copy.reset();
}

bool Scheduler::wants_move(const WorkloadView& view, const SlotLease& lease) const {
  if (!lease.target.empty() && lease.target != lease.node) return true;
  const auto node = nodes_.find(lease.node);
  if (node == nodes_.end()) return false;
  NodeLoad load;
  load.record = &node->second.record;
  const NodeRecord& record = node->second.record;
  // Being full is no reason to leave.
  NodeRecord roomy = record;
  roomy.workloads_max = 0;
  roomy.memory_bytes = 0;
  roomy.cpu_millis = 0;
  load.record = &roomy;
  return !refusal(view.workload, view.workload.current, load).empty();
}

void Scheduler::evaluate_unwanted(const std::string& slot_key, SlotView& view, MonotonicTime now) {
  if (const auto local = locals_.find(slot_key); local != locals_.end()) {
    stop(slot_key, local->second.next);
    stop(slot_key, local->second.current);
    locals_.erase(local);
  }
  if (view.is_gone) return;
  const bool is_ours = is_mine(view.lease)
                           ? !copy_count_.contains(slot_key)
                           : owner_of(view.lease, now) == Owner::Lost && is_caretaker(now);
  if (is_ours) erase(slot_key, view);
}

void Scheduler::evaluate_others(const WorkloadView& workload, const std::string& slot_key, uint32_t,
                                SlotView& view, MonotonicTime now) {
  const SlotLease& lease = view.lease;
  const bool is_lost = owner_of(lease, now) == Owner::Lost;
  const bool is_handed_over = lease.from == self_.node && lease.state == "starting";
  if (const auto local = locals_.find(slot_key); local != locals_.end()) {
    std::optional<Copy>& copy = local->second.current;
    const bool is_up = copy && copy->state == Copy::State::Running;
    if (is_handed_over && is_up && !is_lost) return;
    if (is_handed_over && is_up && is_lost && !releases_) {
      SlotLease back = lease;
      back.node = self_.node;
      back.incarnation = self_.incarnation;
      back.workload_id = copy->id;
      back.generation = copy->generation;
      back.state = "running";
      back.from.clear();
      return put(slot_key, view, std::move(back));
    }
    stop(slot_key, local->second.next);
    stop(slot_key, local->second.current);
    locals_.erase(local);
  }
  const bool is_settled = is_final(lease) && lease.generation == workload.workload.current.generation;
  const bool may_take = is_lost || (lease.from.empty() && !is_final(lease) &&
                                    wants_move(workload, lease));
  if (may_take && !is_settled) return need(slot_key, now);
  pending_.erase(slot_key);
}

// True when nothing more is to be done about it.
bool Scheduler::place(const std::string& slot_key, MonotonicTime since, MonotonicTime now) {
  const auto name = parse_slot_key(slot_key);
  const auto found = workloads_.find(name->workload_key);
  if (found == workloads_.end()) return true;
  const WorkloadView& workload = found->second;
  Slots& slots = slots_[name->workload_key];
  SlotView& view = slots[name->slot];
  if (view.is_writing || held_.contains(slot_key)) return false;
  // Copies of an earlier time, here, have not ended yet.
  if (copy_count_.contains(slot_key)) return false;
  if (!is_within_quota(workload.workload)) return false;
  const SlotLease* lease = view.is_gone ? nullptr : &view.lease;
  const bool is_move = lease != nullptr && owner_of(*lease, now) == Owner::Alive;
  std::vector<NodeLoad> loads;
  for (const auto& [id, node] : nodes_) {
    if (!is_node_alive(id, now)) continue;
    // A node that knows it is draining before its record says so places nothing, see place_pending.
    NodeLoad load = loads_[id];
    load.record = &node.record;
    load.had_it = lease != nullptr && !is_move && lease->node == id;
    if (view.counted_node == id) {
      // It need not have room for this replica twice.
      --load.replicas;
      load.memory_bytes -= view.counted.memory_bytes;
      load.cpu_millis -= view.counted.cpu_millis;
    }
    for (const auto& [slot, other] : slots) {
      if (slot != name->slot && !other.is_gone && other.lease.node == id) ++load.same;
    }
    if (const auto more = planned_.find(name->workload_key + " " + id); more != planned_.end()) {
      load.same += more->second;
    }
    if (is_move && lease->node == id) continue;
    if (is_move && !lease->target.empty() && lease->target != id) continue;
    loads.push_back(load);
  }
  const WorkloadRevision& revision = choose_revision(workload, name->slot, lease, now);
  const auto ranked = rank_nodes(workload.workload, revision, slot_key, loads);
  if (ranked.empty()) return false;
  if (view.counted_node != ranked.front()) {
    plan_replica(workload, name->workload_key, revision, std::string(ranked.front()));
  }
  const auto rank = std::find(ranked.begin(), ranked.end(), self_.node) - ranked.begin();
  if (rank == static_cast<ptrdiff_t>(ranked.size())) return false;
  if (now < since + rank * kRankPause) return false;
  claim(workload, slot_key, name->slot, view, now);
  return true;
}

void Scheduler::claim(const WorkloadView& workload, const std::string& slot_key, uint32_t slot,
                      SlotView& view, MonotonicTime now) {
  const SlotLease* old = view.is_gone ? nullptr : &view.lease;
  const WorkloadRevision& revision = choose_revision(workload, slot, old, now);
  SlotLease lease;
  lease.node = self_.node;
  lease.incarnation = self_.incarnation;
  lease.generation = revision.generation;
  lease.state = "starting";
  Local& local = locals_[slot_key];
  local = {};
  if (old != nullptr && old->generation == revision.generation) lease.workload_id = old->workload_id;
  if (old != nullptr && old->generation == revision.generation) {
    lease.failed_generation = old->failed_generation;
    lease.restarts = old->restarts + 1;
  }
  if (old != nullptr && owner_of(*old, now) == Owner::Alive) {
    lease.from = old->node;
    local.before = *old;
    // Both run for a moment: two ids.
    lease.workload_id.clear();
  }
  if (lease.workload_id.empty()) lease.workload_id = make_id();
  put(slot_key, view, std::move(lease));
}

bool Scheduler::may_update(const WorkloadView& workload, uint32_t slot, MonotonicTime now) const {
  const uint64_t generation = workload.workload.current.generation;
  const auto slots = slots_.find(workload_key(workload.workload.ns, workload.workload.name));
  if (slots == slots_.end()) return true;
  uint32_t behind = 0;
  for (const auto& [number, view] : slots->second) {
    const bool is_there = !view.is_gone && owner_of(view.lease, now) == Owner::Alive;
    if (is_there && view.lease.failed_generation == generation) return false;
    if (number >= slot) continue;
    const bool is_ok = is_there && view.lease.generation == generation &&
                       (view.lease.state == "running" || view.lease.state == "completed");
    if (!is_ok) ++behind;
  }
  return behind < std::max(1U, workload.workload.max_unavailable);
}

const WorkloadRevision& Scheduler::choose_revision(const WorkloadView& workload, uint32_t slot,
                                                   const SlotLease* lease, MonotonicTime now) const {
  const WorkloadRevision& current = workload.workload.current;
  if (lease != nullptr) {
    const WorkloadRevision* old = find_revision(workload.workload, lease->generation);
    if (old == nullptr || old == &current) return current;
    // What has ended has nothing to keep up; what failed to be replaced stays what it was.
    if (is_final(*lease) && lease->failed_generation != current.generation) return current;
    const bool is_kept = lease->failed_generation == current.generation ||
                         !may_update(workload, slot, now);
    return is_kept ? *old : current;
  }
  const auto slots = slots_.find(workload_key(workload.workload.ns, workload.workload.name));
  bool has_failed = false;
  const WorkloadRevision* running = nullptr;
  for (const auto& [number, view] : slots->second) {
    if (view.is_gone) continue;
    has_failed = has_failed || view.lease.failed_generation == current.generation;
    const WorkloadRevision* one = find_revision(workload.workload, view.lease.generation);
    if (one == nullptr || view.lease.state != "running") continue;
    if (running == nullptr || one->generation > running->generation) running = one;
  }
  return has_failed && running != nullptr ? *running : current;
}

void Scheduler::evaluate_mine(const WorkloadView& workload, const std::string& slot_key,
                              uint32_t slot, SlotView& view, MonotonicTime now) {
  Local& local = locals_[slot_key];
  SlotLease lease = view.lease;
  const uint64_t generation = workload.workload.current.generation;
  if (local.next && lease.workload_id == local.next->id) {
    // The update is written: the older copy may go.
    stop(slot_key, local.current);
    local.current = std::move(local.next);
    local.next.reset();
  }
  if (view.is_damaged) return put(slot_key, view, std::move(lease));
  if (is_final(lease)) {
    if (lease.generation == generation || lease.failed_generation == generation ||
        !may_update(workload, slot, now)) {
      return;
    }
    // What has ended makes room for the next revision.
    stop(slot_key, local.current);
    return restart(workload, slot_key, slot, view, local, now);
  }
  if (releases_) {
    stop(slot_key, local.next);
    stop(slot_key, local.current);
    if (!copy_count_.contains(slot_key)) erase(slot_key, view);
    return;
  }
  if (!local.current) return restart(workload, slot_key, slot, view, local, now);
  const Copy& copy = *local.current;
  switch (copy.state) {
    case Copy::State::Ended: return settle_ended(workload, slot_key, view, copy);
    case Copy::State::Failed: return settle_failed(workload, slot_key, view, local, now);
    case Copy::State::Running:
    case Copy::State::Unhealthy: {
      const char* state = copy.state == Copy::State::Running ? "running" : "unhealthy";
      local.attempts = 0;
      local.before.reset();
      if (lease.state != state || !lease.from.empty()) {
        lease.state = state;
        lease.from.clear();
        lease.target.clear();
        lease.since = {};
        return put(slot_key, view, std::move(lease));
      }
      break;
    }
    case Copy::State::Starting: break;
  }
  if (lease.generation != generation) {
    evaluate_update(workload, slot_key, slot, view, local, now);
  } else if (local.next) {
    stop(slot_key, local.next);
  }
}

// The lease is ours and nothing runs: the claim has just been granted, a fence stopped what ran, or it
// is time to try again.
void Scheduler::restart(const WorkloadView& workload, const std::string& slot_key, uint32_t slot,
                        SlotView& view, Local& local, MonotonicTime now) {
  if (now < local.retry_at || starting_ >= 64) {
    timed_.insert(workload_key(workload.workload.ns, workload.workload.name));
    return;
  }
  if (copy_count_.contains(slot_key)) return;  // something is still stopping
  const WorkloadRevision& revision = choose_revision(workload, slot, &view.lease, now);
  const bool is_granted = local.is_confirmed && view.lease.state == "starting" &&
                          view.lease.generation == revision.generation;
  if (is_granted) {
    local.current.emplace();
    local.current->id = view.lease.workload_id;
    return start(workload, slot_key, slot, revision, *local.current, now);
  }
  SlotLease lease = view.lease;
  if (lease.generation != revision.generation) lease.workload_id = make_id();
  lease.generation = revision.generation;
  lease.state = "starting";
  lease.error.clear();
  lease.result.clear();
  lease.exit_code = 0;
  ++lease.restarts;
  put(slot_key, view, std::move(lease));
}

void Scheduler::settle_ended(const WorkloadView& workload, const std::string& slot_key,
                             SlotView& view, const Copy& copy) {
  SlotLease lease = view.lease;
  const bool is_done = workload.workload.workload_lifecycle == "job" && copy.exit_code == 0 &&
                       copy.error.empty();
  lease.state = is_done ? "completed" : "failed";
  lease.exit_code = copy.exit_code;
  lease.result = copy.result;
  lease.error = copy.error;
  lease.from.clear();
  put(slot_key, view, std::move(lease));
}

void Scheduler::settle_failed(const WorkloadView& workload, const std::string& slot_key,
                              SlotView& view, Local& local, MonotonicTime now) {
  const Copy copy = std::move(*local.current);
  local.current.reset();
  if (!copy.is_final && ++local.attempts < kAttemptsMax) {
    local.retry_at = now + retry_pause(local.attempts - 1);
    timed_.insert(workload_key(workload.workload.ns, workload.workload.name));
    if (view.lease.error == copy.error) return;
    // Whoever looks is told why it is not there yet.
    SlotLease lease = view.lease;
    lease.error = copy.error;
    return put(slot_key, view, std::move(lease));
  }
  SlotLease lease = view.lease;
  if (local.before && owner_of(*local.before, now) == Owner::Alive) {
    // Who had it still runs it.
    lease = std::move(*local.before);
    lease.target.clear();
    lease.error = copy.error;
  } else {
    lease.state = "failed";
    lease.from.clear();
    lease.error = copy.error;
  }
  local.before.reset();
  put(slot_key, view, std::move(lease));
}

void Scheduler::evaluate_update(const WorkloadView& workload, const std::string& slot_key,
                                uint32_t slot, SlotView& view, Local& local, MonotonicTime now) {
  const WorkloadRevision& target = workload.workload.current;
  SlotLease lease = view.lease;
  if (lease.failed_generation == target.generation) return stop(slot_key, local.next);
  if (local.next && local.next->generation != target.generation) stop(slot_key, local.next);
  const auto wait = [&] {
    timed_.insert(workload_key(workload.workload.ns, workload.workload.name));
  };
  if (!local.next) {
    if (now < local.retry_at) return wait();
    if (!may_update(workload, slot, now)) return;
    local.next.emplace();
    local.next->id = make_id();
    return start(workload, slot_key, slot, target, *local.next, now);
  }
  const Copy& next = *local.next;
  const bool is_job = workload.workload.workload_lifecycle == "job";
  if (next.state == Copy::State::Running || (next.state == Copy::State::Ended && is_job)) {
    lease.generation = target.generation;
    lease.workload_id = next.id;
    lease.state = "running";
    lease.failed_generation = 0;
    lease.error.clear();
    lease.since = {};
    return put(slot_key, view, std::move(lease));
  }
  std::string error = next.error;
  if (next.state == Copy::State::Starting || next.state == Copy::State::Unhealthy) {
    const Duration given(workload.workload.progress_deadline_ns);
    const Duration deadline = given > Duration::zero() ? given : kProgressDeadline;
    if (now - next.started < deadline) return wait();
    error = "not healthy within " + format_go_duration(deadline);
  } else if (next.state == Copy::State::Failed && !next.is_final &&
             ++local.update_attempts < kAttemptsMax) {
    local.retry_at = now + retry_pause(local.update_attempts - 1);
    local.next.reset();
    return wait();
  }
  if (error.empty()) error = "it ended with exit code " + std::to_string(next.exit_code);
  stop(slot_key, local.next, true);
  local.update_attempts = 0;
  lease.failed_generation = target.generation;
  lease.error = std::move(error);
  put(slot_key, view, std::move(lease));
}

}  // namespace brokkr::workload
