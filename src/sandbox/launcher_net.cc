#include "sandbox/launcher_net.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

namespace brokkr::sandbox {
namespace {

constexpr int kInnerBacklog = 128;

sockaddr_in inner_address(const std::string& host, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  inet_pton(AF_INET, host.c_str(), &address.sin_addr);
  return address;
}

Status raise_loopback(int control) {
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (ioctl(control, SIOCSIFFLAGS, &request) != 0) return system_error("loopback up", errno);
  return {};
}

// One more address on the interface, under a label; alone, not with the network around it.
Status add_loopback_address(int control, const std::string& host, size_t index) {
  ifreq request{};
  std::snprintf(request.ifr_name, sizeof request.ifr_name, "lo:%zu", index);
  const sockaddr_in address = inner_address(host, 0);
  const sockaddr_in mask = inner_address("255.255.255.255", 0);
  std::memcpy(&request.ifr_addr, &address, sizeof address);
  if (ioctl(control, SIOCSIFADDR, &request) != 0) return system_error(host.c_str(), errno);
  std::memcpy(&request.ifr_addr, &mask, sizeof mask);
  if (ioctl(control, SIOCSIFNETMASK, &request) != 0) return system_error(host.c_str(), errno);
  return {};
}

Result<int> listen_inside(const InnerListener& listener) {
  const std::string name = "listen on " + listener.address + ":" + std::to_string(listener.port);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return system_error(name.c_str(), errno);
  const sockaddr_in address = inner_address(listener.address, listener.port);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(fd, kInnerBacklog) != 0) {
    const int error = errno;
    close(fd);
    return system_error(name.c_str(), error);
  }
  return fd;
}

Status set_addresses(const std::vector<InnerListener>& listeners) {
  const int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (control < 0) return system_error("socket", errno);
  Status status = raise_loopback(control);
  std::vector<std::string> known;
  for (const InnerListener& listener : listeners) {
    if (!status) break;
    const bool is_there = listener.address.starts_with("127.") ||
                          std::find(known.begin(), known.end(), listener.address) != known.end();
    if (is_there) continue;
    status = add_loopback_address(control, listener.address, known.size());
    known.push_back(listener.address);
  }
  close(control);
  return status;
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

Result<std::vector<int>> open_inner_network(const std::vector<InnerListener>& listeners) {
  if (Status s = set_addresses(listeners); !s) return s.error();
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
  const sockaddr_in address = inner_address("127.0.0.1", port);
  const int result = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  if (result != 0 && errno != EINPROGRESS) {
    const int error = errno;
    close(fd);
    return system_error("connect", error);
  }
  return fd;
}

}  // namespace brokkr::sandbox
