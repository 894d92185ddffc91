#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "broker/jetstream_report.h"
#include "broker/monitor/subsz.h"
#include "broker/settings.h"
#include "broker/shard.h"
#include "protocol/info.h"

// /varz and /metrics: the server as a whole. Pure, save ProcessMeter.
namespace brokkr::broker {

struct ProcessUsage {
  uint64_t resident_bytes = 0;
  double cpu_seconds = 0;  // since the process began
  double cpu_percent = 0;  // of one core, lately
};

// Measures this process. Thread-confined to its caller's lock.
class ProcessMeter {
 public:
  explicit ProcessMeter(MonotonicTime now);
  // The percentage covers the time since the last call that was a second or more ago.
  ProcessUsage measure(MonotonicTime now);

 private:
  MonotonicTime since_;
  double cpu_seconds_ = 0;
  double percent_ = 0;
};

// What one loop counts.
struct LoopReport {
  uint64_t connections = 0;
  uint64_t pending_bytes = 0;  // queued for its clients
  ShardStats stats;
  InterestSummary interest;
};

struct Varz {
  std::shared_ptr<const Settings> settings;
  protocol::ServerInfo info;
  bool auth_required = false;
  uint16_t websocket_port = 0;
  std::string http_host;
  uint16_t http_port = 0;
  uint16_t https_port = 0;
  std::string http_base_path;
  WallTime start;
  WallTime now;
  WallTime config_load_time;
  uint32_t cores = 1;
  uint32_t connections = 0;
  uint64_t leafnodes = 0;
  ProcessUsage process;
  std::vector<LoopReport> loops;
  std::map<std::string, uint64_t> http_requests;  // by endpoint
  std::optional<JetStreamSummary> jetstream;
};

// The members "config", "stats" and "limits", as /varz and /jsz have them.
void write_jetstream_config(json::Writer& out, const JetStreamSummary& summary);
void write_jetstream_stats(json::Writer& out, const JetStreamSummary& summary);


std::string render_varz(const Varz& varz);
// The members of "statsz", into the object that is open.
void write_statsz(json::Writer& out, const Varz& varz, uint64_t active_accounts);
// What Go programs show at /debug/vars.
std::string render_expvarz(const Varz& varz);
// nats-server's switches for its own changes, as a release of it has them.
void write_feature_flags(json::Writer& out);
// The members "tags" and "metadata", where the server has them.
void write_labels(json::Writer& out, const Settings& settings);
ShardStats sum_of(const std::vector<LoopReport>& loops);
// Prometheus text format 0.0.4.
std::string render_metrics(const Varz& varz);

}  // namespace brokkr::broker
