// The server's figures as they are told in the system account, and as Go programs tell theirs.
#include <algorithm>

#include "base/json.h"
#include "broker/monitor/varz.h"

namespace brokkr::broker {
namespace {

void write_flow(json::Writer& out, std::string_view name, uint64_t messages, uint64_t bytes) {
  out.key(name).begin_object().field("msgs", messages).field("bytes", bytes).end_object();
}

void write_kind_counts(json::Writer& out, std::string_view name, uint64_t clients) {
  out.key(name).begin_object();
  out.field("clients", clients).field("routes", 0).field("gateways", 0).field("leafs", 0);
  out.end_object();
}

void write_jetstream_part(json::Writer& out, JetStreamSummary summary) {
  summary.store_directory.clear();  // not told to everybody who asks for figures
  out.key("jetstream").begin_object().key("config");
  write_jetstream_config(out, summary);
  out.key("stats").begin_object();
  write_jetstream_stats(out, summary);
  out.end_object();
  out.key("limits").begin_object().end_object();
  out.end_object();
}

}  // namespace

void write_feature_flags(json::Writer& out) {
  out.key("feature_flags").begin_object();
  out.field("js_ack_fc_v2", false).field("js_api_reply_v2", false);
  out.field("js_raft_delete_range", true).field("js_snapshot_sources", false);
  out.end_object();
}

void write_statsz(json::Writer& out, const Varz& varz, uint64_t active_accounts) {
  const ShardStats sum = sum_of(varz.loops);
  uint64_t subscriptions = 0;
  for (const LoopReport& loop : varz.loops)
    subscriptions += loop.interest.subscriptions;
  out.field("start", format_rfc3339(varz.start));
  out.field("mem", varz.process.resident_bytes).field("cores", uint64_t{varz.cores});
  out.field("cpu", varz.process.cpu_percent);
  out.field("connections", uint64_t{varz.connections});
  out.field("total_connections", sum.total_connections);
  out.field("active_accounts", active_accounts).field("subscriptions", subscriptions);
  write_flow(out, "sent", sum.traffic.out_msgs, sum.traffic.out_bytes);
  write_flow(out, "sent_to_clients", sum.traffic.out_msgs, sum.traffic.out_bytes);
  write_flow(out, "received", sum.traffic.in_msgs, sum.traffic.in_bytes);
  write_flow(out, "received_from_clients", sum.traffic.in_msgs, sum.traffic.in_bytes);
  out.field("slow_consumers", sum.slow_consumers);
  if (sum.slow_consumers != 0) write_kind_counts(out, "slow_consumer_stats", sum.slow_consumers);
  if (sum.stale_connections != 0) {
    out.field("stale_connections", sum.stale_connections);
    write_kind_counts(out, "stale_connection_stats", sum.stale_connections);
  }
  if (sum.stalled_clients != 0) out.field("stalled_clients", sum.stalled_clients);
  out.field("active_servers", 1);
  if (varz.jetstream) write_jetstream_part(out, *varz.jetstream);
  out.field("gomaxprocs", uint64_t{varz.loops.size()});
}

// Of what a Go program tells of its memory, only what is meant here has a value.
std::string render_expvarz(const Varz& varz) {
  const uint64_t bytes = varz.process.resident_bytes;
  json::Writer out({.indent = 2});
  out.begin_object();
  out.key("memstats").begin_object();
  for (const char* name : {"Alloc", "TotalAlloc", "Sys"}) out.field(name, bytes);
  for (const char* name : {"Lookups", "Mallocs", "Frees"}) out.field(name, 0);
  out.field("HeapAlloc", bytes).field("HeapSys", bytes).field("HeapIdle", 0);
  out.field("HeapInuse", bytes);
  for (const char* name :
       {"HeapReleased", "HeapObjects", "StackInuse", "StackSys", "MSpanInuse", "MSpanSys",
        "MCacheInuse", "MCacheSys", "BuckHashSys", "GCSys", "OtherSys", "NextGC", "LastGC",
        "PauseTotalNs"}) {
    out.field(name, 0);
  }
  for (const char* name : {"PauseNs", "PauseEnd"}) out.key(name).begin_array().end_array();
  for (const char* name : {"NumGC", "NumForcedGC", "GCCPUFraction"}) out.field(name, 0);
  out.field("EnableGC", false).field("DebugGC", false);
  out.key("BySize").begin_array().end_array();
  out.end_object();
  // Only the program's name: arguments may hold passwords.
  out.key("cmdline").begin_array().string("brokkr").end_array();
  out.end_object();
  return out.take();
}

}  // namespace brokkr::broker
