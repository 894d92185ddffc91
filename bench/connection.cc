#include "connection.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include <charconv>

namespace brokkr::bench {
namespace {

constexpr std::string_view kHandshake =
    "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"bench\",\"version\":\"1\","
    "\"protocol\":1,\"echo\":true,\"headers\":true,\"no_responders\":true}\r\nPING\r\n";

size_t parse_size(std::string_view text) {
  size_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) {
    fail("bad length '%.*s' in a message", static_cast<int>(text.size()), text.data());
  }
  return value;
}

}  // namespace

Connection::Connection(uint16_t port, size_t receive_bytes)
    : stream_(port), buffer_(receive_bytes) {}

std::unique_ptr<Connection> Connection::open(uint16_t port, size_t receive_bytes) {
  auto connection = std::make_unique<Connection>(port, receive_bytes);
  const uint64_t deadline = now_ns() + 10'000'000'000U;
  while (!connection->is_ready()) {
    connection->wait_readable();
    if (connection->fill()) {
      while (!connection->received().empty() && connection->consume_control()) {
      }
    }
    if (now_ns() > deadline) fail("port %u: no handshake within 10 s", port);
  }
  return connection;
}

void Connection::wait_readable() const {
  pollfd entry{fd(), static_cast<short>(has_unsent() ? POLLIN | POLLOUT : POLLIN), 0};
  ::poll(&entry, 1, 100);
}

void Connection::write(std::string_view bytes) {
  if (!has_unsent()) {
    unsent_.clear();
    sent_ = 0;
    const ssize_t taken = stream_.send(bytes.data(), bytes.size());
    if (taken < 0 && errno != EAGAIN) fail("send: %s", strerror(errno));
    if (taken > 0) bytes.remove_prefix(static_cast<size_t>(taken));
    if (bytes.empty()) return;
  }
  unsent_.append(bytes);
}

void Connection::flush() {
  while (has_unsent()) {
    const ssize_t taken = stream_.send(unsent_.data() + sent_, unsent_.size() - sent_);
    if (taken < 0) {
      if (errno == EAGAIN) return;
      fail("send: %s", strerror(errno));
    }
    sent_ += static_cast<size_t>(taken);
  }
}

bool Connection::fill() {
  if (begin_ == end_) begin_ = end_ = 0;
  if (begin_ > 0) {
    memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == buffer_.size()) fail("a message is longer than %zu bytes", buffer_.size());
  const ssize_t taken = stream_.receive(buffer_.data() + end_, buffer_.size() - end_);
  if (taken < 0) {
    if (errno == EAGAIN || errno == ENOTCONN) return false;
    fail("recv: %s", strerror(errno));
  }
  if (taken == 0) fail("the server closed the connection");
  end_ += static_cast<size_t>(taken);
  while (const size_t held = stream_.held()) {
    if (buffer_.size() - end_ < held) buffer_.resize(end_ + held);
    const ssize_t more = stream_.receive(buffer_.data() + end_, held);
    if (more <= 0) break;
    end_ += static_cast<size_t>(more);
  }
  return true;
}

bool Connection::consume_control() {
  const std::string_view bytes = received();
  const size_t size = bytes.find("\r\n");
  if (size == std::string_view::npos) return false;
  const std::string_view line = bytes.substr(0, size);
  begin_ += size + 2;
  if (line.starts_with("INFO ")) {
    // Later INFOs are news of the server, not a new handshake.
    if (!is_greeted_) write(kHandshake);
    is_greeted_ = true;
  } else if (line == "PING") {
    write("PONG\r\n");
  } else if (line == "PONG") {
    ++pongs_;
  } else if (line != "+OK") {
    fail("unexpected line '%.*s'", static_cast<int>(line.size()), line.data());
  }
  return true;
}

size_t Connection::parse_message(Message& message) const {
  const std::string_view bytes = received();
  const size_t size = bytes.find("\r\n");
  if (size == std::string_view::npos) return 0;
  std::string_view fields[6];
  size_t count = 0;
  for (std::string_view rest = bytes.substr(0, size); !rest.empty();) {
    const size_t space = rest.find(' ');
    if (count == 6) fail("too many fields in a message line");
    fields[count++] = rest.substr(0, space);
    rest = space == std::string_view::npos ? std::string_view() : rest.substr(space + 1);
  }
  const bool with_headers = fields[0] == "HMSG";
  const size_t least = with_headers ? 5 : 4;
  if ((!with_headers && fields[0] != "MSG") || count < least || count > least + 1) {
    fail("bad message line '%.*s'", static_cast<int>(size), bytes.data());
  }
  const size_t total = parse_size(fields[count - 1]);
  const size_t header_size = with_headers ? parse_size(fields[count - 2]) : 0;
  if (header_size > total) fail("header longer than its message");
  if (bytes.size() < size + 2 + total + 2) return 0;
  message.subject = fields[1];
  message.sid = fields[2];
  message.reply = count > least ? fields[3] : std::string_view();
  message.headers = bytes.substr(size + 2, header_size);
  message.payload = bytes.substr(size + 2 + header_size, total - header_size);
  if (bytes.substr(size + 2 + total, 2) != "\r\n") fail("a message does not end in CR LF");
  return size + 2 + total + 2;
}

void Connection::ping_pong() {
  ping_pong([](const Message& message) {
    fail("a message too many on '%.*s'", static_cast<int>(message.subject.size()),
         message.subject.data());
  });
}

Poller::Poller(uint32_t spin_us)
    : epoll_(epoll_create1(EPOLL_CLOEXEC)), spin_ns_(uint64_t{spin_us} * 1000) {
  if (epoll_ < 0) fail("epoll_create1: %s", strerror(errno));
}

Poller::~Poller() {
  close(epoll_);
}

void Poller::add(int fd, uint32_t id, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u32 = id;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl: %s", strerror(errno));
}

void Poller::watch(int fd, uint32_t id, bool write) {
  epoll_event event{};
  event.events = write ? EPOLLIN | EPOLLOUT : EPOLLIN;
  event.data.u32 = id;
  if (epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event) != 0) fail("epoll_ctl: %s", strerror(errno));
}

void Poller::remove(int fd) {
  epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
}

size_t Poller::wait(int timeout_ms) {
  if (spin_ns_ > 0) {
    const uint64_t end = now_ns() + spin_ns_;
    do {
      const int ready = epoll_wait(epoll_, events_, 256, 0);
      if (ready > 0) return static_cast<size_t>(ready);
    } while (now_ns() < end);
  }
  const int ready = epoll_wait(epoll_, events_, 256, timeout_ms);
  if (ready < 0 && errno != EINTR) fail("epoll_wait: %s", strerror(errno));
  return ready < 0 ? 0 : static_cast<size_t>(ready);
}

}  // namespace brokkr::bench
