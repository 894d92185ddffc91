#include "broker/monitor.h"

#include <dirent.h>

#include <algorithm>
#include <cstdio>

#include "base/bytes.h"
#include "broker/monitor/connz.h"
#include "broker/monitor/documents.h"
#include "broker/monitor/facts.h"
#include "broker/monitor/query.h"
#include "broker/monitor/subsz.h"
#include "broker/server.h"

namespace brokkr::broker {
namespace {

// A request that waits for a busy loop holds up only its own thread.
constexpr uint32_t kHttpThreads = 2;
// Many, so that it takes many idle ones to keep a scraper out.
constexpr uint32_t kHttpConnectionsMax = 4096;

constexpr size_t kStatMax = 1024;

http::Response make_json(std::string body, int status = 200) {
  http::Response response;
  response.status = status;
  response.content_type = "application/json";
  response.headers.emplace_back("Access-Control-Allow-Origin", "*");
  response.body = std::move(body);
  return response;
}

http::Response make_text(int status, std::string text) {
  http::Response response;
  response.status = status;
  response.body = std::move(text);
  return response;
}

http::Response not_found() {
  http::Response response = make_text(404, "404 page not found\n");
  response.headers.emplace_back("X-Content-Type-Options", "nosniff");
  return response;
}

http::Response bad_request(const QueryReader& query) {
  return make_text(400, query.error());
}

http::Response unavailable() {
  return make_text(503, "the server is too busy or stopping\n");
}

http::Response respond(Result<std::string> document) {
  if (document) return make_json(std::move(*document));
  if (document.error().code == Errc::Unavailable) return unavailable();
  return make_text(400, document.error().text);
}

// The line of a thread in /proc, empty when it is gone.
std::string read_stat(const std::string& thread) {
  std::string text(kStatMax, '\0');
  std::FILE* const file = std::fopen(("/proc/self/task/" + thread + "/stat").c_str(), "re");
  if (file == nullptr) return {};
  text.resize(std::fread(text.data(), 1, text.size(), file));
  std::fclose(file);
  return text;
}

// One line for each thread of this process: its number, its name and its state.
std::string list_threads() {
  std::string out;
  DIR* const folder = opendir("/proc/self/task");
  if (folder == nullptr) return out;
  while (const dirent* entry = readdir(folder)) {
    // "17 (name) S …"; the name may hold anything but ends with the last parenthesis.
    const std::string stat = read_stat(entry->d_name);
    const size_t end = stat.rfind(')');
    if (end == std::string::npos || end + 2 >= stat.size()) continue;
    out.append("thread ").append(stat, 0, end + 1).append(" [").append(1, stat[end + 2]);
    out.append("]\n");
  }
  closedir(folder);
  return out;
}

// Begins with a slash and does not end with one; empty stays empty.
std::string normalize_base_path(std::string_view path) {
  while (!path.empty() && path.back() == '/')
    path.remove_suffix(1);
  while (!path.empty() && path.front() == '/')
    path.remove_prefix(1);
  return path.empty() ? "" : "/" + std::string(path);
}

}  // namespace

struct Monitor::Endpoint {
  const char* name;        // what follows the base path
  const char* counted_as;  // in http_req_stats; null: not counted
  Answer answer;
};

const Monitor::Endpoint* Monitor::find_endpoint(std::string_view name) {
  static constexpr Endpoint kEndpoints[] = {
      {"/", "/", &Monitor::index},
      {"/varz", "/varz", &Monitor::varz},
      {"/connz", "/connz", &Monitor::connz},
      {"/subsz", "/subsz", &Monitor::subsz},
      {"/subscriptionsz", "/subsz", &Monitor::subsz},
      {"/healthz", "/healthz", &Monitor::healthz},
      {"/accountz", "/accountz", &Monitor::accountz},
      {"/accstatz", "/accstatz", &Monitor::accstatz},
      {"/routez", "/routez", &Monitor::routez},
      {"/gatewayz", "/gatewayz", &Monitor::gatewayz},
      {"/leafz", "/leafz", &Monitor::leafz},
      {"/jsz", "/jsz", &Monitor::jsz},
      {"/ipqueuesz", nullptr, &Monitor::ipqueuesz},
      {"/raftz", nullptr, &Monitor::raftz},
      {"/metrics", "/metrics", &Monitor::metrics},
      {"/stacksz", nullptr, &Monitor::stacksz},
      {"/debug/vars", nullptr, &Monitor::debug_vars},
      {"/expvarz", nullptr, &Monitor::debug_vars},
  };
  const auto* found = std::find_if(std::begin(kEndpoints), std::end(kEndpoints),
                                   [&](const Endpoint& each) { return each.name == name; });
  return found == std::end(kEndpoints) ? nullptr : found;
}

Monitor::Monitor(Options options, Server& server, Log& log)
    : options_(std::move(options)),
      server_(server),
      log_(log),
      pages_(server) {}

Monitor::~Monitor() {
  pages_.cancel();
  http_.reset();
}

Result<std::unique_ptr<Monitor>> Monitor::open(Options options, Server& server, Log& log) {
  if (options.host.empty()) options.host = "0.0.0.0";
  options.base_path = normalize_base_path(options.base_path);
  http::Server::Options listening;
  listening.host = options.host;
  listening.port = options.port;
  listening.name = "monitor";
  listening.tls_certificate = options.tls_certificate;
  listening.tls_key = options.tls_key;
  listening.threads = kHttpThreads;
  listening.connections_max = kHttpConnectionsMax;
  listening.methods = {"GET", "HEAD", "POST"};
  std::unique_ptr<Monitor> monitor(new Monitor(std::move(options), server, log));
  auto opened = http::Server::open(
      std::move(listening),
      [&monitor = *monitor](const http::Request& request) { return monitor.answer(request); });
  if (!opened) return opened.error();
  monitor->http_ = std::move(*opened);
  monitor->publish_address();
  log.info(std::string(monitor->is_https() ? "Starting https" : "Starting http") + " monitor on " +
           monitor->options_.host + ":" +
           std::to_string(monitor->port()));
  return monitor;
}

http::Response Monitor::answer(const http::Request& request) {
  std::string_view path = request.path;
  if (!path.starts_with(options_.base_path)) return not_found();
  path.remove_prefix(options_.base_path.size());
  // With a base path the index is at the path itself, without a slash.
  if (!options_.base_path.empty()) {
    if (path == "/") return not_found();
    if (path.empty()) path = "/";
  }
  const Endpoint* endpoint = find_endpoint(path);
  if (endpoint == nullptr) return not_found();
  QueryReader query(request);
  if (endpoint->counted_as != nullptr) count(endpoint->counted_as);
  return (this->*endpoint->answer)(query);
}

void Monitor::publish_address() {
  MonitorFacts& facts = server_.monitor_facts();
  const std::lock_guard lock(facts.mutex);
  facts.http_host = options_.host;
  (is_https() ? facts.https_port : facts.http_port) = port();
  facts.base_path = options_.base_path;
}

void Monitor::count(const char* name) {
  MonitorFacts& facts = server_.monitor_facts();
  const std::lock_guard lock(facts.mutex);
  ++facts.requests[name];
}

http::Response Monitor::index(QueryReader&) {
  http::Response response;
  response.content_type = "text/html; charset=utf-8";
  const std::string& base = options_.base_path;
  response.body = render_index(kServerVersion, base.empty() ? "" : base.substr(1) + "/");
  return response;
}

http::Response Monitor::varz(QueryReader&) {
  return respond(pages_.varz());
}

http::Response Monitor::metrics(QueryReader&) {
  const auto varz = pages_.gather_varz();
  if (!varz) return unavailable();
  http::Response response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = render_metrics(*varz);
  if (options_.more_metrics) response.body += options_.more_metrics();
  return response;
}

http::Response Monitor::connz(QueryReader& query) {
  const ConnzOptions options = parse_connz_options(query);
  return query.has_failed() ? bad_request(query) : respond(pages_.connz(options));
}

http::Response Monitor::subsz(QueryReader& query) {
  const SubszOptions options = parse_subsz_options(query);
  return query.has_failed() ? bad_request(query) : respond(pages_.subsz(options));
}

http::Response Monitor::accountz(QueryReader& query) {
  return respond(pages_.accountz(query.text("acc")));
}

http::Response Monitor::accstatz(QueryReader& query) {
  const bool unused = query.boolean("unused");
  return query.has_failed() ? bad_request(query) : respond(pages_.accstatz({}, unused));
}

http::Response Monitor::routez(QueryReader& query) {
  if (to_lower(query.text("subs")) != "detail") query.boolean("subs");
  return query.has_failed() ? bad_request(query) : make_json(render_routez(pages_.head()));
}

http::Response Monitor::gatewayz(QueryReader& query) {
  query.boolean("accs");
  return query.has_failed() ? bad_request(query) : make_json(render_gatewayz(pages_.head()));
}

http::Response Monitor::leafz(QueryReader& query) {
  LeafzOptions options;
  options.subscriptions = query.boolean("subs");
  options.account = query.text("acc");
  return query.has_failed() ? bad_request(query) : respond(pages_.leafz(options));
}

http::Response Monitor::jsz(QueryReader& query) {
  JszOptions options;
  options.account = query.text("acc");
  options.accounts = query.boolean("accounts");
  options.streams = query.boolean("streams");
  options.consumers = query.boolean("consumers");
  query.boolean("direct-consumers");
  options.config = query.boolean("config");
  options.offset = static_cast<uint64_t>(std::max<int64_t>(query.integer("offset"), 0));
  const int64_t limit = query.integer("limit");
  if (limit > 0) options.limit = static_cast<uint64_t>(limit);
  options.raft = query.boolean("raft");
  for (const char* name : {"leader-only", "stream-leader-only"}) query.boolean(name);
  return query.has_failed() ? bad_request(query) : respond(pages_.jsz(options));
}

http::Response Monitor::healthz(QueryReader& query) {
  const HealthzOptions options = parse_healthz_options(query);
  if (query.has_failed()) return bad_request(query);
  auto health = pages_.healthz(options);
  if (!health) return unavailable();
  if (health->status != 200) log_.warn("Healthcheck failed: " + health->body);
  return make_json(std::move(health->body), health->status);
}

http::Response Monitor::ipqueuesz(QueryReader& query) {
  query.boolean("all");
  return query.has_failed() ? bad_request(query) : make_json("{}");
}

// Where a Go program shows the stacks of its goroutines: the threads and what they do.
http::Response Monitor::stacksz(QueryReader&) {
  http::Response response = make_text(200, list_threads());
  response.content_type = "application/json";  // as nats-server says
  return response;
}

http::Response Monitor::debug_vars(QueryReader&) {
  const auto varz = pages_.gather_varz();
  if (!varz) return unavailable();
  http::Response response;
  response.content_type = "application/json; charset=utf-8";
  response.body = render_expvarz(*varz);
  return response;
}

http::Response Monitor::raftz(QueryReader&) {
  return make_text(404, "No Raft nodes registered");
}

}  // namespace brokkr::broker
