#include "http/listen.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace brokkr::http {
namespace {

constexpr int kBacklog = 128;

uint16_t port_of(int fd) {
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0) return 0;
  // Both families keep the port in the same place.
  sockaddr_in in{};
  std::memcpy(&in, &bound, sizeof in);
  return ntohs(in.sin_port);
}

// The socket, or -1 with errno.
int open_listening(const addrinfo& where) {
  const int fd = socket(where.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const int on = 1;
  const int off = 0;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (where.ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (bind(fd, where.ai_addr, where.ai_addrlen) == 0 && listen(fd, kBacklog) == 0) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

}  // namespace

Result<ListeningSocket> listen_tcp(const std::string& host, uint16_t port) {
  const bool everywhere = host.empty() || host == "0.0.0.0";
  const std::string what =
      "listen on " + (everywhere ? std::string("0.0.0.0") : host) + ":" + std::to_string(port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int failure = getaddrinfo(everywhere ? nullptr : host.c_str(), std::to_string(port).c_str(),
                                  &hints, &found);
  if (failure != 0) return Error{Errc::System, what + ": " + gai_strerror(failure)};
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
  int error = EADDRNOTAVAIL;
  // An IPv6 socket takes IPv4 clients too, so for every interface it goes first.
  for (const int family : {everywhere ? AF_INET6 : AF_UNSPEC, everywhere ? AF_INET : AF_UNSPEC}) {
    for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
      if (family != AF_UNSPEC && each->ai_family != family) continue;
      const int fd = open_listening(*each);
      if (fd >= 0) return ListeningSocket{fd, port_of(fd)};
      error = errno;
    }
    if (error == EADDRINUSE || !everywhere) break;
  }
  return system_error(what.c_str(), error);
}

}  // namespace brokkr::http
