#include "sandbox/program.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>

#include "base/bytes.h"
#include "sandbox/cgroup.h"
#include "sandbox/elf.h"
#include "sandbox/launcher_protocol.h"
#include "sandbox/launchers.h"
#include "sandbox/process_tree.h"
#include "sandbox/program_sockets.h"

namespace brokkr::sandbox {
namespace {

constexpr int kPacketsPerTurn = 64;
constexpr int kFailedExitCode = 127;
constexpr auto kConnectTimeout = std::chrono::seconds(5);
constexpr auto kEndPoll = std::chrono::milliseconds(2);
constexpr size_t kCommandOutputMax = 64 << 10;

void send_signal(int pidfd, int number) {
  if (pidfd >= 0) syscall(SYS_pidfd_send_signal, pidfd, number, nullptr, 0);
}

bool has_ended(int pidfd) {
  if (pidfd < 0) return true;
  pollfd waited{pidfd, POLLIN, 0};
  return poll(&waited, 1, 0) > 0;
}

// The number the pidfd's process has here.
pid_t pid_of(int pidfd) {
  char text[1024] = {};
  const std::string path = "/proc/self/fdinfo/" + std::to_string(pidfd);
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  const ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return 0;
  for (const std::string_view line : split(std::string_view(text, static_cast<size_t>(n)), '\n')) {
    if (!line.starts_with("Pid:")) continue;
    return static_cast<pid_t>(parse_int(trim(line.substr(4))).value_or(0));
  }
  return 0;
}

class LaunchedProgram final : public Program {
 public:
  LaunchedProgram(const ProgramDeps& deps, ProgramEvents events)
      : loop_(deps.loop), events_(std::move(events)),
        grace_(deps.loop, [this] { kill_everything(); }),
        end_check_(deps.loop, [this] { check_end(); }) {}

  ~LaunchedProgram() override {
    *is_alive_ = false;
    kill_everything();
    for (const int fd : {keeper_, program_}) {
      if (fd >= 0) close(fd);
    }
    // The launcher is killed and reaped with `process_`.
  }

  Status start(const ProgramDeps& deps, LaunchOrder order, std::vector<int> listeners);

  pid_t pid() const override { return pid_; }
  uint32_t layers() const override { return layers_; }
  void signal(int number) override { send_signal(program_, number); }
  void stop(Duration grace) override;
  void connect(uint16_t port, Callback<void(Result<int> fd)> handler) override;
  void execute(std::vector<std::string> command, Duration timeout,
               Callback<void(int exit_code, std::string output)> handler) override;
  ProgramUsage usage() const override;

 private:
  struct Command {
    Callback<void(int, std::string)> handler;
    std::unique_ptr<OutputPipe> output;
    std::string text;
    std::unique_ptr<io::Timer> timeout;
    bool is_late = false;
  };
  Status spawn(const ProgramDeps& deps, const LaunchOrder& order);
  void take_listener(size_t index, int fd);
  void watch_listener(size_t index, int fd);
  void on_control();
  void on_packet(const LauncherPacket& packet, int descriptor);
  void on_started(const LauncherPacket& packet, int descriptor);
  void on_connected(const LauncherPacket& packet, int descriptor);
  void on_executing(const LauncherPacket& packet, int descriptor);
  void on_executed(const LauncherPacket& packet);
  void check_end();
  void finish();
  void kill_everything();

  io::Loop& loop_;
  ProgramEvents events_;
  std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);
  std::unique_ptr<Cgroup> group_;
  std::unique_ptr<WatchedSocket> control_;
  std::unique_ptr<OutputPipe> outputs_[2];
  std::vector<std::unique_ptr<WatchedSocket>> listeners_;
  std::map<uint32_t, std::unique_ptr<PendingConnection>> connections_;
  std::map<uint32_t, Callback<void(Result<int>)>> connect_handlers_;
  std::map<uint32_t, Command> commands_;
  uint32_t next_number_ = 1;
  std::unique_ptr<io::ChildProcess> process_;
  io::Timer grace_;
  io::Timer end_check_;
  int keeper_ = -1;   // pidfd of the sandbox's first process
  int program_ = -1;  // pidfd
  pid_t pid_ = 0;
  uint32_t layers_ = 0;
  bool is_stopping_ = false;
  bool has_pid_namespace_ = false;
  std::optional<io::ExitStatus> status_;
  std::string reason_;
};

Status LaunchedProgram::start(const ProgramDeps& deps, LaunchOrder order,
                              std::vector<int> listeners) {
  static std::atomic<uint32_t> next_group{1};
  for (size_t i = 0; i < listeners.size(); ++i) watch_listener(i, listeners[i]);
  const ProgramLimits& limits = order.spec.limits;
  auto group = deps.cgroups.make(
      "p" + std::to_string(next_group++) + "-" + order.spec.name,
      {limits.memory_bytes, limits.pids, limits.cpu_millis, limits.io_bytes_per_second},
      order.spec.layers_off);
  if (!group) {
    if (order.spec.policy == Policy::Required) return group.error();
    deps.log.warn("sandbox: " + order.spec.name + " has no cgroup: " + group.error().text);
  } else {
    group_ = std::move(*group);
  }
  return spawn(deps, order);
}

Status LaunchedProgram::spawn(const ProgramDeps& deps, const LaunchOrder& given) {
  LaunchOrder order = given;
  std::vector<int> entries;
  if (group_ != nullptr) {
    Result<std::vector<int>> opened = group_->open_entries();
    if (!opened) return opened.error();
    entries = std::move(*opened);
    order.groups = static_cast<uint32_t>(entries.size());
    order.group_layers = group_->layers();
  }
  ScopedDescriptors held(entries);
  int control[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) != 0) {
    return system_error("socketpair", errno);
  }
  held.add(control[1]);
  control_ = std::make_unique<WatchedSocket>(loop_, control[0], [this](uint32_t) { on_control(); });
  control_->resume();
  const int file = make_memory_file(encode(order));
  if (file < 0) return system_error("memfd_create", errno);
  held.add(file);
  std::vector<int> descriptors = {control[1], file};
  for (const OutputStream stream : {OutputStream::Stdout, OutputStream::Stderr}) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return system_error("pipe", errno);
    held.add(ends[1]);
    descriptors.push_back(ends[1]);
    outputs_[static_cast<size_t>(stream)] =
        std::make_unique<OutputPipe>(loop_, ends[0], [this, stream](std::string_view bytes) {
          if (events_.on_output) events_.on_output(stream, bytes);
        });
  }
  descriptors.insert(descriptors.end(), entries.begin(), entries.end());
  if (deps.launchers != nullptr) return deps.launchers->launch(descriptors);
  io::SpawnOptions options;
  options.path = deps.launcher;
  options.arguments = {"brokkr", kLauncherRole};
  int target = kLauncherControl;
  for (const int fd : descriptors) options.descriptors.emplace_back(fd, target++);
  auto process = io::ChildProcess::start(loop_, options, {});
  if (!process) return process.error();
  process_ = std::move(*process);
  return {};
}

void LaunchedProgram::take_listener(size_t index, int fd) {
  int type = 0;
  socklen_t size = sizeof type;
  getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
  if (type != SOCK_DGRAM) return watch_listener(index, fd);
  if (events_.on_connection) return events_.on_connection(index, fd);
  close(fd);
}

void LaunchedProgram::watch_listener(size_t index, int fd) {
  if (listeners_.size() <= index) listeners_.resize(index + 1);
  listeners_[index] = std::make_unique<WatchedSocket>(loop_, fd, [this, index, fd](uint32_t) {
    const int accepted = accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (accepted < 0) return;
    if (!events_.on_connection) {
      close(accepted);
      return;
    }
    events_.on_connection(index, accepted);
  });
}

void LaunchedProgram::on_control() {
  const std::shared_ptr<bool> alive = is_alive_;
  for (int i = 0; i < kPacketsPerTurn && *alive; ++i) {
    if (control_ == nullptr) return;
    LauncherPacket packet;
    int descriptor = -1;
    const int got = receive_launcher_packet(control_->fd(), packet, descriptor);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      control_->pause();
      return check_end();
    }
    on_packet(packet, descriptor);
  }
}

// May destroy this.
void LaunchedProgram::on_packet(const LauncherPacket& packet, int descriptor) {
  switch (packet.kind) {
    case LauncherPacket::kKeeper:
      keeper_ = descriptor;
      if (is_stopping_ && program_ < 0) kill_everything();
      return;
    case LauncherPacket::kListening:
      if (descriptor >= 0) take_listener(packet.number, descriptor);
      return;
    case LauncherPacket::kStarted: return on_started(packet, descriptor);
    case LauncherPacket::kConnected: return on_connected(packet, descriptor);
    case LauncherPacket::kExecuting: return on_executing(packet, descriptor);
    case LauncherPacket::kExecuted: return on_executed(packet);
    case LauncherPacket::kFailed:
      reason_ = packet.get_text();
      status_ = {false, kFailedExitCode};
      break;
    case LauncherPacket::kExited:
      status_ = {packet.is_signalled != 0, packet.value};
      break;
    default: break;
  }
  if (descriptor >= 0) close(descriptor);
}

void LaunchedProgram::on_started(const LauncherPacket& packet, int descriptor) {
  program_ = descriptor;
  pid_ = pid_of(descriptor);
  layers_ = packet.layers;
  has_pid_namespace_ = (layers_ & kPidNamespace) != 0;
  if (is_stopping_) signal(SIGTERM);
  // It may have spoken already; that it runs is told first.
  for (const auto& output : outputs_) output->resume();
  for (const auto& listener : listeners_) {
    if (listener != nullptr) listener->resume();
  }
  if (events_.on_started) events_.on_started(pid_, layers_);
}

void LaunchedProgram::stop(Duration grace) {
  if (is_stopping_) return;
  is_stopping_ = true;
  signal(SIGTERM);
  grace_.start(grace);
}

void LaunchedProgram::kill_everything() {
  send_signal(program_, SIGKILL);
  // In a pid namespace nothing outlives its first process. Without one the group's members go, then
  // what the keeper finds below itself.
  if (program_ < 0 || has_pid_namespace_) return send_signal(keeper_, SIGKILL);
  if (group_ != nullptr) group_->kill_all();
  if (control_ == nullptr) return;
  LauncherPacket packet;
  packet.kind = LauncherPacket::kKillAll;
  send_launcher_packet(control_->fd(), packet);
}

void LaunchedProgram::connect(uint16_t port, Callback<void(Result<int> fd)> handler) {
  LauncherPacket packet;
  packet.kind = LauncherPacket::kConnect;
  packet.number = next_number_++;
  packet.value = port;
  connect_handlers_[packet.number] = std::move(handler);
  if (program_ >= 0 && control_ != nullptr && send_launcher_packet(control_->fd(), packet)) return;
  packet.kind = LauncherPacket::kConnected;
  packet.value = ENOTCONN;
  loop_.post([this, alive = is_alive_, packet] {
    if (*alive) on_connected(packet, -1);
  });
}

void LaunchedProgram::on_connected(const LauncherPacket& packet, int descriptor) {
  const auto found = connect_handlers_.find(packet.number);
  if (found == connect_handlers_.end()) {
    if (descriptor >= 0) close(descriptor);
    return;
  }
  Callback<void(Result<int>)> handler = std::move(found->second);
  connect_handlers_.erase(found);
  if (descriptor < 0) return handler(system_error("connect", packet.value));
  auto pending = std::make_unique<PendingConnection>(
      loop_, descriptor, kConnectTimeout,
      [this, number = packet.number, handler = std::move(handler)](Result<int> fd) {
        const auto self = std::move(connections_.at(number));
        connections_.erase(number);
        handler(std::move(fd));
      });
  PendingConnection& started = *pending;
  connections_[packet.number] = std::move(pending);
  started.start();
}

void LaunchedProgram::execute(std::vector<std::string> command, Duration timeout,
                              Callback<void(int exit_code, std::string output)> handler) {
  const uint32_t number = next_number_++;
  Command& entry = commands_[number];
  entry.handler = std::move(handler);
  entry.timeout = std::make_unique<io::Timer>(loop_, [this, number] {
    commands_.at(number).is_late = true;
    LauncherPacket cancel;
    cancel.kind = LauncherPacket::kCancel;
    cancel.number = number;
    if (control_ != nullptr) send_launcher_packet(control_->fd(), cancel);
  });
  entry.timeout->start(timeout);
  LauncherPacket packet;
  packet.kind = LauncherPacket::kExecute;
  packet.number = number;
  const int file = make_memory_file(encode(command));
  const bool is_sent = program_ >= 0 && control_ != nullptr && file >= 0 &&
                       send_launcher_packet(control_->fd(), packet, file);
  if (file >= 0) close(file);
  if (is_sent) return;
  packet.kind = LauncherPacket::kExecuted;
  packet.set_text("the program is not running");
  loop_.post([this, alive = is_alive_, packet] {
    if (*alive) on_executed(packet);
  });
}

void LaunchedProgram::on_executing(const LauncherPacket& packet, int descriptor) {
  const auto found = commands_.find(packet.number);
  if (found == commands_.end()) {
    if (descriptor >= 0) close(descriptor);
    return;
  }
  std::string& text = found->second.text;
  found->second.output =
      std::make_unique<OutputPipe>(loop_, descriptor, [&text](std::string_view bytes) {
        text += bytes.substr(0, kCommandOutputMax - std::min(kCommandOutputMax, text.size()));
      });
  found->second.output->resume();
}

// May destroy this.
void LaunchedProgram::on_executed(const LauncherPacket& packet) {
  const auto found = commands_.find(packet.number);
  if (found == commands_.end()) return;
  if (found->second.output != nullptr) found->second.output->drain();
  Command command = std::move(found->second);
  commands_.erase(found);
  command.output.reset();
  const std::string reason = packet.get_text();
  if (!reason.empty()) return command.handler(-1, reason);
  if (command.is_late) return command.handler(-1, "timed out: " + command.text);
  command.handler(packet.is_signalled != 0 ? 128 + packet.value : packet.value,
                  std::move(command.text));
}

ProgramUsage LaunchedProgram::usage() const {
  ProgramUsage usage;
  if (group_ != nullptr) {
    const CgroupUsage counted = group_->usage();
    usage = {counted.memory_bytes, counted.cpu_ns, counted.pids};
  }
  if (pid_ == 0 || (usage.memory_bytes != 0 && usage.cpu_ns != 0)) return usage;
  // Everything inside descends from the keeper, orphans too.
  const ProcessUsage total = usage_below(pid_of(keeper_));
  if (usage.memory_bytes == 0) usage.memory_bytes = total.memory_bytes;
  if (usage.cpu_ns == 0) usage.cpu_ns = total.cpu_ns;
  if (usage.pids == 0) usage.pids = total.processes;
  return usage;
}

// The other end is held by the launcher until the keeper is there, and by the keeper: both are gone or
// about to be. May destroy this.
void LaunchedProgram::check_end() {
  if (!has_ended(keeper_)) {
    end_check_.start(kEndPoll);
    return;
  }
  finish();
}

// May destroy this, as its last step.
void LaunchedProgram::finish() {
  for (const auto& output : outputs_) {
    if (output != nullptr) output->drain();
  }
  if (!status_) {
    status_ = {true, SIGKILL};
    if (!is_stopping_) reason_ = "its sandbox was killed";
  }
  grace_.stop();
  listeners_.clear();
  control_.reset();
  const bool is_memory_kill = group_ != nullptr && group_->had_memory_kill();
  const std::shared_ptr<bool> alive = is_alive_;
  auto commands = std::move(commands_);
  commands_.clear();
  for (auto& [number, command] : commands) {
    if (*alive) command.handler(-1, "the program has ended");
  }
  auto connecting = std::move(connect_handlers_);
  connect_handlers_.clear();
  for (auto& [number, handler] : connecting) {
    if (*alive) handler(Error{Errc::Closed, "the program has ended"});
  }
  if (!*alive) return;
  group_.reset();
  const auto on_exit = std::move(events_.on_exit);
  const io::ExitStatus status = *status_;
  const std::string reason = reason_;
  if (on_exit) on_exit(status, is_memory_kill, reason);
}

Status check_spec(const ProgramSpec& spec) {
  const auto invalid = [](std::string text) { return Error{Errc::InvalidArgument, std::move(text)}; };
  const bool is_image = !spec.root.empty() || !spec.lower.empty();
  if (spec.executable.empty() && !is_image) return invalid("neither a program nor an image");
  if (spec.arguments.empty() || spec.arguments.front().empty()) return invalid("no command");
  if (spec.name.empty() || spec.name.size() > 64 || spec.name.front() == '.' ||
      spec.name.find('/') != std::string::npos) {
    return invalid("the name \"" + spec.name + "\" is no host name");
  }
  for (const InnerListener& listener : spec.listeners) {
    unsigned char address[16];
    const bool is_address = inet_pton(AF_INET, listener.address.c_str(), address) == 1 ||
                            inet_pton(AF_INET6, listener.address.c_str(), address) == 1;
    if (!is_address || listener.port == 0) {
      return invalid("cannot listen on " + listener.address + ":" + std::to_string(listener.port));
    }
  }
  for (const Bind& bind : spec.binds) {
    if (!bind.target.starts_with('/')) return invalid("mount target " + bind.target);
    if (access(bind.source.c_str(), F_OK) != 0) {
      return Error{Errc::NotFound, "no file or folder " + bind.source};
    }
  }
  return {};
}

Result<std::unique_ptr<Program>> launch_program(const ProgramDeps& deps, LaunchOrder order,
                                                ProgramEvents events, std::vector<int> listeners) {
  auto program = std::make_unique<LaunchedProgram>(deps, std::move(events));
  if (Status s = program->start(deps, std::move(order), std::move(listeners)); !s) return s.error();
  return std::unique_ptr<Program>(std::move(program));
}

Status examine_executable(LaunchOrder& order) {
  if (order.spec.executable.empty()) return {};
  const Result<bool> needs = needs_interpreter(order.spec.executable);
  if (!needs) return needs.error();
  order.needs_libraries = *needs;
  return {};
}

}  // namespace

Result<std::unique_ptr<Program>> start_program(const ProgramDeps& deps, ProgramSpec spec,
                                               ProgramEvents events) {
  if (spec.policy == Policy::Off) {
    return Error{Errc::InvalidArgument, "a program without a sandbox is started unconfined"};
  }
  if (Status s = check_spec(spec); !s) return s.error();
  LaunchOrder order;
  order.spec = std::move(spec);
  if (Status s = examine_executable(order); !s) return s.error();
  return launch_program(deps, std::move(order), std::move(events), {});
}

Result<std::unique_ptr<Program>> start_program_unconfined(const ProgramDeps& deps, ProgramSpec spec,
                                                          ProgramEvents events,
                                                          std::vector<uint16_t>& ports) {
  if (Status s = check_spec(spec); !s) return s.error();
  if (!spec.root.empty() || !spec.lower.empty()) {
    return Error{Errc::Unsupported, "an image does not run without a sandbox"};
  }
  LaunchOrder order;
  order.spec = std::move(spec);
  order.is_confined = false;
  if (Status s = examine_executable(order); !s) return s.error();
  std::vector<int> sockets;
  ports.clear();
  for (size_t i = 0; i < order.spec.listeners.size(); ++i) {
    uint16_t port = 0;
    const Result<int> fd = listen_on_loopback(port);
    if (!fd) {
      for (const int other : sockets) close(other);
      return fd.error();
    }
    sockets.push_back(*fd);
    ports.push_back(port);
  }
  return launch_program(deps, std::move(order), std::move(events), std::move(sockets));
}

}  // namespace brokkr::sandbox
