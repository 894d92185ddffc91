#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "workload/run_request.h"

// The control API of a node as typed requests and replies, with their JSON. Node and command line
// both include this and nothing else of each other. Subjects and JSON are those of the micro service
// `nexnode` 0.4.x; what is our own is marked. Decoders ignore members they do not know. Pure.
namespace brokkr::workload {

// The namespace node-wide endpoints (PING, INFO, LAMEDUCK) live under.
constexpr std::string_view kSystemNamespace = "system";
constexpr std::string_view kDefaultNamespace = "default";
constexpr std::string_view kServiceName = "nexnode";

// "$NEX.SVC.<ns>.control.<verb>" and, with an argument, "….<verb>.<argument>". Verbs: PING PTAGS INFO
// AGENTID LAMEDUCK AUCTION ADEPLOY UNDEPLOY CLONE WPING, and HEARTBEAT, which nodes publish; ours: WINFO
// and WLOGS. In the subject the namespace may be `system` for what a request names another one.
std::string control_subject(std::string_view ns, std::string_view verb,
                            std::string_view argument = {});
// "$NEX.FEED.<ns>.logs.<id>.<stream>"; `id` may be "*", `stream` is stdout, stderr or "*".
std::string log_subject(std::string_view ns, std::string_view id, std::string_view stream);
// "$NEX.FEED.<ns>.events.<type>".
std::string event_subject(std::string_view ns, std::string_view type);
// "$NEX.FEED.<ns>.metrics.<id>".
std::string metrics_subject(std::string_view ns, std::string_view id);

// AUCTION. The reply's bidder_id is the argument of ADEPLOY.
struct AuctionRequest {
  std::string auction_id;
  std::string agent_type;  // "v8" or "wasm"
  Pairs tags;
};
struct AuctionReply {
  std::string bidder_id;
  std::string xkey;
  std::string start_request_schema;
  std::vector<std::string> supported_lifecycles;
  std::string node_id;     // ours
};

// ADEPLOY.<bidder_id>. Our node also bids under its own node id, so a one-node deploy needs no
// auction. A workload of the same name in the namespace is replaced.
struct DeployRequest {
  std::string name;
  std::string ns;
  std::string description;
  std::string workload_type;                   // "v8", "wasm"
  std::string workload_lifecycle = "function";
  std::string run_request;                     // encode(RunRequest)
  Pairs tags;
  Pairs metadata;
};
struct DeployReply {
  std::string id;
  std::string name;
  std::string node_id;      // ours
  std::string replaced_id;  // ours; empty when nothing was replaced
  std::vector<std::string> trigger_subjects;  // ours; live when this reply is sent
};

// UNDEPLOY.<workload id or name>. A node that does not have it stays silent.
struct UndeployRequest {
  std::string ns;
};
struct UndeployReply {
  std::string id;
  std::string workload_type;
  bool stopped = false;
  std::string message;
};

// WPING and WPING.<workload id or name>; each node answers an array.
struct WorkloadPingRequest {
  std::string ns;
  std::vector<std::string> filter;  // ids or names; empty means all
};
// WLOGS.<workload id or name>, ours: what a workload wrote lately. An entry is what it wrote at
// once, maybe several lines.
struct LogEntry {
  std::string time;    // RFC 3339
  std::string stream;  // "stdout" or "stderr"
  std::string text;
};
struct WorkloadLog {
  std::string id;
  std::string name;
  std::vector<LogEntry> entries;  // oldest first; only the last ones are kept
};
struct WorkloadSummary {
  std::string id;
  std::string ns;
  std::string name;
  std::string start_time;  // RFC 3339
  std::string runtime;     // "1h2m3s", how long it has been running
  std::string workload_type;
  std::string workload_lifecycle;
  std::string workload_state;  // starting running warm stopping stopped error
  Pairs metadata;
  Pairs tags;
};

// What WINFO says of services and jobs beyond what it says of all.
struct ProgramInfo {
  std::string isolation;  // "sandbox", "microvm" or "none"; empty: it is no program
  std::string monitor;    // of a microVM: "qemu, emulated"
  uint32_t pid = 0;       // on the node; 0 while nothing runs
  uint32_t runs = 0;      // that have ended
  int64_t exit_code = 0;  // of the last one, 128 and the number for a signal
  std::string health;     // "healthy", "unhealthy", "starting"; empty without a health check
  std::vector<std::string> ports;   // "127.0.0.1:8080:80": host, port there, port inside
  std::vector<std::string> layers;  // of the sandbox, in force
  std::vector<std::string> egress;  // "host:port"
  uint64_t memory_bytes_max = 0;
  uint64_t memory_kills = 0;
  uint64_t cpu_ns = 0;
  uint32_t pids = 0;
  uint64_t connections = 0;  // to the broker, and what went over them, seen from the program
  uint64_t out_msgs = 0;
  uint64_t in_msgs = 0;
  uint64_t violations = 0;   // of what it may do there
  uint64_t egress_connections = 0;
  uint64_t egress_refused = 0;
};

// WINFO.<workload id or name>, ours: one workload in full.
struct WorkloadInfo {
  WorkloadSummary summary;
  std::string node_id;
  std::string description;
  std::string sha256;
  uint64_t artifact_bytes = 0;
  std::string file_name;
  std::vector<std::string> trigger_subjects;
  std::string queue_group;
  RunLimits limits;
  uint32_t instances = 0;
  uint32_t instances_busy = 0;
  uint64_t in_flight = 0;
  uint64_t queued = 0;
  uint64_t calls = 0;
  uint64_t errors = 0;
  uint64_t restarts = 0;
  uint64_t log_lines_dropped = 0;
  uint64_t total_ns = 0;    // wall time of all answered calls, queueing included
  uint64_t memory_bytes = 0;
  uint64_t cpu_ns = 0;      // of its processes, those that have gone included
  uint64_t p50_ns = 0;      // of the same times as total_ns, to within a factor of two
  uint64_t p99_ns = 0;
  std::vector<std::string> triggers;  // other than subjects, "stream ORDERS orders.>"
  std::string last_error;
  ProgramInfo program;
};

// PING, PING.<node>. A node that lacks a tag of the filter stays silent.
struct NodePingRequest {
  Pairs filter;
};
struct NodePing {
  std::string node_id;
  std::string version;
  std::string start_time;
  std::string xkey;
  Pairs tags;
  std::string state;  // starting running lameduck stopping error
  uint32_t agent_count = 0;
  std::string name;   // ours
  std::string nexus;  // ours
  uint32_t workload_count = 0;  // ours
};

// INFO.<node>.
struct AgentSummary {
  std::string agent_id;
  std::string name;
  std::string type;
  std::string start_time;
  std::vector<std::string> supported_lifecycles;
  std::string state;
  uint32_t workload_count = 0;
  std::string version;
  std::string last_heartbeat;  // RFC 3339; the start time when empty
};
// One thing a node needs for a kind of workload.
struct NodeCheck {
  std::string name;
  std::string state;  // ok, missing, optional: missing, and it works without
  std::string details;
};
struct NodeInfo {
  std::string node_id;
  std::string version;
  std::string uptime;
  std::string xkey;
  Pairs tags;
  std::vector<AgentSummary> agents;
  std::string name;           // ours, as all below
  std::string nexus;
  std::string state;
  std::string engine;         // "V8 10.2.154.26", empty until a zygote ran
  std::string instance_mode;  // "warm" or "cold"
  std::string sandbox_policy;              // required, best-effort, off
  std::vector<std::string> sandbox_layers;  // in force
  std::vector<std::string> sandbox_missing;
  std::vector<NodeCheck> microvm;  // the last one says what runs machines
  RunLimits default_limits;
  uint64_t memory_bytes = 0;  // of the node's own process
};

// LAMEDUCK.<node>.
struct LameduckRequest {
  std::string delay = "1m";
  Pairs tag;  // a node that lacks one stays silent
};
struct LameduckReply {
  bool success = false;
  std::string message;
};

// The body of an error reply; the code travels in `Nats-Service-Error-Code`, the text also in
// `Nats-Service-Error`.
struct ControlError {
  std::string error_id;  // "bad-request", "sha256-mismatch", …: stable, for programs
  std::string error;
};

std::string encode(const AuctionRequest&);
std::string encode(const AuctionReply&);
std::string encode(const DeployRequest&);
std::string encode(const DeployReply&);
std::string encode(const UndeployRequest&);
std::string encode(const UndeployReply&);
std::string encode(const WorkloadPingRequest&);
std::string encode(const std::vector<WorkloadSummary>&);
std::string encode(const WorkloadLog&);
std::string encode(const WorkloadInfo&);
std::string encode(const NodePing&);
std::string encode(const NodeInfo&);
std::string encode(const LameduckRequest&);
std::string encode(const LameduckReply&);
std::string encode(const ControlError&);

// Each fails with Syntax when the text is no JSON object and with InvalidArgument, naming the
// member, when a member it needs is absent or of another type.
Result<AuctionRequest> decode_auction_request(std::string_view);
Result<AuctionReply> decode_auction_reply(std::string_view);
Result<DeployRequest> decode_deploy_request(std::string_view);
Result<DeployReply> decode_deploy_reply(std::string_view);
Result<UndeployRequest> decode_undeploy_request(std::string_view);
Result<UndeployReply> decode_undeploy_reply(std::string_view);
Result<WorkloadPingRequest> decode_workload_ping_request(std::string_view);
Result<std::vector<WorkloadSummary>> decode_workload_summaries(std::string_view);
Result<WorkloadInfo> decode_workload_info(std::string_view);
Result<WorkloadLog> decode_workload_log(std::string_view);
Result<NodePing> decode_node_ping(std::string_view);
Result<NodeInfo> decode_node_info(std::string_view);
// No text at all asks every node.
Result<NodePingRequest> decode_node_ping_request(std::string_view);
Result<LameduckRequest> decode_lameduck_request(std::string_view);
Result<LameduckReply> decode_lameduck_reply(std::string_view);
Result<ControlError> decode_control_error(std::string_view);

}  // namespace brokkr::workload
