#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/callback.h"
#include "base/result.h"
#include "io/loop.h"

namespace brokkr::io {

// How a process ended: by itself with a code, or by a signal.
struct ExitStatus {
  bool is_signalled = false;
  int value = 0;  // exit code or signal number
  // "exit code 3", "signal 9 (Killed)".
  std::string text() const;
};

struct SpawnOptions {
  std::string path;                      // executed as it is, no search
  std::vector<std::string> arguments;    // argv[0] included
  std::vector<std::string> environment;  // "K=V"; nothing is inherited
  // Our descriptor -> its number there. 0, 1 and 2 are /dev/null unless mapped; nothing else is
  // inherited.
  std::vector<std::pair<int, int>> descriptors;
  // RLIMIT_* -> soft limit, raised or lowered within the hard limit.
  std::vector<std::pair<int, uint64_t>> limits;
  bool dies_with_parent = true;  // SIGKILL when the thread that started it ends
};

// A child process, watched through a pidfd. The destructor kills and reaps it. Loop-confined.
class ChildProcess final : private FdHandler {
 public:
  // Starts it with no signal blocked or ignored, in a session of its own: Ctrl-C at our terminal is
  // for us alone to act on. Blocks until exec has succeeded or failed (vfork);
  // fails with System, naming the path. `on_exit` is called once unless the child is destroyed
  // first, and may destroy it.
  static Result<std::unique_ptr<ChildProcess>> start(Loop&, const SpawnOptions&,
                                                     Callback<void(const ExitStatus&)> on_exit);
  ~ChildProcess() override;
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  bool is_running() const { return pidfd_ >= 0; }
  // No effect once it has ended.
  void signal(int number);

 private:
  ChildProcess(Loop& loop, pid_t pid, int pidfd, Callback<void(const ExitStatus&)> on_exit)
      : loop_(loop), pid_(pid), pidfd_(pidfd), on_exit_(std::move(on_exit)) {}
  void on_ready(uint32_t) override;
  ExitStatus reap();

  Loop& loop_;
  const pid_t pid_;
  int pidfd_;  // -1 once reaped
  Callback<void(const ExitStatus&)> on_exit_;
};

}  // namespace brokkr::io
