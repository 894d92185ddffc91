// The workload node, embedded in a server or by itself as a client of another.
#include <signal.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>

#include "app/ask_loop.h"
#include "app/embedded_node.h"
#include "app/http_gateway.h"
#include "app/program.h"
#include "base/log.h"
#include "config/flags.h"
#include "http/server.h"
#include "io/signals.h"
#include "io/socket.h"
#include "workload/host_services/http_client.h"

namespace brokkr::app {
namespace {

constexpr std::string_view kNodeHelp =
    "Usage: brokkr node up [options]\n"
    "\n"
    "Runs a workload node that serves functions as a client of a NATS server.\n"
    "\n"
    "    -s, --server <url>               Server to join (default: NATS_URL, nats://127.0.0.1:4222)\n"
    "        --user, --password, --token  Credentials\n"
    "        --tlsca <file>               Authorities trusted (default: the machine's)\n"
    "        --tlscert, --tlskey <file>   Our certificate and its key\n"
    "        --tlsfirst                   TLS handshake before the server's greeting\n"
    "        --metrics-port <port>        Serve /metrics for Prometheus on 127.0.0.1\n"
    "    -D, --debug                      Log what helps debugging\n";

struct NodeFlags {
  OwnFlags own;
  std::string server;
  std::string user;
  std::string password;
  std::string token;
  std::string metrics_port;
  client::TlsOptions tls;
  bool is_debug = false;
  bool is_help = false;
};

Result<NodeFlags> parse_node_flags(std::vector<std::string> args) {
  auto own = take_own_flags(args);
  if (!own) return own.error();
  NodeFlags flags;
  flags.own = *own;
  const char* url = std::getenv("NATS_URL");
  flags.server = url != nullptr && *url != '\0' ? url : "nats://127.0.0.1:4222";
  for (size_t i = 0; i < args.size(); ++i) {
    std::string name = args[i];
    std::string value;
    const size_t equals = name.find('=');
    const bool has_value = name.starts_with("--") && equals != std::string::npos;
    if (has_value) {
      value = name.substr(equals + 1);
      name.resize(equals);
    }
    if (name == "-h" || name == "--help") {
      flags.is_help = true;
      continue;
    }
    if (name == "-D" || name == "--debug") {
      flags.is_debug = true;
      continue;
    }
    if (name == "--tlsfirst") {
      flags.tls.handshake_first = true;
      continue;
    }
    std::string* const target = name == "-s" || name == "--server"   ? &flags.server
                                : name == "--user"                   ? &flags.user
                                : name == "--password"               ? &flags.password
                                : name == "--token"                  ? &flags.token
                                : name == "--metrics-port"           ? &flags.metrics_port
                                : name == "--tlsca"                  ? &flags.tls.ca_file
                                : name == "--tlscert"                ? &flags.tls.certificate_file
                                : name == "--tlskey"                 ? &flags.tls.key_file
                                                                     : nullptr;
    if (target == nullptr) return Error{Errc::Syntax, "unknown argument \"" + args[i] + "\""};
    if (!has_value) {
      if (i + 1 >= args.size()) return Error{Errc::Syntax, "flag " + name + " needs a value"};
      value = args[++i];
    }
    *target = value;
  }
  return flags;
}

Result<workload::Pairs> parse_tags(const std::vector<std::string>& tags) {
  workload::Pairs out;
  for (const std::string& tag : tags) {
    const size_t equals = tag.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return Error{Errc::Syntax, "a tag is key=value, not \"" + tag + "\""};
    }
    out.emplace_back(tag.substr(0, equals), tag.substr(equals + 1));
  }
  return out;
}

// Answers on threads of its own what the node says on its loop.
Result<std::unique_ptr<http::Server>> serve_metrics(io::Loop& loop, Log& log,
                                                    const workload::Node& node,
                                                    const std::string& port) {
  http::Server::Options options;
  options.name = "metrics";
  const char* end = port.data() + port.size();
  const auto read = std::from_chars(port.data(), end, options.port);
  if (read.ec != std::errc() || read.ptr != end) {
    return Error{Errc::Syntax, "--metrics-port takes a port, not \"" + port + "\""};
  }
  auto server = http::Server::open(std::move(options), [&loop, &node](const http::Request& request) {
    http::Response response;
    if (request.path == "/healthz") {
      response.body = "ok\n";
      return response;
    }
    if (request.path != "/metrics") {
      response.status = 404;
      return response;
    }
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    response.body = ask_loop(loop, [&node] { return node.metrics(); }, std::chrono::seconds(2));
    return response;
  });
  if (server) {
    log.info("Serving metrics on http://127.0.0.1:" + std::to_string((*server)->port()) + "/metrics");
  }
  return server;
}

}  // namespace

Result<workload::NodeOptions> make_node_options(const OwnFlags& flags,
                                                const config::Options& options) {
  workload::NodeOptions node;
  auto tags = parse_tags(flags.tags);
  if (!tags) return tags.error();
  node.tags = std::move(*tags);
  node.issuers = flags.issuers;
  node.node_files = flags.node_files.value_or(workload::Words{});
  node.version = kVersion;
  if (!flags.node_name.empty()) node.name = flags.node_name;
  node.data_folder = !flags.data_dir.empty()     ? flags.data_dir
                     : !options.data_dir.empty() ? options.data_dir
                                                 : default_data_dir();
  node.is_warm = !flags.cold_start;
  node.host_services = flags.host_services;
  if (Status checked = workload::check(node.host_services); !checked) return checked.error();
  const bool is_required =
      flags.sandbox == "required" ||
      (flags.sandbox.empty() && options.sandbox == config::SandboxMode::Required);
  node.sandbox = flags.sandbox == "off" ? sandbox::Policy::Off
                 : is_required          ? sandbox::Policy::Required
                                        : sandbox::Policy::BestEffort;
  node.allows_unconfined = node.sandbox == sandbox::Policy::Off;
  node.traces = workload::tracer_options(flags.otlp_endpoint);
  return node;
}

Result<std::unique_ptr<EmbeddedNode>> EmbeddedNode::start(io::Loop& loop, Log& log,
                                                          broker::Server& server,
                                                          workload::NodeOptions options,
                                                          client::DoneHandler on_ready) {
  std::unique_ptr<EmbeddedNode> embedded(new EmbeddedNode);
  options.connection.make_transport = [&server] { return server.connect_in_process(); };
  options.connection.name = options.name + " (workload node)";
  options.connection.reconnect_attempts_max = -1;
  auto node = workload::Node::start({loop, embedded->resolver_, embedded->random_, log},
                                    std::move(options), std::move(on_ready));
  if (!node) return node.error();
  embedded->node_ = std::move(*node);
  return embedded;
}

int run_node(const Invocation& invocation) {
  auto flags = parse_node_flags(invocation.args);
  if (!flags) {
    std::fprintf(stderr, "%s: error: %s\n", invocation.program.c_str(), flags.error().text.c_str());
    return 2;
  }
  if (flags->is_help) {
    std::printf("%.*s\n%s", static_cast<int>(kNodeHelp.size()), kNodeHelp.data(),
                own_flags_text().c_str());
    return 0;
  }
  const auto fail = [&](const Error& error) {
    std::fprintf(stderr, "%s: error: %s\n", invocation.program.c_str(), error.text.c_str());
    return 1;
  };
  SystemClock clock;
  Log::Options log_options;
  if (flags->is_debug) log_options.level = LogLevel::Debug;
  auto log = Log::open(log_options);
  if (!log) return fail(log.error());
  auto loop = io::Loop::open({}, clock);
  if (!loop) return fail(loop.error());
  io::raise_descriptor_limit();
  ::signal(SIGPIPE, SIG_IGN);

  int exit_code = 0;
  std::unique_ptr<workload::Node> node;
  auto signals = io::Signals::open(**loop, {SIGINT, SIGTERM}, [&](int) {
    (*log)->info("Stopping");
    if (node == nullptr) return (*loop)->stop();
    node->stop([&] { (*loop)->stop(); });
  });
  if (!signals) return fail(signals.error());
  auto options = make_node_options(flags->own, {});
  if (!options) return fail(options.error());
  options->connection.servers = {flags->server};
  options->connection.user = flags->user;
  options->connection.password = flags->password;
  options->connection.token = flags->token;
  options->connection.tls = flags->tls;
  options->connection.name = options->name + " (workload node)";
  options->connection.reconnect_attempts_max = -1;
  std::unique_ptr<HttpGateway> gateway;
  if (!flags->own.http_triggers.empty()) {
    auto opened = HttpGateway::open(**loop, **log, flags->own.http_triggers);
    if (!opened) return fail(opened.error());
    gateway = std::move(*opened);
    options->http_routes = &gateway->routes();
  }
  io::Worker resolver("resolver");
  SeededRandom random(secure_seed());
  auto started = workload::Node::start(
      {**loop, resolver, random, **log}, std::move(*options), [&](const Status& ready) {
        if (ready) return (*log)->info("Node is ready");
        (*log)->write(LogLevel::Fatal, "cannot start: " + ready.error().text);
        exit_code = 1;
        (*loop)->stop();
      });
  if (!started) return fail(started.error());
  node = std::move(*started);
  std::unique_ptr<http::Server> metrics;
  if (!flags->metrics_port.empty()) {
    auto served = serve_metrics(**loop, **log, *node, flags->metrics_port);
    if (!served) return fail(served.error());
    metrics = std::move(*served);
  }
  (*loop)->run();
  metrics.reset();
  node.reset();
  gateway.reset();
  return exit_code;
}

}  // namespace brokkr::app
