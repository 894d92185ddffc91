// `nats-server --signal command[=pid|pidfile|prefix*]`.
#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "app/program.h"
#include "base/bytes.h"
#include "config/flags.h"
#include "config/parser.h"

namespace brokkr::app {
namespace {

// The processes that run a program of that name, this one aside.
std::vector<pid_t> find_servers(const std::string& program) {
  std::vector<pid_t> out;
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return out;
  while (const dirent* entry = readdir(proc)) {
    const auto pid = parse_uint(entry->d_name);
    if (!pid || static_cast<pid_t>(*pid) == getpid()) continue;
    std::FILE* file = std::fopen(("/proc/" + std::string(entry->d_name) + "/cmdline").c_str(), "rb");
    if (file == nullptr) continue;
    char line[4096] = {};
    const size_t n = std::fread(line, 1, sizeof line - 1, file);
    std::fclose(file);
    if (n == 0) continue;
    std::string_view name(line);  // the first argument, up to its NUL
    name.remove_prefix(name.rfind('/') == std::string_view::npos ? 0 : name.rfind('/') + 1);
    if (name == program) out.push_back(static_cast<pid_t>(*pid));
  }
  closedir(proc);
  return out;
}

}  // namespace

int send_signal(const Invocation& invocation, const std::string& what) {
  const char* program = invocation.program.c_str();
  config::SystemSources sources;
  const auto command = config::parse_signal(what, sources);
  if (!command) {
    std::fprintf(stderr, "%s: %s\n", program, command.error().text.c_str());
    return 1;
  }
  std::vector<pid_t> targets;
  if (!command->pid.empty() && !command->is_prefix) {
    targets.push_back(static_cast<pid_t>(parse_uint(command->pid).value_or(0)));
  } else {
    for (const pid_t pid : find_servers(invocation.program)) {
      if (std::to_string(pid).starts_with(command->pid)) targets.push_back(pid);
    }
    if (targets.size() > 1 && !command->is_prefix) {
      std::fprintf(stderr, "%s: multiple %s processes running:\n", program, program);
      for (const pid_t pid : targets) std::fprintf(stderr, "%d\n", static_cast<int>(pid));
      return 1;
    }
  }
  if (targets.empty() || targets.front() <= 0) {
    std::fprintf(stderr, "%s: no %s processes running\n", program, program);
    return 1;
  }
  int failures = 0;
  for (const pid_t pid : targets) {
    if (kill(pid, command->signal) == 0) continue;
    std::fprintf(stderr, "%s: signal \"%s\" to process %d: %s\n", program, command->command.c_str(),
                 static_cast<int>(pid), std::strerror(errno));
    ++failures;
  }
  return failures == 0 ? 0 : 1;
}

}  // namespace brokkr::app
