#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "measure.h"
#include "stream.h"

namespace brokkr::bench {

// One MSG or HMSG, as views into the connection's receive buffer.
struct Message {
  std::string_view subject;
  std::string_view sid;
  std::string_view reply;
  std::string_view headers;
  std::string_view payload;
};

// A raw non-blocking NATS connection to 127.0.0.1. It answers INFO with CONNECT and PING, answers
// PING, and fails the run on -ERR or a closed socket; everything else is the caller's.
// Loop-confined.
class Connection {
 public:
  // Starts to connect. `receive_bytes` bounds one message as well as one read.
  Connection(uint16_t port, size_t receive_bytes);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Connects and waits for the handshake's PONG.
  static std::unique_ptr<Connection> open(uint16_t port, size_t receive_bytes = 256 * 1024);

  int fd() const { return stream_.fd(); }
  bool is_ready() const { return pongs_ > 0; }
  // PONGs received since the handshake's.
  uint64_t pongs() const { return pongs_ - 1; }

  // Sends what the socket takes at once and keeps the rest.
  void write(std::string_view bytes);
  void flush();
  bool has_unsent() const { return sent_ < unsent_.size(); }

  // Reads once; false when nothing was there.
  bool fill();
  std::string_view received() const { return {buffer_.data() + begin_, end_ - begin_}; }
  void consume(size_t size) { begin_ += size; }
  // Handles a line that is no message (INFO, PING, PONG, +OK, -ERR) at the start of `received`;
  // false when the line is not complete. Fails the run when it is something else.
  bool consume_control();

  // Calls `on_message` for each complete message received and handles the lines between them.
  template <typename OnMessage>
  void each_message(OnMessage&& on_message);

  // Sends PING and handles what comes, messages through `on_message`, until its PONG.
  template <typename OnMessage>
  void ping_pong(OnMessage&& on_message);
  // The same where any message is a failure.
  void ping_pong();

 private:
  // Size of the message at the start of `received`, 0 when incomplete.
  size_t parse_message(Message& message) const;
  void wait_readable() const;

  Stream stream_;
  std::vector<char> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  std::string unsent_;
  size_t sent_ = 0;
  bool is_greeted_ = false;
  uint64_t pongs_ = 0;
};

// Waits for any of many connections. With `spin_us`, polls that long before it sleeps.
// Loop-confined.
class Poller {
 public:
  explicit Poller(uint32_t spin_us = 0);
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  void add(int fd, uint32_t id, uint32_t events = EPOLLIN);
  void watch(int fd, uint32_t id, bool write);
  void remove(int fd);
  // Up to 256 events; `data.u32` is the id.
  size_t wait(int timeout_ms);
  const epoll_event& event(size_t index) const { return events_[index]; }

 private:
  int epoll_;
  uint64_t spin_ns_;
  epoll_event events_[256];
};

template <typename OnMessage>
void Connection::each_message(OnMessage&& on_message) {
  Message message;
  while (begin_ < end_) {
    const char first = buffer_[begin_];
    if (first != 'M' && first != 'H') {
      if (!consume_control()) return;
      continue;
    }
    const size_t size = parse_message(message);
    if (size == 0) return;
    on_message(static_cast<const Message&>(message));
    begin_ += size;
  }
}

template <typename OnMessage>
void Connection::ping_pong(OnMessage&& on_message) {
  const uint64_t target = pongs_ + 1;
  write("PING\r\n");
  const uint64_t deadline = now_ns() + 20'000'000'000U;
  while (pongs_ < target) {
    flush();
    if (!fill()) wait_readable();
    each_message(on_message);
    if (now_ns() > deadline) fail("no PONG within 20 s");
  }
}

}  // namespace brokkr::bench
