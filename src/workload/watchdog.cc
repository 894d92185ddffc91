#include "workload/watchdog.h"

namespace brokkr::workload {
namespace {

constexpr size_t kWatchdogStackBytes = 128U << 10;
// A stop may fall between two pieces of code and be lost; it is repeated until the deadline moves.
constexpr auto kRepeat = std::chrono::milliseconds(20);

MonotonicTime time_of(int64_t nanoseconds) { return MonotonicTime(Duration(nanoseconds)); }

}  // namespace

bool Watchdog::start() {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kWatchdogStackBytes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread{};
  const bool ok = pthread_create(&thread, &attributes, &thread_main, this) == 0;
  pthread_attr_destroy(&attributes);
  return ok;
}

void* Watchdog::thread_main(void* self) {
  static_cast<Watchdog*>(self)->run();
  return nullptr;
}

void Watchdog::unpark() {
  const std::lock_guard lock(mutex_);
  wake_.notify_one();
}

void Watchdog::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    is_parked_.store(true);
    // Looked at after parking: a deadline set before that needs no wake-up, one set later makes one.
    const int64_t deadline = deadline_.load();
    if (deadline == INT64_MAX) {
      wake_.wait(lock);
      continue;
    }
    is_parked_.store(false);
    wake_.wait_until(lock, time_of(deadline));
    const int64_t current = deadline_.load();
    if (current == INT64_MAX || SystemClock().now() < time_of(current)) continue;
    function_.load()->terminate();
    wake_.wait_for(lock, kRepeat);
  }
}

}  // namespace brokkr::workload
