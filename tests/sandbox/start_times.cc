// How long programs take to start in a sandbox: from the call to the news that it runs.
//
//   start_times LAUNCHER GUEST COUNT [NATIVE_MS IMAGE_MS]
//
// GUEST takes "wait". Ends with 1 when a median exceeds its limit.
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "io/loop.h"
#include "sandbox/cgroup.h"
#include "sandbox/launchers.h"
#include "sandbox/program.h"

namespace {

using namespace brokkr;           // NOLINT: a program of its own
using namespace brokkr::sandbox;  // NOLINT

constexpr auto kStartTimeMax = std::chrono::seconds(20);

class Stopwatch {
 public:
  explicit Stopwatch(std::string launcher) : launcher_(std::move(launcher)) {}

  // Milliseconds, sorted; empty when one did not start.
  std::vector<double> run(const ProgramSpec& spec, int count) {
    std::vector<double> times;
    for (int i = 0; i < count; ++i) {
      bool is_running = false;
      bool has_ended = false;
      MonotonicTime started;
      ProgramEvents events;
      events.on_started = [&](pid_t, uint32_t) {
        is_running = true;
        started = clock_.now();
      };
      events.on_exit = [&](const io::ExitStatus&, bool, const std::string& reason) {
        has_ended = true;
        if (!is_running) std::printf("did not start: %s\n", reason.c_str());
      };
      const MonotonicTime begin = clock_.now();
      const auto program = start_program({*loop_, *log_, *cgroups_, launcher_, &launchers_},
                                         spec, std::move(events));
      if (!program) {
        std::printf("did not start: %s\n", program.error().text.c_str());
        return {};
      }
      while (!is_running && !has_ended && clock_.now() - begin < kStartTimeMax) {
        loop_->run_once(std::chrono::milliseconds(10));
      }
      if (!is_running) return {};
      times.push_back(std::chrono::duration<double, std::milli>(started - begin).count());
      (*program)->stop(std::chrono::milliseconds(0));
      while (!has_ended && clock_.now() - begin < kStartTimeMax) {
        loop_->run_once(std::chrono::milliseconds(10));
      }
    }
    std::sort(times.begin(), times.end());
    return times;
  }

 private:
  SystemClock clock_;
  std::unique_ptr<io::Loop> loop_ = std::move(*io::Loop::open({}, clock_));
  std::unique_ptr<Log> log_ = Log::discard();
  std::unique_ptr<CgroupTree> cgroups_ = CgroupTree::open();
  std::string launcher_;
  Launchers launchers_{*loop_, launcher_};
};

bool report(const char* what, const std::vector<double>& times, double limit) {
  if (times.empty()) return false;
  const double median = times[times.size() / 2];
  std::printf("%-7s start p50 %.1f ms, p90 %.1f ms, max %.1f ms (%zu starts)\n", what, median,
              times[times.size() * 9 / 10], times.back(), times.size());
  return limit <= 0 || median <= limit;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const int count = std::atoi(argv[3]);
  Stopwatch stopwatch(argv[1]);
  ProgramSpec native;
  native.name = "native";
  native.executable = argv[2];
  native.arguments = {"guest", "wait"};
  native.limits = {64 << 20, 1000, 32, 0, 16 << 20};
  native.listeners = {{"192.168.127.1", 4222, "broker"}};
  const bool is_fast = report("native", stopwatch.run(native, count), argc > 4 ? std::atof(argv[4]) : 0);
  if (geteuid() != 0) return is_fast ? 0 : 1;
  char folder[] = "/tmp/brokkr-start-XXXXXX";
  const std::string root = mkdtemp(folder);
  ProgramSpec image = native;
  image.name = "image";
  image.executable.clear();
  for (int i = 0; i < 6; ++i) {
    image.lower.push_back(root + "/" + std::to_string(i));
    mkdir(image.lower.back().c_str(), 0755);
  }
  chmod(root.c_str(), 0755);
  std::filesystem::copy_file(argv[2], root + "/5/guest");
  image.arguments = {"/guest", "wait"};
  const bool is_image_fast =
      report("image", stopwatch.run(image, count), argc > 5 ? std::atof(argv[5]) : 0);
  std::filesystem::remove_all(root);
  return is_fast && is_image_fast ? 0 : 1;
}
