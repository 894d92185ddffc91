#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

struct ssl_st;

namespace brokkr::bench {

// The bytes of one connection to 127.0.0.1: a socket, or TLS over one with the handshake before
// anything else. Answers as send and recv do, with errno. Loop-confined.
class Stream {
 public:
  // For all streams to come.
  static void use_tls();

  explicit Stream(uint16_t port);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  int fd() const { return fd_; }
  ssize_t send(const char* bytes, size_t size);
  ssize_t receive(char* into, size_t size);
  // Bytes that `receive` would give without the socket: no poll tells of them.
  size_t held() const;

 private:
  ssize_t fail_as_errno(int result) const;

  int fd_ = -1;
  ssl_st* tls_ = nullptr;
};

}  // namespace brokkr::bench
