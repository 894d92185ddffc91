#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "workload/desired.h"

// Where a replica should run. Pure and deterministic: nodes that know the same come to the same answer
// without asking each other.
namespace brokkr::workload {

// What a replica counts as; a workload that declares nothing still counts for something.
struct Demand {
  uint64_t memory_bytes = 0;
  uint32_t cpu_millis = 0;
};
Demand demand_of(const DesiredWorkload&, const WorkloadRevision&);

// A node that could take work, with what it was given by leases.
struct NodeLoad {
  const NodeRecord* record = nullptr;
  uint32_t replicas = 0;       // of all workloads
  uint32_t same = 0;           // of the workload to be placed
  uint64_t memory_bytes = 0;
  uint32_t cpu_millis = 0;
  bool had_it = false;         // the replica ran there last
};

// Why a node cannot take a replica; empty when it can.
std::string refusal(const DesiredWorkload&, const WorkloadRevision&, const NodeLoad&);

// The nodes that can, best first: where it ran last, then few replicas of the same workload, then the
// share of what is free, then a spread by name.
std::vector<std::string_view> rank_nodes(const DesiredWorkload&, const WorkloadRevision&,
                                         std::string_view slot_key, const std::vector<NodeLoad>&);

}  // namespace brokkr::workload
