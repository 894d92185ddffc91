#include "sandbox/image_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cerrno>
#include <memory>

namespace brokkr::sandbox::image {
namespace {

// Deeper folders are moved up before they are emptied, so that a tree of any depth needs few
// descriptors and little stack.
constexpr int kRemoveDepthMax = 64;

struct DirCloser {
  void operator()(DIR* dir) const { closedir(dir); }
};
using Dir = std::unique_ptr<DIR, DirCloser>;

// Where deep folders go while a tree is removed.
struct Trash {
  int folder;
  uint64_t moved = 0;
  std::vector<std::string> names;
};

Dir open_dir(int folder, const std::string& name) {
  const int fd = openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return nullptr;
  Dir dir(fdopendir(fd));
  if (dir == nullptr) close(fd);
  return dir;
}

bool is_dot(const char* name) {
  return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0));
}

Status remove_below(int folder, const std::string& name, int depth, Trash& trash);

// Empties `dir`, then the caller removes it.
Status empty_folder(DIR* dir, int depth, Trash& trash) {
  // A name is never read twice after its removal, so one pass is enough unless the kernel skips some.
  for (int pass = 0; pass < 1000; ++pass) {
    bool is_empty = true;
    rewinddir(dir);
    while (const dirent* entry = readdir(dir)) {
      if (is_dot(entry->d_name)) continue;
      is_empty = false;
      if (Status gone = remove_below(dirfd(dir), entry->d_name, depth + 1, trash); !gone) return gone;
    }
    if (is_empty) return {};
  }
  return Error{Errc::System, "a folder fills while it is removed"};
}

Status remove_below(int folder, const std::string& name, int depth, Trash& trash) {
  if (unlinkat(folder, name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return system_error(name.c_str(), errno);
  if (depth > kRemoveDepthMax) {
    const std::string moved = ".removed-" + std::to_string(getpid()) + "-" +
                              std::to_string(trash.moved++);
    if (renameat(folder, name.c_str(), trash.folder, moved.c_str()) != 0) {
      return system_error(name.c_str(), errno);
    }
    trash.names.push_back(moved);
    return {};
  }
  Dir dir = open_dir(folder, name);
  if (dir == nullptr && errno == EACCES) {
    fchmodat(folder, name.c_str(), 0700, 0);
    dir = open_dir(folder, name);
  }
  if (dir == nullptr) return system_error(name.c_str(), errno);
  fchmod(dirfd(dir.get()), 0700);  // of a user who is not root
  if (Status emptied = empty_folder(dir.get(), depth, trash); !emptied) return emptied;
  if (unlinkat(folder, name.c_str(), AT_REMOVEDIR) != 0) return system_error(name.c_str(), errno);
  return {};
}

}  // namespace

int open_beneath(int folder, const std::string& path, int flags, mode_t mode, uint64_t resolve) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | resolve;
  // EAGAIN: something was renamed meanwhile.
  for (int attempt = 0; attempt < 16; ++attempt) {
    const long fd = syscall(SYS_openat2, folder, path.empty() ? "." : path.c_str(), &how, sizeof how);
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) return static_cast<int>(fd);
  }
  return -1;
}

Status make_folders(const std::string& path) {
  for (size_t at = 1; at != std::string::npos; ++at) {
    at = path.find('/', at);
    const std::string part = path.substr(0, at);
    if (mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) return system_error(part.c_str(), errno);
    if (at == std::string::npos) break;
  }
  return {};
}

Status write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      if (errno == ENOSPC || errno == EDQUOT) return Error{Errc::OutOfSpace, "no space for images"};
      return system_error("write", errno);
    }
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Result<std::string> read_all(int fd, uint64_t bytes_max, const std::string& name) {
  std::string bytes;
  char part[64 * 1024];
  while (true) {
    const ssize_t n = read(fd, part, sizeof part);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error(name.c_str(), errno);
    if (n == 0) return bytes;
    bytes.append(part, static_cast<size_t>(n));
    if (bytes.size() > bytes_max) {
      return Error{Errc::LimitExceeded, name + " is larger than " + std::to_string(bytes_max) + " bytes"};
    }
  }
}

Status remove_tree(int folder, const std::string& name) {
  Trash trash{folder, 0, {}};
  if (Status gone = remove_below(folder, name, 0, trash); !gone) return gone;
  while (!trash.names.empty()) {
    const std::string next = std::move(trash.names.back());
    trash.names.pop_back();
    if (Status gone = remove_below(folder, next, 0, trash); !gone) return gone;
  }
  return {};
}

Result<std::vector<std::string>> names_in(int folder) {
  const Dir dir = open_dir(folder, ".");
  if (dir == nullptr) return system_error("read a folder", errno);
  std::vector<std::string> names;
  while (const dirent* entry = readdir(dir.get())) {
    if (!is_dot(entry->d_name)) names.emplace_back(entry->d_name);
  }
  return names;
}

}  // namespace brokkr::sandbox::image
