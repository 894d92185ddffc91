#include "io/signals.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>

namespace brokkr::io {
namespace {

class SignalReader final : public Signals, private FdHandler {
 public:
  SignalReader(Loop& loop, int fd, Callback<void(int)> on_signal)
      : loop_(loop), fd_(fd), on_signal_(std::move(on_signal)) {}
  ~SignalReader() override {
    if (is_watched_) loop_.unwatch(fd_);
    close(fd_);
  }
  Status start() {
    Status watched = loop_.watch(fd_, kReadable, *this);
    is_watched_ = static_cast<bool>(watched);
    return watched;
  }

 private:
  void on_ready(uint32_t) override {
    signalfd_siginfo info{};
    if (read(fd_, &info, sizeof info) == sizeof info) on_signal_(static_cast<int>(info.ssi_signo));
  }

  Loop& loop_;
  const int fd_;
  Callback<void(int)> on_signal_;
  bool is_watched_ = false;
};

}  // namespace

Result<std::unique_ptr<Signals>> Signals::open(Loop& loop, const std::vector<int>& numbers,
                                               Callback<void(int)> on_signal) {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : numbers) sigaddset(&set, number);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  const int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  if (fd < 0) return system_error("signalfd", errno);
  auto reader = std::make_unique<SignalReader>(loop, fd, std::move(on_signal));
  if (Status started = reader->start(); !started) return started.error();
  return std::unique_ptr<Signals>(std::move(reader));
}

}  // namespace brokkr::io
