#pragma once

#include <optional>

// The other roles of the brokkr executable: zygote (and with it every function instance) and
// sandbox probe. main() calls this before anything else: no thread, no descriptor, no signal handler
// of its own may exist yet.
namespace brokkr::workload {

constexpr const char* kZygoteRole = "--role=zygote";

// The process's exit code when `argv` names a role, after having played it; absent for an ordinary
// start.
//
//   brokkr --role=zygote --engine=PATH --mode=warm|cold --sandbox=required|best-effort|off
//   brokkr --role=sandbox-probe
std::optional<int> zygote_main(int argc, char** argv);

}  // namespace brokkr::workload
