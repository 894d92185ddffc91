#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <string>

#include "base/result.h"
#include "sandbox/program.h"

// What a machine's disks hold: files of the host as one tree, and that tree as an image (EROFS, uncompressed,
// read-only; every kernel since 5.4 mounts it). Blocking; for a worker thread.
namespace brokkr::sandbox::microvm {

struct TreeEntry {
  std::string source;  // on the host; empty: `text` is the content
  std::string text;
  struct stat about {};
};
// By path inside, "" the root itself.
using Tree = std::map<std::string, TreeEntry>;

// The layers of an image as one tree, or the executable at /app/<file name> with the folders a program expects.
// Fails with NotFound, LimitExceeded or System.
Result<Tree> tree_of_root(const ProgramSpec& spec);
Result<Tree> tree_of_folder(const std::string& folder);

constexpr uint64_t kTreeBytesMax = 32ULL << 30;
// Fails with Exists when `path` does, LimitExceeded beyond kTreeBytesMax, or System. Returns its bytes. Files
// with several names keep them; sockets, devices and extended attributes are left out.
Result<uint64_t> write_tree_image(const Tree& tree, const std::string& path);

}  // namespace brokkr::sandbox::microvm
