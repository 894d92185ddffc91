#include "sandbox/launcher_net.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace brokkr::sandbox {
namespace {

constexpr int kInnerBacklog = 128;

// An address of either family with its port.
struct InnerAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  int family = AF_UNSPEC;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  std::string_view bytes() const {
    if (family == AF_INET) return {reinterpret_cast<const char*>(&in4().sin_addr), sizeof(in_addr)};
    return {reinterpret_cast<const char*>(&in6().sin6_addr), sizeof(in6_addr)};
  }
  const sockaddr_in& in4() const { return reinterpret_cast<const sockaddr_in&>(storage); }
  const sockaddr_in6& in6() const { return reinterpret_cast<const sockaddr_in6&>(storage); }
};

InnerAddress inner_address(const std::string& host, uint16_t port) {
  InnerAddress address;
  auto& in4 = reinterpret_cast<sockaddr_in&>(address.storage);
  if (inet_pton(AF_INET, host.c_str(), &in4.sin_addr) == 1) {
    in4.sin_family = AF_INET;
    in4.sin_port = htons(port);
    address.size = sizeof in4;
  } else {
    auto& in6 = reinterpret_cast<sockaddr_in6&>(address.storage);
    inet_pton(AF_INET6, host.c_str(), &in6.sin6_addr);
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(port);
    address.size = sizeof in6;
  }
  address.family = address.storage.ss_family;
  return address;
}

Status raise_loopback(int control) {
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (ioctl(control, SIOCSIFFLAGS, &request) != 0) return system_error("loopback up", errno);
  return {};
}

// One request to the kernel's routing tables and its answer.
class RouteRequest {
 public:
  template <typename Body>
  RouteRequest(uint16_t type, const Body& body) {
    static_assert(sizeof body <= 64);
    message_.header.nlmsg_len = NLMSG_LENGTH(sizeof body);
    message_.header.nlmsg_type = type;
    message_.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK;
    std::memcpy(message_.rest, &body, sizeof body);
  }
  void add(uint16_t type, const void* data, size_t size) {
    char* const at = reinterpret_cast<char*>(&message_) + NLMSG_ALIGN(message_.header.nlmsg_len);
    rtattr attribute{};
    attribute.rta_type = type;
    attribute.rta_len = static_cast<uint16_t>(RTA_LENGTH(size));
    std::memcpy(at, &attribute, sizeof attribute);
    std::memcpy(at + RTA_LENGTH(0), data, size);
    message_.header.nlmsg_len =
        static_cast<uint32_t>(NLMSG_ALIGN(message_.header.nlmsg_len) + RTA_ALIGN(attribute.rta_len));
  }
  Status send_to(int netlink, const char* what) {
    struct {
      nlmsghdr header;
      nlmsgerr error;
      char rest[256];
    } answer{};
    constexpr ssize_t kAnswerBytes = NLMSG_LENGTH(sizeof answer.error);
    if (send(netlink, &message_, message_.header.nlmsg_len, 0) < 0 ||
        recv(netlink, &answer, sizeof answer, 0) < kAnswerBytes) {
      return system_error(what, errno);
    }
    const int error = -answer.error.error;
    if (error != 0 && error != EEXIST) return system_error(what, error);
    return {};
  }

 private:
  struct {
    nlmsghdr header;
    char rest[128];  // what it is about, then attributes
  } message_{};
};

// Has all addresses of a network lead to the loopback interface, each as one of its own.
Status add_local_route(int netlink, const InnerAddress& network, int bits) {
  rtmsg body{};
  body.rtm_family = static_cast<unsigned char>(network.family);
  body.rtm_dst_len = static_cast<unsigned char>(bits);
  body.rtm_table = RT_TABLE_LOCAL;
  body.rtm_protocol = RTPROT_BOOT;
  body.rtm_type = RTN_LOCAL;
  body.rtm_scope = network.family == AF_INET ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
  RouteRequest request(RTM_NEWROUTE, body);
  if (bits > 0) request.add(RTA_DST, network.bytes().data(), network.bytes().size());
  const unsigned loopback = if_nametoindex("lo");
  request.add(RTA_OIF, &loopback, sizeof loopback);
  return request.send_to(netlink, "add a route");
}

Status add_loopback_address(int netlink, const InnerAddress& address) {
  ifaddrmsg body{};
  body.ifa_family = static_cast<unsigned char>(address.family);
  body.ifa_prefixlen = static_cast<unsigned char>(address.bytes().size() * 8);
  body.ifa_flags = IFA_F_NODAD;  // nobody else is there: it is good at once
  body.ifa_scope = RT_SCOPE_UNIVERSE;
  body.ifa_index = if_nametoindex("lo");
  RouteRequest request(RTM_NEWADDR, body);
  request.add(IFA_LOCAL, address.bytes().data(), address.bytes().size());
  request.add(IFA_ADDRESS, address.bytes().data(), address.bytes().size());
  return request.send_to(netlink, "add an address");
}

// The bits beyond the prefix are of no interest to the kernel, save that they must be zero.
InnerAddress network_address(const std::string& host, int bits) {
  InnerAddress address = inner_address(host, 0);
  char* bytes = const_cast<char*>(address.bytes().data());
  for (size_t i = 0; i < address.bytes().size(); ++i, bits -= 8) {
    const int mask = bits >= 8 ? 0xff : bits <= 0 ? 0 : 0xff << (8 - bits);
    bytes[i] = static_cast<char>(bytes[i] & mask);
  }
  return address;
}

Result<int> listen_inside(const InnerListener& listener) {
  const std::string name = "listen on " + listener.address + ":" + std::to_string(listener.port);
  const InnerAddress address = inner_address(listener.address, listener.port);
  const int type = listener.is_datagram ? SOCK_DGRAM : SOCK_STREAM;
  const int fd = socket(address.family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return system_error(name.c_str(), errno);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // One for any address beside those for one each, which come first.
  setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  if (address.family == AF_INET6) {
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    // An interface that has just come up takes its addresses a little later.
    setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof on);
  }
  if (bind(fd, address.get(), address.size) != 0 ||
      (!listener.is_datagram && listen(fd, kInnerBacklog) != 0)) {
    const int error = errno;
    close(fd);
    return system_error(name.c_str(), error);
  }
  return fd;
}

Status route_all(int netlink, const std::vector<InnerListener>& listeners,
                 const std::vector<std::string>& networks) {
  for (const InnerListener& listener : listeners) {
    const InnerAddress address = inner_address(listener.address, 0);
    const bool is_there = listener.address.starts_with("127.") || listener.address == "::1" ||
                          address.bytes().find_first_not_of('\0') == std::string_view::npos;
    if (is_there) continue;
    Status added = add_loopback_address(netlink, address);
    // The kernel adds this route of an IPv6 address too, but some time later.
    if (added && address.family == AF_INET6) added = add_local_route(netlink, address, 128);
    if (!added) return Error{added.error().code, listener.address + ": " + added.error().text};
  }
  for (const std::string& network : networks) {
    const size_t slash = network.find('/');
    if (slash == std::string::npos) return Error{Errc::InvalidArgument, network + " is no network"};
    const int bits = std::atoi(network.c_str() + slash + 1);
    const Status added = add_local_route(netlink, network_address(network.substr(0, slash), bits), bits);
    if (!added) return Error{added.error().code, network + ": " + added.error().text};
  }
  return {};
}

Status set_addresses(const std::vector<InnerListener>& listeners,
                     const std::vector<std::string>& networks) {
  const int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (control < 0) return system_error("socket", errno);
  const Status raised = raise_loopback(control);
  close(control);
  if (!raised) return raised;
  const int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (netlink < 0) return system_error("routing socket", errno);
  const Status routed = route_all(netlink, listeners, networks);
  close(netlink);
  return routed;
}

// All ports of this network are the program's: what it listens on here is nobody else's. Only where the
// kernel lets us; without it a program without rights starts at port 1024.
void free_low_ports() {
  const int fd = open("/proc/sys/net/ipv4/ip_unprivileged_port_start", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  (void)!write(fd, "0", 1);
  close(fd);
}

}  // namespace

Result<std::vector<int>> open_inner_network(const std::vector<InnerListener>& listeners,
                                            const std::vector<std::string>& networks) {
  if (Status s = set_addresses(listeners, networks); !s) return s.error();
  free_low_ports();
  std::vector<int> sockets;
  for (const InnerListener& listener : listeners) {
    Result<int> fd = listen_inside(listener);
    if (!fd) {
      for (const int open_one : sockets) close(open_one);
      return fd.error();
    }
    sockets.push_back(*fd);
  }
  return sockets;
}

Result<int> connect_inside(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return system_error("socket", errno);
  const InnerAddress address = inner_address("127.0.0.1", port);
  const int result = connect(fd, address.get(), address.size);
  if (result != 0 && errno != EINPROGRESS) {
    const int error = errno;
    close(fd);
    return system_error("connect", error);
  }
  return fd;
}

}  // namespace brokkr::sandbox
