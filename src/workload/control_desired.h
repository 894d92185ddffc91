#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "workload/control.h"
#include "workload/desired.h"

// The verbs of our own that change and tell the desired state. Any node answers any of them (queue
// group), save DRAIN, and none does where the server has no JetStream. Subjects as in control.h:
//
//   <ns>     APPLY                ApplyRequest       -> RolloutStatus
//   <ns>     STATUS               {}                 -> [RolloutStatus], in one reply or several
//   <ns>     STATUS.<workload>    {}                 -> RolloutStatus
//   <ns>     SCALE.<workload>     ScaleRequest       -> RolloutStatus
//   <ns>     ROLLBACK.<workload>  RollbackRequest    -> RolloutStatus
//   <ns>     MOVE.<workload>      MoveRequest        -> RolloutStatus
//   <ns>     CLONE.<workload>     CloneRequest       -> CloneReply           (0.4.x)
//   system   DRAIN.<node>         DrainRequest       -> LameduckReply
//   system   NAMESPACES           NamespacesRequest  -> NamespacesReply
//
// <workload> is a name, or the id of the workload. Those that change something reply when the change is
// complete, has failed, or `wait_ms` have passed, whichever is first: `state` says which. A reply with an
// error means nothing was changed. Pure.
namespace brokkr::workload {

constexpr uint64_t kRolloutWaitMs = 60'000;
constexpr size_t kRequestIdMax = 64;

struct ApplyRequest {
  DeployRequest deploy;
  uint32_t replicas = 0;       // 0: as many as there are, of a new workload 1
  std::string node;            // pinned to that node id; empty: any
  uint32_t max_unavailable = 0;
  int64_t progress_deadline_ns = 0;
  uint64_t wait_ms = kRolloutWaitMs;  // 0: only until it is stored
  // The asker's own, the same when it asks again: what was applied once is not applied anew, even if a
  // node that was frozen gets to it much later. Empty: each request counts.
  std::string request_id;
};
struct ScaleRequest {
  uint32_t replicas = 0;
  uint64_t wait_ms = kRolloutWaitMs;
};
// To a generation, or to the newest revision of an artifact digest; neither: the one before.
struct RollbackRequest {
  uint64_t generation = 0;
  std::string sha256;
  uint64_t wait_ms = kRolloutWaitMs;
};
// Takes replicas to a node: started there, then stopped where they were.
struct MoveRequest {
  std::string node;
  int64_t slot = -1;           // -1: all of them
  uint64_t wait_ms = kRolloutWaitMs;
};
struct SlotStatus {
  uint32_t slot = 0;
  std::string node;            // empty: nobody has it
  std::string node_name;
  bool is_node_lost = false;
  std::string workload_id;
  uint64_t generation = 0;
  std::string state;           // waiting starting running unhealthy completed failed
  std::string since;
  std::string error;
  int32_t exit_code = 0;
  std::string result;          // what a completed job wrote last
  uint32_t restarts = 0;
};
struct RevisionStatus {
  uint64_t generation = 0;
  std::string deployed;
  std::string issuer;
  std::string sha256;
  std::string uri;
};
struct RolloutStatus {
  std::string id;
  std::string ns;
  std::string name;
  std::string workload_type;
  std::string workload_lifecycle;
  std::string node;            // pinned to
  uint64_t generation = 0;
  uint32_t replicas = 0;
  uint32_t updated = 0;        // on this generation
  uint32_t running = 0;        // healthy, on any; of a job also completed
  std::string state;           // complete progressing failed removing
  std::string message;         // why not yet, or why not
  std::vector<SlotStatus> slots;
  std::vector<RevisionStatus> revisions;  // the current first
};

// The workload as a deployment, for whoever wants to deploy it elsewhere.
struct CloneRequest {
  std::string ns;
  std::string new_target_xkey;
};
struct CloneReply {
  DeployRequest start_workload_request;
};

// Hands what runs here to other nodes and takes nothing new. What nobody could take stops after `delay`.
struct DrainRequest {
  std::string delay = "1m";
  bool is_cancelled = false;   // takes work again
};

struct NamespaceUse {
  uint32_t workloads = 0;
  uint32_t replicas = 0;
  uint64_t memory_bytes = 0;
  uint32_t cpu_millis = 0;
  uint64_t artifact_bytes = 0;
};
struct NamespaceStatus {
  NamespaceRecord record;
  NamespaceUse use;
  uint64_t revision = 0;       // of the record; 0: it has none
};
struct NamespacesRequest {
  enum class Action : uint8_t { List, Get, Set, Remove };
  Action action = Action::List;
  NamespaceRecord record;      // Get and Remove: only its `ns`
  // Of the record that was looked at before: with another one there now, Set and Remove fail with code
  // 409. 0: there must be none. Without one Set makes a record and Remove takes any.
  std::optional<uint64_t> revision;
};
struct NamespacesReply {
  std::vector<NamespaceStatus> namespaces;  // after the change
};

std::string encode(const ApplyRequest&);
std::string encode(const ScaleRequest&);
std::string encode(const RollbackRequest&);
std::string encode(const MoveRequest&);
std::string encode(const RolloutStatus&);
std::string encode(const std::vector<RolloutStatus>&);
std::string encode(const CloneRequest&);
std::string encode(const CloneReply&);
std::string encode(const DrainRequest&);
std::string encode(const NamespacesRequest&);
std::string encode(const NamespacesReply&);

// As the decoders of control.h.
Result<ApplyRequest> decode_apply_request(std::string_view);
Result<ScaleRequest> decode_scale_request(std::string_view);
Result<RollbackRequest> decode_rollback_request(std::string_view);
Result<MoveRequest> decode_move_request(std::string_view);
Result<RolloutStatus> decode_rollout_status(std::string_view);
Result<std::vector<RolloutStatus>> decode_rollout_statuses(std::string_view);
Result<CloneRequest> decode_clone_request(std::string_view);
Result<CloneReply> decode_clone_reply(std::string_view);
Result<DrainRequest> decode_drain_request(std::string_view);
Result<NamespacesRequest> decode_namespaces_request(std::string_view);
Result<NamespacesReply> decode_namespaces_reply(std::string_view);

}  // namespace brokkr::workload
