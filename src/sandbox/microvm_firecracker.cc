#include "sandbox/microvm_firecracker.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

#include "base/bytes.h"
#include "base/json.h"
#include "sandbox/image_files.h"
#include "sandbox/microvm_socket.h"

namespace brokkr::sandbox::microvm {
namespace {

using image::OwnedFd;
using SteadyTime = std::chrono::steady_clock::time_point;

constexpr auto kSocketPause = std::chrono::milliseconds(20);
constexpr size_t kAnswerBytesMax = 64 * 1024;
constexpr int kRefillMs = 1000;

// A connection to a socket that may not be there yet.
Result<OwnedFd> wait_for_socket(const std::string& path, SteadyTime end, const std::atomic<bool>& is_cancelled) {
  while (true) {
    auto fd = connect_unix(path);
    if (fd) {
      const timeval patience{5, 0};
      setsockopt(fd->get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
      return fd;
    }
    if (fd.error().code != Errc::Unavailable && fd.error().code != Errc::NotFound) return fd.error();
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

std::vector<std::string> jailer_arguments(const JailerOrder& order) {
  const std::string user = std::to_string(order.uid);
  std::vector<std::string> out = {order.jailer, "--id", order.id, "--exec-file", order.monitor, "--uid", user, "--gid", user,
                                  "--chroot-base-dir", order.base};
  if (!order.network.empty()) out.insert(out.end(), {"--netns", order.network});
  out.insert(out.end(), {"--", "--api-sock", "/api.sock"});
  return out;
}

Result<EmptyNetwork> make_empty_network() {
  EmptyNetwork out;
  int error = 0;
  std::thread maker([&] {
    if (unshare(CLONE_NEWNET) == 0) out.fd.reset(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (!out.fd) error = errno;
  });
  maker.join();
  if (!out.fd) return system_error("make a network namespace", error);
  out.path = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(out.fd.get());
  return out;
}

namespace {

std::string drive_request(const Machine& machine, size_t index) {
  json::Writer drive;
  drive.begin_object().field("drive_id", drive_name(index)).field("path_on_host", "/" + drive_name(index));
  drive.field("is_root_device", false).field("is_read_only", !machine.disks[index].is_writable);
  if (machine.disks[index].is_writable) drive.field("cache_type", "Writeback");  // else a guest's sync means nothing
  if (machine.io_bytes_per_second != 0) {
    drive.key("rate_limiter").begin_object().key("bandwidth").begin_object();
    drive.field("size", machine.io_bytes_per_second).field("refill_time", kRefillMs).end_object().end_object();
  }
  return drive.end_object().take();
}

}  // namespace

std::string drive_name(size_t index) { return "disk" + std::to_string(index); }

std::vector<std::pair<std::string, std::string>> firecracker_requests(const Machine& machine) {
  json::Writer boot;
  boot.begin_object().field("kernel_image_path", "/vmlinux").field("initrd_path", "/initramfs");
  boot.field("boot_args", kernel_arguments(MicroVmKind::Firecracker, machine)).end_object();
  json::Writer size;
  size.begin_object().field("vcpu_count", static_cast<int>(machine.cpus));
  size.field("mem_size_mib", machine.memory_bytes >> 20U).field("smt", false).end_object();
  json::Writer vsock;
  vsock.begin_object().field("guest_cid", static_cast<int>(kGuestCid)).field("uds_path", "/vsock.sock").end_object();
  json::Writer start;
  start.begin_object().field("action_type", "InstanceStart").end_object();
  std::vector<std::pair<std::string, std::string>> out = {{"/machine-config", size.take()}, {"/boot-source", boot.take()}};
  for (size_t i = 0; i < machine.disks.size(); ++i) out.emplace_back("/drives/" + drive_name(i), drive_request(machine, i));
  out.emplace_back("/vsock", vsock.take());
  out.emplace_back("/actions", start.take());
  return out;
}

Status configure_firecracker(const std::string& socket, const Machine& machine, Duration timeout,
                             const std::atomic<bool>& is_cancelled) {
  auto fd = wait_for_socket(socket, std::chrono::steady_clock::now() + timeout, is_cancelled);
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
    auto fd = wait_for_socket(socket, end, is_cancelled);
    if (!fd) return fd.error();
    const bool is_asked = image::write_all(fd->get(), "CONNECT " + std::to_string(port) + "\n").operator bool();
    if (is_asked && read_until(fd->get(), "\n").starts_with("OK ")) return fcntl(fd->get(), F_DUPFD_CLOEXEC, 3);
    if (std::chrono::steady_clock::now() >= end) return Error{Errc::TimedOut, "the guest does not listen"};
    std::this_thread::sleep_for(kSocketPause);
  }
}

}  // namespace brokkr::sandbox::microvm
