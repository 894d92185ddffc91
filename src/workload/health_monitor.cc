#include "workload/health_monitor.h"

#include <algorithm>

namespace brokkr::workload {
namespace {

// How often a program that has not been healthy yet is asked.
constexpr Duration kFirstInterval = std::chrono::milliseconds(500);

}  // namespace

HealthMonitor::Options HealthMonitor::choose(const HealthCheck& check) {
  Options options;
  if (check.interval_ns > 0) options.interval = Duration(check.interval_ns);
  if (check.timeout_ns > 0) options.timeout = Duration(check.timeout_ns);
  if (check.start_period_ns > 0) options.start_period = Duration(check.start_period_ns);
  if (check.retries > 0) options.retries = check.retries;
  return options;
}

HealthMonitor::HealthMonitor(io::Loop& loop, const Options& options, Probe probe, Change on_change)
    : loop_(loop), options_(options), probe_(std::move(probe)), on_change_(std::move(on_change)),
      started_(loop.clock().now()), next_(loop, [this] { ask(); }),
      limit_(loop, [this] {
        on_answer(false, "no answer within " + format_go_duration(options_.timeout));
      }) {
  next_.start(Duration::zero());
}

HealthMonitor::~HealthMonitor() {
  if (question_) *question_ = nullptr;
}

void HealthMonitor::ask() {
  question_ = std::make_shared<HealthMonitor*>(this);
  limit_.start(options_.timeout);
  probe_([question = question_](bool is_good, const std::string& why) {
    HealthMonitor* monitor = *question;
    if (monitor != nullptr && monitor->question_ == question) monitor->on_answer(is_good, why);
  });
}

void HealthMonitor::on_answer(bool is_good, const std::string& why) {
  question_.reset();
  limit_.stop();
  const bool is_first = !was_healthy_ && !is_good;
  next_.start(is_first ? std::min(options_.interval, kFirstInterval) : options_.interval);
  if (is_good) {
    failures_in_row_ = 0;
    if (is_healthy_) return;
    is_healthy_ = was_healthy_ = true;
    return on_change_(true, why);
  }
  ++failures_;
  const bool is_starting = !was_healthy_ && loop_.clock().now() - started_ < options_.start_period;
  if (is_starting || ++failures_in_row_ < options_.retries) return;
  failures_in_row_ = 0;
  is_healthy_ = false;
  on_change_(false, why);
}

}  // namespace brokkr::workload
