#include "workload/placement.h"

#include <algorithm>

#include "base/hash.h"

namespace brokkr::workload {
namespace {

// An idle function's process and an idle program.
constexpr uint64_t kFunctionBytes = 1U << 20;
constexpr uint64_t kProgramBytes = 32U << 20;
// Loads are compared in steps, so that small differences do not outweigh the spread.
constexpr uint64_t kLoadSteps = 20;

uint64_t load_step(uint64_t used, uint64_t total) {
  return total == 0 ? 0 : std::min(kLoadSteps, used * kLoadSteps / total);
}

struct Score {
  bool is_elsewhere;
  uint32_t same;
  uint64_t load;
  uint32_t replicas;
  uint64_t spread;
  auto operator<=>(const Score&) const = default;
};

Score score_of(std::string_view slot_key, const NodeLoad& load) {
  const NodeRecord& record = *load.record;
  const uint64_t memory = load_step(load.memory_bytes, record.memory_bytes);
  const uint64_t cpu = load_step(load.cpu_millis, record.cpu_millis);
  return {!load.had_it, load.same, std::max(memory, cpu), load.replicas,
          hash_bytes(std::string(slot_key) + " " + record.node)};
}

}  // namespace

Demand demand_of(const DesiredWorkload& workload, const WorkloadRevision& revision) {
  const Resources& resources = revision.run.resources;
  const uint64_t least = workload.workload_lifecycle == "function" ? kFunctionBytes : kProgramBytes;
  return {resources.memory_bytes != 0 ? resources.memory_bytes : least, resources.cpu_millis};
}

std::string refusal(const DesiredWorkload& workload, const WorkloadRevision& revision,
                    const NodeLoad& load) {
  const NodeRecord& record = *load.record;
  if (record.state != "running") return "it is " + record.state;
  if (!workload.node.empty() && workload.node != record.node) return "it is pinned elsewhere";
  const auto& types = record.types;
  if (std::find(types.begin(), types.end(), workload.workload_type) == types.end()) {
    return "it cannot run " + workload.workload_type;
  }
  for (const auto& tag : workload.tags) {
    if (std::find(record.tags.begin(), record.tags.end(), tag) == record.tags.end()) {
      return "it lacks tag " + tag.first + "=" + tag.second;
    }
  }
  if (record.workloads_max != 0 && load.replicas >= record.workloads_max) return "it is full";
  const Demand demand = demand_of(workload, revision);
  if (record.memory_bytes != 0 && load.memory_bytes + demand.memory_bytes > record.memory_bytes) {
    return "it has too little free memory";
  }
  if (demand.cpu_millis != 0 && record.cpu_millis != 0 &&
      load.cpu_millis + demand.cpu_millis > record.cpu_millis) {
    return "it has too little free CPU";
  }
  return {};
}

std::vector<std::string_view> rank_nodes(const DesiredWorkload& workload,
                                         const WorkloadRevision& revision,
                                         std::string_view slot_key,
                                         const std::vector<NodeLoad>& loads) {
  std::vector<std::pair<Score, std::string_view>> scored;
  for (const NodeLoad& load : loads) {
    if (!refusal(workload, revision, load).empty()) continue;
    scored.emplace_back(score_of(slot_key, load), load.record->node);
  }
  std::sort(scored.begin(), scored.end());
  std::vector<std::string_view> ranked;
  for (const auto& [score, node] : scored) ranked.push_back(node);
  return ranked;
}

}  // namespace brokkr::workload
