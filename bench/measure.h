#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace brokkr::bench {

// Ends the run: a check that does not hold makes every figure of the run worthless.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

uint64_t now_ns();

// CPU time a process has used, all threads, in nanoseconds; exact, unlike /proc/PID/stat, whose
// ticks are 10 ms. `pid` 0 (no server process known) answers 0.
uint64_t process_cpu_ns(pid_t pid);
// The same for a process and all its present descendants.
uint64_t process_tree_cpu_ns(pid_t pid);
uint64_t own_cpu_ns();
// Resident bytes of a process, page-exact.
uint64_t resident_bytes(pid_t pid);

void pin_to_cpu(int cpu);
void raise_file_limit();
// Largest number of files this process may have open.
uint64_t file_limit();

// The figures of one run, written as one line of JSON. Loop-confined.
class Report {
 public:
  void add(const char* key, double value) { values_.emplace_back(key, value); }
  // Adds p50, p99, p99.9 and the largest of `samples_ns`, as PREFIXp50_ns and so on.
  void add_percentiles(std::string_view prefix, std::vector<uint32_t>& samples_ns);
  void print(std::string_view scenario) const;

 private:
  std::vector<std::pair<std::string, double>> values_;
};

// Measures the server's and the generator's CPU time and the wall time between construction and
// `finish`. Loop-confined.
class Meter {
 public:
  explicit Meter(pid_t pid);
  // Adds seconds, cpu_ns, generator_cpu_ns, messages, and the same per message.
  void finish(uint64_t messages, Report& report) const;

 private:
  pid_t pid_;
  uint64_t server_start_;
  uint64_t own_start_;
  uint64_t wall_start_;
};

}  // namespace brokkr::bench
