#pragma once

#include <cstdint>

#include "base/clock.h"

namespace brokkr::workload {

// How many log lines and bytes may pass within each second; counts what may not. A value type.
class LogLimiter {
 public:
  LogLimiter(uint64_t lines_max, uint64_t bytes_max) : lines_max_(lines_max), bytes_max_(bytes_max) {}

  bool admit(MonotonicTime now, uint64_t bytes) {
    if (now - window_ >= std::chrono::seconds(1)) {
      window_ = now;
      lines_ = bytes_ = 0;
    }
    if (lines_ >= lines_max_ || bytes_ + bytes > bytes_max_) {
      ++dropped_;
      return false;
    }
    ++lines_;
    bytes_ += bytes;
    return true;
  }
  // How many were dropped since the last call; zero until something may pass again.
  uint64_t take_dropped(MonotonicTime now) {
    if (dropped_ == 0 || now - window_ < std::chrono::seconds(1)) return 0;
    const uint64_t count = dropped_;
    dropped_ = 0;
    return count;
  }
  bool has_dropped() const { return dropped_ != 0; }

 private:
  uint64_t lines_max_;
  uint64_t bytes_max_;
  MonotonicTime window_{};
  uint64_t lines_ = 0;
  uint64_t bytes_ = 0;
  uint64_t dropped_ = 0;
};

}  // namespace brokkr::workload
