#pragma once

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "base/clock.h"
#include "runtime/engine.h"

namespace brokkr::workload {

// Stops code of an instance that runs past its deadline, from a thread of its own: made before the
// instance's filter forbids making threads. Setting a deadline costs two atomic operations; the
// thread sleeps until one has passed and sleeps for good while there is none.
class Watchdog {
 public:
  Watchdog() = default;
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // False when no thread can be had. It is never joined: the process ends with it.
  bool start();
  // Before the first deadline.
  void watch(runtime::Function& function) { function_.store(&function); }
  // Code runs until at most `deadline`; MonotonicTime::max() means nothing runs.
  void set_deadline(MonotonicTime deadline) {
    deadline_.store(deadline.time_since_epoch().count());
    if (deadline != MonotonicTime::max() && is_parked_.load()) unpark();
  }

 private:
  static void* thread_main(void* self);
  void run();
  void unpark();

  std::atomic<int64_t> deadline_{INT64_MAX};
  std::atomic<bool> is_parked_{false};
  std::atomic<runtime::Function*> function_{nullptr};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace brokkr::workload
