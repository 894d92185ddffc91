#include "base/metrics.h"

#include <functional>

#include "broker/monitor/varz.h"

namespace brokkr::broker {
namespace {

using MetricType = MetricsText::Type;

double to_double(uint64_t value) {
  return static_cast<double>(value);
}

// One figure that every loop has.
struct LoopFigure {
  const char* name;
  MetricType type;
  const char* help;
  uint64_t (*read)(const LoopReport&);
};

// Counters of the server are sums of these; Prometheus adds them up.
constexpr LoopFigure kLoopFigures[] = {
    {"brokkr_loop_connections", MetricType::Gauge, "Client connections open on the loop.",
     [](const LoopReport& loop) { return loop.connections; }},
    {"brokkr_loop_subscriptions", MetricType::Gauge, "Subscriptions of the loop's clients.",
     [](const LoopReport& loop) { return loop.interest.subscriptions; }},
    {"brokkr_loop_pending_bytes", MetricType::Gauge, "Bytes queued for the loop's clients.",
     [](const LoopReport& loop) { return loop.pending_bytes; }},
    {"brokkr_loop_match_cache_entries", MetricType::Gauge, "Subjects in the loop's match caches.",
     [](const LoopReport& loop) { return loop.interest.cached; }},
    {"brokkr_loop_in_msgs_total", MetricType::Counter, "Messages the loop's clients published.",
     [](const LoopReport& loop) { return loop.stats.traffic.in_msgs; }},
    {"brokkr_loop_out_msgs_total", MetricType::Counter, "Messages delivered to the loop's clients.",
     [](const LoopReport& loop) { return loop.stats.traffic.out_msgs; }},
};

// One figure of the server: the sum over its loops.
constexpr LoopFigure kServerFigures[] = {
    {"brokkr_subscriptions", MetricType::Gauge, "Active subscriptions.",
     [](const LoopReport& loop) { return loop.interest.subscriptions; }},
    {"brokkr_connections_accepted_total", MetricType::Counter, "Client connections ever accepted.",
     [](const LoopReport& loop) { return loop.stats.total_connections; }},
    {"brokkr_in_msgs_total", MetricType::Counter, "Messages received from clients.",
     [](const LoopReport& loop) { return loop.stats.traffic.in_msgs; }},
    {"brokkr_in_bytes_total", MetricType::Counter, "Payload bytes received from clients.",
     [](const LoopReport& loop) { return loop.stats.traffic.in_bytes; }},
    {"brokkr_out_msgs_total", MetricType::Counter, "Messages sent to clients.",
     [](const LoopReport& loop) { return loop.stats.traffic.out_msgs; }},
    {"brokkr_out_bytes_total", MetricType::Counter, "Payload bytes sent to clients.",
     [](const LoopReport& loop) { return loop.stats.traffic.out_bytes; }},
    {"brokkr_pending_bytes", MetricType::Gauge, "Bytes queued for clients.",
     [](const LoopReport& loop) { return loop.pending_bytes; }},
    {"brokkr_slow_consumers_total", MetricType::Counter,
     "Clients closed because they read too slowly.",
     [](const LoopReport& loop) { return loop.stats.slow_consumers; }},
    {"brokkr_stale_connections_total", MetricType::Counter, "Clients closed for unanswered pings.",
     [](const LoopReport& loop) { return loop.stats.stale_connections; }},
    {"brokkr_stalls_total", MetricType::Counter, "Times a publisher was paused for slow consumers.",
     [](const LoopReport& loop) { return loop.stats.stalled_clients; }},
    {"brokkr_auth_errors_total", MetricType::Counter, "Clients refused for their credentials.",
     [](const LoopReport& loop) { return loop.stats.auth_errors; }},
    {"brokkr_matches_total", MetricType::Counter, "Look-ups of a subject's subscribers.",
     [](const LoopReport& loop) { return loop.interest.matches; }},
    {"brokkr_match_cache_hits_total", MetricType::Counter, "Look-ups the match cache answered.",
     [](const LoopReport& loop) { return loop.interest.cache_hits; }},
};

void add_single(MetricsText& out, const char* name, MetricType type, const char* help,
                double value) {
  out.family(name, type, help);
  out.sample(name, value);
}

void add_process(MetricsText& out, const Varz& varz) {
  out.family("brokkr_info", MetricType::Gauge, "Always 1; what the server is.");
  out.sample("brokkr_info", 1,
             {{"server_id", varz.info.server_id},
              {"server_name", varz.info.server_name},
              {"version", varz.info.version}});
  const double start = std::chrono::duration<double>(varz.start.time_since_epoch()).count();
  add_single(out, "brokkr_start_time_seconds", MetricType::Gauge, "Start, in seconds since 1970.",
             start);
  add_single(out, "brokkr_cpu_seconds_total", MetricType::Counter, "User and system time used.",
             varz.process.cpu_seconds);
  add_single(out, "brokkr_resident_memory_bytes", MetricType::Gauge, "Resident memory.",
             to_double(varz.process.resident_bytes));
  add_single(out, "brokkr_loops", MetricType::Gauge, "Event loops that serve clients.",
             to_double(varz.loops.size()));
  add_single(out, "brokkr_connections", MetricType::Gauge, "Client connections open.",
             to_double(varz.connections));
  add_single(out, "brokkr_connections_max", MetricType::Gauge, "Client connections allowed.",
             to_double(varz.settings->max_connections));
}

}  // namespace

std::string render_metrics(const Varz& varz) {
  MetricsText out;
  add_process(out, varz);
  for (const LoopFigure& figure : kServerFigures) {
    uint64_t sum = 0;
    for (const LoopReport& loop : varz.loops)
      sum += figure.read(loop);
    add_single(out, figure.name, figure.type, figure.help, to_double(sum));
  }
  for (const LoopFigure& figure : kLoopFigures) {
    out.family(figure.name, figure.type, figure.help);
    for (size_t i = 0; i < varz.loops.size(); ++i) {
      out.sample(figure.name, to_double(figure.read(varz.loops[i])), {{"loop", std::to_string(i)}});
    }
  }
  out.family("brokkr_http_requests_total", MetricType::Counter, "Monitoring requests by endpoint.");
  for (const auto& [path, count] : varz.http_requests) {
    out.sample("brokkr_http_requests_total", to_double(count), {{"path", path}});
  }
  return out.text();
}

}  // namespace brokkr::broker
