#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"

namespace brokkr::broker {

// How long one source of work, a client or another loop, may hold its loop before the others have
// their turn. Looks at the clock seldom while pieces of work are cheap, after each one when they are
// dear. Loop-confined.
class TurnBudget {
 public:
  static constexpr Duration kSpan = std::chrono::milliseconds(4);

  explicit TurnBudget(Clock& clock) : clock_(clock) {}
  // Called after each piece of work.
  bool is_spent() { return --countdown_ == 0 && look(); }

 private:
  static constexpr int64_t kStepMax = 256;

  bool look() {
    const MonotonicTime now = clock_.now();
    if (begin_ == MonotonicTime()) {
      begin_ = now;
    } else {
      done_ += step_;
      const Duration spent = now - begin_;
      if (spent >= kSpan) return true;
      const Duration each = spent / done_ + Duration(1);
      step_ = std::clamp<int64_t>((kSpan - spent) / each / 4, 1, kStepMax);
    }
    countdown_ = step_;
    return false;
  }

  Clock& clock_;
  MonotonicTime begin_{};
  int64_t done_ = 0;  // pieces since begin_
  int64_t step_ = 2;  // pieces between two looks
  int64_t countdown_ = 2;
};

}  // namespace brokkr::broker
