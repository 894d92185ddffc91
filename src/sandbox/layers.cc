#include "sandbox/layers.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "io/spawn.h"
#include "sandbox/enter.h"

namespace brokkr::sandbox {
namespace {

constexpr int kReportDescriptor = 3;
constexpr int kProbeTimeoutMs = 5000;

struct LayerName {
  uint32_t layer;
  const char* name;
};
constexpr std::array kNames = {
    LayerName{kUserNamespace, "user namespace"},
    LayerName{kMountNamespace, "mount namespace"},
    LayerName{kPidNamespace, "pid namespace"},
    LayerName{kNetNamespace, "network namespace"},
    LayerName{kIpcNamespace, "ipc namespace"},
    LayerName{kUtsNamespace, "uts namespace"},
    LayerName{kEmptyRoot, "empty root"},
    LayerName{kNobody, "unprivileged user"},
    LayerName{kNoCapabilities, "no capabilities"},
    LayerName{kNoNewPrivileges, "no new privileges"},
    LayerName{kSeccomp, "seccomp"},
    LayerName{kResourceLimits, "resource limits"},
    LayerName{kCgroupMemory, "cgroup memory"},
    LayerName{kCgroupPids, "cgroup pids"},
    LayerName{kLandlock, "landlock"},
    LayerName{kCgroupCpu, "cgroup cpu"},
    LayerName{kCgroupIo, "cgroup io"},
};

}  // namespace

Result<Policy> parse_policy(std::string_view text) {
  for (const Policy policy : {Policy::Required, Policy::BestEffort, Policy::Off}) {
    if (text == to_string(policy)) return policy;
  }
  return Error{Errc::InvalidArgument,
               "sandbox is required, best-effort or off, not \"" + std::string(text) + "\""};
}

const char* to_string(Policy policy) {
  switch (policy) {
    case Policy::Required: return "required";
    case Policy::BestEffort: return "best-effort";
    case Policy::Off: return "off";
  }
  return "";
}

std::vector<std::string> layer_names(uint32_t layers) {
  std::vector<std::string> names;
  for (const LayerName& entry : kNames) {
    if ((layers & entry.layer) != 0) names.emplace_back(entry.name);
  }
  return names;
}

std::string describe(uint32_t layers) {
  const uint32_t missing = kAllLayers & ~layers;
  if (missing == 0) return "all layers in force";
  std::string text = "missing: ";
  for (const std::string& name : layer_names(missing)) {
    if (text.back() != ' ') text += ", ";
    text += name;
  }
  return text;
}

uint32_t probe_layers(io::Loop& loop, const std::string& executable) {
  int ends[2];
  if (pipe(ends) != 0) return 0;
  io::SpawnOptions options;
  options.path = executable;
  options.arguments = {"brokkr", kProbeRole};
  options.descriptors = {{ends[1], kReportDescriptor}, {2, 2}};
  const auto child = io::ChildProcess::start(loop, options, {});
  close(ends[1]);
  uint32_t layers = 0;
  if (child) {
    pollfd waited{ends[0], POLLIN, 0};
    if (poll(&waited, 1, kProbeTimeoutMs) <= 0 || read(ends[0], &layers, sizeof layers) != 4) {
      layers = 0;
    }
  }
  close(ends[0]);
  return layers;
}

void probe_main() {
  uint32_t layers = enter_namespaces();
  Filters filters;
  const bool is_made = filters.make().operator bool();
  layers |= lock_down(layers);
  if (is_made && filters.apply_zygote() && filters.apply_instance()) layers |= kSeccomp;
  const ssize_t written = write(kReportDescriptor, &layers, sizeof layers);
  _exit(written == sizeof layers ? 0 : 1);
}

}  // namespace brokkr::sandbox
