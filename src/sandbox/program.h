#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/callback.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "io/loop.h"
#include "io/spawn.h"
#include "sandbox/layers.h"

// Programs of users in a sandbox of their own: native executables, unpacked images and microVMs behind
// one interface.
namespace brokkr::sandbox {

// What one program may use; 0 means no limit. Enforced by cgroups (v1, hybrid, v2) as far as the
// machine grants them, and by rlimits.
struct ProgramLimits {
  uint64_t memory_bytes = 0;
  uint32_t cpu_millis = 0;  // 1000 is one CPU
  uint32_t pids = 0;
  uint64_t io_bytes_per_second = 0;
  uint64_t disk_bytes = 64U << 20;  // of the writable part of its root and /tmp
};

struct Bind {
  std::string source;  // on the host
  std::string target;  // inside
  bool is_writable = false;
  bool is_device = false;  // a device the program may use
};

// An address inside the sandbox at which the outside listens: the broker (192.168.127.1:4222) and
// declared egress. The program's connections to it are handed out by `on_connection`.
struct InnerListener {
  std::string address;  // put on the loopback interface of the sandbox; "0.0.0.0" and "::" are any that
                        // leads there and that no listener has for itself
  uint16_t port = 0;
  std::string host_name;  // resolves to `address` inside (/etc/hosts); may be empty
  // UDP: the socket itself is handed out, once, as if it were a connection. At port 53 it is where the
  // program's resolver asks.
  bool is_datagram = false;
};

struct ProgramSpec {
  std::string name;        // host name inside, part of the cgroup's name
  std::string executable;  // on the host; inside it is /app/<file name>. Empty: argv[0] in `root`
  std::string root;        // an image's root folder (see image.h); empty: a root with nothing but the
                           // program, and for a dynamic one the host's libraries, read-only
  std::vector<std::string> lower;  // overlay layers, top first, instead of `root`
  std::string upper;       // folder in which changes to an image's root are kept ("files" and
                           // "work" are made in it, both on one file system); empty: a tmpfs
  std::vector<Bind> binds;
  std::vector<std::string> arguments;    // argv[0] included
  std::vector<std::string> environment;  // "K=V", nothing is inherited
  std::string working_folder = "/";
  std::string user;        // "uid[:gid]" or names of the image's /etc/passwd; empty: nobody
  ProgramLimits limits;
  std::vector<InnerListener> listeners;
  std::vector<std::string> networks;  // "10.0.0.0/8": all its addresses lead to the loopback interface
  Policy policy = Policy::BestEffort;
  uint32_t layers_off = 0;  // Layer bits left out, for tests that show what each one adds
  int landlock_abi_max = 0;  // pretends an older kernel, for tests; 0 is what the kernel has
};

enum class OutputStream : uint8_t { Stdout, Stderr };

// What a running program tells; each may destroy the program, save on_output and on_connection.
struct ProgramEvents {
  Callback<void(pid_t pid, uint32_t layers)> on_started;
  Callback<void(OutputStream, std::string_view bytes)> on_output;
  // The program has connected to `listener`; the descriptor is the callee's.
  Callback<void(size_t listener, int fd)> on_connection;
  // Once: also when it never started (`reason` says why and `status` is exit code 127). All its
  // processes have gone.
  Callback<void(const io::ExitStatus& status, bool is_memory_kill, const std::string& reason)> on_exit;
};

struct ProgramUsage {
  uint64_t memory_bytes = 0;
  uint64_t cpu_ns = 0;
  uint32_t pids = 0;
};

// One running program with all its descendants. Destroying it kills them all. Loop-confined.
class Program {
 public:
  virtual ~Program() = default;
  virtual pid_t pid() const = 0;  // on the host; 0 before it started
  // SIGTERM to the main process, SIGKILL to everything after `grace`.
  virtual void stop(Duration grace) = 0;
  virtual void signal(int number) = 0;
  // A connection to a port the program listens on inside.
  virtual void connect(uint16_t port, Callback<void(Result<int> fd)> handler) = 0;
  // Runs a command beside the program in the same sandbox; the exit code, or -1 and why.
  virtual void execute(std::vector<std::string> command, Duration timeout,
                       Callback<void(int exit_code, std::string output)> handler) = 0;
  virtual ProgramUsage usage() const = 0;
  virtual uint32_t layers() const = 0;
  // What runs its machine, for people; empty when it is none.
  virtual std::string monitor() const { return {}; }
};

class CgroupTree;
class Launchers;

// What is needed to start programs on this machine. All of it outlives the programs.
struct ProgramDeps {
  io::Loop& loop;
  Log& log;
  CgroupTree& cgroups;
  std::string launcher = "/proc/self/exe";  // executed with kLauncherRole; calls launcher_main
  Launchers* launchers = nullptr;  // starts are faster with one, see launchers.h
};
constexpr const char* kLauncherRole = "--role=program-launcher";
// What the launcher process runs: reads its orders on descriptor 3, shuts itself in, and is the
// first process of the sandbox. Never returns.
[[noreturn]] void launcher_main();

// Starts in namespaces. Fails with InvalidArgument for a spec that cannot be, NotFound when the program
// is not there, Unsupported when the policy asks for layers this machine lacks, or System. Does not
// block on the program: on_started or on_exit follows.
Result<std::unique_ptr<Program>> start_program(const ProgramDeps&, ProgramSpec, ProgramEvents);

// No namespaces, no filter: a process group with limits and rlimits. Only when asked for. Listeners
// are on 127.0.0.1 at a free port; `ports` gets them, in their order.
Result<std::unique_ptr<Program>> start_program_unconfined(const ProgramDeps&, ProgramSpec,
                                                          ProgramEvents,
                                                          std::vector<uint16_t>& ports);

}  // namespace brokkr::sandbox
