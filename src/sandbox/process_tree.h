#pragma once

#include <cstdint>
#include <sys/types.h>

#include <vector>

// What descends from a process, by /proc. Safe from any thread.
namespace brokkr::sandbox {

// All descendants, without the process itself, as far as the /proc at the descriptor `proc` shows
// them.
std::vector<pid_t> descendants_of(pid_t pid, int proc);

// Kills and reaps every descendant of this process, which must be their subreaper, until there is
// none; gives up after some seconds. Blocks.
void kill_descendants(int proc);

struct ProcessUsage {
  uint64_t memory_bytes = 0;  // resident
  uint64_t cpu_ns = 0;
  uint32_t processes = 0;
};
// Of the process's descendants, by the machine's /proc.
ProcessUsage usage_below(pid_t pid);

}  // namespace brokkr::sandbox
