#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "workload/run_request.h"

// What the control plane keeps in JetStream, and its JSON. Every node watches these buckets; changes go
// through compare-and-set on a key's revision, so no node needs to lead. Values.
//
//   NEX_WORKLOADS   <ns>.<name>            DesiredWorkload
//   NEX_SLOTS       <ns>.<name>.<slot>     SlotLease: which node runs a replica
//   NEX_NODES       <node id>              NodeRecord, written each second; its age is the lease of
//                                          every slot of the node
//   NEX_NAMESPACES  <ns>                   NamespaceRecord
//   NEX_SECRETS     <ns>.<name>            SecretRecord: one box per node
//   NEX_DEPLOYS     <ns>.<jti>             tokens of signed deploys that were used
//   objects NEX_ARTIFACTS_<ns>   <sha256>  artifacts
namespace brokkr::workload {

constexpr std::string_view kWorkloadsBucket = "NEX_WORKLOADS";
constexpr std::string_view kSlotsBucket = "NEX_SLOTS";
constexpr std::string_view kNodesBucket = "NEX_NODES";
constexpr std::string_view kNamespacesBucket = "NEX_NAMESPACES";
constexpr std::string_view kSecretsBucket = "NEX_SECRETS";
constexpr std::string_view kDeploysBucket = "NEX_DEPLOYS";
std::string artifacts_bucket(std::string_view ns);  // "NEX_ARTIFACTS_<ns>"
// Whether a bucket (without "KV_" or "OBJ_") is one of the control plane's, which no workload may open.
bool is_control_bucket(std::string_view bucket);

constexpr uint32_t kReplicasMax = 1000;
constexpr size_t kRevisionsKept = 10;

// One version of what a workload is to be. The artifact's bytes are in the object store: `run.uri` is
// "sha256://…".
struct WorkloadRevision {
  uint64_t generation = 0;
  std::string deployed;  // RFC 3339
  std::string issuer;    // who signed it, empty when nobody did
  std::string request_id;  // of the request that made it, empty when that had none
  uint64_t artifact_bytes = 0;
  RunRequest run;
};

struct DesiredWorkload {
  std::string id;
  std::string ns;
  std::string name;
  std::string description;
  std::string workload_type;
  std::string workload_lifecycle;
  std::string created;  // RFC 3339
  Pairs tags;      // a node must have them
  Pairs metadata;
  uint32_t replicas = 1;
  std::string node;  // pinned to that node id; empty: any
  bool is_removed = false;   // being stopped; nodes delete their slots, the last one the key
  uint32_t max_unavailable = 1;  // in a rolling update
  int64_t progress_deadline_ns = 0;  // a new revision must be healthy within; 0: 60 s
  WorkloadRevision current;
  std::vector<WorkloadRevision> previous;  // newest first
};

// A replica's owner. Written by the node that has or takes it.
struct SlotLease {
  std::string node;         // node id
  uint64_t incarnation = 0; // of that node: a restarted node's leases of before count as lost
  std::string workload_id;  // of the running copy
  uint64_t generation = 0;  // it runs, or starts
  std::string state;        // starting running unhealthy failed completed
  std::string since;        // RFC 3339
  std::string target;       // the node that is to take it over; empty: none
  std::string from;         // starting: the node that runs it until this one does
  uint64_t failed_generation = 0;  // could not take the place of `generation` here
  int32_t exit_code = 0;    // of a completed job
  std::string result;       // of a completed job: what it wrote last
  std::string error;        // of a failed one, or of failed_generation
  uint32_t restarts = 0;
};

struct NodeRecord {
  std::string node;
  std::string name;
  std::string nexus;
  std::string xkey;
  std::string version;
  uint64_t incarnation = 0;
  uint64_t beat = 0;         // counts up with each write
  std::string state;         // running draining stopped
  Pairs tags;
  Words types;               // v8 wasm native oci microvm
  uint64_t memory_bytes = 0; // that placement may use
  uint64_t memory_used_bytes = 0;
  uint32_t cpu_millis = 0;
  uint32_t cpu_used_millis = 0;
  uint32_t workloads = 0;
  uint32_t workloads_max = 0;
};

// A tenant. Without a record a namespace may do what is not another's.
struct NamespaceRecord {
  std::string ns;
  Words subjects;       // patterns that are its own: nobody else's workloads may use them; when there
                        // are any, its workloads may use no others
  Words imports;        // subjects of others it may publish to
  Words buckets;        // key-value buckets that are its own, same rule
  Words object_buckets;
  Words streams;        // beside those named "<ns>__..."; streams of their names are nobody else's
  Words egress;         // what its workloads may declare at most; empty: anything
  Words issuers;        // account keys whose signature a deploy needs; empty: none
  Words node_files;     // folders of nodes its deployments may name files in; see node_grants.h
  Words ports;          // of nodes it may publish: "80", "8000-8100", "*"
  Words registries;     // for which the node's credentials and private addresses are used; "*" all
  uint32_t workloads_max = 0;  // quotas; 0 means none
  uint32_t replicas_max = 0;
  uint64_t memory_bytes_max = 0;
  uint32_t cpu_millis_max = 0;
  uint64_t artifact_bytes_max = 0;
};

// A secret's value, sealed once for each node that may open it.
struct SecretRecord {
  std::string sender;  // the xkey that sealed
  std::string updated; // RFC 3339
  Pairs boxes;         // node xkey -> base64 box
};

// Keys. Names have no dots.
std::string workload_key(std::string_view ns, std::string_view name);
std::string slot_key(std::string_view ns, std::string_view name, uint32_t slot);

// Leaves out previous revisions, oldest first, that would make it too large for a message.
std::string encode(const DesiredWorkload&);
std::string encode(const SlotLease&);
std::string encode(const NodeRecord&);
std::string encode(const NamespaceRecord&);
std::string encode(const SecretRecord&);
Result<DesiredWorkload> decode_desired_workload(std::string_view);
Result<SlotLease> decode_slot_lease(std::string_view);
Result<NodeRecord> decode_node_record(std::string_view);
Result<NamespaceRecord> decode_namespace_record(std::string_view);
Result<SecretRecord> decode_secret_record(std::string_view);

}  // namespace brokkr::workload
