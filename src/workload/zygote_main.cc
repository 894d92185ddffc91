#include "workload/zygote_main.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <unordered_map>

#include "runtime/engine.h"
#include "sandbox/enter.h"
#include "sandbox/layers.h"
#include "workload/instance_main.h"
#include "workload/zygote_protocol.h"

namespace brokkr::workload {
namespace {

struct ZygoteArguments {
  std::string engine_path;
  bool is_warm = true;
  sandbox::Policy policy = sandbox::Policy::BestEffort;
};

ZygoteArguments parse_arguments(int argc, char** argv) {
  ZygoteArguments arguments;
  for (int i = 2; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const std::string_view value = argument.substr(argument.find('=') + 1);
    if (argument.starts_with("--engine=")) arguments.engine_path = value;
    if (argument.starts_with("--mode=")) arguments.is_warm = value != "cold";
    if (argument.starts_with("--sandbox=")) {
      const auto policy = sandbox::parse_policy(value);
      if (policy) arguments.policy = *policy;
    }
  }
  return arguments;
}

void report(ZygoteReport::Kind kind, uint32_t number, std::string_view text, uint32_t layers = 0) {
  ZygoteReport packet;
  packet.kind = kind;
  packet.number = number;
  packet.layers = layers;
  text.copy(packet.text, sizeof packet.text - 1);
  send_packet(kZygoteControlDescriptor, &packet, sizeof packet);
}

class ZygoteProcess {
 public:
  explicit ZygoteProcess(ZygoteArguments arguments) : arguments_(std::move(arguments)) {}

  int run() {
    if (Status prepared = prepare(); !prepared) {
      report(ZygoteReport::kFailed, 0, prepared.error().text);
      return 1;
    }
    report(ZygoteReport::kReady, 0, engine_->version(), layers_);
    serve();
    return 0;
  }

 private:
  // When the machine's memory ends, functions go before the node does.
  static void volunteer() {
    const int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (file < 0) return;
    const ssize_t written = write(file, "700", 3);
    static_cast<void>(written);
    close(file);
  }

  Status prepare() {
    volunteer();
    if (arguments_.policy != sandbox::Policy::Off) layers_ = sandbox::enter_namespaces();
    Result<runtime::Engine*> engine = runtime::open_engine(arguments_.engine_path);
    if (!engine) return engine.error();
    engine_ = *engine;
    if (Status s = engine_->prepare(arguments_.is_warm); !s) return s;
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, nullptr);
    child_ended_ = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    signal(SIGPIPE, SIG_IGN);
    if (arguments_.policy == sandbox::Policy::Off) return {};
    const bool has_filters = filters_.make().operator bool();
    layers_ = sandbox::lock_down(layers_);
    is_filtered_ = has_filters && filters_.apply_zygote().operator bool();
    if (is_filtered_) layers_ |= sandbox::kSeccomp;
    const uint32_t missing = sandbox::kRequiredLayers & ~layers_;
    if (arguments_.policy == sandbox::Policy::Required && missing != 0) {
      return Error{Errc::Unsupported,
                   "sandbox=required, but this kernel or container does not grant: " +
                       sandbox::describe(~missing)};
    }
    return {};
  }

  // Until the node goes away.
  void serve() {
    for (;;) {
      pollfd waited[2] = {{kZygoteControlDescriptor, POLLIN, 0}, {child_ended_, POLLIN, 0}};
      if (poll(waited, 2, -1) < 0 && errno != EINTR) return;
      if (waited[1].revents != 0) reap();
      if (waited[0].revents != 0 && !take_request()) return;
    }
  }

  bool take_request() {
    ZygoteRequest request;
    int descriptor = -1;
    const int64_t size = receive_packet(kZygoteControlDescriptor, &request, sizeof request,
                                        descriptor);
    if (size < 0 && errno == EINTR) return true;
    if (size <= 0) return false;
    if (descriptor < 0) return true;
    fork_instance(request.number, descriptor);
    close(descriptor);
    return true;
  }

  void fork_instance(uint32_t number, int descriptor) {
    const pid_t pid = fork();
    if (pid == 0) become_instance(descriptor);
    if (pid < 0) return report(ZygoteReport::kRefused, number, strerror(errno));
    numbers_[pid] = number;
    const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    ZygoteReport packet;
    packet.kind = ZygoteReport::kForked;
    packet.number = number;
    send_packet(kZygoteControlDescriptor, &packet, sizeof packet, pidfd);
    if (pidfd >= 0) close(pidfd);
  }

  [[noreturn]] void become_instance(int descriptor) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (descriptor == kInstanceDescriptor) _exit(1);
    sandbox::shed_descriptors(descriptor);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    signal(SIGCHLD, SIG_DFL);
    if (!engine_->after_fork()) _exit(1);
    // A cold instance starts the engine now: that still needs calls the instance's filter forbids.
    if (!arguments_.is_warm && !engine_->prepare(true)) _exit(1);
    _exit(instance_main(*engine_, is_filtered_ ? &filters_ : nullptr));
  }

  void reap() {
    signalfd_siginfo ignored{};
    while (read(child_ended_, &ignored, sizeof ignored) > 0) {
    }
    int status = 0;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
      const auto found = numbers_.find(pid);
      if (found == numbers_.end()) continue;
      ZygoteReport packet;
      packet.kind = ZygoteReport::kExited;
      packet.number = found->second;
      packet.is_signalled = WIFSIGNALED(status) ? 1 : 0;
      packet.value = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
      numbers_.erase(found);
      send_packet(kZygoteControlDescriptor, &packet, sizeof packet);
    }
  }

  const ZygoteArguments arguments_;
  runtime::Engine* engine_ = nullptr;
  sandbox::Filters filters_;
  bool is_filtered_ = false;
  uint32_t layers_ = 0;
  int child_ended_ = -1;
  std::unordered_map<pid_t, uint32_t> numbers_;
};

}  // namespace

std::optional<int> zygote_main(int argc, char** argv) {
  if (argc < 2) return std::nullopt;
  const std::string_view role = argv[1];
  if (role == sandbox::kProbeRole) sandbox::probe_main();
  if (role != kZygoteRole) return std::nullopt;
  // Leaves without running destructors: the engine's must not run in a process that has forked.
  _exit(ZygoteProcess(parse_arguments(argc, argv)).run());
}

}  // namespace brokkr::workload
