#include "sandbox/microvm_link.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace brokkr::sandbox::microvm {

using wire::Frame;
using wire::Kind;

namespace {

constexpr size_t kNoiseMax = 64 * 1024;
constexpr size_t kLinkQueueMax = 256 * 1024;

}  // namespace

// A descriptor on the loop with the interest of the moment.
struct GuestLink::Port final : io::FdHandler {
  Port(io::Loop& its_loop, int its_fd, Callback<void(uint32_t)> handler)
      : loop(its_loop), fd(its_fd), on(std::move(handler)) {
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  }
  ~Port() override {
    if (is_watched) loop.unwatch(fd);
    close(fd);
  }
  void on_ready(uint32_t ready) override { on(ready); }
  // Zero stops watching: a hang-up nobody acts upon would be told in every turn.
  void want(uint32_t wanted) {
    if (wanted == 0 && is_watched) loop.unwatch(fd);
    if (wanted != 0 && !is_watched && !loop.watch(fd, wanted, *this)) return;
    if (wanted != 0 && is_watched && wanted != interest) loop.change(fd, wanted);
    is_watched = wanted != 0;
    interest = wanted;
  }
  io::Loop& loop;
  const int fd;
  Callback<void(uint32_t)> on;
  bool is_watched = false;
  uint32_t interest = 0;
};

struct GuestLink::Stream {
  std::unique_ptr<Port> port;
  uint32_t window = wire::kWindowBytes;  // what may still be sent to the guest
  uint32_t granted = wire::kWindowBytes; // what the guest may still send
  bool has_ended = false;                // nothing more from our side
  bool is_ended_by_guest = false;
  std::string out;  // to our side
};

GuestLink::GuestLink(io::Loop& loop, int fd, uint32_t window, Events events)
    : loop_(loop), window_(window), events_(std::move(events)) {
  port_ = std::make_unique<Port>(loop, fd, [this](uint32_t ready) { on_ready(ready); });
  port_->want(io::kReadable);
}

GuestLink::~GuestLink() = default;

void GuestLink::lose(const std::string& why) {
  if (is_lost_) return;
  is_lost_ = true;
  port_->want(0);
  streams_.clear();
  for (auto& [id, handler] : connecting_) {
    loop_.post([call = std::move(handler)] { call(Error{Errc::Closed, "the virtual machine has ended"}); });
  }
  connecting_.clear();
  events_.on_lost(why);
}

void GuestLink::on_ready(uint32_t ready) {
  if ((ready & io::kWritable) != 0) flush();
  if ((ready & (io::kReadable | io::kHangup)) != 0 && !is_lost_) read_link();
}

void GuestLink::read_link() {
  const auto buffer = loop_.receive_buffer(0);
  const ssize_t n = read(port_->fd, buffer.data(), buffer.size());
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return lose("the link to the virtual machine has ended");
  in_.append(buffer.data(), static_cast<size_t>(n));
  if (!has_greeted_) {
    const size_t at = in_.find(wire::kGreeting);
    if (at == std::string::npos) {
      if (in_.size() > kNoiseMax) lose("the virtual machine sends noise");
      return;
    }
    in_.erase(0, at + wire::kGreeting.size());
    has_greeted_ = true;
    events_.on_greeting();
  }
  if (!take_frames()) return lose("the virtual machine sends what is no frame");
  if (!is_lost_) flush();
}

bool GuestLink::take_frames() {
  size_t at = 0;
  while (!is_lost_) {
    Frame frame;
    size_t used = 0;
    const int found = wire::read_frame(std::string_view(in_).substr(at), frame, used);
    if (found < 0) return false;
    if (found == 0) break;
    take(frame);
    at += used;
  }
  in_.erase(0, at);
  return true;
}

void GuestLink::take(const Frame& frame) {
  switch (frame.kind) {
    case Kind::LinkAck:
      outstanding_ -= std::min<uint64_t>(outstanding_, wire::Decoder(frame.payload).u32());
      break;
    case Kind::Open: open_from_guest(frame); break;
    case Kind::Opened:
    case Kind::Data:
    case Kind::Credit:
    case Kind::End:
    case Kind::Reset: take_stream(frame); break;
    default: events_.on_frame(frame); break;
  }
}

void GuestLink::open_from_guest(const Frame& frame) {
  const bool is_new = frame.stream % 2 == 0 && streams_.count(frame.stream) == 0 && streams_.size() < wire::kStreamsMax;
  if (!is_new) return lose("the virtual machine opens what it may not");
  auto fd = add_stream(frame.stream);
  if (!fd) return send(Kind::Reset, frame.stream, {});
  events_.on_connection(wire::Decoder(frame.payload).u32(), *fd);
}

void GuestLink::take_stream(const Frame& frame) {
  if (frame.kind == Kind::Opened) {
    const auto waiting = connecting_.find(frame.stream);
    if (waiting == connecting_.end()) return;
    auto call = std::move(waiting->second);
    connecting_.erase(waiting);
    if (wire::Decoder(frame.payload).u32() != 1) {
      loop_.post([done = std::move(call)] { done(Error{Errc::Unavailable, "nothing listens on that port"}); });
      return;
    }
    auto fd = add_stream(frame.stream);
    loop_.post([done = std::move(call), result = std::move(fd)] { done(result); });
    return;
  }
  const auto found = streams_.find(frame.stream);
  if (found == streams_.end()) return;  // we have closed it already
  Stream& stream = *found->second;
  if (frame.kind == Kind::Data) {
    if (frame.payload.size() > stream.granted) return lose("the virtual machine sends more than it may");
    stream.granted -= static_cast<uint32_t>(frame.payload.size());
    stream.out += frame.payload;
    if (write_stream(frame.stream, stream)) watch_stream(stream);
  } else if (frame.kind == Kind::Credit) {
    const uint32_t credit = wire::Decoder(frame.payload).u32();
    stream.window = std::min(wire::kWindowBytes, stream.window + std::min(credit, wire::kWindowBytes));
    watch_stream(stream);
  } else if (frame.kind == Kind::End) {
    stream.is_ended_by_guest = true;
    if (write_stream(frame.stream, stream)) watch_stream(stream);
  } else {
    drop_stream(frame.stream, false);
  }
}

void GuestLink::send(Kind kind, uint32_t stream, std::string_view payload) {
  if (is_lost_) return;
  wire::append_frame(out_, kind, stream, payload);
  flush();
}

void GuestLink::flush() {
  while (!out_.empty() && outstanding_ < window_) {
    const size_t size = std::min<size_t>(out_.size(), window_ - outstanding_);
    const ssize_t n = ::send(port_->fd, out_.data(), size, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) break;  // reading tells
    out_.erase(0, static_cast<size_t>(n));
    outstanding_ += static_cast<uint64_t>(n);
  }
  update_interest();
}

void GuestLink::update_interest() {
  if (is_lost_) return;
  const bool is_blocked = !out_.empty() && outstanding_ < window_;
  port_->want(io::kReadable | (is_blocked ? uint32_t{io::kWritable} : 0U));
  // Streams stop reading while the link is full.
  for (const auto& [id, stream] : streams_) watch_stream(*stream);
}

void GuestLink::connect(uint16_t port, Callback<void(Result<int> fd)> handler) {
  if (is_lost_ || !has_greeted_ || streams_.size() + connecting_.size() >= wire::kStreamsMax) {
    loop_.post([call = std::move(handler)] { call(Error{Errc::Unavailable, "the virtual machine takes no connections"}); });
    return;
  }
  const uint32_t id = next_stream_;
  next_stream_ += 2;
  connecting_[id] = std::move(handler);
  send(Kind::Open, id, wire::Encoder().u32(port).bytes());
}

Result<int> GuestLink::add_stream(uint32_t id) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return system_error("socketpair", errno);
  auto stream = std::make_unique<Stream>();
  stream->port = std::make_unique<Port>(loop_, pair[0], [this, id](uint32_t ready) { on_stream_ready(id, ready); });
  watch_stream(*stream);
  streams_[id] = std::move(stream);
  return pair[1];
}

void GuestLink::watch_stream(Stream& stream) {
  uint32_t wanted = 0;
  if (!stream.has_ended && stream.window > 0 && out_.size() < kLinkQueueMax) wanted |= io::kReadable;
  if (!stream.out.empty()) wanted |= io::kWritable;
  stream.port->want(wanted);
}

void GuestLink::on_stream_ready(uint32_t id, uint32_t ready) {
  auto found = streams_.find(id);
  if (found == streams_.end()) return;
  if (!found->second->out.empty() && !write_stream(id, *found->second)) return;
  if ((ready & (io::kReadable | io::kHangup)) != 0) read_stream(id, *found->second);
  found = streams_.find(id);
  if (found != streams_.end()) watch_stream(*found->second);
}

void GuestLink::read_stream(uint32_t id, Stream& stream) {
  if (stream.has_ended || stream.window == 0) return;
  char bytes[16 * 1024];
  const ssize_t n = recv(stream.port->fd, bytes, std::min<size_t>(sizeof bytes, stream.window), MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n < 0) return drop_stream(id, true);
  if (n == 0) {
    stream.has_ended = true;
    send(Kind::End, id, {});
    return finish_if_done(id);
  }
  stream.window -= static_cast<uint32_t>(n);
  send(Kind::Data, id, {bytes, static_cast<size_t>(n)});
}

// False when the stream has gone.
bool GuestLink::write_stream(uint32_t id, Stream& stream) {
  uint32_t written = 0;
  while (!stream.out.empty()) {
    const ssize_t n = ::send(stream.port->fd, stream.out.data(), stream.out.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN) {
      drop_stream(id, true);
      return false;
    }
    if (n < 0) break;
    stream.out.erase(0, static_cast<size_t>(n));
    written += static_cast<uint32_t>(n);
  }
  if (written > 0) {
    stream.granted += written;
    send(Kind::Credit, id, wire::Encoder().u32(written).bytes());
  }
  if (!stream.is_ended_by_guest || !stream.out.empty()) return true;
  shutdown(stream.port->fd, SHUT_WR);
  finish_if_done(id);
  return streams_.count(id) != 0;
}

void GuestLink::drop_stream(uint32_t id, bool tells) {
  streams_.erase(id);
  if (tells) send(Kind::Reset, id, {});
}

void GuestLink::finish_if_done(uint32_t id) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  const Stream& stream = *found->second;
  if (stream.has_ended && stream.is_ended_by_guest && stream.out.empty()) streams_.erase(found);
}

}  // namespace brokkr::sandbox::microvm
