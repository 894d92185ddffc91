// What the scheduler is told, and the order in which it looks at things.
#include "workload/scheduler.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/ids.h"

namespace brokkr::workload {
namespace {

constexpr Duration kOrphanAfter = std::chrono::seconds(10);
// Writes and starts under way at once: enough to be fast, few enough to beat in between.
constexpr size_t kUnderWayMax = 32;

}  // namespace

std::optional<SlotName> parse_slot_key(std::string_view key) {
  const size_t dot = key.rfind('.');
  if (dot == std::string_view::npos || dot == 0) return {};
  const auto slot = parse_uint(key.substr(dot + 1));
  if (!slot || *slot >= kReplicasMax) return {};
  return SlotName{std::string(key.substr(0, dot)), static_cast<uint32_t>(*slot)};
}

Scheduler::Scheduler(Self self, Random& random) : self_(std::move(self)), random_(random) {}

void Scheduler::mark_all() {
  for (const auto& [key, workload] : workloads_) mark(key);
  for (const auto& [key, slots] : slots_) mark(key);
}

void Scheduler::on_workload(const std::string& key, DesiredWorkload workload, uint64_t revision) {
  WorkloadView& view = workloads_[key];
  if (revision <= view.revision) return;
  view.workload = std::move(workload);
  view.revision = revision;
  mark(key);
}

void Scheduler::on_workload_gone(const std::string& key, uint64_t revision) {
  const auto found = workloads_.find(key);
  if (found == workloads_.end() || revision < found->second.revision) return;
  workloads_.erase(found);
  mark(key);
}

Scheduler::SlotView* Scheduler::view_of(const std::string& slot_key) {
  const auto name = parse_slot_key(slot_key);
  return name ? &slots_[name->workload_key][name->slot] : nullptr;
}

void Scheduler::recount(const std::string& workload_key, SlotView& view) {
  if (!view.counted_node.empty()) {
    NodeLoad& load = loads_[view.counted_node];
    --load.replicas;
    load.memory_bytes -= view.counted.memory_bytes;
    load.cpu_millis -= view.counted.cpu_millis;
  }
  view.counted_node.clear();
  if (view.is_gone || view.lease.state == "completed" || view.lease.state == "failed") return;
  const auto workload = workloads_.find(workload_key);
  view.counted_node = view.lease.node;
  view.counted = workload == workloads_.end()
                     ? Demand{}
                     : demand_of(workload->second.workload, workload->second.workload.current);
  NodeLoad& load = loads_[view.counted_node];
  ++load.replicas;
  load.memory_bytes += view.counted.memory_bytes;
  load.cpu_millis += view.counted.cpu_millis;
}

void Scheduler::on_slot(const std::string& key, SlotLease lease, uint64_t revision) {
  const auto name = parse_slot_key(key);
  if (!name) return;
  SlotView& view = slots_[name->workload_key][name->slot];
  if (revision <= view.revision) return;
  view.lease = std::move(lease);
  view.revision = revision;
  view.is_gone = view.is_damaged = false;
  recount(name->workload_key, view);
  mark(name->workload_key);
}

void Scheduler::on_slot_damaged(const std::string& key, uint64_t revision) {
  const auto name = parse_slot_key(key);
  if (!name) return;
  SlotView& view = slots_[name->workload_key][name->slot];
  if (revision != 0 && revision <= view.revision) return;
  view.is_gone = view.lease.node.empty();
  view.is_damaged = revision != 0 || !view.is_gone;
  view.revision = revision;
  mark(name->workload_key);
}

void Scheduler::on_replaced() {
  for (auto& [key, workload] : workloads_) workload.revision = 0;
  for (auto& [key, slots] : slots_) {
    for (auto& [slot, view] : slots) {
      view.is_damaged = !view.is_gone;
      view.revision = 0;
    }
  }
}

void Scheduler::on_slot_gone(const std::string& key, uint64_t revision) {
  const auto name = parse_slot_key(key);
  if (!name) return;
  SlotView& view = slots_[name->workload_key][name->slot];
  if (revision < view.revision) return;
  view.revision = revision;
  view.is_gone = true;
  view.is_damaged = false;
  view.lease = {};
  recount(name->workload_key, view);
  mark(name->workload_key);
}

void Scheduler::on_node(NodeRecord record, MonotonicTime now) {
  const bool is_self = record.node == self_.node;
  if (is_self && record.incarnation != self_.incarnation) return;
  if (is_self) {
    // Beats came with a gap: what others sent meanwhile may not have come at all.
    if (now - own_heard_ > kViewGapMax) {
      for (auto& [id, node] : nodes_) node.heard = now;
      if (synced_at_) synced_at_ = now;
    }
    own_heard_ = now;
  }
  Node& node = nodes_[record.node];
  const NodeRecord& old = node.record;
  const bool has_changed = old.incarnation != record.incarnation || old.state != record.state ||
                           old.tags != record.tags || old.types != record.types;
  if (has_changed || old.beat != record.beat) node.heard = now;
  node.record = std::move(record);
  if (has_changed) mark_all();
}

void Scheduler::on_namespace(NamespaceRecord record) {
  std::string ns = record.ns;
  namespaces_[ns] = std::move(record);
  mark_all();
}

void Scheduler::on_namespace_gone(const std::string& ns) {
  namespaces_.erase(ns);
  mark_all();
}

void Scheduler::on_synced(MonotonicTime now) {
  synced_at_ = now;
  own_heard_ = now;
  for (auto& [id, node] : nodes_) node.heard = now;
  for (auto& [key, slots] : slots_) {
    for (auto& [slot, view] : slots) recount(key, view);
  }
  mark_all();
}

void Scheduler::on_written(const std::string& key, bool is_ok, uint64_t revision) {
  const auto writing = writing_.find(key);
  if (writing == writing_.end()) return;
  const Writing done = std::move(writing->second);
  writing_.erase(writing);
  const auto name = parse_slot_key(key);
  SlotView& view = slots_[name->workload_key][name->slot];
  view.is_writing = false;
  if (!is_ok) {
    // News, if there were any, have marked it. Else it is the store that refuses: not at once again.
    timed_.insert(name->workload_key);
    return;
  }
  mark(name->workload_key);
  if (done.is_delete) {
    view.is_gone = true;
    view.is_damaged = false;
    view.lease = {};
    recount(name->workload_key, view);
    return;
  }
  if (revision > view.revision) {
    view.lease = done.lease;
    view.revision = revision;
    view.is_gone = view.is_damaged = false;
    recount(name->workload_key, view);
  }
  // Somebody may have written after us already.
  if (revision == view.revision && is_mine(view.lease)) locals_[key].is_confirmed = true;
}

Scheduler::Copy* Scheduler::find_copy(const std::string& id) {
  const auto found = copies_.find(id);
  if (found == copies_.end()) return nullptr;
  const auto local = locals_.find(found->second);
  if (local == locals_.end()) return nullptr;
  for (auto* copy : {&local->second.current, &local->second.next}) {
    if (*copy && (*copy)->id == id) {
      mark(parse_slot_key(found->second)->workload_key);
      return &**copy;
    }
  }
  return nullptr;
}

void Scheduler::on_live(const std::string& id, MonotonicTime) {
  Copy* copy = find_copy(id);
  if (copy == nullptr || copy->state != Copy::State::Starting) return;
  copy->state = Copy::State::Running;
  --starting_;
}

void Scheduler::on_start_failed(const std::string& id, const std::string& error, bool is_final,
                                MonotonicTime) {
  if (Copy* copy = find_copy(id); copy != nullptr) {
    if (copy->state == Copy::State::Starting) --starting_;
    copy->state = Copy::State::Failed;
    copy->error = error;
    copy->is_final = is_final;
  }
  forget_copy(id);
}

void Scheduler::on_health(const std::string& id, bool is_healthy) {
  Copy* copy = find_copy(id);
  if (copy == nullptr) return;
  if (copy->state == Copy::State::Running || copy->state == Copy::State::Unhealthy) {
    copy->state = is_healthy ? Copy::State::Running : Copy::State::Unhealthy;
  }
}

void Scheduler::on_ended(const std::string& id, int exit_code, const std::string& error,
                         const std::string& result) {
  Copy* copy = find_copy(id);
  if (copy == nullptr) return;
  if (copy->state == Copy::State::Starting) --starting_;
  copy->state = Copy::State::Ended;
  copy->exit_code = exit_code;
  copy->error = error;
  copy->result = result;
}

void Scheduler::forget_copy(const std::string& id) {
  stopping_.erase(id);
  const auto found = copies_.find(id);
  if (found == copies_.end()) return;
  const auto count = copy_count_.find(found->second);
  if (count != copy_count_.end() && --count->second == 0) copy_count_.erase(count);
  mark(parse_slot_key(found->second)->workload_key);
  copies_.erase(found);
}

void Scheduler::on_stopped(const std::string& id) { forget_copy(id); }

void Scheduler::unhold(const std::string& key) {
  held_.erase(key);
  if (const auto name = parse_slot_key(key)) mark(name->workload_key);
}

void Scheduler::adopt(const std::string& key, SlotLease lease, uint64_t revision) {
  Local& local = locals_[key];
  stop(key, local.next);
  stop(key, local.current);
  Copy copy;
  copy.id = lease.workload_id;
  copy.generation = lease.generation;
  copy.state = Copy::State::Running;
  copy.started = now_;
  local = {};
  local.is_confirmed = true;
  copies_[copy.id] = key;
  ++copy_count_[key];
  local.current = std::move(copy);
  on_slot(key, std::move(lease), revision);
}

bool Scheduler::is_node_alive(const std::string& node, MonotonicTime) const {
  if (node == self_.node) return true;
  const auto found = nodes_.find(node);
  // Its record may be on its way, or have ended by time.
  if (found == nodes_.end()) return synced_at_ && own_heard_ - *synced_at_ <= kLostAfter;
  return found->second.record.state != "stopped" && own_heard_ - found->second.heard <= kLostAfter;
}

Scheduler::Owner Scheduler::owner_of(const SlotLease& lease, MonotonicTime now) const {
  if (lease.node == self_.node) return is_mine(lease) ? Owner::Alive : Owner::Lost;
  if (!is_node_alive(lease.node, now)) return Owner::Lost;
  const auto found = nodes_.find(lease.node);
  if (found == nodes_.end()) return Owner::Alive;
  // A later record of the node says that it has started anew; an earlier one, that news is on its way.
  return found->second.record.incarnation > lease.incarnation ? Owner::Lost : Owner::Alive;
}

std::vector<NodeRecord> Scheduler::nodes(MonotonicTime now) const {
  std::vector<NodeRecord> records;
  for (const auto& [id, node] : nodes_) {
    if (is_node_alive(id, now)) records.push_back(node.record);
  }
  return records;
}

bool Scheduler::is_caretaker(MonotonicTime now) const {
  for (const auto& [id, node] : nodes_) {
    if (id < self_.node && is_node_alive(id, now)) return false;
  }
  return true;
}

void Scheduler::check_lost(MonotonicTime now) {
  std::map<std::string, bool> alive;
  for (const auto& [id, node] : nodes_) alive[id] = is_node_alive(id, now);
  if (alive == alive_ && (nodes_.size() != 1 || !orphans_.empty())) return;
  if (alive == alive_) return;
  alive_ = std::move(alive);
  mark_all();
}

std::vector<Scheduler::Action> Scheduler::step(MonotonicTime now) {
  now_ = now;
  if (!synced_at_) return {};
  check_fence(now);
  if (!is_fenced_) {
    check_lost(now);
    dirty_.insert(timed_.begin(), timed_.end());
    timed_.clear();
    const std::set<std::string> dirty = std::move(dirty_);
    dirty_.clear();
    for (const std::string& key : dirty) evaluate(key, now);
    place_pending(now);
  }
  return std::exchange(actions_, {});
}

void Scheduler::evaluate(const std::string& key, MonotonicTime now) {
  const auto found = workloads_.find(key);
  const WorkloadView* const workload = found == workloads_.end() ? nullptr : &found->second;
  Slots& slots = slots_[key];
  const uint32_t wanted =
      workload == nullptr || workload->workload.is_removed ? 0 : workload->workload.replicas;
  for (uint32_t slot = 0; slot < wanted; ++slot) {
    SlotView& view = slots[slot];
    if (view.revision == 0 && !view.is_writing && !view.is_damaged) view.is_gone = true;
  }
  bool is_empty = true;
  for (auto& [slot, view] : slots) {
    evaluate_slot(workload, key, slot, now);
    is_empty = is_empty && view.is_gone && !view.is_writing;
  }
  if (workload != nullptr && workload->workload.is_removed && is_empty) {
    timed_.insert(key);
    if (is_caretaker(now)) {
      Action& action = actions_.emplace_back();
      action.kind = Action::Kind::DeleteWorkload;
      action.key = key;
      action.revision = workload->revision;
      action.workload = workload->workload;
      action.digests.push_back(workload->workload.current.run.sha256);
      for (const auto& one : workload->workload.previous) action.digests.push_back(one.run.sha256);
    }
  }
  if (workload == nullptr && is_empty) slots_.erase(key);
}

void Scheduler::evaluate_slot(const WorkloadView* workload, const std::string& key, uint32_t slot,
                              MonotonicTime now) {
  const std::string slot_key = key + "." + std::to_string(slot);
  SlotView& view = slots_[key][slot];
  if (view.is_writing || held_.contains(slot_key)) return;
  const bool is_wanted = workload != nullptr && !workload->workload.is_removed &&
                         slot < workload->workload.replicas;
  if (!is_wanted) {
    pending_.erase(slot_key);
    // A slot may be heard of before its workload.
    if (workload == nullptr && !view.is_gone) {
      const auto since = orphans_.try_emplace(slot_key, now).first->second;
      if (now - since < kOrphanAfter) {
        timed_.insert(key);
        return;
      }
    }
    orphans_.erase(slot_key);
    return evaluate_unwanted(slot_key, view, now);
  }
  orphans_.erase(slot_key);
  if (view.is_gone) {
    const auto local = locals_.find(slot_key);
    if (local != locals_.end()) {
      stop(slot_key, local->second.next);
      stop(slot_key, local->second.current);
      locals_.erase(local);
    }
    return need(slot_key, now);
  }
  if (is_mine(view.lease)) {
    pending_.erase(slot_key);
    return evaluate_mine(*workload, slot_key, slot, view, now);
  }
  evaluate_others(*workload, slot_key, slot, view, now);
}

void Scheduler::place_pending(MonotonicTime now) {
  if (state_ != "running") return;
  if (writing_.size() + starting_ >= kUnderWayMax) return;
  // Loads grow by what is planned for others in this round, so that all spread alike.
  const auto loads = loads_;
  planned_.clear();
  plan_claims_under_way();
  for (auto entry = pending_.begin(); entry != pending_.end();) {
    const auto current = entry++;
    const std::string slot_key = current->first;
    if (place(slot_key, current->second, now)) pending_.erase(slot_key);
    if (writing_.size() + starting_ >= kUnderWayMax) break;
  }
  loads_ = loads;
}

// Claims of ours that are not acknowledged yet show in no slot.
void Scheduler::plan_claims_under_way() {
  for (const auto& [slot_key, writing] : writing_) {
    if (writing.is_delete) continue;
    const auto name = parse_slot_key(slot_key);
    const auto workload = workloads_.find(name->workload_key);
    const SlotView* view = find_slot(name->workload_key, name->slot);
    const bool is_known = view != nullptr && !view->is_gone && view->lease.node == writing.lease.node;
    if (workload == workloads_.end() || is_known) continue;
    plan_replica(workload->second, name->workload_key, workload->second.workload.current,
                 writing.lease.node);
  }
}

void Scheduler::plan_replica(const WorkloadView& workload, const std::string& workload_key,
                             const WorkloadRevision& revision, const std::string& node) {
  const Demand demand = demand_of(workload.workload, revision);
  ++planned_[workload_key + " " + node];
  NodeLoad& planned = loads_[node];
  ++planned.replicas;
  planned.memory_bytes += demand.memory_bytes;
  planned.cpu_millis += demand.cpu_millis;
}

std::string Scheduler::make_id() { return std::string(Nuid(random_).next()); }

size_t Scheduler::lease_count() const {
  const auto found = loads_.find(self_.node);
  return found == loads_.end() ? 0 : found->second.replicas;
}

}  // namespace brokkr::workload
