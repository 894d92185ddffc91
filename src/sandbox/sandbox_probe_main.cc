// The program the room's test starts as a sandboxed child: enters as a zygote's instance would and
// then does what its argument says, so that the test can see what the kernel makes of it.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "sandbox/enter.h"
#include "sandbox/program.h"

namespace {

// 0 done, 1 refused with an error; a call that is not allowed never returns.
int attempt(std::string_view what) {
  const auto code = [](long result) { return result >= 0 ? 0 : 1; };
  if (what == "nothing") return 0;
  if (what == "open") return code(open("/", O_RDONLY));
  if (what == "stat") {
    struct stat info {};
    return code(stat("/etc/passwd", &info));
  }
  if (what == "fork") return code(fork());
  if (what == "clone3") return code(syscall(SYS_clone3, nullptr, 0));
  if (what == "socket") return code(socket(AF_INET, SOCK_STREAM, 0));
  if (what == "exec") return code(execl("/bin/true", "true", nullptr));
  if (what == "ptrace") return code(ptrace(PTRACE_TRACEME, 0, 0, 0));
  if (what == "kill") return code(kill(1, SIGKILL));
  if (what == "mount") return code(syscall(SYS_mount, "x", "/", "tmpfs", 0, 0));
  if (what == "unshare") return code(syscall(SYS_unshare, 0x10000000));
  if (what == "bpf") return code(syscall(SYS_bpf, 0, 0, 0));
  if (what == "keyctl") return code(syscall(SYS_keyctl, 0, 0, 0, 0, 0));
  if (what == "io_uring") return code(syscall(SYS_io_uring_setup, 1, 0));
  if (what == "userfaultfd") return code(syscall(SYS_userfaultfd, 0));
  if (what == "memfd") return code(syscall(SYS_memfd_create, "x", 0));
  if (what == "process_vm_readv") return code(syscall(SYS_process_vm_readv, 1, 0, 0, 0, 0, 0));
  if (what == "setuid") return code(syscall(SYS_setuid, 0));
  if (what == "connect") return code(syscall(SYS_connect, 3, 0, 0));
  if (what == "recvmsg") return code(syscall(SYS_recvmsg, 3, 0, 0));
  if (what == "prctl") return code(syscall(SYS_prctl, 4, 1, 0, 0, 0));
  if (what == "setrlimit") return code(syscall(SYS_prlimit64, 0, 7, "xxxxxxxxxxxxxxxx", 0));
  if (what == "pidfd") return code(syscall(SYS_pidfd_open, 1, 0));
  if (what == "mknod") return code(syscall(SYS_mknodat, -100, "/x", 0x2000, 0));
  if (what == "jit") {
    void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return code(mprotect(page, 4096, PROT_READ | PROT_EXEC));
  }
  return 2;
}

int run(int argc, char** argv) {
  using namespace brokkr::sandbox;  // NOLINT: a program of one screen
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == kProbeRole) probe_main();
  if (what == kLauncherRole) launcher_main();
  uint32_t layers = enter_namespaces();
  Filters filters;
  const bool is_made = filters.make().operator bool();
  layers = lock_down(layers);
  // Without the filter the other layers answer for themselves.
  if (what == "unfiltered-open") return open("/etc/passwd", O_RDONLY) >= 0 ? 0 : 1;
  if (what == "unfiltered-create") return open("/x", O_CREAT | O_RDWR, 0600) >= 0 ? 0 : 1;
  if (what == "unfiltered-mount") return mount("x", "/", "tmpfs", 0, nullptr) == 0 ? 0 : 1;
  if (what == "unfiltered-kill") return kill(static_cast<pid_t>(atoi(argv[2])), 0) == 0 ? 0 : 1;
  if (what == "unfiltered-setuid") return setuid(0) == 0 ? 0 : 1;
  if (!is_made || !filters.apply_zygote()) return 3;
  const pid_t child = fork();
  if (child == 0) {
    shed_descriptors(3);
    // Waits as a watchdog does, in a call that the filter it is about to get allows.
    std::thread watchdog([] { poll(nullptr, 0, -1); });
    watchdog.detach();
    if (!filters.apply_instance()) _exit(3);
    _exit(attempt(what));
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? 100 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

// Without what runs at exit: a leak checker would look for /proc.
int main(int argc, char** argv) { _exit(run(argc, argv)); }
