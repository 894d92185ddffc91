#include "sandbox/launchers.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "sandbox/launcher_protocol.h"

namespace brokkr::sandbox {

Launchers::~Launchers() {
  if (control_ >= 0) close(control_);
}

Status Launchers::start() {
  if (control_ >= 0) close(control_);
  control_ = -1;
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return system_error("socketpair", errno);
  }
  io::SpawnOptions options;
  options.path = executable_;
  options.arguments = {"brokkr", kLauncherRole};
  options.descriptors = {{ends[1], kLauncherControl}};
  auto process = io::ChildProcess::start(loop_, options,
                                         [this](const io::ExitStatus&) { process_.reset(); });
  close(ends[1]);
  control_ = ends[0];
  if (!process) return process.error();
  process_ = std::move(*process);
  return {};
}

Status Launchers::launch(const std::vector<int>& descriptors) {
  if (process_ != nullptr && send_descriptors(control_, descriptors)) return {};
  if (Status started = start(); !started) return started;
  if (!send_descriptors(control_, descriptors)) return system_error("launcher", errno);
  return {};
}

}  // namespace brokkr::sandbox
