#include "sandbox/guest/link.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace brokkr::sandbox::guest {

using wire::Kind;

void Link::send(Kind kind, uint32_t stream, std::string_view payload) {
  wire::append_frame(out_, kind, stream, payload);
}

void Link::send_number(Kind kind, uint32_t stream, uint32_t number) {
  send(kind, stream, wire::Encoder().u32(number).bytes());
}

bool Link::read_some() {
  char bytes[16 * 1024];
  const ssize_t n = read(fd_, bytes, sizeof bytes);
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  if (n == 0) return false;
  in_.append(bytes, static_cast<size_t>(n));
  unacknowledged_ += static_cast<uint32_t>(n);
  if (unacknowledged_ >= wire::kLinkAckBytes) {
    send_number(Kind::LinkAck, 0, unacknowledged_);
    unacknowledged_ = 0;
  }
  return true;
}

bool Link::next(wire::Frame& frame) {
  in_.erase(0, taken_);
  taken_ = 0;
  size_t used = 0;
  if (wire::read_frame(in_, frame, used) != 1) return false;
  taken_ = used;
  return true;
}

bool Link::flush() {
  while (!out_.empty()) {
    const ssize_t n = write(fd_, out_.data(), out_.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN;
    out_.erase(0, static_cast<size_t>(n));
  }
  return true;
}

void Streams::accepted(uint32_t listener, int fd) {
  if (streams_.size() >= wire::kStreamsMax) {
    close(fd);
    return;
  }
  const uint32_t id = next_;
  next_ += 2;
  streams_[id].fd = fd;
  link_.send_number(Kind::Open, id, listener);
}

void Streams::open(uint32_t id, uint32_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const bool is_new = streams_.count(id) == 0 && streams_.size() < wire::kStreamsMax;
  if (fd >= 0 && is_new) {
    const int result = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
    if (result == 0 || errno == EINPROGRESS) {
      Stream& stream = streams_[id];
      stream.fd = fd;
      stream.is_connecting = true;
      return;
    }
  }
  if (fd >= 0) close(fd);
  link_.send_number(Kind::Opened, id, 0);
}

void Streams::handle(const wire::Frame& frame) {
  const auto found = streams_.find(frame.stream);
  if (found == streams_.end()) return;
  Stream& stream = found->second;
  switch (frame.kind) {
    case Kind::Data:
      stream.out += frame.payload;
      if (!stream.is_connecting) write_out(frame.stream, stream);
      break;
    case Kind::Credit: stream.window += wire::Decoder(frame.payload).u32(); break;
    case Kind::End:
      stream.is_ended_by_host = true;
      if (!stream.is_connecting) write_out(frame.stream, stream);
      break;
    case Kind::Reset:
      close(stream.fd);
      streams_.erase(found);
      break;
    default: break;
  }
}

void Streams::add_polls(std::vector<pollfd>& polls, std::vector<uint32_t>& streams) {
  for (const auto& [id, stream] : streams_) {
    short events = 0;
    if (stream.is_connecting || !stream.out.empty()) events = POLLOUT;
    if (!stream.is_connecting && !stream.has_ended && stream.window > 0 && !link_.is_full()) {
      events = static_cast<short>(events | POLLIN);
    }
    if (events == 0) continue;
    polls.push_back({stream.fd, events, 0});
    streams.push_back(id);
  }
}

void Streams::on_poll(uint32_t id, short events) {
  auto found = streams_.find(id);
  if (found == streams_.end() || events == 0) return;
  if (found->second.is_connecting) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(found->second.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    link_.send_number(Kind::Opened, id, error == 0 ? 1 : 0);
    if (error != 0) {
      close(found->second.fd);
      streams_.erase(found);
      return;
    }
    found->second.is_connecting = false;
  }
  write_out(id, found->second);
  found = streams_.find(id);
  if (found != streams_.end() && (events & (POLLIN | POLLHUP | POLLERR)) != 0) read_in(id, found->second);
}

void Streams::write_out(uint32_t id, Stream& stream) {
  uint32_t written = 0;
  while (!stream.out.empty()) {
    const ssize_t n = ::send(stream.fd, stream.out.data(), stream.out.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN) return reset(id);
    if (n < 0) break;
    stream.out.erase(0, static_cast<size_t>(n));
    written += static_cast<uint32_t>(n);
  }
  if (written > 0) link_.send_number(Kind::Credit, id, written);
  if (stream.is_ended_by_host && stream.out.empty()) {
    shutdown(stream.fd, SHUT_WR);
    finish_if_done(id);
  }
}

void Streams::read_in(uint32_t id, Stream& stream) {
  if (stream.window == 0 || stream.has_ended) return;
  char bytes[16 * 1024];
  const size_t room = std::min<size_t>(sizeof bytes, stream.window);
  const ssize_t n = recv(stream.fd, bytes, room, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n < 0) return reset(id);
  if (n == 0) {
    stream.has_ended = true;
    link_.send(Kind::End, id, {});
    return finish_if_done(id);
  }
  stream.window -= static_cast<uint32_t>(n);
  link_.send(Kind::Data, id, {bytes, static_cast<size_t>(n)});
}

void Streams::reset(uint32_t id) {
  link_.send(Kind::Reset, id, {});
  close(streams_[id].fd);
  streams_.erase(id);
}

void Streams::finish_if_done(uint32_t id) {
  const auto found = streams_.find(id);
  if (found == streams_.end() || !found->second.has_ended) return;
  if (!found->second.is_ended_by_host || !found->second.out.empty()) return;
  close(found->second.fd);
  streams_.erase(found);
}

}  // namespace brokkr::sandbox::guest
