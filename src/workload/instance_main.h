#pragma once

#include "runtime/engine.h"
#include "sandbox/enter.h"

namespace brokkr::workload {

// The life of a function instance, in the process forked for it: starts the watchdog thread, applies
// `filters` (null pointer: none), then serves the frames of instance_protocol.h on descriptor 3 until
// the node closes it. Returns the exit code.
int instance_main(runtime::Engine& engine, const sandbox::Filters* filters);

}  // namespace brokkr::workload
