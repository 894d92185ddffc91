#include "jetstream/consumer_config.h"

#include "jetstream/go_json.h"

namespace brokkr::jetstream {
namespace {

constexpr std::string_view kDeliverPolicies[] = {
    "all", "last", "new", "by_start_sequence", "by_start_time", "last_per_subject", "undefined"};
constexpr std::string_view kAckPolicies[] = {"none", "all", "explicit", "flow_control"};
constexpr std::string_view kReplayPolicies[] = {"instant", "original"};
constexpr std::string_view kPriorityPolicies[] = {"none", "overflow", "pinned_client", "prioritized"};
constexpr std::string_view kActions[] = {"", "create", "update"};
constexpr const char* kInt = "int";

bool read_delivery_field(JsonMember& in, ConsumerConfig& out) {
  return in("deliver_subject", out.deliver_subject) || in("deliver_group", out.deliver_group) ||
         in("idle_heartbeat", out.idle_heartbeat) || in("flow_control", out.flow_control) ||
         in("rate_limit_bps", out.rate_limit_bps) || in("headers_only", out.headers_only) ||
         in("max_waiting", out.max_waiting, kInt) || in("max_batch", out.max_batch, kInt) ||
         in("max_expires", out.max_expires) || in("max_bytes", out.max_bytes, kInt) ||
         in("priority_groups", out.priority_groups) ||
         in("priority_timeout", out.priority_timeout) ||
         in.word("priority_policy", out.priority_policy, kPriorityPolicies,
                 "unknown priority policy: {raw}");
}

bool read_field(JsonMember& in, ConsumerConfig& out) {
  return in("durable_name", out.durable_name) || in("name", out.name) ||
         in("description", out.description) ||
         in.word("deliver_policy", out.deliver_policy, kDeliverPolicies) ||
         in("opt_start_seq", out.opt_start_seq) || in("opt_start_time", out.opt_start_time) ||
         in.word("ack_policy", out.ack_policy, kAckPolicies) || in("ack_wait", out.ack_wait) ||
         in("max_deliver", out.max_deliver, kInt) || in("backoff", out.backoff) ||
         in("filter_subject", out.filter_subject) || in("filter_subjects", out.filter_subjects) ||
         in.word("replay_policy", out.replay_policy, kReplayPolicies) ||
         in("sample_freq", out.sample_freq) || in("max_ack_pending", out.max_ack_pending, kInt) ||
         in("inactive_threshold", out.inactive_threshold) ||
         in("num_replicas", out.num_replicas, kInt) || in("mem_storage", out.mem_storage) ||
         in("direct", out.direct) || in("sourcing", out.sourcing) ||
         in("metadata", out.metadata) || in("pause_until", out.pause_until) ||
         read_delivery_field(in, out);
}

void normalise(ConsumerConfig& config) {
  if (config.deliver_policy == DeliverPolicy::Undefined) config.deliver_policy = DeliverPolicy::All;
}

// The `omitempty` of Go's encoder.
void put(json::Writer& out, const char* name, const std::string& value) {
  if (!value.empty()) out.field(name, value);
}
void put(json::Writer& out, const char* name, int64_t value) {
  if (value != 0) out.field(name, value);
}
void put(json::Writer& out, const char* name, uint64_t value) {
  if (value != 0) out.field(name, value);
}
void put(json::Writer& out, const char* name, Duration value) {
  if (value.count() != 0) out.field(name, static_cast<int64_t>(value.count()));
}
void put(json::Writer& out, const char* name, bool value) {
  if (value) out.field(name, true);
}
void put(json::Writer& out, const char* name, const std::optional<WallTime>& value) {
  if (value) out.field(name, format_rfc3339(*value));
}
void put(json::Writer& out, const char* name, const std::vector<std::string>& values) {
  if (values.empty()) return;
  out.key(name).begin_array();
  for (const std::string& value : values) out.string(value);
  out.end_array();
}

}  // namespace

std::vector<std::string> ConsumerConfig::filters() const {
  if (!filter_subject.empty()) return {filter_subject};
  return filter_subjects;
}

Duration ConsumerConfig::wait_after(uint32_t deliveries) const {
  if (backoff.empty()) return ack_wait;
  const size_t index = deliveries == 0 ? 0 : deliveries - 1;
  return backoff[index < backoff.size() ? index : backoff.size() - 1];
}

ApiResult<ConsumerConfig> parse_consumer_config(const json::Value& object, bool strict) {
  ConsumerConfig config;
  StructReader reader(strict);
  reader.read(object, "ConsumerConfig", [&](JsonMember& in) { return read_field(in, config); });
  if (ApiStatus status = reader.status(); !status) return status.error();
  normalise(config);
  return config;
}

ApiResult<ConsumerCreateRequest> parse_consumer_create_request(const json::Value& object,
                                                               bool strict) {
  ConsumerCreateRequest request;
  const auto read_config = [&](JsonMember& in) { return read_field(in, request.config); };
  StructReader reader(strict);
  reader.read(object, "CreateConsumerRequest", [&](JsonMember& in) {
    return in("stream_name", request.stream_name) || in("pedantic", request.pedantic) ||
           in.word("action", request.action, kActions, "unknown consumer action: {raw}") ||
           in.object("config", "ConsumerConfig", read_config);
  });
  if (ApiStatus status = reader.status(); !status) return status.error();
  normalise(request.config);
  return request;
}

void write_consumer_config(json::Writer& out, const ConsumerConfig& config) {
  out.begin_object();
  put(out, "durable_name", config.durable_name);
  put(out, "name", config.name);
  put(out, "description", config.description);
  out.field("deliver_policy", kDeliverPolicies[static_cast<size_t>(config.deliver_policy)]);
  put(out, "opt_start_seq", config.opt_start_seq);
  put(out, "opt_start_time", config.opt_start_time);
  out.field("ack_policy", kAckPolicies[static_cast<size_t>(config.ack_policy)]);
  put(out, "ack_wait", config.ack_wait);
  put(out, "max_deliver", config.max_deliver);
  if (!config.backoff.empty()) {
    out.key("backoff").begin_array();
    for (const Duration each : config.backoff) out.number(static_cast<int64_t>(each.count()));
    out.end_array();
  }
  put(out, "filter_subject", config.filter_subject);
  put(out, "filter_subjects", config.filter_subjects);
  out.field("replay_policy", kReplayPolicies[static_cast<size_t>(config.replay_policy)]);
  put(out, "rate_limit_bps", config.rate_limit_bps);
  put(out, "sample_freq", config.sample_freq);
  put(out, "max_waiting", config.max_waiting);
  put(out, "max_ack_pending", config.max_ack_pending);
  put(out, "flow_control", config.flow_control);
  put(out, "headers_only", config.headers_only);
  put(out, "max_batch", config.max_batch);
  put(out, "max_expires", config.max_expires);
  put(out, "max_bytes", config.max_bytes);
  put(out, "deliver_subject", config.deliver_subject);
  put(out, "deliver_group", config.deliver_group);
  put(out, "idle_heartbeat", config.idle_heartbeat);
  put(out, "inactive_threshold", config.inactive_threshold);
  out.field("num_replicas", config.num_replicas);
  put(out, "mem_storage", config.mem_storage);
  put(out, "direct", config.direct);
  put(out, "sourcing", config.sourcing);
  if (!config.metadata.empty()) {
    out.key("metadata").begin_object();
    for (const auto& [key, value] : config.metadata) out.field(key, value);
    out.end_object();
  }
  put(out, "pause_until", config.pause_until);
  put(out, "priority_groups", config.priority_groups);
  if (config.priority_policy != PriorityPolicy::None) {
    out.field("priority_policy", kPriorityPolicies[static_cast<size_t>(config.priority_policy)]);
  }
  put(out, "priority_timeout", config.priority_timeout);
  out.end_object();
}

}  // namespace brokkr::jetstream
