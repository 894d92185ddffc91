// What a function tells of itself: the record of its calls, spans, events, summaries.
#include <algorithm>

#include "base/json.h"
#include "workload/function.h"
#include "workload/header_line.h"

namespace brokkr::workload {
namespace {

constexpr Duration kEventWindow = std::chrono::seconds(1);
constexpr uint32_t kEventsPerWindow = 10;

}  // namespace

void DeployedFunction::record(const CallEnd& end, const CallResult& result) {
  const CallFacts& facts = end.facts;
  const MonotonicTime now = deps_.loop.clock().now();
  const WallTime wall = deps_.loop.clock().wall_now();
  const bool was_sent = end.sent != MonotonicTime();
  const auto code = static_cast<uint16_t>(result.code);
  stats_.add(code, now - end.received, facts.payload_bytes, result.payload.size());
  RecentInvocations::Entry entry;
  entry.took = now - end.received;
  entry.time = wall - entry.took;
  entry.waited = was_sent ? end.sent - end.received : entry.took;
  entry.payload_bytes = facts.payload_bytes;
  entry.reply_bytes = static_cast<uint32_t>(result.payload.size());
  entry.code = code;
  entry.deliveries = facts.deliveries;
  entry.trace = facts.trace;
  recent_.add(std::move(entry), facts.subject, result.error);
  if (deps_.v1_feed != nullptr) {
    if (code == 200) {
      deps_.v1_feed->call_succeeded(options_, facts.subject, now - end.received);
    } else {
      deps_.v1_feed->call_failed(options_, facts.subject, result.error);
    }
  }
  if (code != 200) {
    publish_event("FUNCTIONEXECFAILED", facts.subject, result.error,
                  ",\"code\":" + std::to_string(code));
  }
  if (deps_.tracer == nullptr || !facts.trace.is_sampled()) return;
  Span span;
  span.context = facts.trace;
  span.parent = facts.parent_span;
  span.kind = Span::Kind::Consumer;
  span.name = "invoke " + options_.name;
  span.start = wall - (now - end.received);
  span.end = wall;
  span.attributes = {{"messaging.system", "nats"},
                     {"messaging.destination.name", facts.subject},
                     {"faas.name", options_.name},
                     {"faas.instance", options_.id},
                     {"brokkr.namespace", options_.ns},
                     {"brokkr.code", std::to_string(code)}};
  span.has_failed = code != 200;
  span.error = header_line(result.error);
  deps_.tracer->end(std::move(span));
}

bool DeployedFunction::admit_event(const std::string& type, uint64_t& suppressed) {
  EventGate& gate = event_gates_[type];
  const MonotonicTime now = deps_.loop.now();
  if (gate.window == MonotonicTime() || now - gate.window >= kEventWindow) {
    gate.window = now;
    gate.told = 0;
  }
  if (gate.told >= kEventsPerWindow) {
    ++gate.suppressed;
    return false;
  }
  ++gate.told;
  suppressed = std::exchange(gate.suppressed, 0);
  return true;
}

void DeployedFunction::publish_event(const std::string& type, std::string_view subject,
                                     std::string_view text, std::string_view members) {
  uint64_t suppressed = 0;
  if (!admit_event(type, suppressed)) return;
  json::Writer event;
  event.begin_object().field("id", options_.id).field("namespace", options_.ns);
  event.field("workload_name", options_.name);
  if (!subject.empty()) event.field("trigger_subject", subject);
  event.field("error", header_line(text));
  if (suppressed != 0) event.field("suppressed", suppressed);
  std::string body = event.end_object().take();
  body.insert(body.size() - 1, members);
  const Status sent = deps_.connection.publish(event_subject(options_.ns, type), body);
  if (!sent) deps_.log.debug("workload: event not sent: " + sent.error().text);
}

void DeployedFunction::report(std::string_view event, std::string_view text,
                              std::string_view members) {
  last_error_ = text;
  publish_log(runtime::LogStream::Stderr, text);
  publish_event(std::string(event), {}, text, members);
}

Duration DeployedFunction::cpu_time() const {
  Duration total = dead_cpu_time_;
  for (const auto& instance : instances_) total += instance->cpu_time();
  return total;
}

WorkloadSummary DeployedFunction::summary() const {
  WorkloadSummary summary;
  summary.id = options_.id;
  summary.ns = options_.ns;
  summary.name = options_.name;
  summary.start_time = format_rfc3339(started_wall_);
  summary.runtime = format_uptime(deps_.loop.clock().now() - started_);
  summary.workload_type = options_.workload_type;
  summary.workload_lifecycle = "function";
  const bool is_up = std::any_of(instances_.begin(), instances_.end(), [](const auto& instance) {
    return instance->state() == Instance::State::Ready;
  });
  switch (state_) {
    case State::Starting: summary.workload_state = "starting"; break;
    case State::Live: summary.workload_state = is_up ? "running" : "error"; break;
    case State::Stopping: summary.workload_state = "stopping"; break;
    case State::Stopped: summary.workload_state = "stopped"; break;
  }
  summary.metadata = options_.metadata;
  summary.tags = options_.tags;
  return summary;
}

WorkloadInfo DeployedFunction::info() const {
  WorkloadInfo info;
  info.summary = summary();
  info.description = options_.description;
  info.sha256 = options_.sha256;
  info.artifact_bytes = options_.artifact_bytes;
  info.file_name = options_.instance.spec.file_name;
  info.trigger_subjects = options_.trigger_subjects;
  info.queue_group = options_.queue_group;
  info.limits = options_.limits;
  info.instances = static_cast<uint32_t>(instances_.size());
  for (const auto& instance : instances_) {
    if (instance->in_flight() > 0) ++info.instances_busy;
    info.memory_bytes += instance->memory_bytes();
  }
  info.in_flight = in_flight();
  info.queued = queue_.size() + trigger_queue_.size();
  info.calls = stats_.calls;
  info.errors = stats_.errors;
  info.restarts = restarts_;
  info.log_lines_dropped = log_lines_dropped_;
  info.total_ns = static_cast<uint64_t>(stats_.latency.sum().count());
  info.cpu_ns = static_cast<uint64_t>(cpu_time().count());
  info.p50_ns = static_cast<uint64_t>(stats_.latency.quantile(0.5).count());
  info.p99_ns = static_cast<uint64_t>(stats_.latency.quantile(0.99).count());
  for (const Trigger& trigger : options_.triggers) info.triggers.push_back(describe(trigger));
  info.last_error = last_error_;
  return info;
}

WorkloadLog DeployedFunction::log() const {
  WorkloadLog log;
  log.id = options_.id;
  log.name = options_.name;
  for (const KeptLog::Entry& entry : kept_log_.entries()) {
    log.entries.push_back(
        {format_rfc3339(entry.time), entry.is_stdout ? "stdout" : "stderr", entry.text});
  }
  return log;
}

}  // namespace brokkr::workload
