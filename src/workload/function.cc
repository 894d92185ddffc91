#include "workload/function.h"

#include <algorithm>

#include "base/json.h"
#include "protocol/headers.h"

namespace brokkr::workload {
namespace {

constexpr auto kRestartPauseMin = std::chrono::milliseconds(50);
constexpr auto kRestartPauseMax = std::chrono::seconds(5);
// An instance that has lived so long has proved itself.
constexpr auto kHealthyAfter = std::chrono::seconds(10);
constexpr auto kSweepEvery = std::chrono::milliseconds(50);
constexpr auto kFlushTimeout = std::chrono::seconds(5);
// The instance keeps to its own limit; this holds when it does not.
constexpr uint64_t kLogSlack = 2;
constexpr uint64_t kLogBytesPerSecondMax = 4U << 20;
constexpr size_t kErrorBytesMax = 4U << 10;
constexpr size_t kStackBytesMax = 16U << 10;
// What the calls waiting for room may take in memory.
constexpr size_t kQueuedPayloadMax = 1U << 20;

// One line, safe as a header value.
std::string header_line(std::string_view text) {
  std::string line(text.substr(0, text.find_first_of("\r\n")));
  line.resize(std::min<size_t>(line.size(), 512));
  return line;
}

}  // namespace

DeployedFunction::DeployedFunction(const Deps& deps, FunctionOptions options,
                                   client::DoneHandler on_live)
    : deps_(deps), options_(std::move(options)), on_live_(std::move(on_live)),
      host_calls_(std::make_unique<HostCalls>(
          HostCalls::Deps{deps.loop, deps.connection, deps.host_services}, options_.rights)),
      sweep_(deps.loop, [this] { sweep_queue(); }),
      restart_(deps.loop, [this] { add_instance(); }),
      bury_(deps.loop, [this] { bury(); }),
      stop_limit_(deps.loop, [this] { finish_stop(); }),
      stdout_subject_(log_subject(options_.ns, options_.id, "stdout")),
      stderr_subject_(log_subject(options_.ns, options_.id, "stderr")),
      log_limit_(kLogSlack * options_.limits.log_lines_per_second, kLogBytesPerSecondMax),
      started_wall_(deps.loop.clock().wall_now()), started_(deps.loop.clock().now()) {
  add_instance();
}

DeployedFunction::~DeployedFunction() = default;

void DeployedFunction::add_instance() {
  restart_.stop();
  instances_.push_back(std::make_unique<Instance>(deps_.instance, options_.instance, *this));
}

void DeployedFunction::on_ready(Instance&) {
  last_ready_ = deps_.loop.clock().now();
  if (state_ == State::Starting && triggers_.empty()) return subscribe();
  dispatch_queue();
}

void DeployedFunction::subscribe() {
  for (const std::string& subject : options_.trigger_subjects) {
    auto subscription = deps_.connection.subscribe(
        subject, [this](const client::Message& message) { on_message(message); },
        {.queue = options_.queue_group});
    if (!subscription) return fail_start(subscription.error());
    (*subscription)->on_error([this](const Error& error) {
      last_error_ = error.text;
      fail_start(error);
    });
    triggers_.push_back(std::move(*subscription));
  }
  deps_.connection.flush(kFlushTimeout, [this](const Status& flushed) {
    if (state_ != State::Starting) return;
    if (!flushed) return fail_start(flushed.error());
    state_ = State::Live;
    if (const auto on_live = std::move(on_live_)) on_live({});
  });
}

void DeployedFunction::fail_start(Error error) {
  if (state_ != State::Starting) return;
  state_ = State::Stopped;
  triggers_.clear();
  deps_.loop.post([on_live = std::move(on_live_), error = std::move(error)] {
    if (on_live) on_live(error);
  });
}

void DeployedFunction::on_load_failed(Instance& instance, const std::string& reason) {
  last_error_ = reason;
  instance.kill(runtime::OutcomeCode::Exception, reason);
  fail_start({Errc::Syntax, reason});
}

void DeployedFunction::on_message(const client::Message& message) {
  ++calls_;
  const MonotonicTime now = deps_.loop.now();
  // While calls wait, later ones do not overtake them.
  Instance* instance = queue_.empty() ? find_instance_with_room() : nullptr;
  if (instance != nullptr) {
    return instance->call(message.subject, message.reply, message.headers, message.payload, now);
  }
  const bool is_full = queue_.size() >= options_.limits.queue ||
                       (queue_.size() > options_.limits.queue / 8 &&
                        message.payload.size() > kQueuedPayloadMax / 8);
  if (is_full || state_ == State::Stopped) {
    const std::string error =
        "no capacity: " + std::to_string(queue_.size()) + " calls are waiting";
    CallResult result;
    result.code = runtime::OutcomeCode::NoCapacity;
    result.error = error;
    return answer(message.reply, now, result);
  }
  queue_.push_back({std::string(message.subject), std::string(message.reply),
                    std::string(message.headers), std::string(message.payload), now});
  if (!sweep_.is_armed()) sweep_.start(kSweepEvery);
}

Instance* DeployedFunction::find_instance_with_room() {
  Instance* best = nullptr;
  uint32_t starting = 0;
  for (const auto& instance : instances_) {
    if (instance->state() == Instance::State::Starting) ++starting;
    if (!instance->has_room()) continue;
    if (best == nullptr || instance->in_flight() < best->in_flight()) best = instance.get();
  }
  // Another instance, when it may have one, is worth its cost as soon as all have work.
  const bool may_grow = instances_.size() < options_.limits.max_instances && starting == 0;
  if (may_grow && state_ == State::Live && (best == nullptr || best->in_flight() > 0) &&
      !restart_.is_armed()) {
    add_instance();
  }
  return best;
}

void DeployedFunction::dispatch_queue() {
  while (!queue_.empty()) {
    Instance* instance = find_instance_with_room();
    if (instance == nullptr) return;
    const QueuedCall call = std::move(queue_.front());
    queue_.pop_front();
    instance->call(call.subject, call.reply, call.headers, call.payload, call.received);
  }
}

// Calls that have waited as long as one may run are answered: nobody knows when there will be room.
void DeployedFunction::sweep_queue() {
  const MonotonicTime now = deps_.loop.now();
  const Duration limit = options_.instance.spec.limits.wall_time;
  while (!queue_.empty() && now - queue_.front().received >= limit) {
    const std::string error = "no capacity: waited " + format_go_duration(limit);
    CallResult result;
    result.code = runtime::OutcomeCode::NoCapacity;
    result.error = error;
    answer(queue_.front().reply, queue_.front().received, result);
    queue_.pop_front();
  }
  if (!queue_.empty()) sweep_.start(kSweepEvery);
}

void DeployedFunction::on_result(Instance& instance, const Call& call, const CallResult& result) {
  answer(call.reply, call.received, result);
  // V8's heap is in doubt after it ran out: the next call gets a process of its own.
  if (result.code == runtime::OutcomeCode::OutOfMemory) instance.drain();
  if (!queue_.empty()) dispatch_queue();
  if (state_ == State::Stopping && is_idle() && draining_triggers_ == 0) {
    stop_limit_.start(Duration::zero());
  }
}

void DeployedFunction::answer(std::string_view reply, MonotonicTime received,
                              const CallResult& result) {
  total_ns_ += static_cast<uint64_t>((deps_.loop.clock().now() - received).count());
  if (result.code != runtime::OutcomeCode::Ok) return answer_error(reply, result);
  if (reply.empty() || !result.has_reply) return;
  const Status sent = deps_.connection.publish(reply, result.payload,
                                               {.reply = {}, .headers = result.headers});
  if (sent) return;
  CallResult failed;
  failed.code = sent.error().code == Errc::LimitExceeded ? runtime::OutcomeCode::ReplyTooLarge
                                                         : runtime::OutcomeCode::Exception;
  failed.error = sent.error().text;
  answer_error(reply, failed);
}

void DeployedFunction::answer_error(std::string_view reply, const CallResult& result) {
  ++errors_;
  const std::string_view error = result.error.substr(0, kErrorBytesMax);
  const std::string_view stack = result.stack.substr(0, kStackBytesMax);
  last_error_ = error;
  publish_log(runtime::LogStream::Stderr, stack.empty() ? error : stack);
  if (reply.empty()) return;
  const int code = static_cast<int>(result.code);
  json::Writer body;
  body.begin_object().key("error").begin_object();
  body.field("code", code).field("message", error);
  if (!stack.empty()) body.field("stack", stack);
  body.end_object().end_object();
  protocol::HeaderWriter headers;
  headers.add("Nats-Service-Error", header_line(error));
  headers.add("Nats-Service-Error-Code", std::to_string(code));
  const std::string block = headers.take();
  const Status sent = deps_.connection.publish(reply, body.text(), {.reply = {}, .headers = block});
  if (!sent) deps_.log.debug("workload: " + options_.name + ": " + sent.error().text);
}

void DeployedFunction::on_host_call(Instance& instance, const HostCallRequest& request) {
  host_calls_->serve(instance, request, options_.instance.spec.limits.wall_time);
}

void DeployedFunction::on_log(Instance&, runtime::LogStream stream, std::string_view text) {
  publish_log(stream, text);
}

void DeployedFunction::publish_log(runtime::LogStream stream, std::string_view text) {
  if (!log_limit_.admit(deps_.loop.now(), text.size())) {
    ++log_lines_dropped_;
    return;
  }
  const bool is_stdout = stream == runtime::LogStream::Stdout;
  const std::string& subject = is_stdout ? stdout_subject_ : stderr_subject_;
  kept_log_.add({deps_.loop.clock().wall_now(), is_stdout, std::string(text)});
  // Logs are worth nothing without a connection; the client counts what it refuses.
  const Status sent = deps_.connection.publish(subject, text);
  if (!sent) ++log_lines_dropped_;
}

void DeployedFunction::on_dead(Instance& instance, const std::string& reason) {
  const auto found = std::find_if(instances_.begin(), instances_.end(),
                                  [&](const auto& i) { return i.get() == &instance; });
  host_calls_->forget(instance);
  const bool was_ready = !instance.engine_version().empty();
  graveyard_.push_back(std::move(*found));
  instances_.erase(found);
  bury_.start(Duration::zero());
  if (state_ == State::Starting) return fail_start({Errc::Unavailable, reason});
  if (state_ == State::Stopping && instances_.empty()) return stop_limit_.start(Duration::zero());
  if (state_ != State::Live) return;
  last_error_ = reason;
  ++restarts_;
  const Duration lived = deps_.loop.clock().now() - last_ready_;
  const bool was_healthy = was_ready && lived >= kHealthyAfter;
  const Duration pause = was_healthy ? Duration::zero() : restart_pause_;
  restart_pause_ = was_healthy ? Duration(kRestartPauseMin)
                               : std::clamp<Duration>(restart_pause_ * 2, kRestartPauseMin,
                                                      kRestartPauseMax);
  if (instances_.empty() && !restart_.is_armed()) restart_.start(pause);
}

void DeployedFunction::bury() { graveyard_.clear(); }

void DeployedFunction::stop(Duration grace, Callback<void()> on_stopped) {
  on_stopped_ = std::move(on_stopped);
  if (state_ == State::Stopped || state_ == State::Stopping) {
    return stop_limit_.start(Duration::zero());
  }
  fail_start({Errc::Closed, "stopped before it was live"});
  state_ = State::Stopping;
  restart_.stop();
  const Duration standard = options_.instance.spec.limits.wall_time + options_.instance.grace;
  stop_limit_.start(grace > Duration::zero() ? grace : standard);
  draining_triggers_ = static_cast<uint32_t>(triggers_.size());
  for (const auto& trigger : triggers_) {
    trigger->drain([this](const Status&) {
      if (--draining_triggers_ == 0 && is_idle()) stop_limit_.start(Duration::zero());
    });
  }
  if (triggers_.empty() && is_idle()) stop_limit_.start(Duration::zero());
}

void DeployedFunction::finish_stop() {
  state_ = State::Stopped;
  triggers_.clear();
  sweep_.stop();
  const std::string error = "no capacity: the function is stopping";
  CallResult result;
  result.code = runtime::OutcomeCode::NoCapacity;
  result.error = error;
  for (const QueuedCall& call : queue_) answer(call.reply, call.received, result);
  queue_.clear();
  for (const auto& instance : instances_) {
    host_calls_->forget(*instance);
    instance->kill(runtime::OutcomeCode::NoCapacity, error);
  }
  // Their calls are answered in the next turn; after it nothing is left.
  if (!instances_.empty()) {
    stop_limit_.start(std::chrono::milliseconds(1));
    return;
  }
  if (const auto on_stopped = std::move(on_stopped_)) on_stopped();
}

uint64_t DeployedFunction::in_flight() const {
  uint64_t count = 0;
  for (const auto& instance : instances_) count += instance->in_flight();
  return count;
}

WorkloadSummary DeployedFunction::summary() const {
  WorkloadSummary summary;
  summary.id = options_.id;
  summary.ns = options_.ns;
  summary.name = options_.name;
  summary.start_time = format_rfc3339(started_wall_);
  summary.runtime = format_uptime(deps_.loop.clock().now() - started_);
  summary.workload_type = options_.workload_type;
  summary.workload_lifecycle = "function";
  const bool is_up = std::any_of(instances_.begin(), instances_.end(), [](const auto& instance) {
    return instance->state() == Instance::State::Ready;
  });
  switch (state_) {
    case State::Starting: summary.workload_state = "starting"; break;
    case State::Live: summary.workload_state = is_up ? "running" : "error"; break;
    case State::Stopping: summary.workload_state = "stopping"; break;
    case State::Stopped: summary.workload_state = "stopped"; break;
  }
  summary.metadata = options_.metadata;
  summary.tags = options_.tags;
  return summary;
}

WorkloadInfo DeployedFunction::info() const {
  WorkloadInfo info;
  info.summary = summary();
  info.description = options_.description;
  info.sha256 = options_.sha256;
  info.artifact_bytes = options_.artifact_bytes;
  info.file_name = options_.instance.spec.file_name;
  info.trigger_subjects = options_.trigger_subjects;
  info.queue_group = options_.queue_group;
  info.limits = options_.limits;
  info.instances = static_cast<uint32_t>(instances_.size());
  for (const auto& instance : instances_) {
    if (instance->in_flight() > 0) ++info.instances_busy;
    info.memory_bytes += instance->memory_bytes();
  }
  info.in_flight = in_flight();
  info.queued = queue_.size();
  info.calls = calls_;
  info.errors = errors_;
  info.restarts = restarts_;
  info.log_lines_dropped = log_lines_dropped_;
  info.total_ns = total_ns_;
  info.last_error = last_error_;
  return info;
}

WorkloadLog DeployedFunction::log() const {
  WorkloadLog log;
  log.id = options_.id;
  log.name = options_.name;
  for (const KeptLog::Entry& entry : kept_log_.entries()) {
    log.entries.push_back(
        {format_rfc3339(entry.time), entry.is_stdout ? "stdout" : "stderr", entry.text});
  }
  return log;
}

}  // namespace brokkr::workload
