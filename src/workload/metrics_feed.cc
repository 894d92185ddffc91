#include "workload/metrics_feed.h"

#include <algorithm>
#include <utility>

#include "base/hash.h"
#include "base/json.h"
#include "workload/control.h"

namespace brokkr::workload {
namespace {

constexpr size_t kTellPerStep = 50;
// A node that has just begun is asked about first.
constexpr Duration kFirstRound = std::chrono::seconds(1);
constexpr Duration kTellStep = std::chrono::milliseconds(10);

// What makes it worth telling again.
uint64_t figures_of(const WorkloadInfo& info) {
  std::string text = info.summary.workload_state;
  for (const uint64_t figure : {info.calls, info.errors, info.restarts, info.in_flight, info.queued,
                                info.log_lines_dropped, info.cpu_ns, info.program.cpu_ns,
                                info.program.out_msgs, info.program.in_msgs}) {
    text.append(" ").append(std::to_string(figure));
  }
  return hash_bytes(text);
}

}  // namespace

std::string metrics_body(const Workload& workload, const std::string& node_id, WallTime now) {
  const WorkloadInfo info = workload.info();
  json::Writer out;
  out.begin_object().field("id", info.summary.id).field("namespace", info.summary.ns);
  out.field("name", info.summary.name).field("workload_type", info.summary.workload_type);
  out.field("workload_state", info.summary.workload_state).field("node_id", node_id);
  out.field("slot", uint64_t{workload.identity().slot}).field("time", format_rfc3339(now));
  out.field("memory_bytes", info.memory_bytes);
  out.field("cpu_ns", info.cpu_ns != 0 ? info.cpu_ns : info.program.cpu_ns);
  out.field("restarts", info.restarts).field("log_lines_dropped", info.log_lines_dropped);
  if (const CallStats* calls = workload.call_stats()) {
    out.field("instances", uint64_t{info.instances}).field("in_flight", info.in_flight);
    out.field("queued", info.queued).field("calls", info.calls).field("errors", info.errors);
    out.field("payload_bytes", calls->payload_bytes).field("reply_bytes", calls->reply_bytes);
    out.field("total_ns", info.total_ns).field("p50_ns", info.p50_ns).field("p99_ns", info.p99_ns);
  } else {
    out.field("pids", uint64_t{info.program.pids}).field("connections", info.program.connections);
    out.field("out_msgs", info.program.out_msgs).field("in_msgs", info.program.in_msgs);
    out.field("violations", info.program.violations);
  }
  return out.end_object().take();
}

MetricsFeed::MetricsFeed(Deps deps, std::string node_id, Duration interval)
    : deps_(std::move(deps)), node_id_(std::move(node_id)), interval_(interval),
      timer_(deps_.loop, [this] { step(); }) {
  timer_.start(std::min(interval_, kFirstRound));
}

void MetricsFeed::step() {
  const MonotonicTime now = deps_.loop.clock().now();
  if (todo_.empty()) {
    round_ = now;
    todo_ = deps_.list();
    std::erase_if(told_, [&](const auto& entry) { return deps_.find(entry.first) == nullptr; });
  }
  for (size_t i = 0; i < kTellPerStep && !todo_.empty(); ++i) {
    const std::string id = std::move(todo_.back());
    todo_.pop_back();
    if (const Workload* workload = deps_.find(id)) tell(*workload, now);
  }
  const Duration rest = interval_ - (now - round_);
  timer_.start(todo_.empty() ? std::max(rest, kTellStep) : kTellStep);
}

void MetricsFeed::tell(const Workload& workload, MonotonicTime now) {
  Told& told = told_[workload.identity().id];
  const uint64_t figures = figures_of(workload.info());
  if (told.figures == figures && now - told.time < kAnyway) return;
  const WorkloadIdentity& who = workload.identity();
  const Status sent = deps_.connection.publish(metrics_subject(who.ns, who.id),
                                               metrics_body(workload, node_id_, deps_.loop.clock().wall_now()));
  if (sent) told = {figures, now};
}

}  // namespace brokkr::workload
