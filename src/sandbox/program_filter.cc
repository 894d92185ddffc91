#include "sandbox/program_filter.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace brokkr::sandbox {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "the filter needs this machine's audit number"
#endif

// Calls above are unknown here, and the x32 ones (bit 30) lie above too: they answer ENOSYS.
constexpr uint32_t kLastKnownCall = 450;

struct Refusal {
  int call;
  int error;
};

constexpr Refusal kRefusals[] = {
    // Mounts and roots.
    {SYS_mount, EPERM}, {SYS_umount2, EPERM}, {SYS_pivot_root, EPERM}, {SYS_chroot, EPERM},
    {SYS_open_tree, EPERM}, {SYS_move_mount, EPERM}, {SYS_fsopen, EPERM}, {SYS_fsconfig, EPERM},
    {SYS_fsmount, EPERM}, {SYS_fspick, EPERM}, {SYS_mount_setattr, EPERM},
    {SYS_quotactl, EPERM}, {SYS_quotactl_fd, EPERM}, {SYS_open_by_handle_at, EPERM},
    {SYS_name_to_handle_at, EPERM}, {SYS_fanotify_init, EPERM}, {SYS_fanotify_mark, EPERM},
    // Namespaces. The flags of clone3 lie in memory a filter cannot read; libc then uses clone.
    {SYS_unshare, EPERM}, {SYS_setns, EPERM}, {SYS_clone3, ENOSYS},
    // Other processes' memory and descriptors.
    {SYS_ptrace, EPERM}, {SYS_process_vm_readv, EPERM}, {SYS_process_vm_writev, EPERM},
    {SYS_pidfd_getfd, EPERM}, {SYS_kcmp, EPERM}, {SYS_process_madvise, EPERM},
    {SYS_move_pages, EPERM}, {SYS_migrate_pages, EPERM},
    // Parts of the kernel with a record, of little use to a service.
    {SYS_bpf, EPERM}, {SYS_perf_event_open, EPERM}, {SYS_userfaultfd, EPERM},
    {SYS_io_uring_setup, ENOSYS}, {SYS_io_uring_enter, ENOSYS}, {SYS_io_uring_register, ENOSYS},
    {SYS_memfd_secret, ENOSYS}, {SYS_lookup_dcookie, EPERM}, {SYS_remap_file_pages, ENOSYS},
    {SYS_vmsplice, EPERM}, {SYS_nfsservctl, ENOSYS},
    // The kernel's keyring belongs to no namespace.
    {SYS_add_key, EPERM}, {SYS_request_key, EPERM}, {SYS_keyctl, EPERM},
    // The machine.
    {SYS_reboot, EPERM}, {SYS_kexec_load, EPERM}, {SYS_init_module, EPERM},
    {SYS_finit_module, EPERM}, {SYS_delete_module, EPERM}, {SYS_swapon, EPERM},
    {SYS_swapoff, EPERM}, {SYS_acct, EPERM}, {SYS_syslog, EPERM}, {SYS_settimeofday, EPERM},
    {SYS_clock_settime, EPERM}, {SYS_clock_adjtime, EPERM}, {SYS_adjtimex, EPERM},
    {SYS_sethostname, EPERM}, {SYS_setdomainname, EPERM}, {SYS_vhangup, EPERM},
#if defined(__x86_64__)
    {SYS_kexec_file_load, EPERM}, {SYS_iopl, EPERM}, {SYS_ioperm, EPERM},
    {SYS_modify_ldt, EPERM}, {SYS_uselib, ENOSYS}, {SYS_ustat, ENOSYS}, {SYS_sysfs, ENOSYS},
    {SYS__sysctl, ENOSYS}, {SYS_create_module, ENOSYS}, {SYS_get_kernel_syms, ENOSYS},
    {SYS_query_module, ENOSYS}, {SYS_getpmsg, ENOSYS}, {SYS_putpmsg, ENOSYS},
    {SYS_afs_syscall, ENOSYS}, {SYS_tuxcall, ENOSYS}, {SYS_security, ENOSYS},
    {SYS_vserver, ENOSYS},
#endif
};

constexpr uint32_t kNamespaceFlags = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                     CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
constexpr uint32_t kSocketTypeMask = 0xF;
constexpr uint32_t kSocketPacket = 10;  // an old way to raw frames
constexpr uint32_t kMemoryFileExecutable = 0x10;  // MFD_EXEC, newer than Debian 12's headers
constexpr uint32_t kPersonalityQuery = 0xFFFFFFFF;

// Assembles the filter. A block for one call ends in a return on every path, so that blocks follow
// each other and jumps stay short.
class FilterAssembler {
 public:
  std::vector<sock_filter> take() { return std::move(code_); }

  void load(uint32_t offset) {
    code_.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset));
  }
  // The lower half: what the kernel takes of an int argument.
  void load_argument(unsigned index) {
    load(static_cast<uint32_t>(offsetof(seccomp_data, args) + index * sizeof(uint64_t)));
  }
  void mask(uint32_t bits) { code_.push_back(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, bits)); }
  void allow() { answer(SECCOMP_RET_ALLOW); }
  void refuse(int error) { answer(SECCOMP_RET_ERRNO | static_cast<uint32_t>(error)); }
  void refuse_if(uint32_t value, int error) {
    skip_unless_equal(value, 1);
    refuse(error);
  }
  void allow_if(uint32_t value) {
    skip_unless_equal(value, 1);
    allow();
  }
  // Runs `block` for that call; the accumulator holds the call's number before and after.
  template <typename Block>
  void on_call(long call, Block block) {
    const size_t jump = code_.size();
    skip_unless_equal(static_cast<uint32_t>(call), 0);
    block();
    code_[jump].jf = static_cast<uint8_t>(code_.size() - jump - 1);
  }
  void refuse_above(uint32_t last, int error) {
    code_.push_back(BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, last, 0, 1));
    refuse(error);
  }
  void require_equal(uint32_t value, int error) {
    code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0));
    refuse(error);
  }

 private:
  void answer(uint32_t value) { code_.push_back(BPF_STMT(BPF_RET | BPF_K, value)); }
  void skip_unless_equal(uint32_t value, uint8_t skipped) {
    code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skipped));
  }
  std::vector<sock_filter> code_;
};

void add_socket_rules(FilterAssembler& filter) {
  filter.on_call(SYS_socket, [&] {
    filter.load_argument(1);
    filter.mask(kSocketTypeMask);
    filter.refuse_if(kSocketPacket, EPERM);
    // Netlink sockets are raw by name; of them only the routing tables, which Go and libc read.
    filter.load_argument(0);
    const auto inner = [&](int family) {
      filter.on_call(family, [&] {
        filter.load_argument(1);
        filter.mask(kSocketTypeMask);
        filter.refuse_if(SOCK_RAW, EPERM);
        filter.allow();
      });
    };
    inner(AF_INET);
    inner(AF_INET6);
    filter.allow_if(AF_UNIX);
    filter.on_call(AF_NETLINK, [&] {
      filter.load_argument(2);
      filter.allow_if(0);
      filter.refuse(EPERM);
    });
    filter.refuse(EAFNOSUPPORT);
  });
}

void add_node_rules(FilterAssembler& filter) {
  const auto check = [&](long call, unsigned argument) {
    filter.on_call(call, [&] {
      filter.load_argument(argument);
      filter.mask(S_IFMT);
      filter.refuse_if(S_IFCHR, EPERM);
      filter.refuse_if(S_IFBLK, EPERM);
      filter.allow();
    });
  };
  check(SYS_mknodat, 2);
#if defined(__x86_64__)
  check(SYS_mknod, 1);
#endif
}

void add_argument_rules(FilterAssembler& filter, bool allows_memory_files) {
  filter.on_call(SYS_clone, [&] {
    filter.load_argument(0);
    filter.mask(kNamespaceFlags);
    filter.allow_if(0);
    filter.refuse(EPERM);
  });
  filter.on_call(SYS_ioctl, [&] {
    filter.load_argument(1);
    filter.refuse_if(TIOCSTI, EPERM);
    filter.refuse_if(TIOCLINUX, EPERM);
    filter.refuse_if(TIOCCONS, EPERM);
    filter.allow();
  });
  filter.on_call(SYS_personality, [&] {
    filter.load_argument(0);
    filter.allow_if(0);
    filter.allow_if(kPersonalityQuery);
    filter.refuse(EPERM);
  });
  filter.on_call(SYS_memfd_create, [&] {
    if (!allows_memory_files) return filter.refuse(ENOSYS);
    filter.load_argument(1);
    filter.mask(kMemoryFileExecutable);
    filter.refuse_if(kMemoryFileExecutable, EPERM);
    filter.allow();
  });
}

}  // namespace

std::vector<sock_filter> make_program_filter(bool allows_memory_files) {
  FilterAssembler filter;
  filter.load(offsetof(seccomp_data, arch));
  filter.require_equal(kArchitecture, ENOSYS);
  filter.load(offsetof(seccomp_data, nr));
  filter.refuse_above(kLastKnownCall, ENOSYS);
  for (const Refusal& refusal : kRefusals) {
    filter.refuse_if(static_cast<uint32_t>(refusal.call), refusal.error);
  }
  add_socket_rules(filter);
  add_node_rules(filter);
  add_argument_rules(filter, allows_memory_files);
  filter.allow();
  return filter.take();
}

Status apply_filter(std::vector<sock_filter>& code) {
  const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) {
    return system_error("seccomp", errno);
  }
  return {};
}

}  // namespace brokkr::sandbox
