#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "base/callback.h"
#include "base/clock.h"
#include "base/result.h"
#include "io/loop.h"

// The descriptors a running program is followed through, each owned and watched by a loop.
// Loop-confined.
namespace brokkr::sandbox {

// Closes what it holds.
class ScopedDescriptors {
 public:
  explicit ScopedDescriptors(std::vector<int> held) : held_(std::move(held)) {}
  ~ScopedDescriptors();
  ScopedDescriptors(const ScopedDescriptors&) = delete;
  ScopedDescriptors& operator=(const ScopedDescriptors&) = delete;
  void add(int fd) { held_.push_back(fd); }

 private:
  std::vector<int> held_;
};

// Made non-blocking; once resumed, readable is told to `on_ready`, which may destroy it.
class WatchedSocket final : private io::FdHandler {
 public:
  WatchedSocket(io::Loop& loop, int fd, Callback<void(uint32_t)> on_ready);
  ~WatchedSocket() override;
  int fd() const { return fd_; }
  void resume();
  // No more calls.
  void pause();

 private:
  void on_ready(uint32_t ready) override { on_ready_(ready); }
  io::Loop& loop_;
  const int fd_;
  bool is_watched_ = false;
  Callback<void(uint32_t)> on_ready_;
};

// The reading end of a pipe, read once resumed, and no faster than a loop with other work bears: whoever
// writes more waits. `on_bytes` may not destroy it.
class OutputPipe final {
 public:
  OutputPipe(io::Loop& loop, int fd, Callback<void(std::string_view)> on_bytes);
  void resume() { socket_.resume(); }
  // Reads what is there now.
  void drain();

 private:
  // False when there is nothing more for now, or ever.
  bool read_some();
  void on_readable();
  io::Loop& loop_;
  Callback<void(std::string_view)> on_bytes_;
  MonotonicTime window_end_{};
  size_t window_bytes_ = 0;
  bool is_at_end_ = false;
  io::Timer next_window_;
  WatchedSocket socket_;
};

// A connection on its way. `done` is called once, from `start` or later, and may destroy it; the
// descriptor is then the callee's.
class PendingConnection final : private io::FdHandler {
 public:
  PendingConnection(io::Loop& loop, int fd, Duration timeout, Callback<void(Result<int>)> done);
  ~PendingConnection() override;
  void start();

 private:
  void on_ready(uint32_t) override;
  void finish(int error);
  io::Loop& loop_;
  int fd_;
  const Duration timeout_;
  io::Timer timer_;
  bool is_watched_ = false;
  Callback<void(Result<int>)> done_;
};

// A listening socket at 127.0.0.1 on a free port. Fails with System.
Result<int> listen_on_loopback(uint16_t& port);

}  // namespace brokkr::sandbox
