#include "sandbox/microvm_clock.h"

#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace brokkr::sandbox::microvm {
namespace {

#if defined(__x86_64__)
constexpr int64_t kMeasuredNs = 50'000'000;
constexpr int kReadings = 5;

int64_t raw_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_RAW, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

struct Reading {
  int64_t ns = 0;
  uint64_t counter = 0;
};

// Both at once, as far as that goes: the closest of some readings.
Reading read_both() {
  Reading best;
  int64_t best_gap = INT64_MAX;
  for (int i = 0; i < kReadings; ++i) {
    const int64_t before = raw_ns();
    const uint64_t counter = __rdtsc();
    const int64_t after = raw_ns();
    if (after - before >= best_gap) continue;
    best_gap = after - before;
    best = {before + best_gap / 2, counter};
  }
  return best;
}

uint64_t measure_khz() {
  const Reading first = read_both();
  timespec pause{0, kMeasuredNs};
  nanosleep(&pause, nullptr);
  const Reading last = read_both();
  if (last.ns <= first.ns || last.counter <= first.counter) return 0;
  const auto ns = static_cast<uint64_t>(last.ns - first.ns);
  return ((last.counter - first.counter) * 1'000'000 + ns / 2) / ns;
}
#else
uint64_t measure_khz() { return 0; }
#endif

}  // namespace

uint64_t counter_khz() {
  static const uint64_t khz = measure_khz();
  return khz;
}

}  // namespace brokkr::sandbox::microvm
