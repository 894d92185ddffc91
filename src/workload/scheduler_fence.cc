// When what this node holds must stop, see scheduler.h.
#include <algorithm>

#include "workload/scheduler.h"

namespace brokkr::workload {
namespace {

constexpr Duration kAskAfter = std::chrono::seconds(2);

}  // namespace

void Scheduler::on_beat(MonotonicTime sent_at) {
  beat_sent_ = std::max(beat_sent_, sent_at);
  // An answer to a beat may be late: what was asked after it still counts.
  const auto is_over = [this](const auto& one) { return one.second <= beat_sent_; };
  std::erase_if(witnesses_, is_over);
  std::erase_if(strangers_, is_over);
}

bool Scheduler::is_blind(MonotonicTime now) const {
  return !synced_at_ || now - own_heard_ > kViewGapMax;
}

// Who was alone when the beats ended is not succeeded by anybody.
bool Scheduler::has_others(MonotonicTime now) const {
  return std::any_of(nodes_.begin(), nodes_.end(), [&](const auto& node) {
    return node.first != self_.node && is_node_alive(node.first, now);
  });
}

bool Scheduler::needs_witnesses(MonotonicTime now) const {
  return synced_at_ && !is_fenced_ && now - beat_sent_ > kAskAfter && has_others(now);
}

void Scheduler::on_witness(const std::string& node, bool is_blind, MonotonicTime asked_at) {
  if (asked_at <= beat_sent_ || node == self_.node) return;
  if (is_blind) {
    MonotonicTime& last = witnesses_[node];
    last = std::max(last, asked_at);
    return;
  }
  const bool is_known = nodes_.contains(node) && is_node_alive(node, asked_at);
  if (!is_known) strangers_.try_emplace(node, asked_at);
}

// Up to when all the others are known to have been blind: the earliest of their last times.
MonotonicTime Scheduler::witnessed_at(MonotonicTime now) const {
  MonotonicTime earliest = MonotonicTime::max();
  for (const auto& [id, node] : nodes_) {
    if (id == self_.node || !is_node_alive(id, now)) continue;
    const auto witness = witnesses_.find(id);
    if (witness == witnesses_.end()) return {};
    earliest = std::min(earliest, witness->second);
  }
  for (const auto& [id, first] : strangers_) {
    const auto witness = witnesses_.find(id);
    const bool is_later = witness != witnesses_.end() && witness->second > first;
    earliest = std::min(earliest, is_later ? witness->second : first);
  }
  return earliest;
}

void Scheduler::check_fence(MonotonicTime now) {
  const bool is_late = now - beat_sent_ > kFenceAfter;
  if (is_fenced_ && !is_late) {
    is_fenced_ = false;
    for (auto& [id, node] : nodes_) node.heard = now;
    mark_all();
  }
  if (is_fenced_ || !is_late || !has_others(now)) return;
  if (now - witnessed_at(now) <= kFenceAfter) return;
  is_fenced_ = true;
  for (auto& [key, local] : locals_) {
    stop(key, local.next, true);
    stop(key, local.current, true);
  }
  locals_.clear();
  pending_.clear();
}

}  // namespace brokkr::workload
