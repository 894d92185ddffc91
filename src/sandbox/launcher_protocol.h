#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sandbox/program.h"

// What node and launcher say to each other: an order in a memory file, then packets of one struct on
// a SOCK_SEQPACKET pair, descriptors beside them. The launcher runs no line of the user's code.
namespace brokkr::sandbox {

// The launcher's descriptors.
constexpr int kLauncherControl = 3;
constexpr int kLauncherOrder = 4;
constexpr int kLauncherStdout = 5;
constexpr int kLauncherStderr = 6;
constexpr int kLauncherGroups = 7;  // and on: cgroup.procs of each hierarchy, open for writing

struct LaunchOrder {
  ProgramSpec spec;
  bool is_confined = true;
  bool needs_libraries = false;  // a dynamic executable
  uint32_t groups = 0;
  uint32_t group_layers = 0;
};

std::string encode(const LaunchOrder&);
Result<LaunchOrder> decode_order(std::string_view);
// Texts after one another, each with its length.
std::string encode(const std::vector<std::string>&);
Result<std::vector<std::string>> decode_texts(std::string_view);

// A memory file with `bytes`, positioned anywhere. -1 with errno on failure.
int make_memory_file(std::string_view bytes);
std::string read_memory_file(int fd);

struct LauncherPacket {
  enum Kind : uint32_t {
    // Launcher to node.
    kKeeper = 1,     // carries the pidfd of the sandbox's first process
    kListening = 2,  // `number` is the listener; carries its socket
    kStarted = 3,    // the program runs under `layers`; carries its pidfd
    kFailed = 4,     // it does not; `text`
    kExited = 5,     // it ended: `is_signalled`, `value`
    kConnected = 6,  // `number`; carries the socket, or `value` is errno
    kExecuting = 7,  // `number` runs; carries the pipe of its output
    kExecuted = 8,   // `number` ended: `is_signalled`, `value`; or `text` says why it did not run
    // Node to launcher.
    kConnect = 20,  // `number`, port in `value`
    kExecute = 21,  // `number`; carries a memory file of texts
    kCancel = 22,   // kills command `number`
    kKillAll = 23,
  };
  uint32_t kind = 0;
  uint32_t number = 0;
  uint32_t layers = 0;
  int32_t is_signalled = 0;
  int32_t value = 0;
  char text[236] = {};

  void set_text(std::string_view);
  std::string get_text() const;
};

// One packet, with one descriptor when `descriptor` is not -1. False with errno set on failure.
bool send_launcher_packet(int fd, const LauncherPacket&, int descriptor = -1);
// 1 for a packet, 0 at the end, -1 with errno set. `descriptor` is -1 when none came; else it is
// close-on-exec and the caller's.
int receive_launcher_packet(int fd, LauncherPacket&, int& descriptor);

// For a launcher that is to be forked: its descriptors, at most kLauncherDescriptorsMax, from
// kLauncherControl on.
constexpr size_t kLauncherDescriptorsMax = 16;
bool send_descriptors(int fd, const std::vector<int>& descriptors);
// Close-on-exec and the caller's. Empty at the end.
std::vector<int> receive_descriptors(int fd);

}  // namespace brokkr::sandbox
