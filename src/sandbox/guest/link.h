#pragma once

#include <poll.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "sandbox/microvm_wire.h"

// The guest's end of the stream to the host, and the connections that go through it. Part of the guest's
// init: one thread, one poll loop.
namespace brokkr::sandbox::guest {

class Link {
 public:
  explicit Link(int fd) : fd_(fd) {}

  int fd() const { return fd_; }
  void send(wire::Kind kind, uint32_t stream, std::string_view payload);
  void send_number(wire::Kind kind, uint32_t stream, uint32_t number);
  // Reads what is there; false when the host has gone.
  bool read_some();
  // The next whole frame; `payload` lives until the next call.
  bool next(wire::Frame& frame);
  bool flush();
  bool has_output() const { return !out_.empty(); }
  // So much is waiting that programs' output is not read any more.
  bool is_full() const { return out_.size() > 512 * 1024; }

 private:
  const int fd_;
  std::string in_;
  size_t taken_ = 0;
  uint32_t unacknowledged_ = 0;
  std::string out_;
};

// Sockets of programs of the guest, each the end of a connection to the host.
class Streams {
 public:
  explicit Streams(Link& link) : link_(link) {}
  // A program has connected to `listener`.
  void accepted(uint32_t listener, int fd);
  // The host connects to a port of a program.
  void open(uint32_t stream, uint32_t port);
  void handle(const wire::Frame& frame);
  // What to poll for, and what came of it.
  void add_polls(std::vector<pollfd>& polls, std::vector<uint32_t>& streams);
  void on_poll(uint32_t stream, short events);

 private:
  struct Stream {
    int fd = -1;
    bool is_connecting = false;
    bool has_ended = false;       // no more from the program
    bool is_ended_by_host = false;
    uint32_t window = wire::kWindowBytes;
    std::string out;  // to the program
  };
  void write_out(uint32_t id, Stream& stream);
  void read_in(uint32_t id, Stream& stream);
  void reset(uint32_t id);
  void finish_if_done(uint32_t id);

  Link& link_;
  std::map<uint32_t, Stream> streams_;
  uint32_t next_ = 2;
};

}  // namespace brokkr::sandbox::guest
