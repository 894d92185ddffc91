#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <map>

#include "base/clock.h"

namespace brokkr::workload {

// How long calls took, in buckets whose bounds double from 100 us to 26 s. A value type.
class LatencyHistogram {
 public:
  static constexpr Duration kFirst = std::chrono::microseconds(100);
  static constexpr size_t kBounds = 19;  // and one bucket beyond the last

  static constexpr Duration bound(size_t bucket) { return kFirst * (int64_t{1} << bucket); }

  void add(Duration took) {
    const auto over = static_cast<uint64_t>(std::max<int64_t>(took.count() - 1, 0));
    const auto doublings = std::bit_width(over / static_cast<uint64_t>(kFirst.count()));
    ++counts_[std::min<size_t>(static_cast<size_t>(doublings), kBounds)];
    ++count_;
    sum_ += took;
  }
  uint64_t count() const { return count_; }
  Duration sum() const { return sum_; }
  // How many took at most `bound(bucket)`.
  uint64_t count_up_to(size_t bucket) const {
    uint64_t total = 0;
    for (size_t i = 0; i <= bucket && i < counts_.size(); ++i) total += counts_[i];
    return total;
  }
  // What the given share of calls (0 to 1) did not exceed, to within a bucket; zero without calls.
  Duration quantile(double share) const {
    const double wanted = share * static_cast<double>(count_);
    double below = 0;
    for (size_t i = 0; i < counts_.size(); ++i) {
      const auto here = static_cast<double>(counts_[i]);
      if (here > 0 && below + here >= wanted) {
        if (i == kBounds) return bound(kBounds - 1);
        const Duration low = i == 0 ? Duration() : bound(i - 1);
        const double within = (wanted - below) / here;
        return low + Duration(static_cast<int64_t>(
                         static_cast<double>((bound(i) - low).count()) * std::max(within, 0.0)));
      }
      below += here;
    }
    return {};
  }
  void add(const LatencyHistogram& other) {
    for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    count_ += other.count_;
    sum_ += other.sum_;
  }

 private:
  std::array<uint64_t, kBounds + 1> counts_{};
  uint64_t count_ = 0;
  Duration sum_{};
};

// What a workload's calls came to. A value type.
struct CallStats {
  uint64_t calls = 0;   // answered
  uint64_t errors = 0;
  uint64_t payload_bytes = 0;
  uint64_t reply_bytes = 0;
  std::map<uint16_t, uint64_t> errors_by_code;  // there are few codes
  LatencyHistogram latency;  // from arrival to answer, waiting included

  void add(uint16_t code, Duration took, uint64_t in, uint64_t out) {
    ++calls;
    payload_bytes += in;
    reply_bytes += out;
    latency.add(took);
    if (code == 200) return;
    ++errors;
    ++errors_by_code[code];
  }
};

}  // namespace brokkr::workload
