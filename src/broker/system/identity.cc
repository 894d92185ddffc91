#include "broker/system/identity.h"

#include "base/ids.h"
#include "broker/monitor/varz.h"
#include "broker/server.h"

namespace brokkr::broker {
namespace {

// Capabilities of a server, as nats-server numbers them.
constexpr uint64_t kHasJetStream = 1;
constexpr uint64_t kHasBinarySnapshots = 2;

std::string shown_host(const Settings& settings) {
  return settings.host.empty() ? "0.0.0.0" : settings.host;
}

}  // namespace

void ServerIdentity::write(json::Writer& out) {
  const auto snapshot = server_.snapshot();
  const Settings& settings = *snapshot->settings;
  out.field("name", settings.server_name).field("host", shown_host(settings));
  out.field("id", settings.server_id);
  if (!settings.jetstream_domain.empty()) out.field("domain", settings.jetstream_domain);
  out.field("ver", kServerVersion);
  write_labels(out, settings);
  write_feature_flags(out);
  const bool has_jetstream = settings.jetstream_api_level > 0;
  out.field("jetstream", has_jetstream);
  out.field("flags", has_jetstream ? kHasJetStream | kHasBinarySnapshots : uint64_t{0});
  out.field("seq", sequence_.fetch_add(1, std::memory_order_relaxed) + 1);
  out.field("time", format_rfc3339(server_.clock().wall_now()));
}

std::string ServerIdentity::wrap(std::string_view data) {
  json::Writer out;
  out.begin_object().key("server").begin_object();
  write(out);
  out.end_object();
  if (!data.empty()) out.key("data").raw(data);
  out.end_object();
  return out.take();
}

std::string ServerIdentity::wrap_error(int code, std::string_view description,
                                       bool has_data) {
  json::Writer out;
  out.begin_object().key("server").begin_object();
  write(out);
  out.end_object();
  if (has_data) out.key("data").null();
  out.key("error").begin_object().field("code", code);
  if (!description.empty()) out.field("description", description);
  out.end_object().end_object();
  return out.take();
}

std::string ServerIdentity::id() const {
  const auto snapshot = server_.snapshot();
  const Settings& settings = *snapshot->settings;
  json::Writer out;
  out.begin_object();
  out.field("name", settings.server_name).field("host", shown_host(settings));
  out.field("id", settings.server_id);
  out.end_object();
  return out.take();
}

void write_event_head(json::Writer& out, std::string_view type, Random& random,
                      std::string_view timestamp) {
  Nuid ids(random);
  out.field("type", type).field("id", ids.next()).field("timestamp", timestamp);
}

}  // namespace brokkr::broker
