#include "sandbox/launcher_confine.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>

#include "base/bytes.h"
#include "sandbox/landlock.h"
#include "sandbox/launcher_root.h"
#include "sandbox/program_filter.h"

namespace brokkr::sandbox {
namespace {

constexpr unsigned kUnprivilegedId = 65534;
constexpr unsigned kLastCapabilityTried = 63;
constexpr rlim_t kOpenFilesMax = 65536;
constexpr rlim_t kLockedBytesMax = 64 << 10;
// Ends before the node when the whole machine runs out of memory.
constexpr const char* kOutOfMemoryScore = "500";
constexpr const char* kStandardPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr size_t kAccountsBytesMax = 1 << 20;

std::string read_accounts(const char* path) {
  std::string text;
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return text;
  char bytes[4096];
  for (ssize_t n; text.size() < kAccountsBytesMax && (n = read(fd, bytes, sizeof bytes)) > 0;) {
    text.append(bytes, static_cast<size_t>(n));
  }
  close(fd);
  return text;
}

std::optional<unsigned> parse_id(std::string_view text) {
  const auto number = parse_uint(text);
  if (!number || *number >= UINT32_MAX) return std::nullopt;
  return static_cast<unsigned>(*number);
}

// The fields of the account whose field `key` is `value`.
std::vector<std::string> find_account(const std::string& accounts, size_t key,
                                      std::string_view value) {
  for (const std::string_view line : split(accounts, '\n')) {
    const auto fields = split(line, ':');
    if (fields.size() < 4 || fields[key] != value) continue;
    return {fields.begin(), fields.end()};
  }
  return {};
}

bool write_at(int folder, const char* name, const std::string& text) {
  const int fd = openat(folder, name, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool ok = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  close(fd);
  return ok;
}

class Confiner {
 public:
  Confiner(const Confinement& how, int report) : how_(how), report_(report), layers_(how.layers) {}

  void join_groups() {
    for (uint32_t i = 0; i < how_.order.groups; ++i) {
      const int fd = kLauncherGroups + static_cast<int>(i);
      if (write(fd, "0", 1) != 1) fail("cgroup");
    }
    layers_ |= how_.order.group_layers;
  }

  void limit_resources() {
    if (is_off(kResourceLimits)) return;
    const ProgramLimits& limits = how_.order.spec.limits;
    bool ok = limit(RLIMIT_CORE, 0) && limit(RLIMIT_MEMLOCK, kLockedBytesMax) &&
              limit(RLIMIT_MSGQUEUE, 0) && limit(RLIMIT_NICE, 0) && limit(RLIMIT_RTPRIO, 0) &&
              limit(RLIMIT_NOFILE, kOpenFilesMax);
    // Where no group counts: what one process may write to, and what its user may have of processes.
    if ((layers_ & kCgroupMemory) == 0 && limits.memory_bytes != 0) {
      ok = limit(RLIMIT_DATA, limits.memory_bytes) && ok;
    }
    if (ok) layers_ |= kResourceLimits;
  }

  void become_user() {
    outer_uid_ = how_.is_root ? outer_id(how_.inner_uid) : geteuid();
    outer_gid_ = how_.is_root ? outer_id(how_.inner_gid) : getegid();
    if (is_off(kNobody)) {
      outer_uid_ = geteuid();
      outer_gid_ = getegid();
      return;
    }
    if (!how_.is_root) {
      if (how_.is_unprivileged) layers_ |= kNobody;
      return;
    }
    if (setgroups(0, nullptr) != 0 || setresgid(outer_gid_, outer_gid_, outer_gid_) != 0 ||
        setresuid(outer_uid_, outer_uid_, outer_uid_) != 0) {
      fail("user");
    }
    layers_ |= kNobody;
  }

  // A user namespace whose only user is this one: whatever it may do there, it may do nothing with
  // it outside.
  void take_user_namespace() {
    if (is_off(kUserNamespace)) return;
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);  // changing the user has made /proc/self root's
    const bool is_mapped =
        unshare(CLONE_NEWUSER) == 0 && write_at(how_.host_proc, "self/setgroups", "deny") &&
        write_at(how_.host_proc, "self/gid_map", map(how_.inner_gid, outer_gid_)) &&
        write_at(how_.host_proc, "self/uid_map", map(how_.inner_uid, outer_uid_));
    if (!is_mapped) {
      if ((layers_ & kUserNamespace) == 0 && how_.inner_uid != outer_uid_) fail("user namespace");
      return;
    }
    layers_ |= kUserNamespace;
    unshare(CLONE_NEWCGROUP);
  }

  void limit_processes() {
    const uint32_t pids = how_.order.spec.limits.pids;
    const bool is_counted = (layers_ & kCgroupPids) != 0 || (layers_ & kUserNamespace) == 0;
    // Counted per user namespace: in one of its own it counts this program alone.
    if (!is_off(kResourceLimits) && pids != 0 && !is_counted) limit(RLIMIT_NPROC, pids);
  }

  // The capabilities go last: without no_new_privs the two filters need one.
  void give_up_rights() {
    empty_bounding_set();
    if (!is_off(kNoNewPrivileges) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) {
      layers_ |= kNoNewPrivileges;
    }
    if (!is_off(kLandlock)) restrict_files();
    if (!is_off(kSeccomp)) {
      std::vector<sock_filter> filter = make_program_filter(how_.forbids_memory_programs);
      if (apply_filter(filter)) layers_ |= kSeccomp;
    }
    if (!is_off(kNoCapabilities) && keep_capabilities(0)) layers_ |= kNoCapabilities;
  }

  void check_policy() {
    const uint32_t missing = kRequiredLayers & ~layers_ & ~how_.order.spec.layers_off;
    if (how_.order.spec.policy == Policy::Required && missing != 0) {
      errno = EPERM;
      fail(("not granted here: " + layer_names(missing).front()).c_str());
    }
    // Something has to stand between the program and the host's files.
    if (!how_.has_own_root && (layers_ & kLandlock) == 0) {
      errno = EPERM;
      fail("neither a root of its own nor Landlock");
    }
  }

  void tell(const char* step, int error) {
    ConfineReport report;
    report.layers = layers_;
    report.error = error;
    std::snprintf(report.step, sizeof report.step, "%s", step);
    if (write(report_, &report, sizeof report) < 0) _exit(126);
  }

  [[noreturn]] void fail(const char* step) {
    tell(step, errno);
    _exit(127);
  }

 private:
  bool is_off(uint32_t layer) const { return (how_.order.spec.layers_off & layer) != 0; }
  static bool limit(__rlimit_resource resource, rlim_t value) {
    rlimit now{};
    getrlimit(resource, &now);
    const rlim_t allowed = now.rlim_max < value ? now.rlim_max : value;
    const rlimit both{allowed, allowed};
    return setrlimit(resource, &both) == 0;
  }
  // Root inside is nobody outside; other users of an image keep their numbers, which its files have.
  static unsigned outer_id(unsigned inner) { return inner == 0 ? kUnprivilegedId : inner; }
  static std::string map(unsigned inner, unsigned outer) {
    return std::to_string(inner) + " " + std::to_string(outer) + " 1";
  }
  void restrict_files() {
    LandlockRules rules = landlock_rules_for(how_.order, how_.has_own_root);
    rules.restricts_tcp = (layers_ & kNetNamespace) == 0;
    if (apply_landlock(rules, how_.order.spec.landlock_abi_max)) layers_ |= kLandlock;
  }

  const Confinement& how_;
  const int report_;
  uint32_t layers_;
  unsigned outer_uid_ = 0;
  unsigned outer_gid_ = 0;
};

std::vector<char*> pointers_of(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// Where a name without a slash may be.
std::vector<std::string> candidates(const std::string& name,
                                    const std::vector<std::string>& environment) {
  if (name.find('/') != std::string::npos) return {name};
  std::string path = kStandardPath;
  for (const std::string& entry : environment) {
    if (entry.starts_with("PATH=")) path = entry.substr(5);
  }
  std::vector<std::string> found;
  for (const std::string_view folder : split(path, ':')) {
    if (!folder.empty()) found.push_back(std::string(folder) + "/" + name);
  }
  return found;
}

void execute(const std::string& name, const std::vector<std::string>& command,
             const std::vector<std::string>& environment) {
  const std::vector<char*> arguments = pointers_of(command);
  const std::vector<char*> variables = pointers_of(environment);
  int error = ENOENT;
  for (const std::string& path : candidates(name, environment)) {
    execve(path.c_str(), arguments.data(), variables.data());
    if (errno != ENOENT && errno != ENOTDIR) error = errno;
  }
  errno = error;
}

void reset_child_signals() {
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

}  // namespace

void empty_bounding_set() {
  for (unsigned capability = 0; capability <= kLastCapabilityTried; ++capability) {
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno == EINVAL) break;
  }
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

bool keep_capabilities(uint64_t kept) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capget, &header, data) != 0) return false;
  for (unsigned half = 0; half < 2; ++half) {
    const auto mask = static_cast<uint32_t>(kept >> (32 * half));
    data[half].permitted &= mask;
    data[half].effective &= mask;
    data[half].inheritable = 0;
  }
  return syscall(SYS_capset, &header, data) == 0;
}

Status resolve_user(const std::string& user, Confinement& how) {
  how.inner_uid = how.inner_gid = kUnprivilegedId;
  if (user.empty()) return {};
  const size_t colon = user.find(':');
  const std::string name = user.substr(0, colon);
  const std::string group = colon == std::string::npos ? std::string() : user.substr(colon + 1);
  const std::string accounts = how.has_own_root ? read_accounts("/etc/passwd") : std::string();
  const auto number = parse_id(name);
  const auto account = number ? find_account(accounts, 2, name) : find_account(accounts, 0, name);
  if (!number && account.empty()) {
    return Error{Errc::InvalidArgument, "no user \"" + name + "\" in the image"};
  }
  how.inner_uid = number ? *number : parse_id(account[2]).value_or(kUnprivilegedId);
  how.inner_gid = account.empty() ? 0 : parse_id(account[3]).value_or(kUnprivilegedId);
  if (group.empty()) return {};
  if (const auto group_number = parse_id(group)) {
    how.inner_gid = *group_number;
    return {};
  }
  const auto entry = find_account(read_accounts("/etc/group"), 0, group);
  if (entry.empty()) {
    return Error{Errc::InvalidArgument, "no group \"" + group + "\" in the image"};
  }
  how.inner_gid = parse_id(entry[2]).value_or(kUnprivilegedId);
  return {};
}

void confine_and_execute(const Confinement& how, const std::vector<std::string>& command,
                         const std::string& executable, int report) {
  const ProgramSpec& spec = how.order.spec;
  Confiner confiner(how, report);
  setsid();
  reset_child_signals();
  write_at(how.host_proc, "self/oom_score_adj", kOutOfMemoryScore);
  confiner.join_groups();
  confiner.limit_resources();
  if (how.order.is_confined) {
    confiner.become_user();
    confiner.take_user_namespace();
    confiner.limit_processes();
    confiner.give_up_rights();
  }
  // Changing the user has cleared it.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const std::string& folder = spec.working_folder;
  if (!folder.empty() && (how.has_own_root || !how.order.is_confined) &&
      chdir(folder.c_str()) != 0) {
    confiner.fail(("working folder " + folder).c_str());
  }
  if (how.order.is_confined) confiner.check_policy();
  syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
  confiner.tell("", 0);
  execute(executable.empty() ? command.front() : executable, command, spec.environment);
  confiner.fail(("execute " + (executable.empty() ? command.front() : executable)).c_str());
}

}  // namespace brokkr::sandbox
