#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "io/loop.h"

// What stands between a function's process and the host, one bit a layer. Which of them a kernel
// grants differs (containers, unprivileged starts), so they are tried, counted and named.
namespace brokkr::sandbox {

enum Layer : uint32_t {
  kUserNamespace = 1U << 0,
  kMountNamespace = 1U << 1,
  kPidNamespace = 1U << 2,
  kNetNamespace = 1U << 3,
  kIpcNamespace = 1U << 4,
  kUtsNamespace = 1U << 5,
  kEmptyRoot = 1U << 6,
  kNobody = 1U << 7,          // not root, on the host either
  kNoCapabilities = 1U << 8,
  kNoNewPrivileges = 1U << 9,
  kSeccomp = 1U << 10,
  kResourceLimits = 1U << 11,
  kCgroupMemory = 1U << 12,
  kCgroupPids = 1U << 13,
  kLandlock = 1U << 14,
  kCgroupCpu = 1U << 15,
  kCgroupIo = 1U << 16,
};
constexpr uint32_t kAllLayers = (1U << 17) - 1;
// Without these a function's process is held by V8 alone in some respect, which `required` refuses.
// The cgroup layers have a substitute: the node watches the memory of busy instances. Landlock stands
// behind the empty root and is newer than many kernels.
constexpr uint32_t kRequiredLayers = (1U << 12) - 1;

// Required: no function starts unless every required layer is there. BestEffort: what the kernel
// grants, said in the log and in `node info`. Off: descriptors are closed and nothing else.
enum class Policy : uint8_t { Required, BestEffort, Off };

// "required", "best-effort", "off".
Result<Policy> parse_policy(std::string_view);
const char* to_string(Policy);

// The names of the layers in `layers`: "user namespace", "seccomp" …
std::vector<std::string> layer_names(uint32_t layers);
// One line for log and `node info`: "all layers in force", or "missing: user namespace, …".
std::string describe(uint32_t layers);

// Finds out what is granted here by trying it in a child process: `executable` is started with
// kProbeRole and must call `probe_main`. Blocks for some milliseconds. Zero layers when it fails.
uint32_t probe_layers(io::Loop& loop, const std::string& executable);
constexpr const char* kProbeRole = "--role=sandbox-probe";
// What the child runs: enters the sandbox and reports on descriptor 3. Never returns.
[[noreturn]] void probe_main();

}  // namespace brokkr::sandbox
