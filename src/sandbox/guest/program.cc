#include "sandbox/guest/program.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace brokkr::sandbox::guest {
namespace {

constexpr uint32_t kNobody = 65534;

std::string read_file(const std::string& path) {
  std::string out;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return out;
  char bytes[4096];
  ssize_t n = 0;
  while ((n = read(fd, bytes, sizeof bytes)) > 0) out.append(bytes, static_cast<size_t>(n));
  close(fd);
  return out;
}

// Inside the image, over whatever was there.
void write_file(const std::string& path, const std::string& text) {
  unlink(path.c_str());
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd < 0) return;
  if (write(fd, text.data(), text.size()) < 0) unlink(path.c_str());
  close(fd);
}

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields(1);
  for (const char c : line) {
    if (c == ':') {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  return fields;
}

bool parse_number(const std::string& text, uint32_t& out) {
  if (text.empty() || text.find_first_not_of("0123456789") != std::string::npos || text.size() > 9) return false;
  out = static_cast<uint32_t>(strtoul(text.c_str(), nullptr, 10));
  return true;
}

// The line of passwd or group whose first field is `name`.
bool find_line(const char* file, const std::string& name, std::vector<std::string>& fields) {
  const std::string text = read_file(file);
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    fields = fields_of(text.substr(at, end - at));
    if (fields.size() > 3 && fields[0] == name) return true;
    at = end + 1;
  }
  return false;
}

struct User {
  uint32_t uid = kNobody;
  uint32_t gid = kNobody;
};

// In the image's root already.
bool find_user(const std::string& text, User& user) {
  if (text.empty()) return true;
  const size_t colon = text.find(':');
  const std::string name = text.substr(0, colon);
  std::vector<std::string> fields;
  if (find_line("/etc/passwd", name, fields)) {
    if (!parse_number(fields[2], user.uid) || !parse_number(fields[3], user.gid)) return false;
  } else if (parse_number(name, user.uid)) {
    user.gid = user.uid == 0 ? 0 : kNobody;
  } else {
    return false;
  }
  if (colon == std::string::npos) return true;
  const std::string group = text.substr(colon + 1);
  if (parse_number(group, user.gid)) return true;
  return find_line("/etc/group", group, fields) && parse_number(fields[2], user.gid);
}

void set_limit(int which, uint64_t value) {
  const rlimit limit{value, value};
  setrlimit(static_cast<__rlimit_resource>(which), &limit);
}

// Why the program could not be started, on the pipe that closes when it could.
[[noreturn]] void give_up(int report, const std::string& what) {
  const std::string text = what + ": " + strerror(errno);
  if (write(report, text.data(), text.size()) < 0) _exit(126);
  _exit(127);
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (const std::string& text : texts) out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

std::string search_path(const std::vector<std::string>& environment) {
  for (const std::string& variable : environment) {
    if (variable.rfind("PATH=", 0) == 0) return variable.substr(5);
  }
  return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

[[noreturn]] void become(const wire::Spec& spec, const std::vector<std::string>& arguments, int report) {
  if (chroot(kImageRoot) != 0 || chdir("/") != 0) give_up(report, "enter the image");
  User user;
  if (!find_user(spec.user, user)) {
    errno = ENOENT;
    give_up(report, "user " + spec.user);
  }
  const std::string folder = spec.working_folder.empty() ? "/" : spec.working_folder;
  if (chdir(folder.c_str()) != 0) give_up(report, folder);
  set_limit(RLIMIT_CORE, 0);
  set_limit(RLIMIT_NOFILE, 65536);
  if (spec.pids != 0 && user.uid != 0) set_limit(RLIMIT_NPROC, spec.pids);
  if (setgroups(0, nullptr) != 0 || setgid(user.gid) != 0 || setuid(user.uid) != 0) give_up(report, "become the user");
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  signal(SIGCHLD, SIG_DFL);
  std::vector<char*> argv = pointers(arguments);
  std::vector<char*> envp = pointers(spec.environment);
  if (arguments[0].find('/') != std::string::npos) {
    execve(argv[0], argv.data(), envp.data());
    give_up(report, arguments[0]);
  }
  const std::string path = search_path(spec.environment);
  int error = ENOENT;
  for (size_t at = 0; at <= path.size();) {
    const size_t end = std::min(path.find(':', at), path.size());
    const std::string file = path.substr(at, end - at) + "/" + arguments[0];
    execve(file.c_str(), argv.data(), envp.data());
    if (errno != ENOENT && errno != ENOTDIR) error = errno;
    at = end + 1;
  }
  errno = error;
  give_up(report, arguments[0]);
}

void add_address(const std::string& address, int index) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  const std::string name = index == 0 ? "lo" : "lo:" + std::to_string(index);
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name.c_str());
  auto* to = reinterpret_cast<sockaddr_in*>(&request.ifr_addr);
  to->sin_family = AF_INET;
  inet_pton(AF_INET, address.c_str(), &to->sin_addr);
  ioctl(fd, SIOCSIFADDR, &request);
  inet_pton(AF_INET, index == 0 ? "255.0.0.0" : "255.255.255.255", &to->sin_addr);
  ioctl(fd, SIOCSIFNETMASK, &request);
  request.ifr_flags = IFF_UP | IFF_RUNNING | IFF_LOOPBACK;
  ioctl(fd, SIOCSIFFLAGS, &request);
  close(fd);
}

}  // namespace

Child start(const wire::Spec& spec, const std::vector<std::string>& arguments, bool is_merged) {
  Child child;
  int out[2] = {-1, -1};
  int err[2] = {-1, -1};
  int report[2] = {-1, -1};
  if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0 || pipe2(report, O_CLOEXEC) != 0) {
    child.failure = "pipe";
    return child;
  }
  child.pid = fork();
  if (child.pid == 0) {
    setsid();
    const int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(out[1], 1);
    dup2(is_merged ? out[1] : err[1], 2);
    become(spec, arguments, report[1]);
  }
  for (const int fd : {out[1], err[1], report[1]}) close(fd);
  char text[512];
  const ssize_t n = child.pid < 0 ? -1 : read(report[0], text, sizeof text);
  close(report[0]);
  if (n != 0) {
    child.failure = n > 0 ? std::string(text, static_cast<size_t>(n)) : "fork";
    close(out[0]);
    close(err[0]);
    return child;
  }
  child.output = out[0];
  child.error_output = err[0];
  fcntl(out[0], F_SETFL, O_NONBLOCK);
  fcntl(err[0], F_SETFL, O_NONBLOCK);
  return child;
}

void furnish(const wire::Spec& spec) {
  const std::string root = kImageRoot;
  for (const char* folder : {"", "/proc", "/dev", "/tmp", "/etc", "/sys"}) mkdir((root + folder).c_str(), 0755);
  mount("proc", (root + "/proc").c_str(), "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "hidepid=2");
  // The ports to the host are not for programs.
  mount("tmpfs", (root + "/dev").c_str(), "tmpfs", MS_NOSUID | MS_NOEXEC, "size=64k,mode=0755");
  const struct {
    const char* name;
    unsigned minor;
  } devices[] = {{"null", 3}, {"zero", 5}, {"full", 7}, {"random", 8}, {"urandom", 9}};
  const mode_t mask = umask(0);
  for (const auto& device : devices) {
    mknod((root + "/dev/" + device.name).c_str(), S_IFCHR | 0666, static_cast<dev_t>(1U << 8U | device.minor));
  }
  umask(mask);
  if (symlink("/proc/self/fd", (root + "/dev/fd").c_str()) != 0) return;
  mkdir((root + "/dev/shm").c_str(), 01777);
  chmod((root + "/dev/shm").c_str(), 01777);
  std::string options = "mode=1777";
  if (spec.disk_bytes != 0) options += ",size=" + std::to_string(spec.disk_bytes);
  mount("tmpfs", (root + "/tmp").c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options.c_str());
  write_file(root + "/etc/hosts", spec.hosts);
  write_file(root + "/etc/hostname", spec.host_name + "\n");
  write_file(root + "/etc/resolv.conf", "options attempts:1 timeout:1\n");
  if (!spec.working_folder.empty()) {
    for (size_t at = 1; at != std::string::npos;) {
      at = spec.working_folder.find('/', at);
      mkdir((root + spec.working_folder.substr(0, at)).c_str(), 0755);
      if (at != std::string::npos) ++at;
    }
  }
  if (sethostname(spec.host_name.c_str(), spec.host_name.size()) != 0) return;
  add_address("127.0.0.1", 0);
  int index = 1;
  for (const auto& [address, port] : spec.listeners) {
    if (address.rfind("127.", 0) != 0) add_address(address, index++);
  }
}

Usage measure() {
  Usage usage;
  const std::string memory = read_file("/proc/meminfo");
  const auto kib_of = [&](const char* name) {
    const size_t at = memory.find(name);
    return at == std::string::npos ? uint64_t{0} : strtoull(memory.c_str() + at + strlen(name), nullptr, 10);
  };
  usage.memory_bytes = (kib_of("MemTotal:") - kib_of("MemAvailable:")) * 1024;
  // "cpu  user nice system idle …" in hundredths of a second.
  const std::string cpu = read_file("/proc/stat");
  unsigned long long user = 0;
  unsigned long long nice_time = 0;
  unsigned long long system = 0;
  if (sscanf(cpu.c_str(), "cpu %llu %llu %llu", &user, &nice_time, &system) == 3) {
    usage.cpu_ns = (user + nice_time + system) * 10'000'000ULL;
  }
  if (DIR* dir = opendir("/proc"); dir != nullptr) {
    while (const dirent* entry = readdir(dir)) {
      if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || strcmp(entry->d_name, "1") == 0) continue;
      // Threads of the kernel have no memory.
      if (!read_file(std::string("/proc/") + entry->d_name + "/cmdline").empty()) usage.processes++;
    }
    closedir(dir);
  }
  return usage;
}

uint64_t memory_kills() {
  const std::string text = read_file("/proc/vmstat");
  const size_t at = text.find("\noom_kill ");
  return at == std::string::npos ? 0 : strtoull(text.c_str() + at + 10, nullptr, 10);
}

}  // namespace brokkr::sandbox::guest
