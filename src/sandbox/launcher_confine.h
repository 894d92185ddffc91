#pragma once

#include <string>
#include <vector>

#include "sandbox/launcher_protocol.h"

// The last steps of a process before it becomes the user's program. In the child of the sandbox's
// first process; single-threaded.
namespace brokkr::sandbox {

// What the first process has made ready for its children.
struct Confinement {
  const LaunchOrder& order;
  uint32_t layers = 0;       // in force already
  bool is_root = false;      // started with root's rights, not in a user namespace
  bool is_unprivileged = false;  // the node's user is not root
  bool has_own_root = false;
  bool forbids_memory_programs = false;
  int host_proc = -1;        // the host's /proc; the maps of a user namespace are written there
  unsigned inner_uid = 0;    // what the program sees itself as
  unsigned inner_gid = 0;
};

// What the child tells on its report pipe: the layers it runs under, then, only when it could not
// start, why.
struct ConfineReport {
  uint32_t layers = 0;
  int32_t error = 0;  // errno; 0 is none
  char step[56] = {};
};

// Whom `user` ("uid[:gid]" or names of /etc/passwd and /etc/group of the root in force) means. Fails
// with InvalidArgument.
Status resolve_user(const std::string& user, Confinement&);

// Joins the groups, gives up every right and executes. `report` is closed by a successful exec.
// Descriptors 0 to 2 are in place; all others end with the exec.
[[noreturn]] void confine_and_execute(const Confinement&, const std::vector<std::string>& command,
                                      const std::string& executable, int report);

// Closes the set capabilities may be gained from.
void empty_bounding_set();
// Keeps the capabilities whose bits are set.
bool keep_capabilities(uint64_t kept);

}  // namespace brokkr::sandbox
