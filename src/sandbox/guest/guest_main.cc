// The first process of a microVM: furnishes the machine, runs one program for the host and carries its
// output and connections. Built without anything but libc; see microvm_wire.h for what it says.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "sandbox/guest/disks.h"
#include "sandbox/guest/link.h"
#include "sandbox/guest/program.h"

namespace brokkr::sandbox::guest {
namespace {

using wire::Kind;

constexpr int kUsagePeriodMs = 1000;
constexpr size_t kExecuteOutputMax = 32 * 1024;

[[noreturn]] void power_off() {
  sync();
  reboot(RB_AUTOBOOT);  // the monitor ends instead of starting again
  for (;;) pause();
}

int64_t now_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

std::string command_line_value(const char* name) {
  char text[4096] = {};
  const int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return {};
  const std::string line(text, static_cast<size_t>(n));
  const size_t at = line.find(name);
  if (at == std::string::npos) return {};
  const size_t start = at + strlen(name);
  return line.substr(start, line.find_first_of(" \n", start) - start);
}

bool load_module(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return true;  // there is none to wait for
  const bool is_loaded = syscall(SYS_finit_module, fd, "", 0) == 0 || errno == EEXIST || errno == ENODEV;
  close(fd);
  return is_loaded;
}

// Some need others: as long as one more can be loaded, those that could not are tried again.
void load_modules() {
  std::string waiting = "abcdefghijklmnopqrstuvwxyz";
  for (size_t before = 0; before != waiting.size();) {
    before = waiting.size();
    std::string left;
    for (const char name : waiting) {
      if (!load_module(std::string("/modules/") + name + ".ko")) left += name;
    }
    waiting = left;
  }
}

int accept_vsock(unsigned port) {
  const int listener = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_vm address{};
  address.svm_family = AF_VSOCK;
  address.svm_cid = VMADDR_CID_ANY;
  address.svm_port = port;
  if (listener < 0 || bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(listener, 1) != 0) return -1;
  const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  close(listener);
  return fd;
}

// The way to the host, as the kernel's command line names it: "vport0p1" or "vsock:1024".
int open_link() {
  const std::string port = command_line_value("brokkr.port=");
  if (port.rfind("vsock:", 0) == 0) return accept_vsock(static_cast<unsigned>(atoi(port.c_str() + 6)));
  const std::string path = "/dev/" + port;
  const int tries_max = port == "none" ? 0 : 1000;
  for (int tries = 0; tries < tries_max; ++tries) {
    const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0) return fd;
    usleep(10'000);
  }
  return -1;
}

// A command run beside the program.
struct Execution {
  uint32_t number = 0;
  int output = -1;
  int64_t deadline = 0;
  std::string text;
};

class Init {
 public:
  explicit Init(int fd) : link_(fd), streams_(link_) {}
  [[noreturn]] void run();

 private:
  void handle(const wire::Frame& frame);
  void begin(std::string_view payload);
  void execute(uint32_t number, std::string_view payload);
  void listen_for_programs();
  void reap();
  void on_ended(int status);
  void on_executed(pid_t pid, int status);
  bool pass_output(int& fd, uint32_t stream);
  void drain_output();
  void check_executions();
  void send_usage();

  Link link_;
  Streams streams_;
  wire::Spec spec_;
  Child child_;
  bool has_begun_ = false;
  bool is_over_ = false;
  std::vector<int> listeners_;
  std::map<pid_t, Execution> executions_;
  int64_t next_usage_ = 0;
};

void Init::listen_for_programs() {
  for (const auto& [address, port] : spec_.listeners) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(static_cast<uint16_t>(port));
    inet_pton(AF_INET, address.c_str(), &at.sin_addr);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0 || listen(fd, 128) != 0) {
      close(fd);
      listeners_.push_back(-1);
      continue;
    }
    listeners_.push_back(fd);
  }
}

void Init::begin(std::string_view payload) {
  if (has_begun_ || !wire::decode(payload, spec_)) return;
  has_begun_ = true;
  child_.failure = mount_root(spec_);
  if (child_.failure.empty()) {
    furnish(spec_);
    child_.failure = mount_volumes(spec_);
  }
  if (child_.failure.empty()) {
    listen_for_programs();
    child_ = start(spec_, spec_.arguments, false);
  }
  if (!child_.failure.empty()) {
    link_.send(Kind::Failed, 0, child_.failure);
    is_over_ = true;
    return;
  }
  link_.send(Kind::Started, 0, {});
  next_usage_ = now_ms();
}

void Init::execute(uint32_t number, std::string_view payload) {
  wire::Decoder in(payload);
  const uint32_t timeout = in.u32();
  const std::vector<std::string> command = in.texts();
  Child child;
  if (!has_begun_ || in.is_bad() || command.empty()) {
    child.failure = "no command";
  } else {
    child = start(spec_, command, true);
  }
  if (!child.failure.empty()) {
    link_.send(Kind::Executed, number, wire::Encoder().u32(~0U).bytes() + child.failure);
    return;
  }
  close(child.error_output);
  executions_[child.pid] = {number, child.output, now_ms() + timeout, {}};
}

void Init::handle(const wire::Frame& frame) {
  switch (frame.kind) {
    case Kind::Spec: begin(frame.payload); break;
    case Kind::Signal:
      if (child_.pid > 0 && !is_over_) kill(child_.pid, static_cast<int>(wire::Decoder(frame.payload).u32()));
      break;
    case Kind::Execute: execute(frame.stream, frame.payload); break;
    case Kind::Open: streams_.open(frame.stream, wire::Decoder(frame.payload).u32()); break;
    default: streams_.handle(frame); break;
  }
}

// False when there is nothing more now.
bool Init::pass_output(int& fd, uint32_t stream) {
  char bytes[16 * 1024];
  const ssize_t n = read(fd, bytes, sizeof bytes);
  if (n > 0) {
    link_.send(Kind::Output, stream, {bytes, static_cast<size_t>(n)});
    return true;
  }
  if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
    close(fd);
    fd = -1;
  }
  return false;
}

void Init::drain_output() {
  for (auto* fd : {&child_.output, &child_.error_output}) {
    while (*fd >= 0 && pass_output(*fd, fd == &child_.output ? 1 : 2)) {
    }
  }
}

void Init::on_ended(int status) {
  const bool was_memory = memory_kills() > 0;
  kill(-1, SIGKILL);  // what it has left behind
  drain_output();
  put_away_disks(spec_);  // what it has written has to be there when the host hears of its end
  wire::Encoder out;
  out.u32(WIFSIGNALED(status) ? 1 : 0);
  out.u32(static_cast<uint32_t>(WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)));
  out.u32(was_memory && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? 1 : 0);
  link_.send(Kind::Exit, 0, out.bytes());
  is_over_ = true;
}

void Init::on_executed(pid_t pid, int status) {
  const auto found = executions_.find(pid);
  if (found == executions_.end()) return;
  Execution& run = found->second;
  char bytes[4096];
  ssize_t n = 0;
  while (run.text.size() < kExecuteOutputMax && (n = read(run.output, bytes, sizeof bytes)) > 0) {
    run.text.append(bytes, static_cast<size_t>(n));
  }
  close(run.output);
  run.text.resize(std::min(run.text.size(), kExecuteOutputMax));
  const uint32_t code = WIFEXITED(status) ? static_cast<uint32_t>(WEXITSTATUS(status)) : 128U + static_cast<uint32_t>(WTERMSIG(status));
  link_.send(Kind::Executed, run.number, wire::Encoder().u32(code).bytes() + run.text);
  executions_.erase(found);
}

void Init::reap() {
  int status = 0;
  pid_t pid = 0;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
    if (pid == child_.pid && !is_over_) {
      on_ended(status);
    } else {
      on_executed(pid, status);
    }
  }
}

void Init::check_executions() {
  for (auto& [pid, run] : executions_) {
    char bytes[4096];
    ssize_t n = 0;
    while (run.text.size() < kExecuteOutputMax && (n = read(run.output, bytes, sizeof bytes)) > 0) {
      run.text.append(bytes, static_cast<size_t>(n));
    }
    if (now_ms() >= run.deadline) kill(-pid, SIGKILL);
  }
}

void Init::send_usage() {
  if (!has_begun_ || is_over_ || now_ms() < next_usage_) return;
  next_usage_ = now_ms() + kUsagePeriodMs;
  const Usage usage = measure();
  link_.send(Kind::Usage, 0, wire::Encoder().u64(usage.memory_bytes).u64(usage.cpu_ns).u32(usage.processes).bytes());
}

void Init::run() {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGCHLD);
  sigprocmask(SIG_BLOCK, &wanted, nullptr);
  const int signals = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC);
  while (true) {
    if (!link_.flush()) power_off();
    std::vector<pollfd> polls = {{link_.fd(), static_cast<short>(POLLIN | (link_.has_output() ? POLLOUT : 0)), 0},
                                 {signals, POLLIN, 0}};
    const short wants_output = link_.is_full() ? 0 : POLLIN;
    polls.push_back({wants_output != 0 ? child_.output : -1, wants_output, 0});
    polls.push_back({wants_output != 0 ? child_.error_output : -1, wants_output, 0});
    for (const int fd : listeners_) polls.push_back({fd, POLLIN, 0});
    const size_t first_stream = polls.size();
    std::vector<uint32_t> ids;
    streams_.add_polls(polls, ids);
    const int timeout = executions_.empty() ? kUsagePeriodMs : 50;
    poll(polls.data(), polls.size(), timeout);
    if (polls[2].revents != 0 && child_.output >= 0) pass_output(child_.output, 1);
    if (polls[3].revents != 0 && child_.error_output >= 0) pass_output(child_.error_output, 2);
    for (size_t i = 0; i < listeners_.size(); ++i) {
      if (polls[4 + i].revents == 0) continue;
      const int fd = accept4(listeners_[i], nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd >= 0) streams_.accepted(static_cast<uint32_t>(i), fd);
    }
    for (size_t i = 0; i < ids.size(); ++i) streams_.on_poll(ids[i], polls[first_stream + i].revents);
    if (polls[0].revents != 0 && !link_.read_some()) power_off();
    wire::Frame frame;
    while (link_.next(frame)) handle(frame);
    signalfd_siginfo ignored{};
    if (polls[1].revents != 0 && read(signals, &ignored, sizeof ignored) < 0) continue;
    check_executions();
    reap();
    send_usage();
  }
}

}  // namespace
}  // namespace brokkr::sandbox::guest

int main() {
  using namespace brokkr::sandbox;
  if (getpid() != 1) {
    fputs("this is the init of a microVM\n", stderr);
    return 2;
  }
  mkdir("/proc", 0755);
  mkdir("/sys", 0755);
  mkdir("/dev", 0755);
  mount("proc", "/proc", "proc", 0, nullptr);
  mount("sysfs", "/sys", "sysfs", 0, nullptr);
  mount("devtmpfs", "/dev", "devtmpfs", 0, nullptr);
  // Whatever the kernel gave us: 0 to 2 are taken.
  int console = open("/dev/console", O_RDWR | O_NOCTTY);
  while (console >= 0 && console < 3) console = dup(console);
  if (console > 2) close(console);
  signal(SIGPIPE, SIG_IGN);
  guest::load_modules();
  const int fd = guest::open_link();
  if (fd < 0) {
    fputs("brokkr: no port to the host\n", stderr);
    guest::power_off();
  }
  // Whatever the port holds of its own comes before this.
  if (write(fd, wire::kGreeting.data(), wire::kGreeting.size()) < 0) guest::power_off();
  guest::Init(fd).run();
}
