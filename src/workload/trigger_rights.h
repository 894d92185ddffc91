#pragma once

#include "base/result.h"
#include "workload/access.h"
#include "workload/run_request.h"

// Triggers bring a function what is sent to others, so they are held against what its namespace may use.
// Pure functions.
namespace brokkr::workload {

// `access` is the namespace's, all of them. Fails with PermissionDenied, naming the trigger.
Status check_trigger_rights(const Access& access, const RunRequest& run);
Status check_trigger_rights(const Access& access, const Trigger& trigger);
Status check_trigger_subject_rights(const Access& access, const std::string& subject);

}  // namespace brokkr::workload
