#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/callback.h"
#include "base/clock.h"
#include "io/loop.h"
#include "workload/run_request.h"

namespace brokkr::workload {

// Asks a program again and again how it is. One good answer makes it healthy, `retries` bad or missing
// ones in a row unhealthy; within the start period bad ones do not count. Until the first good answer it
// asks more often, so that a rollout does not wait for a long interval. Loop-confined.
class HealthMonitor {
 public:
  struct Options {
    Duration interval = std::chrono::seconds(10);
    Duration timeout = std::chrono::seconds(5);
    Duration start_period{};
    uint32_t retries = 3;
  };
  static Options choose(const HealthCheck& check);

  using Answer = Callback<void(bool is_good, const std::string& why)>;
  // Asks once; answers once or never, within the call or later.
  using Probe = Callback<void(Answer)>;
  // Told when it becomes healthy, and once for each row of `retries` bad answers. May destroy the
  // monitor.
  using Change = Callback<void(bool is_healthy, const std::string& why)>;

  HealthMonitor(io::Loop& loop, const Options& options, Probe probe, Change on_change);
  ~HealthMonitor();
  HealthMonitor(const HealthMonitor&) = delete;
  HealthMonitor& operator=(const HealthMonitor&) = delete;

  bool is_healthy() const { return is_healthy_; }
  uint64_t failures() const { return failures_; }  // all of them

 private:
  void ask();
  void on_answer(bool is_good, const std::string& why);

  io::Loop& loop_;
  const Options options_;
  Probe probe_;
  Change on_change_;
  const MonotonicTime started_;
  bool is_healthy_ = false;
  bool was_healthy_ = false;
  uint32_t failures_in_row_ = 0;
  uint64_t failures_ = 0;
  // The question that is open; late answers to an earlier one are of no interest.
  std::shared_ptr<HealthMonitor*> question_;
  io::Timer next_;
  io::Timer limit_;
};

}  // namespace brokkr::workload
