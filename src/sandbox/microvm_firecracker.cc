#include "sandbox/microvm_firecracker.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/bytes.h"
#include "base/json.h"
#include "sandbox/image_files.h"

namespace brokkr::sandbox::microvm {
namespace {

using image::OwnedFd;
using SteadyTime = std::chrono::steady_clock::time_point;

constexpr auto kSocketPause = std::chrono::milliseconds(20);
constexpr size_t kAnswerBytesMax = 64 * 1024;

// A connection to a socket that may not be there yet.
Result<OwnedFd> connect_unix(const std::string& path, SteadyTime end, const std::atomic<bool>& is_cancelled) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return Error{Errc::InvalidArgument, path + " is too long a name"};
  std::memcpy(address.sun_path, path.c_str(), path.size());
  while (true) {
    OwnedFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) return system_error("socket", errno);
    if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
      const timeval patience{5, 0};
      setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
      return fd;
    }
    if (is_cancelled) return Error{Errc::Closed, "cancelled"};
    if (std::chrono::steady_clock::now() >= end) return Error{Errc::TimedOut, path + " does not answer"};
    std::this_thread::sleep_for(kSocketPause);
  }
}

// Up to `mark`, one byte at a time: what follows belongs to others.
std::string read_until(int fd, std::string_view mark) {
  std::string text;
  char byte = 0;
  while (!text.ends_with(mark) && text.size() < kAnswerBytesMax && read(fd, &byte, 1) == 1) text += byte;
  return text;
}

Status put_request(int fd, const std::string& path, const std::string& body) {
  const std::string request = "PUT " + path + " HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n" +
                              "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
                              "\r\n\r\n" + body;
  if (Status sent = image::write_all(fd, request); !sent) return sent;
  const std::string head = read_until(fd, "\r\n\r\n");
  if (head.starts_with("HTTP/1.1 20")) return {};
  std::string said;
  const std::string lower = to_lower(head);
  if (const size_t at = lower.find("content-length:"); at != std::string::npos) {
    const auto size = parse_uint(trim(std::string_view(lower).substr(at + 15, lower.find('\r', at) - at - 15)));
    said.resize(std::min<uint64_t>(size.value_or(0), kAnswerBytesMax));
    const ssize_t n = recv(fd, said.data(), said.size(), MSG_WAITALL);
    said.resize(n > 0 ? static_cast<size_t>(n) : 0);
  }
  return Error{Errc::Unavailable, "firecracker: " + path + ": " + (head.empty() ? "no answer" : head.substr(0, head.find('\r'))) + " " + said};
}

}  // namespace

Jail make_jail(const std::string& base, const std::string& monitor, const std::string& id) {
  return {base + "/" + monitor.substr(monitor.rfind('/') + 1) + "/" + id + "/root"};
}

std::vector<std::string> jailer_arguments(const std::string& jailer, const std::string& monitor,
                                          const std::string& base, const std::string& id, unsigned uid) {
  return {jailer, "--id", id, "--exec-file", monitor, "--uid", std::to_string(uid), "--gid", std::to_string(uid),
          "--chroot-base-dir", base, "--", "--api-sock", "/api.sock"};
}

std::vector<std::pair<std::string, std::string>> firecracker_requests(const Machine& machine) {
  json::Writer boot;
  boot.begin_object().field("kernel_image_path", "/vmlinux").field("initrd_path", "/initramfs");
  boot.field("boot_args", kernel_arguments(MicroVmKind::Firecracker)).end_object();
  json::Writer size;
  size.begin_object().field("vcpu_count", static_cast<int>(machine.cpus));
  size.field("mem_size_mib", machine.memory_bytes >> 20U).field("smt", false).end_object();
  json::Writer vsock;
  vsock.begin_object().field("guest_cid", static_cast<int>(kGuestCid)).field("uds_path", "/vsock.sock").end_object();
  json::Writer start;
  start.begin_object().field("action_type", "InstanceStart").end_object();
  return {{"/machine-config", size.take()}, {"/boot-source", boot.take()}, {"/vsock", vsock.take()}, {"/actions", start.take()}};
}

Status configure_firecracker(const std::string& socket, const Machine& machine, Duration timeout,
                             const std::atomic<bool>& is_cancelled) {
  auto fd = connect_unix(socket, std::chrono::steady_clock::now() + timeout, is_cancelled);
  if (!fd) return fd.error();
  for (const auto& [path, body] : firecracker_requests(machine)) {
    if (Status done = put_request(fd->get(), path, body); !done) return done;
  }
  return {};
}

Result<int> connect_vsock(const std::string& socket, uint32_t port, Duration timeout,
                          const std::atomic<bool>& is_cancelled) {
  const SteadyTime end = std::chrono::steady_clock::now() + timeout;
  while (true) {
    auto fd = connect_unix(socket, end, is_cancelled);
    if (!fd) return fd.error();
    const bool is_asked = image::write_all(fd->get(), "CONNECT " + std::to_string(port) + "\n").operator bool();
    if (is_asked && read_until(fd->get(), "\n").starts_with("OK ")) return fcntl(fd->get(), F_DUPFD_CLOEXEC, 3);
    if (std::chrono::steady_clock::now() >= end) return Error{Errc::TimedOut, "the guest does not listen"};
    std::this_thread::sleep_for(kSocketPause);
  }
}

}  // namespace brokkr::sandbox::microvm
