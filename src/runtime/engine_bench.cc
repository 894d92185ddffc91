// What a call costs in the instance's process, and what a warm fork costs its zygote. Plain timing
// loops: Google Benchmark's threads would forbid the fork.
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "runtime/test_support.h"

namespace {

using namespace brokkr;
using namespace brokkr::runtime;

struct CountingSink final : OutcomeSink {
  uint64_t bytes = 0;
  uint64_t failures = 0;
  void on_outcome(uint64_t, Outcome&& outcome) override {
    bytes += outcome.payload.size();
    if (outcome.code != OutcomeCode::Ok) ++failures;
  }
};

struct QuietHost final : Host {
  void log(LogStream, std::string_view) override {}
  HostReply call(const HostCall&) override { return {}; }
  uint64_t start_call(const HostCall&) override { return 1; }
};

double cpu_us() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}
double wall_us() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

std::string read_file(const std::string& path) {
  std::string bytes;
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return bytes;
  char chunk[65536];
  for (size_t n = 0; (n = std::fread(chunk, 1, sizeof chunk, file)) > 0;) bytes.append(chunk, n);
  std::fclose(file);
  return bytes;
}

Engine* engine = nullptr;

std::unique_ptr<Function> load(FunctionKind kind, const std::string& name, std::string artifact,
                               Host& host, Clock& clock) {
  FunctionSpec spec;
  spec.kind = kind;
  spec.name = spec.file_name = name;
  spec.artifact = std::move(artifact);
  Result<std::unique_ptr<Function>> function = engine->load(spec, host, clock);
  if (!function) {
    std::fprintf(stderr, "%s\n", function.error().text.c_str());
    std::exit(1);
  }
  return std::move(*function);
}

void in_child(void (*body)()) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    if (!engine->after_fork()) _exit(1);
    body();
    std::fflush(nullptr);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (status != 0) std::printf("child ended with status %x\n", status);
}

void time_calls(const char* label, FunctionKind kind, const std::string& name,
                const std::string& artifact, const std::string& payload, int count) {
  QuietHost host;
  CountingSink sink;
  SystemClock clock;
  const double before = cpu_us();
  auto function = load(kind, name, artifact, host, clock);
  const double loaded = cpu_us();
  uint64_t id = 0;
  for (int i = 0; i < count / 5 + 5; ++i) function->invoke({++id, "echo", "r", {}, payload}, sink);
  double best = 1e18;
  double best_wall = 1e18;
  for (int repeat = 0; repeat < 7; ++repeat) {
    const double cpu = cpu_us();
    const double wall = wall_us();
    for (int i = 0; i < count; ++i) function->invoke({++id, "echo", "r", {}, payload}, sink);
    best = std::min(best, (cpu_us() - cpu) / count);
    best_wall = std::min(best_wall, (wall_us() - wall) / count);
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::printf("%-44s cpu %8.2f us  wall %8.2f us  %9.0f/s  load %6.0f us  rss %ld MiB%s\n", label,
              best, best_wall, 1e6 / best_wall, loaded - before, usage.ru_maxrss >> 10,
              sink.failures > 0 ? "  FAILED" : "");
}

void time_first_replies() {
  constexpr int kChildren = 50;
  std::vector<double> times;
  for (int i = 0; i < kChildren; ++i) {
    int ends[2];
    if (pipe(ends) != 0) return;
    const double start = wall_us();
    const pid_t child = fork();
    if (child == 0) {
      QuietHost host;
      CountingSink sink;
      SystemClock clock;
      if (!engine->after_fork()) _exit(1);
      auto function = load(FunctionKind::V8, "echo.js", read_file(BROKKR_EXAMPLES "/echo.js"), host, clock);
      function->invoke({1, "echo", "r", {}, "hello nex!"}, sink);
      if (write(ends[1], "x", 1) != 1) _exit(1);
      _exit(0);
    }
    char byte = 0;
    if (read(ends[0], &byte, 1) != 1) return;
    times.push_back(wall_us() - start);
    waitpid(child, nullptr, 0);
    close(ends[0]);
    close(ends[1]);
  }
  std::sort(times.begin(), times.end());
  std::printf("%-44s min %.2f ms  p50 %.2f ms  p90 %.2f ms\n", "fork, load echo.js, first reply",
              times.front() / 1e3, times[times.size() / 2] / 1e3, times[times.size() * 9 / 10] / 1e3);
}

}  // namespace

int main() {
  const double start = wall_us();
  Result<Engine*> opened = open_engine(BROKKR_ENGINE_PLUGIN);
  if (!opened) {
    std::fprintf(stderr, "%s\n", opened.error().text.c_str());
    return 1;
  }
  engine = *opened;
  const double loaded = wall_us();
  if (const Status status = engine->prepare(true); !status) return 1;
  std::printf("%s: open %.1f ms, prepare %.1f ms\n", engine->version().c_str(),
              (loaded - start) / 1e3, (wall_us() - loaded) / 1e3);
  time_first_replies();
  in_child([] { time_calls("echo.js, 10 B", FunctionKind::V8, "echo.js", read_file(BROKKR_EXAMPLES "/echo.js"), "hello nex!", 100000); });
  in_child([] { time_calls("async handler, 10 B", FunctionKind::V8, "a.js", "async (s, p) => ({s})", "hello nex!", 100000); });
  in_child([] { time_calls("module handler, msg.text(), 10 B", FunctionKind::V8, "m.mjs", "export default { message(msg) { return msg.text(); } }", "hello nex!", 100000); });
  in_child([] { time_calls("bytes back, 64 KiB", FunctionKind::V8, "b.js", "(s, p) => p", std::string(65536, 'x'), 10000); });
  in_child([] { time_calls("echo.wasm, fresh instance, 10 B", FunctionKind::Wasm, "echo.wasm", read_file(BROKKR_EXAMPLES "/echo-wasm/echo.wasm"), "hello nex!", 3000); });
  in_child([] { time_calls("echo.wasm, fresh instance, 64 KiB", FunctionKind::Wasm, "echo.wasm", read_file(BROKKR_EXAMPLES "/echo-wasm/echo.wasm"), std::string(65536, 'x'), 1000); });
  return 0;
}
