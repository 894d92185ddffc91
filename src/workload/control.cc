#include "workload/control.h"

#include "base/json.h"
#include "workload/json_members.h"

namespace brokkr::workload {
namespace {

using json::Value;
using json::Writer;

std::string subject_of(std::string_view before, std::string_view ns, std::string_view after) {
  std::string subject(before);
  subject.append(ns).append(after);
  return subject;
}

void write_summary(Writer& out, const WorkloadSummary& summary) {
  out.field("id", summary.id).field("namespace", summary.ns).field("name", summary.name);
  out.field("start_time", summary.start_time).field("runtime", summary.runtime);
  out.field("workload_type", summary.workload_type);
  out.field("workload_lifecycle", summary.workload_lifecycle);
  out.field("workload_state", summary.workload_state);
  write_pairs(out, "metadata", summary.metadata);
  write_pairs(out, "tags", summary.tags);
}

void read_summary(MemberReader& in, WorkloadSummary& summary) {
  in.read("id", summary.id).read("namespace", summary.ns).read("name", summary.name);
  in.read("start_time", summary.start_time).read("runtime", summary.runtime);
  in.read("workload_type", summary.workload_type);
  in.read("workload_lifecycle", summary.workload_lifecycle);
  in.read("workload_state", summary.workload_state);
  in.read("metadata", summary.metadata).read("tags", summary.tags);
}

void write_program(Writer& out, const ProgramInfo& program) {
  out.key("program").begin_object().field("isolation", program.isolation);
  if (!program.monitor.empty()) out.field("monitor", program.monitor);
  out.field("pid", uint64_t{program.pid}).field("runs", uint64_t{program.runs});
  out.field("exit_code", program.exit_code).field("health", program.health);
  write_strings(out, "ports", program.ports);
  write_strings(out, "layers", program.layers);
  write_strings(out, "egress", program.egress);
  out.field("memory_bytes_max", program.memory_bytes_max);
  out.field("memory_kills", program.memory_kills).field("cpu_ns", program.cpu_ns);
  out.field("pids", uint64_t{program.pids}).field("connections", program.connections);
  out.field("out_msgs", program.out_msgs).field("in_msgs", program.in_msgs);
  out.field("violations", program.violations);
  out.field("egress_connections", program.egress_connections);
  out.field("egress_refused", program.egress_refused).end_object();
}

Status read_program(const Value& value, ProgramInfo& program) {
  MemberReader in(value);
  in.read("monitor", program.monitor);
  in.read("isolation", program.isolation).read("pid", program.pid).read("runs", program.runs);
  in.read("exit_code", program.exit_code).read("health", program.health);
  in.read("ports", program.ports).read("layers", program.layers).read("egress", program.egress);
  in.read("memory_bytes_max", program.memory_bytes_max);
  in.read("memory_kills", program.memory_kills).read("cpu_ns", program.cpu_ns);
  in.read("pids", program.pids).read("connections", program.connections);
  in.read("out_msgs", program.out_msgs).read("in_msgs", program.in_msgs);
  in.read("violations", program.violations);
  in.read("egress_connections", program.egress_connections);
  in.read("egress_refused", program.egress_refused);
  return in.status();
}

}  // namespace

std::string control_subject(std::string_view ns, std::string_view verb,
                            std::string_view argument) {
  std::string subject = subject_of("$NEX.SVC.", ns, ".control.");
  subject += verb;
  if (!argument.empty()) subject.append(".").append(argument);
  return subject;
}

std::string log_subject(std::string_view ns, std::string_view id, std::string_view stream) {
  return subject_of("$NEX.FEED.", ns, ".logs.").append(id).append(".").append(stream);
}

std::string metrics_subject(std::string_view ns, std::string_view id) {
  return subject_of("$NEX.FEED.", ns, ".metrics.").append(id);
}

std::string event_subject(std::string_view ns, std::string_view type) {
  return subject_of("$NEX.FEED.", ns, ".events.").append(type);
}

std::string encode(const AuctionRequest& request) {
  Writer out;
  out.begin_object().field("auction_id", request.auction_id);
  out.field("agent_type", request.agent_type);
  write_pairs(out, "tags", request.tags);
  return out.end_object().take();
}

std::string encode(const AuctionReply& reply) {
  Writer out;
  out.begin_object().field("bidder_id", reply.bidder_id).field("xkey", reply.xkey);
  out.field("start_request_schema", reply.start_request_schema);
  write_strings(out, "supported_lifecycles", reply.supported_lifecycles);
  return out.field("node_id", reply.node_id).end_object().take();
}

std::string encode(const DeployRequest& request) {
  Writer out;
  out.begin_object().field("name", request.name).field("namespace", request.ns);
  out.field("description", request.description).field("workload_type", request.workload_type);
  out.field("workload_lifecycle", request.workload_lifecycle);
  out.field("run_request", request.run_request);
  write_pairs(out, "tags", request.tags);
  write_pairs(out, "metadata", request.metadata);
  return out.end_object().take();
}

std::string encode(const DeployReply& reply) {
  Writer out;
  out.begin_object().field("id", reply.id).field("name", reply.name);
  out.field("node_id", reply.node_id);
  if (!reply.replaced_id.empty()) out.field("replaced_id", reply.replaced_id);
  write_strings(out, "trigger_subjects", reply.trigger_subjects);
  return out.end_object().take();
}

std::string encode(const UndeployRequest& request) {
  return Writer().begin_object().field("namespace", request.ns).end_object().take();
}

std::string encode(const UndeployReply& reply) {
  Writer out;
  out.begin_object().field("id", reply.id).field("workload_type", reply.workload_type);
  out.field("stopped", reply.stopped).field("message", reply.message);
  return out.end_object().take();
}

std::string encode(const WorkloadPingRequest& request) {
  Writer out;
  out.begin_object().field("namespace", request.ns);
  write_strings(out, "filter", request.filter);
  return out.end_object().take();
}

std::string encode(const std::vector<WorkloadSummary>& summaries) {
  Writer out;
  out.begin_array();
  for (const WorkloadSummary& summary : summaries) {
    out.begin_object();
    write_summary(out, summary);
    out.end_object();
  }
  return out.end_array().take();
}

std::string encode(const WorkloadInfo& info) {
  Writer out;
  out.begin_object();
  write_summary(out, info.summary);
  out.field("node_id", info.node_id).field("description", info.description);
  out.field("sha256", info.sha256).field("artifact_bytes", info.artifact_bytes);
  out.field("file_name", info.file_name);
  write_strings(out, "trigger_subjects", info.trigger_subjects);
  out.field("queue_group", info.queue_group);
  write_limits(out, "limits", info.limits);
  out.field("instances", uint64_t{info.instances});
  out.field("instances_busy", uint64_t{info.instances_busy});
  out.field("in_flight", info.in_flight).field("queued", info.queued);
  out.field("calls", info.calls).field("errors", info.errors);
  out.field("restarts", info.restarts).field("log_lines_dropped", info.log_lines_dropped);
  out.field("total_ns", info.total_ns).field("memory_bytes", info.memory_bytes);
  out.field("cpu_ns", info.cpu_ns).field("p50_ns", info.p50_ns).field("p99_ns", info.p99_ns);
  write_strings(out, "triggers", info.triggers);
  out.field("last_error", info.last_error);
  if (!info.program.isolation.empty()) write_program(out, info.program);
  return out.end_object().take();
}

std::string encode(const WorkloadLog& log) {
  Writer out;
  out.begin_object().field("id", log.id).field("name", log.name).key("entries").begin_array();
  for (const LogEntry& entry : log.entries) {
    out.begin_object().field("time", entry.time).field("stream", entry.stream);
    out.field("text", entry.text).end_object();
  }
  return out.end_array().end_object().take();
}

std::string encode(const NodePing& ping) {
  Writer out;
  out.begin_object().field("node_id", ping.node_id).field("version", ping.version);
  out.field("start_time", ping.start_time).field("xkey", ping.xkey);
  write_pairs(out, "tags", ping.tags);
  out.field("state", ping.state).field("agent_count", uint64_t{ping.agent_count});
  out.field("name", ping.name).field("nexus", ping.nexus);
  return out.field("workload_count", uint64_t{ping.workload_count}).end_object().take();
}

std::string encode(const NodeInfo& info) {
  Writer out;
  out.begin_object().field("node_id", info.node_id).field("version", info.version);
  out.field("uptime", info.uptime).field("xkey", info.xkey);
  write_pairs(out, "tags", info.tags);
  out.key("node_agent_summaries").begin_array();
  for (const AgentSummary& agent : info.agents) {
    out.begin_object().field("agent_id", agent.agent_id).field("agent_health", "healthy");
    out.field("agent_health_stoplight", "green");
    // Agents are part of the node: what tells of them is their heartbeat. Nex wants a time there.
    out.field("agent_last_heartbeat_time", agent.last_heartbeat.empty() ? agent.start_time : agent.last_heartbeat);
    out.key("agent_summary").begin_object();
    out.field("name", agent.name).field("type", agent.type);
    out.field("start_time", agent.start_time);
    // Nex has one text there, and a list in the reply of an auction.
    std::string lifecycles;
    for (const std::string& one : agent.supported_lifecycles) lifecycles += (lifecycles.empty() ? "" : ",") + one;
    out.field("supported_lifecycles", lifecycles);
    out.field("state", agent.state).field("workload_count", uint64_t{agent.workload_count});
    out.field("version", agent.version).end_object().end_object();
  }
  out.end_array().field("name", info.name).field("nexus", info.nexus);
  out.field("state", info.state).field("engine", info.engine);
  out.field("instance_mode", info.instance_mode).field("sandbox_policy", info.sandbox_policy);
  write_strings(out, "sandbox_layers", info.sandbox_layers);
  write_strings(out, "sandbox_missing", info.sandbox_missing);
  out.key("microvm").begin_array();
  for (const NodeCheck& check : info.microvm) {
    out.begin_object().field("name", check.name).field("state", check.state).field("details", check.details).end_object();
  }
  out.end_array();
  write_limits(out, "default_limits", info.default_limits);
  return out.field("memory_bytes", info.memory_bytes).end_object().take();
}

std::string encode(const LameduckRequest& request) {
  Writer out;
  out.begin_object().field("delay", request.delay);
  if (!request.tag.empty()) write_pairs(out, "tag", request.tag);
  return out.end_object().take();
}

std::string encode(const LameduckReply& reply) {
  Writer out;
  out.begin_object().field("success", reply.success).field("message", reply.message);
  return out.end_object().take();
}

std::string encode(const ControlError& error) {
  Writer out;
  out.begin_object().field("error_id", error.error_id).field("error", error.error);
  return out.end_object().take();
}

Result<AuctionRequest> decode_auction_request(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  AuctionRequest request;
  MemberReader in(*value);
  in.read("auction_id", request.auction_id).read("agent_type", request.agent_type);
  in.read("tags", request.tags);
  return in.finish(std::move(request));
}

Result<AuctionReply> decode_auction_reply(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  AuctionReply reply;
  MemberReader in(*value);
  in.need("bidder_id", reply.bidder_id).read("xkey", reply.xkey);
  in.read("start_request_schema", reply.start_request_schema);
  in.read("supported_lifecycles", reply.supported_lifecycles).read("node_id", reply.node_id);
  return in.finish(std::move(reply));
}

Result<DeployRequest> decode_deploy_request(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  DeployRequest request;
  MemberReader in(*value);
  in.need("name", request.name).read("namespace", request.ns);
  in.read("description", request.description).need("workload_type", request.workload_type);
  in.read("workload_lifecycle", request.workload_lifecycle);
  in.need("run_request", request.run_request);
  in.read("tags", request.tags);
  // Nex allows any value there; what is no text is kept as its JSON.
  if (const Value* metadata = in.find("metadata"); metadata != nullptr && metadata->is_object()) {
    for (const auto& [key, item] : metadata->members()) {
      request.metadata.emplace_back(key, item.is_string() ? std::string(item.as_string()) : Writer().value(item).take());
    }
  } else if (metadata != nullptr) {
    in.fail("\"metadata\" must be an object");
  }
  return in.finish(std::move(request));
}

Result<DeployReply> decode_deploy_reply(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  DeployReply reply;
  MemberReader in(*value);
  in.need("id", reply.id).read("name", reply.name).read("node_id", reply.node_id);
  in.read("replaced_id", reply.replaced_id).read("trigger_subjects", reply.trigger_subjects);
  return in.finish(std::move(reply));
}

Result<UndeployRequest> decode_undeploy_request(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  UndeployRequest request;
  MemberReader in(*value);
  in.read("namespace", request.ns);
  return in.finish(std::move(request));
}

Result<UndeployReply> decode_undeploy_reply(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  UndeployReply reply;
  MemberReader in(*value);
  in.read("id", reply.id).read("workload_type", reply.workload_type);
  in.read("stopped", reply.stopped).read("message", reply.message);
  return in.finish(std::move(reply));
}

Result<WorkloadPingRequest> decode_workload_ping_request(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  WorkloadPingRequest request;
  MemberReader in(*value);
  in.read("namespace", request.ns).read("filter", request.filter);
  return in.finish(std::move(request));
}

Result<std::vector<WorkloadSummary>> decode_workload_summaries(std::string_view text) {
  const Result<Value> value = json::parse(text);
  if (!value) return value.error();
  if (!value->is_array()) return Error{Errc::Syntax, "the reply is not a JSON array"};
  std::vector<WorkloadSummary> summaries;
  for (const Value& item : value->items()) {
    MemberReader in(item);
    read_summary(in, summaries.emplace_back());
    if (!in.status()) return in.status().error();
  }
  return summaries;
}

Result<WorkloadInfo> decode_workload_info(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  WorkloadInfo info;
  MemberReader in(*value);
  read_summary(in, info.summary);
  in.read("node_id", info.node_id).read("description", info.description);
  in.read("sha256", info.sha256).read("artifact_bytes", info.artifact_bytes);
  in.read("file_name", info.file_name).read("trigger_subjects", info.trigger_subjects);
  in.read("queue_group", info.queue_group).read("limits", info.limits);
  in.read("instances", info.instances).read("instances_busy", info.instances_busy);
  in.read("in_flight", info.in_flight).read("queued", info.queued);
  in.read("calls", info.calls).read("errors", info.errors).read("restarts", info.restarts);
  in.read("log_lines_dropped", info.log_lines_dropped).read("total_ns", info.total_ns);
  in.read("memory_bytes", info.memory_bytes).read("last_error", info.last_error);
  in.read("cpu_ns", info.cpu_ns).read("p50_ns", info.p50_ns).read("p99_ns", info.p99_ns);
  in.read("triggers", info.triggers);
  const Value* program = in.find("program");
  if (program != nullptr && !program->is_object()) in.fail("\"program\" must be an object");
  if (!in.status()) return in.status().error();
  if (program != nullptr) {
    if (Status s = read_program(*program, info.program); !s) return s.error();
  }
  return in.finish(std::move(info));
}

Result<WorkloadLog> decode_workload_log(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  WorkloadLog log;
  MemberReader in(*value);
  in.need("id", log.id).read("name", log.name);
  const Value* entries = in.find("entries");
  if (entries != nullptr && !entries->is_array()) in.fail("\"entries\" must be an array");
  if (!in.status() || entries == nullptr) return in.finish(std::move(log));
  for (const Value& item : entries->items()) {
    if (!item.is_object()) return Error{Errc::InvalidArgument, "\"entries\" must hold objects"};
    MemberReader member(item);
    LogEntry& entry = log.entries.emplace_back();
    member.read("time", entry.time).read("stream", entry.stream).read("text", entry.text);
    if (!member.status()) return member.status().error();
  }
  return log;
}

Result<NodePing> decode_node_ping(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  NodePing ping;
  MemberReader in(*value);
  in.need("node_id", ping.node_id).read("version", ping.version);
  in.read("start_time", ping.start_time).read("xkey", ping.xkey).read("tags", ping.tags);
  in.read("state", ping.state).read("agent_count", ping.agent_count);
  in.read("name", ping.name).read("nexus", ping.nexus);
  in.read("workload_count", ping.workload_count);
  return in.finish(std::move(ping));
}

Result<NodeInfo> decode_node_info(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  NodeInfo info;
  MemberReader in(*value);
  in.need("node_id", info.node_id).read("version", info.version).read("uptime", info.uptime);
  in.read("xkey", info.xkey).read("tags", info.tags);
  if (const Value* agents = in.find("node_agent_summaries"); agents != nullptr) {
    for (const Value& item : agents->items()) {
      AgentSummary& agent = info.agents.emplace_back();
      agent.agent_id = item.get_string("agent_id");
      const Value* summary = item.find("agent_summary");
      if (summary == nullptr) continue;
      MemberReader from(*summary);
      from.read("name", agent.name).read("type", agent.type);
      from.read("start_time", agent.start_time).read("state", agent.state);
      std::string lifecycles;
      from.read("supported_lifecycles", lifecycles);
      for (const std::string_view one : split(lifecycles, ',')) {
        if (!one.empty()) agent.supported_lifecycles.emplace_back(one);
      }
      from.read("workload_count", agent.workload_count).read("version", agent.version);
    }
  }
  in.read("name", info.name).read("nexus", info.nexus).read("state", info.state);
  in.read("engine", info.engine).read("instance_mode", info.instance_mode);
  in.read("sandbox_policy", info.sandbox_policy).read("sandbox_layers", info.sandbox_layers);
  in.read("sandbox_missing", info.sandbox_missing).read("default_limits", info.default_limits);
  in.read("memory_bytes", info.memory_bytes);
  if (const Value* checks = in.find("microvm"); checks != nullptr) {
    for (const Value& item : checks->items()) {
      NodeCheck& check = info.microvm.emplace_back();
      MemberReader(item).read("name", check.name).read("state", check.state).read("details", check.details);
    }
  }
  return in.finish(std::move(info));
}

Result<NodePingRequest> decode_node_ping_request(std::string_view text) {
  NodePingRequest request;
  if (text.empty()) return request;
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  MemberReader in(*value);
  in.read("filter", request.filter);
  return in.finish(std::move(request));
}

Result<LameduckRequest> decode_lameduck_request(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  LameduckRequest request;
  MemberReader in(*value);
  in.read("delay", request.delay).read("tag", request.tag);
  return in.finish(std::move(request));
}

Result<LameduckReply> decode_lameduck_reply(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  LameduckReply reply;
  MemberReader in(*value);
  in.read("success", reply.success).read("message", reply.message);
  return in.finish(std::move(reply));
}

Result<ControlError> decode_control_error(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  ControlError error;
  MemberReader in(*value);
  in.read("error_id", error.error_id).read("error", error.error);
  return in.finish(std::move(error));
}

}  // namespace brokkr::workload
