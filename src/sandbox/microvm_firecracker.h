#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "sandbox/image_files.h"
#include "sandbox/microvm_qemu.h"

// Firecracker: how its jailer is started, what its API is told and how its guest is reached. The calls
// block; for a worker thread.
namespace brokkr::sandbox::microvm {

constexpr uint32_t kGuestVsockPort = 1024;
constexpr uint32_t kGuestCid = 3;

// Where a machine's files are. The jailer makes <base>/<monitor's file name>/<id>/root the monitor's root.
struct Jail {
  std::string root;  // on the host
  std::string api() const { return root + "/api.sock"; }
  std::string vsock() const { return root + "/vsock.sock"; }
  std::string kernel() const { return root + "/vmlinux"; }
  std::string initramfs() const { return root + "/initramfs"; }
  std::string disk(size_t index) const { return root + "/disk" + std::to_string(index); }
};
Jail make_jail(const std::string& base, const std::string& monitor, const std::string& id);
struct JailerOrder {
  std::string jailer;
  std::string monitor;
  std::string base;
  std::string id;       // letters, digits and hyphens, at most 64
  unsigned uid = 0;     // and group: this machine's alone, so that no monitor may touch another's
  std::string network;  // path of a namespace; empty: the node's own
};
std::vector<std::string> jailer_arguments(const JailerOrder&);

// A network namespace with nothing in it, for as long as `fd` is open.
struct EmptyNetwork {
  image::OwnedFd fd;
  std::string path;  // by which other processes of this machine open it
};
Result<EmptyNetwork> make_empty_network();

// A disk's name in the API, and of its file in the jail.
std::string drive_name(size_t index);
// PUT requests in their order: path and JSON body. Pure.
std::vector<std::pair<std::string, std::string>> firecracker_requests(const Machine& machine);
// Sends them to the API's socket, which may come into being meanwhile. Fails with TimedOut, or Unavailable with the
// monitor's words.
// `is_cancelled` ends the waiting.
Status configure_firecracker(const std::string& socket, const Machine& machine, Duration timeout,
                             const std::atomic<bool>& is_cancelled);
// The link to the guest's init, through the monitor's vsock socket, once the guest listens.
Result<int> connect_vsock(const std::string& socket, uint32_t port, Duration timeout,
                          const std::atomic<bool>& is_cancelled);

}  // namespace brokkr::sandbox::microvm
