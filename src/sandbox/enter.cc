#include "sandbox/enter.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>

#include "sandbox/landlock.h"

namespace brokkr::sandbox {
namespace {

constexpr unsigned kNobodyId = 65534;
constexpr int kDescriptorsMax = 64;
constexpr int kLastCapability = 63;

struct NamespaceFlag {
  int flag;
  uint32_t layer;
};
constexpr NamespaceFlag kNamespaces[] = {
    {CLONE_NEWNS, kMountNamespace},  {CLONE_NEWNET, kNetNamespace}, {CLONE_NEWIPC, kIpcNamespace},
    {CLONE_NEWUTS, kUtsNamespace},   {CLONE_NEWPID, kPidNamespace},
};

bool write_file(const char* path, const std::string& text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool ok = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  close(fd);
  return ok;
}

// A user namespace in which the caller may take the others; its one user is nobody.
bool enter_user_namespace() {
  const std::string uid = std::to_string(geteuid());
  const std::string gid = std::to_string(getegid());
  if (unshare(CLONE_NEWUSER) != 0) return false;
  const std::string nobody = std::to_string(kNobodyId) + " ";
  // A group map by an unprivileged process needs setgroups denied first.
  return write_file("/proc/self/setgroups", "deny") &&
         write_file("/proc/self/gid_map", nobody + gid + " 1") &&
         write_file("/proc/self/uid_map", nobody + uid + " 1");
}

uint32_t unshare_each(uint32_t off) {
  uint32_t layers = 0;
  for (const NamespaceFlag& entry : kNamespaces) {
    if ((off & entry.layer) == 0 && unshare(entry.flag) == 0) layers |= entry.layer;
  }
  return layers;
}

// Waits for the child and ends as it did. Holds no descriptor but standard error.
[[noreturn]] void keep(pid_t child) {
  close(0);
  close(1);
  syscall(SYS_close_range, 3U, ~0U, 0);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) {
    signal(WTERMSIG(status), SIG_DFL);
    raise(WTERMSIG(status));
  }
  _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

bool mount_empty(const char* path) {
  return mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
               "size=4k,nr_inodes=4,mode=0555") == 0;
}

// Replaces the root by an empty, read-only tmpfs. Any folder will do as the place to mount it.
bool take_empty_root() {
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
  for (const char* place : {"/tmp", "/mnt", "/run", "/var", "/dev"}) {
    if (!mount_empty(place)) continue;
    if (chdir(place) != 0 || syscall(SYS_pivot_root, ".", ".") != 0) return false;
    if (umount2(".", MNT_DETACH) != 0 || chdir("/") != 0) return false;
    return mount(nullptr, "/", nullptr,
                 MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) == 0;
  }
  return false;
}

bool become_nobody() {
  if (geteuid() == kNobodyId) return true;  // mapped by the user namespace
  if (geteuid() != 0) return true;          // an ordinary user
  return setgroups(0, nullptr) == 0 && setresgid(kNobodyId, kNobodyId, kNobodyId) == 0 &&
         setresuid(kNobodyId, kNobodyId, kNobodyId) == 0;
}

void drop_bounding_set() {
  for (int capability = 0; capability <= kLastCapability; ++capability) {
    prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  }
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

bool drop_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  return syscall(SYS_capset, &header, none) == 0;
}

bool limit(__rlimit_resource resource, rlim_t value) {
  const rlimit both{value, value};
  return setrlimit(resource, &both) == 0;
}

bool limit_resources() {
  // Files, locks, queues and dumps are of no use to a process that may open nothing. Processes are
  // the filter's affair: the kernel counts them per user, over all instances of a namespace.
  return limit(RLIMIT_CORE, 0) && limit(RLIMIT_FSIZE, 0) && limit(RLIMIT_MEMLOCK, 0) &&
         limit(RLIMIT_MSGQUEUE, 0) && limit(RLIMIT_NOFILE, kDescriptorsMax);
}

}  // namespace

uint32_t enter_namespaces(uint32_t layers_off) {
  const bool is_root = geteuid() == 0;
  uint32_t layers = is_root ? unshare_each(layers_off) : 0;
  // Root in a container may lack the right to unshare, and still be allowed a user namespace.
  if (layers == 0 && (layers_off & kUserNamespace) == 0 && enter_user_namespace()) {
    layers |= kUserNamespace | unshare_each(layers_off);
  }
  // A new user namespace has cleared it.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const pid_t keeper = getpid();
  const pid_t child = fork();
  if (child < 0) return layers & ~kPidNamespace;
  if (child > 0) keep(child);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // Inside a pid namespace the keeper shows as 0.
  if (const pid_t parent = getppid(); parent != 0 && parent != keeper) _exit(1);
  return layers;
}

uint32_t lock_down(uint32_t layers, uint32_t layers_off) {
  const auto is_on = [&](uint32_t layer) { return (layers_off & layer) == 0; };
  uint32_t gained = 0;
  if ((layers & kMountNamespace) != 0 && is_on(kEmptyRoot) && take_empty_root()) {
    gained |= kEmptyRoot;
  }
  const bool was_root = geteuid() == 0;
  drop_bounding_set();
  if (is_on(kNobody) && become_nobody()) gained |= kNobody;
  // Root has taken the other namespaces with its own rights; this one takes away what nobody's
  // user could still do on the host. It needs no map: nothing here asks who it is.
  if (was_root && (layers & kUserNamespace) == 0 && is_on(kUserNamespace) &&
      unshare(CLONE_NEWUSER) == 0) {
    gained |= kUserNamespace;
    drop_bounding_set();
  }
  if (is_on(kNoCapabilities) && drop_capabilities()) gained |= kNoCapabilities;
  if (is_on(kNoNewPrivileges) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) {
    gained |= kNoNewPrivileges;
  }
  if (is_on(kResourceLimits) && limit_resources()) gained |= kResourceLimits;
  // Behind the empty root: no file, no TCP port, no signal to a process outside.
  LandlockRules nothing;
  nothing.restricts_tcp = true;
  if (is_on(kLandlock) && apply_landlock(nothing)) gained |= kLandlock;
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  // Changing the user has cleared it.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  return layers | gained;
}

void shed_descriptors(int keep) {
  if (keep != 3) dup2(keep, 3);
  dup2(0, 1);
  dup2(0, 2);
  syscall(SYS_close_range, 4U, ~0U, 0);
}

}  // namespace brokkr::sandbox
