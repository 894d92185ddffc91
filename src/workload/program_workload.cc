#include "workload/program_workload.h"

#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "base/json.h"
#include "crypto/jwt.h"
#include "crypto/nkey.h"
#include "protocol/info.h"
#include "workload/namespace_egress.h"

namespace brokkr::workload {
namespace {

constexpr size_t kPublishedRelaysMax = 1024;
// Beyond the grace, until a sandbox that does not end is thrown away.
constexpr auto kKillSlack = std::chrono::seconds(2);
constexpr auto kTokenLife = std::chrono::hours(24 * 365);
constexpr int kSignalBase = 128;  // as shells count

std::string make_token() {
  std::array<uint8_t, 24> bytes{};
  fill_secure(bytes);
  return hex_encode({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

// A token for programs that want one beside their seed. Its issuer is nobody: the gate knows the key.
std::string make_user_token(const WorkloadIdentity& identity, const std::string& user, WallTime now) {
  const int64_t seconds =
      std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  crypto::UserClaims claims = crypto::make_user_claims(user);
  claims.name = identity.name;
  claims.exp = seconds + std::chrono::duration_cast<std::chrono::seconds>(kTokenLife).count();
  const auto issuer = crypto::KeyPair::generate(crypto::NkeyType::Account);
  auto token = crypto::encode_jwt(claims, issuer, seconds);
  return token ? *token : std::string();
}

std::map<std::string, std::string> inner_hosts(const ProgramPlan& plan) {
  std::map<std::string, std::string> hosts;
  for (const sandbox::InnerListener& listener : plan.spec.listeners) {
    if (!listener.host_name.empty()) hosts[listener.host_name] = listener.address;
  }
  return hosts;
}

int exit_code_of(const io::ExitStatus& status) {
  return status.is_signalled ? kSignalBase + status.value : status.value;
}

}  // namespace

Result<std::unique_ptr<ProgramWorkload>> ProgramWorkload::make(const Deps& deps, Options options,
                                                               WorkloadEvents events,
                                                               client::DoneHandler on_live) {
  std::unique_ptr<ProgramWorkload> workload(
      new ProgramWorkload(deps, std::move(options), std::move(events), std::move(on_live)));
  if (Status s = workload->open_ports(); !s) return s.error();
  if (Status s = workload->open_gate_listener(); !s) return s.error();
  if (workload->options_.prepare) {
    workload->prepare();
    return workload;
  }
  if (Status s = workload->start_program(); !s) return s.error();
  return workload;
}

void ProgramWorkload::prepare() {
  *run_ = ++runs_;
  options_.prepare([this, run = run_, number = *run_](Result<ProgramPlan>&& plan,
                                                      const std::string& digest) {
    if (*run == number) on_prepared(std::move(plan), digest);
  });
}

void ProgramWorkload::on_prepared(Result<ProgramPlan>&& plan, const std::string& digest) {
  if (state_ != State::Starting) return;
  Status started = plan ? Status() : Status(plan.error());
  if (plan) {
    options_.plan = std::move(*plan);
    options_.identity.sha256 = digest;
    started = start_program();
  }
  if (started) return;
  log_.note("not started: " + started.error().text);
  state_ = State::Stopped;
  has_failed_ = true;
  fail_live(started.error());
}

ProgramWorkload::ProgramWorkload(const Deps& deps, Options options, WorkloadEvents events,
                                 client::DoneHandler on_live)
    : deps_(deps), options_(std::move(options)), events_(std::move(events)),
      on_live_(std::move(on_live)),
      access_(Access::make({options_.identity.ns, options_.identity.name}, options_.grants,
                           options_.namespaces)),
      log_({deps.loop, deps.connection, deps.v1_feed}, options_.identity, options_.plan.log_lines_per_second),
      backoff_(options_.plan.restart),
      egress_({deps.loop, deps.resolver,
               [this](const NetAddress& address, uint16_t port) { return is_server(address, port); }},
              within_namespace(options_.plan.policy, options_.identity.ns, options_.namespaces.records),
              [this](const std::string& line) {
                log_.note(line);
                deps_.log.info("workload: " + options_.identity.ns + "/" + options_.identity.name +
                               ": " + line);
              }),
      names_(deps.loop, [this](std::string_view name) { return may_resolve_inside(name); },
             inner_hosts(options_.plan)),
      relays_(deps.loop, kPublishedRelaysMax), restart_(deps.loop, [this] { restart(); }),
      bury_(deps.loop, [this] { spent_.reset(); }),
      stop_limit_(deps.loop, [this] { finish_stop(); }),
      started_wall_(deps.loop.clock().wall_now()), started_(deps.loop.clock().now()),
      run_(std::make_shared<uint64_t>(0)) {}

ProgramWorkload::~ProgramWorkload() { *run_ = 0; }

Status ProgramWorkload::open_ports() {
  const WorkloadIdentity& identity = options_.identity;
  for (const PublishedPort& port : options_.plan.ports) {
    auto lease = deps_.ports.take(identity.ns + "/" + identity.name, port,
                                  [this, inner = port.port](int fd) { on_published(inner, fd); });
    if (!lease) return lease.error();
    ports_.push_back(std::move(*lease));
  }
  return {};
}

// A program without a sandbox shares the machine's network: its gate is a port here, with a token.
Status ProgramWorkload::open_gate_listener() {
  if (options_.plan.isolation != Isolation::None) return {};
  auto listener = io::Listener::open(deps_.loop, {"127.0.0.1", 0, {}}, [this](int fd) {
    if (gate_ != nullptr) return gate_->accept(fd);
    close(fd);
  });
  if (!listener) return listener.error();
  gate_listener_ = std::move(*listener);
  return {};
}

Pairs ProgramWorkload::connection_environment(const std::string& token, std::string& nkey) const {
  const WorkloadIdentity& identity = options_.identity;
  std::string url = "nats://" + std::string(kGateAddress) + ":" + std::to_string(kGatePort);
  if (gate_listener_ != nullptr) {
    url = "nats://" + token + "@127.0.0.1:" + std::to_string(gate_listener_->address().port);
  }
  const auto user = crypto::KeyPair::generate(crypto::NkeyType::User);
  nkey = user.public_key();
  const WallTime now = deps_.loop.clock().wall_now();
  return {{"NATS_URL", url},
          {"NEX_WORKLOAD_NATS_SERVERS", url},
          {"NEX_WORKLOAD_NATS_NKEY", user.seed()},
          {"NEX_WORKLOAD_NATS_B64_JWT", base64_encode(make_user_token(identity, nkey, now))},
          {"NEX_WORKLOAD_ID", identity.id},
          {"NEX_WORKLOAD_NAMESPACE", identity.ns}};
}

Status ProgramWorkload::start_program() {
  const ProgramPlan& plan = options_.plan;
  *run_ = ++runs_;
  has_started_ = false;
  unhealthy_.clear();
  run_started_ = deps_.loop.clock().now();
  Gate::Options gate;
  gate.access = access_;
  if (gate_listener_ != nullptr) gate.token = make_token();
  const Pairs connection = connection_environment(gate.token, gate.user_nkey);
  gate_ = options_.make_gate(std::move(gate));
  sandbox::ProgramSpec spec = plan.spec;
  spec.environment = merge_environment({&plan.environment, &connection, &plan.declared});
  if (gate_listener_ != nullptr) spec.listeners.clear();
  sandbox::ProgramEvents events;
  events.on_started = [this](pid_t pid, uint32_t layers) { on_started(pid, layers); };
  events.on_output = [this](sandbox::OutputStream stream, std::string_view bytes) {
    log_.write(stream == sandbox::OutputStream::Stdout, bytes);
  };
  events.on_connection = [this](size_t listener, int fd) { on_connection(listener, fd); };
  events.on_exit = [this](const io::ExitStatus& status, bool is_memory_kill,
                          const std::string& reason) { on_exit(status, is_memory_kill, reason); };
  auto program = options_.start(std::move(spec), std::move(events));
  if (!program) {
    gate_.reset();
    return program.error();
  }
  program_ = std::move(*program);
  return {};
}

void ProgramWorkload::restart() {
  ++restarts_;
  const Status started = start_program();
  if (!started) on_exit({false, 127}, false, started.error().text);
}

void ProgramWorkload::on_started(pid_t, uint32_t layers) {
  has_started_ = true;
  layers_ = layers;
  run_started_ = deps_.loop.clock().now();
  for (const auto& port : ports_) port->set_live(true);
  if (state_ == State::Stopping) return;
  if (!has_health_check()) {
    become_live();
    return set_healthy(true);
  }
  health_ = std::make_unique<HealthMonitor>(
      deps_.loop, HealthMonitor::choose(options_.plan.health),
      [this](HealthMonitor::Answer answer) { probe(std::move(answer)); },
      [this](bool is_healthy, const std::string& why) { on_health(is_healthy, why); });
}

void ProgramWorkload::become_live() {
  if (state_ != State::Starting) return;
  state_ = State::Live;
  if (const auto on_live = std::move(on_live_)) on_live({});
}

void ProgramWorkload::fail_live(const Error& error) {
  last_error_ = error.text;
  deps_.loop.post([on_live = std::move(on_live_), error] {
    if (on_live) on_live(error);
  });
}

void ProgramWorkload::set_healthy(bool is_healthy) {
  if (is_healthy_ == is_healthy) return;
  is_healthy_ = is_healthy;
  if (state_ == State::Live && events_.health) events_.health(is_healthy);
}

void ProgramWorkload::on_connection(size_t listener, int fd) {
  if (listener == 0) {
    if (gate_ != nullptr) return gate_->accept(fd);
  } else if (listener == options_.plan.names_listener) {
    return names_.attach(fd);
  } else if (listener <= options_.plan.egress.size()) {
    return accept_egress(options_.plan.egress[listener - 1], fd);
  }
  close(fd);
}

// Where any address leads, the one that was connected to says what is meant.
void ProgramWorkload::accept_egress(EgressTarget target, int fd) {
  if (target.host.empty()) {
    const NetAddress address = inner_address_of(fd);
    target.host = names_.find(address).value_or(address.text());
  }
  egress_.accept(target, fd);
}

bool ProgramWorkload::may_resolve_inside(std::string_view name) const {
  const auto& targets = options_.plan.egress;
  return std::any_of(targets.begin(), targets.end(), [&](const EgressTarget& target) {
    return target.host.empty() && egress_.policy().may_resolve(name, target.port);
  });
}

bool ProgramWorkload::is_server(const NetAddress& address, uint16_t port) const {
  const protocol::ServerInfo& info = deps_.connection.server_info();
  const std::string end = ":" + std::to_string(port);
  bool is_port = info.port == port;
  for (const auto* urls : {&info.connect_urls, &info.ws_connect_urls}) {
    for (const std::string& url : *urls) {
      if (url == address.text() + end) return true;
      is_port = is_port || url.ends_with(end);
    }
  }
  return is_port && !is_public_address(address);
}

void ProgramWorkload::on_published(uint16_t port, int fd) {
  auto outer = io::adopt_socket(deps_.loop, fd);
  if (!outer || program_ == nullptr || relays_.is_full()) return;
  // The program may go before it answers; what waits for it goes with the handler.
  program_->connect(port, [this, run = run_, number = *run_,
                           outer = std::move(*outer)](Result<int> inner) mutable {
    if (*run != number) {
      if (inner) close(*inner);
      return;
    }
    if (!inner) return;
    auto stream = io::adopt_socket(deps_.loop, *inner);
    if (stream) relays_.add(std::move(outer), std::move(*stream));
  });
}

void ProgramWorkload::probe(HealthMonitor::Answer answer) {
  const HealthCheck& check = options_.plan.health;
  const Duration timeout = HealthMonitor::choose(check).timeout;
  switch (check.kind) {
    case HealthCheck::Kind::None: return;
    case HealthCheck::Kind::Command:
      return program_->execute(check.command, timeout,
                               [answer = std::move(answer)](int code, const std::string& output) {
                                 answer(code == 0, code == 0 ? "" : "exit code " +
                                                        std::to_string(code) + ": " + output);
                               });
    case HealthCheck::Kind::Tcp:
      return program_->connect(check.port, [answer = std::move(answer)](Result<int> fd) {
        if (fd) close(*fd);
        answer(static_cast<bool>(fd), fd ? "" : fd.error().text);
      });
    case HealthCheck::Kind::Service: {
      // Past the server: the replicas share the name, and only this one is meant.
      auto shared = std::make_shared<HealthMonitor::Answer>(std::move(answer));
      const Status asked = gate_->ask("$SRV.PING." + check.service, [shared] { (*shared)(true, ""); });
      if (!asked) (*shared)(false, asked.error().text);
      return;
    }
  }
}

void ProgramWorkload::on_health(bool is_healthy, const std::string& why) {
  const std::string reason = why.substr(0, why.find('\n'));
  json::Writer event;
  event.begin_object().field("id", options_.identity.id);
  event.field("namespace", options_.identity.ns).field("name", options_.identity.name);
  event.field("healthy", is_healthy).field("reason", reason).end_object();
  const Status sent = deps_.connection.publish(
      event_subject(options_.identity.ns, "WORKLOADHEALTH"), event.text());
  if (!sent) deps_.log.debug("workload: event not sent: " + sent.error().text);
  if (state_ == State::Stopping) return;
  if (is_healthy) {
    become_live();
    return set_healthy(true);
  }
  log_.note("unhealthy: " + reason);
  last_error_ = "unhealthy: " + reason;
  set_healthy(false);
  // A program that is never started again is better ill than gone.
  if (state_ == State::Live && options_.plan.restart.kind == RestartPolicy::Kind::Never) return;
  unhealthy_ = "unhealthy: " + reason;
  health_.reset();
  if (program_ != nullptr) program_->stop(options_.plan.stop_grace);
}

// What belongs to one run goes with it.
void ProgramWorkload::end_run() {
  *run_ = ++runs_;
  for (const auto& port : ports_) port->set_live(false);
  health_.reset();
  egress_.clear();
  relays_.clear();
  gate_.reset();
  log_.finish_lines();
  spent_ = std::move(program_);
  bury_.start(Duration::zero());
}

void ProgramWorkload::on_exit(const io::ExitStatus& status, bool is_memory_kill,
                              const std::string& reason) {
  const bool had_started = has_started_;
  const Duration ran = deps_.loop.clock().now() - run_started_;
  end_run();
  ++ended_runs_;
  exit_code_ = exit_code_of(status);
  is_success_ = exit_code_ == 0 && unhealthy_.empty() && reason.empty();
  std::string text = status.text();
  if (!had_started) {
    text = "not started: " + (reason.empty() ? text : reason);
  } else if (is_memory_kill) {
    ++memory_kills_;
    text = "killed for its memory: more than " +
           std::to_string(options_.plan.spec.limits.memory_bytes >> 20) + " MiB";
  } else if (!unhealthy_.empty()) {
    text = unhealthy_;
  } else if (!reason.empty()) {
    text += ": " + reason;
  }
  if (state_ == State::Stopping) {
    publish_exit(status, text, {}, false);
    return stop_limit_.start(Duration::zero());
  }
  if (!is_success_) last_error_ = text;
  if (state_ == State::Starting) {
    log_.note(text);
    state_ = State::Stopped;
    has_failed_ = true;
    return fail_live({had_started ? Errc::Unavailable : Errc::InvalidArgument, text});
  }
  const std::optional<Duration> pause = backoff_.next(is_success_, ran, deps_.random);
  publish_exit(status, text, pause.value_or(Duration::zero()), pause.has_value());
  if (!pause) return give_up(exit_code_, is_success_ ? std::string() : text);
  set_healthy(false);
  if (state_ == State::Live) restart_.start(*pause);
}

void ProgramWorkload::give_up(int exit_code, const std::string& error) {
  state_ = State::Stopped;
  is_healthy_ = false;
  has_failed_ = !error.empty();
  ports_.clear();
  if (events_.ended) events_.ended(exit_code, error);
}

void ProgramWorkload::publish_exit(const io::ExitStatus& status, const std::string& text,
                                   Duration pause, bool is_again) {
  const WorkloadIdentity& identity = options_.identity;
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(pause);
  const std::string line = text + (is_again ? ", starts again in " + format_go_duration(milliseconds)
                                            : std::string());
  if (!is_success_ || is_again) log_.note(line);
  deps_.log.info("workload: " + identity.ns + "/" + identity.name + ": " + line);
  json::Writer event;
  event.begin_object().field("id", identity.id).field("namespace", identity.ns);
  event.field("name", identity.name).field("workload_type", identity.workload_type);
  event.field("exit_code", exit_code_of(status)).field("reason", text);
  event.field("restarts", restarts_).field("starts_again", is_again);
  if (is_again) event.field("pause_ms", static_cast<int64_t>(milliseconds.count()));
  const Status sent = deps_.connection.publish(event_subject(identity.ns, "WORKLOADEXITED"),
                                               event.end_object().text());
  if (!sent) deps_.log.debug("workload: event not sent: " + sent.error().text);
}

void ProgramWorkload::stop(Duration grace, Callback<void()> on_stopped) {
  on_stopped_ = std::move(on_stopped);
  restart_.stop();
  if (state_ == State::Starting) fail_live({Errc::Closed, "stopped before it was live"});
  for (const auto& port : ports_) port->set_live(false);
  if (state_ != State::Stopped) state_ = State::Stopping;
  health_.reset();
  if (program_ == nullptr) return stop_limit_.start(Duration::zero());
  const Duration chosen = grace > Duration::zero() ? grace : options_.plan.stop_grace;
  stop_limit_.start(chosen + kKillSlack);
  program_->stop(chosen);
}

void ProgramWorkload::finish_stop() {
  state_ = State::Stopped;
  is_healthy_ = false;
  if (program_ != nullptr) end_run();
  ports_.clear();
  spent_.reset();
  if (const auto on_stopped = std::move(on_stopped_)) on_stopped();
}

void ProgramWorkload::set_namespaces(const Namespaces& namespaces) {
  access_ = Access::make({options_.identity.ns, options_.identity.name}, options_.grants, namespaces);
  if (gate_ != nullptr) gate_->set_access(access_);
  egress_.set_policy(within_namespace(options_.plan.policy, options_.identity.ns, namespaces.records));
}

WorkloadSummary ProgramWorkload::summary() const {
  const WorkloadIdentity& identity = options_.identity;
  WorkloadSummary summary;
  summary.id = identity.id;
  summary.ns = identity.ns;
  summary.name = identity.name;
  summary.start_time = format_rfc3339(started_wall_);
  summary.runtime = format_uptime(deps_.loop.clock().now() - started_);
  summary.workload_type = identity.workload_type;
  summary.workload_lifecycle = identity.workload_lifecycle;
  switch (state_) {
    case State::Starting: summary.workload_state = "starting"; break;
    case State::Live: summary.workload_state = is_healthy_ ? "running" : "error"; break;
    case State::Stopping: summary.workload_state = "stopping"; break;
    case State::Stopped: summary.workload_state = has_failed_ ? "error" : "stopped"; break;
  }
  summary.metadata = identity.metadata;
  summary.tags = identity.tags;
  return summary;
}

WorkloadInfo ProgramWorkload::info() const {
  WorkloadInfo info;
  info.summary = summary();
  info.description = options_.identity.description;
  info.sha256 = options_.identity.sha256;
  info.artifact_bytes = options_.identity.artifact_bytes;
  info.file_name = options_.plan.file_name;
  info.limits.log_lines_per_second = options_.plan.log_lines_per_second;
  info.instances = program_ != nullptr ? 1 : 0;
  info.restarts = restarts_;
  info.log_lines_dropped = log_.dropped();
  if (program_ != nullptr) info.memory_bytes = program_->usage().memory_bytes;
  info.last_error = last_error_;
  fill_program(info.program);
  return info;
}

void ProgramWorkload::fill_program(ProgramInfo& into) const {
  const ProgramPlan& plan = options_.plan;
  into.isolation = plan.isolation == Isolation::None      ? "none"
                   : plan.isolation == Isolation::MicroVm ? "microvm"
                                                          : "sandbox";
  into.runs = ended_runs_;
  into.exit_code = exit_code_;
  for (const auto& lease : ports_) {
    const PublishedPort& port = lease->port();
    into.ports.push_back(port.host + ":" + std::to_string(port.host_port) + ":" +
                         std::to_string(port.port));
  }
  into.egress = plan.egress_ranges;
  for (const EgressTarget& target : plan.egress) {
    if (!target.host.empty()) into.egress.push_back(to_text(target));
  }
  into.memory_bytes_max = plan.spec.limits.memory_bytes;
  into.memory_kills = memory_kills_;
  into.egress_connections = egress_.counters().connections;
  into.egress_refused = egress_.counters().refused;
  if (program_ == nullptr) return;
  into.monitor = program_->monitor();
  into.pid = static_cast<uint32_t>(program_->pid());
  into.layers = sandbox::layer_names(layers_);
  const sandbox::ProgramUsage usage = program_->usage();
  into.cpu_ns = usage.cpu_ns;
  into.pids = usage.pids;
  if (has_health_check()) {
    const bool is_known = is_healthy_ || (health_ != nullptr && health_->failures() > 0);
    into.health = is_healthy_ ? "healthy" : is_known ? "unhealthy" : "starting";
  }
  if (gate_ == nullptr) return;
  const Gate::Counters counters = gate_->counters();
  into.connections = counters.connections;
  into.out_msgs = counters.in_msgs;
  into.in_msgs = counters.out_msgs;
  into.violations = counters.violations;
}

WorkloadLog ProgramWorkload::log() const {
  WorkloadLog log;
  log.id = options_.identity.id;
  log.name = options_.identity.name;
  for (const KeptLog::Entry& entry : log_.kept().entries()) {
    log.entries.push_back(
        {format_rfc3339(entry.time), entry.is_stdout ? "stdout" : "stderr", entry.text});
  }
  return log;
}

}  // namespace brokkr::workload
