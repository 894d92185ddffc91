#include "workload/trigger_rights.h"

#include "workload/trigger_plan.h"

namespace brokkr::workload {
namespace {

Error not_for(const Access& access, const std::string& what) {
  return {Errc::PermissionDenied,
          "trigger " + what + " is not allowed in namespace \"" + access.names().ns + "\""};
}

// A function has no inbox and is no service: what is sent there is somebody else's.
bool may_trigger_on(const Access& access, const std::string& subject) {
  return !subject.starts_with("_INBOX.") && !subject.starts_with("$SRV.") &&
         access.may_subscribe(subject);
}

}  // namespace

Status check_trigger_subject_rights(const Access& access, const std::string& subject) {
  if (!may_trigger_on(access, subject)) return not_for(access, "subject \"" + subject + "\"");
  return {};
}

Status check_trigger_rights(const Access& access, const Trigger& trigger) {
  using Kind = Trigger::Kind;
  const std::string own_dead_letters = dead_letter_stream_name(access.names().ns);
  if (trigger.kind == Kind::Subject) return check_trigger_subject_rights(access, trigger.subject);
  if (trigger.kind == Kind::Stream && trigger.stream != own_dead_letters &&
      !access.may_read_stream(trigger.stream)) {
    return not_for(access, "stream \"" + trigger.stream + "\"");
  }
  if (trigger.kind == Kind::KeyValue && !access.may_use_key_value(trigger.bucket)) {
    return not_for(access, "bucket \"" + trigger.bucket + "\"");
  }
  if (trigger.kind == Kind::Object && !access.may_use_object_store(trigger.bucket)) {
    return not_for(access, "object bucket \"" + trigger.bucket + "\"");
  }
  if (!trigger.dead_letter.empty() && trigger.dead_letter != own_dead_letters &&
      !access.may_use_stream(trigger.dead_letter)) {
    return not_for(access, "dead letter stream \"" + trigger.dead_letter + "\"");
  }
  return {};
}

Status check_trigger_rights(const Access& access, const RunRequest& run) {
  for (const std::string& subject : run.trigger_subjects) {
    if (Status s = check_trigger_subject_rights(access, subject); !s) return s;
  }
  for (const Trigger& trigger : run.triggers) {
    if (Status s = check_trigger_rights(access, trigger); !s) return s;
  }
  return {};
}

}  // namespace brokkr::workload
