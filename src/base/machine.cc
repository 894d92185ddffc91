#include "base/machine.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>

namespace brokkr {
namespace {

// The number in the file; UINT64_MAX when there is none, or no limit.
uint64_t read_limit(const std::string& path) {
  std::ifstream in(path);
  uint64_t limit = 0;
  return in >> limit && limit > 0 ? limit : UINT64_MAX;
}

// Of the group and, when the file system shows it only as its root (in a container), of that.
uint64_t group_limit(const std::string& root, const std::string& group, const std::string& file) {
  return std::min(read_limit(root + group + "/" + file), read_limit(root + "/" + file));
}

}  // namespace

uint64_t usable_memory() {
  uint64_t bytes = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                   static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    // "4:memory:/path" in version 1, "0::/path" in version 2.
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string names = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (names.empty()) bytes = std::min(bytes, group_limit("/sys/fs/cgroup", group, "memory.max"));
    if (("," + names + ",").find(",memory,") != std::string::npos) {
      bytes = std::min(bytes, group_limit("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes"));
    }
  }
  return bytes;
}

}  // namespace brokkr
