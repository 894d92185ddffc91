#include "sandbox/microvm_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

namespace brokkr::sandbox::microvm {
namespace {

using image::OwnedFd;

// Stands for the folder of a path that is too long. Kept open as long as the address is used.
struct UnixAddress {
  OwnedFd folder;
  sockaddr_un address{};
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

Result<UnixAddress> address_of(const std::string& path) {
  UnixAddress out;
  out.address.sun_family = AF_UNIX;
  std::string name = path;
  if (name.size() >= sizeof out.address.sun_path) {
    const size_t slash = path.rfind('/');
    out.folder.reset(open(path.substr(0, slash).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!out.folder) return system_error(path.c_str(), errno);
    name = "/proc/self/fd/" + std::to_string(out.folder.get()) + path.substr(slash);
  }
  if (name.size() >= sizeof out.address.sun_path) return Error{Errc::InvalidArgument, path + " is too long a name"};
  std::memcpy(out.address.sun_path, name.c_str(), name.size());
  return out;
}

}  // namespace

Result<int> listen_unix(const std::string& path) {
  auto address = address_of(path);
  if (!address) return address.error();
  OwnedFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return system_error("socket", errno);
  if (bind(fd.get(), address->get(), sizeof(sockaddr_un)) != 0 || listen(fd.get(), 1) != 0) {
    return system_error(path.c_str(), errno);
  }
  return fcntl(fd.get(), F_DUPFD_CLOEXEC, 3);
}

Result<OwnedFd> connect_unix(const std::string& path) {
  auto address = address_of(path);
  if (!address) return address.error();
  OwnedFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return system_error("socket", errno);
  if (connect(fd.get(), address->get(), sizeof(sockaddr_un)) != 0) return Error{Errc::Unavailable, path + ": " + std::strerror(errno)};
  return fd;
}

}  // namespace brokkr::sandbox::microvm
