#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

// Control groups: what bounds the memory, the CPU time, the number of processes and the disk traffic
// of one instance or program where the kernel lets us make groups. Understands version 1, version 2
// and the hybrid of both.
namespace brokkr::sandbox {

// 0 means none.
struct CgroupLimits {
  uint64_t memory_bytes_max = 0;
  uint32_t pids_max = 0;
  uint32_t cpu_millis = 0;  // 1000 is one CPU
  uint64_t io_bytes_per_second = 0;  // to and from each disk
};

struct CgroupUsage {
  uint64_t memory_bytes = 0;
  uint64_t cpu_ns = 0;
  uint32_t pids = 0;
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
  // Sets those limits that are not 0; the others stay. Fails with System.
  Status limit(const CgroupLimits&);
  // A descriptor for each hierarchy: a process that writes "0" to all of them moves itself in. The
  // caller's, close-on-exec. Fails with System.
  Result<std::vector<int>> open_entries() const;
  // Whether the kernel has killed a process of the group for its memory.
  bool had_memory_kill() const;
  // SIGKILL to every process of the group, once.
  void kill_all() const;
  // What the kernel counts; 0 where it does not.
  CgroupUsage usage() const;
  // The layers this group is: kCgroupMemory and so on.
  uint32_t layers() const;

 private:
  friend class CgroupTree;
  explicit Cgroup(CgroupTree& tree) : tree_(&tree) {}
  std::vector<std::string> folders() const;

  CgroupTree* tree_;
  // Empty when that controller is not ours to use; the same folder in version 2.
  std::string memory_folder_;
  std::string pids_folder_;
  std::string cpu_folder_;
  std::string io_folder_;
};

// Where groups can be made. Loop-confined.
class CgroupTree {
 public:
  // Looks below the group this process is in, at `mount_root` (/sys/fs/cgroup); makes a folder of
  // its own, "brokkr-<pid>", in each hierarchy it may write to, and removes those of processes that
  // have gone. Never fails: without any it makes no groups. `disks` names the disks (/sys/block).
  static std::unique_ptr<CgroupTree> open(const std::string& mount_root = "/sys/fs/cgroup",
                                          const std::string& self = "/proc/self/cgroup",
                                          const std::string& disks = "/sys/block");
  ~CgroupTree();
  CgroupTree(const CgroupTree&) = delete;
  CgroupTree& operator=(const CgroupTree&) = delete;

  // kCgroupMemory, kCgroupPids, kCgroupCpu and kCgroupIo, as far as they are there.
  uint32_t layers() const;
  // Null pointer when there is no hierarchy. `name` is a file name. `layers_off` leaves controllers
  // out. Fails with System.
  Result<std::unique_ptr<Cgroup>> make(std::string_view name, const CgroupLimits&,
                                       uint32_t layers_off = 0);

 private:
  friend class Cgroup;
  CgroupTree() = default;
  void remove_leftovers();
  bool open_version_2(const std::string& folder);
  void open_version_1(const std::string& mount_root, const std::string& self_text);
  void find_disks(const std::string& folder);
  Status set_limits(const Cgroup&, const CgroupLimits&) const;
  Status limit_disks(const Cgroup&, uint64_t bytes_per_second) const;

  bool is_version_2_ = false;
  std::string memory_folder_;
  std::string pids_folder_;
  std::string cpu_folder_;
  std::string io_folder_;
  std::vector<std::string> disks_;      // "8:0"
  std::vector<std::string> leftovers_;  // folders that were still in use
};

}  // namespace brokkr::sandbox
