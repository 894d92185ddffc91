#include "sandbox/process_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "base/bytes.h"

namespace brokkr::sandbox {
namespace {

constexpr unsigned kKillPauseUs = 500;

constexpr int kKillRoundsMax = 10'000;

std::string read_proc(int folder, const std::string& path) {
  std::string text;
  const int fd = openat(folder, path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  char bytes[4096];
  for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0;) {
    text.append(bytes, static_cast<size_t>(n));
  }
  close(fd);
  return text;
}

// Children are listed at the thread that made them.
void add_children(int proc, pid_t pid, std::vector<pid_t>& found) {
  const std::string base = std::to_string(pid) + "/task";
  const int fd = openat(proc, base.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* threads = fd < 0 ? nullptr : fdopendir(fd);
  if (threads == nullptr) return;
  while (const dirent* thread = readdir(threads)) {
    if (thread->d_name[0] == '.') continue;
    const std::string text = read_proc(proc, base + "/" + thread->d_name + "/children");
    for (const std::string_view word : split(trim(text), ' ')) {
      if (const auto child = parse_uint(word)) found.push_back(static_cast<pid_t>(*child));
    }
  }
  closedir(threads);
}

void add_usage(int proc, pid_t pid, ProcessUsage& total) {
  const std::string base = std::to_string(pid);
  const std::string memory = read_proc(proc, base + "/statm");
  const auto pages = split(memory, ' ');
  if (pages.size() < 2) return;
  total.memory_bytes += parse_uint(pages[1]).value_or(0) *
                        static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  ++total.processes;
  const std::string stat = read_proc(proc, base + "/stat");
  // The name may hold anything but ends at the last bracket; user and system time are the 12th and
  // 13th words after it.
  const auto words = split(std::string_view(stat).substr(stat.rfind(')') + 1), ' ');
  if (words.size() < 14) return;
  const uint64_t ticks = parse_uint(words[12]).value_or(0) + parse_uint(words[13]).value_or(0);
  total.cpu_ns += ticks * (1'000'000'000ULL / static_cast<uint64_t>(sysconf(_SC_CLK_TCK)));
}

}  // namespace

std::vector<pid_t> descendants_of(pid_t pid, int proc) {
  std::vector<pid_t> found;
  add_children(proc, pid, found);
  for (size_t i = 0; i < found.size(); ++i) add_children(proc, found[i], found);
  return found;
}

void kill_descendants(int proc) {
  for (int round = 0; round < kKillRoundsMax; ++round) {
    for (const pid_t pid : descendants_of(getpid(), proc)) kill(pid, SIGKILL);
    // An orphan comes to us when its parent has ended.
    pid_t reaped = 0;
    while ((reaped = waitpid(-1, nullptr, WNOHANG)) > 0) {
    }
    if (reaped < 0 && errno == ECHILD) return;
    usleep(kKillPauseUs);
  }
}

ProcessUsage usage_below(pid_t pid) {
  ProcessUsage total;
  const int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (proc < 0) return total;
  for (const pid_t child : descendants_of(pid, proc)) add_usage(proc, child, total);
  close(proc);
  return total;
}

}  // namespace brokkr::sandbox
