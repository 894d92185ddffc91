#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "client/jetstream.h"
#include "client/ordered_consumer.h"

namespace brokkr::client {

struct ObjectStoreConfig {
  std::string bucket;
  std::string description;
  Duration ttl{};
  int64_t max_bytes = -1;
  Storage storage = Storage::File;
  int64_t num_replicas = 1;
  std::optional<Placement> placement;
  bool is_compressed = false;
  Metadata metadata;
};

// To another object, or without a name to a whole bucket.
struct ObjectLink {
  std::string bucket;
  std::string name;
};

// What the one who puts an object says of it.
struct ObjectMeta {
  std::string name;
  std::string description;
  std::map<std::string, std::vector<std::string>> headers;
  Metadata metadata;
  std::optional<ObjectLink> link;
  uint64_t max_chunk_size = 0;  // zero: 128 KiB
};

struct ObjectInfo : ObjectMeta {
  std::string bucket;
  std::string nuid;  // of its chunks' subject
  uint64_t size = 0;
  uint64_t chunks = 0;
  std::string digest;  // "SHA-256=" and the digest in base64url
  bool is_deleted = false;
  WallTime mod_time{};  // when the store took it in
};

// The message that describes an object. Pure.
std::string make_object_json(const ObjectInfo&);
ApiResult<ObjectInfo> parse_object_info(std::string_view json);
// Fails with InvalidArgument. Pure.
Result<StreamConfig> make_stream_config(const ObjectStoreConfig&);

// A bucket's stream, read as what it means.
struct ObjectStoreStatus {
  StreamInfo info;
  std::string bucket() const;  // without "OBJ_"
};

// Fills the span from its start and says how much; 0 at the end. Called whenever there is room.
using ObjectReader = Callback<Result<size_t>(std::span<char>)>;

struct ObjectSink {
  Callback<void(const ObjectInfo&)> on_start;
  Callback<Status(std::string_view)> on_chunk;  // an error ends the get with it
};

class ObjectStore;

// An object-store bucket: a stream of chunks and of messages that describe objects, as every NATS
// client keeps it. A small value; copies speak of the same bucket. Bytes stream in both directions
// with at most about 4 MiB on their way. Handlers as JetStream's. Errors: NotFound (no such object or
// bucket), Corrupt (digest or size of what came), and the server's. Loop-confined.
class ObjectStore {
 public:
  static void create(const JetStream&, const ObjectStoreConfig&, ApiHandler<ObjectStore> handler);
  static void update(const JetStream&, const ObjectStoreConfig&, ApiHandler<ObjectStore> handler);
  static void open(const JetStream&, const std::string& bucket, ApiHandler<ObjectStore> handler);
  static void delete_bucket(const JetStream&, const std::string& bucket, ApiHandler<Done> handler);
  static void list_buckets(const JetStream&, ApiHandler<std::vector<ObjectStoreStatus>> handler);

  const std::string& bucket() const { return bucket_; }
  const std::string& stream() const { return stream_; }
  const JetStream& jetstream() const { return js_; }
  void status(ApiHandler<ObjectStoreStatus> handler) const;
  // Nothing in the bucket changes any more; there is no way back.
  void seal(ApiHandler<Done> handler) const;

  void info(const std::string& name, ApiHandler<ObjectInfo> handler,
            bool with_deleted = false) const;
  // In the order of their last change.
  void list(ApiHandler<std::vector<ObjectInfo>> handler, bool with_deleted = false) const;

  // Stores what `reader` gives; an object of that name is replaced when everything is there. What
  // was stored of an object that failed is removed again.
  void put(const ObjectMeta&, ObjectReader reader, ApiHandler<ObjectInfo> handler) const;
  void put_bytes(const ObjectMeta&, std::string bytes, ApiHandler<ObjectInfo> handler) const;
  // Follows links to objects. `handler` is called after the last chunk, once the digest was checked.
  void get(const std::string& name, ObjectSink sink, ApiHandler<ObjectInfo> handler) const;
  // Fails with LimitExceeded on an object of more than `bytes_max`.
  void get_bytes(const std::string& name, uint64_t bytes_max, ApiHandler<std::string>) const;
  // Leaves a mark; the chunks go.
  void remove(const std::string& name, ApiHandler<Done> handler) const;
  // Name, description, headers and metadata; AlreadyExists when the name is another object's.
  void update_meta(const std::string& name, const ObjectMeta&, ApiHandler<Done> handler) const;
  void add_link(const std::string& name, const ObjectInfo& target,
                ApiHandler<ObjectInfo> handler) const;
  void add_bucket_link(const std::string& name, const std::string& bucket,
                       ApiHandler<ObjectInfo> handler) const;

  std::string meta_subject(std::string_view name) const;
  std::string chunk_subject(std::string_view nuid) const;

 private:
  friend struct ObjectPut;
  friend struct ObjectGet;
  ObjectStore(const JetStream&, const StreamInfo&);
  static void on_bucket(const JetStream&, ApiResult<StreamInfo>, const ApiHandler<ObjectStore>&);
  void publish_meta(ObjectInfo, ApiHandler<ObjectInfo> handler) const;
  void publish_link(const std::string& name, ObjectLink, ApiHandler<ObjectInfo> handler) const;
  void get_linked(const std::string& name, int depth, ObjectSink sink,
                  ApiHandler<ObjectInfo> handler) const;

  JetStream js_;
  std::string bucket_;
  std::string stream_;
  bool allows_direct_ = false;
  bool may_lag_ = false;  // other servers than the leader may answer
};

struct ObjectWatchOptions {
  bool include_history = false;
  bool ignore_deletes = false;
  bool updates_only = false;
};

struct ObjectWatchHandlers {
  Callback<void(const ObjectInfo&)> on_object;
  Callback<void()> on_initial_done;  // once, after what was there when the watch began
  Callback<void(const ApiError&)> on_end;  // for good
};

// Tells of changes to a bucket's objects as long as it lives, through reconnects. Every handler may
// destroy it. Loop-confined.
class ObjectWatch {
 public:
  static std::unique_ptr<ObjectWatch> start(const ObjectStore&, const ObjectWatchOptions&,
                                            ObjectWatchHandlers);
  ~ObjectWatch();
  ObjectWatch(const ObjectWatch&) = delete;
  ObjectWatch& operator=(const ObjectWatch&) = delete;

 private:
  struct Handlers : ObjectWatchHandlers {
    bool is_gone = false;
  };
  ObjectWatch(const ObjectWatchOptions&, ObjectWatchHandlers);
  void on_message(const Message&, const Delivery&);
  void finish_initial();

  const ObjectWatchOptions options_;
  std::shared_ptr<Handlers> handlers_ = std::make_shared<Handlers>();
  bool is_initial_done_ = false;
  std::unique_ptr<OrderedConsumer> consumer_;
};

}  // namespace brokkr::client
