#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "sandbox/launcher_confine.h"
#include "sandbox/launcher_idmap.h"
#include "sandbox/launcher_net.h"
#include "sandbox/launcher_protocol.h"
#include "sandbox/launcher_root.h"
#include "sandbox/process_tree.h"

namespace brokkr::sandbox {
namespace {

constexpr unsigned kMappedId = 65534;
constexpr uint64_t kSetGid = 1U << 6;    // CAP_SETGID
constexpr uint64_t kSetUid = 1U << 7;    // CAP_SETUID
constexpr uint64_t kKill = 1U << 5;      // CAP_KILL
constexpr uint64_t kSetFcap = 1U << 31;  // CAP_SETFCAP: to map root into a user namespace

constexpr int kParkedFrom = 64;

struct Space {
  int flag;
  uint32_t layer;
};
constexpr Space kSpaces[] = {
    {CLONE_NEWNS, kMountNamespace}, {CLONE_NEWNET, kNetNamespace}, {CLONE_NEWIPC, kIpcNamespace},
    {CLONE_NEWUTS, kUtsNamespace},  {CLONE_NEWPID, kPidNamespace},
};

void send_failure(const std::string& text) {
  LauncherPacket packet;
  packet.kind = LauncherPacket::kFailed;
  packet.set_text(text);
  send_launcher_packet(kLauncherControl, packet);
}

bool write_map(const char* path, const std::string& text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool ok = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  close(fd);
  return ok;
}

// Gives a process without root's rights those it needs over namespaces of its own.
bool take_outer_user_namespace() {
  const std::string inner = std::to_string(kMappedId) + " ";
  const std::string uid = std::to_string(geteuid());
  const std::string gid = std::to_string(getegid());
  return unshare(CLONE_NEWUSER) == 0 && write_map("/proc/self/setgroups", "deny") &&
         write_map("/proc/self/gid_map", inner + gid + " 1") &&
         write_map("/proc/self/uid_map", inner + uid + " 1");
}

uint32_t take_spaces(uint32_t off) {
  uint32_t layers = 0;
  for (const Space& space : kSpaces) {
    if ((off & space.layer) == 0 && unshare(space.flag) == 0) layers |= space.layer;
  }
  return layers;
}

bool is_image_of_root(const ProgramSpec& spec) {
  const std::string user = spec.user.substr(0, spec.user.find(':'));
  return (!spec.root.empty() || !spec.lower.empty()) && (user == "0" || user == "root");
}

int make_root_map_or_none() {
  const Result<int> made = make_root_map();
  return made ? *made : -1;
}

// The first process of the sandbox: builds it, starts the program and the commands beside it, reaps,
// and ends when the program does. Its end is the end of everything inside.
class Keeper {
 public:
  Keeper(LaunchOrder order, uint32_t layers, bool is_root, bool was_root, int root_map)
      : order_(std::move(order)), how_{order_}, root_map_(root_map) {
    how_.is_unprivileged = !was_root;
    how_.layers = layers;
    how_.is_root = is_root;
  }

  [[noreturn]] void run() {
    prepare_signals();
    LauncherPacket self;
    self.kind = LauncherPacket::kKeeper;
    const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0));
    send_launcher_packet(kLauncherControl, self, pidfd);
    close(pidfd);
    how_.host_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (Status built = build(); !built) {
      send_failure(built.error().text);
      end(1);
    }
    if (!start_program()) end(1);
    close(kLauncherStdout);
    close(kLauncherStderr);
    serve();
    end(0);
  }

 private:
  bool owns_processes() const { return (how_.layers & kPidNamespace) != 0; }

  void prepare_signals() {
    signal(SIGPIPE, SIG_IGN);
    sigset_t blocked;
    sigfillset(&blocked);
    sigprocmask(SIG_SETMASK, &blocked, nullptr);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    child_ended_ = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (!owns_processes()) prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  }

  Status build() {
    if (!order_.is_confined) return {};
    const ProgramSpec& spec = order_.spec;
    const bool has_network = (how_.layers & kNetNamespace) != 0;
    const bool is_network_off = (spec.layers_off & kNetNamespace) != 0;
    if (!has_network && !is_network_off && !spec.listeners.empty()) {
      return Error{Errc::Unsupported, "a network namespace is not granted here"};
    }
    if ((how_.layers & kUtsNamespace) != 0) (void)!sethostname(spec.name.data(), spec.name.size());
    if (has_network) {
      if (Status s = open_network(); !s) return s;
    }
    if (Status s = enter_root(); !s) return s;
    if (Status s = resolve_user(spec.user, how_); !s) return s;
    empty_bounding_set();
    const bool stays_root = (spec.layers_off & kNobody) != 0;
    keep_capabilities(how_.is_root ? kSetGid | kSetUid | kKill | (stays_root ? kSetFcap : 0) : 0);
    if ((spec.layers_off & kNoNewPrivileges) == 0) prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    return {};
  }

  Status open_network() {
    const Result<std::vector<int>> sockets = open_inner_network(order_.spec.listeners, order_.spec.networks);
    if (!sockets) return sockets.error();
    LauncherPacket packet;
    packet.kind = LauncherPacket::kListening;
    for (const int fd : *sockets) {
      send_launcher_packet(kLauncherControl, packet, fd);
      close(fd);
      ++packet.number;
    }
    return {};
  }

  Status enter_root() {
    const ProgramSpec& spec = order_.spec;
    InnerRoot root(order_, root_map_);
    const bool is_wanted = (how_.layers & kMountNamespace) != 0 &&
                           (spec.layers_off & kEmptyRoot) == 0;
    if (!is_wanted) {
      // An image without a root of its own is no image.
      if (root.is_image()) return Error{Errc::Unsupported, "an image needs a mount namespace"};
      return {};
    }
    if (Status entered = root.enter(owns_processes()); !entered) return entered;
    how_.has_own_root = true;
    if (root_map_ >= 0) close(root_map_);
    how_.forbids_memory_programs = root.forbids_memory_programs();
    how_.layers |= kEmptyRoot;
    return {};
  }

  std::string executable() const {
    if (order_.spec.executable.empty()) return {};
    return how_.has_own_root ? inner_executable(order_.spec) : order_.spec.executable;
  }

  // A child that becomes `command`, with its output at those descriptors; it runs, or has said why
  // not, when this returns.
  pid_t start_child(const std::vector<std::string>& command, const std::string& path, int out,
                    int error_out, ConfineReport& report) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    const pid_t pid = fork();
    if (pid == 0) {
      const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
      dup2(null, 0);
      dup2(out, 1);
      dup2(error_out, 2);
      confine_and_execute(how_, command, path, ends[1]);
    }
    close(ends[1]);
    report = {};
    ConfineReport next;
    while (pid > 0 && read(ends[0], &next, sizeof next) == static_cast<ssize_t>(sizeof next)) {
      report = next;
    }
    close(ends[0]);
    return pid;
  }

  bool start_program() {
    ConfineReport report;
    const pid_t pid = start_child(order_.spec.arguments, executable(), kLauncherStdout,
                                  kLauncherStderr, report);
    if (pid < 0 || report.error != 0) {
      const std::string step(report.step, strnlen(report.step, sizeof report.step));
      send_failure(system_error(pid < 0 ? "fork" : step.c_str(),
                                pid < 0 ? errno : report.error).text);
      return false;
    }
    program_ = pid;
    LauncherPacket packet;
    packet.kind = LauncherPacket::kStarted;
    packet.layers = report.layers;
    const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    send_launcher_packet(kLauncherControl, packet, pidfd);
    close(pidfd);
    return true;
  }

  // Until the program has ended or the node has gone.
  void serve() {
    while (!has_ended_) {
      pollfd waited[2] = {{kLauncherControl, POLLIN, 0}, {child_ended_, POLLIN, 0}};
      if (poll(waited, 2, -1) < 0 && errno != EINTR) return;
      if (waited[1].revents != 0) reap();
      if (waited[0].revents != 0 && !take_request()) return;
    }
  }

  bool take_request() {
    LauncherPacket packet;
    int descriptor = -1;
    if (receive_launcher_packet(kLauncherControl, packet, descriptor) <= 0) return false;
    if (packet.kind == LauncherPacket::kConnect) connect_for(packet);
    if (packet.kind == LauncherPacket::kExecute) execute_for(packet.number, descriptor);
    if (packet.kind == LauncherPacket::kCancel) cancel(packet.number);
    if (descriptor >= 0) close(descriptor);
    return packet.kind != LauncherPacket::kKillAll;
  }

  void connect_for(LauncherPacket packet) {
    const Result<int> fd = connect_inside(static_cast<uint16_t>(packet.value));
    packet.kind = LauncherPacket::kConnected;
    packet.value = fd ? 0 : ECONNREFUSED;
    send_launcher_packet(kLauncherControl, packet, fd ? *fd : -1);
    if (fd) close(*fd);
  }

  void execute_for(uint32_t number, int texts) {
    LauncherPacket packet;
    packet.number = number;
    const auto command = decode_texts(read_memory_file(texts));
    int ends[2];
    if (!command || command->empty() || pipe2(ends, O_CLOEXEC) != 0) {
      packet.kind = LauncherPacket::kExecuted;
      packet.set_text("no command");
      send_launcher_packet(kLauncherControl, packet);
      return;
    }
    packet.kind = LauncherPacket::kExecuting;
    send_launcher_packet(kLauncherControl, packet, ends[0]);
    close(ends[0]);
    ConfineReport report;
    const pid_t pid = start_child(*command, {}, ends[1], ends[1], report);
    close(ends[1]);
    if (pid > 0 && report.error == 0) {
      commands_[pid] = number;
      return;
    }
    packet.kind = LauncherPacket::kExecuted;
    const std::string step(report.step, strnlen(report.step, sizeof report.step));
    packet.set_text(system_error(step.c_str(), report.error).text);
    send_launcher_packet(kLauncherControl, packet);
  }

  void cancel(uint32_t number) {
    for (const auto& [pid, known] : commands_) {
      if (known == number) kill(-pid, SIGKILL);
    }
  }

  void reap() {
    signalfd_siginfo ignored{};
    while (read(child_ended_, &ignored, sizeof ignored) > 0) {
    }
    int status = 0;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
      LauncherPacket packet;
      packet.is_signalled = WIFSIGNALED(status) ? 1 : 0;
      packet.value = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
      if (pid == program_) {
        packet.kind = LauncherPacket::kExited;
        has_ended_ = true;
      } else if (const auto found = commands_.find(pid); found != commands_.end()) {
        packet.kind = LauncherPacket::kExecuted;
        packet.number = found->second;
        commands_.erase(found);
      } else {
        continue;
      }
      send_launcher_packet(kLauncherControl, packet);
    }
  }

  [[noreturn]] void end(int code) {
    // In a pid namespace the kernel ends what is left.
    if (!owns_processes()) kill_descendants(how_.host_proc);
    _exit(code);
  }

  const LaunchOrder order_;
  Confinement how_;
  const int root_map_;
  int child_ended_ = -1;
  pid_t program_ = 0;
  bool has_ended_ = false;
  std::map<pid_t, uint32_t> commands_;
};

// Stays behind outside, so that the chain of "dies with its parent" holds, and ends with the keeper.
[[noreturn]] void wait_for_keeper(pid_t keeper) {
  syscall(SYS_close_range, 0U, ~0U, 0);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);  // it has read the order, secrets and all
  int status = 0;
  while (waitpid(keeper, &status, 0) < 0 && errno == EINTR) {
  }
  _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

[[noreturn]] void launch(bool dies_with_parent) {
  syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
  Result<LaunchOrder> order = decode_order(read_memory_file(kLauncherOrder));
  close(kLauncherOrder);
  if (!order) {
    send_failure(order.error().text);
    _exit(1);
  }
  const uint32_t off = order->spec.layers_off;
  const bool was_root = geteuid() == 0;
  bool is_root = was_root;
  uint32_t layers = 0;
  int root_map = -1;
  if (order->is_confined) {
    // Made while our own numbers are those of /proc.
    if (is_root && is_image_of_root(order->spec)) root_map = make_root_map_or_none();
    if (is_root) layers = take_spaces(off);
    // Root in a container may lack the right to unshare, and still be allowed a user namespace.
    const bool needs_user_namespace = layers == 0 && (off & kUserNamespace) == 0;
    if (needs_user_namespace && take_outer_user_namespace()) {
      is_root = false;
      layers = kUserNamespace | take_spaces(off);
    }
    // A new user namespace has cleared it.
    if (dies_with_parent) prctl(PR_SET_PDEATHSIG, SIGKILL);
  }
  const pid_t keeper = fork();
  if (keeper < 0) {
    send_failure(system_error("fork", errno).text);
    _exit(1);
  }
  if (keeper > 0) wait_for_keeper(keeper);
  // Without a pid namespace the keeper lives on to end the others; it sees the node's end.
  if ((layers & kPidNamespace) != 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
  Keeper(std::move(*order), layers, is_root, was_root, root_map).run();
}

// The child becomes a launcher of its own with those descriptors.
[[noreturn]] void become_launcher(const std::vector<int>& received) {
  signal(SIGCHLD, SIG_DFL);
  setsid();
  std::vector<int> parked;
  for (const int fd : received) parked.push_back(fcntl(fd, F_DUPFD_CLOEXEC, kParkedFrom));
  int next = kLauncherControl;
  for (const int fd : parked) dup2(fd, next++);
  syscall(SYS_close_range, static_cast<unsigned>(next), ~0U, 0);
  launch(false);
}

// Forks a launcher for each set of descriptors, until the node has gone. What it has forked does not
// depend on it: each sees the node's end by itself.
[[noreturn]] void serve_launches() {
  syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
  signal(SIGCHLD, SIG_IGN);
  for (;;) {
    const std::vector<int> received = receive_descriptors(kLauncherControl);
    if (received.empty()) _exit(0);
    if (fork() == 0) become_launcher(received);
    for (const int fd : received) close(fd);
  }
}

}  // namespace

void launcher_main() {
  if (fcntl(kLauncherOrder, F_GETFD) < 0) serve_launches();
  launch(true);
}

}  // namespace brokkr::sandbox
