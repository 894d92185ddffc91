#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "measure.h"

namespace brokkr::bench {
namespace {

SSL_CTX* tls_context = nullptr;  // null: no TLS

}  // namespace

void Stream::use_tls() {
  tls_context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // What every server offers first, so that all are measured with one cipher.
  SSL_CTX_set_ciphersuites(tls_context, "TLS_AES_128_GCM_SHA256");
}

Stream::Stream(uint16_t port) {
  // The first flight of TLS needs an open connection; on loopback that takes no time.
  const int mode = tls_context == nullptr ? SOCK_NONBLOCK : 0;
  fd_ = socket(AF_INET, SOCK_STREAM | mode | SOCK_CLOEXEC, 0);
  if (fd_ < 0) fail("socket: %s", strerror(errno));
  const int on = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
      errno != EINPROGRESS) {
    fail("connect to port %u: %s", port, strerror(errno));
  }
  if (tls_context == nullptr) return;
  fcntl(fd_, F_SETFL, O_NONBLOCK);
  tls_ = SSL_new(tls_context);
  SSL_set_fd(tls_, fd_);
  SSL_set_connect_state(tls_);
  SSL_do_handshake(tls_);  // the rest of it happens in the reads
}

Stream::~Stream() {
  SSL_free(tls_);
  close(fd_);
}

ssize_t Stream::fail_as_errno(int result) const {
  const int code = SSL_get_error(tls_, result);
  if (code == SSL_ERROR_ZERO_RETURN) return 0;
  errno = code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
  return -1;
}

ssize_t Stream::send(const char* bytes, size_t size) {
  if (tls_ == nullptr) return ::send(fd_, bytes, size, MSG_NOSIGNAL);
  size_t total = 0;
  while (total < size) {
    size_t n = 0;
    if (SSL_write_ex(tls_, bytes + total, size - total, &n) == 1) {
      total += n;
      continue;
    }
    const ssize_t failed = fail_as_errno(0);
    if (total == 0) return failed;
    break;
  }
  return static_cast<ssize_t>(total);
}

ssize_t Stream::receive(char* into, size_t size) {
  if (tls_ == nullptr) return recv(fd_, into, size, 0);
  size_t total = 0;
  while (total < size) {
    size_t n = 0;
    if (SSL_read_ex(tls_, into + total, size - total, &n) == 1) {
      total += n;
      continue;
    }
    const ssize_t failed = fail_as_errno(0);
    if (total == 0) return failed;
    break;
  }
  return static_cast<ssize_t>(total);
}

size_t Stream::held() const {
  return tls_ == nullptr ? 0 : static_cast<size_t>(SSL_pending(tls_));
}

}  // namespace brokkr::bench
