#include "sandbox/program_sockets.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace brokkr::sandbox {
namespace {

constexpr int kReadsPerTurn = 8;
constexpr int kReadsAtEnd = 64;
constexpr size_t kReadBytes = 64 << 10;
constexpr int kOuterBacklog = 128;
// 40 MiB a second from one stream of one program.
constexpr auto kReadWindow = std::chrono::milliseconds(50);
constexpr size_t kReadWindowBytes = 2 << 20;

}  // namespace

ScopedDescriptors::~ScopedDescriptors() {
  for (const int fd : held_) close(fd);
}

WatchedSocket::WatchedSocket(io::Loop& loop, int fd, Callback<void(uint32_t)> on_ready)
    : loop_(loop), fd_(fd), on_ready_(std::move(on_ready)) {
  fcntl(fd_, F_SETFL, fcntl(fd_, F_GETFL) | O_NONBLOCK);
}

void WatchedSocket::resume() {
  if (!is_watched_) is_watched_ = loop_.watch(fd_, io::kReadable, *this).operator bool();
}

WatchedSocket::~WatchedSocket() {
  pause();
  close(fd_);
}

void WatchedSocket::pause() {
  if (is_watched_) loop_.unwatch(fd_);
  is_watched_ = false;
}

OutputPipe::OutputPipe(io::Loop& loop, int fd, Callback<void(std::string_view)> on_bytes)
    : loop_(loop), on_bytes_(std::move(on_bytes)),
      next_window_(loop, [this] { if (!is_at_end_) socket_.resume(); }),
      socket_(loop, fd, [this](uint32_t) { on_readable(); }) {}

void OutputPipe::on_readable() {
  const MonotonicTime now = loop_.clock().now();
  if (now >= window_end_) {
    window_end_ = now + kReadWindow;
    window_bytes_ = 0;
  }
  for (int i = 0; i < kReadsPerTurn && window_bytes_ < kReadWindowBytes; ++i) {
    if (!read_some()) return;
  }
  if (window_bytes_ < kReadWindowBytes) return;
  socket_.pause();
  next_window_.start_at(window_end_);
}

bool OutputPipe::read_some() {
  const std::span<char> buffer = loop_.receive_buffer(0);
  const ssize_t n = read(socket_.fd(), buffer.data(), std::min(buffer.size(), kReadBytes));
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (n <= 0) {
    is_at_end_ = true;
    socket_.pause();
    return false;
  }
  window_bytes_ += static_cast<size_t>(n);
  on_bytes_(std::string_view(buffer.data(), static_cast<size_t>(n)));
  return true;
}

void OutputPipe::drain() {
  for (int i = 0; i < kReadsAtEnd && read_some(); ++i) {
  }
}

PendingConnection::PendingConnection(io::Loop& loop, int fd, Duration timeout,
                                     Callback<void(Result<int>)> done)
    : loop_(loop), fd_(fd), timeout_(timeout), timer_(loop, [this] { finish(ETIMEDOUT); }),
      done_(std::move(done)) {}

PendingConnection::~PendingConnection() {
  if (is_watched_) loop_.unwatch(fd_);
  if (fd_ >= 0) close(fd_);
}

void PendingConnection::start() {
  is_watched_ = loop_.watch(fd_, io::kWritable, *this).operator bool();
  if (!is_watched_) return finish(EMFILE);
  timer_.start(timeout_);
}

void PendingConnection::on_ready(uint32_t) {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  finish(error);
}

void PendingConnection::finish(int error) {
  timer_.stop();
  if (is_watched_) loop_.unwatch(fd_);
  is_watched_ = false;
  const Callback<void(Result<int>)> done = std::move(done_);
  if (error != 0) return done(system_error("connect", error));
  const int fd = fd_;
  fd_ = -1;
  done(fd);
}

Result<int> listen_on_loopback(uint16_t& port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return system_error("socket", errno);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(fd, generic, size) != 0 || listen(fd, kOuterBacklog) != 0 ||
      getsockname(fd, generic, &size) != 0) {
    const int error = errno;
    close(fd);
    return system_error("listen on 127.0.0.1", error);
  }
  port = ntohs(address.sin_port);
  return fd;
}

}  // namespace brokkr::sandbox
