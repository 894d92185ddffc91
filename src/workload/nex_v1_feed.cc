#include "workload/nex_v1_feed.h"

#include "base/json.h"
#include "workload/header_line.h"
#include "workload/workload.h"

namespace brokkr::workload {
namespace {

constexpr Duration kCallWindow = std::chrono::seconds(1);

// Where an event comes from when it is not the node itself.
std::string source_of(std::string_view node_id, const WorkloadIdentity& who) {
  return std::string(node_id) + "-" + who.id;
}

}  // namespace

NexV1Feed::NexV1Feed(const Deps& deps, std::string node_id, std::string version, Callback<v1::NodeFacts()> facts)
    : deps_(deps), node_id_(std::move(node_id)), version_(std::move(version)), facts_(std::move(facts)),
      ids_(deps_.random), heartbeat_(deps.loop, [this] { beat(); }) {}

void NexV1Feed::node_started() {
  publish_event(kSystemNamespace, "node_started", node_id_, v1::node_started_data(facts_()));
  beat();
}

void NexV1Feed::node_stopped() {
  heartbeat_.stop();
  json::Writer data;
  data.begin_object().field("id", node_id_).field("graceful", true).end_object();
  publish_event(kSystemNamespace, "node_stopped", node_id_, data.text());
}

void NexV1Feed::node_entered_lameduck() {
  json::Writer data;
  data.begin_object().field("version", version_).field("id", node_id_).end_object();
  publish_event(kSystemNamespace, "node_entered_lameduck", node_id_, data.text());
}

void NexV1Feed::beat() {
  heartbeat_.start(kHeartbeat);
  publish_event(kSystemNamespace, "heartbeat", node_id_, v1::heartbeat_data(facts_()));
}

void NexV1Feed::workload_deployed(const WorkloadIdentity& who) {
  json::Writer data;
  data.begin_object().field("workload_id", who.id).field("workload_name", who.name);
  data.field("total_bytes", who.artifact_bytes).end_object();
  publish_event(who.ns, "workload_deployed", source_of(node_id_, who), data.text());
}

void NexV1Feed::workload_undeployed(const WorkloadIdentity& who, int code, std::string_view message) {
  json::Writer data;
  data.begin_object().field("workload_id", who.id).field("workload_name", who.name);
  data.field("code", code).field("message", message).end_object();
  publish_event(who.ns, "workload_undeployed", source_of(node_id_, who), data.text());
  log(who, v1::LogLevel::Debug, "Workload stopped");
}

bool NexV1Feed::admit_call() {
  const MonotonicTime now = deps_.loop.now();
  if (window_ == MonotonicTime() || now - window_ >= kCallWindow) {
    window_ = now;
    told_ = 0;
  }
  if (told_ >= kCallsPerSecond) return false;
  ++told_;
  return true;
}

void NexV1Feed::call_succeeded(const WorkloadIdentity& who, std::string_view subject, Duration took) {
  if (!admit_call()) return;
  json::Writer data;
  data.begin_object().field("workload_name", who.name).field("trigger_subject", subject);
  data.field("elapsed_nanos", int64_t{took.count()}).field("namespace", who.ns).end_object();
  publish_event(who.ns, "function_exec_succeeded", node_id_, data.text());
  log(who, v1::LogLevel::Debug,
      "Function " + who.name + " execution succeeded (" + std::to_string(took.count()) + "ns)");
}

void NexV1Feed::call_failed(const WorkloadIdentity& who, std::string_view subject, std::string_view error) {
  if (!admit_call()) return;
  json::Writer data;
  data.begin_object().field("workload_name", who.name).field("trigger_subject", subject);
  data.field("namespace", who.ns).field("error", header_line(error)).end_object();
  publish_event(who.ns, "function_exec_failed", node_id_, data.text());
  log(who, v1::LogLevel::Error, "Function execution failed");
}

void NexV1Feed::log(const WorkloadIdentity& who, v1::LogLevel level, std::string_view text) {
  publish(v1::log_subject(who.ns, node_id_, who.name, who.id), v1::log_body(level, text, who.id));
}

void NexV1Feed::publish_event(std::string_view ns, std::string_view type, std::string_view source,
                              std::string_view data) {
  const std::string time = format_rfc3339(deps_.loop.clock().wall_now());
  publish(v1::event_subject(ns, type), v1::cloud_event(ids_.next(), time, type, source, ns, data));
}

void NexV1Feed::publish(const std::string& subject, const std::string& body) {
  if (const Status sent = deps_.connection.publish(subject, body); !sent) {
    deps_.log.debug("workload: nobody was told on " + subject + ": " + sent.error().text);
  }
}

}  // namespace brokkr::workload
