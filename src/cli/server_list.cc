// brokkr server list, server info.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "base/bytes.h"
#include "cli/columns.h"
#include "cli/server_commands.h"
#include "cli/system_api.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

constexpr const char* kVarz = "$SYS.REQ.SERVER.PING.VARZ";

// One answer to a ping, with what the list sorts by.
struct ListedServer {
  const ServerReply* reply;
  const json::Value* server;
  const json::Value* stats;
  std::string name;
  std::string host;
  std::string version;

  int64_t count(const char* member) const { return number_in(stats, member); }
  size_t size(const char* member) const { return items_in(stats, member).size(); }
};

double double_in(const json::Value* object, std::string_view member) {
  const json::Value* found = object == nullptr ? nullptr : object->find(member);
  return found == nullptr ? 0 : found->as_double().value_or(0);
}

std::string uint_text(int64_t value) {
  return short_bytes(static_cast<uint64_t>(std::max<int64_t>(value, 0)));
}

// Which of two stands first.
bool stands_before(const ListedServer& a, const ListedServer& b, const std::string& key) {
  if (key == "name") return a.name < b.name;
  if (key == "conns" || key == "conn") return a.count("connections") > b.count("connections");
  if (key == "subs" || key == "sub") return a.count("subscriptions") > b.count("subscriptions");
  for (const auto& [member, first, second] :
       {std::tuple("routes", "routes", "route"), {"gateways", "gws", "gw"}}) {
    if (key != first && key != second) continue;
    return a.size(member) != b.size(member) ? a.size(member) > b.size(member) : a.name < b.name;
  }
  if (key == "mem") return a.count("mem") > b.count("mem");
  if (key == "cpu") return double_in(a.stats, "cpu") > double_in(b.stats, "cpu");
  if (key == "slow") return a.count("slow_consumers") > b.count("slow_consumers");
  if (key == "uptime") {
    return time_between(text_in(a.stats, "start"), {}) >
           time_between(text_in(b.stats, "start"), {});
  }
  if (key == "cluster") {
    const auto cluster = [](const ListedServer& one) { return text_in(one.server, "cluster"); };
    return cluster(a) != cluster(b) ? cluster(a) < cluster(b) : a.name > b.name;
  }
  return a.reply->took < b.reply->took;
}

// "4", or "4 (c: 1 r: 3)" when others than clients were slow.
std::string slow_text(const ListedServer& one) {
  const json::Value* stats =
      one.stats == nullptr ? nullptr : one.stats->find("slow_consumer_stats");
  std::string kinds;
  for (const auto& [member, letter] :
       {std::pair("clients", 'c'), {"routes", 'r'}, {"gateways", 'g'}, {"leafs", 'l'}}) {
    const int64_t count = number_in(stats, member);
    if (count > 0) kinds += std::string(kinds.empty() ? "" : " ") + letter + ": " + comma(count);
  }
  const bool is_detailed =
      !kinds.empty() && (kinds[0] != 'c' || kinds.find(' ', 3) != std::string::npos);
  return comma(one.count("slow_consumers")) + (is_detailed ? " (" + kinds + ")" : "");
}

std::string jetstream_text(const ListedServer& one) {
  if (!flag_in(one.server, "jetstream")) return "no";
  const std::string domain(text_in(one.server, "domain"));
  return domain.empty() ? "yes" : domain;
}

std::vector<std::string> list_row(const ListedServer& one) {
  char cpu[32];
  std::snprintf(cpu, sizeof cpu, "%.0f", double_in(one.stats, "cpu"));
  const Duration rtt = std::chrono::round<std::chrono::milliseconds>(one.reply->took);
  return {one.name,
          std::string(text_in(one.server, "cluster")),
          one.host,
          one.version,
          jetstream_text(one),
          comma(one.count("connections")),
          comma(one.count("subscriptions")),
          std::to_string(one.size("routes")),
          std::to_string(one.size("gateways")),
          uint_text(one.count("mem")),
          cpu,
          std::to_string(one.count("cores")),
          slow_text(one),
          long_duration(time_between(text_in(one.stats, "start"), text_in(one.server, "time"))),
          long_duration(rtt)};
}

// The servers of one cluster.
struct ListedCluster {
  size_t nodes = 0;
  size_t gateways_out = 0;
  int64_t gateways_in = 0;
  int64_t connections = 0;
  size_t routes = 0;
  bool has_odd_routes = false;
};

std::map<std::string, ListedCluster> clusters_of(const std::vector<ListedServer>& servers) {
  std::map<std::string, ListedCluster> clusters;
  for (const ListedServer& one : servers) {
    const std::string name(text_in(one.server, "cluster"));
    if (name.empty()) continue;
    ListedCluster& cluster = clusters[name];
    if (cluster.nodes == 0) cluster.routes = one.size("routes");
    cluster.has_odd_routes |= cluster.routes != one.size("routes");
    ++cluster.nodes;
    cluster.gateways_out += one.size("gateways");
    cluster.connections += one.count("connections");
    for (const json::Value& gateway : items_in(one.stats, "gateways")) {
      cluster.gateways_in += gateway.get_int("inbound_connections");
    }
  }
  return clusters;
}

void print_clusters(const std::map<std::string, ListedCluster>& clusters) {
  if (clusters.empty()) return;
  std::vector<std::pair<std::string, ListedCluster>> sorted(clusters.begin(), clusters.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return a.second.connections < b.second.connections;
  });
  Table table("Cluster Overview");
  table.header({"Cluster", "Node Count", "Outgoing Gateways", "Incoming Gateways", "Connections"});
  for (size_t column = 1; column < 5; ++column)
    table.align_right(column);
  ListedCluster sum;
  for (const auto& [name, cluster] : sorted) {
    table.row({name, std::to_string(cluster.nodes), std::to_string(cluster.gateways_out),
               std::to_string(cluster.gateways_in), std::to_string(cluster.connections)});
    sum.nodes += cluster.nodes;
    sum.gateways_out += cluster.gateways_out;
    sum.gateways_in += cluster.gateways_in;
    sum.connections += cluster.connections;
  }
  table.footer({"", std::to_string(sum.nodes), std::to_string(sum.gateways_out),
                std::to_string(sum.gateways_in), std::to_string(sum.connections)});
  print("\n" + table.text());
}

std::vector<std::string> list_footer(const std::vector<ListedServer>& servers,
                                     const std::map<std::string, ListedCluster>& clusters) {
  int64_t connections = 0;
  int64_t subscriptions = 0;
  int64_t memory = 0;
  int64_t slow = 0;
  int64_t jetstream = 0;
  bool has_odd_version = false;
  bool has_odd_gateways = false;
  for (const ListedServer& one : servers) {
    connections += one.count("connections");
    subscriptions += one.count("subscriptions");
    memory += one.count("mem");
    slow += one.count("slow_consumers");
    jetstream += flag_in(one.server, "jetstream") ? 1 : 0;
    has_odd_version |= one.version != servers.front().version;
    has_odd_gateways |= one.size("gateways") != servers.front().size("gateways");
  }
  const bool has_odd_routes = std::any_of(
      clusters.begin(), clusters.end(), [](const auto& one) { return one.second.has_odd_routes; });
  const auto mark = [](bool is_odd) { return std::string(is_odd ? "X" : ""); };
  return {"",
          std::to_string(clusters.size()),
          std::to_string(servers.size()),
          mark(has_odd_version),
          std::to_string(jetstream),
          comma(connections),
          comma(subscriptions),
          mark(has_odd_routes),
          mark(has_odd_gateways),
          uint_text(memory),
          "",
          "",
          comma(slow),
          "",
          ""};
}

std::vector<ListedServer> sorted_servers(const std::vector<ServerReply>& replies,
                                         const Values& values) {
  std::vector<ListedServer> servers;
  for (const ServerReply& reply : replies) {
    servers.push_back({&reply, reply.server(), reply.json.find("statsz"),
                       std::string(text_in(reply.server(), "name")),
                       std::string(text_in(reply.server(), "host")),
                       std::string(text_in(reply.server(), "ver"))});
  }
  const std::string key = values.text("sort");
  std::stable_sort(
      servers.begin(), servers.end(), [&](const ListedServer& a, const ListedServer& b) {
        return values.is_on("reverse") ? stands_before(b, a, key) : stands_before(a, b, key);
      });
  return servers;
}

void compact(std::vector<ListedServer>& servers) {
  std::vector<std::string> names;
  std::vector<std::string> hosts;
  for (const ListedServer& one : servers) {
    names.push_back(one.name);
    hosts.push_back(one.host);
  }
  names = compact_names(std::move(names));
  hosts = compact_names(std::move(hosts));
  for (size_t i = 0; i < servers.size(); ++i) {
    servers[i].name = names[i];
    servers[i].host = hosts[i];
  }
}

int run_server_list(const Context& context, const Values& values) {
  static const std::vector<std::string> kSorts{"name", "cluster", "conns", "conn",   "subs",
                                               "sub",  "routes",  "route", "gws",    "gw",
                                               "mem",  "cpu",     "slow",  "uptime", "rtt"};
  if (std::find(kSorts.begin(), kSorts.end(), values.text("sort")) == kSorts.end()) {
    return fail(
        context.program,
        "--sort: one of name, cluster, conns, subs, routes, gws, mem, cpu, slow, uptime, rtt");
  }
  auto api = SystemApi::open(context, values);
  if (!api) return fail(context.program, api.error());
  const uint64_t expected = values.has("expect") ? values.number("expect") : 0;
  auto replies = api->ask("$SYS.REQ.SERVER.PING", "{}", expected);
  if (!replies && replies.error().code != Errc::Unsupported)
    return fail(context.program, replies.error());
  if (!replies || replies->empty()) return fail(context.program, kNoSystemAccount);
  auto servers = sorted_servers(*replies, values);
  if (values.is_on("json")) {
    json::Writer out({2, true});
    out.begin_array();
    for (const ListedServer& one : servers)
      out.value(one.reply->json);
    print_line(out.end_array().text());
    return 0;
  }
  const auto clusters = clusters_of(servers);
  if (values.is_on("compact")) compact(servers);
  Table table("Server Overview");
  table.header({"Name", "Cluster", "Host", "Version", "JS", "Conns", "Subs", "Routes", "GWs", "Mem",
                "CPU %", "Cores", "Slow", "Uptime", "RTT"});
  for (const size_t column : {7, 8, 11})
    table.align_right(column);
  for (const ListedServer& one : servers)
    table.row(list_row(one));
  table.footer(list_footer(servers, clusters));
  print(table.text());
  print_clusters(clusters);
  return 0;
}

std::vector<std::string> texts_in(const json::Value* object, std::string_view member) {
  std::vector<std::string> out;
  for (const json::Value& item : items_in(object, member))
    out.emplace_back(item.as_string());
  return out;
}

const json::Value* object_in(const json::Value* object, std::string_view member) {
  return object == nullptr ? nullptr : object->find(member);
}

std::string number_or_unlimited(int64_t value) {
  return value == 0 ? "unlimited" : comma(value);
}

void add_process(Columns& out, const json::Value& varz) {
  const auto text = [&](const char* member) { return std::string(varz.get_string(member)); };
  out.section("Process Details");
  out.row("Version", text("version"));
  out.row("Git Commit", text("git_commit"));
  out.row("Go Version", text("go"));
  out.row("Start Time", date_text(text("start")));
  out.row("Configuration Load Time", date_text(text("config_load_time")));
  out.row_if_any("Configuration Digest", text("config_digest"));
  out.row("Uptime", text("uptime"));
  out.section("Connection Details");
  out.row("Auth Required", varz.get_bool("auth_required"));
  out.row("TLS Required", varz.get_bool("tls_required"));
  const std::string ip = text("ip");
  out.row("Host", text("host") + ":" + std::to_string(varz.get_int("port")) +
                      (ip.empty() ? "" : " (" + ip + ")"));
  out.rows("Client URLs", texts_in(&varz, "connect_urls"));
  out.rows("WebSocket URLs", texts_in(&varz, "ws_connect_urls"));
}

void add_jetstream_limits(Columns& out, const json::Value* limits) {
  if (limits == nullptr) return;
  const auto limit = [&](const char* member) { return number_in(limits, member); };
  out.row("Maximum HA Assets", number_or_unlimited(limit("max_ha_assets")));
  out.row("Maximum Ack Pending", number_or_unlimited(limit("max_ack_pending")));
  out.row("Maximum Request Batch", number_or_unlimited(limit("max_request_batch")));
  const Duration window(limit("max_duplicate_window"));
  out.row("Maximum Duplicate Window", window == Duration(0) ? "unlimited" : long_duration(window));
  out.row("Maximum Messages Per Batch", limit("max_request_batch"));
  out.row("Maximum Batch Timeout", Duration(limit("max_batch_timeout")));
  out.row("Maximum Open Batches Per Stream", limit("max_batch_inflight_per_stream"));
  out.row("Maximum Open Batches Per Server", limit("max_batch_inflight_total"));
}

void add_jetstream_of_server(Columns& out, const json::Value& varz) {
  const json::Value* js = varz.find("jetstream");
  const json::Value* config = object_in(js, "config");
  if (text_in(config, "store_dir").empty()) return;
  const json::Value* stats = object_in(js, "stats");
  const json::Value* api = object_in(stats, "api");
  out.section("JetStream");
  out.row("Domain", std::string(text_in(config, "domain")));
  out.row("API Support Level", number_in(api, "level"));
  out.row("Storage Directory", std::string(text_in(config, "store_dir")));
  out.row("Active Accounts", number_in(stats, "accounts"));
  out.row("Memory In Use", uint_text(number_in(stats, "memory")));
  out.row("File In Use", uint_text(number_in(stats, "storage")));
  out.row("API Requests", number_in(api, "total"));
  out.row("API Errors", number_in(api, "errors"));
  if (const Duration interval(number_in(config, "sync_interval")); interval > Duration(0)) {
    out.row("Always sync writes to disk", flag_in(config, "sync_always"));
    out.row("Write sync Frequency", interval);
  }
  out.row("Maximum Memory Storage", uint_text(number_in(config, "max_memory")));
  out.row("Maximum File Storage", uint_text(number_in(config, "max_storage")));
  out.row_if_any("Unique Tag", text_in(config, "unique_tag"));
  out.row("Cluster Message Compression", flag_in(config, "compress_ok"));
  add_jetstream_limits(out, object_in(js, "limits"));
  out.row("Strict API Parsing", flag_in(config, "strict"));
}

void add_limits_and_statistics(Columns& out, const json::Value& varz) {
  const auto count = [&](const char* member) { return varz.get_int(member); };
  out.section("Limits");
  out.row("Maximum Connections", count("max_connections"));
  out.row("Maximum Subscriptions", count("max_subscriptions"));
  out.row("Maximum Payload", uint_text(count("max_payload")));
  out.row("TLS Timeout",
          Duration(std::chrono::seconds(static_cast<int64_t>(double_in(&varz, "tls_timeout")))));
  out.row(
      "Write Deadline",
      Duration(std::chrono::round<std::chrono::milliseconds>(Duration(count("write_deadline")))));
  out.section("Statistics");
  char cpu[48];
  std::snprintf(cpu, sizeof cpu, "%lld %.2f%%", static_cast<long long>(count("cores")),
                double_in(&varz, "cpu"));
  out.row("CPU Cores", cpu);
  if (count("gomaxprocs") > 0) out.row("GOMAXPROCS", std::to_string(count("gomaxprocs")));
  out.row("Memory", uint_text(count("mem")));
  if (count("gomemlimit") > 0) out.row("GOMEMLIMIT", count("gomemlimit"));
  out.row("Connections", count("connections"));
  out.row("Subscriptions", count("subscriptions"));
  out.row("Messages", comma(count("in_msgs")) + " in " + comma(count("out_msgs")) + " out");
  out.row("Bytes", uint_text(count("in_bytes")) + " in " + uint_text(count("out_bytes")) + " out");
  out.row("Slow Consumers", count("slow_consumers"));
}

void add_clusters(Columns& out, const json::Value& varz) {
  const auto host_text = [](const json::Value* object, const char* host, const char* port) {
    return std::string(text_in(object, host)) + ":" + std::to_string(number_in(object, port));
  };
  const json::Value* cluster = varz.find("cluster");
  if (const auto urls = texts_in(cluster, "urls"); !urls.empty()) {
    out.section("Cluster");
    out.row("Name", std::string(text_in(cluster, "name")));
    std::string tags;
    for (const std::string& tag : texts_in(&varz, "tags"))
      tags += (tags.empty() ? "" : ", ") + tag;
    out.row_if_any("Tags", tags);
    out.row("Host", host_text(cluster, "addr", "cluster_port"));
    out.rows("URLs", urls);
  }
  const json::Value* gateway = varz.find("gateway");
  std::vector<std::string> names;
  for (const json::Value& one : items_in(gateway, "gateways"))
    names.emplace_back(one.get_string("name"));
  if (names.empty()) return;
  std::sort(names.begin(), names.end());
  out.section("Super Cluster");
  out.row("Name", std::string(text_in(gateway, "name")));
  out.row("Host", host_text(gateway, "host", "port"));
  out.rows("Clusters", names);
}

std::string varz_text(const json::Value& varz) {
  const std::string id(varz.get_string("server_id"));
  const std::string name(varz.get_string("server_name"));
  Columns out("Server information for " + (id == name ? id : name + " (" + id + ")"));
  add_process(out, varz);
  add_jetstream_of_server(out, varz);
  add_limits_and_statistics(out, varz);
  add_clusters(out, varz);
  return out.text();
}

// What INFO says: all that is known of the own server without the system account.
int show_own_server(const Context& context, SystemApi& api, bool is_json) {
  const auto& connection = api.session().connection();
  const auto& info = connection.server_info();
  if (is_json) {
    json::Writer out({2, true});
    out.begin_object().field("server_id", info.server_id).field("server_name", info.server_name);
    out.field("version", info.version).field("host", info.host).field("port", info.port);
    out.field("headers", info.headers).field("auth_required", info.auth_required);
    out.field("max_payload", info.max_payload).field("jetstream", info.jetstream);
    out.field("client_id", info.client_id).field("client_ip", info.client_ip);
    if (!info.cluster.empty()) out.field("cluster", info.cluster);
    if (!info.domain.empty()) out.field("domain", info.domain);
    print_line(out.end_object().text());
    return 0;
  }
  auto rtt = api.session().round_trip(api.timeout());
  if (!rtt) return fail(context.program, rtt.error());
  Columns out("Server information for " + info.server_name + " (" + info.server_id + ")");
  out.row("Version", info.version);
  out.row("Client URL", connection.server_text());
  out.row("Max Payload", format_bytes(static_cast<uint64_t>(info.max_payload)));
  out.row("Authentication Required", info.auth_required);
  out.row("TLS Required", info.tls_required);
  out.row("Headers", info.headers);
  out.row("JetStream", info.jetstream);
  out.row_if_any("Cluster", info.cluster);
  out.row_if_any("Domain", info.domain);
  out.row("Client ID", std::to_string(info.client_id));
  out.row("Client IP", info.client_ip);
  out.row("RTT", *rtt);
  print(out.text());
  remark("only what the server tells every client; the rest needs a system account");
  return 0;
}

bool is_server_id(std::string_view text) {
  return text.size() == 56 &&
         std::none_of(text.begin(), text.end(), [](char c) { return c >= 'a' && c <= 'z'; });
}

int run_server_info(const Context& context, const Values& values) {
  return show_server(context, values, values.text("server_name"));
}

}  // namespace

int show_server(const Context& context, const Values& values, const std::string& server) {
  auto api = SystemApi::open(context, values);
  if (!api) return fail(context.program, api.error());
  Draft body;
  std::string subject = kVarz;
  if (is_server_id(server)) {
    subject = "$SYS.REQ.SERVER." + server + ".VARZ";
  } else {
    if (!server.empty()) body.text("server_name", server);
    body.flag("exact_match", true);
  }
  auto replies = api->ask(subject, body.text(), 1);
  if (!replies || replies->empty()) {
    if (server.empty() && context.program != "nats")
      return show_own_server(context, *api, values.is_on("json"));
    return fail(context.program, kNoSystemAccount);
  }
  const ServerReply& reply = replies->front();
  if (!reply.error().empty())
    return fail(context.program, "invalid response received: " + reply.error());
  if (reply.data() == nullptr) return fail(context.program, "no data received in response");
  if (values.is_on("json")) {
    json::Writer out({2, true});
    print_line(out.value(*reply.data()).text());
    return 0;
  }
  print(varz_text(*reply.data()));
  return 0;
}

Command server_list_command() {
  Command list{"list", {"ls"}, "List known servers"};
  list.arguments = {{"expect", "How many servers to expect", false}};
  list.flags = {{"json,j", "Produce JSON output"},
                {"sort",
                 "Sort servers by a specific key "
                 "(name,cluster,conns,subs,routes,gws,mem,cpu,slow,uptime,rtt)",
                 Kind::Text, "SORT", "rtt"},
                {"reverse,R", "Reverse sort servers"},
                {"compact", "Compact server names", Kind::Bool, "", "true"}};
  list.run = run_server_list;
  return list;
}

Command server_info_command() {
  Command info{"info", {"i"}, "Show information about a single server"};
  // Not "server": that is the flag with the URLs.
  info.arguments = {{"server_name", "Server ID or Name to inspect", false}};
  info.flags = {{"json,j", "Produce JSON output"}};
  info.run = run_server_info;
  return info;
}

}  // namespace brokkr::cli
