#include "workload/trigger.h"

#include "subject/subject.h"
#include "workload/host_calls.h"
#include "workload/http_trigger.h"
#include "workload/schedule_trigger.h"
#include "workload/stream_trigger.h"

namespace brokkr::workload {
namespace {

constexpr size_t kTriggersMax = 64;

Status check_trigger_subject(const std::string& subject) {
  if (!subject::is_valid(subject)) {
    return Error{Errc::InvalidSubject, "trigger subject \"" + subject + "\" is not valid"};
  }
  if (is_denied_subject(subject)) {
    return Error{Errc::PermissionDenied, "trigger subject \"" + subject +
                                             "\" is not allowed: it covers $SYS, $JS or $NEX"};
  }
  return {};
}

// Streams of the node itself, those of a bucket's stream included.
bool is_reserved_stream(std::string_view ns, const TriggerPlan& plan, const Trigger& trigger) {
  if (trigger.kind == Trigger::Kind::Schedule) return false;
  for (const std::string_view prefix : {"NEX", "KV_NEX", "OBJ_NEX"}) {
    if (plan.stream.starts_with(prefix)) return plan.stream != dead_letter_stream_name(ns);
  }
  return false;
}

}  // namespace

Status check_triggers(std::string_view ns, const RunRequest& run) {
  if (run.trigger_subjects.empty() && run.triggers.empty()) {
    return Error{Errc::InvalidArgument, "a function needs a trigger subject"};
  }
  if (run.trigger_subjects.size() + run.triggers.size() > kTriggersMax) {
    return Error{Errc::LimitExceeded, "at most " + std::to_string(kTriggersMax) + " triggers"};
  }
  for (const std::string& subject : run.trigger_subjects) {
    if (Status s = check_trigger_subject(subject); !s) return s;
  }
  for (const Trigger& trigger : run.triggers) {
    if (trigger.kind == Trigger::Kind::Subject) {
      if (Status s = check_trigger_subject(trigger.subject); !s) return s;
      continue;
    }
    if (Status s = check_trigger(trigger); !s) return s;
    if (is_reserved_stream(ns, plan_trigger({std::string(ns), "x", 0, 0, {}, 1}, trigger), trigger)) {
      return Error{Errc::PermissionDenied, "trigger \"" + describe(trigger) +
                                               "\" is not allowed: it is the control plane's"};
    }
  }
  return {};
}

Result<Trigger> with_rights(const Access& access, Trigger trigger) {
  bool may_read = true;
  std::string bucket;
  switch (trigger.kind) {
    case Trigger::Kind::Stream: may_read = access.may_read_stream(trigger.stream); break;
    case Trigger::Kind::KeyValue:
      may_read = access.may_use_key_value(trigger.bucket);
      bucket = access.key_value_name(trigger.bucket);
      break;
    case Trigger::Kind::Object:
      may_read = access.may_use_object_store(trigger.bucket);
      bucket = access.object_store_name(trigger.bucket);
      break;
    default: return trigger;
  }
  // Its own dead letters are there to be looked at.
  const bool is_own = trigger.kind == Trigger::Kind::Stream &&
                      trigger.stream == dead_letter_stream_name(access.names().ns);
  if (!may_read && !is_own) {
    return Error{Errc::PermissionDenied, "trigger \"" + describe(trigger) +
                                             "\" is not allowed: the workload may not read there"};
  }
  trigger.bucket = std::move(bucket);
  return trigger;
}

Result<std::unique_ptr<TriggerSource>> make_trigger(const TriggerSource::Deps& deps,
                                                    const TriggerSource::Facts& facts,
                                                    const Trigger& trigger) {
  if (Status s = check_trigger(trigger); !s) return s.error();
  switch (trigger.kind) {
    case Trigger::Kind::Stream:
    case Trigger::Kind::KeyValue:
    case Trigger::Kind::Object:
      return std::unique_ptr<TriggerSource>(std::make_unique<StreamTrigger>(deps, facts, trigger));
    case Trigger::Kind::Schedule: {
      const auto schedule = Schedule::parse(trigger.schedule);
      if (!schedule) return schedule.error();
      return std::unique_ptr<TriggerSource>(
          std::make_unique<ScheduleTrigger>(deps, facts, trigger, *schedule));
    }
    case Trigger::Kind::Http:
      if (deps.routes == nullptr) break;
      return std::unique_ptr<TriggerSource>(
          std::make_unique<HttpTrigger>(deps, facts, trigger, *deps.routes));
    case Trigger::Kind::Subject: break;
  }
  return Error{Errc::Unsupported, describe(trigger) + ": the node was started without --http-triggers"};
}

}  // namespace brokkr::workload
