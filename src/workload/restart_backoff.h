#pragma once

#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "base/random.h"
#include "workload/run_request.h"

namespace brokkr::workload {

// When a program that has ended is started again. Pauses double from the first to the longest and get
// up to a quarter more by chance, so that programs which fell together do not rise together. A run that
// lasted long enough ends the row. A value type.
class RestartBackoff {
 public:
  struct Options {
    RestartPolicy::Kind kind = RestartPolicy::Kind::Always;  // not Default
    uint32_t attempts_max = 0;  // starts in a row, the first included; 0: without end
    Duration pause = std::chrono::milliseconds(100);
    Duration pause_max = std::chrono::seconds(30);
    Duration reset_after = std::chrono::seconds(60);
  };
  // Fills in the defaults: services are always started again, jobs never.
  static Options choose(const RestartPolicy& policy, bool is_job);

  explicit RestartBackoff(const Options& options) : options_(options) {}

  // A run has ended after `ran`. How long to wait before the next one; nothing: there is none.
  std::optional<Duration> next(bool is_success, Duration ran, Random& random);
  const Options& options() const { return options_; }
  uint32_t attempts() const { return attempts_; }  // ended runs in this row

 private:
  Options options_;
  uint32_t attempts_ = 0;
};

}  // namespace brokkr::workload
