#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

// Landlock: a process gives up rights to files, to TCP ports and to signal others, for itself and its
// descendants. What each kernel knows of it is its ABI (1 in Linux 5.13 … 7 in 6.15).
namespace brokkr::sandbox {

enum class FileAccess : uint8_t {
  Read,            // files and folders
  ReadExecute,
  Write,           // everything but execution and device nodes
  WriteExecute,    // everything but device nodes
  Device,          // reads and writes an existing file
  ControlledDevice,  // and ioctls on it
};

struct LandlockRule {
  std::string path;  // and all beneath it; left out when it is not there
  FileAccess access = FileAccess::Read;
};

struct LandlockRules {
  std::vector<LandlockRule> files;
  // TCP: no connection but to these ports and no port taken; only when the network is not the
  // process's own. ABI 4 and on.
  bool restricts_tcp = false;
  std::vector<uint16_t> connect_ports;
};

// The kernel's ABI; 0 when it has no Landlock.
int landlock_abi();

// Restricts the calling thread for good. Needs no_new_privs (or CAP_SYS_ADMIN). `abi_max` pretends an
// older kernel; 0 means no limit. What the ABI does not know is left out. Fails with Unsupported when
// there is no Landlock, or System. Single-threaded callers.
Status apply_landlock(const LandlockRules&, int abi_max = 0);

}  // namespace brokkr::sandbox
