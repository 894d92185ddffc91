#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "sandbox/program.h"

// A program's root as the guest's memory file system: a cpio archive the kernel unpacks. Blocking; for a
// worker thread.
namespace brokkr::sandbox::microvm {

constexpr uint64_t kPackedBytesMax = 512U << 20;

// Writes the initramfs `base` and behind it, below /image, what `spec` names: the layers of an image as one
// tree, or the executable at /app/<file name>. Returns the bytes of the second part. Fails with NotFound,
// LimitExceeded beyond kPackedBytesMax, OutOfSpace or System.
Result<uint64_t> write_initramfs(const std::string& base, const ProgramSpec& spec, const std::string& path);

}  // namespace brokkr::sandbox::microvm
