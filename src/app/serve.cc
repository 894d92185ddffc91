// `brokkr serve`, `brokkr up` and nats-server's command line: reads the configuration, runs the
// server, obeys signals.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "app/ask_loop.h"
#include "app/embedded_node.h"
#include "app/http_gateway.h"
#include "app/jetstream_setup.h"
#include "app/process_files.h"
#include "app/program.h"
#include "app/server_options.h"
#include "auth/authenticator.h"
#include "base/log.h"
#include "broker/monitor.h"
#include "broker/server.h"
#include "broker/system/system_services.h"
#include "config/flags.h"
#include "config/loader.h"
#include "config/reload.h"
#include "config/parser.h"
#include "io/loop.h"
#include "io/signals.h"
#include "io/socket.h"
#include "jetstream/s2.h"

namespace brokkr::app {
namespace {

Log::Options log_options(const config::Options& options) {
  Log::Options out;
  out.level = options.trace ? LogLevel::Trace : options.debug ? LogLevel::Debug : LogLevel::Info;
  out.logtime = options.logtime;
  out.logtime_utc = options.logtime_utc;
  out.file = options.log_file;
  out.file_bytes_max = static_cast<uint64_t>(std::max<int64_t>(options.log_size_limit, 0));
  out.colors = options.log_file.empty() && isatty(STDERR_FILENO) != 0;
  return out;
}

// A server and everything beside it, from the options to the last signal.
class ServerProgram {
 public:
  ServerProgram(Invocation invocation, config::Flags flags, OwnFlags own, bool with_node)
      : invocation_(std::move(invocation)),
        flags_(std::move(flags)),
        own_(std::move(own)),
        with_node_(with_node) {}

  // Returns the exit code.
  int run(config::Options options) {
    options_ = std::move(options);
    if (Status started = start(); !started) {
      const std::string text = "cannot start: " + started.error().text;
      if (log_ != nullptr) {
        log_->write(LogLevel::Fatal, text);
      } else {
        std::fprintf(stderr, "%s: %s\n", invocation_.program.c_str(), text.c_str());
      }
      stop();
      return 1;
    }
    loop_->run();
    stop();
    return exit_code_;
  }

 private:
  Status start() {
    auto log = Log::open(log_options(options_));
    if (!log) return log.error();
    log_ = std::move(*log);
    io::raise_descriptor_limit();
    ::signal(SIGPIPE, SIG_IGN);
    auto loop = io::Loop::open({}, clock_);
    if (!loop) return loop.error();
    loop_ = std::move(*loop);
    // Before any thread starts, so that all inherit the mask.
    auto signals = io::Signals::open(*loop_, {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2},
                                     [this](int number) { on_signal(number); });
    if (!signals) return signals.error();
    signals_ = std::move(*signals);
    if (Status server = start_server(); !server) return server;
    if (Status monitor = start_monitor(); !monitor) return monitor;
    if (Status files = write_files(); !files) return files;
    if (!with_node_) {
      log_->info("Server is ready");
      return {};
    }
    return start_node();
  }

  // The server is ready once its node is.
  Status start_node() {
    auto options = make_node_options(own_, options_);
    if (!options) return options.error();
    // Who starts server and node in one deploys from this machine; other namespaces need a grant.
    if (!own_.node_files) options->node_files = {"/"};
    if (!own_.http_triggers.empty()) {
      auto gateway = HttpGateway::open(*loop_, *log_, own_.http_triggers);
      if (!gateway) return gateway.error();
      gateway_ = std::move(*gateway);
      options->http_routes = &gateway_->routes();
    }
    auto node = EmbeddedNode::start(*loop_, *log_, *server_, std::move(*options),
                                    [this](const Status& ready) {
                                      if (ready) return log_->info("Server is ready");
                                      log_->write(LogLevel::Fatal,
                                                  "workload node: " + ready.error().text);
                                      exit_code_ = 1;
                                      loop_->stop();
                                    });
    if (!node) return node.error();
    node_ = std::move(*node);
    return {};
  }

  Status start_server() {
    auto authenticator = auth::Authenticator::make(options_);
    if (!authenticator) return authenticator.error();
    broker::Server::Options options;
    auto settings = make_settings(options_);
    if (!settings) return settings.error();
    options.settings = std::move(*settings);
    options.authenticator = *authenticator;
    options.loops = choose_loops(options_, own_.loops);
    auto server = broker::Server::open(std::move(options), *loop_, clock_, *log_);
    if (!server) return server.error();
    server_ = std::move(*server);
    server_->system().set_reload([this] { return reload(); });
    server_->system().set_snappy(jetstream::encode_snappy);
    greet();
    if (Status jetstream = start_jetstream(); !jetstream) return jetstream;
    if (Status leafs = server_->configure_leafs(options_.leafnodes); !leafs) return leafs;
    if (Status websocket = listen_websocket(); !websocket) return websocket;
    const uint16_t port = options_.port < 0    ? uint16_t{0}
                          : options_.port == 0 ? uint16_t{4222}
                                               : static_cast<uint16_t>(options_.port);
    const std::string host = options_.host == "0.0.0.0" ? "" : options_.host;
    return server_->listen({host, port, {}});
  }

  Status listen_websocket() {
    const config::WebsocketOptions& from = options_.websocket;
    if (from.port == 0) return {};
    const uint16_t port = from.port < 0 ? uint16_t{0} : static_cast<uint16_t>(from.port);
    return server_->listen_websocket({from.host == "0.0.0.0" ? "" : from.host, port, {}});
  }

  // Before clients are let in: they must find their streams.
  Status start_jetstream() {
    if (!options_.jetstream) return {};
    log_->info("Starting JetStream");
    const MonotonicTime begin = clock_.now();
    auto options = make_jetstream_options(
        options_, *server_->snapshot()->authenticator->accounts(), default_store_folder());
    if (Status folder = check_store_folder(options.store_directory); !folder) return folder;
    const std::string where = options.store_directory;
    auto jetstream = jetstream::JetStream::start(*server_, *loop_, std::move(options), *log_);
    if (!jetstream) {
      return Error{jetstream.error().code,
                   "JetStream in " + where + ": " + jetstream.error().text};
    }
    jetstream_ = std::move(*jetstream);
    server_->set_on_accounts_changed([this](const auth::AccountTable& accounts) {
      if (jetstream_ != nullptr) jetstream_->set_accounts(jetstream_accounts(accounts));
    });
    announce_jetstream(*log_, *jetstream_);
    log_->info("Took " + format_go_duration(clock_.now() - begin) + " to start JetStream");
    return {};
  }

  std::string default_store_folder() const {
    if (invocation_.program == "nats-server") {
      log_->warn("Temporary storage directory used, data could be lost on system reboot");
      return "/tmp/nats";
    }
    if (!own_.data_dir.empty()) return own_.data_dir;
    return options_.data_dir.empty() ? default_data_dir() : options_.data_dir;
  }

  void greet() {
    const auto& settings = *server_->snapshot()->settings;
    log_->info("Starting brokkr (client protocol of nats-server " +
               std::string(broker::kServerVersion) + ")");
    log_->info("  Version:  " + std::string(kVersion));
    log_->info("  Name:     " + settings.server_name);
    log_->info("  ID:       " + settings.server_id);
    if (!options_.config_file.empty()) {
      log_->info("Using configuration file: " + options_.config_file + " (" +
                 options_.config_digest + ")");
    }
    const std::string later = config::later_keys_warning(options_);
    if (!later.empty()) log_->warn(later);
    if (server_->snapshot()->authenticator->has_plain_passwords()) {
      log_->warn("Plaintext passwords detected, use nkeys or bcrypt");
    }
  }

  Status start_monitor() {
    if (options_.http_port == 0 && options_.https_port == 0) return {};
    auto options = make_monitor_options(options_);
    if (!options) return options.error();
    options->more_metrics = [this] { return node_metrics(); };
    auto monitor = broker::Monitor::open(std::move(*options), *server_, *log_);
    if (!monitor) return monitor.error();
    monitor_ = std::move(*monitor);
    return {};
  }

  // Of the workloads, which belong to the main loop; asked on the monitor's threads.
  std::string node_metrics() {
    if (!with_node_) return {};
    const auto answer = [this] { return node_ != nullptr ? node_->node().metrics() : std::string(); };
    return ask_loop(*loop_, answer, std::chrono::seconds(2));
  }

  // The HTTPS port shows the certificate that is there now.
  void reload_monitor() {
    if (monitor_ == nullptr || !monitor_->is_https()) return;
    auto options = make_monitor_options(options_);
    if (!options) return log_->error("https monitor keeps its certificate: " + options.error().text);
    options->port = monitor_->port();
    if (options->tls_certificate == monitor_->options().tls_certificate &&
        options->tls_key == monitor_->options().tls_key) {
      return;
    }
    options->more_metrics = [this] { return node_metrics(); };
    monitor_.reset();
    auto monitor = broker::Monitor::open(std::move(*options), *server_, *log_);
    if (!monitor) return log_->error("https monitor: " + monitor.error().text);
    monitor_ = std::move(*monitor);
  }

  io::Address monitor_address() const {
    const std::string host = options_.http_host.empty() ? options_.host : options_.http_host;
    return {host, monitor_->port(), {}};
  }

  // Writes the files of the process anew where a reload moved them to.
  Status move_files(const config::Options& old) {
    if (options_.pid_file == old.pid_file && options_.ports_file_dir == old.ports_file_dir) {
      return {};
    }
    pid_file_ = {};
    ports_file_ = {};
    return write_files();
  }

  Status write_files() {
    if (!options_.pid_file.empty()) {
      auto file = ProcessFile::write(options_.pid_file, std::to_string(getpid()));
      if (!file) return file.error();
      pid_file_ = std::move(*file);
    }
    if (!options_.ports_file_dir.empty()) {
      const auto snapshot = server_->snapshot();
      std::vector<io::Address> monitoring;
      if (monitor_ != nullptr) monitoring.push_back(monitor_address());
      const std::string_view websocket_scheme = options_.websocket.tls ? "wss" : "ws";
      auto file =
          ProcessFile::write(ports_file_path(options_.ports_file_dir, invocation_.program),
                             ports_file_content({{"nats", "nats", snapshot->addresses},
                                                 {"monitoring", "http", monitoring},
                                                 {"websocket", websocket_scheme,
                                                  snapshot->websocket_addresses}}));
      if (!file) return file.error();
      ports_file_ = std::move(*file);
    }
    return {};
  }

  void on_signal(int number) {
    switch (number) {
      case SIGHUP: return static_cast<void>(reload());
      case SIGUSR1:
        if (Status reopened = log_->reopen(); !reopened) log_->error(reopened.error().text);
        return log_->info("File log re-opened");
      case SIGUSR2:
        return server_->enter_lame_duck([this] {
          log_->info("Lame duck mode is over, all clients are gone");
          end();
        });
      default:
        log_->info("Trapped \"" + std::string(number == SIGINT ? "interrupt" : "terminated") +
                   "\" signal");
        return end();
    }
  }

  // The node hands over before the broker goes, then what is stored is made durable. Asked twice:
  // at once.
  void end() {
    if (is_ending_) return loop_->stop();
    is_ending_ = true;
    server_->system().announce_shutdown();
    if (node_ == nullptr) return end_jetstream();
    node_->stop([this] { end_jetstream(); });
  }
  void end_jetstream() {
    if (jetstream_ == nullptr) return loop_->stop();
    jetstream_->stop([this] { loop_->stop(); });
  }

  // By signal or through the system account; what was wrong is logged and told.
  Status reload() {
    Status done = try_reload();
    if (!done) log_->error("Failed to reload server configuration: " + done.error().text);
    return done;
  }

  Status try_reload() {
    if (flags_.config_file.empty()) {
      return Error{Errc::InvalidArgument, "can only reload config when a file is provided using -c or --config"};
    }
    config::SystemSources sources;
    config::Loaded loaded = config::load_with_flags(flags_, sources, base_options(options_));
    if (!loaded.errors.empty()) return Error{Errc::Syntax, loaded.error_text()};
    const config::Difference difference = config::compare(options_, loaded.options);
    if (!difference.errors.empty()) {
      std::string all;
      for (const std::string& error : difference.errors)
        all.append(all.empty() ? "" : "; ").append(error);
      return Error{Errc::InvalidArgument, all};
    }
    auto authenticator =
        auth::Authenticator::make(loaded.options, server_->snapshot()->authenticator.get());
    if (!authenticator) return authenticator.error();
    auto made = make_settings(loaded.options);
    if (!made) return made.error();
    if (Status log = log_->change(log_options(loaded.options)); !log) return log;
    const config::Options old = std::exchange(options_, std::move(loaded.options));
    if (Status files = move_files(old); !files) log_->warn(files.error().text);
    broker::Settings settings = std::move(*made);
    const auto& before = *server_->snapshot()->settings;
    settings.server_id = before.server_id;
    if (settings.server_name.empty()) settings.server_name = before.server_name;
    server_->reload(std::move(settings), std::move(*authenticator));
    reload_monitor();
    if (Status leafs = server_->configure_leafs(options_.leafnodes); !leafs) {
      log_->error("Failed to reload leaf nodes: " + leafs.error().text);
    }
    for (const std::string& name : difference.hot) log_->info("Reloaded: " + name);
    log_->info("Reloaded server configuration");
    return {};
  }

  // What a reload starts from: what the file does not say goes back to its default.
  config::Options base_options(const config::Options& running) const {
    config::Options base;
    base.data_dir = running.data_dir;
    base.jetstream = with_node_;
    return base;
  }

  void stop() {
    node_.reset();
    gateway_.reset();
    monitor_.reset();
    jetstream_.reset();
    if (server_ != nullptr) {
      log_->info("Initiating Shutdown...");
      server_->stop();
      server_.reset();
      log_->info("Server Exiting..");
    }
    signals_.reset();
  }

  const Invocation invocation_;
  const config::Flags flags_;
  const OwnFlags own_;
  const bool with_node_;
  config::Options options_;
  SystemClock clock_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<io::Signals> signals_;
  std::unique_ptr<broker::Server> server_;
  std::unique_ptr<jetstream::JetStream> jetstream_;
  std::unique_ptr<broker::Monitor> monitor_;
  std::unique_ptr<HttpGateway> gateway_;
  std::unique_ptr<EmbeddedNode> node_;
  int exit_code_ = 0;
  ProcessFile pid_file_;
  ProcessFile ports_file_;
  bool is_ending_ = false;
};

// Tries as well what a start makes of it: certificates, keys and JWTs.
int test_config(const Invocation& invocation, const config::Loaded& loaded) {
  const char* program = invocation.program.c_str();
  for (const auto& warning : loaded.warnings) {
    std::fprintf(stderr, "%s: %s\n", program, warning.to_string().c_str());
  }
  const auto settings = make_settings(loaded.options);
  const auto authenticator = auth::Authenticator::make(loaded.options);
  if (!settings || !authenticator) {
    const Error& error = settings ? authenticator.error() : settings.error();
    std::fprintf(stderr, "%s: %s\n", program, error.text.c_str());
    return 1;
  }
  std::fprintf(stderr, "%s: configuration file %s is valid (%s)\n", program,
               loaded.options.config_file.c_str(), loaded.options.config_digest.c_str());
  return 0;
}

}  // namespace

int run_server(const Invocation& invocation, bool with_node) {
  const char* program = invocation.program.c_str();
  std::vector<std::string> args = invocation.args;
  const bool is_nats_server = invocation.program == "nats-server";
  auto own = take_own_flags(args);
  auto flags = config::parse_flags(args);
  if (!own || !flags) {
    const Error& error = own ? flags.error() : own.error();
    std::fprintf(stderr, "%s: %s\n", program, error.text.c_str());
    if (error.code == Errc::InvalidArgument) return 1;
    std::fprintf(stderr, "%s", config::usage_text(program).c_str());
    return 2;
  }
  using Action = config::Flags::Action;
  switch (flags->action) {
    case Action::ShowVersion:
      if (is_nats_server) {
        std::printf("nats-server: v%s\n", std::string(broker::kServerVersion).c_str());
      } else {
        std::printf("brokkr %s\n", std::string(kVersion).c_str());
      }
      return 0;
    case Action::ShowHelp:
      std::printf("%s%s", config::usage_text(program).c_str(), own_flags_text().c_str());
      return 0;
    case Action::ShowTlsHelp: std::printf("%s", config::tls_help_text().c_str()); return 0;
    case Action::Signal: return send_signal(invocation, flags->signal);
    case Action::Run:
    case Action::TestConfig: break;
  }
  config::SystemSources sources;
  config::Options base;
  // Under its own name the server is for this machine unless told otherwise.
  if (!is_nats_server) base.host = "127.0.0.1";
  base.jetstream = with_node;
  config::Loaded loaded = config::load_with_flags(*flags, sources, base);
  if (!loaded.errors.empty()) {
    for (const auto& error : loaded.errors) {
      std::fprintf(stderr, "%s: %s\n", program, error.to_string().c_str());
    }
    return 1;
  }
  if (flags->action == Action::TestConfig) return test_config(invocation, loaded);
  return ServerProgram(invocation, *flags, *own, with_node).run(std::move(loaded.options));
}

}  // namespace brokkr::app
