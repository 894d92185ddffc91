#define _GNU_SOURCE
#include "escape_probes.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef const struct EscapeFacts *Facts;

static int open_unless(long result) { return result >= 0 ? 0 : 1; }

// 0 when the file can be read and has bytes.
static int reads(const char *path) {
  char byte;
  int fd = open(path, O_RDONLY | O_NONBLOCK);
  if (fd < 0) return 1;
  return read(fd, &byte, 1) == 1 ? 0 : 1;
}
static int opens(const char *path, int flags) { return open_unless(open(path, flags | O_NONBLOCK)); }

static const char *proc_of(int pid, const char *rest) {
  static char path[512];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, rest);
  return path;
}

// ---- files of the host
static int read_shadow(Facts f) { (void)f; return reads("/etc/shadow"); }
static int read_secret(Facts f) { return reads(f->secret); }
static int read_secret_climbing(Facts f) {
  char path[512];
  snprintf(path, sizeof path, "/proc/self/cwd/../../../../../../../..%s", f->secret);
  if (reads(path) == 0) return 0;
  snprintf(path, sizeof path, "../../../../../../../..%s", f->secret);
  return reads(path);
}
static int read_secret_by_init_root(Facts f) {
  char rest[512];
  snprintf(rest, sizeof rest, "root%s", f->secret);
  return reads(proc_of(1, rest));
}
static int read_secret_by_victim_root(Facts f) {
  char rest[512];
  snprintf(rest, sizeof rest, "root%s", f->secret);
  return reads(proc_of(f->victim, rest));
}
static int read_secret_by_parent_cwd(Facts f) {
  char rest[512];
  snprintf(rest, sizeof rest, "cwd/../../../../../..%s", f->secret);
  return reads(proc_of(getppid(), rest));
}
static int read_secret_by_link(Facts f) {
  symlink(f->secret, "/tmp/escape-link");
  return reads("/tmp/escape-link");
}
static int race_a_link(Facts f) {
  // A folder that becomes a link between look and use.
  char host[512];
  int i;
  snprintf(host, sizeof host, "%s", f->folder);
  for (i = 0; i < 20; ++i) {
    mkdir("/tmp/escape-race", 0700);
    rmdir("/tmp/escape-race");
    symlink(host, "/tmp/escape-race");
    if (reads("/tmp/escape-race/secret") == 0) return 0;
    unlink("/tmp/escape-race");
  }
  return 1;
}
static int write_to_host(Facts f) {
  char path[512];
  snprintf(path, sizeof path, "%s/drop", f->folder);
  return open_unless(open(path, O_CREAT | O_WRONLY, 0600));
}
static int open_by_handle(Facts f) {
  struct {
    struct file_handle handle;
    unsigned char bytes[128];
  } space;
  int mount_id = 0;
  (void)f;
  memset(&space, 0, sizeof space);
  space.handle.handle_bytes = 128;
  if (name_to_handle_at(AT_FDCWD, "/", &space.handle, &mount_id, 0) != 0) return 1;
  return open_unless(open_by_handle_at(open("/", O_RDONLY), &space.handle, O_RDONLY));
}
static int list_host_folder(Facts f) { return opendir(f->folder) != NULL ? 0 : 1; }

// ---- its own files
static int write_artifact(Facts f) { (void)f; return opens("/proc/self/exe", O_WRONLY); }
static int replace_artifact(Facts f) {
  char path[512];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
  (void)f;
  if (n <= 0) return 1;
  path[n] = 0;
  return open_unless(unlink(path));
}
static int write_passwd(Facts f) { (void)f; return opens("/etc/passwd", O_WRONLY | O_APPEND); }
static int write_root(Facts f) { (void)f; return open_unless(open("/escape", O_CREAT | O_WRONLY, 0600)); }
static int make_character_device(Facts f) {
  (void)f;
  return open_unless(mknod("/tmp/escape-mem", S_IFCHR | 0600, (1 << 8) | 1));
}
static int make_block_device(Facts f) {
  (void)f;
  return open_unless(mknod("/tmp/escape-disk", S_IFBLK | 0600, (254 << 8) | 0));
}
static int own_by_root(Facts f) {
  int fd = open("/tmp/escape-owned", O_CREAT | O_WRONLY, 0600);
  (void)f;
  return fd < 0 ? 1 : open_unless(fchown(fd, 0, 0));
}

// ---- devices
static int open_memory_devices(Facts f) {
  (void)f;
  return opens("/dev/mem", O_RDONLY) && opens("/dev/kmem", O_RDONLY) && opens("/dev/port", O_RDONLY);
}
static int open_disks(Facts f) {
  (void)f;
  return opens("/dev/vda", O_RDONLY) && opens("/dev/sda", O_RDONLY) &&
         opens("/dev/nvme0n1", O_RDONLY) && opens("/dev/loop0", O_RDONLY);
}
static int open_kvm(Facts f) { (void)f; return opens("/dev/kvm", O_RDWR); }
static int open_fuse(Facts f) { (void)f; return opens("/dev/fuse", O_RDWR); }
static int open_tun(Facts f) { (void)f; return opens("/dev/net/tun", O_RDWR); }
static int open_kernel_log(Facts f) { (void)f; return opens("/dev/kmsg", O_RDONLY); }
static int open_terminal(Facts f) {
  (void)f;
  return opens("/dev/tty", O_RDWR) && opens("/dev/console", O_RDWR) && opens("/dev/ptmx", O_RDWR);
}
static int push_into_terminal(Facts f) {
  int fd;
  char letter = 'x';
  (void)f;
  for (fd = 0; fd < 3; ++fd) {
    if (ioctl(fd, TIOCSTI, &letter) == 0) return 0;
  }
  return 1;
}

// ---- mounts and roots
static int mount_tmpfs(Facts f) { (void)f; return open_unless(mount("x", "/tmp", "tmpfs", 0, NULL)); }
static int mount_proc(Facts f) { (void)f; return open_unless(mount("proc", "/tmp", "proc", 0, NULL)); }
static int bind_root(Facts f) { (void)f; return open_unless(mount("/", "/tmp", NULL, MS_BIND, NULL)); }
static int remount_root(Facts f) {
  (void)f;
  return open_unless(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL));
}
static int new_mount_calls(Facts f) {
  (void)f;
  return open_unless(syscall(SYS_fsopen, "tmpfs", 0)) &&
         open_unless(syscall(SYS_open_tree, AT_FDCWD, "/", 1));
}
static int unmount_proc(Facts f) { (void)f; return open_unless(umount2("/proc", MNT_DETACH)); }
static int pivot(Facts f) { (void)f; return open_unless(syscall(SYS_pivot_root, "/tmp", "/tmp")); }
static int change_root(Facts f) { (void)f; return open_unless(chroot("/tmp")); }

// ---- namespaces
static int unshare_user(Facts f) { (void)f; return open_unless(unshare(CLONE_NEWUSER)); }
static int unshare_mounts(Facts f) { (void)f; return open_unless(unshare(CLONE_NEWNS)); }
static int clone_user(Facts f) {
  long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
  (void)f;
  if (pid == 0) _exit(0);
  return open_unless(pid);
}
static int clone3_user(Facts f) {
  struct {
    unsigned long long flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
  } arguments;
  long pid;
  (void)f;
  memset(&arguments, 0, sizeof arguments);
  arguments.flags = CLONE_NEWUSER;
  arguments.exit_signal = SIGCHLD;
  pid = syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid == 0) _exit(0);
  return open_unless(pid);
}
static int enter_namespaces_of(int pid) {
  static const char *const kNames[] = {"ns/mnt", "ns/net", "ns/pid", "ns/user", "ns/ipc"};
  size_t i;
  for (i = 0; i < sizeof kNames / sizeof *kNames; ++i) {
    int fd = open(proc_of(pid, kNames[i]), O_RDONLY);
    if (fd >= 0 && setns(fd, 0) == 0) return 0;
  }
  return 1;
}
static int enter_init_namespaces(Facts f) { (void)f; return enter_namespaces_of(1); }
static int enter_victim_namespaces(Facts f) { return enter_namespaces_of(f->victim); }
static int write_uid_map(Facts f) {
  int fd = open("/proc/self/uid_map", O_WRONLY);
  (void)f;
  return fd < 0 ? 1 : open_unless(write(fd, "0 0 1", 5));
}

// ---- other processes
static int see_victim(Facts f) { return reads(proc_of(f->victim, "cmdline")); }
static int read_victim_environment(Facts f) { return reads(proc_of(f->victim, "environ")); }
static int read_init_environment(Facts f) { (void)f; return reads(proc_of(1, "environ")); }
static int open_init_memory(Facts f) { (void)f; return opens(proc_of(1, "mem"), O_RDWR); }
static int list_init_descriptors(Facts f) { (void)f; return opendir(proc_of(1, "fd")) != NULL ? 0 : 1; }
static int trace_victim(Facts f) { return open_unless(ptrace(PTRACE_SEIZE, f->victim, 0, 0)); }
static int trace_init(Facts f) { (void)f; return open_unless(ptrace(PTRACE_SEIZE, 1, 0, 0)); }
static int read_memory_of(int pid) {
  char byte;
  struct iovec here = {&byte, 1};
  struct iovec there = {(void *)&kEscapeProbeCount, 1};
  return process_vm_readv(pid, &here, 1, &there, 1, 0) == 1 || errno == EFAULT ? 0 : 1;
}
static int read_victim_memory(Facts f) { return read_memory_of(f->victim); }
static int read_init_memory(Facts f) { (void)f; return read_memory_of(1); }
static int take_descriptor(Facts f) {
  long fd = syscall(SYS_pidfd_open, 1, 0);
  (void)f;
  return fd < 0 ? 1 : open_unless(syscall(SYS_pidfd_getfd, fd, 3, 0));
}
static int signal_victim(Facts f) { return open_unless(kill(f->victim, 0)); }
static int signal_init(Facts f) { (void)f; return open_unless(kill(1, 0)); }
static int compare_kernel_pointers(Facts f) {
  (void)f;
  return open_unless(syscall(SYS_kcmp, getpid(), getpid(), 0, 0, 1));
}

// ---- rights
static int become_root(Facts f) {
  (void)f;
  if (getuid() == 0) return 0;
  return open_unless(setresuid(0, 0, 0));
}
static int become_root_group(Facts f) {
  (void)f;
  return getgid() == 0 ? 0 : open_unless(setresgid(0, 0, 0));
}
static int join_groups(Facts f) {
  gid_t group = 0;
  (void)f;
  return open_unless(syscall(SYS_setgroups, 1, &group));
}
static int regain_capabilities(Facts f) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  (void)f;
  memset(data, 0xFF, sizeof data);
  return open_unless(syscall(SYS_capset, &header, data));
}
static int raise_bounding_set(Facts f) {
  (void)f;
  return prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) == 1 ? 0 : 1;
}
static int gain_privileges_by_exec(Facts f) {
  (void)f;
  return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0 ? 0 : 1;
}
static int raise_priority(Facts f) { (void)f; return open_unless(setpriority(PRIO_PROCESS, 0, -20)); }
static int go_realtime(Facts f) {
  struct sched_param parameters = {1};
  (void)f;
  return open_unless(sched_setscheduler(0, SCHED_FIFO, &parameters));
}
static int lock_memory(Facts f) {
  void *memory = mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  (void)f;
  return open_unless(mlock(memory, 16 << 20));
}
static int dump_core(Facts f) {
  struct rlimit limit = {1 << 20, 1 << 20};
  (void)f;
  return open_unless(setrlimit(RLIMIT_CORE, &limit));
}

// ---- the kernel's own interfaces
static int load_bpf(Facts f) {
  char attributes[128];
  (void)f;
  memset(attributes, 0, sizeof attributes);
  ((unsigned *)attributes)[0] = 2;  // an array of one
  ((unsigned *)attributes)[1] = 4;
  ((unsigned *)attributes)[2] = 4;
  ((unsigned *)attributes)[3] = 1;
  return open_unless(syscall(SYS_bpf, 0, attributes, sizeof attributes));
}
static int open_perf(Facts f) {
  unsigned attributes[32];
  (void)f;
  memset(attributes, 0, sizeof attributes);
  attributes[0] = 1;
  attributes[1] = 112;
  return open_unless(syscall(SYS_perf_event_open, attributes, 1, -1, -1, 0));
}
static int add_key(Facts f) {
  (void)f;
  return open_unless(syscall(SYS_add_key, "user", "escape", "x", 1, -4));
}
static int read_keyring(Facts f) { (void)f; return open_unless(syscall(SYS_keyctl, 0, -4, 0, 0, 0)); }
static int set_up_io_uring(Facts f) {
  char parameters[256];
  (void)f;
  memset(parameters, 0, sizeof parameters);
  return open_unless(syscall(SYS_io_uring_setup, 1, parameters));
}
static int open_userfaultfd(Facts f) { (void)f; return open_unless(syscall(SYS_userfaultfd, 0)); }
static int load_module(Facts f) {
  (void)f;
  return syscall(SYS_init_module, "x", 1, "") == 0 || errno == ENOEXEC ? 0 : 1;
}
static int load_kernel(Facts f) { (void)f; return open_unless(syscall(SYS_kexec_load, 0, 0, 0, 0)); }
static int reboot_switch(Facts f) {
  // Only switches off what Ctrl-Alt-Del does.
  (void)f;
  return open_unless(syscall(SYS_reboot, 0xfee1dead, 672274793, 0, 0));
}
static int add_swap(Facts f) { (void)f; return open_unless(syscall(SYS_swapon, "/tmp/escape-swap", 0)); }
static int set_host_name(Facts f) { (void)f; return open_unless(sethostname("escaped", 7)); }
static int set_clock(Facts f) {
  struct timespec now;
  (void)f;
  clock_gettime(CLOCK_REALTIME, &now);
  return open_unless(clock_settime(CLOCK_REALTIME, &now));
}
static int read_kernel_log(Facts f) {
  char text[64];
  (void)f;
  return open_unless(syscall(SYS_syslog, 3, text, sizeof text));
}
static int use_ports(Facts f) {
  (void)f;
#ifdef SYS_iopl
  return open_unless(syscall(SYS_iopl, 3)) && open_unless(syscall(SYS_ioperm, 0x80, 1, 1));
#else
  return 1;
#endif
}
static int account(Facts f) { (void)f; return open_unless(syscall(SYS_acct, "/tmp/escape-acct")); }
static int change_personality(Facts f) {
  (void)f;
  return open_unless(syscall(SYS_personality, 0x0400000));  // READ_IMPLIES_EXEC
}
static int write_core_pattern(Facts f) { (void)f; return opens("/proc/sys/kernel/core_pattern", O_WRONLY); }
static int open_sysrq(Facts f) {
  int fd = open("/proc/sysrq-trigger", O_WRONLY);
  struct stat info;
  (void)f;
  // The null device in its place is none.
  return fd >= 0 && fstat(fd, &info) == 0 && !S_ISCHR(info.st_mode) ? 0 : 1;
}
static int read_kernel_memory(Facts f) { (void)f; return reads("/proc/kcore"); }
static int read_key_list(Facts f) { (void)f; return reads("/proc/keys"); }
static int open_control_groups(Facts f) {
  (void)f;
  return opens("/sys/fs/cgroup/memory/release_agent", O_WRONLY) &&
         opens("/sys/fs/cgroup/cgroup.procs", O_WRONLY) &&
         opens("/sys/fs/cgroup/memory/cgroup.procs", O_WRONLY);
}
static int read_sysfs(Facts f) { (void)f; return opens("/sys/kernel", O_RDONLY | O_DIRECTORY); }
static int call_by_other_numbers(Facts f) {
  // mount, by the numbers of the x32 interface.
  (void)f;
  return open_unless(syscall(0x40000000 | SYS_mount, "x", "/tmp", "tmpfs", 0, 0));
}

// ---- network
static int connects(const char *host, int port) {
  struct sockaddr_in address;
  struct pollfd waited;
  int error = 0;
  socklen_t size = sizeof error;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (fd < 0) return 1;
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_port = htons((unsigned short)port);
  inet_pton(AF_INET, host, &address.sin_addr);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return 0;
  if (errno != EINPROGRESS) return 1;
  waited.fd = fd;
  waited.events = POLLOUT;
  // A packet that has left and is not answered has left.
  if (poll(&waited, 1, 300) <= 0) return 0;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error == 0 ? 0 : 1;
}
static int connect_host_port(Facts f) { return connects("127.0.0.1", f->tcp_port); }
static int connect_metadata(Facts f) { (void)f; return connects("169.254.169.254", 80); }
static int connect_private(Facts f) { (void)f; return connects("10.0.0.1", 80); }
static int connect_public(Facts f) { (void)f; return connects("192.0.2.1", 443); }
static int ask_host_udp(Facts f) {
  struct sockaddr_in address;
  struct pollfd waited;
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_port = htons((unsigned short)f->udp_port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || sendto(fd, "x", 1, 0, (struct sockaddr *)&address, sizeof address) != 1) return 1;
  waited.fd = fd;
  waited.events = POLLIN;
  return poll(&waited, 1, 100) > 0 && recv(fd, &address, 1, 0) == 1 ? 0 : 1;
}
static int raw_socket(Facts f) { (void)f; return open_unless(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)); }
static int packet_socket(Facts f) { (void)f; return open_unless(socket(AF_PACKET, SOCK_RAW, 0)); }
static int netlink_socket(Facts f) { (void)f; return open_unless(socket(AF_NETLINK, SOCK_RAW, 9)); }
static int vsock_socket(Facts f) { (void)f; return open_unless(socket(AF_VSOCK, SOCK_STREAM, 0)); }
static int crypto_socket(Facts f) { (void)f; return open_unless(socket(AF_ALG, SOCK_SEQPACKET, 0)); }
static int connect_unix(const char *name, int is_abstract) {
  struct sockaddr_un address;
  socklen_t size;
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0) return 1;
  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path + is_abstract, name, sizeof address.sun_path - 2);
  size = is_abstract ? (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))
                     : (socklen_t)sizeof address;
  return open_unless(connect(fd, (struct sockaddr *)&address, size));
}
static int connect_abstract_socket(Facts f) { return connect_unix(f->abstract, 1); }
static int connect_socket_file(Facts f) { return connect_unix(f->socket_path, 0); }
static int attach_shared_memory(Facts f) {
  return shmat(f->shared_memory, NULL, SHM_RDONLY) == (void *)-1 ? 1 : 0;
}
static int open_message_queue(Facts f) { return open_unless(mq_open(f->queue, O_RDONLY)); }

// ---- more than its share
static int fork_bomb(Facts f) {
  int made;
  (void)f;
  for (made = 0; made < 256; ++made) {
    pid_t pid = fork();
    if (pid < 0) return 1;
    if (pid == 0) {
      pause();
      _exit(0);
    }
  }
  return 0;
}
static int take_memory(Facts f) {
  size_t at;
  size_t bytes = 512U << 20;
  char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  (void)f;
  if (memory == MAP_FAILED) return 1;
  for (at = 0; at < bytes; at += 4096) memory[at] = 1;
  return 0;
}
static int fill_disk(Facts f) {
  static char bytes[1 << 20];
  int i;
  int fd = open("/tmp/escape-fill", O_CREAT | O_WRONLY | O_TRUNC, 0600);
  (void)f;
  if (fd < 0) return 1;
  for (i = 0; i < 32; ++i) {
    if (write(fd, bytes, sizeof bytes) != (ssize_t)sizeof bytes) break;
  }
  unlink("/tmp/escape-fill");
  return i == 32 ? 0 : 1;
}
static int leak_descriptors(Facts f) {
  int i;
  (void)f;
  for (i = 0; i < 70000; ++i) {
    if (dup(0) < 0) return 1;
  }
  return 0;
}
static int use_inherited_descriptors(Facts f) {
  int fd;
  (void)f;
  for (fd = 3; fd < 1024; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) return 0;
  }
  return 1;
}
static int read_node_environment(Facts f) {
  (void)f;
  return getenv("ESCAPE_SECRET") != NULL ? 0 : 1;
}
static int execute_from_memory(Facts f) {
  static char bytes[1 << 16];
  char *const arguments[] = {"x", "exit0", NULL};
  char path[64];
  ssize_t n;
  int from = open("/proc/self/exe", O_RDONLY);
  int to = memfd_create("x", 0);
  (void)f;
  if (from < 0 || to < 0) return 1;
  while ((n = read(from, bytes, sizeof bytes)) > 0) {
    if (write(to, bytes, (size_t)n) != n) return 1;
  }
  fchmod(to, 0755);
  syscall(SYS_execveat, to, "", arguments, environ, AT_EMPTY_PATH);
  snprintf(path, sizeof path, "/proc/self/fd/%d", to);
  execve(path, arguments, environ);
  return 1;
}
static int execute_what_it_wrote(Facts f) {
  static char bytes[1 << 16];
  char *const arguments[] = {"x", "exit0", NULL};
  ssize_t n;
  int from = open("/proc/self/exe", O_RDONLY);
  int to = open("/tmp/escape-program", O_CREAT | O_WRONLY | O_TRUNC, 0755);
  (void)f;
  if (from < 0 || to < 0) return 1;
  while ((n = read(from, bytes, sizeof bytes)) > 0) {
    if (write(to, bytes, (size_t)n) != n) return 1;
  }
  close(to);
  execve("/tmp/escape-program", arguments, environ);
  return 1;
}

#define PROBE(name) {#name, name, 0, 0, 0}
#define FAR_PROBE(name) {#name, name, 0, 1, 0}
#define OWN_PROBE(name) {#name, name, 0, 0, 1}
const struct EscapeProbe kEscapeProbes[] = {
    OWN_PROBE(read_shadow), PROBE(read_secret), PROBE(read_secret_climbing),
    PROBE(read_secret_by_init_root), PROBE(read_secret_by_victim_root),
    PROBE(read_secret_by_parent_cwd), PROBE(read_secret_by_link), PROBE(race_a_link),
    PROBE(write_to_host), PROBE(open_by_handle), PROBE(list_host_folder), PROBE(write_artifact),
    OWN_PROBE(replace_artifact), OWN_PROBE(write_passwd), OWN_PROBE(write_root), PROBE(make_character_device),
    PROBE(make_block_device), OWN_PROBE(own_by_root), PROBE(open_memory_devices), PROBE(open_disks),
    PROBE(open_kvm), PROBE(open_fuse), PROBE(open_tun), PROBE(open_kernel_log),
    PROBE(open_terminal), PROBE(push_into_terminal), PROBE(mount_tmpfs), PROBE(mount_proc),
    PROBE(bind_root), PROBE(remount_root), PROBE(new_mount_calls), PROBE(unmount_proc),
    PROBE(pivot), PROBE(change_root), PROBE(unshare_user), PROBE(unshare_mounts),
    PROBE(clone_user), PROBE(clone3_user), PROBE(enter_init_namespaces),
    PROBE(enter_victim_namespaces), PROBE(write_uid_map), PROBE(see_victim),
    PROBE(read_victim_environment), PROBE(read_init_environment), PROBE(open_init_memory),
    PROBE(list_init_descriptors), PROBE(trace_victim), PROBE(trace_init),
    PROBE(read_victim_memory), PROBE(read_init_memory), PROBE(take_descriptor),
    PROBE(signal_victim), PROBE(signal_init), PROBE(compare_kernel_pointers), OWN_PROBE(become_root),
    OWN_PROBE(become_root_group), PROBE(join_groups), PROBE(regain_capabilities),
    PROBE(raise_bounding_set), PROBE(gain_privileges_by_exec), PROBE(raise_priority),
    PROBE(go_realtime), PROBE(lock_memory), PROBE(dump_core), PROBE(load_bpf), PROBE(open_perf),
    PROBE(add_key), PROBE(read_keyring), PROBE(set_up_io_uring), PROBE(open_userfaultfd),
    PROBE(load_module), PROBE(load_kernel), PROBE(reboot_switch), PROBE(add_swap),
    PROBE(set_host_name), PROBE(set_clock), PROBE(read_kernel_log), PROBE(use_ports),
    PROBE(account), PROBE(change_personality), PROBE(write_core_pattern), PROBE(open_sysrq),
    PROBE(read_kernel_memory), PROBE(read_key_list), PROBE(open_control_groups),
    PROBE(read_sysfs), PROBE(call_by_other_numbers), PROBE(connect_host_port),
    FAR_PROBE(connect_metadata), FAR_PROBE(connect_private), FAR_PROBE(connect_public), PROBE(ask_host_udp),
    PROBE(raw_socket), PROBE(packet_socket), PROBE(netlink_socket), PROBE(vsock_socket),
    PROBE(crypto_socket), PROBE(connect_abstract_socket), PROBE(connect_socket_file),
    PROBE(attach_shared_memory), PROBE(open_message_queue), PROBE(fork_bomb), PROBE(take_memory),
    PROBE(fill_disk), PROBE(leak_descriptors), PROBE(use_inherited_descriptors),
    PROBE(read_node_environment), PROBE(execute_from_memory),
    {"execute_what_it_wrote", execute_what_it_wrote, 1, 0, 0},
};
const int kEscapeProbeCount = (int)(sizeof kEscapeProbes / sizeof *kEscapeProbes);

struct EscapeFacts escape_facts(int argc, char **argv) {
  struct EscapeFacts facts;
  int i;
  memset(&facts, 0, sizeof facts);
  for (i = 1; i < argc; ++i) {
    const char *value = strchr(argv[i], '=');
    if (value == NULL) continue;
    ++value;
    if (strncmp(argv[i], "victim=", 7) == 0) facts.victim = atoi(value);
    if (strncmp(argv[i], "tcp=", 4) == 0) facts.tcp_port = atoi(value);
    if (strncmp(argv[i], "udp=", 4) == 0) facts.udp_port = atoi(value);
    if (strncmp(argv[i], "folder=", 7) == 0) facts.folder = value;
    if (strncmp(argv[i], "secret=", 7) == 0) facts.secret = value;
    if (strncmp(argv[i], "socket=", 7) == 0) facts.socket_path = value;
    if (strncmp(argv[i], "abstract=", 9) == 0) facts.abstract = value;
    if (strncmp(argv[i], "queue=", 6) == 0) facts.queue = value;
    if (strncmp(argv[i], "shm=", 4) == 0) facts.shared_memory = atoi(value);
    if (strncmp(argv[i], "image=", 6) == 0) facts.is_image = atoi(value);
    if (strncmp(argv[i], "root=", 5) == 0) facts.is_root = atoi(value);
    if (strncmp(argv[i], "control=", 8) == 0) facts.is_control = atoi(value);
  }
  return facts;
}
