#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "broker/monitor/connz.h"
#include "broker/monitor/query.h"
#include "subject/interest_tree.h"

// /subsz: the figures of the interest trees, and the subscriptions in them. Pure.
namespace brokkr::broker {

// The figures of several trees as one.
struct InterestSummary {
  uint64_t subscriptions = 0;
  uint64_t cached = 0;
  uint64_t inserts = 0;
  uint64_t removes = 0;
  uint64_t matches = 0;
  uint64_t cache_hits = 0;
  uint64_t fanout_max = 0;
  double fanout_sum = 0;  // over the cached subjects

  // `own` is how many of the tree's subscriptions are not stand-ins for those of other loops.
  void add(const subject::InterestTree::Stats& stats, uint64_t own);
  void add(const InterestSummary& other);
  double cache_hit_rate() const;
  double fanout_average() const;
};
// The fields, into the object that is open.
void write_interest_summary(json::Writer& out, const InterestSummary& summary);

struct SubszOptions {
  static constexpr uint64_t kLimitDefault = 1024;
  bool subscriptions = false;
  uint64_t offset = 0;
  uint64_t limit = kLimitDefault;
  std::string account;
  std::string test;  // only those that a message on this subject would reach
};
SubszOptions parse_subsz_options(QueryReader& query);

struct Subsz {
  std::string server_id;
  WallTime now;
  InterestSummary summary;
  uint64_t total = 0;
  std::vector<SubscriptionReport> subscriptions;
};
std::string render_subsz(const Subsz& subsz, const SubszOptions& options);

}  // namespace brokkr::broker
