#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/callback.h"
#include "base/clock.h"
#include "client/connection.h"
#include "io/loop.h"
#include "workload/workload.h"

namespace brokkr::workload {

// Tells the figures of each workload on `$NEX.FEED.<ns>.metrics.<id>`: every `interval` of those that
// changed, every kAnyway of all. In small parts, so that many workloads do not hold the loop up.
// Loop-confined.
class MetricsFeed {
 public:
  static constexpr Duration kAnyway = std::chrono::seconds(60);
  struct Deps {
    io::Loop& loop;
    client::Connection& connection;  // outlives this
    // The ids of workloads there are, and one of them; null when it has gone.
    Callback<std::vector<std::string>()> list;
    Callback<const Workload*(const std::string& id)> find;
  };
  MetricsFeed(Deps, std::string node_id, Duration interval);
  MetricsFeed(const MetricsFeed&) = delete;
  MetricsFeed& operator=(const MetricsFeed&) = delete;

 private:
  struct Told {
    uint64_t figures = 0;  // their hash
    MonotonicTime time{};
  };
  void step();
  void tell(const Workload& workload, MonotonicTime now);

  const Deps deps_;
  const std::string node_id_;
  const Duration interval_;
  std::vector<std::string> todo_;  // of this round
  MonotonicTime round_{};          // when it began
  std::unordered_map<std::string, Told> told_;
  io::Timer timer_;
};

// The figures of one workload as JSON. Those that only grow count from its start on this node.
std::string metrics_body(const Workload&, const std::string& node_id, WallTime now);

}  // namespace brokkr::workload
