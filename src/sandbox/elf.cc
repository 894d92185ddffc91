#include "sandbox/elf.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

namespace brokkr::sandbox {
namespace {

constexpr size_t kProgramHeadersMax = 512;

bool read_at(int fd, void* bytes, size_t size, uint64_t offset) {
  return pread(fd, bytes, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

Result<bool> examine(int fd, const std::string& path) {
  struct stat info {};
  if (fstat(fd, &info) != 0) return system_error(path.c_str(), errno);
  if (!S_ISREG(info.st_mode)) return Error{Errc::InvalidArgument, path + " is not a file"};
  // The program runs as nobody.
  if ((info.st_mode & S_IXOTH) == 0) {
    return Error{Errc::InvalidArgument, path + " is not executable by everyone"};
  }
  Elf64_Ehdr header{};
  char start[2] = {};
  if (read_at(fd, start, 2, 0) && start[0] == '#' && start[1] == '!') return true;
  if (!read_at(fd, &header, sizeof header, 0) ||
      std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64) {
    return Error{Errc::InvalidArgument, path + " is not a program of this machine"};
  }
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum > kProgramHeadersMax) {
    return Error{Errc::InvalidArgument, path + " is not a program: its headers are odd"};
  }
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment{};
    if (!read_at(fd, &segment, sizeof segment, header.e_phoff + i * sizeof segment)) break;
    if (segment.p_type == PT_INTERP) return true;
  }
  return false;
}

}  // namespace

Result<bool> needs_interpreter(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0 && errno == ENOENT) return Error{Errc::NotFound, "no program " + path};
  if (fd < 0) return system_error(path.c_str(), errno);
  Result<bool> answer = examine(fd, path);
  close(fd);
  return answer;
}

}  // namespace brokkr::sandbox
