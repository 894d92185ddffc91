#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

// Control groups: what bounds the memory and the number of processes of one instance where the
// kernel lets us make groups. Understands version 1, version 2 and the hybrid of both.
namespace brokkr::sandbox {

struct CgroupLimits {
  uint64_t memory_bytes_max = 0;  // 0 means none
  uint32_t pids_max = 0;
};

class CgroupTree;

// One group, which its tree outlives. The destructor removes it; while processes of it are still about
// to end, the tree tries again later. Loop-confined.
class Cgroup {
 public:
  ~Cgroup();
  Cgroup(const Cgroup&) = delete;
  Cgroup& operator=(const Cgroup&) = delete;
  // Moves a process in. Fails with System.
  Status add(pid_t pid);
  // Whether the kernel has killed a process of the group for its memory.
  bool had_memory_kill() const;

 private:
  friend class CgroupTree;
  explicit Cgroup(CgroupTree& tree) : tree_(&tree) {}
  CgroupTree* tree_;
  std::string memory_folder_;  // empty when that controller is not ours to use
  std::string pids_folder_;    // the same folder in version 2
};

// Where groups can be made. Loop-confined.
class CgroupTree {
 public:
  // Looks below the group this process is in, at `mount_root` (/sys/fs/cgroup); makes a folder of
  // its own, "brokkr-<pid>", in each hierarchy it may write to, and removes those of processes that
  // have gone. Never fails: without any it makes no groups.
  static std::unique_ptr<CgroupTree> open(const std::string& mount_root = "/sys/fs/cgroup",
                                          const std::string& self = "/proc/self/cgroup");
  ~CgroupTree();
  CgroupTree(const CgroupTree&) = delete;
  CgroupTree& operator=(const CgroupTree&) = delete;

  // kCgroupMemory and kCgroupPids, as far as they are there.
  uint32_t layers() const;
  // Null pointer when there is no hierarchy. `name` is a file name. Fails with System.
  Result<std::unique_ptr<Cgroup>> make(std::string_view name, const CgroupLimits&);

 private:
  friend class Cgroup;
  CgroupTree() = default;
  void remove_leftovers();
  bool open_version_2(const std::string& folder);
  void open_version_1(const std::string& mount_root, const std::string& self_text);

  bool is_version_2_ = false;
  std::string memory_folder_;
  std::string pids_folder_;
  std::vector<std::string> leftovers_;  // folders that were still in use
};

}  // namespace brokkr::sandbox
