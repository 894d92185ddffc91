#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/callback.h"
#include "io/loop.h"

namespace brokkr::io {

// A thread of its own for one kind of blocking work (fsync, bcrypt, name look-up, process start),
// first in first out. Completion comes back through the loop. `run` may be called from any thread.
class Worker {
 public:
  // `name` shows in the process list; at most 15 characters.
  explicit Worker(std::string name);
  // Drops what has not started, waits for what has.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Runs `work` on the thread, then `done` on `loop`, which outlives the worker. False, and neither
  // runs, when `queue_max` jobs wait already.
  bool run(Loop& loop, Callback<void()> work, Callback<void()> done);
  void set_queue_max(size_t jobs) { queue_max_ = jobs; }

 private:
  struct Job {
    Loop* loop;
    Callback<void()> work;
    Callback<void()> done;
  };
  void main();

  const std::string name_;
  size_t queue_max_ = 4096;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  bool stopping_ = false;
  std::thread thread_;  // started with the first job
};

}  // namespace brokkr::io
