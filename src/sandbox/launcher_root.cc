#include "sandbox/launcher_root.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>

namespace brokkr::sandbox {
namespace {

constexpr const char* kDeviceNames[] = {"null", "zero", "full", "random", "urandom"};
constexpr const char* kLibraryFolders[] = {"/lib", "/lib32", "/lib64", "/libx32",
                                           "/usr/lib", "/usr/lib32", "/usr/lib64"};
// Read-only data every program may expect: certificates and time zones.
constexpr const char* kSharedFolders[] = {"/etc/ssl/certs", "/etc/pki/tls/certs",
                                          "/usr/share/ca-certificates", "/usr/share/zoneinfo"};
// What of /proc tells of the machine, not of the sandbox.
constexpr uint16_t kNamePort = 53;
constexpr const char* kMaskedFiles[] = {
    "kcore", "keys", "key-users", "kmsg", "kallsyms", "modules", "timer_list", "sched_debug",
    "latency_stats", "config.gz", "sysrq-trigger", "interrupts", "slabinfo", "vmallocinfo",
    "kpagecount", "kpageflags", "kpagecgroup", "iomem", "ioports"};
constexpr const char* kMaskedFolders[] = {"acpi", "asound", "bus", "driver", "fs", "irq", "scsi",
                                          "tty", "sysvipc"};
constexpr uint64_t kPlain = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
constexpr const char* kBareRootOptions = "size=1m,nr_inodes=1024,mode=0755";

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

Status restrict_mount(int fd, const char* path, uint64_t attributes, unsigned flags) {
  mount_attr wanted{};
  wanted.attr_set = attributes;
  if (syscall(SYS_mount_setattr, fd, path, flags, &wanted, sizeof wanted) != 0) {
    return system_error("mount_setattr", errno);
  }
  return {};
}

// Makes the folders of `path`, inside the new root.
void make_folders(const std::string& path) {
  for (size_t at = 1; at != std::string::npos && at <= path.size();) {
    at = path.find('/', at);
    mkdir(path.substr(0, at).c_str(), 0755);
    if (at != std::string::npos) ++at;
  }
}

void make_parents(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash != 0 && slash != std::string::npos) make_folders(path.substr(0, slash));
}

// Over whatever was there, never through a link.
void write_new_file(const std::string& path, const std::string& text) {
  unlink(path.c_str());
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd < 0) return;
  if (write(fd, text.data(), text.size()) < 0) unlink(path.c_str());
  fchmod(fd, 0644);
  close(fd);
}

std::string tmpfs_options(uint64_t bytes, const char* mode) {
  std::string options = std::string("nr_inodes=65536,mode=") + mode;
  if (bytes != 0) options += ",size=" + std::to_string(bytes);
  return options;
}

Status mount_tmpfs(const std::string& place, unsigned long flags, const std::string& options) {
  if (mount("tmpfs", place.c_str(), "tmpfs", flags, options.c_str()) != 0) {
    return system_error(("tmpfs on " + place).c_str(), errno);
  }
  return {};
}

std::string self_fd(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

}  // namespace

std::string inner_executable(const ProgramSpec& spec) {
  return spec.executable.empty() ? std::string() : "/app/" + base_name(spec.executable);
}

InnerRoot::~InnerRoot() {
  for (const auto* trees : {&devices_, &trees_}) {
    for (const Tree& tree : *trees) close(tree.fd);
  }
}

Status InnerRoot::hold(const std::string& source, const std::string& target, uint64_t attributes) {
  const int fd = static_cast<int>(syscall(SYS_open_tree, AT_FDCWD, source.c_str(),
                                          OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (fd < 0) return system_error(source.c_str(), errno);
  struct stat info {};
  const bool is_folder = fstat(fd, &info) == 0 && S_ISDIR(info.st_mode);
  const bool is_device = (attributes & MOUNT_ATTR_NODEV) == 0;
  (is_device ? devices_ : trees_).push_back({fd, target, is_folder});
  if (is_device) {
    // A node made for us may be on a file system that has none; not ours to change without root's rights.
    mount_attr wanted{};
    wanted.attr_clr = MOUNT_ATTR_NODEV;
    (void)!syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &wanted, sizeof wanted);
  }
  return restrict_mount(fd, "", attributes, AT_EMPTY_PATH);
}

// A folder as it is, a link as a link.
void InnerRoot::hold_if_there(const std::string& path) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) return;
  if (!S_ISLNK(info.st_mode)) {
    (void)hold(path, path, kPlain | MOUNT_ATTR_RDONLY).operator bool();
    return;
  }
  char text[PATH_MAX] = {};
  if (readlink(path.c_str(), text, sizeof text - 1) > 0) links_.push_back({path, text});
}

Status InnerRoot::hold_all() {
  const ProgramSpec& spec = order_.spec;
  for (const char* device : kDeviceNames) {
    const std::string path = std::string("/dev/") + device;
    if (Status s = hold(path, path, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC); !s) return s;
  }
  if (!is_image()) {
    if (order_.needs_libraries) {
      for (const char* folder : kLibraryFolders) hold_if_there(folder);
      hold_if_there("/etc/ld.so.cache");
    }
    for (const char* folder : kSharedFolders) hold_if_there(folder);
  }
  if (!spec.executable.empty()) {
    const Status held = hold(spec.executable, inner_executable(spec), kPlain | MOUNT_ATTR_RDONLY);
    if (!held) return held;
  }
  for (const Bind& bind : spec.binds) {
    const uint64_t attributes = bind.is_device ? uint64_t{MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC}
                                               : kPlain | (bind.is_writable ? 0 : uint64_t{MOUNT_ATTR_RDONLY});
    if (Status s = hold(bind.source, bind.target, attributes); !s) return s;
  }
  return {};
}

Status InnerRoot::mount_bare(const std::string& place) {
  return mount_tmpfs(place, MS_NOSUID | MS_NODEV, kBareRootOptions);
}

// A copy of each layer's mount, with root's files given to whom the map says where the file system
// can do that.
Status InnerRoot::open_layers(std::vector<int>& opened) const {
  const ProgramSpec& spec = order_.spec;
  for (const std::string& layer : spec.lower.empty() ? std::vector{spec.root} : spec.lower) {
    const int fd = static_cast<int>(syscall(SYS_open_tree, AT_FDCWD, layer.c_str(),
                                            OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    if (fd < 0) return system_error(layer.c_str(), errno);
    opened.push_back(fd);
    if (root_map_ < 0) continue;
    mount_attr wanted{};
    wanted.attr_set = MOUNT_ATTR_IDMAP;
    wanted.userns_fd = static_cast<uint64_t>(root_map_);
    syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &wanted, sizeof wanted);
  }
  return {};
}

// The layers are opened first, as they may lie beneath the place. Their names may hold what mount's
// options give a meaning to, and be many: descriptors stand in for them.
Status InnerRoot::mount_image(const std::string& place) {
  const ProgramSpec& spec = order_.spec;
  const bool is_kept = !spec.upper.empty();
  std::vector<int> opened;
  Status status = open_layers(opened);
  const size_t layers = opened.size();
  const auto name_of = [&](const std::string& folder) -> std::string {
    const int fd = open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && status) status = system_error(folder.c_str(), errno);
    opened.push_back(fd);
    return self_fd(fd);
  };
  if (is_kept) {
    for (const char* folder : {"/files", "/work"}) mkdir((spec.upper + folder).c_str(), 0755);
  }
  std::string changes = is_kept ? name_of(spec.upper + "/files") : "";
  std::string work = is_kept ? name_of(spec.upper + "/work") : "";
  if (status) {
    status = mount_tmpfs(place, MS_NOSUID | MS_NODEV, tmpfs_options(spec.limits.disk_bytes, "0755"));
  }
  if (!is_kept) {
    for (const char* folder : {"/files", "/work"}) mkdir((place + folder).c_str(), 0755);
    changes = name_of(place + "/files");
    work = name_of(place + "/work");
  }
  std::string options = "upperdir=" + changes + ",workdir=" + work + ",lowerdir=";
  for (size_t i = 0; i < layers && status; ++i) {
    // Older kernels want mounts that are in place.
    const std::string folder = place + "/" + std::to_string(i);
    mkdir(folder.c_str(), 0755);
    if (syscall(SYS_move_mount, opened[i], "", AT_FDCWD, folder.c_str(),
                MOVE_MOUNT_F_EMPTY_PATH) != 0) {
      status = system_error("layer", errno);
    }
    options += (i == 0 ? "" : ":") + name_of(folder);
  }
  if (geteuid() != 0) options += ",userxattr";
  if (status && mount("overlay", place.c_str(), "overlay", MS_NOSUID | MS_NODEV,
                      options.c_str()) != 0) {
    status = system_error("overlay", errno);
  }
  for (const int fd : opened) close(fd);
  return status;
}

Status InnerRoot::change_into(const std::string& place) {
  if (chdir(place.c_str()) != 0) return system_error("chdir", errno);
  if (syscall(SYS_pivot_root, ".", ".") != 0) return system_error("pivot_root", errno);
  if (umount2(".", MNT_DETACH) != 0) return system_error("umount", errno);
  if (chdir("/") != 0) return system_error("chdir", errno);
  return {};
}

Status InnerRoot::enter(bool has_pid_namespace) {
  umask(022);
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return system_error("private mounts", errno);
  }
  if (Status s = hold_all(); !s) return s;
  Status mounted = Error{Errc::System, "no folder to mount the root on"};
  std::string place;
  // Any folder will do that holds neither layers nor the descriptors' names.
  for (const char* folder : {"/mnt", "/media", "/srv", "/opt", "/boot", "/tmp", "/run", "/var"}) {
    if (access(folder, F_OK) != 0) continue;
    place = folder;
    mounted = is_image() ? mount_image(place) : mount_bare(place);
    break;
  }
  if (!mounted) return mounted;
  if (Status s = change_into(place); !s) return s;
  return furnish(has_pid_namespace);
}

Status InnerRoot::put_trees() {
  for (const Link& link : links_) {
    make_parents(link.target);
    (void)!symlink(link.text.c_str(), link.target.c_str());
  }
  for (const auto* trees : {&devices_, &trees_}) {
    for (const Tree& tree : *trees) {
      make_parents(tree.target);
      if (tree.is_folder) {
        mkdir(tree.target.c_str(), 0755);
      } else {
        close(open(tree.target.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
      }
      if (syscall(SYS_move_mount, tree.fd, "", AT_FDCWD, tree.target.c_str(),
                  MOVE_MOUNT_F_EMPTY_PATH) != 0) {
        return system_error(("mount " + tree.target).c_str(), errno);
      }
    }
  }
  return {};
}

Status InnerRoot::put_devices() {
  mkdir("/dev", 0755);
  if (is_image()) {
    const Status made = mount_tmpfs("/dev", MS_NOSUID | MS_NOEXEC, "size=64k,nr_inodes=64,mode=0755");
    if (!made) return made;
  }
  (void)!symlink("/proc/self/fd", "/dev/fd");
  (void)!symlink("/proc/self/fd/0", "/dev/stdin");
  (void)!symlink("/proc/self/fd/1", "/dev/stdout");
  (void)!symlink("/proc/self/fd/2", "/dev/stderr");
  // POSIX shared memory and semaphores: within the limit of /tmp.
  (void)!symlink("/tmp", "/dev/shm");
  return {};
}

// Without a pid namespace there is none: it would be the host's.
Status InnerRoot::put_proc() {
  mkdir("/proc", 0555);
  const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (mount("proc", "/proc", "proc", flags, "hidepid=2") != 0) {
    // In a container whose own /proc is masked the kernel refuses: programs then have none.
    return {};
  }
  const int memory_programs = open("/proc/sys/vm/memfd_noexec", O_WRONLY | O_CLOEXEC);
  if (memory_programs >= 0) {
    forbids_memory_programs_ = write(memory_programs, "1", 1) == 1;
    close(memory_programs);
  }
  for (const char* name : kMaskedFiles) {
    const std::string path = std::string("/proc/") + name;
    if (access(path.c_str(), F_OK) != 0) continue;
    if (mount("/dev/null", path.c_str(), nullptr, MS_BIND, nullptr) != 0) {
      return system_error(("mask " + path).c_str(), errno);
    }
  }
  for (const char* name : kMaskedFolders) {
    const std::string path = std::string("/proc/") + name;
    if (access(path.c_str(), F_OK) != 0) continue;
    const Status masked = mount_tmpfs(path, flags | MS_RDONLY, "size=4k,nr_inodes=2,mode=0555");
    if (!masked) return masked;
  }
  return restrict_mount(AT_FDCWD, "/proc", MOUNT_ATTR_RDONLY, 0);
}

void InnerRoot::write_etc() {
  const ProgramSpec& spec = order_.spec;
  mkdir("/etc", 0755);
  std::string hosts = "127.0.0.1 localhost " + spec.name + "\n::1 localhost\n";
  for (const InnerListener& listener : spec.listeners) {
    if (!listener.host_name.empty()) hosts += listener.address + " " + listener.host_name + "\n";
  }
  write_new_file("/etc/hosts", hosts);
  write_new_file("/etc/hostname", spec.name + "\n");
  // Without a name server inside names are those of /etc/hosts.
  std::string resolver = "options attempts:1 timeout:1\n";
  for (const InnerListener& listener : spec.listeners) {
    if (listener.is_datagram && listener.port == kNamePort) resolver = "nameserver " + listener.address + "\n";
  }
  write_new_file("/etc/resolv.conf", resolver);
  if (is_image()) return;
  write_new_file("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n");
  write_new_file("/etc/passwd",
                 "root:x:0:0:root:/:/sbin/nologin\n"
                 "nobody:x:65534:65534:nobody:/tmp:/sbin/nologin\n");
  write_new_file("/etc/group", "root:x:0:\nnogroup:x:65534:\n");
}

Status InnerRoot::furnish(bool has_pid_namespace) {
  write_etc();
  if (Status s = put_devices(); !s) return s;
  mkdir("/tmp", 01777);
  if (is_image()) {
    chmod("/tmp", 01777);
  } else {
    const Status made = mount_tmpfs("/tmp", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                                    tmpfs_options(order_.spec.limits.disk_bytes, "1777"));
    if (!made) return made;
  }
  if (!order_.spec.working_folder.empty()) make_folders(order_.spec.working_folder);
  if (Status s = put_trees(); !s) return s;
  if (has_pid_namespace) {
    if (Status s = put_proc(); !s) return s;
  }
  if (is_image()) return restrict_mount(AT_FDCWD, "/dev", MOUNT_ATTR_RDONLY, 0);
  return restrict_mount(AT_FDCWD, "/", MOUNT_ATTR_RDONLY | kPlain, 0);
}

LandlockRules landlock_rules_for(const LaunchOrder& order, bool has_own_root) {
  const ProgramSpec& spec = order.spec;
  const bool is_image = !spec.root.empty() || !spec.lower.empty();
  LandlockRules rules;
  const auto add = [&](const std::string& path, FileAccess access) {
    rules.files.push_back({path, access});
  };
  for (const char* device : kDeviceNames) {
    add(std::string("/dev/") + device, FileAccess::Device);
  }
  for (const Bind& bind : spec.binds) {
    add(has_own_root ? bind.target : bind.source,
        bind.is_device     ? FileAccess::ControlledDevice
        : bind.is_writable ? FileAccess::WriteExecute
                           : FileAccess::ReadExecute);
  }
  if (is_image) {
    if (has_own_root) add("/", FileAccess::WriteExecute);
    return rules;
  }
  add(has_own_root ? inner_executable(spec) : spec.executable, FileAccess::ReadExecute);
  for (const char* folder : kLibraryFolders) add(folder, FileAccess::ReadExecute);
  for (const char* folder : kSharedFolders) add(folder, FileAccess::Read);
  add("/etc/ld.so.cache", FileAccess::Read);
  if (has_own_root) {
    add("/", FileAccess::Read);
    add("/tmp", FileAccess::Write);
  }
  return rules;
}

}  // namespace brokkr::sandbox
