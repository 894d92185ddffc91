#pragma once

#include "cli/command.h"

namespace brokkr::cli {

// Shows events of nodes and workloads until interrupted or --count are there.
int run_workload_events(const Context&, const Values&);

}  // namespace brokkr::cli
