#include "workload/restart_backoff.h"

#include <algorithm>

namespace brokkr::workload {
namespace {

constexpr int64_t kJitterDivisor = 4;

Duration nanoseconds_or(int64_t wanted, Duration standard) {
  return wanted > 0 ? Duration(wanted) : standard;
}

}  // namespace

RestartBackoff::Options RestartBackoff::choose(const RestartPolicy& policy, bool is_job) {
  Options options;
  options.kind = policy.kind;
  if (policy.kind == RestartPolicy::Kind::Default) {
    options.kind = is_job ? RestartPolicy::Kind::Never : RestartPolicy::Kind::Always;
    // A job that may be tried more than once is tried again when it fails.
    if (is_job && policy.attempts_max > 1) options.kind = RestartPolicy::Kind::OnFailure;
  }
  options.attempts_max = policy.attempts_max;
  options.pause = nanoseconds_or(policy.backoff_ns, options.pause);
  options.pause_max = std::max(nanoseconds_or(policy.backoff_max_ns, options.pause_max), options.pause);
  options.reset_after = nanoseconds_or(policy.reset_after_ns, options.reset_after);
  return options;
}

std::optional<Duration> RestartBackoff::next(bool is_success, Duration ran, Random& random) {
  if (ran >= options_.reset_after) attempts_ = 0;
  ++attempts_;
  using Kind = RestartPolicy::Kind;
  if (options_.kind == Kind::Never) return std::nullopt;
  if (options_.kind == Kind::OnFailure && is_success) return std::nullopt;
  if (options_.attempts_max != 0 && attempts_ >= options_.attempts_max) return std::nullopt;
  Duration pause = options_.pause;
  for (uint32_t i = 1; i < attempts_ && pause < options_.pause_max; ++i) pause *= 2;
  pause = std::min(pause, options_.pause_max);
  const auto jitter_max = static_cast<uint64_t>(pause.count() / kJitterDivisor) + 1;
  return pause + Duration(static_cast<int64_t>(random.below(jitter_max)));
}

}  // namespace brokkr::workload
