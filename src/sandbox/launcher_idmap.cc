#include "sandbox/launcher_idmap.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>

namespace brokkr::sandbox {
namespace {

// Inside, outside, how many.
constexpr std::string_view kRootMap = "0 65534 1\n1 1 65533\n65535 65535 4294901760\n";

Status write_root_map(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return system_error(path.c_str(), errno);
  const bool ok = write(fd, kRootMap.data(), kRootMap.size()) ==
                  static_cast<ssize_t>(kRootMap.size());
  const int error = errno;
  close(fd);
  if (!ok) return system_error(path.c_str(), error);
  return {};
}

Result<int> map_namespace_of(pid_t child) {
  const std::string folder = "/proc/" + std::to_string(child);
  for (const char* file : {"/uid_map", "/gid_map"}) {
    if (Status s = write_root_map(folder + file); !s) return s.error();
  }
  const int fd = open((folder + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return system_error("user namespace", errno);
  return fd;
}

}  // namespace

Result<int> make_root_map() {
  int told[2];
  if (pipe2(told, O_CLOEXEC) != 0) return system_error("pipe", errno);
  // A namespace is made by a process that enters it.
  const pid_t child = fork();
  if (child == 0) {
    const char is_in = unshare(CLONE_NEWUSER) == 0 ? 1 : 0;
    (void)!write(told[1], &is_in, 1);
    for (;;) pause();
  }
  close(told[1]);
  char is_in = 0;
  const bool has_answer = child > 0 && read(told[0], &is_in, 1) == 1 && is_in != 0;
  close(told[0]);
  Result<int> result = has_answer ? map_namespace_of(child)
                                  : Result<int>(Error{Errc::System, "no user namespace"});
  if (child > 0) {
    kill(child, SIGKILL);
    while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  return result;
}

}  // namespace brokkr::sandbox
