#include "measure.h"

#include <dirent.h>
#include <sched.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

namespace brokkr::bench {
namespace {

uint64_t read_clock(clockid_t clock) {
  timespec time{};
  if (clock_gettime(clock, &time) != 0) fail("clock_gettime: %s", strerror(errno));
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000U + static_cast<uint64_t>(time.tv_nsec);
}

// Parent of a process, or 0 when it is gone. The name in parentheses may hold anything, so the
// fields are counted from the last ')'.
pid_t parent_of(pid_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  FILE* file = fopen(path, "r");
  if (file == nullptr) return 0;
  char text[512];
  const size_t size = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[size] = 0;
  const char* end = strrchr(text, ')');
  char state = 0;
  int parent = 0;
  if (end == nullptr || sscanf(end + 1, " %c %d", &state, &parent) != 2) return 0;
  return parent;
}

}  // namespace

void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("brokkr_bench_load: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(1);
}

uint64_t now_ns() {
  return read_clock(CLOCK_MONOTONIC);
}
uint64_t own_cpu_ns() {
  return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t process_cpu_ns(pid_t pid) {
  if (pid == 0) return 0;
  clockid_t clock{};
  if (const int error = clock_getcpuclockid(pid, &clock); error != 0) {
    fail("server process %d: %s", pid, strerror(error));
  }
  return read_clock(clock);
}

uint64_t process_tree_cpu_ns(pid_t pid) {
  if (pid == 0) return 0;
  std::map<pid_t, pid_t> parents;
  DIR* folder = opendir("/proc");
  if (folder == nullptr) fail("/proc: %s", strerror(errno));
  while (const dirent* entry = readdir(folder)) {
    const auto found = static_cast<pid_t>(strtol(entry->d_name, nullptr, 10));
    if (found > 0) parents[found] = parent_of(found);
  }
  closedir(folder);
  uint64_t total = 0;
  for (const auto& [process, unused] : parents) {
    for (pid_t up = process; up > 1; up = parents.contains(up) ? parents[up] : 0) {
      if (up != pid) continue;
      clockid_t clock{};
      timespec time{};
      // A process that ended since the listing has no clock any more.
      if (clock_getcpuclockid(process, &clock) == 0 && clock_gettime(clock, &time) == 0) {
        total += static_cast<uint64_t>(time.tv_sec) * 1'000'000'000U +
                 static_cast<uint64_t>(time.tv_nsec);
      }
      break;
    }
  }
  return total;
}

uint64_t resident_bytes(pid_t pid) {
  if (pid == 0) return 0;
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
  FILE* file = fopen(path, "r");
  if (file == nullptr) fail("%s: %s", path, strerror(errno));
  char line[256];
  unsigned long long kib = 0;
  while (fgets(line, sizeof line, file) != nullptr) {
    if (sscanf(line, "Rss: %llu kB", &kib) == 1) break;
  }
  fclose(file);
  return kib * 1024;
}

void pin_to_cpu(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) fail("cpu %d: %s", cpu, strerror(errno));
}

void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

uint64_t file_limit() {
  rlimit limit{};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 1024;
}

void Report::add_percentiles(std::string_view prefix, std::vector<uint32_t>& samples_ns) {
  if (samples_ns.empty()) fail("no latency samples");
  std::sort(samples_ns.begin(), samples_ns.end());
  const auto at = [&](double share) {
    const auto index = static_cast<size_t>(share * static_cast<double>(samples_ns.size()));
    return static_cast<double>(samples_ns[std::min(index, samples_ns.size() - 1)]);
  };
  const std::string name(prefix);
  values_.emplace_back(name + "p50_ns", at(0.5));
  values_.emplace_back(name + "p99_ns", at(0.99));
  values_.emplace_back(name + "p999_ns", at(0.999));
  values_.emplace_back(name + "max_ns", static_cast<double>(samples_ns.back()));
}

void Report::print(std::string_view scenario) const {
  printf("{\"scenario\":\"%.*s\"", static_cast<int>(scenario.size()), scenario.data());
  for (const auto& [key, value] : values_)
    printf(",\"%s\":%.6g", key.c_str(), value);
  puts("}");
}

Meter::Meter(pid_t pid)
    : pid_(pid),
      server_start_(process_cpu_ns(pid)),
      own_start_(own_cpu_ns()),
      wall_start_(now_ns()) {}

void Meter::finish(uint64_t messages, Report& report) const {
  const auto wall = static_cast<double>(now_ns() - wall_start_);
  const auto server = static_cast<double>(process_cpu_ns(pid_) - server_start_);
  const auto own = static_cast<double>(own_cpu_ns() - own_start_);
  if (messages == 0) fail("no message got through");
  const auto count = static_cast<double>(messages);
  report.add("messages", count);
  report.add("seconds", wall / 1e9);
  report.add("messages_per_second", count * 1e9 / wall);
  report.add("cpu_ns_per_message", server / count);
  report.add("server_cores", server / wall);
  report.add("generator_cpu_ns_per_message", own / count);
}

}  // namespace brokkr::bench
