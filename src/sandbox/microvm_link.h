#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/callback.h"
#include "base/result.h"
#include "io/loop.h"
#include "sandbox/microvm_wire.h"
#include "sandbox/program_sockets.h"

namespace brokkr::sandbox::microvm {

// The host's end of the stream to a guest, and the connections that go through it. Believes nothing of
// what the guest says: frames that cannot be end the link. Loop-confined.
class GuestLink {
 public:
  struct Events {
    // None of these may destroy the link.
    Callback<void()> on_greeting;
    Callback<void(const wire::Frame&)> on_frame;  // those that are not about connections
    Callback<void(uint32_t listener, int fd)> on_connection;
    Callback<void(const std::string& why)> on_lost;  // once; nothing follows
  };
  // `fd` is the link's from now on. `window`: bytes the guest may not have taken off yet.
  GuestLink(io::Loop& loop, int fd, uint32_t window, Events events);
  ~GuestLink();
  GuestLink(const GuestLink&) = delete;
  GuestLink& operator=(const GuestLink&) = delete;

  void send(wire::Kind kind, uint32_t stream, std::string_view payload);
  // To a port inside; `handler` is called once, also when the link ends first, not from within.
  void connect(uint16_t port, Callback<void(Result<int> fd)> handler);

 private:
  struct Stream;
  void on_ready(uint32_t ready);
  void read_link();
  bool take_frames();
  void take(const wire::Frame& frame);
  void take_stream(const wire::Frame& frame);
  void open_from_guest(const wire::Frame& frame);
  void flush();
  void update_interest();
  void lose(const std::string& why);

  Result<int> add_stream(uint32_t id);
  void on_stream_ready(uint32_t id, uint32_t ready);
  void read_stream(uint32_t id, Stream& stream);
  bool write_stream(uint32_t id, Stream& stream);
  void watch_stream(Stream& stream);
  void drop_stream(uint32_t id, bool tells);
  void finish_if_done(uint32_t id);

  io::Loop& loop_;
  const uint32_t window_;
  Events events_;
  struct Port;
  std::unique_ptr<Port> port_;
  bool has_greeted_ = false;
  bool is_lost_ = false;
  std::string in_;
  std::string out_;
  uint64_t outstanding_ = 0;
  std::map<uint32_t, std::unique_ptr<Stream>> streams_;
  std::map<uint32_t, Callback<void(Result<int>)>> connecting_;
  uint32_t next_stream_ = 1;
};

}  // namespace brokkr::sandbox::microvm
