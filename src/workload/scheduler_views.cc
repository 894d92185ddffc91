// What the scheduler knows, for those who ask.
#include <algorithm>

#include "workload/scheduler.h"

namespace brokkr::workload {

namespace {

void add_use(NamespaceUse& use, const DesiredWorkload& workload) {
  const Demand demand = demand_of(workload, workload.current);
  ++use.workloads;
  use.replicas += workload.replicas;
  use.memory_bytes += demand.memory_bytes * workload.replicas;
  use.cpu_millis += demand.cpu_millis * workload.replicas;
  use.artifact_bytes += workload.current.artifact_bytes;
}

}  // namespace

const Scheduler::WorkloadView* Scheduler::find(std::string_view ns,
                                               std::string_view id_or_name) const {
  const auto named = workloads_.find(workload_key(ns, id_or_name));
  if (named != workloads_.end()) return &named->second;
  const std::string prefix = std::string(ns) + ".";
  for (auto at = workloads_.lower_bound(prefix);
       at != workloads_.end() && at->first.starts_with(prefix); ++at) {
    if (at->second.workload.id == id_or_name) return &at->second;
    const auto slots = slots_.find(at->first);
    if (slots == slots_.end()) continue;
    for (const auto& [slot, view] : slots->second) {
      if (!view.is_gone && view.lease.workload_id == id_or_name) return &at->second;
    }
  }
  return nullptr;
}

const Scheduler::SlotView* Scheduler::find_slot(const std::string& workload_key,
                                                uint32_t slot) const {
  const auto slots = slots_.find(workload_key);
  if (slots == slots_.end()) return nullptr;
  const auto view = slots->second.find(slot);
  return view == slots->second.end() || view->second.is_gone ? nullptr : &view->second;
}

NamespaceUse Scheduler::use_of(const std::string& ns) const {
  NamespaceUse use;
  const std::string prefix = ns + ".";
  for (auto at = workloads_.lower_bound(prefix);
       at != workloads_.end() && at->first.starts_with(prefix); ++at) {
    const DesiredWorkload& workload = at->second.workload;
    if (workload.is_removed) continue;
    add_use(use, workload);
  }
  return use;
}

bool Scheduler::is_digest_used(const std::string& ns, const std::string& sha256) const {
  const std::string prefix = ns + ".";
  for (auto at = workloads_.lower_bound(prefix);
       at != workloads_.end() && at->first.starts_with(prefix); ++at) {
    const DesiredWorkload& workload = at->second.workload;
    if (workload.current.run.sha256 == sha256) return true;
    for (const WorkloadRevision& revision : workload.previous) {
      if (revision.run.sha256 == sha256) return true;
    }
  }
  return false;
}

std::string quota_violation(const NamespaceRecord& record, const NamespaceUse& use) {
  const auto over = [](const char* what, uint64_t used, uint64_t max) {
    return max != 0 && used > max ? std::string("the namespace may have ") + std::to_string(max) +
                                        " " + what + ", it would have " + std::to_string(used)
                                  : std::string();
  };
  for (const std::string& text :
       {over("workloads", use.workloads, record.workloads_max),
        over("replicas", use.replicas, record.replicas_max),
        over("bytes of memory", use.memory_bytes, record.memory_bytes_max),
        over("thousandths of a CPU", use.cpu_millis, record.cpu_millis_max),
        over("bytes of artifacts", use.artifact_bytes, record.artifact_bytes_max)}) {
    if (!text.empty()) return text;
  }
  return {};
}

// Of a namespace that has too much, what was there first runs.
bool Scheduler::is_within_quota(const DesiredWorkload& wanted) const {
  const auto record = namespaces_.find(wanted.ns);
  if (record == namespaces_.end()) return true;
  if (quota_violation(record->second, use_of(wanted.ns)).empty()) return true;
  NamespaceUse use;
  const std::string prefix = wanted.ns + ".";
  for (auto at = workloads_.lower_bound(prefix);
       at != workloads_.end() && at->first.starts_with(prefix); ++at) {
    const DesiredWorkload& workload = at->second.workload;
    if (workload.is_removed) continue;
    const auto age = [](const DesiredWorkload& w) { return std::pair(w.created, w.name); };
    if (age(workload) > age(wanted)) continue;
    add_use(use, workload);
  }
  return quota_violation(record->second, use).empty();
}

// Why nobody takes a replica, in the words of up to three nodes.
std::string Scheduler::refusals(const WorkloadView& view, MonotonicTime now) const {
  constexpr size_t kNamesMax = 3;
  std::string text;
  size_t count = 0;
  for (const auto& [id, node] : nodes_) {
    if (!is_node_alive(id, now)) continue;
    const auto found = loads_.find(id);
    NodeLoad load = found == loads_.end() ? NodeLoad{} : found->second;
    load.record = &node.record;
    const std::string why = refusal(view.workload, view.workload.current, load);
    if (why.empty()) return {};
    if (++count > kNamesMax) return text + ", ...";
    text += (count == 1 ? ": " : ", ") + (node.record.name.empty() ? id : node.record.name) + ": " + why;
  }
  return text;
}

RolloutStatus Scheduler::status(const WorkloadView& view, MonotonicTime now) const {
  const DesiredWorkload& workload = view.workload;
  RolloutStatus status;
  status.id = workload.id;
  status.ns = workload.ns;
  status.name = workload.name;
  status.workload_type = workload.workload_type;
  status.workload_lifecycle = workload.workload_lifecycle;
  status.node = workload.node;
  status.generation = workload.current.generation;
  status.replicas = workload.is_removed ? 0 : workload.replicas;
  const std::string key = workload_key(workload.ns, workload.name);
  const auto slots = slots_.find(key);
  std::map<uint32_t, const SlotView*> all;
  for (uint32_t slot = 0; slot < status.replicas; ++slot) all[slot] = nullptr;
  if (slots != slots_.end()) {
    for (const auto& [slot, one] : slots->second) {
      if (!one.is_gone) all[slot] = &one;
    }
  }
  bool is_failed = false;
  bool is_settling = all.size() > status.replicas;
  for (const auto& [number, one] : all) {
    SlotStatus& slot = status.slots.emplace_back();
    slot.slot = number;
    slot.state = "waiting";
    if (one == nullptr) {
      if (status.message.empty()) status.message = "replicas wait for a node that can take them" + refusals(view, now);
      continue;
    }
    const SlotLease& lease = one->lease;
    slot.node = lease.node;
    if (const auto node = nodes_.find(lease.node); node != nodes_.end()) {
      slot.node_name = node->second.record.name;
    }
    slot.is_node_lost = owner_of(lease, now) == Owner::Lost;
    slot.workload_id = lease.workload_id;
    slot.generation = lease.generation;
    slot.state = lease.state;
    slot.since = lease.since;
    slot.error = lease.error;
    slot.exit_code = lease.exit_code;
    slot.result = lease.result;
    slot.restarts = lease.restarts;
    const bool is_current = lease.generation == status.generation;
    if (is_current) ++status.updated;
    const bool is_completed = lease.state == "completed";
    if (is_completed || (lease.state == "running" && !slot.is_node_lost)) ++status.running;
    if (!lease.from.empty() || !lease.target.empty()) is_settling = true;
    if (lease.failed_generation == status.generation || (is_current && lease.state == "failed")) {
      is_failed = true;
      status.message = "replica " + std::to_string(number) + ": " + lease.error;
    } else if (lease.state == "starting" && !lease.error.empty() && status.message.empty()) {
      status.message = "replica " + std::to_string(number) + " is tried again: " + lease.error;
    }
  }
  const auto record = namespaces_.find(workload.ns);
  if (record != namespaces_.end() && !is_within_quota(workload)) {
    status.message = quota_violation(record->second, use_of(workload.ns));
  }
  const bool is_complete = status.updated == status.replicas && status.running == status.replicas;
  status.state = workload.is_removed              ? "removing"
                 : is_failed                      ? "failed"
                 : is_complete && !is_settling    ? "complete"
                                                  : "progressing";
  const auto add = [&](const WorkloadRevision& revision) {
    status.revisions.push_back({revision.generation, revision.deployed, revision.issuer,
                                revision.run.sha256, revision.run.uri});
  };
  add(workload.current);
  for (const WorkloadRevision& revision : workload.previous) add(revision);
  return status;
}

}  // namespace brokkr::workload
