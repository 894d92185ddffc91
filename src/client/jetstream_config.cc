#include "client/jetstream_config.h"

#include "client/jetstream_json.h"

namespace brokkr::client {
namespace {

void write_transform(json::Writer& out, const SubjectTransform& transform) {
  out.begin_object().field("src", transform.src).field("dest", transform.dest).end_object();
}

void write_source(json::Writer& out, const StreamSource& source) {
  out.begin_object().field("name", source.name);
  FieldWriter fields(out);
  fields.write("opt_start_seq", source.opt_start_seq);
  fields.write("opt_start_time", source.opt_start_time);
  fields.write("filter_subject", source.filter_subject);
  if (!source.subject_transforms.empty()) {
    out.key("subject_transforms").begin_array();
    for (const SubjectTransform& transform : source.subject_transforms) {
      write_transform(out, transform);
    }
    out.end_array();
  }
  if (source.external) {
    out.key("external").begin_object().field("api", source.external->api);
    fields.write("deliver", source.external->deliver);
    out.end_object();
  }
  out.end_object();
}

void write_placement(json::Writer& out, const Placement& placement) {
  out.key("placement").begin_object();
  FieldWriter fields(out);
  fields.write("cluster", placement.cluster);
  fields.write("tags", placement.tags);
  fields.write("preferred", placement.preferred);
  out.end_object();
}

SubjectTransform read_transform(const json::Value& value) {
  return {std::string(value.get_string("src")), std::string(value.get_string("dest"))};
}

Result<StreamSource> read_source(const json::Value& value) {
  StreamSource source;
  FieldReader fields(value);
  fields.read("name", source.name);
  fields.read("opt_start_seq", source.opt_start_seq);
  fields.read("opt_start_time", source.opt_start_time);
  fields.read("filter_subject", source.filter_subject);
  if (const auto* items = fields.array("subject_transforms")) {
    for (const json::Value& item : *items) source.subject_transforms.push_back(read_transform(item));
  }
  if (const json::Value* external = fields.object("external")) {
    source.external = External{std::string(external->get_string("api")),
                               std::string(external->get_string("deliver"))};
  }
  if (Status status = fields.status(); !status) return status.error();
  return source;
}

// The parts of a stream's configuration that are objects.
Status read_stream_objects(FieldReader& fields, StreamConfig& config) {
  if (const json::Value* placement = fields.object("placement")) {
    config.placement.emplace();
    FieldReader inner(*placement);
    inner.read("cluster", config.placement->cluster);
    inner.read("tags", config.placement->tags);
    inner.read("preferred", config.placement->preferred);
    if (Status status = inner.status(); !status) return status;
  }
  if (const json::Value* mirror = fields.object("mirror")) {
    auto source = read_source(*mirror);
    if (!source) return source.error();
    config.mirror = std::move(*source);
  }
  if (const auto* items = fields.array("sources")) {
    for (const json::Value& item : *items) {
      auto source = read_source(item);
      if (!source) return source.error();
      config.sources.push_back(std::move(*source));
    }
  }
  if (const json::Value* transform = fields.object("subject_transform")) {
    config.subject_transform = read_transform(*transform);
  }
  if (const json::Value* republish = fields.object("republish")) {
    config.republish = Republish{std::string(republish->get_string("src")),
                                 std::string(republish->get_string("dest")),
                                 republish->get_bool("headers_only")};
  }
  if (const json::Value* limits = fields.object("consumer_limits")) {
    FieldReader inner(*limits);
    inner.read("inactive_threshold", config.consumer_limits.inactive_threshold);
    inner.read("max_ack_pending", config.consumer_limits.max_ack_pending);
    return inner.status();
  }
  return {};
}

void write_stream_objects(json::Writer& out, const StreamConfig& config) {
  if (config.placement) write_placement(out, *config.placement);
  if (config.mirror) write_source(out.key("mirror"), *config.mirror);
  if (!config.sources.empty()) {
    out.key("sources").begin_array();
    for (const StreamSource& source : config.sources) write_source(out, source);
    out.end_array();
  }
  if (config.subject_transform) {
    write_transform(out.key("subject_transform"), *config.subject_transform);
  }
  if (config.republish) {
    out.key("republish").begin_object();
    out.field("src", config.republish->src).field("dest", config.republish->dest);
    if (config.republish->headers_only) out.field("headers_only", true);
    out.end_object();
  }
  const ConsumerLimits& limits = config.consumer_limits;
  if (limits.inactive_threshold != Duration(0) || limits.max_ack_pending != 0) {
    out.key("consumer_limits").begin_object();
    FieldWriter fields(out);
    fields.write("inactive_threshold", limits.inactive_threshold);
    fields.write("max_ack_pending", limits.max_ack_pending);
    out.end_object();
  }
}

}  // namespace

const char* to_string(Retention value) {
  static constexpr const char* kWords[] = {"limits", "interest", "workqueue"};
  return kWords[static_cast<size_t>(value)];
}
const char* to_string(Discard value) { return value == Discard::Old ? "old" : "new"; }
const char* to_string(Storage value) { return value == Storage::File ? "file" : "memory"; }
const char* to_string(Compression value) { return value == Compression::None ? "none" : "s2"; }
const char* to_string(PersistMode value) {
  return value == PersistMode::Default ? "default" : "async";
}
const char* to_string(DeliverPolicy value) {
  static constexpr const char* kWords[] = {"all",           "last", "new", "by_start_sequence",
                                           "by_start_time", "last_per_subject"};
  return kWords[static_cast<size_t>(value)];
}
const char* to_string(AckPolicy value) {
  static constexpr const char* kWords[] = {"none", "all", "explicit", "flow_control"};
  return kWords[static_cast<size_t>(value)];
}
const char* to_string(ReplayPolicy value) {
  return value == ReplayPolicy::Instant ? "instant" : "original";
}
const char* to_string(PriorityPolicy value) {
  static constexpr const char* kWords[] = {"none", "overflow", "pinned_client", "prioritized"};
  return kWords[static_cast<size_t>(value)];
}

void write_json(json::Writer& out, const StreamConfig& config) {
  out.begin_object();
  FieldWriter fields(out);
  fields.write("name", config.name);
  fields.write("description", config.description);
  fields.write("subjects", config.subjects);
  out.field("retention", to_string(config.retention));
  out.field("max_consumers", config.max_consumers);
  out.field("max_msgs_per_subject", config.max_msgs_per_subject);
  out.field("max_msgs", config.max_msgs);
  out.field("max_bytes", config.max_bytes);
  out.field("max_age", int64_t{config.max_age.count()});
  fields.write("max_msg_size", config.max_msg_size);
  out.field("storage", to_string(config.storage));
  out.field("discard", to_string(config.discard));
  out.field("num_replicas", config.num_replicas);
  fields.write("no_ack", config.no_ack);
  fields.write("duplicate_window", config.duplicate_window);
  write_stream_objects(out, config);
  if (config.compression != Compression::None) {
    out.field("compression", to_string(config.compression));
  }
  fields.write("first_seq", config.first_seq);
  fields.write("sealed", config.sealed);
  fields.write("deny_delete", config.deny_delete);
  fields.write("deny_purge", config.deny_purge);
  fields.write("allow_rollup_hdrs", config.allow_rollup_hdrs);
  fields.write("allow_direct", config.allow_direct);
  fields.write("mirror_direct", config.mirror_direct);
  fields.write("discard_new_per_subject", config.discard_new_per_subject);
  fields.write("metadata", config.metadata);
  fields.write("allow_msg_ttl", config.allow_msg_ttl);
  fields.write("subject_delete_marker_ttl", config.subject_delete_marker_ttl);
  fields.write("allow_msg_counter", config.allow_msg_counter);
  fields.write("allow_atomic", config.allow_atomic);
  fields.write("allow_msg_schedules", config.allow_msg_schedules);
  fields.write("allow_batched", config.allow_batched);
  if (config.persist_mode != PersistMode::Default) {
    out.field("persist_mode", to_string(config.persist_mode));
  }
  out.end_object();
}

void write_json(json::Writer& out, const ConsumerConfig& config) {
  out.begin_object();
  FieldWriter fields(out);
  fields.write("name", config.name);
  fields.write("durable_name", config.durable_name);
  fields.write("description", config.description);
  out.field("deliver_policy", to_string(config.deliver_policy));
  fields.write("opt_start_seq", config.opt_start_seq);
  fields.write("opt_start_time", config.opt_start_time);
  out.field("ack_policy", to_string(config.ack_policy));
  fields.write("ack_wait", config.ack_wait);
  fields.write("max_deliver", config.max_deliver);
  fields.write("backoff", config.backoff);
  fields.write("filter_subject", config.filter_subject);
  fields.write("filter_subjects", config.filter_subjects);
  out.field("replay_policy", to_string(config.replay_policy));
  fields.write("rate_limit_bps", config.rate_limit_bps);
  fields.write("sample_freq", config.sample_freq);
  fields.write("max_waiting", config.max_waiting);
  fields.write("max_ack_pending", config.max_ack_pending);
  fields.write("flow_control", config.flow_control);
  fields.write("idle_heartbeat", config.idle_heartbeat);
  fields.write("headers_only", config.headers_only);
  fields.write("max_batch", config.max_batch);
  fields.write("max_expires", config.max_expires);
  fields.write("max_bytes", config.max_bytes);
  fields.write("deliver_subject", config.deliver_subject);
  fields.write("deliver_group", config.deliver_group);
  fields.write("inactive_threshold", config.inactive_threshold);
  out.field("num_replicas", config.num_replicas);
  fields.write("mem_storage", config.mem_storage);
  fields.write("metadata", config.metadata);
  fields.write("pause_until", config.pause_until);
  fields.write("priority_groups", config.priority_groups);
  if (config.priority_policy != PriorityPolicy::None) {
    out.field("priority_policy", to_string(config.priority_policy));
  }
  fields.write("priority_timeout", config.priority_timeout);
  out.end_object();
}

Result<StreamConfig> parse_stream_config(const json::Value& value) {
  StreamConfig config;
  FieldReader fields(value);
  fields.read("name", config.name);
  fields.read("description", config.description);
  fields.read("subjects", config.subjects);
  fields.read_word("retention", config.retention, Retention::WorkQueue);
  fields.read("max_consumers", config.max_consumers);
  fields.read("max_msgs_per_subject", config.max_msgs_per_subject);
  fields.read("max_msgs", config.max_msgs);
  fields.read("max_bytes", config.max_bytes);
  fields.read("max_age", config.max_age);
  fields.read("max_msg_size", config.max_msg_size);
  fields.read_word("storage", config.storage, Storage::Memory);
  fields.read_word("discard", config.discard, Discard::New);
  fields.read("num_replicas", config.num_replicas);
  fields.read("no_ack", config.no_ack);
  fields.read("duplicate_window", config.duplicate_window);
  fields.read_word("compression", config.compression, Compression::S2);
  fields.read("first_seq", config.first_seq);
  fields.read("sealed", config.sealed);
  fields.read("deny_delete", config.deny_delete);
  fields.read("deny_purge", config.deny_purge);
  fields.read("allow_rollup_hdrs", config.allow_rollup_hdrs);
  fields.read("allow_direct", config.allow_direct);
  fields.read("mirror_direct", config.mirror_direct);
  fields.read("discard_new_per_subject", config.discard_new_per_subject);
  fields.read("metadata", config.metadata);
  fields.read("allow_msg_ttl", config.allow_msg_ttl);
  fields.read("subject_delete_marker_ttl", config.subject_delete_marker_ttl);
  fields.read("allow_msg_counter", config.allow_msg_counter);
  fields.read("allow_atomic", config.allow_atomic);
  fields.read("allow_msg_schedules", config.allow_msg_schedules);
  fields.read("allow_batched", config.allow_batched);
  fields.read_word("persist_mode", config.persist_mode, PersistMode::Async);
  if (Status status = read_stream_objects(fields, config); !status) return status.error();
  if (Status status = fields.status(); !status) return status.error();
  return config;
}

Result<ConsumerConfig> parse_consumer_config(const json::Value& value) {
  ConsumerConfig config;
  config.ack_policy = AckPolicy::None;  // what an absent member means on the wire
  FieldReader fields(value);
  fields.read("name", config.name);
  fields.read("durable_name", config.durable_name);
  fields.read("description", config.description);
  fields.read_word("deliver_policy", config.deliver_policy, DeliverPolicy::LastPerSubject);
  fields.read("opt_start_seq", config.opt_start_seq);
  fields.read("opt_start_time", config.opt_start_time);
  fields.read_word("ack_policy", config.ack_policy, AckPolicy::FlowControl);
  fields.read("ack_wait", config.ack_wait);
  fields.read("max_deliver", config.max_deliver);
  fields.read("backoff", config.backoff);
  fields.read("filter_subject", config.filter_subject);
  fields.read("filter_subjects", config.filter_subjects);
  fields.read_word("replay_policy", config.replay_policy, ReplayPolicy::Original);
  fields.read("rate_limit_bps", config.rate_limit_bps);
  fields.read("sample_freq", config.sample_freq);
  fields.read("max_waiting", config.max_waiting);
  fields.read("max_ack_pending", config.max_ack_pending);
  fields.read("flow_control", config.flow_control);
  fields.read("idle_heartbeat", config.idle_heartbeat);
  fields.read("headers_only", config.headers_only);
  fields.read("max_batch", config.max_batch);
  fields.read("max_expires", config.max_expires);
  fields.read("max_bytes", config.max_bytes);
  fields.read("deliver_subject", config.deliver_subject);
  fields.read("deliver_group", config.deliver_group);
  fields.read("inactive_threshold", config.inactive_threshold);
  fields.read("num_replicas", config.num_replicas);
  fields.read("mem_storage", config.mem_storage);
  fields.read("metadata", config.metadata);
  fields.read("pause_until", config.pause_until);
  fields.read("priority_groups", config.priority_groups);
  fields.read_word("priority_policy", config.priority_policy, PriorityPolicy::Prioritized);
  fields.read("priority_timeout", config.priority_timeout);
  if (Status status = fields.status(); !status) return status.error();
  return config;
}

}  // namespace brokkr::client
