#include "sandbox/launcher_protocol.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "sandbox/elf.h"
#include "sandbox/program_filter.h"

namespace brokkr::sandbox {
namespace {

LaunchOrder full_order() {
  LaunchOrder order;
  ProgramSpec& spec = order.spec;
  spec.name = "n";
  spec.executable = "/x";
  spec.lower = {"/a", "/b"};
  spec.upper = "/u";
  spec.binds = {{"/s", "/t", true}, {"/s2", "/t2", false}};
  spec.arguments = {"x", "", "y z"};
  spec.environment = {"A=1"};
  spec.working_folder = "/w";
  spec.user = "1:2";
  spec.limits = {1, 2, 3, 4, 5};
  spec.listeners = {{"192.168.127.1", 4222, "broker"}};
  spec.policy = Policy::Required;
  spec.layers_off = kSeccomp;
  spec.landlock_abi_max = 3;
  order.is_confined = false;
  order.needs_libraries = true;
  order.groups = 4;
  order.group_layers = kCgroupCpu;
  return order;
}

TEST(LaunchOrder, IsReadAsItWasWritten) {
  const std::string bytes = encode(full_order());
  const auto read = decode_order(bytes);
  ASSERT_TRUE(read);
  EXPECT_EQ(encode(*read), bytes);
  EXPECT_EQ(read->spec.arguments, full_order().spec.arguments);
  EXPECT_EQ(read->spec.limits.disk_bytes, 5U);
  EXPECT_TRUE(read->spec.binds.front().is_writable);
  EXPECT_FALSE(read->is_confined);
}

TEST(LaunchOrder, CutShortIsRefused) {
  const std::string bytes = encode(full_order());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode_order(std::string_view(bytes).substr(0, size))) << size;
  }
  EXPECT_FALSE(decode_texts(std::string(8, '\xff')));
}

TEST(LauncherPacket, CarriesADescriptor) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  LauncherPacket packet;
  packet.kind = LauncherPacket::kFailed;
  packet.set_text(std::string(1000, 'x'));
  ASSERT_TRUE(send_launcher_packet(ends[0], packet, 0));
  LauncherPacket got;
  int descriptor = -1;
  ASSERT_EQ(receive_launcher_packet(ends[1], got, descriptor), 1);
  EXPECT_EQ(got.get_text(), std::string(sizeof packet.text - 1, 'x'));
  EXPECT_GE(descriptor, 0);
  close(descriptor);
  ASSERT_TRUE(send_descriptors(ends[0], {ends[0], ends[1]}));
  const std::vector<int> several = receive_descriptors(ends[1]);
  EXPECT_EQ(several.size(), 2U);
  for (const int fd : several) close(fd);
  EXPECT_FALSE(send_descriptors(ends[0], std::vector<int>(kLauncherDescriptorsMax + 1, 0)));
  close(ends[0]);
  EXPECT_EQ(receive_launcher_packet(ends[1], got, descriptor), 0);
  close(ends[1]);
}

// What the kernel would answer: the filter is an ordinary classic BPF program.
uint32_t answer(const std::vector<sock_filter>& code, const seccomp_data& data) {
  uint32_t accumulator = 0;
  for (size_t at = 0; at < code.size(); ++at) {
    const sock_filter& step = code[at];
    switch (step.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        std::memcpy(&accumulator, reinterpret_cast<const char*>(&data) + step.k, sizeof accumulator);
        break;
      case BPF_ALU | BPF_AND | BPF_K: accumulator &= step.k; break;
      case BPF_JMP | BPF_JEQ | BPF_K: at += accumulator == step.k ? step.jt : step.jf; break;
      case BPF_JMP | BPF_JGT | BPF_K: at += accumulator > step.k ? step.jt : step.jf; break;
      case BPF_RET | BPF_K: return step.k;
      default: return SECCOMP_RET_KILL_PROCESS;
    }
  }
  return SECCOMP_RET_KILL_PROCESS;
}

#if defined(__x86_64__)
TEST(ProgramFilter, AnswersByCallAndArgument) {
  const std::vector<sock_filter> code = make_program_filter(true);
  const auto ask = [&](int call, uint64_t first = 0, uint64_t second = 0, uint64_t third = 0) {
    seccomp_data data{};
    data.nr = call;
    data.arch = AUDIT_ARCH_X86_64;
    data.args[0] = first;
    data.args[1] = second;
    data.args[2] = third;
    return answer(code, data);
  };
  const uint32_t refused = SECCOMP_RET_ERRNO | EPERM;
  const uint32_t missing = SECCOMP_RET_ERRNO | ENOSYS;
  for (const int call : {SYS_read, SYS_execve, SYS_fork, SYS_futex, SYS_openat, SYS_kill, SYS_statx}) {
    EXPECT_EQ(ask(call), SECCOMP_RET_ALLOW) << call;
  }
  for (const int call : {SYS_mount, SYS_unshare, SYS_bpf, SYS_ptrace, SYS_keyctl, SYS_setns}) {
    EXPECT_EQ(ask(call), refused) << call;
  }
  for (const int call : {SYS_clone3, SYS_io_uring_setup, 451, 0x40000000 | SYS_read}) {
    EXPECT_EQ(ask(call), missing) << call;
  }
  EXPECT_EQ(ask(SYS_clone, SIGCHLD), SECCOMP_RET_ALLOW);
  EXPECT_EQ(ask(SYS_clone, 0x10000000 | SIGCHLD), refused);
  // The kernel looks at the lower half alone; so does the filter.
  EXPECT_EQ(ask(SYS_ioctl, 0, 0x5412), refused);
  EXPECT_EQ(ask(SYS_ioctl, 0, 0x100005412), refused);
  EXPECT_EQ(ask(SYS_ioctl, 0, 0x5401), SECCOMP_RET_ALLOW);
  EXPECT_EQ(ask(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC), SECCOMP_RET_ALLOW);
  EXPECT_EQ(ask(SYS_socket, AF_INET, SOCK_RAW), refused);
  EXPECT_EQ(ask(SYS_socket, AF_NETLINK, SOCK_RAW, 0), SECCOMP_RET_ALLOW);
  EXPECT_EQ(ask(SYS_socket, AF_NETLINK, SOCK_RAW, 9), refused);
  EXPECT_EQ(ask(SYS_socket, AF_VSOCK, SOCK_STREAM), SECCOMP_RET_ERRNO | EAFNOSUPPORT);
  EXPECT_EQ(ask(SYS_mknodat, 0, 0, 0020600), refused);
  EXPECT_EQ(ask(SYS_mknodat, 0, 0, 0010600), SECCOMP_RET_ALLOW);
  EXPECT_EQ(ask(SYS_memfd_create, 0, 0), SECCOMP_RET_ALLOW);
  EXPECT_EQ(ask(SYS_memfd_create, 0, 0x10), refused);
  seccomp_data other{};
  other.nr = SYS_read;
  other.arch = AUDIT_ARCH_I386;
  EXPECT_EQ(answer(code, other), missing);
}
#endif

TEST(Executable, IsLookedAtBeforeItIsStarted) {
  EXPECT_EQ(*needs_interpreter(BROKKR_SANDBOX_GUEST), false);
  EXPECT_EQ(*needs_interpreter(BROKKR_SANDBOX_GUEST_DYNAMIC), true);
  EXPECT_EQ(needs_interpreter("/none").error().code, Errc::NotFound);
  EXPECT_EQ(needs_interpreter("/").error().code, Errc::InvalidArgument);
  EXPECT_EQ(needs_interpreter("/etc/passwd").error().code, Errc::InvalidArgument);
}

}  // namespace
}  // namespace brokkr::sandbox
