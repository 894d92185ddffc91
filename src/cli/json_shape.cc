#include "cli/json_shape.h"

#include <algorithm>

namespace brokkr::cli {
namespace {

using Type = ShapeMember::Type;
constexpr std::string_view kZeroTime = "0001-01-01T00:00:00Z";
constexpr bool kOmit = true;
constexpr bool kKeep = false;

constexpr ShapeMember kPlacement[] = {
    {"cluster", Type::Text, kOmit}, {"tags", Type::Raw, kOmit}, {"preferred", Type::Text, kOmit}};
constexpr ShapeMember kTransform[] = {{"src", Type::Text}, {"dest", Type::Text}};
constexpr ShapeMember kRepublish[] = {
    {"src", Type::Text, kOmit}, {"dest", Type::Text}, {"headers_only", Type::Flag, kOmit}};
constexpr ShapeMember kExternal[] = {{"api", Type::Text}, {"deliver", Type::Text}};
constexpr ShapeMember kSourceConsumer[] = {{"name", Type::Text}, {"deliver_subject", Type::Text}};
constexpr ShapeMember kSource[] = {
    {"name", Type::Text},
    {"opt_start_seq", Type::Number, kOmit},
    {"opt_start_time", Type::Raw, kOmit},
    {"filter_subject", Type::Text, kOmit},
    {"external", Type::Object, kOmit, kExternal},
    {"subject_transforms", Type::List, kOmit, kTransform},
    {"consumer", Type::Object, kOmit, kSourceConsumer},
};
constexpr ShapeMember kConsumerLimits[] = {{"inactive_threshold", Type::Number, kOmit},
                                           {"max_ack_pending", Type::Number, kOmit}};
constexpr ShapeMember kStreamConfig[] = {
    {"name", Type::Text},
    {"description", Type::Text, kOmit},
    {"subjects", Type::Raw, kOmit},
    {"retention", Type::Text},
    {"max_consumers", Type::Number},
    {"max_msgs_per_subject", Type::Number},
    {"max_msgs", Type::Number},
    {"max_bytes", Type::Number},
    {"max_age", Type::Number},
    {"max_msg_size", Type::Number, kOmit},
    {"storage", Type::Text},
    {"discard", Type::Text},
    {"num_replicas", Type::Number},
    {"no_ack", Type::Flag, kOmit},
    {"duplicate_window", Type::Number, kOmit},
    {"placement", Type::Object, kOmit, kPlacement},
    {"mirror", Type::Object, kOmit, kSource},
    {"sources", Type::List, kOmit, kSource},
    {"compression", Type::Text, kOmit, {}, "none"},
    {"subject_transform", Type::Object, kOmit, kTransform},
    {"republish", Type::Object, kOmit, kRepublish},
    {"sealed", Type::Flag},
    {"deny_delete", Type::Flag},
    {"deny_purge", Type::Flag},
    {"allow_rollup_hdrs", Type::Flag},
    {"allow_direct", Type::Flag},
    {"mirror_direct", Type::Flag},
    {"discard_new_per_subject", Type::Flag, kOmit},
    {"first_seq", Type::Number, kOmit},
    {"metadata", Type::Map, kOmit},
    {"allow_msg_ttl", Type::Flag, kOmit},
    {"subject_delete_marker_ttl", Type::Number, kOmit},
    {"consumer_limits", Type::Object, kKeep, kConsumerLimits},
    {"allow_atomic", Type::Flag, kOmit},
    {"allow_msg_counter", Type::Flag, kOmit},
    {"allow_msg_schedules", Type::Flag, kOmit},
    {"persist_mode", Type::Text, kOmit, {}, "default"},
    {"allow_batched", Type::Flag, kOmit},
};
constexpr ShapeMember kLost[] = {{"msgs", Type::Raw}, {"bytes", Type::Number}};
constexpr ShapeMember kStreamState[] = {
    {"messages", Type::Number},
    {"bytes", Type::Number},
    {"first_seq", Type::Number},
    {"first_ts", Type::Time},
    {"last_seq", Type::Number},
    {"last_ts", Type::Time},
    {"num_deleted", Type::Number, kOmit},
    {"deleted", Type::Raw, kOmit},
    {"num_subjects", Type::Number, kOmit},
    {"subjects", Type::Map, kOmit},
    {"lost", Type::Object, kOmit, kLost},
    {"consumer_count", Type::Number},
};
constexpr ShapeMember kPeer[] = {
    {"name", Type::Text},           {"current", Type::Flag},        {"offline", Type::Flag, kOmit},
    {"active", Type::Number},       {"lag", Type::Number, kOmit},   {"peer", Type::Text},
    {"pending", Type::Flag, kOmit},
};
constexpr ShapeMember kCluster[] = {
    {"name", Type::Text, kOmit},           {"raft_group", Type::Text, kOmit},
    {"leader", Type::Text, kOmit},         {"leader_since", Type::Raw, kOmit},
    {"system_account", Type::Flag, kOmit}, {"traffic_account", Type::Text, kOmit},
    {"replicas", Type::List, kOmit, kPeer},
    {"desired", Type::Raw, kOmit},
};
constexpr ShapeMember kApiError[] = {{"code", Type::Number},
                                     {"err_code", Type::Number, kOmit},
                                     {"description", Type::Text, kOmit}};
constexpr ShapeMember kSourceInfo[] = {
    {"name", Type::Text},
    {"external", Type::Object, kOmit, kExternal},
    {"lag", Type::Number},
    {"active", Type::Number},
    {"error", Type::Object, kOmit, kApiError},
    {"filter_subject", Type::Text, kOmit},
    {"subject_transforms", Type::List, kOmit, kTransform},
};
constexpr ShapeMember kAlternate[] = {
    {"name", Type::Text}, {"domain", Type::Text, kOmit}, {"cluster", Type::Text}};
constexpr ShapeMember kStreamInfo[] = {
    {"config", Type::Object, kKeep, kStreamConfig},
    {"created", Type::Time},
    {"state", Type::Object, kKeep, kStreamState},
    {"domain", Type::Text, kOmit},
    {"cluster", Type::Object, kOmit, kCluster},
    {"mirror", Type::Object, kOmit, kSourceInfo},
    {"sources", Type::List, kOmit, kSourceInfo},
    {"alternates", Type::List, kOmit, kAlternate},
    {"ts", Type::Time},
};
constexpr ShapeMember kConsumerConfig[] = {
    {"description", Type::Text, kOmit},
    {"ack_policy", Type::Text},
    {"ack_wait", Type::Number, kOmit},
    {"deliver_policy", Type::Text},
    {"deliver_subject", Type::Text, kOmit},
    {"deliver_group", Type::Text, kOmit},
    {"durable_name", Type::Text, kOmit},
    {"name", Type::Text, kOmit},
    {"filter_subject", Type::Text, kOmit},
    {"filter_subjects", Type::Raw, kOmit},
    {"flow_control", Type::Flag, kOmit},
    {"idle_heartbeat", Type::Number, kOmit},
    {"max_ack_pending", Type::Number, kOmit},
    {"max_deliver", Type::Number, kOmit},
    {"backoff", Type::Raw, kOmit},
    {"max_waiting", Type::Number, kOmit},
    {"opt_start_seq", Type::Number, kOmit},
    {"opt_start_time", Type::Raw, kOmit},
    {"rate_limit_bps", Type::Number, kOmit},
    {"replay_policy", Type::Text},
    {"sample_freq", Type::Text, kOmit},
    {"headers_only", Type::Flag, kOmit},
    {"max_batch", Type::Number, kOmit},
    {"max_expires", Type::Number, kOmit},
    {"max_bytes", Type::Number, kOmit},
    {"inactive_threshold", Type::Number, kOmit},
    {"num_replicas", Type::Number},
    {"mem_storage", Type::Flag, kOmit},
    {"metadata", Type::Map, kOmit},
    {"pause_until", Type::Time},
    {"priority_groups", Type::Raw, kOmit},
    {"priority_policy", Type::Text, kOmit, {}, "none"},
    {"priority_timeout", Type::Number, kOmit},
    {"direct", Type::Flag, kOmit},
    {"sourcing", Type::Flag, kOmit},
};
constexpr ShapeMember kSequences[] = {{"consumer_seq", Type::Number},
                                      {"stream_seq", Type::Number},
                                      {"last_active", Type::Raw, kOmit}};
constexpr ShapeMember kPriorityGroup[] = {
    {"group", Type::Text}, {"pinned_client_id", Type::Text, kOmit}, {"pinned_ts", Type::Time}};
constexpr ShapeMember kConsumerInfo[] = {
    {"stream_name", Type::Text},
    {"name", Type::Text},
    {"config", Type::Object, kKeep, kConsumerConfig},
    {"created", Type::Time},
    {"delivered", Type::Object, kKeep, kSequences},
    {"ack_floor", Type::Object, kKeep, kSequences},
    {"num_ack_pending", Type::Number},
    {"num_redelivered", Type::Number},
    {"num_waiting", Type::Number},
    {"num_pending", Type::Number},
    {"cluster", Type::Object, kOmit, kCluster},
    {"push_bound", Type::Flag, kOmit},
    {"paused", Type::Flag, kOmit},
    {"pause_remaining", Type::Number, kOmit},
    {"ts", Type::Time},
    {"priority_groups", Type::List, kOmit, kPriorityGroup},
};
constexpr ShapeMember kStoredMessage[] = {
    {"subject", Type::Text},     {"seq", Type::Number}, {"hdrs", Type::Text, kOmit},
    {"data", Type::Text, kOmit}, {"time", Type::Time},
};
constexpr ShapeMember kBackup[] = {{"config", Type::Object, kKeep, kStreamConfig},
                                   {"state", Type::Object, kKeep, kStreamState}};

bool is_zero(const ShapeMember& member, const json::Value& value) {
  switch (value.kind()) {
    case json::Value::Kind::Null: return true;
    case json::Value::Kind::Bool: return !value.as_bool().value_or(false);
    case json::Value::Kind::String:
      return value.as_string().empty() || (!member.zero.empty() && value.as_string() == member.zero);
    case json::Value::Kind::Array: return value.items().empty();
    case json::Value::Kind::Object: return member.type == Type::Map && value.members().empty();
    default: return value.as_double() == 0.0;
  }
}

void write_map(json::Writer& out, const json::Value& value) {
  auto members = value.members();
  std::sort(members.begin(), members.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  out.begin_object();
  for (const auto& [name, inner] : members) out.key(name).value(inner);
  out.end_object();
}

void write_member(json::Writer& out, const ShapeMember& member, const json::Value& value) {
  switch (member.type) {
    case Type::Text: out.string(value.as_string()); break;
    case Type::Number:
      if (value.is_number()) {
        out.value(value);
      } else {
        out.number(0);
      }
      break;
    case Type::Flag: out.boolean(value.as_bool().value_or(false)); break;
    case Type::Time: out.string(value.as_string().empty() ? kZeroTime : value.as_string()); break;
    case Type::Raw: out.value(value); break;
    case Type::Object: write_shaped(out, value, member.inner); break;
    case Type::List:
      out.begin_array();
      for (const json::Value& item : value.items()) write_shaped(out, item, member.inner);
      out.end_array();
      break;
    case Type::Map: write_map(out, value); break;
  }
}

}  // namespace

const Shape kStreamConfigShape = kStreamConfig;
const Shape kStreamInfoShape = kStreamInfo;
const Shape kConsumerConfigShape = kConsumerConfig;
const Shape kConsumerInfoShape = kConsumerInfo;
const Shape kStoredMessageShape = kStoredMessage;
const Shape kBackupShape = kBackup;

void write_shaped(json::Writer& out, const json::Value& value, Shape shape) {
  static const json::Value kNull;
  out.begin_object();
  for (const ShapeMember& member : shape) {
    const json::Value* found = value.find(member.name);
    const json::Value& inner = found == nullptr ? kNull : *found;
    if (member.omits_zero && is_zero(member, inner)) continue;
    out.key(member.name);
    write_member(out, member, inner);
  }
  out.end_object();
}

std::string shaped_text(const json::Value& value, Shape shape) {
  json::Writer out({2, true});
  write_shaped(out, value, shape);
  return out.take();
}

Draft::Draft(const json::Value& object) {
  for (const auto& [name, value] : object.members()) {
    json::Writer out;
    out.value(value);
    raw(name, out.take());
  }
}

void Draft::raw(std::string_view name, std::string json) {
  for (auto& member : members_) {
    if (member.first == name) {
      member.second = std::move(json);
      return;
    }
  }
  members_.emplace_back(name, std::move(json));
}

void Draft::text(std::string_view name, std::string_view value) {
  std::string json;
  json::append_quoted(json, value);
  raw(name, std::move(json));
}
void Draft::number(std::string_view name, int64_t value) { raw(name, std::to_string(value)); }
void Draft::flag(std::string_view name, bool value) { raw(name, value ? "true" : "false"); }

void Draft::texts(std::string_view name, const std::vector<std::string>& values) {
  json::Writer out;
  out.begin_array();
  for (const std::string& value : values) out.string(value);
  raw(name, out.end_array().take());
}

void Draft::map(std::string_view name,
                const std::vector<std::pair<std::string, std::string>>& values) {
  json::Writer out;
  out.begin_object();
  for (const auto& [key, value] : values) out.field(key, value);
  raw(name, out.end_object().take());
}

void Draft::erase(std::string_view name) {
  std::erase_if(members_, [&](const auto& member) { return member.first == name; });
}

std::string Draft::text() const {
  json::Writer out;
  out.begin_object();
  for (const auto& [name, json] : members_) out.key(name).raw(json);
  return out.end_object().take();
}

json::Value Draft::value() const {
  auto parsed = json::parse(text());
  return parsed ? std::move(*parsed) : json::Value();
}

}  // namespace brokkr::cli
