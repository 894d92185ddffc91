// The escape suite: a program that means harm tries every way out it knows from a service, from an
// image and from where functions run. Every way is blocked; with any one layer left out at least four
// fifths still are. Prints a table, ends with 1 when that does not hold.
//
//   escape PROBE BUSYBOX
#include <arpa/inet.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "escape_probes.h"
#include "io/loop.h"
#include "io/spawn.h"
#include "sandbox/cgroup.h"
#include "sandbox/enter.h"
#include "sandbox/layers.h"
#include "sandbox/program.h"

namespace {

using namespace brokkr;           // NOLINT: a program of its own
using namespace brokkr::sandbox;  // NOLINT

constexpr const char* kFunctionRole = "--role=escape-function";
constexpr const char* kControlRole = "--role=escape-control";
constexpr auto kRunTime = std::chrono::seconds(60);
constexpr uint64_t kMemoryBytes = 96 << 20;
constexpr uint32_t kPids = 64;
constexpr uint64_t kDiskBytes = 16 << 20;
constexpr double kDepth = 0.8;
// What a user without a sandbox reaches at least: the probes are real.
constexpr size_t kOpenWithoutSandbox = 15;

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

uint16_t bind_loopback(int fd) {
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  bind(fd, reinterpret_cast<sockaddr*>(&address), size);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

int listen_unix(const std::string& name, bool is_abstract) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + (is_abstract ? 1 : 0), name.data(), name.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0) std::perror("bind");
  listen(fd, 16);
  return fd;
}

// What is worth reaching on the host, and a process of root's that keeps it there.
class Bait {
 public:
  Bait() {
    char name[] = "/tmp/brokkr-escape-XXXXXX";
    folder_ = mkdtemp(name);
    chmod(folder_.c_str(), 0777);
    std::ofstream(folder_ + "/secret") << "secret";
    chmod((folder_ + "/secret").c_str(), 0644);
    tag_ = "escape-" + std::to_string(getpid());
    tcp_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    udp_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    tcp_port_ = bind_loopback(tcp_);
    udp_port_ = bind_loopback(udp_);
    listen(tcp_, 64);
    file_socket_ = listen_unix(folder_ + "/socket", false);
    chmod((folder_ + "/socket").c_str(), 0777);
    abstract_ = listen_unix(tag_, true);
    umask(0);
    queue_ = mq_open(("/" + tag_).c_str(), O_CREAT | O_RDWR, 0666, nullptr);
    shared_memory_ = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0666);
    umask(022);
    setenv("ESCAPE_SECRET", "1", 1);
    victim_ = fork();
    if (victim_ == 0) serve();
  }
  ~Bait() {
    kill(victim_, SIGKILL);
    waitpid(victim_, nullptr, 0);
    mq_unlink(("/" + tag_).c_str());
    shmctl(shared_memory_, IPC_RMID, nullptr);
    std::filesystem::remove_all(folder_);
  }
  std::vector<std::string> words() const {
    return {"victim=" + std::to_string(victim_), "tcp=" + std::to_string(tcp_port_),
            "udp=" + std::to_string(udp_port_), "folder=" + folder_, "secret=" + folder_ + "/secret",
            "socket=" + folder_ + "/socket", "abstract=" + tag_, "queue=/" + tag_,
            "shm=" + std::to_string(shared_memory_)};
  }
  const std::string& folder() const { return folder_; }

 private:
  [[noreturn]] void serve() const {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
      pollfd waited[4] = {{tcp_, POLLIN, 0}, {udp_, POLLIN, 0}, {file_socket_, POLLIN, 0},
                          {abstract_, POLLIN, 0}};
      poll(waited, 4, -1);
      for (const int at : {0, 2, 3}) {
        if (waited[at].revents != 0) close(accept(waited[at].fd, nullptr, nullptr));
      }
      if (waited[1].revents == 0) continue;
      char byte = 0;
      sockaddr_in from{};
      socklen_t size = sizeof from;
      recvfrom(udp_, &byte, 1, 0, reinterpret_cast<sockaddr*>(&from), &size);
      sendto(udp_, "!", 1, 0, reinterpret_cast<sockaddr*>(&from), size);
    }
  }
  std::string folder_;
  std::string tag_;
  int tcp_;
  int udp_;
  uint16_t tcp_port_;
  uint16_t udp_port_;
  int file_socket_;
  int abstract_;
  mqd_t queue_;
  int shared_memory_;
  pid_t victim_;
};

struct Outcome {
  bool has_run = false;
  uint32_t layers = 0;
  std::string why;  // it has not run
  int blocked = 0;
  std::vector<std::string> open;
  int tried() const { return blocked + static_cast<int>(open.size()); }
};

void read_lines(const std::string& text, Outcome& outcome) {
  for (const std::string_view line : split(text, '\n')) {
    const size_t blank = line.find(' ');
    if (blank == std::string_view::npos) {
      outcome.has_run = outcome.has_run || line == "done";
      continue;
    }
    if (line.substr(blank + 1) == "open") {
      outcome.open.emplace_back(line.substr(0, blank));
    } else {
      ++outcome.blocked;
    }
  }
}

class Suite {
 public:
  Suite(std::string probe, std::string busybox) : probe_(std::move(probe)) {
    loop_ = std::move(*io::Loop::open({}, clock_));
    log_ = Log::discard();
    cgroups_ = CgroupTree::open();
    make_image(busybox);
  }
  uint32_t cgroup_layers() const { return cgroups_->layers(); }

  Outcome run_program(bool is_image, bool is_root, uint32_t off) {
    ProgramSpec spec;
    spec.name = "escape";
    spec.layers_off = off;
    spec.limits = {kMemoryBytes, 1000, kPids, 0, kDiskBytes};
    spec.listeners = {{"192.168.127.1", 4222, ""}};
    spec.arguments = bait_.words();
    if (is_image) {
      spec.lower = {image_};
      spec.environment = {"PATH=/bin"};
      if (is_root) spec.user = "0:0";
      std::string command = std::string("exec /probe image=1 root=") + (is_root ? "1" : "0");
      for (const std::string& word : spec.arguments) command += " " + word;
      spec.arguments = {"sh", "-c", command};
    } else {
      spec.executable = probe_;
      spec.arguments.insert(spec.arguments.begin(), "probe");
    }
    Outcome outcome;
    std::string text;
    bool has_ended = false;
    ProgramEvents events;
    events.on_started = [&](pid_t, uint32_t layers) { outcome.layers = layers; };
    events.on_output = [&](OutputStream, std::string_view bytes) { text += bytes; };
    events.on_exit = [&](const io::ExitStatus&, bool, const std::string& reason) {
      outcome.why = reason;
      has_ended = true;
    };
    const auto program = start_program({*loop_, *log_, *cgroups_, "/proc/self/exe"}, spec,
                                       std::move(events));
    if (!program) {
      outcome.why = program.error().text;
      return outcome;
    }
    wait_for(has_ended);
    read_lines(text, outcome);
    return outcome;
  }

  // In a process of ours that becomes `role`; `argument` is its first word.
  Outcome run_role(const char* role, const std::string& argument, uint32_t off) {
    int ends[2];
    int gate[2];
    Outcome outcome;
    if (pipe2(ends, O_CLOEXEC) != 0 || pipe2(gate, O_CLOEXEC) != 0) return outcome;
    io::SpawnOptions options;
    options.path = "/proc/self/exe";
    options.arguments = bait_.words();
    options.arguments.insert(options.arguments.begin(), {"escape", role, argument});
    options.descriptors = {{ends[1], 1}, {gate[0], 3}};
    bool has_ended = false;
    const auto child = io::ChildProcess::start(*loop_, options,
                                               [&](const io::ExitStatus&) { has_ended = true; });
    close(ends[1]);
    close(gate[0]);
    std::unique_ptr<Cgroup> group;
    if (child) {
      auto made = cgroups_->make("escape", {kMemoryBytes, kPids, 1000, 0}, off);
      if (made && *made != nullptr && (*made)->add((*child)->pid())) group = std::move(*made);
    }
    (void)!write(gate[1], "g", 1);
    close(gate[1]);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    std::string text;
    const auto drain = [&] {
      char bytes[4096];
      for (ssize_t n; (n = read(ends[0], bytes, sizeof bytes)) > 0;) {
        text.append(bytes, static_cast<size_t>(n));
      }
    };
    const MonotonicTime end = clock_.now() + kRunTime;
    while (!has_ended && clock_.now() < end) {
      loop_->run_once(std::chrono::milliseconds(10));
      drain();
    }
    drain();
    close(ends[0]);
    read_lines(text, outcome);
    outcome.layers = group == nullptr ? 0 : group->layers();
    const size_t at = text.find("layers=");
    if (at != std::string::npos) {
      outcome.layers |= static_cast<uint32_t>(std::atol(text.c_str() + at + 7));
    }
    return outcome;
  }

 private:
  void wait_for(const bool& condition) {
    const MonotonicTime end = clock_.now() + kRunTime;
    while (!condition && clock_.now() < end) loop_->run_once(std::chrono::milliseconds(10));
  }
  // A root with busybox in it and the probe beside.
  void make_image(const std::string& busybox) {
    image_ = bait_.folder() + "/image";
    for (const char* folder : {"", "/bin", "/etc", "/tmp"}) {
      mkdir((image_ + folder).c_str(), 0755);
    }
    std::filesystem::copy_file(busybox, image_ + "/bin/busybox");
    std::filesystem::create_symlink("busybox", image_ + "/bin/sh");
    std::filesystem::copy_file(probe_, image_ + "/probe");
    std::ofstream(image_ + "/etc/passwd") << "root:x:0:0::/:/bin/sh\n";
    std::ofstream(image_ + "/etc/shadow") << "root:secret\n";
    chmod((image_ + "/etc/shadow").c_str(), 0600);
  }

  SystemClock clock_;
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<CgroupTree> cgroups_;
  Bait bait_;
  std::string probe_;
  std::string image_;
};

// The filter forbids what printing libraries ask of a file first.
void say(const std::string& line) { (void)!write(1, line.data(), line.size()); }

// Where a function's code runs: a fork of a locked zygote, under its filter.
[[noreturn]] void function_main(int argc, char** argv) {
  const EscapeFacts facts = escape_facts(argc, argv);
  const auto off = static_cast<uint32_t>(std::atol(argv[2]));
  char byte = 0;
  (void)!read(3, &byte, 1);
  close(3);
  uint32_t layers = enter_namespaces(off);
  Filters filters;
  const bool is_made = filters.make().operator bool();
  layers = lock_down(layers, off);
  const bool is_filtered = is_made && (off & kSeccomp) == 0 && filters.apply_zygote();
  if (is_filtered) layers |= kSeccomp;
  say("layers=" + std::to_string(layers) + "\n");
  for (int i = 0; i < kEscapeProbeCount; ++i) {
    // Its environment and its arguments are the zygote's.
    const pid_t pid = fork();
    if (pid == 0) {
      unsetenv("ESCAPE_SECRET");
      if (!is_filtered) alarm(10);
      shed_descriptors(0);
      close(3);
      if (is_filtered && !filters.apply_instance()) _exit(9);
      _exit(kEscapeProbes[i].run(&facts));
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    const bool is_open = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    say(std::string(kEscapeProbes[i].name) + (is_open ? " open\n" : " blocked\n"));
  }
  say("done\n");
  _exit(0);
}

// No sandbox, an ordinary user; without the probes that reach for other machines.
[[noreturn]] void control_main(int argc, char** argv) {
  (void)argc;
  char byte = 0;
  (void)!read(3, &byte, 1);
  close(3);
  if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(1);
  argv[1] = argv[2];
  std::vector<char*> arguments(argv + 1, argv + argc);
  char control[] = "control=1";
  arguments.push_back(control);
  arguments.push_back(nullptr);
  execv(argv[2], arguments.data());
  _exit(1);
}

// True when it holds.
bool report(const char* tier, const std::string& left_out, const Outcome& outcome, double least) {
  if (!outcome.has_run) {
    const bool is_refused = !outcome.why.empty() && least < 1;
    std::printf("%-9s %-20s %s\n", tier, left_out.c_str(),
                is_refused ? ("does not start: " + outcome.why).c_str()
                           : ("HAS NOT RUN: " + outcome.why).c_str());
    return is_refused;
  }
  const double share = static_cast<double>(outcome.blocked) / outcome.tried();
  const bool holds = share >= least;
  std::printf("%-9s %-20s %3d of %3d blocked%s", tier, left_out.c_str(), outcome.blocked,
              outcome.tried(), holds ? "" : "  TOO FEW");
  for (const std::string& name : outcome.open) std::printf(" %s", name.c_str());
  std::printf("\n");
  std::fflush(stdout);
  return holds;
}

bool run_tier(Suite& suite, const char* tier) {
  const std::string name = tier;
  const auto run = [&](uint32_t off) {
    return name == "function" ? suite.run_role(kFunctionRole, std::to_string(off), off)
                              : suite.run_program(name != "native", name == "as root", off);
  };
  const Outcome whole = run(0);
  std::printf("%s: %s\n", tier, describe(whole.layers).c_str());
  // A user's own image is his own, and where no group counts nothing bounds a function's memory but
  // the node's watch.
  bool holds = report(tier, "-", whole, geteuid() == 0 ? 1 : kDepth);
  for (uint32_t bit = 1; bit <= kAllLayers; bit <<= 1) {
    if ((whole.layers & bit) == 0) continue;  // not there to be left out
    holds = report(tier, layer_names(bit).front(), run(bit), kDepth) && holds;
  }
  return holds;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && argv[1] == std::string(kLauncherRole)) launcher_main();
  if (argc > 2 && argv[1] == std::string(kFunctionRole)) function_main(argc, argv);
  if (argc > 2 && argv[1] == std::string(kControlRole)) control_main(argc, argv);
  if (argc < 3) return 2;
  Suite suite(argv[1], argv[2]);
  const Outcome control = suite.run_role(kControlRole, argv[1], 0);
  (void)report("none", "-", control, 0);
  // What it could leave behind, as there was no /tmp of its own.
  for (const char* left : {"link", "race", "owned", "program", "fill"}) {
    std::filesystem::remove(std::string("/tmp/escape-") + left);
  }
  bool holds = control.has_run && control.open.size() >= kOpenWithoutSandbox;
  if (!holds) std::printf("the probes reach too little where nothing stops them\n");
  for (const char* tier : {"native", "image", "as root", "function"}) holds = run_tier(suite, tier) && holds;
  return holds ? 0 : 1;
}
