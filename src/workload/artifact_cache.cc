#include "workload/artifact_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <vector>

#include "base/sha256.h"
#include "workload/folders.h"

namespace brokkr::workload {
namespace {

constexpr size_t kDigestLength = 64;
// Programs are run from here.
constexpr mode_t kArtifactMode = 0700;

bool is_digest(std::string_view text) {
  return text.size() == kDigestLength && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

Status write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error("write", errno);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

}  // namespace

Status make_folders(const std::string& folder) {
  for (size_t at = 1; at != std::string::npos; ++at) {
    at = folder.find('/', at);
    const std::string part = folder.substr(0, at);
    if (mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
      return system_error(part.c_str(), errno);
    }
    if (at == std::string::npos) break;
  }
  return {};
}

Result<std::unique_ptr<ArtifactCache>> ArtifactCache::open(const std::string& folder,
                                                           uint64_t bytes_max) {
  if (Status made = make_folders(folder); !made) return made.error();
  return std::unique_ptr<ArtifactCache>(new ArtifactCache(folder, bytes_max));
}

std::string ArtifactCache::path_of(std::string_view sha256) const {
  return folder_ + "/" + std::string(sha256);
}

bool ArtifactCache::has(std::string_view sha256) const {
  return is_digest(sha256) && access(path_of(sha256).c_str(), R_OK) == 0;
}

Result<std::string> ArtifactCache::put(std::string_view bytes) {
  if (bytes.size() > bytes_max_) {
    return Error{Errc::LimitExceeded, "artifact of " + std::to_string(bytes.size()) +
                                          " bytes exceeds the cache of " +
                                          std::to_string(bytes_max_)};
  }
  const std::string digest = sha256_hex(bytes);
  const std::string path = path_of(digest);
  if (utimensat(AT_FDCWD, path.c_str(), nullptr, 0) == 0) return digest;
  make_room(bytes.size());
  const std::string temporary = path + ".part";
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kArtifactMode);
  if (fd < 0) return system_error(temporary.c_str(), errno);
  Status written = write_all(fd, bytes);
  close(fd);
  if (written && rename(temporary.c_str(), path.c_str()) != 0) {
    written = system_error(path.c_str(), errno);
  }
  if (!written) {
    unlink(temporary.c_str());
    return written.error();
  }
  return digest;
}

Result<std::string> ArtifactCache::get(std::string_view sha256) const {
  if (!is_digest(sha256)) return Error{Errc::NotFound, "not a digest: " + std::string(sha256)};
  const std::string path = path_of(sha256);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Error{Errc::NotFound, "artifact " + std::string(sha256) + " is not here"};
  std::string bytes;
  char piece[64 << 10];
  for (ssize_t n; (n = read(fd, piece, sizeof piece)) > 0;) {
    bytes.append(piece, static_cast<size_t>(n));
  }
  close(fd);
  if (sha256_hex(bytes) != sha256) {
    unlink(path.c_str());
    return Error{Errc::Corrupt, path + ": its bytes do not match its name, removed"};
  }
  utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
  return bytes;
}

void ArtifactCache::make_room(uint64_t bytes) {
  struct File {
    std::string name;
    uint64_t bytes;
    timespec used;
  };
  std::vector<File> files;
  uint64_t total = bytes;
  DIR* folder = opendir(folder_.c_str());
  if (folder == nullptr) return;
  while (const dirent* entry = readdir(folder)) {
    struct stat info {};
    const std::string path = folder_ + "/" + entry->d_name;
    if (stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    files.push_back({path, static_cast<uint64_t>(info.st_size), info.st_mtim});
    total += static_cast<uint64_t>(info.st_size);
  }
  closedir(folder);
  std::sort(files.begin(), files.end(), [](const File& a, const File& b) {
    return a.used.tv_sec != b.used.tv_sec ? a.used.tv_sec < b.used.tv_sec
                                          : a.used.tv_nsec < b.used.tv_nsec;
  });
  for (const File& file : files) {
    if (total <= bytes_max_) return;
    unlink(file.name.c_str());
    total -= file.bytes;
  }
}

}  // namespace brokkr::workload
