#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/callback.h"
#include "base/log.h"
#include "base/result.h"
#include "io/loop.h"
#include "io/spawn.h"
#include "sandbox/layers.h"

namespace brokkr::workload {

struct ZygoteReport;

// What a forked process tells whoever asked for it. Destroying it is fine at any time: Zygote::forget
// first.
class ForkedChild {
 public:
  virtual ~ForkedChild() = default;
  // It runs. `pidfd` is the receiver's, -1 where the kernel has none.
  virtual void on_forked(int pidfd) = 0;
  // It could not be started; nothing follows.
  virtual void on_fork_failed(const std::string& reason) = 0;
  // It has ended; nothing follows.
  virtual void on_exited(const io::ExitStatus& status) = 0;
};

// The node's end of one namespace's zygote: starts the process at the first fork asked of it, starts
// it again with growing pauses when it dies, and passes on what becomes of each child. When a zygote
// dies its children die with it. Loop-confined.
class Zygote {
 public:
  struct Options {
    std::string executable = "/proc/self/exe";
    std::string engine_path;
    bool is_warm = true;
    sandbox::Policy policy = sandbox::Policy::BestEffort;
  };
  struct Facts {
    std::string engine_version;  // empty until it has once been ready
    uint32_t layers = 0;
  };

  // `loop` and `log` outlive it.
  Zygote(io::Loop& loop, Log& log, Options options, std::string ns);
  // Kills the process and every child.
  ~Zygote();
  Zygote(const Zygote&) = delete;
  Zygote& operator=(const Zygote&) = delete;

  // Asks for a fork that has `descriptor` (which this takes over) as its only one. Answers come
  // later. Returns the child's number.
  uint32_t fork(int descriptor, ForkedChild& child);
  void forget(uint32_t number);
  // What becomes of that child is told to another from now on.
  void hand_over(uint32_t number, ForkedChild& child);

  const Facts& facts() const { return facts_; }
  pid_t pid() const { return process_ ? process_->pid() : 0; }

 private:
  struct Waiting {
    uint32_t number;
    int descriptor;
  };
  class Control;

  void start();
  void send_waiting();
  void on_control();
  void on_report(const ZygoteReport& report, int descriptor);
  void on_ended(const std::string& reason);

  io::Loop& loop_;
  Log& log_;
  const Options options_;
  const std::string ns_;
  std::unique_ptr<io::ChildProcess> process_;
  std::unique_ptr<Control> control_;
  io::Timer restart_;
  Duration restart_pause_{};
  MonotonicTime started_{};
  std::string failure_;  // what a zygote that could not start said last
  Facts facts_;
  uint32_t next_number_ = 1;
  std::deque<Waiting> waiting_;
  std::unordered_map<uint32_t, ForkedChild*> children_;
};

}  // namespace brokkr::workload
