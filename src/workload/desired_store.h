#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/log.h"
#include "client/connection.h"
#include "client/jetstream.h"
#include "client/key_value.h"
#include "client/object_store.h"
#include "io/loop.h"
#include "workload/desired.h"
#include "workload/replica_raiser.h"

namespace brokkr::workload {

// What a key holds, read where writes are decided.
struct StoredKey {
  std::string value;
  uint64_t revision = 0;  // 0: it never had a value
  bool is_gone = true;    // no value, or deleted at that revision
};

// The control plane's buckets in JetStream: makes them, watches them, changes keys by compare-and-set.
// Knows nothing of what they mean. Survives reconnects; each handler is called once, unless the store is
// destroyed first. Loop-confined.
class DesiredStore {
 public:
  enum class State : uint8_t {
    Probing,  // not known yet whether there is JetStream, or it does not answer
    Absent,   // there is none
    Ready,    // every bucket was read once; later changes follow
  };
  struct Events {
    // A key of a watched bucket; `is_gone` when it was deleted.
    Callback<void(std::string_view bucket, const std::string& key, const StoredKey&)> on_key;
    // Absent or Ready has been reached, or Probing begun anew.
    Callback<void(State)> on_state;
    // Before its keys are told: a bucket was deleted and made anew, revisions begin again.
    Callback<void()> on_replaced;
  };
  DesiredStore(io::Loop&, Log&, client::Connection&, Events);
  ~DesiredStore();
  DesiredStore(const DesiredStore&) = delete;
  DesiredStore& operator=(const DesiredStore&) = delete;

  State state() const { return state_; }
  // Begins; the connection is up.
  void open();

  // Only while Ready. `revision` 0: only when the key has no value.
  void put(std::string_view bucket, const std::string& key, std::string_view value,
           uint64_t revision, client::ApiHandler<uint64_t> handler);
  void put_always(std::string_view bucket, const std::string& key, std::string_view value,
                  client::ApiHandler<uint64_t> handler);
  void erase(std::string_view bucket, const std::string& key, uint64_t revision,
             client::ApiHandler<client::Done> handler);
  // From the leader, so that it is at least as new as the last write.
  void read(std::string_view bucket, const std::string& key, client::ApiHandler<StoredKey> handler);
  // The same until it succeeds; not at all when the store goes.
  void read_surely(std::string_view bucket, const std::string& key,
                   Callback<void(const StoredKey&)> handler);

  // Artifacts by digest. Putting one that is there does nothing.
  void put_artifact(const std::string& ns, const std::string& sha256, std::string bytes,
                    client::DoneHandler handler);
  void get_artifact(const std::string& ns, const std::string& sha256, uint64_t bytes_max,
                    client::ApiHandler<std::string> handler);
  void get_object(const std::string& bucket, const std::string& name, uint64_t bytes_max,
                  client::ApiHandler<std::string> handler);
  void remove_artifact(const std::string& ns, const std::string& sha256);

 private:
  struct Bucket;
  void probe();
  void open_bucket(size_t index);
  void identify_bucket(size_t index, const client::KeyValue&);
  void create_bucket(size_t index, int64_t replicas);
  void watch(size_t index, const client::KeyValue& bucket);
  void fail(const Error& error);
  void set_state(State state);
  client::KeyValue* find(std::string_view bucket);
  void open_artifacts(const std::string& ns, bool may_create,
                      client::ApiHandler<client::ObjectStore> handler);
  void create_artifacts(const std::string& ns, int64_t replicas,
                        client::ApiHandler<client::ObjectStore> handler);

  io::Loop& loop_;
  Log& log_;
  client::Connection& connection_;
  Events events_;
  client::JetStream js_;
  client::JetStream opening_js_;
  ReplicaRaiser raiser_;
  State state_ = State::Probing;
  bool has_said_absent_ = false;
  std::vector<std::unique_ptr<Bucket>> buckets_;
  std::map<std::string, client::ObjectStore> artifacts_;  // by namespace
  std::map<std::string, MonotonicTime> whole_;  // "namespace.digest" of artifacts, and when that was so
  std::unique_ptr<client::ReconnectWatch> reconnects_;
  io::Timer retry_;
  uint64_t round_ = 0;  // of opening; answers of earlier ones do not count
  // Tells answers that come late that the store has gone.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace brokkr::workload
