#include "workload/schedule_trigger.h"

#include <algorithm>

#include "base/json.h"

namespace brokkr::workload {
namespace {

// The wall clock may be set meanwhile.
constexpr Duration kLookAgain = std::chrono::seconds(30);
constexpr Duration kTickRetry = std::chrono::seconds(1);
constexpr int kTickAttemptsMax = 10;

bool has_no_jetstream(const Error& error) {
  return error.code == Errc::NoResponders || error.code == Errc::Unavailable ||
         error.text.find("jetstream not enabled") != std::string::npos ||
         error.text.find("JetStream not enabled") != std::string::npos;
}

}  // namespace

ScheduleTrigger::ScheduleTrigger(const Deps& deps, const Facts& facts, const Trigger& trigger,
                                 Schedule schedule)
    : deps_(deps), facts_(facts), trigger_(trigger), schedule_(schedule),
      subject_(plan_trigger(facts, trigger).filter), js_(deps.connection),
      ticks_(deps, facts, trigger), timer_(deps.loop, [this] { on_time(); }),
      retry_(deps.loop, [this] { tick(retried_, attempts_); }) {}

void ScheduleTrigger::start(client::DoneHandler on_live) {
  on_live_ = std::move(on_live);
  ticks_.start([this](const Status& status) { on_stream(status); });
}

void ScheduleTrigger::on_stream(const Status& status) {
  is_local_ = !status && has_no_jetstream(status.error());
  if (status || is_local_) {
    next_ = schedule_.next_after(deps_.loop.clock().wall_now());
    wait();
  }
  if (const auto on_live = std::move(on_live_)) on_live(is_local_ ? Status() : status);
}

void ScheduleTrigger::wait() {
  if (!next_) return;
  const Duration left = *next_ - deps_.loop.clock().wall_now();
  timer_.start(std::clamp<Duration>(left, Duration::zero(), kLookAgain));
}

void ScheduleTrigger::on_time() {
  const WallTime now = deps_.loop.clock().wall_now();
  if (now < *next_) return wait();
  const WallTime due = *next_;
  next_ = schedule_.next_after(now);
  wait();
  tick(due, 0);
}

void ScheduleTrigger::tick(WallTime time, int attempt) {
  json::Writer out;
  out.begin_object().field("schedule", trigger_.schedule);
  const std::string payload = out.field("time", format_rfc3339(time)).end_object().take();
  if (is_local_) {
    if (facts_.slot != 0) return;
    ++local_running_;
    deps_.target.run({"schedule", {}, payload, 1},
                     [this, alive = std::weak_ptr(alive_)](const CallResult&) {
                       if (alive.expired() || --local_running_ > 0) return;
                       if (const auto done = std::move(on_drained_)) done();
                     });
    return;
  }
  const std::string id = subject_ + "." + std::to_string(time.time_since_epoch().count());
  client::StreamPublishOptions options;
  options.msg_id = id;
  js_.publish(subject_, payload, options,
              [this, time, attempt, alive = std::weak_ptr(alive_)](auto result) {
                if (alive.expired() || result || on_drained_) return;
                if (attempt + 1 >= kTickAttemptsMax) {
                  return deps_.target.report("TRIGGERTROUBLE",
                                             describe(trigger_) + ": a tick was lost: " +
                                                 result.error().text, {});
                }
                retried_ = time;
                attempts_ = attempt + 1;
                retry_.start(kTickRetry);
              });
}

void ScheduleTrigger::drain(Callback<void()> done) {
  timer_.stop();
  retry_.stop();
  if (!is_local_) return ticks_.drain(std::move(done));
  on_drained_ = std::move(done);
  deps_.loop.post([this, alive = std::weak_ptr(alive_)] {
    if (alive.expired() || local_running_ > 0) return;
    if (const auto drained = std::move(on_drained_)) drained();
  });
}

}  // namespace brokkr::workload
