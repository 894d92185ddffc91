#include "jetstream/consumer_rules.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "base/bytes.h"
#include "broker/settings.h"
#include "jetstream/jetstream.h"
#include "jetstream/stream_rules.h"
#include "subject/subject.h"

namespace brokkr::jetstream {
namespace {

using namespace std::chrono_literals;

constexpr size_t kDescriptionBytesMax = 4096;
constexpr size_t kMetadataBytesMax = 128 << 10;
constexpr int64_t kDefaultMaxWaiting = 512;
constexpr int64_t kDefaultMaxAckPending = 1000;
constexpr Duration kDefaultAckWait = 30s;
constexpr Duration kDefaultPriorityTimeout = 2min;
constexpr Duration kFlowControlHeartbeat = 1s;
constexpr Duration kHeartbeatMin = 100ms;
constexpr Duration kRequestExpiresMin = 1ms;
constexpr size_t kGroupNameBytesMax = 16;
constexpr const char* kRequiredLevelKey = "_nats.req.level";
constexpr const char* kServerVersionKey = "_nats.ver";
constexpr const char* kServerLevelKey = "_nats.level";

ApiError pedantic(const char* text) { return api_error(10157, text); }
ApiError bad_config(const char* text) { return api_error(10052, text); }

// A negative value becomes `fallback`.
template <typename T>
ApiStatus not_negative(T& value, T fallback, bool is_pedantic, const char* complaint) {
  if (value >= T{}) return {};
  if (is_pedantic) return pedantic(complaint);
  value = fallback;
  return {};
}

ApiStatus normalise_negatives(ConsumerConfig& config, bool is_pedantic) {
  if (config.max_deliver == 0 || config.max_deliver < -1) {
    if (is_pedantic && config.max_deliver < -1) return pedantic("max_deliver must be set to -1");
    config.max_deliver = -1;
  }
  const int64_t none = 0;
  ApiStatus status = not_negative(config.max_waiting, none, is_pedantic, "max_waiting must not be negative");
  if (status && config.max_ack_pending < -1) {
    status = not_negative(config.max_ack_pending, int64_t{-1}, is_pedantic,
                          "max_ack_pending must be set to -1");
  }
  if (status) status = not_negative(config.max_batch, none, is_pedantic, "max_batch must not be negative");
  if (status) {
    status = not_negative(config.max_expires, Duration(), is_pedantic, "max_expires must not be negative");
  }
  if (status) status = not_negative(config.max_bytes, none, is_pedantic, "max_bytes must not be negative");
  if (status) {
    status = not_negative(config.idle_heartbeat, Duration(), is_pedantic,
                          "idle_heartbeat must not be negative");
  }
  if (status) {
    status = not_negative(config.inactive_threshold, Duration(), is_pedantic,
                          "inactive_threshold must not be negative");
  }
  if (status) {
    status = not_negative(config.priority_timeout, Duration(), is_pedantic,
                          "priority_timeout must not be negative");
  }
  return status;
}

int64_t default_max_ack_pending(const ConsumerLimitsGiven& limits) {
  int64_t value = kDefaultMaxAckPending;
  if (limits.server_max_ack_pending > 0) value = std::min(value, limits.server_max_ack_pending);
  if (limits.account_max_ack_pending > 0) value = std::min(value, limits.account_max_ack_pending);
  return value;
}

ApiStatus check_flow_control_acks(const ConsumerConfig& config) {
  if (config.ack_policy != AckPolicy::FlowControl) return {};
  if (!config.is_push()) return api_error(10218);
  if (!config.flow_control) return api_error(10219);
  if (config.idle_heartbeat != kFlowControlHeartbeat) {
    return bad_config("flow control ack policy heartbeat needs to be 1s");
  }
  if (config.max_ack_pending <= 0) return api_error(10220);
  if (config.ack_wait != Duration() || !config.backoff.empty()) return api_error(10221);
  if (config.max_deliver > 0) return api_error(10222);
  return {};
}

ApiStatus check_push(const ConsumerConfig& config, const StreamConfig& stream) {
  if (!subject::is_literal(config.deliver_subject)) return api_error(10079);
  if (!subject::is_valid(config.deliver_subject)) return api_error(10112);
  for (const std::string& subject : stream.subjects) {
    if (subject::is_subset(config.deliver_subject, subject)) return api_error(10081);
  }
  if (config.max_waiting != 0) return api_error(10080);
  if (config.max_ack_pending > 0 && config.ack_policy == AckPolicy::None) return api_error(10082);
  if (config.idle_heartbeat > Duration() && config.idle_heartbeat < kHeartbeatMin) {
    return api_error(10083);
  }
  return {};
}

ApiStatus check_pull(const ConsumerConfig& config, const StreamConfig& stream,
                     const ConsumerLimitsGiven& limits) {
  if (config.ack_policy == AckPolicy::None && stream.retention == Retention::WorkQueue) {
    return api_error(10084);
  }
  if (config.rate_limit_bps > 0) return api_error(10086);
  if (config.idle_heartbeat > Duration()) return api_error(10088);
  if (config.flow_control) return api_error(10089);
  if (config.max_expires != Duration() && config.max_expires < kRequestExpiresMin) {
    return api_error(10115);
  }
  if (limits.server_max_request_batch > 0 && config.max_batch > limits.server_max_request_batch) {
    return api_error(10125, std::to_string(limits.server_max_request_batch));
  }
  return {};
}

ApiStatus check_limits(const ConsumerConfig& config, const StreamConfig& stream,
                       const ConsumerLimitsGiven& limits) {
  for (const int64_t limit : {limits.server_max_ack_pending, limits.account_max_ack_pending,
                              stream.consumer_limits.max_ack_pending}) {
    if (limit > 0 && config.max_ack_pending > limit) return api_error(10121, std::to_string(limit));
  }
  const Duration threshold = stream.consumer_limits.inactive_threshold;
  if (threshold > Duration() && config.inactive_threshold > threshold) {
    return api_error(10153, format_go_duration(threshold));
  }
  if (config.direct && !config.is_push()) return api_error(10090);
  if (config.direct && config.is_durable()) return api_error(10091);
  return {};
}

ApiStatus check_filters(const ConsumerConfig& config) {
  if (!config.filter_subject.empty() && !config.filter_subjects.empty()) return api_error(10136);
  if (!config.filter_subject.empty() && !subject::is_valid(config.filter_subject)) {
    return bad_config("invalid subject");
  }
  for (const std::string& filter : config.filter_subjects) {
    if (filter.empty()) return api_error(10139);
  }
  const std::vector<std::string> filters = config.filters();
  for (size_t i = 0; i < filters.size(); ++i) {
    if (!subject::is_valid(filters[i])) return bad_config("invalid subject");
    for (size_t j = 0; j < filters.size(); ++j) {
      if (i != j && subject::is_subset(filters[i], filters[j])) return api_error(10138);
    }
  }
  return {};
}

ApiStatus check_start(const ConsumerConfig& config) {
  const auto policy_error = [](const char* policy, const std::string& problem) {
    return api_error(10094, std::string("consumer delivery policy is deliver ") + policy +
                                ", but optional " + problem);
  };
  const bool has_seq = config.opt_start_seq > 0;
  const bool has_time = config.opt_start_time.has_value();
  const char* policy = nullptr;
  switch (config.deliver_policy) {
    case DeliverPolicy::ByStartSequence:
      policy = "by start sequence";
      if (!has_seq) return policy_error(policy, "start sequence is not set");
      if (has_time) return policy_error(policy, "start time is also set");
      return {};
    case DeliverPolicy::ByStartTime:
      policy = "by start time";
      if (!has_time) return policy_error(policy, "start time is not set");
      if (has_seq) return policy_error(policy, "start start sequence is also set");
      return {};
    case DeliverPolicy::Last: policy = "last"; break;
    case DeliverPolicy::New: policy = "new"; break;
    case DeliverPolicy::LastPerSubject: policy = "last per subject"; break;
    default: policy = "all";
  }
  if (has_seq) return policy_error(policy, "start sequence is also set");
  if (has_time) return policy_error(policy, "start time is also set");
  if (config.deliver_policy == DeliverPolicy::LastPerSubject && config.filters().empty()) {
    return policy_error(policy, "filter subject is not set");
  }
  return {};
}

ApiStatus check_priority(const ConsumerConfig& config) {
  if (config.priority_policy == PriorityPolicy::None) {
    if (!config.priority_groups.empty()) return api_error(10196);
    if (config.priority_timeout > Duration()) return api_error(10197);
    return {};
  }
  if (config.is_push()) return api_error(10178);
  if (config.priority_groups.empty()) return api_error(10159);
  for (const std::string& group : config.priority_groups) {
    if (group.empty()) return api_error(10161);
    if (!is_valid_group_name(group)) return api_error(10162);
  }
  return {};
}

ApiStatus check_texts(const ConsumerConfig& config) {
  if (!config.sample_freq.empty()) {
    std::string reason;
    if (!parse_sample_frequency(config.sample_freq, reason)) return api_error(10095, reason);
  }
  if (config.flow_control && config.idle_heartbeat == Duration()) return api_error(10108);
  if (config.is_durable() && !config.name.empty() && config.name != config.durable_name) {
    return api_error(10132);
  }
  size_t metadata_bytes = 0;
  for (const auto& [key, value] : config.metadata) metadata_bytes += key.size() + value.size();
  if (metadata_bytes > kMetadataBytesMax) {
    return api_error(10135, std::to_string(kMetadataBytesMax / 1024) + "KB");
  }
  return {};
}

ApiStatus check_names_and_replicas(const ConsumerConfig& config, const StreamConfig& stream) {
  if (!config.name.empty() && !is_valid_asset_name(config.name)) {
    return bad_config("consumer name can not contain '.', '*', '>', '\\', '/'");
  }
  if (config.is_durable() && !is_valid_asset_name(config.durable_name)) {
    return bad_config("consumer durable name can not contain '.', '*', '>', '\\', '/'");
  }
  if (config.num_replicas > 0 && config.num_replicas > stream.num_replicas) return api_error(10126);
  if (config.num_replicas < 0) return api_error(10133);
  if (stream.retention != Retention::Limits && config.num_replicas != 0 &&
      config.num_replicas != stream.num_replicas) {
    return api_error(10134);
  }
  return {};
}

}  // namespace

ApiStatus set_consumer_defaults(ConsumerConfig& config, const StreamConfig& stream,
                                const ConsumerLimitsGiven& limits, bool is_pedantic) {
  ApiStatus status = normalise_negatives(config, is_pedantic);
  if (!status) return status;
  const bool waits_for_acks =
      config.ack_policy == AckPolicy::Explicit || config.ack_policy == AckPolicy::All;
  if (!config.is_push() && config.max_waiting == 0) config.max_waiting = kDefaultMaxWaiting;
  if (config.ack_wait == Duration() && waits_for_acks) config.ack_wait = kDefaultAckWait;
  if (!config.backoff.empty()) {
    if (is_pedantic && config.ack_wait != config.backoff[0]) {
      return pedantic("first backoff value has to equal batch AckWait");
    }
    config.ack_wait = config.backoff[0];
  }
  if (config.max_ack_pending == 0) {
    if (is_pedantic && stream.consumer_limits.max_ack_pending > 0) {
      return pedantic("max_ack_pending must be set if it's configured in stream limits");
    }
    config.max_ack_pending = stream.consumer_limits.max_ack_pending;
  }
  if (config.inactive_threshold == Duration()) {
    if (is_pedantic && stream.consumer_limits.inactive_threshold > Duration()) {
      return pedantic("inactive_threshold must be set if it's configured in stream limits");
    }
    config.inactive_threshold = stream.consumer_limits.inactive_threshold;
  }
  if (config.max_ack_pending == 0 && config.ack_policy != AckPolicy::None) {
    config.max_ack_pending = default_max_ack_pending(limits);
  }
  if (!config.is_push() && config.max_batch == 0 && limits.server_max_request_batch > 0) {
    if (is_pedantic) {
      return pedantic("max_request_batch must be set if it's JetStream limits are set");
    }
    config.max_batch = limits.server_max_request_batch;
  }
  if (config.priority_policy == PriorityPolicy::PinnedClient &&
      config.priority_timeout == Duration()) {
    config.priority_timeout = kDefaultPriorityTimeout;
  }
  if (config.ack_policy == AckPolicy::FlowControl && !is_pedantic) {
    config.flow_control = true;
    config.idle_heartbeat = kFlowControlHeartbeat;
  }
  return {};
}

ApiStatus check_consumer_config(const ConsumerConfig& config, const StreamConfig& stream,
                                const ConsumerLimitsGiven& limits) {
  ApiStatus status = check_names_and_replicas(config, stream);
  if (!status) return status;
  for (const Duration each : config.backoff) {
    if (each < Duration()) return api_error(10184);
  }
  if (config.ack_wait < Duration()) return api_error(10183);
  status = check_flow_control_acks(config);
  if (!status) return status;
  if (!config.backoff.empty() && config.max_deliver != -1 &&
      static_cast<int64_t>(config.backoff.size()) > config.max_deliver) {
    return api_error(10116);
  }
  if (config.description.size() > kDescriptionBytesMax) {
    return api_error(10107, std::to_string(kDescriptionBytesMax));
  }
  status = config.is_push() ? check_push(config, stream) : check_pull(config, stream, limits);
  if (status) status = check_limits(config, stream, limits);
  if (status) status = check_filters(config);
  if (status) status = check_start(config);
  if (status) status = check_texts(config);
  if (status) status = check_priority(config);
  return status;
}

ApiStatus check_consumer_update(const ConsumerConfig& before, const ConsumerConfig& config,
                                bool is_bound) {
  if (before == config) return {};
  const auto refuse = [](const char* what) {
    return api_error(10012, std::string(what) + " can not be updated");
  };
  if (before.deliver_policy != config.deliver_policy) return refuse("deliver policy");
  if (before.mem_storage != config.mem_storage) return refuse("storage type");
  if (before.direct != config.direct) return refuse("direct");
  if (before.sourcing != config.sourcing) return refuse("sourcing");
  if (before.opt_start_seq != config.opt_start_seq) return refuse("start sequence");
  if (before.opt_start_time != config.opt_start_time) return refuse("start time");
  if (before.ack_policy != config.ack_policy) return refuse("ack policy");
  if (before.replay_policy != config.replay_policy) return refuse("replay policy");
  if (before.idle_heartbeat != config.idle_heartbeat) return refuse("heart beats");
  if (before.flow_control != config.flow_control) return refuse("flow control");
  if (before.deliver_subject != config.deliver_subject) {
    if (!before.is_push()) return api_error(10012, "can not update pull consumer to push based");
    if (!config.is_push()) return api_error(10012, "can not update push consumer to pull based");
    if (is_bound) return api_error(10013);
  }
  if (before.max_waiting != config.max_waiting) return refuse("max waiting");
  return {};
}

void set_kept_metadata(Metadata& metadata, int required_level) {
  metadata.erase(kServerVersionKey);
  metadata.erase(kServerLevelKey);
  metadata[kRequiredLevelKey] = std::to_string(required_level);
}

int required_api_level(const ConsumerConfig& config) {
  if (config.ack_policy == AckPolicy::FlowControl) return 4;
  const bool uses_level_one = config.pause_until || !config.priority_groups.empty() ||
                              config.priority_policy != PriorityPolicy::None ||
                              config.priority_timeout != Duration();
  return uses_level_one ? 1 : 0;
}

ConsumerConfig with_server_metadata(const ConsumerConfig& config) {
  ConsumerConfig copy = config;
  copy.metadata[kServerVersionKey] = broker::kServerVersion;
  copy.metadata[kServerLevelKey] = std::to_string(kApiLevel);
  return copy;
}

bool is_valid_group_name(std::string_view name) {
  if (name.empty() || name.size() > kGroupNameBytesMax) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '/' || c == '=';
  });
}

std::optional<int64_t> parse_sample_frequency(std::string_view text, std::string& reason) {
  if (text.ends_with('%')) text.remove_suffix(1);
  std::string_view digits = text;
  if (digits.starts_with('+')) digits.remove_prefix(1);
  const std::optional<int64_t> value = parse_int(digits);
  if (!value) {
    reason = "strconv.Atoi: parsing ";
    json::append_quoted(reason, text, false);
    reason += ": invalid syntax";
    return {};
  }
  if (*value < 0) {
    reason = "<nil>";
    return {};
  }
  return value;
}

}  // namespace brokkr::jetstream
