#include "workload/spare_instance.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace brokkr::workload {
namespace {

// Long enough that forking the next one does not take the processor from the start that took this one,
// short enough that one deployment after another finds one.
constexpr auto kRefillAfter = std::chrono::milliseconds(4);
constexpr uint32_t kSparePidsMax = 4;
constexpr uint32_t kSpareCpuMillis = 2000;

// The process's number as we see it, of a pidfd.
pid_t pid_of(int pidfd) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[512] = {};
  const ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  const char* found = n > 0 ? std::strstr(text, "\nPid:") : nullptr;
  return found != nullptr ? static_cast<pid_t>(std::strtol(found + 5, nullptr, 10)) : 0;
}

}  // namespace

Status ForkedProcess::fork(Zygote& zygote, ForkedChild& child) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return system_error("socketpair", errno);
  }
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  socket = ends[0];
  number = zygote.fork(ends[1], child);
  return {};
}

void ForkedProcess::settle(int descriptor, sandbox::CgroupTree& cgroups,
                           const sandbox::CgroupLimits& limits) {
  pidfd = descriptor;
  pid = pidfd >= 0 ? pid_of(pidfd) : 0;
  auto group = cgroups.make("i" + std::to_string(pid), limits,
                            sandbox::kCgroupIo);  // it opens no files
  if (group && *group != nullptr && (*group)->add(pid)) cgroup = std::move(*group);
}

SpareInstance::SpareInstance(io::Loop& loop, Zygote& zygote, sandbox::CgroupTree& cgroups)
    : zygote_(zygote), cgroups_(cgroups), refill_(loop, [this] { refill(); }) {}

SpareInstance::~SpareInstance() {
  if (process_.number != 0) zygote_.forget(process_.number);
  drop();
}

bool SpareInstance::take(ForkedProcess& into, ForkedChild& child,
                         const sandbox::CgroupLimits& limits) {
  if (!refill_.is_armed()) refill_.start(kRefillAfter);
  if (!is_ready()) return false;
  if (process_.cgroup != nullptr) {
    sandbox::CgroupLimits missing = limits;
    if (missing.pids_max == kSparePidsMax) missing.pids_max = 0;
    if (missing.cpu_millis == kSpareCpuMillis) missing.cpu_millis = 0;
    // One that cannot be bounded as asked is of no use; the usual way tries again.
    if (!process_.cgroup->limit(missing)) return false;
  }
  into = std::exchange(process_, {});
  zygote_.hand_over(into.number, child);
  return true;
}

void SpareInstance::refill() {
  if (process_.number != 0) return;
  drop();
  // When this fails, instances are forked when they are needed.
  [[maybe_unused]] const Status forked = process_.fork(zygote_, *this);
}

void SpareInstance::on_forked(int pidfd) {
  // It takes its memory limit with its function: until then it runs no code of anybody's.
  process_.settle(pidfd, cgroups_, {0, kSparePidsMax, kSpareCpuMillis});
  if (process_.pid == 0) drop();
}

void SpareInstance::on_fork_failed(const std::string&) {
  process_.number = 0;
  drop();
}

void SpareInstance::on_exited(const io::ExitStatus&) {
  process_.number = 0;
  drop();
}

void SpareInstance::drop() {
  if (process_.socket >= 0) close(process_.socket);
  if (process_.pidfd >= 0) {
    syscall(SYS_pidfd_send_signal, process_.pidfd, SIGKILL, nullptr, 0);
    close(process_.pidfd);
  }
  const uint32_t number = process_.number;
  process_ = {};
  process_.number = number;  // until its end is reported
}

}  // namespace brokkr::workload
