#pragma once

#include <mutex>
#include <utility>
#include <vector>

#include "base/callback.h"

namespace brokkr::io {

// Wakes a sleeping loop from any thread: an eventfd. Thread-safe.
class Wakeup {
 public:
  Wakeup();
  ~Wakeup();
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;
  int fd() const { return fd_; }
  void signal();
  void drain();

 private:
  int fd_;
};

// A double-buffered queue between threads. Any thread puts, one takes everything at once; the taker
// is woken only when the queue was empty, so a burst costs one wake-up. `put` is thread-safe;
// `take_all` belongs to the receiving thread. Bounds are the sender's affair: each sender limits what
// it has in flight.
template <typename T>
class Mailbox {
 public:
  int fd() const { return wakeup_.fd(); }

  void put(T item) {
    bool was_empty = false;
    {
      const std::lock_guard lock(mutex_);
      was_empty = incoming_.empty();
      incoming_.push_back(std::move(item));
    }
    if (was_empty) wakeup_.signal();
  }

  // Hands each item to `consume` in order. Items put meanwhile wait for the next call.
  template <typename F>
  void take_all(F&& consume) {
    wakeup_.drain();
    {
      const std::lock_guard lock(mutex_);
      taken_.swap(incoming_);
    }
    for (T& item : taken_) consume(std::move(item));
    taken_.clear();
  }

 private:
  Wakeup wakeup_;
  std::mutex mutex_;
  std::vector<T> incoming_;
  std::vector<T> taken_;
};

}  // namespace brokkr::io
