#include "workload/metrics_page.h"

#include <charconv>

namespace brokkr::workload {
namespace {

using MetricKind = MetricsText::Type;

struct MetricRow {
  WorkloadInfo info;
  std::string slot;  // replicas may share a node
  const CallStats* calls;
};

// One figure of every workload.
struct WorkloadFigure {
  const char* name;
  MetricKind type;
  const char* help;
  double (*read)(const MetricRow&);
};

double as_number(uint64_t value) { return static_cast<double>(value); }

constexpr WorkloadFigure kWorkloadFigures[] = {
    {"brokkr_workload_up", MetricKind::Gauge, "Whether the workload runs.",
     [](const MetricRow& row) { return row.info.summary.workload_state == "running" ? 1.0 : 0.0; }},
    {"brokkr_workload_instances", MetricKind::Gauge, "Processes of the workload.",
     [](const MetricRow& row) { return as_number(row.info.instances); }},
    {"brokkr_workload_in_flight", MetricKind::Gauge, "Calls under way.",
     [](const MetricRow& row) { return as_number(row.info.in_flight); }},
    {"brokkr_workload_queued", MetricKind::Gauge, "Calls that wait for room.",
     [](const MetricRow& row) { return as_number(row.info.queued); }},
    {"brokkr_workload_memory_bytes", MetricKind::Gauge, "Memory of the workload's processes.",
     [](const MetricRow& row) { return as_number(row.info.memory_bytes); }},
    {"brokkr_workload_cpu_seconds_total", MetricKind::Counter,
     "CPU time of the workload's processes.",
     [](const MetricRow& row) {
       return as_number(row.info.cpu_ns != 0 ? row.info.cpu_ns : row.info.program.cpu_ns) / 1e9;
     }},
    {"brokkr_workload_restarts_total", MetricKind::Counter, "Processes started in place of others.",
     [](const MetricRow& row) { return as_number(row.info.restarts); }},
    {"brokkr_workload_log_lines_dropped_total", MetricKind::Counter,
     "Log lines beyond the workload's rate.",
     [](const MetricRow& row) { return as_number(row.info.log_lines_dropped); }},
};

constexpr WorkloadFigure kCallFigures[] = {
    {"brokkr_workload_calls_total", MetricKind::Counter, "Calls answered.",
     [](const MetricRow& row) { return as_number(row.calls->calls); }},
    {"brokkr_workload_payload_bytes_total", MetricKind::Counter, "Payload bytes of calls.",
     [](const MetricRow& row) { return as_number(row.calls->payload_bytes); }},
    {"brokkr_workload_reply_bytes_total", MetricKind::Counter, "Payload bytes of replies.",
     [](const MetricRow& row) { return as_number(row.calls->reply_bytes); }},
};

MetricsText::Labels labels_of(std::string_view node, const MetricRow& row) {
  return {{"node", node},
          {"namespace", row.info.summary.ns},
          {"name", row.info.summary.name},
          {"type", row.info.summary.workload_type},
          {"slot", row.slot}};
}

void write_histograms(MetricsText& out, std::string_view node, const std::vector<MetricRow>& rows) {
  constexpr std::string_view kName = "brokkr_workload_call_duration_seconds";
  out.family(kName, MetricKind::Histogram, "From a call's arrival to its answer.");
  const std::string bucket = std::string(kName) + "_bucket";
  for (const MetricRow& row : rows) {
    if (row.calls == nullptr || row.calls->calls == 0) continue;
    const LatencyHistogram& latency = row.calls->latency;
    MetricsText::Labels labels = labels_of(node, row);
    labels.emplace_back("le", "");
    for (size_t i = 0; i < LatencyHistogram::kBounds; ++i) {
      char text[32];
      const double seconds = static_cast<double>(LatencyHistogram::bound(i).count()) / 1e9;
      const auto end = std::to_chars(text, text + sizeof text, seconds).ptr;
      labels.back().second = std::string_view(text, static_cast<size_t>(end - text));
      out.sample(bucket, as_number(latency.count_up_to(i)), labels);
    }
    labels.back().second = "+Inf";
    out.sample(bucket, as_number(latency.count()), labels);
    labels.pop_back();
    out.sample(std::string(kName) + "_sum", static_cast<double>(latency.sum().count()) / 1e9, labels);
    out.sample(std::string(kName) + "_count", as_number(latency.count()), labels);
  }
}

void write_call_errors(MetricsText& out, std::string_view node, const std::vector<MetricRow>& rows) {
  constexpr std::string_view kName = "brokkr_workload_errors_total";
  out.family(kName, MetricKind::Counter, "Calls that failed, by Nats-Service-Error-Code.");
  for (const MetricRow& row : rows) {
    if (row.calls == nullptr) continue;
    for (const auto& [code, count] : row.calls->errors_by_code) {
      const std::string text = std::to_string(code);
      MetricsText::Labels labels = labels_of(node, row);
      labels.emplace_back("code", text);
      out.sample(kName, as_number(count), labels);
    }
  }
}

}  // namespace

void write_workload_metrics(MetricsText& out, std::string_view node,
                            const std::vector<const Workload*>& workloads) {
  std::vector<MetricRow> rows;
  rows.reserve(workloads.size());
  for (const Workload* workload : workloads) {
    rows.push_back({workload->info(), std::to_string(workload->identity().slot),
                    workload->call_stats()});
  }
  for (const WorkloadFigure& figure : kWorkloadFigures) {
    out.family(figure.name, figure.type, figure.help);
    for (const MetricRow& row : rows) out.sample(figure.name, figure.read(row), labels_of(node, row));
  }
  for (const WorkloadFigure& figure : kCallFigures) {
    out.family(figure.name, figure.type, figure.help);
    for (const MetricRow& row : rows) {
      if (row.calls != nullptr) out.sample(figure.name, figure.read(row), labels_of(node, row));
    }
  }
  write_call_errors(out, node, rows);
  write_histograms(out, node, rows);
}

void write_tracer_metrics(MetricsText& out, std::string_view node, const Tracer::Counts& counts) {
  const MetricsText::Labels labels = {{"node", node}};
  const auto write = [&](const char* name, const char* help, uint64_t value) {
    out.family(name, MetricKind::Counter, help);
    out.sample(name, as_number(value), labels);
  };
  write("brokkr_trace_spans_exported_total", "Spans the collector took.", counts.exported);
  write("brokkr_trace_spans_dropped_total", "Spans that were lost.", counts.dropped);
  write("brokkr_trace_export_failures_total", "Requests to the collector that failed.",
        counts.failed_requests);
}

}  // namespace brokkr::workload
