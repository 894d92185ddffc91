#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client/jetstream.h"
#include "client/ordered_consumer.h"

namespace brokkr::client {

struct KeyValueConfig {
  std::string bucket;
  std::string description;
  int64_t max_value_size = -1;
  int64_t history = 1;  // values kept per key, at most 64
  Duration ttl{};       // of every value; zero means for ever
  int64_t max_bytes = -1;
  Storage storage = Storage::File;
  int64_t num_replicas = 1;
  std::optional<Placement> placement;
  std::optional<Republish> republish;
  // Names are of buckets, with or without "KV_".
  std::optional<StreamSource> mirror;
  std::vector<StreamSource> sources;
  bool is_compressed = false;
  // Keys may have a time to live of their own, and a key that ends by time leaves a marker for so
  // long; zero means neither. Needs a server of API level 1.
  Duration limit_marker_ttl{};
  Metadata metadata;
};

enum class KeyOperation : uint8_t { Put, Delete, Purge };
const char* to_string(KeyOperation);  // "PUT", "DEL", "PURGE"

struct KeyValueEntry {
  std::string key;
  std::string value;
  uint64_t revision = 0;
  WallTime created{};
  uint64_t delta = 0;  // entries that follow in a watch
  KeyOperation operation = KeyOperation::Put;
};

// Pure checks: what a bucket and a key may be called, and which pattern a watch may have.
bool is_bucket_name(std::string_view);
bool is_key(std::string_view);
bool is_key_pattern(std::string_view);

// The stream behind a bucket. Fails with InvalidArgument. Pure.
Result<StreamConfig> make_stream_config(const KeyValueConfig&);

// A bucket's stream, read as what it means.
struct KeyValueStatus {
  StreamInfo info;
  std::string bucket() const;  // without "KV_"
  bool is_compressed() const { return info.config.compression != Compression::None; }
};

class KeyValue;
using KeyValueHandler = ApiHandler<KeyValue>;

// A key-value bucket: a stream with one subject per key, as every NATS client keeps it. A small
// value; copies speak of the same bucket. Revisions are stream sequences. Handlers as JetStream's.
// Errors: NotFound (no such key, or deleted), AlreadyExists (create of a key that has a value),
// InvalidArgument (key), and the server's; kWrongLastSequenceError when a revision is not the last.
// Loop-confined.
class KeyValue {
 public:
  // Makes the bucket; one that exists with the same configuration is just opened.
  static void create(const JetStream&, const KeyValueConfig&, KeyValueHandler handler);
  static void update(const JetStream&, const KeyValueConfig&, KeyValueHandler handler);
  static void open(const JetStream&, const std::string& bucket, KeyValueHandler handler);
  static void delete_bucket(const JetStream&, const std::string& bucket, ApiHandler<Done> handler);
  // All buckets of the account, by name.
  static void list_buckets(const JetStream&, ApiHandler<std::vector<KeyValueStatus>> handler);

  // The same bucket; what is written through it, deletions included, carries this block of headers too.
  KeyValue with_headers(std::string headers) const;

  const std::string& bucket() const { return bucket_; }
  const JetStream& jetstream() const { return js_; }
  // The same bucket asked with the options of another handle, such as its time-out.
  KeyValue with(const JetStream& js) const {
    KeyValue other = *this;
    other.js_ = js;
    return other;
  }
  const std::string& stream() const { return stream_; }
  void status(ApiHandler<KeyValueStatus> handler) const;

  // The last value; a key that was deleted is not found.
  void get(const std::string& key, ApiHandler<KeyValueEntry> handler) const;
  // Also gives deletions; NotFound when the revision is not this key's.
  void get_revision(const std::string& key, uint64_t revision,
                    ApiHandler<KeyValueEntry> handler) const;
  // Each gives the new revision.
  // `headers`: a block stored with the value.
  void put(const std::string& key, std::string_view value, ApiHandler<uint64_t> handler,
           std::string_view headers = {}) const;
  // Only when the key has no value. `ttl` needs a bucket with limit markers.
  void create_key(const std::string& key, std::string_view value, ApiHandler<uint64_t> handler,
                  Duration ttl = {}) const;
  // Only when `revision` is the key's last.
  void update_key(const std::string& key, std::string_view value, uint64_t revision,
                  ApiHandler<uint64_t> handler, Duration ttl = {}) const;
  // Marks the key as deleted and keeps its history.
  void delete_key(const std::string& key, ApiHandler<Done> handler,
                  std::optional<uint64_t> last_revision = {}) const;
  // The same without its history; with a `ttl` the mark itself goes away.
  void purge_key(const std::string& key, ApiHandler<Done> handler, Duration ttl = {},
                 std::optional<uint64_t> last_revision = {}) const;

  // Keys that have a value, in the order of their last change; `patterns` keeps those that match one.
  void keys(ApiHandler<std::vector<std::string>> handler,
            std::vector<std::string> patterns = {}) const;
  // All that is kept of a key (or of all that match a pattern), oldest first.
  void history(const std::string& key, ApiHandler<std::vector<KeyValueEntry>> handler) const;
  // Removes what deleted keys have left: their marks too when these are older than `marker_age`.
  // A negative age means all. Gives the number of keys.
  void purge_deletes(ApiHandler<uint64_t> handler,
                     Duration marker_age = std::chrono::minutes(30)) const;

  // An entry from a message of the stream.
  KeyValueEntry make_entry(std::string_view subject, std::string_view headers,
                           std::string_view payload, uint64_t revision, WallTime created) const;
  // The subject of a key or a pattern within the stream.
  std::string subject_of(std::string_view key) const { return prefix_ + std::string(key); }

 private:
  KeyValue(const JetStream&, const StreamInfo&);
  static void on_bucket(const JetStream&, ApiResult<StreamInfo>, const KeyValueHandler&);
  void publish(const std::string& key, std::string_view value, const StreamPublishOptions&,
               ApiHandler<uint64_t> handler) const;
  void mark(const std::string& key, const char* operation, std::optional<uint64_t> last_revision,
            Duration ttl, ApiHandler<Done> handler) const;
  void fetch(const std::string& key, const GetOptions&, ApiHandler<KeyValueEntry> handler) const;
  void create_over_marker(const std::string& key, const std::string& value, Duration ttl,
                          const ApiError& refusal, ApiHandler<uint64_t> handler) const;

  JetStream js_;
  std::string bucket_;
  std::string stream_;
  std::string prefix_;      // "$KV.<bucket>.", of the bucket a mirror reads from
  std::string put_prefix_;  // the same through the API's prefix
  std::string headers_;     // of every write
  bool allows_direct_ = false;
};

struct KeyWatchOptions {
  std::vector<std::string> patterns = {">"};
  bool include_history = false;
  bool ignore_deletes = false;
  bool meta_only = false;  // without values
  bool updates_only = false;
  uint64_t resume_from_revision = 0;
};

struct KeyWatchHandlers {
  Callback<void(const KeyValueEntry&)> on_entry;
  Callback<void()> on_initial_done;  // once, after what was there when the watch began
  Callback<void(const ApiError&)> on_end;  // for good
};

// Tells of the changes in a bucket as long as it lives, through reconnects. Every handler may
// destroy it. Loop-confined.
class KeyWatch {
 public:
  // Fails with InvalidArgument on a bad pattern.
  static Result<std::unique_ptr<KeyWatch>> start(const KeyValue&, const KeyWatchOptions&,
                                                 KeyWatchHandlers);
  ~KeyWatch();
  KeyWatch(const KeyWatch&) = delete;
  KeyWatch& operator=(const KeyWatch&) = delete;

  void pause() { consumer_->pause(); }
  void resume() { consumer_->resume(); }

 private:
  struct Handlers : KeyWatchHandlers {
    bool is_gone = false;
  };
  KeyWatch(const KeyValue&, const KeyWatchOptions&, KeyWatchHandlers);
  void on_message(const Message&, const Delivery&);
  void finish_initial();

  const KeyValue bucket_;
  const KeyWatchOptions options_;
  std::shared_ptr<Handlers> handlers_ = std::make_shared<Handlers>();
  bool is_initial_done_ = false;
  std::unique_ptr<OrderedConsumer> consumer_;
};

}  // namespace brokkr::client
