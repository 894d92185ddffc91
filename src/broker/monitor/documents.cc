#include "broker/monitor/documents.h"

#include <array>
#include <utility>

#include "base/json.h"
#include "broker/monitor/connz.h"
#include "broker/monitor/varz.h"

namespace brokkr::broker {
namespace {

json::Writer begin_document(const DocumentHead& head) {
  json::Writer out({.indent = 2});
  out.begin_object();
  out.field("server_id", head.server_id);
  out.field("now", format_rfc3339(head.now));
  return out;
}

void write_traffic(json::Writer& out, std::string_view name, uint64_t messages, uint64_t bytes,
                   uint64_t leaf_messages, uint64_t leaf_bytes) {
  out.key(name).begin_object();
  out.field("msgs", messages + leaf_messages).field("bytes", bytes + leaf_bytes);
  for (const char* kind : {"gateways", "routes"}) {
    out.key(kind).begin_object().field("msgs", 0).field("bytes", 0).end_object();
  }
  out.key("leafs").begin_object();
  out.field("msgs", leaf_messages).field("bytes", leaf_bytes).end_object();
  out.end_object();
}

Healthz make_health(int status, std::string_view type, std::string_view error, bool details) {
  json::Writer out;
  out.begin_object().field("status", "error");
  if (details) {
    out.key("errors").begin_array().begin_object();
    out.field("type", type).field("error", error);
    out.end_object().end_array();
  } else {
    out.field("error", error);
  }
  out.end_object();
  return {status, out.take()};
}

constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kPages = {{
    {"varz", "General"},
    {"connz", "Connections"},
    {"subsz", "Subscriptions"},
    {"accountz", "Accounts"},
    {"accstatz", "Account statistics"},
    {"jsz", "JetStream"},
    {"routez", "Routes"},
    {"leafz", "Leaf nodes"},
    {"gatewayz", "Gateways"},
    {"healthz", "Health"},
    {"metrics", "Metrics (Prometheus)"},
}};

}  // namespace

std::string render_accountz(const DocumentHead& head, const std::vector<AccountReport>& accounts) {
  json::Writer out = begin_document(head);
  out.field("system_account", head.system_account);
  out.key("accounts").begin_array();
  for (const AccountReport& account : accounts)
    out.string(account.name);
  out.end_array().end_object();
  return out.take();
}

void write_account_statistics(json::Writer& out, const AccountReport& account) {
  out.field("acc", account.name).field("name", account.name);
  out.field("conns", account.connections).field("leafnodes", account.leafnodes);
  out.field("total_conns", account.connections + account.leafnodes);
  out.field("num_subscriptions", account.interest.subscriptions);
  const Traffic& clients = account.traffic;
  const Traffic& leafs = account.leaf_traffic;
  write_traffic(out, "sent", clients.out_msgs, clients.out_bytes, leafs.out_msgs, leafs.out_bytes);
  write_traffic(out, "received", clients.in_msgs, clients.in_bytes, leafs.in_msgs, leafs.in_bytes);
  out.field("slow_consumers", account.slow_consumers);
}

std::string render_accstatz(const DocumentHead& head, const std::vector<AccountReport>& accounts,
                            bool unused) {
  json::Writer out = begin_document(head);
  out.key("account_statz").begin_array();
  for (const AccountReport& account : accounts) {
    if (account.connections + account.leafnodes == 0 && !unused) continue;
    out.begin_object();
    write_account_statistics(out, account);
    out.end_object();
  }
  out.end_array().end_object();
  return out.take();
}

std::string render_routez(const DocumentHead& head) {
  json::Writer out({.indent = 2});
  out.begin_object();
  out.field("server_id", head.server_id).field("server_name", head.server_name);
  out.field("now", format_rfc3339(head.now));
  out.field("num_routes", 0);
  out.key("routes").begin_array().end_array().end_object();
  return out.take();
}

std::string render_gatewayz(const DocumentHead& head) {
  json::Writer out = begin_document(head);
  out.key("outbound_gateways").begin_object().end_object();
  out.key("inbound_gateways").begin_object().end_object();
  out.end_object();
  return out.take();
}

std::string render_leafz(const DocumentHead& head, const std::vector<LeafReport>& leafs,
                         const LeafzOptions& options) {
  json::Writer out = begin_document(head);
  out.field("leafnodes", uint64_t{leafs.size()});
  out.key("leafs").begin_array();
  for (const LeafReport& leaf : leafs) {
    out.begin_object();
    out.field("id", leaf.id).field("name", leaf.name).field("is_spoke", leaf.is_spoke);
    if (leaf.is_isolated) out.field("is_isolated", true);
    out.field("account", leaf.account).field("ip", leaf.ip).field("port", int64_t{leaf.port});
    if (leaf.round_trip > Duration::zero()) out.field("rtt", format_round_trip(leaf.round_trip));
    out.field("in_msgs", leaf.traffic.in_msgs).field("out_msgs", leaf.traffic.out_msgs);
    out.field("in_bytes", leaf.traffic.in_bytes).field("out_bytes", leaf.traffic.out_bytes);
    out.field("subscriptions", leaf.subscription_count);
    if (options.subscriptions && !leaf.subscriptions.empty()) {
      out.key("subscriptions_list").begin_array();
      for (const std::string& subject : leaf.subscriptions)
        out.string(subject);
      out.end_array();
    }
    if (!leaf.compression.empty()) out.field("compression", leaf.compression);
    if (leaf.is_websocket) out.field("websocket", true);
    out.end_object();
  }
  out.end_array().end_object();
  return out.take();
}

std::string render_jsz(const DocumentHead& head) {
  json::Writer out({.indent = 2});
  out.begin_object();
  for (const char* name :
       {"memory", "storage", "reserved_memory", "reserved_storage", "accounts", "ha_assets"}) {
    out.field(name, 0);
  }
  out.key("api").begin_object();
  out.field("level", 0).field("total", 0).field("errors", 0).end_object();
  out.field("server_id", head.server_id);
  out.field("now", format_rfc3339(head.now));
  out.field("disabled", true);
  out.key("config").begin_object();
  out.field("max_memory", 0).field("max_storage", 0).end_object();
  for (const char* name : {"streams", "consumers", "messages", "bytes", "total"})
    out.field(name, 0);
  out.end_object();
  return out.take();
}

HealthzOptions parse_healthz_options(QueryReader& query) {
  HealthzOptions options;
  for (const char* name : {"js-enabled", "js-enabled-only", "js-server-only", "js-meta-only"}) {
    options.skips_assets |= query.boolean(name);
  }
  options.account = query.text("account");
  options.stream = query.text("stream");
  options.consumer = query.text("consumer");
  options.details = query.boolean("details");
  return options;
}

Healthz render_healthz(const HealthzOptions& options, bool is_ready) {
  if (options.account.empty() && !options.stream.empty()) {
    return make_health(400, "BAD_REQUEST",
                       "\"account\" must not be empty when checking stream health",
                       options.details);
  }
  if (options.stream.empty() && !options.consumer.empty()) {
    return make_health(400, "BAD_REQUEST",
                       "\"stream\" must not be empty when checking consumer health",
                       options.details);
  }
  if (!is_ready) {
    return make_health(500, "CONNECTION", "failed to be ready for connections after 1ms: server",
                       options.details);
  }
  return {200, R"({"status":"ok"})"};
}

Healthz render_healthz(const HealthzOptions& options, const JetStreamProblem& problem) {
  json::Writer out;
  out.begin_object();
  if (!options.details) {
    out.field("status", "unavailable").field("error", problem.text).end_object();
    return {problem.status, out.take()};
  }
  out.field("status", "error").key("errors").begin_array().begin_object();
  out.field("type", problem.kind);
  if (!problem.account.empty()) out.field("account", problem.account);
  if (!problem.stream.empty()) out.field("stream", problem.stream);
  if (!problem.consumer.empty()) out.field("consumer", problem.consumer);
  out.field("error", problem.text);
  out.end_object().end_array().end_object();
  return {problem.status, out.take()};
}

std::string render_index(std::string_view version, std::string_view prefix) {
  std::string out =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Brokkr</title>\n"
      "<style>body { font-family: sans-serif; margin: 2rem } a { display: block; padding: 0.2rem }"
      "</style></head>\n<body>\n<h1>Brokkr</h1>\n<p>Speaks NATS ";
  out.append(version).append("</p>\n");
  for (const auto& [page, title] : kPages) {
    out.append("<a href=\"./").append(prefix).append(page).append("\">").append(title);
    out.append("</a>\n");
  }
  return out + "</body>\n</html>\n";
}

}  // namespace brokkr::broker
