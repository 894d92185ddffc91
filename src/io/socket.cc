#include "io/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "base/bytes.h"

namespace brokkr::io {
namespace {

constexpr int kBacklog = 4096;
// Accepts per readiness, so that a flood of connections cannot starve those that exist.
constexpr int kAcceptsPerTurn = 256;
// Until accepting is tried again when no descriptor was free.
constexpr Duration kDescriptorPause = std::chrono::milliseconds(5);

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Result<SocketAddress> unix_address(const std::string& path) {
  SocketAddress out;
  auto* un = reinterpret_cast<sockaddr_un*>(&out.storage);
  if (path.size() >= sizeof un->sun_path) {
    return Error{Errc::InvalidArgument, "unix socket path is longer than 107 bytes: " + path};
  }
  un->sun_family = AF_UNIX;
  std::memcpy(un->sun_path, path.c_str(), path.size() + 1);
  out.length = sizeof(sockaddr_un);
  return out;
}

// Blocks on the resolver.
Result<std::vector<SocketAddress>> resolve(const Address& address, bool passive) {
  if (!address.path.empty()) {
    auto one = unix_address(address.path);
    if (!one) return one.error();
    return std::vector<SocketAddress>{*one};
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0);
  addrinfo* found = nullptr;
  const std::string port = std::to_string(address.port);
  const int error = getaddrinfo(address.host.empty() ? nullptr : address.host.c_str(), port.c_str(),
                                &hints, &found);
  if (error != 0) {
    return Error{Errc::NotFound, "look up " + address.host + ": " + gai_strerror(error)};
  }
  std::vector<SocketAddress> out;
  for (const addrinfo* item = found; item != nullptr; item = item->ai_next) {
    SocketAddress& entry = out.emplace_back();
    std::memcpy(&entry.storage, item->ai_addr, item->ai_addrlen);
    entry.length = item->ai_addrlen;
  }
  freeaddrinfo(found);
  return out;
}

uint16_t bound_port(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length);
  if (storage.ss_family == AF_INET6) {
    return ntohs(reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port);
  }
  return ntohs(reinterpret_cast<sockaddr_in*>(&storage)->sin_port);
}

class SocketListener final : public Listener, private FdHandler {
 public:
  SocketListener(Loop& loop, int fd, Address address, Callback<void(int)> on_accept)
      : loop_(loop), fd_(fd), address_(std::move(address)), on_accept_(std::move(on_accept)) {}
  ~SocketListener() override {
    if (is_watched_) loop_.unwatch(fd_);
    close(fd_);
    if (!address_.path.empty()) unlink(address_.path.c_str());
  }

  Status start() {
    Status watched = loop_.watch(fd_, kReadable, *this);
    is_watched_ = static_cast<bool>(watched);
    return watched;
  }
  const Address& address() const override { return address_; }
  void pause() override { loop_.change(fd_, 0); }
  void resume() override { loop_.change(fd_, kReadable); }

 private:
  void on_ready(uint32_t) override {
    for (int i = 0; i < kAcceptsPerTurn; ++i) {
      const int fd = accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        on_accept_(fd);
        continue;
      }
      if (errno == ECONNABORTED || errno == EINTR) continue;
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        // Out of descriptors: leave the backlog alone for a while instead of spinning on it.
        pause();
        retry_.start(kDescriptorPause);
      }
      return;
    }
  }

  Loop& loop_;
  const int fd_;
  const Address address_;
  Callback<void(int)> on_accept_;
  bool is_watched_ = false;
  Timer retry_{loop_, [this] { resume(); }};
};

// Tries the addresses one after the other until one connects.
class SocketConnector final : public Connector, private FdHandler {
 public:
  SocketConnector(Loop& loop, Address address, Duration timeout, Done done)
      : loop_(loop), address_(std::move(address)), done_(std::move(done)) {
    deadline_.start(timeout);
  }
  ~SocketConnector() override {
    alive_->connector = nullptr;
    drop_socket();
  }

  void resolve_on(Worker& resolver) {
    auto found = std::make_shared<Result<std::vector<SocketAddress>>>(Error{Errc::NotFound, ""});
    const bool queued = resolver.run(
        loop_, [found, address = address_] { *found = resolve(address, false); },
        [found, alive = alive_] {
          if (alive->connector != nullptr) alive->connector->on_resolved(std::move(*found));
        });
    if (!queued) last_error_ = Error{Errc::Unavailable, "name look-up queue is full"};
    if (!queued) deadline_.start(Duration(0));
  }

 private:
  struct Alive {
    SocketConnector* connector;
  };

  void on_resolved(Result<std::vector<SocketAddress>> found) {
    if (!found) return finish(found.error());
    candidates_ = std::move(*found);
    try_next();
  }

  void try_next() {
    drop_socket();
    while (next_ < candidates_.size()) {
      const SocketAddress& candidate = candidates_[next_++];
      fd_ = socket(candidate.get()->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (fd_ < 0) {
        last_error_ = system_error("socket", errno);
        continue;
      }
      if (connect(fd_, candidate.get(), candidate.length) == 0) return connected();
      if (errno == EINPROGRESS) {
        if (Status watched = loop_.watch(fd_, kWritable, *this); !watched) {
          return finish(watched.error());
        }
        is_watched_ = true;
        return;
      }
      last_error_ = system_error(("connect to " + address_.text()).c_str(), errno);
      drop_socket();
    }
    finish(last_error_);
  }

  void on_ready(uint32_t) override {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error == 0) return connected();
    last_error_ = system_error(("connect to " + address_.text()).c_str(), error);
    try_next();
  }

  void connected() {
    if (is_watched_) loop_.unwatch(fd_);
    is_watched_ = false;
    const int fd = fd_;
    fd_ = -1;
    finish(adopt_socket(loop_, fd));
  }

  void finish(Result<std::unique_ptr<Transport>> result) {
    deadline_.stop();
    drop_socket();
    Done done = std::move(done_);
    done(std::move(result));  // may destroy this connector
  }

  void drop_socket() {
    if (fd_ < 0) return;
    if (is_watched_) loop_.unwatch(fd_);
    is_watched_ = false;
    close(fd_);
    fd_ = -1;
  }

  Loop& loop_;
  const Address address_;
  Done done_;
  std::shared_ptr<Alive> alive_ = std::make_shared<Alive>(Alive{this});
  std::vector<SocketAddress> candidates_;
  size_t next_ = 0;
  int fd_ = -1;
  bool is_watched_ = false;
  Error last_error_{Errc::TimedOut, ""};
  Timer deadline_{loop_, [this] {
                    finish(last_error_.text.empty()
                               ? Error{Errc::TimedOut, "connect to " + address_.text() + ": timed out"}
                               : last_error_);
                  }};
};

Result<int> bind_socket(const SocketAddress& where, const Address& address) {
  const int fd = socket(where.get()->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return system_error("socket", errno);
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (where.get()->sa_family == AF_INET6) {
    const int off = 0;  // the IPv6 wildcard also takes IPv4
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  }
  if (bind(fd, where.get(), where.length) == 0 && ::listen(fd, kBacklog) == 0) return fd;
  Error error = system_error(("listen on " + address.text()).c_str(), errno);
  close(fd);
  return error;
}

}  // namespace

std::string Address::text() const {
  if (!path.empty()) return "unix:" + path;
  const bool is_v6 = host.find(':') != std::string::npos;
  const std::string shown = host.empty() ? "0.0.0.0" : host;
  return (is_v6 ? "[" + shown + "]" : shown) + ":" + std::to_string(port);
}

Result<Address> parse_address(std::string_view text, uint16_t default_port) {
  Address out;
  if (text.substr(0, 5) == "unix:") {
    out.path = text.substr(5);
    if (out.path.empty()) return Error{Errc::InvalidArgument, "unix: needs a path"};
    return out;
  }
  const std::string_view whole = text;
  std::string_view port;
  bool has_port = false;
  if (!text.empty() && text[0] == '[') {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) {
      return Error{Errc::InvalidArgument, "missing ] in address " + std::string(whole)};
    }
    out.host = text.substr(1, end - 1);
    text.remove_prefix(end + 1);
    has_port = !text.empty() && text[0] == ':';
    if (has_port) port = text.substr(1);
  } else if (const size_t colon = text.rfind(':');
             colon != std::string_view::npos && text.find(':') == colon) {
    out.host = text.substr(0, colon);
    port = text.substr(colon + 1);
    has_port = true;
  } else {
    out.host = text;
  }
  out.port = default_port;
  if (!has_port) return out;
  const auto number = parse_uint(port);
  if (!number || *number > 65535) {
    return Error{Errc::InvalidArgument,
                 "port is not a number from 0 to 65535 in address " + std::string(whole)};
  }
  out.port = static_cast<uint16_t>(*number);
  return out;
}

Result<std::unique_ptr<Listener>> Listener::open(Loop& loop, const Address& address,
                                                 Callback<void(int)> on_accept) {
  auto candidates = resolve(address, true);
  if (!candidates) return candidates.error();
  if (!address.path.empty()) {
    struct stat info {};
    // A socket file left by a process that died would make bind fail for ever.
    if (stat(address.path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode)) {
      unlink(address.path.c_str());
    }
  }
  Result<int> fd = Error{Errc::NotFound, "no address to listen on for " + address.text()};
  // For the wildcard the IPv6 socket is preferred, since it also takes IPv4.
  for (const int family : {AF_INET6, AF_INET, AF_UNIX}) {
    for (const SocketAddress& candidate : *candidates) {
      const bool is_wildcard = address.host.empty() && address.path.empty();
      if (fd || (is_wildcard && candidate.get()->sa_family != family)) continue;
      fd = bind_socket(candidate, address);
    }
  }
  if (!fd) return fd.error();
  Address bound = address;
  if (bound.path.empty()) bound.port = bound_port(*fd);
  auto listener = std::make_unique<SocketListener>(loop, *fd, bound, std::move(on_accept));
  if (Status started = listener->start(); !started) return started.error();
  return std::unique_ptr<Listener>(std::move(listener));
}

std::unique_ptr<Connector> Connector::start(Loop& loop, Worker& resolver, Address address,
                                            Duration timeout, Done done) {
  auto connector = std::make_unique<SocketConnector>(loop, std::move(address), timeout, std::move(done));
  connector->resolve_on(resolver);
  return connector;
}

uint64_t raise_descriptor_limit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  return limit.rlim_cur;
}

}  // namespace brokkr::io
