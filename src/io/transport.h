#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/result.h"
#include "io/loop.h"

namespace brokkr::io {

// What one read or write did. WouldBlock and Closed carry no bytes; Failed carries errno.
struct IoResult {
  enum class Kind : uint8_t { Ok, WouldBlock, Closed, Failed };
  Kind kind = Kind::Ok;
  size_t bytes = 0;
  int error = 0;
};

class TransportHandler {
 public:
  virtual ~TransportHandler() = default;
  // There are bytes to read, or the stream ended (the next read says which).
  virtual void on_readable() = 0;
  // A write that could not finish can go on.
  virtual void on_writable() = 0;
};

// The other side of a stream, for INFO, logs and monitoring.
struct Peer {
  std::string host;  // "127.0.0.1", "pipe", a unix socket's path
  uint16_t port = 0;
};

// A bidirectional stream of bytes: a TCP or unix socket, one end of an in-process pipe, or such
// a stream inside another (tls.h). The destructor closes it. Loop-confined.
class Transport {
 public:
  virtual ~Transport() = default;
  // Attaches the handler and says what it wants to hear of; may be called again at any time,
  // also with null to detach. The handler may destroy the transport from within a callback.
  virtual void listen(TransportHandler* handler, bool readable, bool writable) = 0;
  // Reads at most `bytes`. Closed when the other side has closed.
  virtual IoResult read(char* into, size_t bytes) = 0;
  // Writes a prefix of the bytes.
  virtual IoResult write(const char* from, size_t bytes) = 0;
  // Nothing will be written any more: tells the other side, which may go on sending.
  virtual void end_writing() {}
  virtual const Peer& peer() const = 0;
  // The descriptor, or -1 when there is none.
  virtual int fd() const { return -1; }
};

// Takes ownership of a connected non-blocking stream socket.
Result<std::unique_ptr<Transport>> adopt_socket(Loop& loop, int fd);

// Two ends of a pipe within one loop: what is written to one end is read from the other, without a
// system call. Each direction holds at most `bytes_max`; a full one answers WouldBlock.
std::pair<std::unique_ptr<Transport>, std::unique_ptr<Transport>> make_pipe(
    Loop& loop, size_t bytes_max = 8 << 20);

}  // namespace brokkr::io
