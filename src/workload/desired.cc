#include "workload/desired.h"

#include <algorithm>

#include "base/json.h"
#include "workload/desired_json.h"
#include "workload/json_members.h"

namespace brokkr::workload {
namespace {

using json::Value;
using json::Writer;

// The usual limit of a message is 1 MiB.
constexpr size_t kWorkloadBytesMax = 900U << 10;

void write_revision(Writer& out, const WorkloadRevision& revision) {
  out.begin_object().field("generation", revision.generation);
  out.field("deployed", revision.deployed).field("issuer", revision.issuer);
  if (!revision.request_id.empty()) out.field("request_id", revision.request_id);
  out.field("artifact_bytes", revision.artifact_bytes);
  out.key("run").raw(encode(revision.run)).end_object();
}

void read_revision(MemberReader& in, std::string_view name, const Value& value,
                   WorkloadRevision& into) {
  if (!value.is_object()) return in.fail("\"" + std::string(name) + "\" must hold objects");
  MemberReader from(value);
  from.read("generation", into.generation).read("deployed", into.deployed);
  from.read("request_id", into.request_id).read("issuer", into.issuer).read("artifact_bytes", into.artifact_bytes);
  if (const Value* run = from.find("run"); run != nullptr) {
    auto decoded = decode_run_request(Writer().value(*run).text());
    if (decoded) {
      into.run = std::move(*decoded);
    } else {
      from.fail("run: " + decoded.error().text);
    }
  }
  if (!from.status()) in.fail(std::string(name) + ": " + from.status().error().text);
}

std::string encode_workload(const DesiredWorkload& workload, size_t revisions) {
  Writer out;
  out.begin_object().field("id", workload.id).field("namespace", workload.ns);
  out.field("name", workload.name).field("description", workload.description);
  out.field("workload_type", workload.workload_type);
  out.field("workload_lifecycle", workload.workload_lifecycle).field("created", workload.created);
  write_pairs(out, "tags", workload.tags);
  write_pairs(out, "metadata", workload.metadata);
  out.field("replicas", uint64_t{workload.replicas}).field("node", workload.node);
  out.field("removed", workload.is_removed);
  out.field("max_unavailable", uint64_t{workload.max_unavailable});
  out.field("progress_deadline_ns", workload.progress_deadline_ns);
  out.key("current");
  write_revision(out, workload.current);
  out.key("previous").begin_array();
  for (size_t i = 0; i < revisions; ++i) write_revision(out, workload.previous[i]);
  return out.end_array().end_object().take();
}

}  // namespace

void write_namespace_members(Writer& out, const NamespaceRecord& record) {
  out.field("namespace", record.ns);
  write_strings(out, "subjects", record.subjects);
  write_strings(out, "imports", record.imports);
  write_strings(out, "buckets", record.buckets);
  write_strings(out, "object_buckets", record.object_buckets);
  write_strings(out, "streams", record.streams);
  write_strings(out, "egress", record.egress);
  write_strings(out, "issuers", record.issuers);
  write_strings(out, "node_files", record.node_files);
  write_strings(out, "ports", record.ports);
  write_strings(out, "registries", record.registries);
  out.field("workloads_max", uint64_t{record.workloads_max});
  out.field("replicas_max", uint64_t{record.replicas_max});
  out.field("memory_bytes_max", record.memory_bytes_max);
  out.field("cpu_millis_max", uint64_t{record.cpu_millis_max});
  out.field("artifact_bytes_max", record.artifact_bytes_max);
}

void read_namespace_members(MemberReader& in, NamespaceRecord& record) {
  in.read("namespace", record.ns).read("subjects", record.subjects);
  in.read("imports", record.imports).read("buckets", record.buckets);
  in.read("object_buckets", record.object_buckets).read("streams", record.streams);
  in.read("egress", record.egress).read("node_files", record.node_files);
  in.read("ports", record.ports).read("registries", record.registries);
  in.read("issuers", record.issuers).read("workloads_max", record.workloads_max);
  in.read("replicas_max", record.replicas_max).read("memory_bytes_max", record.memory_bytes_max);
  in.read("cpu_millis_max", record.cpu_millis_max);
  in.read("artifact_bytes_max", record.artifact_bytes_max);
}

std::string artifacts_bucket(std::string_view ns) { return "NEX_ARTIFACTS_" + std::string(ns); }

bool is_control_bucket(std::string_view bucket) {
  for (const std::string_view name : {kWorkloadsBucket, kSlotsBucket, kNodesBucket, kNamespacesBucket,
                                      kSecretsBucket, kDeploysBucket}) {
    if (bucket == name) return true;
  }
  return bucket.starts_with("NEX_ARTIFACTS_") || bucket.starts_with("NEX_IMAGES_");
}

std::string workload_key(std::string_view ns, std::string_view name) {
  return std::string(ns).append(".").append(name);
}

std::string slot_key(std::string_view ns, std::string_view name, uint32_t slot) {
  return workload_key(ns, name).append(".").append(std::to_string(slot));
}

std::string encode(const DesiredWorkload& workload) {
  size_t revisions = std::min(workload.previous.size(), kRevisionsKept);
  std::string text = encode_workload(workload, revisions);
  while (text.size() > kWorkloadBytesMax && revisions > 0) {
    text = encode_workload(workload, --revisions);
  }
  return text;
}

std::string encode(const SlotLease& lease) {
  Writer out;
  out.begin_object().field("node", lease.node).field("incarnation", lease.incarnation);
  out.field("workload_id", lease.workload_id).field("generation", lease.generation);
  out.field("state", lease.state).field("since", lease.since);
  out.field("target", lease.target).field("from", lease.from);
  out.field("failed_generation", lease.failed_generation);
  out.field("exit_code", int64_t{lease.exit_code}).field("result", lease.result);
  out.field("error", lease.error).field("restarts", uint64_t{lease.restarts});
  return out.end_object().take();
}

std::string encode(const NodeRecord& record) {
  Writer out;
  out.begin_object().field("node", record.node).field("name", record.name);
  out.field("nexus", record.nexus).field("xkey", record.xkey).field("version", record.version);
  out.field("incarnation", record.incarnation).field("beat", record.beat);
  out.field("state", record.state);
  write_pairs(out, "tags", record.tags);
  write_strings(out, "types", record.types);
  out.field("memory_bytes", record.memory_bytes);
  out.field("memory_used_bytes", record.memory_used_bytes);
  out.field("cpu_millis", uint64_t{record.cpu_millis});
  out.field("cpu_used_millis", uint64_t{record.cpu_used_millis});
  out.field("workloads", uint64_t{record.workloads});
  return out.field("workloads_max", uint64_t{record.workloads_max}).end_object().take();
}

std::string encode(const NamespaceRecord& record) {
  Writer out;
  out.begin_object();
  write_namespace_members(out, record);
  return out.end_object().take();
}

std::string encode(const SecretRecord& record) {
  Writer out;
  out.begin_object().field("sender", record.sender).field("updated", record.updated);
  write_pairs(out, "boxes", record.boxes);
  return out.end_object().take();
}

Result<DesiredWorkload> decode_desired_workload(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  DesiredWorkload workload;
  MemberReader in(*value);
  in.need("id", workload.id).need("namespace", workload.ns).need("name", workload.name);
  in.read("description", workload.description).read("workload_type", workload.workload_type);
  in.read("workload_lifecycle", workload.workload_lifecycle).read("created", workload.created);
  in.read("tags", workload.tags).read("metadata", workload.metadata);
  in.read("replicas", workload.replicas).read("node", workload.node);
  in.read("removed", workload.is_removed).read("max_unavailable", workload.max_unavailable);
  in.read("progress_deadline_ns", workload.progress_deadline_ns);
  if (const Value* current = in.find("current"); current != nullptr) {
    read_revision(in, "current", *current, workload.current);
  }
  if (const Value* previous = in.find("previous"); previous != nullptr) {
    for (const Value& one : previous->items()) {
      read_revision(in, "previous", one, workload.previous.emplace_back());
    }
  }
  if (workload.replicas > kReplicasMax) in.fail("\"replicas\" is too large");
  return in.finish(std::move(workload));
}

Result<SlotLease> decode_slot_lease(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  SlotLease lease;
  MemberReader in(*value);
  int64_t exit_code = 0;
  in.need("node", lease.node).read("incarnation", lease.incarnation);
  in.read("workload_id", lease.workload_id).read("generation", lease.generation);
  in.read("state", lease.state).read("since", lease.since).read("target", lease.target);
  in.read("from", lease.from).read("failed_generation", lease.failed_generation);
  in.read("exit_code", exit_code).read("result", lease.result).read("error", lease.error);
  in.read("restarts", lease.restarts);
  lease.exit_code = static_cast<int32_t>(exit_code);
  return in.finish(std::move(lease));
}

Result<NodeRecord> decode_node_record(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  NodeRecord record;
  MemberReader in(*value);
  in.need("node", record.node).read("name", record.name).read("nexus", record.nexus);
  in.read("xkey", record.xkey).read("version", record.version);
  in.read("incarnation", record.incarnation).read("beat", record.beat);
  in.read("state", record.state).read("tags", record.tags).read("types", record.types);
  in.read("memory_bytes", record.memory_bytes).read("memory_used_bytes", record.memory_used_bytes);
  in.read("cpu_millis", record.cpu_millis).read("cpu_used_millis", record.cpu_used_millis);
  in.read("workloads", record.workloads).read("workloads_max", record.workloads_max);
  return in.finish(std::move(record));
}

Result<NamespaceRecord> decode_namespace_record(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  NamespaceRecord record;
  MemberReader in(*value);
  read_namespace_members(in, record);
  return in.finish(std::move(record));
}

Result<SecretRecord> decode_secret_record(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  SecretRecord record;
  MemberReader in(*value);
  in.need("sender", record.sender).read("updated", record.updated).read("boxes", record.boxes);
  return in.finish(std::move(record));
}

}  // namespace brokkr::workload
