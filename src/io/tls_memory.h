#pragma once

namespace brokkr::io {

// OpenSSL clears a buffer of 16 KiB and more for each handshake, so that its pages are in memory while
// the peer takes its time to answer, with nothing in them. This finds that buffer and lets its pages
// go meanwhile. Loop-confined.
class HandshakeMemory {
 public:
  // For the process, before OpenSSL allocates anything; without effect afterwards. Thread-safe.
  static void install();

  // Watches what this thread allocates while it lives.
  HandshakeMemory();
  ~HandshakeMemory();
  HandshakeMemory(const HandshakeMemory&) = delete;
  HandshakeMemory& operator=(const HandshakeMemory&) = delete;

  // The last such buffer allocated reads as zeros from now on, and takes no memory until it is
  // written to. Only while OpenSSL keeps nothing in it.
  void release();
};

}  // namespace brokkr::io
