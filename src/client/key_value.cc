#include "client/key_value.h"

#include <algorithm>

#include "client/headers.h"

namespace brokkr::client {
namespace {

constexpr std::string_view kStreamPrefix = "KV_";
constexpr int64_t kHistoryMax = 64;
constexpr Duration kDuplicateWindow = std::chrono::minutes(2);

bool is_key_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '/' || c == '_' || c == '=' || c == '.';
}

bool has_empty_token(std::string_view key) {
  return key.empty() || key.front() == '.' || key.back() == '.' ||
         key.find("..") != std::string_view::npos;
}

std::string bucket_of(std::string_view name) {
  if (name.starts_with(kStreamPrefix)) name.remove_prefix(kStreamPrefix.size());
  return std::string(name);
}

std::string bucket_prefix(const std::string& bucket) { return "$KV." + bucket + "."; }

ApiError invalid_key(const std::string& key) {
  return {{Errc::InvalidArgument, "invalid key \"" + key + "\""}};
}

ApiError bucket_not_found() { return {{Errc::NotFound, "bucket not found"}, 404, kStreamNotFoundError}; }

bool is_wrong_sequence(const ApiError& error) {
  return error.err_code == kWrongLastSequenceError ||
         error.err_code == kWrongLastSequenceConstantError;
}

KeyOperation operation_of(std::string_view headers) {
  if (headers.empty()) return KeyOperation::Put;
  const auto block = Headers::parse(headers);
  if (!block) return KeyOperation::Put;
  const std::string_view operation = block->get("KV-Operation");
  if (operation == "DEL") return KeyOperation::Delete;
  if (operation == "PURGE") return KeyOperation::Purge;
  const std::string_view reason = block->get("Nats-Marker-Reason");
  if (reason == "MaxAge" || reason == "Purge") return KeyOperation::Purge;
  if (reason == "Remove") return KeyOperation::Delete;
  return KeyOperation::Put;
}

}  // namespace

const char* to_string(KeyOperation operation) {
  switch (operation) {
    case KeyOperation::Put: return "PUT";
    case KeyOperation::Delete: return "DEL";
    case KeyOperation::Purge: return "PURGE";
  }
  return "?";
}

bool is_bucket_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return is_key_char(c) && c != '/' && c != '=' && c != '.';
  });
}

bool is_key(std::string_view key) {
  return !has_empty_token(key) && std::all_of(key.begin(), key.end(), is_key_char);
}

bool is_key_pattern(std::string_view pattern) {
  if (has_empty_token(pattern)) return false;
  const std::string_view body =
      pattern.back() == '>' ? pattern.substr(0, pattern.size() - 1) : pattern;
  return std::all_of(body.begin(), body.end(), [](char c) { return is_key_char(c) || c == '*'; });
}

std::string KeyValueStatus::bucket() const { return bucket_of(info.config.name); }

Result<StreamConfig> make_stream_config(const KeyValueConfig& config) {
  if (!is_bucket_name(config.bucket)) return Error{Errc::InvalidArgument, "invalid bucket name"};
  if (config.history > kHistoryMax) {
    return Error{Errc::InvalidArgument, "history limited to a max of 64"};
  }
  StreamConfig out;
  out.name = std::string(kStreamPrefix) + config.bucket;
  out.description = config.description;
  out.max_msgs_per_subject = std::max<int64_t>(1, config.history);
  out.max_bytes = config.max_bytes == 0 ? -1 : config.max_bytes;
  out.max_age = config.ttl;
  out.max_msg_size = config.max_value_size == 0 ? -1 : config.max_value_size;
  out.storage = config.storage;
  out.num_replicas = std::max<int64_t>(1, config.num_replicas);
  out.placement = config.placement;
  out.republish = config.republish;
  out.allow_rollup_hdrs = true;
  out.deny_delete = true;
  out.allow_direct = true;
  out.discard = Discard::New;
  out.duplicate_window =
      config.ttl > Duration(0) ? std::min(kDuplicateWindow, config.ttl) : kDuplicateWindow;
  if (config.is_compressed) out.compression = Compression::S2;
  out.metadata = config.metadata;
  if (config.limit_marker_ttl > Duration(0)) {
    out.allow_msg_ttl = true;
    out.subject_delete_marker_ttl = config.limit_marker_ttl;
  }
  if (config.mirror) {
    out.mirror = config.mirror;
    out.mirror->name = std::string(kStreamPrefix) + bucket_of(config.mirror->name);
    out.mirror_direct = true;
    return out;
  }
  for (StreamSource source : config.sources) {
    const std::string bucket = bucket_of(source.name);
    source.name = std::string(kStreamPrefix) + bucket;
    if (!source.external || bucket != config.bucket) {
      source.subject_transforms = {
          {bucket_prefix(bucket) + ">", bucket_prefix(config.bucket) + ">"}};
    }
    out.sources.push_back(std::move(source));
  }
  out.subjects = {bucket_prefix(config.bucket) + ">"};
  return out;
}

KeyValue::KeyValue(const JetStream& js, const StreamInfo& info)
    : js_(js), bucket_(bucket_of(info.config.name)), stream_(info.config.name) {
  prefix_ = bucket_prefix(bucket_);
  std::string api = js.has_default_prefix() ? std::string() : js.api_prefix() + ".";
  if (info.config.mirror) {
    // Keys of a mirror have the subjects of the bucket it mirrors, and are written there.
    prefix_ = bucket_prefix(bucket_of(info.config.mirror->name));
    const auto& external = info.config.mirror->external;
    if (external && !external->api.empty()) api = external->api + ".";
  }
  put_prefix_ = api + prefix_;
  allows_direct_ = info.config.allow_direct;
}

void KeyValue::on_bucket(const JetStream& js, ApiResult<StreamInfo> info,
                         const KeyValueHandler& handler) {
  if (!info) {
    if (info.error().err_code == kStreamNotFoundError) return handler(bucket_not_found());
    if (info.error().err_code == kStreamNameInUseError) {
      ApiError error = info.error();
      error.text = "bucket name already in use";
      return handler(std::move(error));
    }
    return handler(info.error());
  }
  // Some stream of that name that is no bucket.
  if (info->config.max_msgs_per_subject < 1) {
    return handler(Error{Errc::InvalidArgument, "bucket not valid key-value store"});
  }
  handler(KeyValue(js, *info));
}

void KeyValue::create(const JetStream& js, const KeyValueConfig& config, KeyValueHandler handler) {
  const auto stream = make_stream_config(config);
  if (!stream) return handler(stream.error());
  js.create_stream(*stream, [js, handler = std::move(handler)](ApiResult<StreamInfo> info) {
    on_bucket(js, std::move(info), handler);
  });
}

void KeyValue::update(const JetStream& js, const KeyValueConfig& config, KeyValueHandler handler) {
  const auto stream = make_stream_config(config);
  if (!stream) return handler(stream.error());
  js.update_stream(*stream, [js, handler = std::move(handler)](ApiResult<StreamInfo> info) {
    on_bucket(js, std::move(info), handler);
  });
}

void KeyValue::open(const JetStream& js, const std::string& bucket, KeyValueHandler handler) {
  if (!is_bucket_name(bucket)) {
    return handler(Error{Errc::InvalidArgument, "invalid bucket name"});
  }
  js.stream_info(std::string(kStreamPrefix) + bucket,
                 [js, handler = std::move(handler)](ApiResult<StreamInfo> info) {
                   on_bucket(js, std::move(info), handler);
                 });
}

void KeyValue::delete_bucket(const JetStream& js, const std::string& bucket,
                             ApiHandler<Done> handler) {
  if (!is_bucket_name(bucket)) {
    return handler(Error{Errc::InvalidArgument, "invalid bucket name"});
  }
  js.delete_stream(std::string(kStreamPrefix) + bucket,
                   [handler = std::move(handler)](ApiResult<Done> done) {
                     if (!done && done.error().err_code == kStreamNotFoundError) {
                       return handler(bucket_not_found());
                     }
                     handler(std::move(done));
                   });
}

void KeyValue::list_buckets(const JetStream& js,
                            ApiHandler<std::vector<KeyValueStatus>> handler) {
  // A mirror has no subjects, so all streams are listed and told by name.
  js.list_streams({}, [handler = std::move(handler)](ApiResult<std::vector<StreamInfo>> list) {
    if (!list) return handler(list.error());
    std::vector<KeyValueStatus> buckets;
    for (StreamInfo& info : *list) {
      if (info.config.name.starts_with(kStreamPrefix)) buckets.push_back({std::move(info)});
    }
    handler(std::move(buckets));
  });
}

void KeyValue::status(ApiHandler<KeyValueStatus> handler) const {
  js_.stream_info(stream_, [handler = std::move(handler)](ApiResult<StreamInfo> info) {
    if (info) return handler(KeyValueStatus{std::move(*info)});
    handler(info.error().err_code == kStreamNotFoundError ? bucket_not_found() : info.error());
  });
}

KeyValueEntry KeyValue::make_entry(std::string_view subject, std::string_view headers,
                                   std::string_view payload, uint64_t revision,
                                   WallTime created) const {
  KeyValueEntry entry;
  entry.key = subject.substr(std::min(subject.size(), prefix_.size()));
  entry.value = payload;
  entry.revision = revision;
  entry.created = created;
  entry.operation = operation_of(headers);
  return entry;
}

void KeyValue::fetch(const std::string& key, const GetOptions& options,
                     ApiHandler<KeyValueEntry> handler) const {
  auto on_message = [bucket = *this, key,
                     handler = std::move(handler)](ApiResult<StoredMessage> message) {
    const ApiError not_found{{Errc::NotFound, "key not found"}, 404, kMessageNotFoundError};
    if (!message) {
      if (message.error().err_code == kStreamNotFoundError) return handler(bucket_not_found());
      return handler(message.error().http_code == 404 ? not_found : message.error());
    }
    if (message->subject != bucket.subject_of(key)) return handler(not_found);
    handler(bucket.make_entry(message->subject, message->headers, message->payload, message->seq,
                              message->time));
  };
  if (allows_direct_) {
    js_.direct_get(stream_, options, std::move(on_message));
  } else {
    js_.get_message(stream_, options, std::move(on_message));
  }
}

void KeyValue::get(const std::string& key, ApiHandler<KeyValueEntry> handler) const {
  if (!is_key(key)) return handler(invalid_key(key));
  GetOptions options;
  options.last_by_subj = subject_of(key);
  fetch(key, options, [handler = std::move(handler)](ApiResult<KeyValueEntry> entry) {
    if (entry && entry->operation != KeyOperation::Put) {
      return handler(ApiError{{Errc::NotFound, "key not found"}, 404, kMessageNotFoundError});
    }
    handler(std::move(entry));
  });
}

void KeyValue::get_revision(const std::string& key, uint64_t revision,
                            ApiHandler<KeyValueEntry> handler) const {
  if (!is_key(key)) return handler(invalid_key(key));
  GetOptions options;
  options.seq = revision;
  fetch(key, options, std::move(handler));
}

KeyValue KeyValue::with_headers(std::string headers) const {
  KeyValue bucket = *this;
  bucket.headers_ = std::move(headers);
  return bucket;
}

void KeyValue::publish(const std::string& key, std::string_view value,
                       const StreamPublishOptions& options, ApiHandler<uint64_t> handler) const {
  if (!is_key(key)) return handler(invalid_key(key));
  auto written = [handler = std::move(handler)](ApiResult<PubAck> ack) {
    if (!ack) return handler(ack.error());
    handler(uint64_t{ack->seq});
  };
  if (headers_.empty()) return js_.publish(put_prefix_ + key, value, options, std::move(written));
  std::string block(options.headers);
  if (const auto own = Headers::parse(headers_)) {
    for (const Header& header : *own) block = with_header(block, header.key, header.value);
  }
  StreamPublishOptions all = options;
  all.headers = block;
  js_.publish(put_prefix_ + key, value, all, std::move(written));
}

void KeyValue::put(const std::string& key, std::string_view value,
                   ApiHandler<uint64_t> handler, std::string_view headers) const {
  StreamPublishOptions options;
  options.headers = headers;
  publish(key, value, options, std::move(handler));
}

void KeyValue::create_key(const std::string& key, std::string_view value,
                          ApiHandler<uint64_t> handler, Duration ttl) const {
  StreamPublishOptions options;
  options.expected_last_subject_seq = 0;
  options.ttl = ttl;
  publish(key, value, options,
          [bucket = *this, key, value = std::string(value), ttl,
           handler = std::move(handler)](ApiResult<uint64_t> made) mutable {
            if (made || !is_wrong_sequence(made.error())) return handler(std::move(made));
            bucket.create_over_marker(key, value, ttl, made.error(), std::move(handler));
          });
}

// The subject has messages; when the last says that the key is gone, the value may follow it.
void KeyValue::create_over_marker(const std::string& key, const std::string& value, Duration ttl,
                                  const ApiError& refusal, ApiHandler<uint64_t> handler) const {
  GetOptions last;
  last.last_by_subj = subject_of(key);
  const ApiError exists{{Errc::AlreadyExists, refusal.text + ": key exists"}, refusal.http_code, refusal.err_code};
  fetch(key, last,
        [bucket = *this, key, value, ttl, exists,
         handler = std::move(handler)](ApiResult<KeyValueEntry> entry) mutable {
          if (!entry) return handler(entry.error());
          if (entry->operation == KeyOperation::Put) return handler(exists);
          auto on_made = [exists, handler = std::move(handler)](ApiResult<uint64_t> made) {
            if (!made && is_wrong_sequence(made.error())) return handler(exists);
            handler(std::move(made));
          };
          bucket.update_key(key, value, entry->revision, std::move(on_made), ttl);
        });
}

void KeyValue::update_key(const std::string& key, std::string_view value, uint64_t revision,
                          ApiHandler<uint64_t> handler, Duration ttl) const {
  StreamPublishOptions options;
  options.expected_last_subject_seq = revision;
  options.ttl = ttl;
  publish(key, value, options, std::move(handler));
}

void KeyValue::mark(const std::string& key, const char* operation,
                    std::optional<uint64_t> last_revision, Duration ttl,
                    ApiHandler<Done> handler) const {
  HeaderWriter headers;
  headers.add("KV-Operation", operation);
  if (std::string_view(operation) == "PURGE") headers.add("Nats-Rollup", "sub");
  const std::string block = headers.take();
  StreamPublishOptions options;
  options.headers = block;
  options.expected_last_subject_seq = last_revision;
  options.ttl = ttl;
  publish(key, {}, options, [handler = std::move(handler)](ApiResult<uint64_t> revision) {
    if (!revision) return handler(revision.error());
    handler(Done{});
  });
}

void KeyValue::delete_key(const std::string& key, ApiHandler<Done> handler,
                          std::optional<uint64_t> last_revision) const {
  mark(key, "DEL", last_revision, {}, std::move(handler));
}

void KeyValue::purge_key(const std::string& key, ApiHandler<Done> handler, Duration ttl,
                         std::optional<uint64_t> last_revision) const {
  mark(key, "PURGE", last_revision, ttl, std::move(handler));
}

}  // namespace brokkr::client
