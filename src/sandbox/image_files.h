#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

// Files and folders below a folder whose content others have chosen: nothing here follows a link out
// of it. Blocking; for a worker thread.
namespace brokkr::sandbox::image {

// A descriptor that closes itself.
class OwnedFd {
 public:
  OwnedFd() = default;
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  OwnedFd(const OwnedFd&) = delete;
  OwnedFd& operator=(const OwnedFd&) = delete;
  ~OwnedFd() { reset(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset(int fd = -1) {
    if (fd_ >= 0) close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

// Opens `path` below `folder`; a link on the way or at its end that leads out fails with errno EXDEV,
// one too many with ELOOP. `resolve` adds RESOLVE_* bits. -1 and errno on failure.
int open_beneath(int folder, const std::string& path, int flags, mode_t mode = 0,
                 uint64_t resolve = 0);

// Makes a folder and those above it, mode 0700.
Status make_folders(const std::string& path);
Status write_all(int fd, std::string_view bytes);
// The whole file; fails with LimitExceeded beyond `bytes_max`.
Result<std::string> read_all(int fd, uint64_t bytes_max, const std::string& name);
// Removes a file or a folder with all that is in it, however deep, following nothing. Fine when it is
// not there.
Status remove_tree(int folder, const std::string& name);
// The names in a folder, without "." and "..".
Result<std::vector<std::string>> names_in(int folder);

}  // namespace brokkr::sandbox::image
