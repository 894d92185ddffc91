#include "broker/monitor/varz.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/json.h"
#include "broker/tls_rules.h"
#include "broker/websocket/rules.h"

namespace brokkr::broker {
namespace {

// nats-server's default, which is shown where there is no TLS too.
constexpr double kTlsTimeoutSeconds = 2;

double seconds_of(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

double cpu_seconds_used() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

uint64_t resident_bytes() {
  FILE* file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  unsigned long long total = 0;
  unsigned long long resident = 0;
  const int read = std::fscanf(file, "%llu %llu", &total, &resident);
  std::fclose(file);
  return read == 2 ? resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) : 0;
}

void write_identity(json::Writer& out, const Varz& varz) {
  out.field("server_id", varz.info.server_id);
  out.field("server_name", varz.info.server_name);
  out.field("version", varz.info.version);
  out.field("proto", varz.info.proto);
  if (!varz.info.git_commit.empty()) out.field("git_commit", varz.info.git_commit);
  out.field("go", varz.info.go);
  out.field("host", varz.info.host);
  out.field("port", varz.info.port);
  if (varz.auth_required) out.field("auth_required", true);
  if (const auto& tls = varz.settings->tls; tls != nullptr && !tls->allow_non_tls) {
    out.field("tls_required", true);
    if (tls->verify) out.field("tls_verify", true);
  }
  if (varz.info.connect_urls.empty()) return;
  out.key("connect_urls").begin_array();
  for (const std::string& url : varz.info.connect_urls)
    out.string(url);
  out.end_array();
}

void write_websocket(json::Writer& out, const Varz& varz) {
  out.key("websocket").begin_object();
  if (const WebSocketRules* rules = varz.settings->websocket.get(); rules != nullptr) {
    const config::WebsocketOptions& options = rules->options;
    out.field("host", options.host.empty() ? "0.0.0.0" : options.host);
    out.field("port", int64_t{varz.websocket_port});
    if (!options.advertise.empty()) out.field("advertise", options.advertise);
    if (!options.no_auth_user.empty()) out.field("no_auth_user", options.no_auth_user);
    if (!options.jwt_cookie.empty()) out.field("jwt_cookie", options.jwt_cookie);
    out.field("handshake_timeout", int64_t{rules->handshake_timeout.count()});
    if (options.auth_timeout) out.field("auth_timeout", seconds_of(*options.auth_timeout));
    if (options.no_tls) out.field("no_tls", true);
    if (options.tls && options.tls->verify_and_map) out.field("tls_map", true);
    if (options.same_origin) out.field("same_origin", true);
    if (!options.allowed_origins.empty()) {
      out.key("allowed_origins").begin_array();
      for (const std::string& origin : options.allowed_origins) out.string(origin);
      out.end_array();
    }
    if (options.compression) out.field("compression", true);
  }
  out.end_object();
}

// `text` is a JSON object.
void write_part(json::Writer& out, std::string_view name, const std::string& text) {
  const auto parsed = json::parse(text);
  out.key(name);
  if (parsed) {
    out.value(*parsed);
  } else {
    out.begin_object().end_object();
  }
}

void write_limits(json::Writer& out, const Varz& varz) {
  const Settings& settings = *varz.settings;
  out.field("max_connections", uint64_t{settings.max_connections});
  if (settings.max_subscriptions != 0) {
    out.field("max_subscriptions", uint64_t{settings.max_subscriptions});
  }
  out.field("ping_interval", int64_t{settings.ping_interval.count()});
  out.field("ping_max", uint64_t{settings.ping_max});
  out.field("http_host", varz.http_host);
  out.field("http_port", int64_t{varz.http_port});
  out.field("http_base_path", varz.http_base_path);
  out.field("https_port", int64_t{varz.https_port});
  out.field("auth_timeout", seconds_of(settings.auth_timeout));
  out.field("max_control_line", uint64_t{settings.max_control_line});
  out.field("max_payload", uint64_t{settings.max_payload});
  out.field("max_pending", settings.max_pending);
  for (const char* part : {"cluster", "gateway"}) out.key(part).begin_object().end_object();
  write_part(out, "leaf", settings.leafnodes_shown);
  out.key("mqtt").begin_object().end_object();
  write_websocket(out, varz);
  out.key("jetstream").begin_object();
  if (varz.jetstream) {
    out.key("config");
    write_jetstream_config(out, *varz.jetstream);
    out.key("stats").begin_object();
    write_jetstream_stats(out, *varz.jetstream);
    out.end_object();
    out.key("limits").begin_object().end_object();
  }
  out.end_object();
  out.field("tls_timeout",
            settings.tls == nullptr ? kTlsTimeoutSeconds : seconds_of(settings.tls->timeout));
  out.field("write_deadline", int64_t{settings.write_deadline.count()});
}

void write_counters(json::Writer& out, const Varz& varz) {
  const ShardStats sum = sum_of(varz.loops);
  uint64_t subscriptions = 0;
  for (const LoopReport& loop : varz.loops)
    subscriptions += loop.interest.subscriptions;
  out.field("connections", uint64_t{varz.connections});
  out.field("total_connections", sum.total_connections);
  out.field("routes", 0).field("remotes", 0).field("leafnodes", varz.leafnodes);
  out.field("in_msgs", sum.traffic.in_msgs).field("in_bytes", sum.traffic.in_bytes);
  out.field("in_client_msgs", sum.traffic.in_msgs);
  out.field("in_client_bytes", sum.traffic.in_bytes);
  out.field("out_msgs", sum.traffic.out_msgs).field("out_bytes", sum.traffic.out_bytes);
  out.field("out_client_msgs", sum.traffic.out_msgs);
  out.field("out_client_bytes", sum.traffic.out_bytes);
  out.field("slow_consumers", sum.slow_consumers);
  out.field("stale_connections", sum.stale_connections);
  out.field("stalled_clients", sum.stalled_clients);
  out.field("subscriptions", subscriptions);
  out.key("http_req_stats").begin_object();
  for (const auto& [path, count] : varz.http_requests)
    out.field(path, count);
  out.end_object();
}

void write_config(json::Writer& out, const Varz& varz) {
  const Settings& settings = *varz.settings;
  out.field("config_load_time", format_rfc3339(varz.config_load_time));
  out.field("config_digest", settings.config_digest);
  write_labels(out, settings);
  write_feature_flags(out);
  out.field("system_account", settings.system_account);
}

void write_kinds(json::Writer& out, std::string_view name, uint64_t clients) {
  out.key(name).begin_object();
  out.field("clients", clients).field("routes", 0).field("gateways", 0).field("leafs", 0);
  out.end_object();
}

}  // namespace

void write_labels(json::Writer& out, const Settings& settings) {
  if (!settings.tags.empty()) {
    out.key("tags").begin_array();
    for (const std::string& tag : settings.tags)
      out.string(tag);
    out.end_array();
  }
  if (!settings.metadata.empty()) {
    const std::map<std::string, std::string> sorted(settings.metadata.begin(),
                                                    settings.metadata.end());
    out.key("metadata").begin_object();
    for (const auto& [name, value] : sorted)
      out.field(name, value);
    out.end_object();
  }
}

ShardStats sum_of(const std::vector<LoopReport>& loops) {
  ShardStats sum;
  for (const LoopReport& loop : loops) {
    sum.traffic.in_msgs += loop.stats.traffic.in_msgs;
    sum.traffic.in_bytes += loop.stats.traffic.in_bytes;
    sum.traffic.out_msgs += loop.stats.traffic.out_msgs;
    sum.traffic.out_bytes += loop.stats.traffic.out_bytes;
    sum.total_connections += loop.stats.total_connections;
    sum.slow_consumers += loop.stats.slow_consumers;
    sum.stale_connections += loop.stats.stale_connections;
    sum.stalled_clients += loop.stats.stalled_clients;
  }
  return sum;
}

void write_jetstream_config(json::Writer& out, const JetStreamSummary& summary) {
  out.begin_object();
  out.field("max_memory", summary.max_memory).field("max_storage", summary.max_storage);
  if (!summary.store_directory.empty()) out.field("store_dir", summary.store_directory);
  if (summary.sync_interval > Duration::zero()) {
    out.field("sync_interval", int64_t{summary.sync_interval.count()});
  } else {
    out.field("sync_always", true);
  }
  if (!summary.domain.empty()) out.field("domain", summary.domain);
  out.field("compress_ok", true);
  if (summary.is_strict) out.field("strict", true);
  out.end_object();
}

void write_jetstream_stats(json::Writer& out, const JetStreamSummary& summary) {
  out.field("memory", summary.memory).field("storage", summary.storage);
  out.field("reserved_memory", summary.reserved_memory);
  out.field("reserved_storage", summary.reserved_storage);
  out.field("accounts", summary.accounts).field("ha_assets", 0);
  out.key("api").begin_object();
  out.field("level", summary.api_level).field("total", summary.api_total);
  out.field("errors", summary.api_errors);
  out.end_object();
}

ProcessMeter::ProcessMeter(MonotonicTime now) : since_(now), cpu_seconds_(cpu_seconds_used()) {}

ProcessUsage ProcessMeter::measure(MonotonicTime now) {
  const double cpu_seconds = cpu_seconds_used();
  if (now - since_ >= std::chrono::seconds(1)) {
    percent_ = 100 * (cpu_seconds - cpu_seconds_) / seconds_of(now - since_);
    since_ = now;
    cpu_seconds_ = cpu_seconds;
  }
  return {resident_bytes(), cpu_seconds, std::round(percent_ * 10) / 10};
}

std::string render_varz(const Varz& varz) {
  json::Writer out({.indent = 2});
  out.begin_object();
  write_identity(out, varz);
  write_limits(out, varz);
  out.field("start", format_rfc3339(varz.start));
  out.field("now", format_rfc3339(varz.now));
  out.field("uptime", format_uptime(varz.now - varz.start));
  out.field("mem", varz.process.resident_bytes);
  out.field("cores", uint64_t{varz.cores});
  out.field("gomaxprocs", uint64_t{varz.loops.size()});
  out.field("cpu", varz.process.cpu_percent);
  write_counters(out, varz);
  write_config(out, varz);
  const ShardStats sum = sum_of(varz.loops);
  write_kinds(out, "slow_consumer_stats", sum.slow_consumers);
  write_kinds(out, "stale_connection_stats", sum.stale_connections);
  out.key("disk_io_wait_stats").begin_object();
  out.field("waiters", 0).field("waits", 0).field("wait_time", 0).field("max_wait_time", 0);
  out.end_object();
  if (const auto& tls = varz.settings->tls; tls != nullptr) {
    out.field("tls_cert_not_after",
              format_rfc3339(WallTime(std::chrono::seconds(tls->context->not_after()))));
  }
  out.end_object();
  return out.take();
}

}  // namespace brokkr::broker
