#include "sandbox/landlock.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace brokkr::sandbox {
namespace {

// Newer than the headers of Debian 12; the layout is the kernel's.
struct RulesetAttributes {
  uint64_t handled_access_fs = 0;
  uint64_t handled_access_net = 0;  // ABI 4
  uint64_t scoped = 0;              // ABI 6
};
struct NetPortRule {
  uint64_t allowed_access;
  uint64_t port;
};

constexpr uint64_t kTruncateFile = 1ULL << 14;  // ABI 3
constexpr uint64_t kIoctlDevice = 1ULL << 15;   // ABI 5
constexpr uint64_t kBindTcp = 1ULL << 0;
constexpr uint64_t kConnectTcp = 1ULL << 1;
constexpr uint64_t kScopeAbstractUnix = 1ULL << 0;
constexpr uint64_t kScopeSignal = 1ULL << 1;
constexpr int kRuleNetPort = 2;
constexpr uint64_t kFileRightsOfAbi1 = (1ULL << 13) - 1;

uint64_t file_rights(int abi) {
  uint64_t rights = kFileRightsOfAbi1;
  if (abi >= 2) rights |= LANDLOCK_ACCESS_FS_REFER;
  if (abi >= 3) rights |= kTruncateFile;
  if (abi >= 5) rights |= kIoctlDevice;
  return rights;
}

size_t attributes_size(int abi) {
  if (abi >= 6) return sizeof(RulesetAttributes);
  return abi >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
}

uint64_t rights_of(FileAccess access) {
  constexpr uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
  constexpr uint64_t kNodes = LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK;
  const uint64_t all = file_rights(4) & ~kNodes;
  switch (access) {
    case FileAccess::Read: return kRead;
    case FileAccess::ReadExecute: return kRead | LANDLOCK_ACCESS_FS_EXECUTE;
    case FileAccess::Write: return all & ~uint64_t{LANDLOCK_ACCESS_FS_EXECUTE};
    case FileAccess::WriteExecute: return all;
    case FileAccess::Device:
      return LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncateFile;
    case FileAccess::ControlledDevice:
      return LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | kIoctlDevice;
  }
  return 0;
}

Status add_file_rule(int ruleset, const LandlockRule& rule, int abi) {
  const int fd = open(rule.path.c_str(), O_PATH | O_CLOEXEC);
  if (fd < 0) return {};
  struct stat info {};
  uint64_t rights = rights_of(rule.access) & file_rights(abi);
  // Rights that concern folders are refused for anything else.
  if (fstat(fd, &info) == 0 && !S_ISDIR(info.st_mode)) {
    rights &= LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE |
              LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncateFile | kIoctlDevice;
  }
  landlock_path_beneath_attr beneath{};
  beneath.allowed_access = rights;
  beneath.parent_fd = fd;
  const long result =
      syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0);
  const int error = errno;
  close(fd);
  if (result != 0) return system_error(("landlock rule for " + rule.path).c_str(), error);
  return {};
}

Status fill(int ruleset, const LandlockRules& rules, int abi) {
  for (const LandlockRule& rule : rules.files) {
    if (Status s = add_file_rule(ruleset, rule, abi); !s) return s;
  }
  if (!rules.restricts_tcp || abi < 4) return {};
  for (const uint16_t port : rules.connect_ports) {
    const NetPortRule allowed{kConnectTcp, port};
    if (syscall(SYS_landlock_add_rule, ruleset, kRuleNetPort, &allowed, 0) != 0) {
      return system_error("landlock rule for a port", errno);
    }
  }
  return {};
}

}  // namespace

int landlock_abi() {
  const long abi =
      syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return abi < 0 ? 0 : static_cast<int>(abi);
}

Status apply_landlock(const LandlockRules& rules, int abi_max) {
  int abi = landlock_abi();
  if (abi_max > 0) abi = std::min(abi, abi_max);
  if (abi <= 0) return Error{Errc::Unsupported, "this kernel has no Landlock"};
  RulesetAttributes attributes;
  attributes.handled_access_fs = file_rights(abi);
  if (rules.restricts_tcp && abi >= 4) attributes.handled_access_net = kBindTcp | kConnectTcp;
  if (abi >= 6) attributes.scoped = kScopeAbstractUnix | kScopeSignal;
  const int ruleset = static_cast<int>(
      syscall(SYS_landlock_create_ruleset, &attributes, attributes_size(abi), 0));
  if (ruleset < 0) return system_error("landlock_create_ruleset", errno);
  Status filled = fill(ruleset, rules, abi);
  if (filled && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) {
    filled = system_error("landlock_restrict_self", errno);
  }
  close(ruleset);
  return filled;
}

}  // namespace brokkr::sandbox
