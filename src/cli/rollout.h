#pragma once

#include <string>

#include "cli/command.h"
#include "workload/control_desired.h"

namespace brokkr::cli {

// "waiting for it" as a number of words that many commands print: state, replicas, revisions.
void print_rollout(const workload::RolloutStatus&);
// Prints the status or its JSON; the exit code says whether it is what was asked for.
int finish_rollout(const Context&, const Values&, const Result<workload::RolloutStatus>&, const std::string& done);

}  // namespace brokkr::cli
