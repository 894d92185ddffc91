#include "jetstream/stream_config.h"

#include <array>

#include "jetstream/go_json.h"
#include "jetstream/stream_json.h"

namespace brokkr::jetstream {
namespace {

constexpr std::array<std::string_view, 3> kRetentions = {"limits", "interest", "workqueue"};
constexpr std::array<std::string_view, 2> kDiscards = {"old", "new"};
constexpr std::array<std::string_view, 2> kStorages = {"file", "memory"};
constexpr std::array<std::string_view, 2> kCompressions = {"none", "s2"};
constexpr std::array<std::string_view, 2> kPersistModes = {"default", "async"};

bool read_transform(JsonMember& member, SubjectTransformConfig& out) {
  return member("src", out.source) || member("dest", out.destination);
}

bool read_source(JsonMember& member, StreamSource& out) {
  return member("name", out.name) || member("opt_start_seq", out.opt_start_seq) ||
         member("opt_start_time", out.opt_start_time) ||
         member("filter_subject", out.filter_subject) ||
         member.list("subject_transforms", "SubjectTransformConfig", out.subject_transforms,
                     read_transform) ||
         member.object("external", "ExternalStream", out.external,
                       [](JsonMember& part, ExternalStream& external) {
                         return part("api", external.api) || part("deliver", external.deliver);
                       });
}

bool read_placement(JsonMember& member, Placement& out) {
  return member("cluster", out.cluster) || member("tags", out.tags) ||
         member("preferred", out.preferred);
}

bool read_parts(JsonMember& member, StreamConfig& out) {
  return member.object("placement", "Placement", out.placement, read_placement) ||
         member.object("mirror", "StreamSource", out.mirror, read_source) ||
         member.list("sources", "StreamSource", out.sources, read_source) ||
         member.object("subject_transform", "SubjectTransformConfig", out.subject_transform,
                       read_transform) ||
         member.object("republish", "RePublish", out.republish,
                       [](JsonMember& part, RepublishConfig& republish) {
                         return part("src", republish.source) ||
                                part("dest", republish.destination) ||
                                part("headers_only", republish.headers_only);
                       }) ||
         member.object("consumer_limits", "StreamConsumerLimits", [&](JsonMember& part) {
           return part("inactive_threshold", out.consumer_limits.inactive_threshold) ||
                  part("max_ack_pending", out.consumer_limits.max_ack_pending, "int");
         });
}

void write_transform(json::Writer& out, const SubjectTransformConfig& transform) {
  out.begin_object();
  out.field("src", transform.source).field("dest", transform.destination);
  out.end_object();
}

void write_strings(json::Writer& out, std::string_view name, const std::vector<std::string>& list) {
  if (list.empty()) return;
  out.key(name).begin_array();
  for (const std::string& each : list) out.string(each);
  out.end_array();
}

void write_placement(json::Writer& out, const Placement& placement) {
  out.key("placement").begin_object();
  if (!placement.cluster.empty()) out.field("cluster", placement.cluster);
  write_strings(out, "tags", placement.tags);
  if (!placement.preferred.empty()) out.field("preferred", placement.preferred);
  out.end_object();
}

void write_source(json::Writer& out, const StreamSource& source) {
  out.begin_object();
  out.field("name", source.name);
  if (source.opt_start_seq != 0) out.field("opt_start_seq", source.opt_start_seq);
  if (source.opt_start_time) {
    out.field("opt_start_time", format_rfc3339(*source.opt_start_time));
  }
  if (!source.filter_subject.empty()) out.field("filter_subject", source.filter_subject);
  if (!source.subject_transforms.empty()) {
    out.key("subject_transforms").begin_array();
    for (const SubjectTransformConfig& each : source.subject_transforms) write_transform(out, each);
    out.end_array();
  }
  if (source.external) {
    out.key("external").begin_object();
    out.field("api", source.external->api).field("deliver", source.external->deliver);
    out.end_object();
  }
  out.end_object();
}

void write_limits(json::Writer& out, const StreamConfig& config) {
  out.field("retention", kRetentions[static_cast<size_t>(config.retention)]);
  out.field("max_consumers", config.max_consumers);
  out.field("max_msgs", config.max_msgs);
  out.field("max_bytes", config.max_bytes);
  out.field("max_age", int64_t{config.max_age.count()});
  out.field("max_msgs_per_subject", config.max_msgs_per_subject);
  if (config.max_msg_size != 0) out.field("max_msg_size", int64_t{config.max_msg_size});
  out.field("discard", kDiscards[static_cast<size_t>(config.discard)]);
  out.field("storage", kStorages[static_cast<size_t>(config.storage)]);
  out.field("num_replicas", config.num_replicas);
  if (config.no_ack) out.field("no_ack", true);
  if (config.duplicate_window.count() != 0) {
    out.field("duplicate_window", int64_t{config.duplicate_window.count()});
  }
}

void write_origins(json::Writer& out, const StreamConfig& config) {
  if (config.placement) write_placement(out, *config.placement);
  if (config.mirror) {
    out.key("mirror");
    write_source(out, *config.mirror);
  }
  if (!config.sources.empty()) {
    out.key("sources").begin_array();
    for (const StreamSource& each : config.sources) write_source(out, each);
    out.end_array();
  }
  out.field("compression", kCompressions[static_cast<size_t>(config.compression)]);
  if (config.first_seq != 0) out.field("first_seq", config.first_seq);
  if (config.subject_transform) {
    out.key("subject_transform");
    write_transform(out, *config.subject_transform);
  }
  if (config.republish) {
    out.key("republish").begin_object();
    if (!config.republish->source.empty()) out.field("src", config.republish->source);
    out.field("dest", config.republish->destination);
    if (config.republish->headers_only) out.field("headers_only", true);
    out.end_object();
  }
}

void write_permissions(json::Writer& out, const StreamConfig& config) {
  out.field("allow_direct", config.allow_direct);
  out.field("mirror_direct", config.mirror_direct);
  if (config.discard_new_per_subject) out.field("discard_new_per_subject", true);
  out.field("sealed", config.sealed);
  out.field("deny_delete", config.deny_delete);
  out.field("deny_purge", config.deny_purge);
  out.field("allow_rollup_hdrs", config.allow_rollup_hdrs);
  out.key("consumer_limits").begin_object();
  const ConsumerLimits& limits = config.consumer_limits;
  if (limits.inactive_threshold.count() != 0) {
    out.field("inactive_threshold", int64_t{limits.inactive_threshold.count()});
  }
  if (limits.max_ack_pending != 0) out.field("max_ack_pending", limits.max_ack_pending);
  out.end_object();
  out.field("allow_msg_ttl", config.allow_msg_ttl);
  if (config.subject_delete_marker_ttl.count() != 0) {
    out.field("subject_delete_marker_ttl", int64_t{config.subject_delete_marker_ttl.count()});
  }
  if (config.allow_msg_counter) out.field("allow_msg_counter", true);
  if (config.allow_atomic) out.field("allow_atomic", true);
  if (config.allow_msg_schedules) out.field("allow_msg_schedules", true);
  if (config.persist_mode != PersistMode::Default) {
    out.field("persist_mode", kPersistModes[static_cast<size_t>(config.persist_mode)]);
  }
}

}  // namespace

bool read_stream_config_member(JsonMember& member, StreamConfig& out) {
  return member("name", out.name) || member("description", out.description) ||
         member("subjects", out.subjects) || member.word("retention", out.retention, kRetentions) ||
         member("max_consumers", out.max_consumers, "int") || member("max_msgs", out.max_msgs) ||
         member("max_bytes", out.max_bytes) || member("max_age", out.max_age) ||
         member("max_msgs_per_subject", out.max_msgs_per_subject) ||
         member("max_msg_size", out.max_msg_size, "int32") ||
         member.word("discard", out.discard, kDiscards) ||
         member("discard_new_per_subject", out.discard_new_per_subject) ||
         member.word("storage", out.storage, kStorages) ||
         member("num_replicas", out.num_replicas) || member("no_ack", out.no_ack) ||
         member("duplicate_window", out.duplicate_window) ||
         member.word("compression", out.compression, kCompressions,
                     "unknown compression algorithm") ||
         member("first_seq", out.first_seq) || member("allow_direct", out.allow_direct) ||
         member("mirror_direct", out.mirror_direct) || member("sealed", out.sealed) ||
         member("deny_delete", out.deny_delete) || member("deny_purge", out.deny_purge) ||
         member("allow_rollup_hdrs", out.allow_rollup_hdrs) ||
         member("metadata", out.metadata) || member("allow_msg_ttl", out.allow_msg_ttl) ||
         member("subject_delete_marker_ttl", out.subject_delete_marker_ttl) ||
         member("allow_atomic", out.allow_atomic) ||
         member("allow_msg_counter", out.allow_msg_counter) ||
         member("allow_msg_schedules", out.allow_msg_schedules) ||
         member.word("persist_mode", out.persist_mode, kPersistModes) || read_parts(member, out);
}

ApiResult<StreamConfig> parse_stream_config(const json::Value& object, bool strict) {
  StreamConfig config;
  StructReader reader(strict);
  reader.read(object, "StreamConfig",
              [&](JsonMember& member) { return read_stream_config_member(member, config); });
  if (auto status = reader.status(); !status) return status.error();
  return config;
}

void write_stream_config(json::Writer& out, const StreamConfig& config) {
  out.begin_object();
  out.field("name", config.name);
  if (!config.description.empty()) out.field("description", config.description);
  write_strings(out, "subjects", config.subjects);
  write_limits(out, config);
  write_origins(out, config);
  write_permissions(out, config);
  if (!config.metadata.empty()) {
    out.key("metadata").begin_object();
    for (const auto& [key, value] : config.metadata) out.field(key, value);
    out.end_object();
  }
  out.end_object();
}

std::string stream_config_json(const StreamConfig& config) {
  json::Writer out;
  write_stream_config(out, config);
  return out.take();
}

}  // namespace brokkr::jetstream
