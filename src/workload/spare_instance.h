#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "io/loop.h"
#include "sandbox/cgroup.h"
#include "workload/zygote.h"

namespace brokkr::workload {

// What the node holds of a process its zygote forked.
struct ForkedProcess {
  uint32_t number = 0;  // the zygote's; 0 once it has ended
  int socket = -1;      // the node's end of its socket pair
  int pidfd = -1;
  pid_t pid = 0;
  std::unique_ptr<sandbox::Cgroup> cgroup;  // null where the kernel has none for us

  // Makes the socket pair and asks for the fork, whose answers `child` gets.
  Status fork(Zygote&, ForkedChild& child);
  // It runs, as `pidfd` says: puts it into a group of its own.
  void settle(int pidfd, sandbox::CgroupTree&, const sandbox::CgroupLimits&);
};

// One process of a namespace forked ahead of its use: it has done all a start needs that does not depend
// on the function, and waits. Whoever starts an instance takes it; a while later there is another.
// Only for warm zygotes: a cold fork has little to give. Loop-confined.
class SpareInstance final : private ForkedChild {
 public:
  // All outlive it.
  SpareInstance(io::Loop&, Zygote&, sandbox::CgroupTree&);
  ~SpareInstance() override;
  SpareInstance(const SpareInstance&) = delete;
  SpareInstance& operator=(const SpareInstance&) = delete;

  // Hands the process over to `child`, which hears of its end from now on; false when none is ready.
  // Its group has the limits of `limits`. Either way the next one is forked soon.
  bool take(ForkedProcess& into, ForkedChild& child, const sandbox::CgroupLimits& limits);
  bool is_ready() const { return process_.pid != 0; }
  pid_t pid() const { return process_.pid; }

 private:
  void on_forked(int pidfd) override;
  void on_fork_failed(const std::string& reason) override;
  void on_exited(const io::ExitStatus& status) override;
  void refill();
  void drop();

  Zygote& zygote_;
  sandbox::CgroupTree& cgroups_;
  ForkedProcess process_;
  io::Timer refill_;
};

}  // namespace brokkr::workload
