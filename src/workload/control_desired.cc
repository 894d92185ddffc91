#include "workload/control_desired.h"

#include "base/json.h"
#include "workload/desired_json.h"
#include "workload/json_members.h"

namespace brokkr::workload {
namespace {

using json::Value;
using json::Writer;

constexpr std::string_view kActionNames[] = {"list", "get", "set", "remove"};

void write_status(Writer& out, const RolloutStatus& status) {
  out.begin_object().field("id", status.id).field("namespace", status.ns).field("name", status.name);
  out.field("workload_type", status.workload_type);
  out.field("workload_lifecycle", status.workload_lifecycle).field("node", status.node);
  out.field("generation", status.generation).field("replicas", uint64_t{status.replicas});
  out.field("updated", uint64_t{status.updated}).field("running", uint64_t{status.running});
  out.field("state", status.state).field("message", status.message).key("slots").begin_array();
  for (const SlotStatus& slot : status.slots) {
    out.begin_object().field("slot", uint64_t{slot.slot}).field("node", slot.node);
    out.field("node_name", slot.node_name).field("node_lost", slot.is_node_lost);
    out.field("workload_id", slot.workload_id).field("generation", slot.generation);
    out.field("state", slot.state).field("since", slot.since).field("error", slot.error);
    out.field("exit_code", int64_t{slot.exit_code}).field("result", slot.result);
    out.field("restarts", uint64_t{slot.restarts}).end_object();
  }
  out.end_array().key("revisions").begin_array();
  for (const RevisionStatus& revision : status.revisions) {
    out.begin_object().field("generation", revision.generation);
    out.field("deployed", revision.deployed).field("issuer", revision.issuer);
    out.field("sha256", revision.sha256).field("uri", revision.uri).end_object();
  }
  out.end_array().end_object();
}

// Calls `read` with a reader of each object in the array `name`.
template <typename Read>
void read_objects(MemberReader& in, std::string_view name, const Read& read) {
  const Value* found = in.find(name);
  if (found == nullptr) return;
  if (!found->is_array()) return in.fail("\"" + std::string(name) + "\" must be an array");
  for (const Value& item : found->items()) {
    if (!item.is_object()) return in.fail("\"" + std::string(name) + "\" must hold objects");
    MemberReader from(item);
    read(from);
    if (!from.status()) return in.fail(std::string(name) + ": " + from.status().error().text);
  }
}

void read_status(MemberReader& in, RolloutStatus& status) {
  in.read("id", status.id).read("namespace", status.ns).read("name", status.name);
  in.read("workload_type", status.workload_type);
  in.read("workload_lifecycle", status.workload_lifecycle).read("node", status.node);
  in.read("generation", status.generation).read("replicas", status.replicas);
  in.read("updated", status.updated).read("running", status.running);
  in.read("state", status.state).read("message", status.message);
  read_objects(in, "slots", [&](MemberReader& from) {
    SlotStatus& slot = status.slots.emplace_back();
    int64_t exit_code = 0;
    from.read("slot", slot.slot).read("node", slot.node).read("node_name", slot.node_name);
    from.read("node_lost", slot.is_node_lost).read("workload_id", slot.workload_id);
    from.read("generation", slot.generation).read("state", slot.state).read("since", slot.since);
    from.read("error", slot.error).read("exit_code", exit_code).read("result", slot.result);
    from.read("restarts", slot.restarts);
    slot.exit_code = static_cast<int32_t>(exit_code);
  });
  read_objects(in, "revisions", [&](MemberReader& from) {
    RevisionStatus& revision = status.revisions.emplace_back();
    from.read("generation", revision.generation).read("deployed", revision.deployed);
    from.read("issuer", revision.issuer).read("sha256", revision.sha256).read("uri", revision.uri);
  });
}

}  // namespace

std::string encode(const ApplyRequest& request) {
  Writer out;
  out.begin_object().key("deploy").raw(encode(request.deploy));
  out.field("replicas", uint64_t{request.replicas}).field("node", request.node);
  out.field("max_unavailable", uint64_t{request.max_unavailable});
  out.field("progress_deadline_ns", request.progress_deadline_ns);
  if (!request.request_id.empty()) out.field("request_id", request.request_id);
  return out.field("wait_ms", request.wait_ms).end_object().take();
}

std::string encode(const ScaleRequest& request) {
  Writer out;
  out.begin_object().field("replicas", uint64_t{request.replicas});
  return out.field("wait_ms", request.wait_ms).end_object().take();
}

std::string encode(const RollbackRequest& request) {
  Writer out;
  out.begin_object().field("generation", request.generation).field("sha256", request.sha256);
  return out.field("wait_ms", request.wait_ms).end_object().take();
}

std::string encode(const MoveRequest& request) {
  Writer out;
  out.begin_object().field("node", request.node).field("slot", request.slot);
  return out.field("wait_ms", request.wait_ms).end_object().take();
}

std::string encode(const RolloutStatus& status) {
  Writer out;
  write_status(out, status);
  return out.take();
}

std::string encode(const std::vector<RolloutStatus>& statuses) {
  Writer out;
  out.begin_array();
  for (const RolloutStatus& status : statuses) write_status(out, status);
  return out.end_array().take();
}

std::string encode(const CloneRequest& request) {
  Writer out;
  out.begin_object().field("namespace", request.ns);
  return out.field("new_target_xkey", request.new_target_xkey).end_object().take();
}

// Nex's schema wraps the request, its client and nodes do not; readers here take either.
std::string encode(const CloneReply& reply) { return encode(reply.start_workload_request); }

std::string encode(const DrainRequest& request) {
  Writer out;
  out.begin_object().field("delay", request.delay);
  return out.field("cancel", request.is_cancelled).end_object().take();
}

std::string encode(const NamespacesRequest& request) {
  Writer out;
  out.begin_object().field("action", kActionNames[static_cast<size_t>(request.action)]);
  out.key("record").raw(encode(request.record));
  if (request.revision) out.field("revision", *request.revision);
  return out.end_object().take();
}

std::string encode(const NamespacesReply& reply) {
  Writer out;
  out.begin_object().key("namespaces").begin_array();
  for (const NamespaceStatus& status : reply.namespaces) {
    out.begin_object();
    write_namespace_members(out, status.record);
    out.field("revision", status.revision).field("workloads", uint64_t{status.use.workloads});
    out.field("replicas", uint64_t{status.use.replicas});
    out.field("memory_bytes", status.use.memory_bytes);
    out.field("cpu_millis", uint64_t{status.use.cpu_millis});
    out.field("artifact_bytes", status.use.artifact_bytes).end_object();
  }
  return out.end_array().end_object().take();
}

Result<ApplyRequest> decode_apply_request(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  ApplyRequest request;
  MemberReader in(*value);
  in.read("replicas", request.replicas).read("node", request.node);
  in.read("max_unavailable", request.max_unavailable);
  in.read("progress_deadline_ns", request.progress_deadline_ns).read("wait_ms", request.wait_ms);
  in.read("request_id", request.request_id);
  if (request.request_id.size() > kRequestIdMax) in.fail("\"request_id\" is too long");
  if (request.replicas > kReplicasMax) {
    in.fail("\"replicas\" is at most " + std::to_string(kReplicasMax));
  }
  if (const Value* deploy = in.find("deploy"); deploy != nullptr) {
    auto decoded = decode_deploy_request(Writer().value(*deploy).text());
    if (!decoded) return decoded.error();
    request.deploy = std::move(*decoded);
  } else {
    in.fail("\"deploy\" is missing");
  }
  return in.finish(std::move(request));
}

Result<ScaleRequest> decode_scale_request(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  ScaleRequest request;
  MemberReader in(*value);
  if (in.find("replicas") == nullptr) in.fail("\"replicas\" is missing");
  in.read("replicas", request.replicas).read("wait_ms", request.wait_ms);
  if (request.replicas > kReplicasMax) {
    in.fail("\"replicas\" is at most " + std::to_string(kReplicasMax));
  }
  return in.finish(std::move(request));
}

Result<RollbackRequest> decode_rollback_request(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  RollbackRequest request;
  MemberReader in(*value);
  in.read("generation", request.generation).read("sha256", request.sha256);
  in.read("wait_ms", request.wait_ms);
  return in.finish(std::move(request));
}

Result<MoveRequest> decode_move_request(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  MoveRequest request;
  MemberReader in(*value);
  in.need("node", request.node).read("slot", request.slot).read("wait_ms", request.wait_ms);
  return in.finish(std::move(request));
}

Result<RolloutStatus> decode_rollout_status(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  RolloutStatus status;
  MemberReader in(*value);
  read_status(in, status);
  return in.finish(std::move(status));
}

Result<std::vector<RolloutStatus>> decode_rollout_statuses(std::string_view text) {
  const Result<Value> value = json::parse(text);
  if (!value) return value.error();
  if (!value->is_array()) return Error{Errc::Syntax, "the reply is not a JSON array"};
  std::vector<RolloutStatus> statuses;
  for (const Value& item : value->items()) {
    MemberReader in(item);
    read_status(in, statuses.emplace_back());
    if (!in.status()) return in.status().error();
  }
  return statuses;
}

Result<CloneRequest> decode_clone_request(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  CloneRequest request;
  MemberReader in(*value);
  in.read("namespace", request.ns).read("new_target_xkey", request.new_target_xkey);
  return in.finish(std::move(request));
}

Result<CloneReply> decode_clone_reply(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  CloneReply reply;
  const Value* request = MemberReader(*value).find("start_workload_request");
  auto decoded = decode_deploy_request(request == nullptr ? std::string(text) : Writer().value(*request).text());
  if (!decoded) return decoded.error();
  reply.start_workload_request = std::move(*decoded);
  return reply;
}

Result<DrainRequest> decode_drain_request(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  DrainRequest request;
  MemberReader in(*value);
  in.read("delay", request.delay).read("cancel", request.is_cancelled);
  return in.finish(std::move(request));
}

Result<NamespacesRequest> decode_namespaces_request(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  NamespacesRequest request;
  MemberReader in(*value);
  std::string action = "list";
  in.read("action", action);
  bool is_known = false;
  for (size_t i = 0; i < std::size(kActionNames); ++i) {
    if (action != kActionNames[i]) continue;
    request.action = static_cast<NamespacesRequest::Action>(i);
    is_known = true;
  }
  if (!is_known) in.fail("\"action\" must be list, get, set or remove");
  if (const Value* record = in.find("record"); record != nullptr && record->is_object()) {
    MemberReader from(*record);
    read_namespace_members(from, request.record);
    if (!from.status()) in.fail("record: " + from.status().error().text);
  }
  if (in.find("revision") != nullptr) in.read("revision", request.revision.emplace());
  return in.finish(std::move(request));
}

Result<NamespacesReply> decode_namespaces_reply(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  NamespacesReply reply;
  MemberReader in(*value);
  read_objects(in, "namespaces", [&](MemberReader& from) {
    NamespaceStatus& status = reply.namespaces.emplace_back();
    read_namespace_members(from, status.record);
    from.read("revision", status.revision).read("workloads", status.use.workloads).read("replicas", status.use.replicas);
    from.read("memory_bytes", status.use.memory_bytes).read("cpu_millis", status.use.cpu_millis);
    from.read("artifact_bytes", status.use.artifact_bytes);
  });
  return in.finish(std::move(reply));
}

}  // namespace brokkr::workload
