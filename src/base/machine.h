#pragma once

#include <cstdint>

namespace brokkr {

// Bytes of memory this process may use: the machine's, or less when a memory cgroup says so. Reads
// files; ask once.
uint64_t usable_memory();

}  // namespace brokkr
