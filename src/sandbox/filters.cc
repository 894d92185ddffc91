#include <fcntl.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <span>
#include <vector>

#include "sandbox/enter.h"

namespace brokkr::sandbox {
namespace {

// What an instance does: its socket pair, its own memory, time, and the end.
constexpr int kInstanceCalls[] = {
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(recvfrom),
    SCMP_SYS(sendto), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(close), SCMP_SYS(futex),
    SCMP_SYS(mmap), SCMP_SYS(mprotect), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
    SCMP_SYS(pkey_alloc), SCMP_SYS(pkey_free), SCMP_SYS(pkey_mprotect),
    SCMP_SYS(brk), SCMP_SYS(mincore), SCMP_SYS(membarrier), SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(getrandom), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigaction), SCMP_SYS(sigaltstack),
    SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(getpid), SCMP_SYS(gettid),
    SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid),
    SCMP_SYS(getrlimit), SCMP_SYS(getrusage), SCMP_SYS(sysinfo), SCMP_SYS(uname),
    SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(restart_syscall), SCMP_SYS(exit),
    SCMP_SYS(exit_group),
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    // How a sanitizer's runtime finds out whether memory is readable.
    SCMP_SYS(pipe2),
#endif
};

// What libraries try by habit and do without: time zone files, terminal checks, /proc.
constexpr int kRefusedCalls[] = {
    SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(access), SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2), SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(fstat),
    SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(readlink), SCMP_SYS(readlinkat),
    SCMP_SYS(getcwd), SCMP_SYS(lseek), SCMP_SYS(ioctl), SCMP_SYS(fcntl),
    SCMP_SYS(sched_setscheduler), SCMP_SYS(sched_getparam), SCMP_SYS(sched_getscheduler),
};

// What a zygote does besides: fork, wait, talk to the node, and shut its children in.
constexpr int kZygoteCalls[] = {
    SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(wait4), SCMP_SYS(waitid), SCMP_SYS(recvmsg),
    SCMP_SYS(sendmsg), SCMP_SYS(pidfd_open), SCMP_SYS(seccomp), SCMP_SYS(prctl),
    SCMP_SYS(close_range), SCMP_SYS(set_tid_address), SCMP_SYS(dup2), SCMP_SYS(dup3),
    SCMP_SYS(setrlimit), SCMP_SYS(prlimit64), SCMP_SYS(sched_setaffinity), SCMP_SYS(getppid),
};

bool add_all(scmp_filter_ctx context, uint32_t action, std::span<const int> calls) {
  for (const int call : calls) {
    // Calls this architecture does not have are left out.
    if (call < 0) continue;
    if (seccomp_rule_add(context, action, call, 0) != 0) return false;
  }
  return true;
}

bool add_shared_rules(scmp_filter_ctx context) {
  const uint32_t refuse = SCMP_ACT_ERRNO(EACCES);
  return add_all(context, SCMP_ACT_ALLOW, kInstanceCalls) &&
         add_all(context, refuse, kRefusedCalls);
}

// Limits may be read, of the process itself; the names of memory areas may be set.
bool add_instance_rules(scmp_filter_ctx context) {
  return seccomp_rule_add(context, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2,
                          SCMP_A0(SCMP_CMP_EQ, 0), SCMP_A2(SCMP_CMP_EQ, 0)) == 0 &&
         seccomp_rule_add(context, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
                          SCMP_A0(SCMP_CMP_EQ, PR_SET_VMA)) == 0;
}

bool add_zygote_rules(scmp_filter_ctx context) {
  constexpr uint64_t kNamespaceFlags = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                       CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
  return add_all(context, SCMP_ACT_ALLOW, kZygoteCalls) &&
         // Its flags lie in memory a filter cannot read; libc then uses clone.
         seccomp_rule_add(context, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) == 0 &&
         seccomp_rule_add(context, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                          SCMP_A0(SCMP_CMP_MASKED_EQ, kNamespaceFlags, 0)) == 0;
}

// The kernel's program for a context: written to a memory file, as libseccomp offers no other way.
std::vector<sock_filter> export_program(scmp_filter_ctx context) {
  std::vector<sock_filter> program;
  const int fd = memfd_create("filter", MFD_CLOEXEC);
  if (fd < 0) return program;
  if (seccomp_export_bpf(context, fd) == 0) {
    const off_t bytes = lseek(fd, 0, SEEK_END);
    program.resize(static_cast<size_t>(bytes) / sizeof(sock_filter));
    if (pread(fd, program.data(), static_cast<size_t>(bytes), 0) != bytes) program.clear();
  }
  close(fd);
  return program;
}

Status apply(std::vector<sock_filter>& code) {
  const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  const long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,
                              &program);
  if (result != 0) return system_error("seccomp", errno);
  return {};
}

}  // namespace

struct Filters::Program {
  std::vector<sock_filter> code;
};

Filters::~Filters() {
  delete zygote_;
  delete instance_;
}

Status Filters::make() {
  const auto build = [](bool (*add_rules)(scmp_filter_ctx)) {
    Program* program = nullptr;
    const scmp_filter_ctx context = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (context == nullptr) return program;
    // A binary tree: the calls of the hot path take a few comparisons, not forty.
    seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (add_shared_rules(context) && add_rules(context)) {
      program = new Program{export_program(context)};
    }
    seccomp_release(context);
    return program;
  };
  zygote_ = build(add_zygote_rules);
  instance_ = build(add_instance_rules);
  const bool is_complete = zygote_ != nullptr && instance_ != nullptr && !zygote_->code.empty() &&
                           !instance_->code.empty();
  if (!is_complete) return Error{Errc::Unsupported, "seccomp filters cannot be built"};
  return {};
}

Status Filters::apply_zygote() const { return apply(zygote_->code); }

Status Filters::apply_instance() const { return apply(instance_->code); }

}  // namespace brokkr::sandbox
