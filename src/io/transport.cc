#include "io/transport.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace brokkr::io {
namespace {

Peer peer_of(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return {"unknown", 0};
  char text[INET6_ADDRSTRLEN] = {};
  if (storage.ss_family == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(&storage);
    inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
    return {text, ntohs(in->sin_port)};
  }
  if (storage.ss_family == AF_INET6) {
    const auto* in = reinterpret_cast<const sockaddr_in6*>(&storage);
    if (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr)) {
      // An IPv4 client of a socket that takes both is shown as what it is.
      inet_ntop(AF_INET, in->sin6_addr.s6_addr + 12, text, sizeof text);
    } else {
      inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof text);
    }
    return {text, ntohs(in->sin6_port)};
  }
  return {"unix", 0};
}

class SocketTransport final : public Transport, private FdHandler {
 public:
  SocketTransport(Loop& loop, int fd) : loop_(loop), fd_(fd), peer_(peer_of(fd)) {}
  ~SocketTransport() override {
    if (is_watched_) loop_.unwatch(fd_);
    close(fd_);
  }

  Status start() {
    Status watched = loop_.watch(fd_, 0, *this);
    is_watched_ = static_cast<bool>(watched);
    return watched;
  }

  void listen(TransportHandler* handler, bool readable, bool writable) override {
    handler_ = handler;
    interest_ = (readable ? kReadable : 0U) | (writable ? kWritable : 0U);
    if (!is_watched_) is_watched_ = static_cast<bool>(loop_.watch(fd_, interest_, *this));
    if (is_watched_) loop_.change(fd_, handler == nullptr ? 0U : interest_);
  }

  IoResult read(char* into, size_t bytes) override {
    const ssize_t n = recv(fd_, into, bytes, 0);
    if (n > 0) return {IoResult::Kind::Ok, static_cast<size_t>(n), 0};
    if (n == 0) return {IoResult::Kind::Closed, 0, 0};
    return failure();
  }

  IoResult write(const char* from, size_t bytes) override {
    const ssize_t n = send(fd_, from, bytes, MSG_NOSIGNAL);
    if (n >= 0) return {IoResult::Kind::Ok, static_cast<size_t>(n), 0};
    if (errno == EPIPE || errno == ECONNRESET) return {IoResult::Kind::Closed, 0, errno};
    return failure();
  }

  void end_writing() override { shutdown(fd_, SHUT_WR); }
  const Peer& peer() const override { return peer_; }
  int fd() const override { return fd_; }

 private:
  static IoResult failure() {
    if (errno == EAGAIN || errno == EINTR) return {IoResult::Kind::WouldBlock, 0, 0};
    return {IoResult::Kind::Failed, 0, errno};
  }

  void on_ready(uint32_t ready) override {
    if (handler_ == nullptr) {
      // Nobody listens: a hang-up would come back every turn, so stop asking until somebody does.
      if ((ready & kHangup) != 0) {
        loop_.unwatch(fd_);
        is_watched_ = false;
      }
      return;
    }
    const bool hung_up = (ready & kHangup) != 0;
    if ((ready & kWritable) != 0 || (hung_up && (interest_ & kReadable) == 0)) {
      // The handler may destroy this transport; nothing of it is touched afterwards.
      const bool read_too = (ready & kReadable) != 0;
      const Loop& loop = loop_;
      const int fd = fd_;
      TransportHandler* const handler = handler_;
      handler->on_writable();
      if (!read_too || !loop.is_watched_by(fd, *this)) return;
    }
    if (handler_ != nullptr && (interest_ & kReadable) != 0) handler_->on_readable();
  }

  Loop& loop_;
  const int fd_;
  TransportHandler* handler_ = nullptr;
  uint32_t interest_ = 0;
  bool is_watched_ = false;
  const Peer peer_;
};

// One direction of a pipe: bytes written and not yet read.
struct Channel {
  std::string bytes;
  size_t read_offset = 0;
  bool is_closed = false;  // the writing end is gone
  size_t pending() const { return bytes.size() - read_offset; }
};

class PipeEnd;

struct PipeState {
  Channel channels[2];
  PipeEnd* ends[2] = {nullptr, nullptr};
  size_t bytes_max = 0;
};

// Kept by both ends; the last one out frees it. Both ends live on one loop, so the count needs no
// atomics beyond what shared_ptr does anyway.
class PipeEnd final : public Transport, private Task {
 public:
  PipeEnd(Loop& loop, std::shared_ptr<PipeState> state, int side)
      : loop_(loop), state_(std::move(state)), side_(side) {
    state_->ends[side_] = this;
  }
  ~PipeEnd() override {
    state_->ends[side_] = nullptr;
    outgoing().is_closed = true;
    notify_other();
  }

  void listen(TransportHandler* handler, bool readable, bool writable) override {
    handler_ = handler;
    wants_read_ = readable;
    wants_write_ = writable;
    if (is_ready()) loop_.schedule(*this);
  }

  IoResult read(char* into, size_t bytes) override {
    Channel& channel = incoming();
    if (channel.pending() == 0) {
      return {channel.is_closed ? IoResult::Kind::Closed : IoResult::Kind::WouldBlock, 0, 0};
    }
    const size_t n = std::min(bytes, channel.pending());
    std::copy_n(channel.bytes.data() + channel.read_offset, n, into);
    channel.read_offset += n;
    if (channel.pending() == 0) {
      channel.bytes.clear();
      channel.read_offset = 0;
      notify_other();
    }
    return {IoResult::Kind::Ok, n, 0};
  }

  IoResult write(const char* from, size_t bytes) override {
    if (state_->ends[1 - side_] == nullptr) return {IoResult::Kind::Closed, 0, EPIPE};
    Channel& channel = outgoing();
    const size_t room = state_->bytes_max - std::min(state_->bytes_max, channel.pending());
    const size_t n = std::min(room, bytes);
    if (n == 0 && bytes > 0) return {IoResult::Kind::WouldBlock, 0, 0};
    channel.bytes.append(from, n);
    notify_other();
    return {IoResult::Kind::Ok, n, 0};
  }

  const Peer& peer() const override { return peer_; }

 private:
  Channel& incoming() { return state_->channels[1 - side_]; }
  Channel& outgoing() { return state_->channels[side_]; }
  bool can_read() { return wants_read_ && (incoming().pending() > 0 || incoming().is_closed); }
  bool can_write() {
    return wants_write_ &&
           (outgoing().pending() < state_->bytes_max || state_->ends[1 - side_] == nullptr);
  }
  bool is_ready() { return handler_ != nullptr && (can_read() || can_write()); }

  void notify_other() {
    PipeEnd* other = state_->ends[1 - side_];
    if (other != nullptr && other->is_ready()) other->loop_.schedule(*other);
  }

  void run() override {
    const std::shared_ptr<PipeState> state = state_;  // the handler may destroy this end
    const int side = side_;
    if (handler_ != nullptr && can_write()) handler_->on_writable();
    if (state->ends[side] != this) return;
    if (handler_ != nullptr && can_read()) handler_->on_readable();
    if (state->ends[side] != this) return;
    if (is_ready()) loop_.schedule(*this);
  }

  Loop& loop_;
  std::shared_ptr<PipeState> state_;
  const int side_;
  TransportHandler* handler_ = nullptr;
  bool wants_read_ = false;
  bool wants_write_ = false;
  const Peer peer_{"pipe", 0};
};

}  // namespace

Result<std::unique_ptr<Transport>> adopt_socket(Loop& loop, int fd) {
  const int one = 1;
  // Fails on unix sockets, which have no Nagle delay to switch off.
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  auto transport = std::make_unique<SocketTransport>(loop, fd);
  if (Status started = transport->start(); !started) return started.error();
  return std::unique_ptr<Transport>(std::move(transport));
}

std::pair<std::unique_ptr<Transport>, std::unique_ptr<Transport>> make_pipe(Loop& loop,
                                                                            size_t bytes_max) {
  auto state = std::make_shared<PipeState>();
  state->bytes_max = bytes_max;
  auto left = std::make_unique<PipeEnd>(loop, state, 0);
  auto right = std::make_unique<PipeEnd>(loop, state, 1);
  return {std::move(left), std::move(right)};
}

}  // namespace brokkr::io
