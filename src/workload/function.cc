#include "workload/function.h"

#include <algorithm>

#include "base/json.h"
#include "protocol/headers.h"
#include "workload/header_line.h"
#include "workload/hops.h"

namespace brokkr::workload {
namespace {

constexpr auto kRestartPauseMin = std::chrono::milliseconds(50);
constexpr auto kRestartPauseMax = std::chrono::seconds(5);
// An instance that has lived so long has proved itself.
constexpr auto kHealthyAfter = std::chrono::seconds(10);
constexpr auto kSweepEvery = std::chrono::milliseconds(50);
// The instance keeps to its own limit; this holds when it does not.
constexpr uint64_t kLogSlack = 2;
constexpr uint64_t kLogBytesPerSecondMax = 4U << 20;
constexpr size_t kErrorBytesMax = 4U << 10;
constexpr size_t kStackBytesMax = 16U << 10;
// What the calls waiting for room may take in memory.
constexpr size_t kQueuedBytesMax = 8U << 20;

// Spans of host calls under way; beyond it they are not recorded.
constexpr size_t kOpenSpansMax = 4096;
constexpr auto kLoopDetected = static_cast<uint16_t>(508);

// An address may hold a password or a token; a collector need not know them.
std::string without_secrets(std::string_view target) {
  const size_t scheme = target.find("://");
  if (scheme == std::string_view::npos) return std::string(target);
  target = target.substr(0, target.find_first_of("?#"));
  const size_t host = scheme + 3;
  const size_t at = target.substr(host, target.find('/', host) - host).rfind('@');
  const size_t skipped = at == std::string_view::npos ? 0 : at + 1;
  return std::string(target.substr(0, host)) + std::string(target.substr(host + skipped));
}

CallResult no_capacity(const std::string& error) {
  CallResult result;
  result.code = runtime::OutcomeCode::NoCapacity;
  result.error = error;
  return result;
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
      trigger_retry_(deps.loop, [this] { sync_triggers(); }),
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
  if (state_ == State::Starting && subscriptions_.empty() && triggers_.empty()) {
    return put_triggers();
  }
  dispatch_queues();
}

void DeployedFunction::fail_start(Error error) {
  if (state_ != State::Starting) return;
  state_ = State::Stopped;
  subscriptions_.clear();
  deps_.loop.post([on_live = std::move(on_live_), error = std::move(error)] {
    if (on_live) on_live(error);
  });
}

void DeployedFunction::on_load_failed(Instance& instance, const std::string& reason) {
  last_error_ = reason;
  instance.kill(runtime::OutcomeCode::Exception, reason);
  fail_start({Errc::Syntax, reason});
}

void DeployedFunction::on_message(const client::Message& received) {
  const MonotonicTime now = deps_.loop.now();
  client::Message message = received;
  if (!options_.rights.access->may_answer(message.reply)) message.reply = {};
  // While calls wait, later ones do not overtake them.
  const bool may_start = queue_.empty() && trigger_queue_.empty();
  Instance* instance = may_start ? find_instance_with_room() : nullptr;
  if (instance != nullptr) return dispatch(*instance, message, now, 0, {});
  const size_t bytes = message.payload.size() + message.headers.size();
  const bool is_full =
      queue_.size() >= options_.limits.queue || queued_bytes_ + bytes > kQueuedBytesMax;
  QueuedCall call{std::string(message.subject), std::string(message.reply), {}, {}, now, 0, {}};
  if (is_full || state_ == State::Stopped) {
    return refuse(call, "no capacity: " + std::to_string(queue_.size()) + " calls are waiting");
  }
  call.headers = message.headers;
  call.payload = message.payload;
  queued_bytes_ += bytes;
  queue_.push_back(std::move(call));
  if (!sweep_.is_armed()) sweep_.start(kSweepEvery);
}

// A trigger has few calls under way at once and waits with each for as long as it takes.
void DeployedFunction::run(const TriggerCall& call, Callback<void(const CallResult&)> done) {
  trigger_queue_.push_back({std::string(call.subject), {}, std::string(call.headers),
                            std::string(call.payload), deps_.loop.now(), call.deliveries,
                            std::move(done)});
  dispatch_queues();
}

void DeployedFunction::dispatch(Instance& instance, const client::Message& message,
                                MonotonicTime received, uint16_t deliveries,
                                Callback<void(const CallResult&)> done) {
  CallFacts facts;
  facts.subject = message.subject;
  facts.payload_bytes = static_cast<uint32_t>(message.payload.size());
  facts.deliveries = deliveries;
  facts.done = std::move(done);
  std::string traced;
  std::string_view headers = message.headers;
  if (!headers.empty()) {
    facts.hops = hops_of(headers);
    facts.trace = trace_context_of(headers);
  }
  if (deps_.tracer != nullptr) {
    if (facts.trace.is_set()) facts.parent_span = facts.trace.span_id;
    facts.trace = deps_.tracer->start(facts.trace);
    traced = with_trace_context(headers, facts.trace);
    headers = traced;
  }
  // What a trigger waits with has all its time left when it begins.
  const MonotonicTime waits_since = facts.done ? deps_.loop.now() : received;
  instance.call(message.subject, message.reply, headers, message.payload, received, waits_since,
                std::move(facts));
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

void DeployedFunction::dispatch_queues() {
  while (!queue_.empty() || !trigger_queue_.empty()) {
    Instance* instance = find_instance_with_room();
    if (instance == nullptr) return;
    is_triggers_turn_ = !trigger_queue_.empty() && (!is_triggers_turn_ || queue_.empty());
    std::deque<QueuedCall>& queue = is_triggers_turn_ ? trigger_queue_ : queue_;
    QueuedCall call = std::move(queue.front());
    queue.pop_front();
    if (!is_triggers_turn_) queued_bytes_ -= call.payload.size() + call.headers.size();
    dispatch(*instance, {call.subject, call.reply, call.headers, call.payload, {}}, call.received,
             call.deliveries, std::move(call.done));
  }
}

// Answers a call no instance had.
void DeployedFunction::refuse(const QueuedCall& call, const std::string& error) {
  CallFacts facts;
  facts.subject = call.subject;
  facts.payload_bytes = static_cast<uint32_t>(call.payload.size());
  facts.deliveries = call.deliveries;
  const CallResult result = no_capacity(error);
  answer({call.reply, call.received, {}, facts}, result);
  if (call.done) call.done(result);
}

// Calls that have waited as long as one may run are answered: nobody knows when there will be room.
void DeployedFunction::sweep_queue() {
  const MonotonicTime now = deps_.loop.now();
  const Duration limit = options_.instance.spec.limits.wall_time;
  while (!queue_.empty() && now - queue_.front().received >= limit) {
    const QueuedCall call = std::move(queue_.front());
    queue_.pop_front();
    queued_bytes_ -= call.payload.size() + call.headers.size();
    refuse(call, "no capacity: waited " + format_go_duration(limit));
  }
  if (!queue_.empty()) sweep_.start(kSweepEvery);
}

void DeployedFunction::on_result(Instance& instance, const Call& call, const CallResult& result) {
  answer({call.reply, call.received, call.sent, call.facts}, result);
  if (call.facts.done) call.facts.done(result);
  // V8's heap is in doubt after it ran out: the next call gets a process of its own.
  if (result.code == runtime::OutcomeCode::OutOfMemory) instance.drain();
  dispatch_queues();
  if (state_ == State::Stopping && is_idle() && draining_ == 0) {
    stop_limit_.start(Duration::zero());
  }
}

void DeployedFunction::answer(const CallEnd& end, const CallResult& result) {
  CallResult final = result;
  std::string refusal;
  const bool is_ok = result.code == runtime::OutcomeCode::Ok;
  if (is_ok && !end.reply.empty() && result.has_reply) {
    const Status sent = deps_.connection.publish(end.reply, result.payload,
                                                 {.reply = {}, .headers = result.headers});
    if (!sent) {
      final = {};
      final.code = sent.error().code == Errc::LimitExceeded ? runtime::OutcomeCode::ReplyTooLarge
                                                            : runtime::OutcomeCode::Exception;
      refusal = sent.error().text;
      final.error = refusal;
    }
  }
  if (final.code != runtime::OutcomeCode::Ok) send_error(end.reply, final);
  record(end, final);
}

void DeployedFunction::send_error(std::string_view reply, const CallResult& result) {
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
  const Call* call = instance.find_call(request.call.invocation);
  const uint8_t hops = call != nullptr ? call->facts.hops : instance.hops_max();
  HostCallRequest passed = request;
  std::string headers(request.call.headers);
  if (is_sending(request.call.service, request.call.method)) {
    const std::string_view subject = call != nullptr ? std::string_view(call->facts.subject) : "";
    if (stops_loop(instance, request, hops, subject)) return;
    // Replies end at who asked.
    if (!request.call.target.starts_with("_INBOX.")) {
      headers = protocol::with_header(headers, kHopsHeader, std::to_string(hops + 1));
    }
  }
  if (call != nullptr && call->facts.trace.is_set()) {
    TraceContext context = call->facts.trace;
    if (deps_.tracer != nullptr) context = deps_.tracer->start(context);
    const bool is_carried = request.call.service == "messaging" || request.call.service == "http";
    if (is_carried) headers = with_trace_context(headers, context);
    if (deps_.tracer != nullptr && context.is_sampled() && open_spans_.size() < kOpenSpansMax) {
      Span& span = open_spans_[{&instance, request.id}];
      span.context = context;
      span.parent = call->facts.trace.span_id;
      span.kind = Span::Kind::Client;
      span.name = std::string(request.call.service) + "." + std::string(request.call.method);
      span.start = deps_.loop.clock().wall_now();
      span.attributes = {{"brokkr.target", without_secrets(request.call.target)},
                         {"brokkr.key", std::string(request.call.key)},
                         {"faas.name", options_.name},
                         {"brokkr.namespace", options_.ns}};
    }
  }
  passed.call.headers = headers;
  host_calls_->serve(instance, passed, options_.instance.spec.limits.wall_time);
}

bool DeployedFunction::stops_loop(Instance& instance, const HostCallRequest& request, uint8_t hops,
                                  std::string_view subject) {
  if (hops < kHopsMax) return false;
  const std::string target(request.call.target);
  runtime::HostReply reply;
  reply.code = kLoopDetected;
  reply.error = "trigger loop: the message has passed through " + std::to_string(hops) +
                " functions, it is not sent to \"" + target + "\"";
  publish_event("FUNCTIONLOOPSTOPPED", subject, reply.error, {});
  publish_log(runtime::LogStream::Stderr, reply.error);
  instance.reply_to_host_call(request.id, reply);
  return true;
}

void DeployedFunction::on_host_reply(Instance& instance, uint64_t id, uint16_t code) {
  if (open_spans_.empty()) return;
  const auto found = open_spans_.find({&instance, id});
  if (found == open_spans_.end()) return;
  Span span = std::move(found->second);
  open_spans_.erase(found);
  span.end = deps_.loop.clock().wall_now();
  span.attributes.emplace_back("brokkr.code", std::to_string(code));
  span.has_failed = code >= 400;
  deps_.tracer->end(std::move(span));
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
  if (deps_.v1_feed != nullptr) {
    deps_.v1_feed->log(options_, is_stdout ? v1::LogLevel::Info : v1::LogLevel::Error, text);
  }
}

void DeployedFunction::on_dead(Instance& instance, const std::string& reason) {
  const auto found = std::find_if(instances_.begin(), instances_.end(),
                                  [&](const auto& i) { return i.get() == &instance; });
  host_calls_->forget(instance);
  std::erase_if(open_spans_, [&](const auto& entry) { return entry.first.first == &instance; });
  dead_cpu_time_ += instance.cpu_time();
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
  trigger_retry_.stop();
  draining_ = 1;
  for (const auto& subscription : subscriptions_) {
    if (subscription == nullptr) continue;
    ++draining_;
    // A server that does not answer tells of it long after this has gone.
    subscription->drain([this, alive = std::weak_ptr(alive_)](const Status&) {
      if (!alive.expired()) on_drained();
    });
  }
  for (const auto& trigger : triggers_) {
    if (trigger == nullptr) continue;
    ++draining_;
    trigger->drain([this, alive = std::weak_ptr(alive_)] {
      if (!alive.expired()) on_drained();
    });
  }
  on_drained();
}

void DeployedFunction::on_drained() {
  if (--draining_ == 0 && is_idle()) stop_limit_.start(Duration::zero());
}

void DeployedFunction::finish_stop() {
  state_ = State::Stopped;
  subscriptions_.clear();
  sweep_.stop();
  const std::string error = "no capacity: the function is stopping";
  for (std::deque<QueuedCall>* queue : {&queue_, &trigger_queue_}) {
    const std::deque<QueuedCall> waiting = std::exchange(*queue, {});
    for (const QueuedCall& call : waiting) refuse(call, error);
  }
  queued_bytes_ = 0;
  for (const auto& instance : instances_) {
    host_calls_->forget(*instance);
    instance->kill(runtime::OutcomeCode::NoCapacity, error);
  }
  // Their calls are answered in the next turn; after it nothing is left.
  if (!instances_.empty()) {
    stop_limit_.start(std::chrono::milliseconds(1));
    return;
  }
  triggers_.clear();
  if (const auto on_stopped = std::move(on_stopped_)) on_stopped();
}

uint64_t DeployedFunction::in_flight() const {
  uint64_t count = 0;
  for (const auto& instance : instances_) count += instance->in_flight();
  return count;
}

}  // namespace brokkr::workload
