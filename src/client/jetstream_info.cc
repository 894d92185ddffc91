#include "client/jetstream_info.h"

#include "base/bytes.h"
#include "client/jetstream_json.h"

namespace brokkr::client {
namespace {

Errc to_errc(int http_code, int err_code) {
  if (err_code == kStreamNameInUseError) return Errc::AlreadyExists;
  switch (http_code) {
    case 400: return Errc::InvalidArgument;
    case 403: return Errc::PermissionDenied;
    case 404: return Errc::NotFound;
    case 408: return Errc::TimedOut;
    case 409: return Errc::AlreadyExists;
    case 429: return Errc::LimitExceeded;
    default: return Errc::Unavailable;
  }
}

Status read_state(const json::Value& value, StreamState& state) {
  FieldReader fields(value);
  fields.read("messages", state.messages);
  fields.read("bytes", state.bytes);
  fields.read("first_seq", state.first_seq);
  fields.read("first_ts", state.first_ts);
  fields.read("last_seq", state.last_seq);
  fields.read("last_ts", state.last_ts);
  fields.read("num_subjects", state.num_subjects);
  fields.read("subjects", state.subjects);
  fields.read("num_deleted", state.num_deleted);
  fields.read("deleted", state.deleted);
  fields.read("consumer_count", state.consumer_count);
  if (const json::Value* lost = fields.object("lost")) {
    state.lost.emplace();
    FieldReader inner(*lost);
    inner.read("msgs", state.lost->msgs);
    inner.read("bytes", state.lost->bytes);
    if (Status status = inner.status(); !status) return status;
  }
  return fields.status();
}

ClusterInfo read_cluster(const json::Value& value) {
  ClusterInfo cluster;
  FieldReader fields(value);
  fields.read("name", cluster.name);
  fields.read("raft_group", cluster.raft_group);
  fields.read("leader", cluster.leader);
  fields.read("leader_since", cluster.leader_since);
  fields.read("traffic_account", cluster.traffic_account);
  fields.read("system_account", cluster.system_account);
  if (const auto* replicas = fields.array("replicas")) {
    for (const json::Value& item : *replicas) {
      PeerInfo& peer = cluster.replicas.emplace_back();
      FieldReader inner(item);
      inner.read("name", peer.name);
      inner.read("current", peer.current);
      inner.read("offline", peer.offline);
      inner.read("active", peer.active);
      inner.read("lag", peer.lag);
    }
  }
  return cluster;
}

StreamSourceInfo read_source_info(const json::Value& value) {
  StreamSourceInfo source;
  FieldReader fields(value);
  fields.read("name", source.name);
  fields.read("lag", source.lag);
  fields.read("active", source.active);
  fields.read("filter_subject", source.filter_subject);
  if (const json::Value* external = fields.object("external")) {
    source.external = External{std::string(external->get_string("api")),
                               std::string(external->get_string("deliver"))};
  }
  if (const auto* items = fields.array("subject_transforms")) {
    for (const json::Value& item : *items) {
      source.subject_transforms.push_back(
          {std::string(item.get_string("src")), std::string(item.get_string("dest"))});
    }
  }
  if (const json::Value* error = fields.object("error")) {
    source.error = error->get_string("description");
  }
  return source;
}

void read_sequence(const FieldReader& fields, const char* name, SequenceInfo& out) {
  const json::Value* value = fields.object(name);
  if (value == nullptr) return;
  FieldReader inner(*value);
  inner.read("consumer_seq", out.consumer_seq);
  inner.read("stream_seq", out.stream_seq);
  inner.read("last_active", out.last_active);
}

void read_tier(const json::Value& value, AccountTier& tier) {
  FieldReader fields(value);
  fields.read("memory", tier.memory);
  fields.read("storage", tier.storage);
  fields.read("reserved_memory", tier.reserved_memory);
  fields.read("reserved_storage", tier.reserved_storage);
  fields.read("streams", tier.streams);
  fields.read("consumers", tier.consumers);
  if (const json::Value* limits = fields.object("limits")) {
    FieldReader inner(*limits);
    inner.read("max_memory", tier.max_memory);
    inner.read("max_storage", tier.max_storage);
    inner.read("max_streams", tier.max_streams);
    inner.read("max_consumers", tier.max_consumers);
    inner.read("max_ack_pending", tier.max_ack_pending);
    inner.read("memory_max_stream_bytes", tier.memory_max_stream_bytes);
    inner.read("storage_max_stream_bytes", tier.storage_max_stream_bytes);
    inner.read("max_bytes_required", tier.max_bytes_required);
  }
}

}  // namespace

std::optional<ApiError> find_api_error(const Result<json::Value>& answer) {
  if (!answer) return ApiError{{Errc::Syntax, "answer is no JSON: " + answer.error().text}};
  if (!answer->is_object()) return ApiError{{Errc::Syntax, "answer is no JSON object"}};
  const json::Value* error = answer->find("error");
  if (error == nullptr || !error->is_object()) return {};
  ApiError out;
  out.http_code = static_cast<int>(error->get_int("code"));
  out.err_code = static_cast<int>(error->get_int("err_code"));
  out.code = to_errc(out.http_code, out.err_code);
  out.text = error->get_string("description");
  return out;
}

ApiResult<StreamInfo> parse_stream_info(const json::Value& value) {
  StreamInfo info;
  FieldReader fields(value);
  fields.read("created", info.created);
  fields.read("ts", info.ts);
  fields.read("domain", info.domain);
  if (const json::Value* config = fields.object("config")) {
    auto parsed = parse_stream_config(*config);
    if (!parsed) return parsed.error();
    info.config = std::move(*parsed);
  }
  if (const json::Value* state = fields.object("state")) {
    if (Status status = read_state(*state, info.state); !status) return status.error();
  }
  if (const json::Value* cluster = fields.object("cluster")) info.cluster = read_cluster(*cluster);
  if (const json::Value* mirror = fields.object("mirror")) info.mirror = read_source_info(*mirror);
  if (const auto* sources = fields.array("sources")) {
    for (const json::Value& source : *sources) info.sources.push_back(read_source_info(source));
  }
  if (Status status = fields.status(); !status) return status.error();
  info.json = json::Writer().value(value).take();
  return info;
}

ApiResult<ConsumerInfo> parse_consumer_info(const json::Value& value) {
  ConsumerInfo info;
  FieldReader fields(value);
  fields.read("stream_name", info.stream_name);
  fields.read("name", info.name);
  fields.read("created", info.created);
  if (const json::Value* config = fields.object("config")) {
    auto parsed = parse_consumer_config(*config);
    if (!parsed) return parsed.error();
    info.config = std::move(*parsed);
  }
  read_sequence(fields, "delivered", info.delivered);
  read_sequence(fields, "ack_floor", info.ack_floor);
  fields.read("num_ack_pending", info.num_ack_pending);
  fields.read("num_redelivered", info.num_redelivered);
  fields.read("num_waiting", info.num_waiting);
  fields.read("num_pending", info.num_pending);
  if (const json::Value* cluster = fields.object("cluster")) info.cluster = read_cluster(*cluster);
  fields.read("push_bound", info.push_bound);
  fields.read("paused", info.paused);
  fields.read("pause_remaining", info.pause_remaining);
  fields.read("ts", info.ts);
  if (const auto* groups = fields.array("priority_groups")) {
    for (const json::Value& item : *groups) {
      PriorityGroupState& group = info.priority_groups.emplace_back();
      FieldReader inner(item);
      inner.read("group", group.group);
      inner.read("pinned_client_id", group.pinned_client_id);
      inner.read("pinned_ts", group.pinned_ts);
    }
  }
  if (Status status = fields.status(); !status) return status.error();
  info.json = json::Writer().value(value).take();
  return info;
}

ApiResult<AccountInfo> parse_account_info(const json::Value& value) {
  AccountInfo info;
  read_tier(value, info);
  FieldReader fields(value);
  fields.read("domain", info.domain);
  if (const json::Value* api = fields.object("api")) {
    FieldReader inner(*api);
    inner.read("level", info.api_level);
    inner.read("total", info.api_total);
    inner.read("errors", info.api_errors);
  }
  if (const json::Value* tiers = fields.object("tiers")) {
    for (const auto& [name, tier] : tiers->members()) read_tier(tier, info.tiers[name]);
  }
  if (Status status = fields.status(); !status) return status.error();
  info.json = json::Writer().value(value).take();
  return info;
}

ApiResult<PauseState> parse_pause_state(const json::Value& value) {
  PauseState state;
  FieldReader fields(value);
  fields.read("paused", state.paused);
  fields.read("pause_until", state.pause_until);
  fields.read("pause_remaining", state.pause_remaining);
  if (Status status = fields.status(); !status) return status.error();
  return state;
}

ApiResult<StoredMessage> parse_stored_message(const json::Value& value) {
  StoredMessage message;
  FieldReader fields(value);
  std::string headers;
  std::string payload;
  std::optional<WallTime> time;
  fields.read("subject", message.subject);
  fields.read("seq", message.seq);
  fields.read("hdrs", headers);
  fields.read("data", payload);
  fields.read("time", time);
  if (Status status = fields.status(); !status) return status.error();
  auto header_bytes = base64_decode(headers);
  auto payload_bytes = base64_decode(payload);
  if (!header_bytes || !payload_bytes) {
    return Error{Errc::Syntax, "message " + std::to_string(message.seq) + " is no base64"};
  }
  message.headers = std::move(*header_bytes);
  message.payload = std::move(*payload_bytes);
  if (time) message.time = *time;
  return message;
}

ApiResult<PubAck> parse_pub_ack(std::string_view text) {
  const auto answer = json::parse(text);
  if (auto error = find_api_error(answer)) return std::move(*error);
  PubAck ack;
  FieldReader fields(*answer);
  fields.read("stream", ack.stream);
  fields.read("seq", ack.seq);
  fields.read("duplicate", ack.duplicate);
  fields.read("domain", ack.domain);
  fields.read("val", ack.value);
  fields.read("batch", ack.batch);
  fields.read("count", ack.count);
  if (Status status = fields.status(); !status) return status.error();
  // Whoever else answers on the subject is no stream.
  if (ack.stream.empty()) return Error{Errc::Syntax, "invalid PubAck"};
  return ack;
}

}  // namespace brokkr::client
