#include "io/spawn.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace brokkr::io {
namespace {

// Where mapped descriptors are parked while their targets are filled.
constexpr int kParkedMin = 512;

// Everything the child needs, laid out before the fork: between vfork and exec it shares our memory
// and may only make system calls.
struct ChildPlan {
  const char* path;
  char* const* arguments;
  char* const* environment;
  const std::pair<int, int>* descriptors;
  size_t descriptor_count;
  int descriptors_end;  // one past the highest number the child keeps
  const std::pair<int, rlimit>* limits;
  size_t limit_count;
  bool dies_with_parent;
  pid_t parent;
  volatile int error;
};

int park_descriptors(const ChildPlan& plan, int* parked) {
  for (size_t i = 0; i < plan.descriptor_count; ++i) {
    parked[i] = fcntl(plan.descriptors[i].first, F_DUPFD_CLOEXEC, kParkedMin);
    if (parked[i] < 0) return errno;
  }
  return 0;
}

int place_descriptors(const ChildPlan& plan) {
  int parked[16];
  if (plan.descriptor_count > std::size(parked)) return E2BIG;
  if (const int error = park_descriptors(plan, parked); error != 0) return error;
  const int null = open("/dev/null", O_RDWR);
  if (null < 0) return errno;
  for (int fd = 0; fd < 3; ++fd) {
    if (null != fd && dup2(null, fd) < 0) return errno;
  }
  for (size_t i = 0; i < plan.descriptor_count; ++i) {
    if (dup2(parked[i], plan.descriptors[i].second) < 0) return errno;
  }
  const auto first = static_cast<unsigned>(plan.descriptors_end);
  if (syscall(SYS_close_range, first, ~0U, 0) < 0) return errno;
  return 0;
}

void reset_signals() {
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) sigaction(number, &standard, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

[[noreturn]] __attribute__((noinline)) void run_child(ChildPlan& plan) {
  plan.error = 0;
  if (plan.dies_with_parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != plan.parent) _exit(127);  // it ended before the line above
  }
  setsid();
  plan.error = place_descriptors(plan);
  for (size_t i = 0; i < plan.limit_count; ++i) {
    setrlimit(static_cast<__rlimit_resource_t>(plan.limits[i].first), &plan.limits[i].second);
  }
  if (plan.error == 0) {
    reset_signals();
    execve(plan.path, plan.arguments, plan.environment);
    plan.error = errno;
  }
  _exit(127);
}

std::vector<char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// Signals stay blocked around the vfork, so that no handler of ours runs in the shared memory.
pid_t fork_and_exec(ChildPlan& plan) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = vfork();
  if (pid == 0) run_child(plan);
  const int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return pid;
}

}  // namespace

std::string ExitStatus::text() const {
  if (!is_signalled) return "exit code " + std::to_string(value);
  const char* name = sigdescr_np(value);
  return "signal " + std::to_string(value) + " (" + (name != nullptr ? name : "unknown") + ")";
}

Result<std::unique_ptr<ChildProcess>> ChildProcess::start(
    Loop& loop, const SpawnOptions& options, Callback<void(const ExitStatus&)> on_exit) {
  const std::vector<char*> arguments = pointers_to(options.arguments);
  const std::vector<char*> environment = pointers_to(options.environment);
  std::vector<std::pair<int, rlimit>> limits;
  for (const auto& [resource, wanted] : options.limits) {
    rlimit limit{};
    getrlimit(static_cast<__rlimit_resource_t>(resource), &limit);
    limit.rlim_cur = std::min<rlim_t>(wanted, limit.rlim_max);
    limits.emplace_back(resource, limit);
  }
  int end = 3;
  for (const auto& [from, to] : options.descriptors) end = std::max(end, to + 1);
  ChildPlan plan{options.path.c_str(), arguments.data(), environment.data(),
                 options.descriptors.data(), options.descriptors.size(), end,
                 limits.data(), limits.size(), options.dies_with_parent, getpid(), 0};
  const pid_t pid = fork_and_exec(plan);
  if (pid < 0) return system_error("vfork", errno);
  if (const int error = plan.error; error != 0) {
    waitpid(pid, nullptr, 0);
    return system_error(("start " + options.path).c_str(), error);
  }
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (pidfd < 0) {
    const int error = errno;
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return system_error("pidfd_open", error);
  }
  std::unique_ptr<ChildProcess> child(new ChildProcess(loop, pid, pidfd, std::move(on_exit)));
  if (Status watched = loop.watch(pidfd, kReadable, *child); !watched) return watched.error();
  return child;
}

ChildProcess::~ChildProcess() {
  if (pidfd_ < 0) return;
  signal(SIGKILL);
  reap();
}

void ChildProcess::signal(int number) {
  if (pidfd_ >= 0) syscall(SYS_pidfd_send_signal, pidfd_, number, nullptr, 0);
}

void ChildProcess::on_ready(uint32_t) {
  const ExitStatus status = reap();
  // The callback may destroy this.
  const Callback<void(const ExitStatus&)> on_exit = std::move(on_exit_);
  if (on_exit) on_exit(status);
}

ExitStatus ChildProcess::reap() {
  siginfo_t info{};
  while (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED) < 0 && errno == EINTR) {
  }
  loop_.unwatch(pidfd_);
  close(pidfd_);
  pidfd_ = -1;
  return {info.si_code != CLD_EXITED, info.si_status};
}

}  // namespace brokkr::io
