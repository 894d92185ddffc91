#include "client/object_store.h"

#include <algorithm>

#include "base/bytes.h"
#include "client/headers.h"
#include "client/jetstream_json.h"
#include "client/key_value.h"
#include "client/object_names.h"

namespace brokkr::client {
namespace {

constexpr std::string_view kBucketPrefix = "OBJ_";

ApiError object_not_found() { return {{Errc::NotFound, "object not found"}, 404, 0}; }

ApiError store_not_found() { return {{Errc::NotFound, "bucket not found"}, 404, kStreamNotFoundError}; }

std::string store_of(std::string_view name) {
  if (name.starts_with(kBucketPrefix)) name.remove_prefix(kBucketPrefix.size());
  return std::string(name);
}

void write_options(json::Writer& out, const ObjectMeta& meta) {
  if (!meta.link && meta.max_chunk_size == 0) return;
  out.key("options").begin_object();
  if (meta.link) {
    out.key("link").begin_object().field("bucket", meta.link->bucket);
    if (!meta.link->name.empty()) out.field("name", meta.link->name);
    out.end_object();
  }
  if (meta.max_chunk_size != 0) out.field("max_chunk_size", meta.max_chunk_size);
  out.end_object();
}

ApiHandler<StreamInfo> then_done(ApiHandler<Done> handler) {
  return [handler = std::move(handler)](ApiResult<StreamInfo> info) {
    if (!info) return handler(info.error());
    handler(Done{});
  };
}

}  // namespace

std::string base64url_padded(std::string_view bytes) {
  std::string text = base64url_encode(bytes);
  text.append((4 - text.size() % 4) % 4, '=');
  return text;
}

std::string make_object_json(const ObjectInfo& info) {
  json::Writer out;
  out.begin_object().field("name", info.name);
  FieldWriter fields(out);
  fields.write("description", info.description);
  if (!info.headers.empty()) {
    out.key("headers").begin_object();
    for (const auto& [key, values] : info.headers) {
      out.key(key).begin_array();
      for (const std::string& value : values) out.string(value);
      out.end_array();
    }
    out.end_object();
  }
  fields.write("metadata", info.metadata);
  write_options(out, info);
  out.field("bucket", info.bucket).field("nuid", info.nuid).field("size", info.size);
  // Readers go by the message's time; what stands here is what every client writes.
  out.field("mtime", "0001-01-01T00:00:00Z").field("chunks", info.chunks);
  fields.write("digest", info.digest);
  fields.write("deleted", info.is_deleted);
  return out.end_object().take();
}

ApiResult<ObjectInfo> parse_object_info(std::string_view text) {
  const auto value = json::parse(text);
  if (!value || !value->is_object()) return Error{Errc::Corrupt, "object's description is no JSON"};
  ObjectInfo info;
  FieldReader fields(*value);
  fields.read("name", info.name);
  fields.read("description", info.description);
  fields.read("metadata", info.metadata);
  fields.read("bucket", info.bucket);
  fields.read("nuid", info.nuid);
  fields.read("size", info.size);
  fields.read("chunks", info.chunks);
  fields.read("digest", info.digest);
  fields.read("deleted", info.is_deleted);
  if (const json::Value* headers = fields.object("headers")) {
    for (const auto& [key, values] : headers->members()) {
      for (const json::Value& item : values.items()) {
        info.headers[key].emplace_back(item.as_string());
      }
    }
  }
  if (const json::Value* options = fields.object("options")) {
    FieldReader inner(*options);
    inner.read("max_chunk_size", info.max_chunk_size);
    if (const json::Value* link = inner.object("link")) {
      info.link = ObjectLink{std::string(link->get_string("bucket")),
                             std::string(link->get_string("name"))};
    }
  }
  if (Status status = fields.status(); !status) return status.error();
  return info;
}

Result<StreamConfig> make_stream_config(const ObjectStoreConfig& config) {
  if (!is_bucket_name(config.bucket)) return Error{Errc::InvalidArgument, "invalid object-store name"};
  StreamConfig out;
  out.name = std::string(kBucketPrefix) + config.bucket;
  out.description = config.description;
  out.subjects = {"$O." + config.bucket + ".C.>", "$O." + config.bucket + ".M.>"};
  out.max_age = config.ttl;
  out.max_bytes = config.max_bytes == 0 ? -1 : config.max_bytes;
  out.storage = config.storage;
  out.num_replicas = std::max<int64_t>(1, config.num_replicas);
  out.placement = config.placement;
  out.discard = Discard::New;
  out.allow_rollup_hdrs = true;
  out.allow_direct = true;
  out.metadata = config.metadata;
  if (config.is_compressed) out.compression = Compression::S2;
  return out;
}

std::string ObjectStoreStatus::bucket() const { return store_of(info.config.name); }

ObjectStore::ObjectStore(const JetStream& js, const StreamInfo& info)
    : js_(js),
      bucket_(store_of(info.config.name)),
      stream_(info.config.name),
      allows_direct_(info.config.allow_direct),
      may_lag_(info.config.num_replicas > 1 || info.config.mirror) {}

std::string ObjectStore::meta_subject(std::string_view name) const {
  return "$O." + bucket_ + ".M." + base64url_padded(name);
}

std::string ObjectStore::chunk_subject(std::string_view nuid) const {
  return "$O." + bucket_ + ".C." + std::string(nuid);
}

void ObjectStore::on_bucket(const JetStream& js, ApiResult<StreamInfo> info,
                            const ApiHandler<ObjectStore>& handler) {
  if (info) return handler(ObjectStore(js, *info));
  if (info.error().err_code == kStreamNotFoundError) return handler(store_not_found());
  if (info.error().err_code == kStreamNameInUseError) {
    ApiError error = info.error();
    error.text = "bucket name already in use";
    return handler(std::move(error));
  }
  handler(info.error());
}

void ObjectStore::create(const JetStream& js, const ObjectStoreConfig& config,
                         ApiHandler<ObjectStore> handler) {
  const auto stream = make_stream_config(config);
  if (!stream) return handler(stream.error());
  js.create_stream(*stream, [js, handler = std::move(handler)](ApiResult<StreamInfo> info) {
    on_bucket(js, std::move(info), handler);
  });
}

void ObjectStore::update(const JetStream& js, const ObjectStoreConfig& config,
                         ApiHandler<ObjectStore> handler) {
  const auto stream = make_stream_config(config);
  if (!stream) return handler(stream.error());
  js.update_stream(*stream, [js, handler = std::move(handler)](ApiResult<StreamInfo> info) {
    on_bucket(js, std::move(info), handler);
  });
}

void ObjectStore::open(const JetStream& js, const std::string& bucket,
                       ApiHandler<ObjectStore> handler) {
  if (!is_bucket_name(bucket)) {
    return handler(Error{Errc::InvalidArgument, "invalid object-store name"});
  }
  js.stream_info(std::string(kBucketPrefix) + bucket,
                 [js, handler = std::move(handler)](ApiResult<StreamInfo> info) {
                   on_bucket(js, std::move(info), handler);
                 });
}

void ObjectStore::delete_bucket(const JetStream& js, const std::string& bucket,
                                ApiHandler<Done> handler) {
  if (!is_bucket_name(bucket)) {
    return handler(Error{Errc::InvalidArgument, "invalid object-store name"});
  }
  js.delete_stream(std::string(kBucketPrefix) + bucket,
                   [handler = std::move(handler)](ApiResult<Done> done) {
                     if (!done && done.error().err_code == kStreamNotFoundError) {
                       return handler(store_not_found());
                     }
                     handler(std::move(done));
                   });
}

void ObjectStore::list_buckets(const JetStream& js,
                               ApiHandler<std::vector<ObjectStoreStatus>> handler) {
  js.list_streams({}, [handler = std::move(handler)](ApiResult<std::vector<StreamInfo>> list) {
    if (!list) return handler(list.error());
    std::vector<ObjectStoreStatus> buckets;
    for (StreamInfo& info : *list) {
      if (info.config.name.starts_with(kBucketPrefix)) buckets.push_back({std::move(info)});
    }
    handler(std::move(buckets));
  });
}

void ObjectStore::status(ApiHandler<ObjectStoreStatus> handler) const {
  js_.stream_info(stream_, [handler = std::move(handler)](ApiResult<StreamInfo> info) {
    if (info) return handler(ObjectStoreStatus{std::move(*info)});
    handler(info.error().err_code == kStreamNotFoundError ? store_not_found() : info.error());
  });
}

void ObjectStore::seal(ApiHandler<Done> handler) const {
  js_.stream_info(stream_, [js = js_, handler = std::move(handler)](
                               ApiResult<StreamInfo> info) mutable {
    if (!info) return handler(info.error());
    StreamConfig config = info->config;
    config.sealed = true;
    js.update_stream(config, then_done(std::move(handler)));
  });
}

void ObjectStore::info(const std::string& name, ApiHandler<ObjectInfo> handler,
                       bool with_deleted) const {
  if (name.empty()) return handler(Error{Errc::InvalidArgument, "name is required"});
  auto on_message = [with_deleted,
                     handler = std::move(handler)](ApiResult<StoredMessage> message) {
    if (!message) {
      if (message.error().err_code == kStreamNotFoundError) return handler(store_not_found());
      return handler(message.error().http_code == 404 ? object_not_found() : message.error());
    }
    auto info = parse_object_info(message->payload);
    if (!info) return handler(info.error());
    if (info->is_deleted && !with_deleted) return handler(object_not_found());
    info->mod_time = message->time;
    handler(std::move(info));
  };
  GetOptions last;
  last.last_by_subj = meta_subject(name);
  if (!allows_direct_) return js_.get_message(stream_, last, std::move(on_message));
  js_.direct_get(stream_, last,
                 [may_lag = may_lag_, js = js_, stream = stream_, last, on_message = std::move(on_message)](
                     ApiResult<StoredMessage> message) mutable {
                   const bool is_missing = !message && message.error().http_code == 404;
                   if (!is_missing || !may_lag) return on_message(std::move(message));
                   // The leader knows better than a replica that has not caught up.
                   js.get_message(stream, last, std::move(on_message));
                 });
}

void ObjectStore::publish_meta(ObjectInfo info, ApiHandler<ObjectInfo> handler) const {
  HeaderWriter headers;
  headers.add("Nats-Rollup", "sub");
  const std::string block = headers.take();
  StreamPublishOptions options;
  options.headers = block;
  const std::string subject = meta_subject(info.name);
  const std::string body = make_object_json(info);
  info.mod_time = js_.connection().loop().clock().wall_now();
  js_.publish(subject, body, options,
              [info = std::move(info), handler = std::move(handler)](ApiResult<PubAck> ack) {
                if (!ack) return handler(ack.error());
                handler(info);
              });
}

void ObjectStore::remove(const std::string& name, ApiHandler<Done> handler) const {
  info(name, [store = *this, handler = std::move(handler)](ApiResult<ObjectInfo> found) mutable {
    if (!found) return handler(found.error());
    ObjectInfo mark = std::move(*found);
    const std::string chunks = store.chunk_subject(mark.nuid);
    mark.is_deleted = true;
    mark.size = 0;
    mark.chunks = 0;
    mark.digest.clear();
    store.publish_meta(std::move(mark), [store, chunks, handler = std::move(handler)](
                                            ApiResult<ObjectInfo> marked) mutable {
      if (!marked) return handler(marked.error());
      store.js_.purge_stream(store.stream_, {chunks},
                             [handler = std::move(handler)](ApiResult<uint64_t> purged) {
                               if (!purged) return handler(purged.error());
                               handler(Done{});
                             });
    });
  });
}

void ObjectStore::update_meta(const std::string& name, const ObjectMeta& meta,
                              ApiHandler<Done> handler) const {
  auto on_written = [store = *this, name, is_renamed = name != meta.name,
                     handler = std::move(handler)](ApiResult<ObjectInfo> written) mutable {
    if (!written) return handler(written.error());
    if (!is_renamed) return handler(Done{});
    // The chunks stay; only the old description goes.
    store.js_.purge_stream(store.stream_, {store.meta_subject(name)},
                           [handler = std::move(handler)](ApiResult<uint64_t> purged) {
                             if (!purged) return handler(purged.error());
                             handler(Done{});
                           });
  };
  auto on_info = [store = *this, meta, on_written = std::move(on_written)](
                     ApiResult<ObjectInfo> found) mutable {
    if (!found) return on_written(found.error());
    ObjectInfo info = std::move(*found);
    info.name = meta.name;
    info.description = meta.description;
    info.headers = meta.headers;
    info.metadata = meta.metadata;
    store.publish_meta(std::move(info), std::move(on_written));
  };
  if (name == meta.name) return info(name, std::move(on_info));
  info(meta.name, [store = *this, name, on_info = std::move(on_info)](
                      ApiResult<ObjectInfo> other) mutable {
    const ApiError* const failed = other.failure();
    if (failed == nullptr) {
      return on_info(Error{Errc::AlreadyExists, "an object already exists with that name"});
    }
    if (failed->code != Errc::NotFound) return on_info(*failed);
    store.info(name, std::move(on_info));
  });
}

void ObjectStore::publish_link(const std::string& name, ObjectLink link,
                               ApiHandler<ObjectInfo> handler) const {
  if (name.empty()) return handler(Error{Errc::InvalidArgument, "name is required"});
  info(name, [store = *this, name, link = std::move(link),
              handler = std::move(handler)](ApiResult<ObjectInfo> old) mutable {
    if (old && !old->link) {
      return handler(Error{Errc::AlreadyExists, "an object already exists with that name"});
    }
    const ApiError* const failed = old.failure();
    if (failed != nullptr && failed->code != Errc::NotFound) return handler(*failed);
    ObjectInfo info;
    info.name = name;
    info.bucket = store.bucket_;
    info.link = std::move(link);
    const std::string inbox = store.js_.connection().make_inbox();
    info.nuid = inbox.substr(inbox.rfind('.') + 1);
    store.publish_meta(std::move(info), std::move(handler));
  });
}

void ObjectStore::add_link(const std::string& name, const ObjectInfo& target,
                           ApiHandler<ObjectInfo> handler) const {
  if (target.is_deleted) {
    return handler(Error{Errc::InvalidArgument, "not allowed to link to a deleted object"});
  }
  if (target.link) {
    return handler(Error{Errc::InvalidArgument, "not allowed to link to another link"});
  }
  publish_link(name, {target.bucket, target.name}, std::move(handler));
}

void ObjectStore::add_bucket_link(const std::string& name, const std::string& bucket,
                                  ApiHandler<ObjectInfo> handler) const {
  publish_link(name, {bucket, {}}, std::move(handler));
}

}  // namespace brokkr::client
