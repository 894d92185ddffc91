#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/bytes.h"
#include "store/files.h"

namespace brokkr::store {
namespace {

constexpr size_t kZeroChunk = 1 << 20;

Error file_error(const char* what, const std::string& path, int number) {
  Error error = system_error((std::string(what) + " " + path).c_str(), number);
  if (number == ENOSPC || number == EDQUOT) error.code = Errc::OutOfSpace;
  if (number == ENOENT) error.code = Errc::NotFound;
  if (number == EEXIST) error.code = Errc::AlreadyExists;
  return error;
}

class PosixFile final : public File {
 public:
  PosixFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~PosixFile() override { ::close(fd_); }
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  Result<size_t> read_at(uint64_t offset, std::span<char> into) const override {
    size_t done = 0;
    while (done < into.size()) {
      const ssize_t n = ::pread(fd_, into.data() + done, into.size() - done,
                                static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return file_error("read", path_, errno);
      if (n == 0) break;
      done += static_cast<size_t>(n);
    }
    return done;
  }

  Status write_at(uint64_t offset, std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return file_error("write", path_, errno);
      // A kernel that takes nothing and says nothing would be asked for ever.
      if (n == 0) return file_error("write", path_, EIO);
      offset += static_cast<uint64_t>(n);
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return {};
  }

  Status sync() override {
    while (::fdatasync(fd_) != 0) {
      if (errno != EINTR) return file_error("sync", path_, errno);
    }
    return {};
  }

  Status fill_zero(uint64_t bytes) override {
    const Result<uint64_t> now = size();
    if (!now) return now.error();
    uint64_t at = *now;
    const std::string zeroes(static_cast<size_t>(std::min<uint64_t>(kZeroChunk, bytes > at ? bytes - at : 0)),
                             '\0');
    while (at < bytes) {
      const auto n = static_cast<size_t>(std::min<uint64_t>(zeroes.size(), bytes - at));
      if (Status written = write_at(at, std::string_view(zeroes).substr(0, n)); !written) return written;
      at += n;
    }
    return {};
  }

  void prefetch(uint64_t offset, uint64_t bytes) const override {
    static_cast<void>(::posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(bytes),
                                      POSIX_FADV_WILLNEED));
  }

  Result<uint64_t> size() const override {
    struct stat info {};
    if (::fstat(fd_, &info) != 0) return file_error("stat", path_, errno);
    return static_cast<uint64_t>(info.st_size);
  }

 private:
  const int fd_;
  const std::string path_;
};

class PosixFiles final : public Files {
 public:
  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override {
    int flags = O_CLOEXEC | (mode == OpenMode::Read ? O_RDONLY : O_RDWR);
    if (mode == OpenMode::Create) flags |= O_CREAT | O_EXCL;
    const int fd = ::open(path.c_str(), flags, 0600);
    if (fd < 0) return file_error("open", path, errno);
    return std::unique_ptr<File>(std::make_unique<PosixFile>(fd, path));
  }

  Status rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return file_error("rename", from, errno);
    return {};
  }

  Status remove(const std::string& path) override {
    if (::remove(path.c_str()) != 0) return file_error("remove", path, errno);
    return {};
  }

  Status make_directory(const std::string& path) override {
    for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
      const std::string part = path.substr(0, end);
      if (::mkdir(part.c_str(), 0700) == 0) {
        const size_t slash = part.rfind('/');
        const std::string parent = slash == std::string::npos ? "." : part.substr(0, std::max<size_t>(slash, 1));
        if (Status synced = sync_directory(parent); !synced) return synced;
      } else if (errno != EEXIST) {
        return file_error("mkdir", part, errno);
      }
      if (end == std::string::npos) break;
    }
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return file_error("stat", path, errno);
    if (!S_ISDIR(info.st_mode)) return file_error("mkdir", path, ENOTDIR);
    return {};
  }

  Status sync_directory(const std::string& path) override {
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return file_error("open", path, errno);
    const int result = ::fsync(fd);
    const int number = errno;
    ::close(fd);
    if (result != 0) return file_error("sync", path, number);
    return {};
  }

  Result<std::vector<DirectoryEntry>> list(const std::string& path) override {
    DIR* const folder = ::opendir(path.c_str());
    if (folder == nullptr) return file_error("list", path, errno);
    std::vector<DirectoryEntry> entries;
    for (errno = 0; const dirent* entry = ::readdir(folder); errno = 0) {
      const std::string_view name = entry->d_name;
      struct stat info {};
      if (name == "." || name == ".." ||
          ::fstatat(::dirfd(folder), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        continue;
      }
      entries.push_back({std::string(name), S_ISDIR(info.st_mode), static_cast<uint64_t>(info.st_size)});
    }
    const int number = errno;
    ::closedir(folder);
    if (number != 0) return file_error("list", path, number);
    std::sort(entries.begin(), entries.end(),
              [](const DirectoryEntry& a, const DirectoryEntry& b) { return a.name < b.name; });
    return entries;
  }

  bool exists(const std::string& path) override {
    struct stat info {};
    return ::lstat(path.c_str(), &info) == 0;
  }

  Result<uint64_t> free_bytes(const std::string& path) override {
    struct statvfs info {};
    if (::statvfs(path.c_str(), &info) != 0) return file_error("statvfs", path, errno);
    return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  }

  Result<std::unique_ptr<File>> lock(const std::string& path) override {
    const std::string name = path + "/lock";
    const int fd = ::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return file_error("open", name, errno);
    auto file = std::make_unique<PosixFile>(fd, name);
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return file_error("lock", name, errno);
      return Error{Errc::AlreadyExists, path + " is in use by " + holder(*file)};
    }
    // Only for whoever finds it locked: no failure in here matters.
    const std::string pid = std::to_string(::getpid()) + "\n";
    if (::ftruncate(fd, 0) == 0) static_cast<void>(file->write_at(0, pid));
    return std::unique_ptr<File>(std::move(file));
  }

 private:
  static std::string holder(const PosixFile& file) {
    char text[32];
    const Result<size_t> read = file.read_at(0, text);
    const std::string_view pid = trim({text, read ? *read : 0});
    return pid.empty() ? "another process" : "process " + std::string(pid);
  }
};

}  // namespace

Files& posix_files() {
  static PosixFiles files;
  return files;
}

}  // namespace brokkr::store
