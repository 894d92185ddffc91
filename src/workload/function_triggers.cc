// What starts a function: put in place as it begins, and held against what its namespace may as that
// changes.
#include "workload/function.h"
#include "workload/namespace_egress.h"
#include "workload/trigger_rights.h"

namespace brokkr::workload {
namespace {

constexpr auto kFlushTimeout = std::chrono::seconds(5);
constexpr auto kTriggerRetry = std::chrono::seconds(5);

}  // namespace

void DeployedFunction::put_triggers() {
  subscriptions_.resize(options_.trigger_subjects.size());
  triggers_.resize(options_.triggers.size());
  trigger_buckets_.resize(options_.triggers.size());
  for (size_t i = 0; i < subscriptions_.size(); ++i) {
    Status allowed = check_trigger_subject_rights(*options_.namespace_access, options_.trigger_subjects[i]);
    if (allowed) allowed = subscribe(i);
    if (!allowed) return fail_start(allowed.error());
    subscriptions_[i]->on_error([this](const Error& error) {
      last_error_ = error.text;
      fail_start(error);
    });
  }
  for (size_t i = 0; i < triggers_.size(); ++i) {
    const auto allowed = allowed_trigger(i);
    const Status made = allowed ? make_source(i, *allowed) : Status(allowed.error());
    if (!made) return fail_start(made.error());
  }
  starting_ = static_cast<uint32_t>(triggers_.size()) + 1;
  for (const auto& trigger : triggers_) {
    trigger->start([this](const Status& status) { on_trigger_live(status); });
  }
  deps_.connection.flush(kFlushTimeout, [this, alive = std::weak_ptr(alive_)](const Status& status) {
    if (!alive.expired()) on_trigger_live(status);
  });
}

Status DeployedFunction::subscribe(size_t index) {
  auto subscription = deps_.connection.subscribe(
      options_.trigger_subjects[index], [this](const client::Message& message) { on_message(message); },
      {.queue = options_.queue_group});
  if (!subscription) return subscription.error();
  subscriptions_[index] = std::move(*subscription);
  return {};
}

// With its bucket's name at the server; or why not.
Result<Trigger> DeployedFunction::allowed_trigger(size_t index) const {
  const Trigger& trigger = options_.triggers[index];
  if (Status s = check_trigger_rights(*options_.namespace_access, trigger); !s) return s.error();
  return with_rights(*options_.rights.access, trigger);
}

Status DeployedFunction::make_source(size_t index, const Trigger& trigger) {
  const TriggerSource::Facts facts{options_.ns, options_.name, static_cast<uint32_t>(index), options_.slot,
                                   options_.instance.spec.limits.wall_time + options_.instance.grace,
                                   options_.limits.in_flight * options_.limits.max_instances};
  auto source = make_trigger({deps_.loop, deps_.log, deps_.connection, *this, deps_.routes}, facts, trigger);
  if (!source) return source.error();
  triggers_[index] = std::move(*source);
  trigger_buckets_[index] = trigger.bucket;
  return {};
}

// It is live once all of them are in place.
void DeployedFunction::on_trigger_live(const Status& status) {
  if (state_ != State::Starting) return;
  if (!status) return fail_start(status.error());
  if (--starting_ > 0) return;
  state_ = State::Live;
  if (const auto on_live = std::move(on_live_)) on_live({});
  if (is_sync_due_) sync_triggers();
}

void DeployedFunction::set_namespaces(const Namespaces& namespaces) {
  options_.rights = {Access::make({options_.ns, options_.name}, options_.grants, namespaces),
                     within_namespace(options_.egress, options_.ns, namespaces.records)};
  options_.namespace_access = Access::make({options_.ns, options_.name}, {}, namespaces);
  host_calls_->set_rights(options_.rights);
  sync_triggers();
}

// Ends triggers that are not allowed any more and puts those in place that are again. What is under way
// goes on.
void DeployedFunction::sync_triggers() {
  is_sync_due_ = state_ == State::Starting;
  if (state_ != State::Live) return;
  trigger_retry_.stop();
  for (size_t i = 0; i < subscriptions_.size(); ++i) {
    const std::string& subject = options_.trigger_subjects[i];
    const Status allowed = check_trigger_subject_rights(*options_.namespace_access, subject);
    if (!allowed && subscriptions_[i] != nullptr) {
      subscriptions_[i].reset();
      report_refused(allowed.error());
    } else if (allowed && subscriptions_[i] == nullptr && !subscribe(i)) {
      trigger_retry_.start(kTriggerRetry);
    }
  }
  for (size_t i = 0; i < triggers_.size(); ++i) sync_source(i);
}

void DeployedFunction::sync_source(size_t index) {
  const auto allowed = allowed_trigger(index);
  std::unique_ptr<TriggerSource>& source = triggers_[index];
  if (source != nullptr) {
    if (allowed && allowed->bucket == trigger_buckets_[index]) return;
    source.reset();
    if (!allowed) return report_refused(allowed.error());
  }
  if (!allowed) return;
  const Status made = make_source(index, *allowed);
  if (!made) return report("TRIGGERTROUBLE", made.error().text, {});
  source->start([this, index, alive = std::weak_ptr(alive_)](const Status& status) {
    if (status || alive.expired()) return;
    report("TRIGGERTROUBLE", status.error().text, {});
    if (state_ != State::Live) return;
    // Not from within what it does.
    deps_.loop.post([this, index, alive] {
      if (alive.expired() || state_ != State::Live) return;
      triggers_[index].reset();
      trigger_retry_.start(kTriggerRetry);
    });
  });
}

void DeployedFunction::report_refused(const Error& error) {
  last_error_ = error.text;
  report("TRIGGERREFUSED", error.text, {});
}

}  // namespace brokkr::workload
