#include "workload/desired_store.h"

#include <algorithm>

namespace brokkr::workload {
struct DesiredBucketKind {
  std::string_view name;
  const char* description;
  bool is_memory;
  Duration ttl;
};

namespace {

constexpr Duration kRetryEvery = std::chrono::milliseconds(500);
constexpr Duration kNodeRecordAge = std::chrono::minutes(10);
// Longer than any token is good for.
constexpr Duration kDeployTokenAge = std::chrono::hours(25);
// A server whose cluster has no leader for a moment says nothing; asking again soon costs less than waiting.
constexpr Duration kOpenTimeout = std::chrono::seconds(2);
// How long an artifact that was read or written counts as whole.
constexpr Duration kWholeFor = std::chrono::minutes(1);
constexpr size_t kWholeMax = 4096;

constexpr DesiredBucketKind kBuckets[] = {
    {kNamespacesBucket, "Workloads: namespaces and their quotas", false, {}},
    {kWorkloadsBucket, "Workloads: what is to run", false, {}},
    {kSlotsBucket, "Workloads: which node runs which replica", false, {}},
    {kNodesBucket, "Workloads: the nodes and their beats", true, kNodeRecordAge},
    {kSecretsBucket, "Workloads: secrets, sealed to nodes", false, {}},
    {kDeploysBucket, "Workloads: tokens of signed deploys that were used", false, kDeployTokenAge},
};

client::JetStreamOptions opening_options() {
  client::JetStreamOptions options;
  options.timeout = kOpenTimeout;
  return options;
}

bool is_absent(const client::ApiError& error) {
  return error.code == Errc::NoResponders || error.err_code == client::kJetStreamNotEnabledError ||
         error.err_code == client::kJetStreamNotEnabledForAccountError;
}

}  // namespace

struct DesiredStore::Bucket {
  const DesiredBucketKind* kind = nullptr;
  std::optional<client::KeyValue> bucket;
  std::unique_ptr<client::KeyWatch> watch;
  bool is_read = false;
  WallTime created{};        // of the one that was opened last
  bool is_replaced = false;  // by another since it was told
};

DesiredStore::DesiredStore(io::Loop& loop, Log& log, client::Connection& connection, Events events)
    : loop_(loop), log_(log), connection_(connection), events_(std::move(events)),
      js_(connection), opening_js_(connection, opening_options()), raiser_(loop, log, js_),
      retry_(loop, [this] { probe(); }) {
  for (const DesiredBucketKind& kind : kBuckets) {
    buckets_.push_back(std::make_unique<Bucket>());
    buckets_.back()->kind = &kind;
  }
}

DesiredStore::~DesiredStore() { *alive_ = false; }

void DesiredStore::open() {
  reconnects_ = connection_.watch_reconnects([this] {
    // Another server may have what this one had not.
    if (state_ == State::Absent) probe();
  });
  probe();
}

void DesiredStore::set_state(State state) {
  if (state_ == state) return;
  state_ = state;
  if (events_.on_state) events_.on_state(state);
}

void DesiredStore::probe() {
  const uint64_t round = ++round_;
  for (const auto& bucket : buckets_) {
    bucket->watch.reset();
    bucket->bucket.reset();
    bucket->is_read = false;
  }
  if (state_ == State::Ready) set_state(State::Probing);
  opening_js_.account_info([this, round, alive = alive_](client::ApiResult<client::AccountInfo> info) {
    if (!*alive || round != round_) return;
    if (info) return open_bucket(0);
    if (is_absent(info.error())) {
      if (!has_said_absent_) {
        log_.info("workload: the server has no JetStream: workloads are gone after a restart");
      }
      has_said_absent_ = true;
      return set_state(State::Absent);
    }
    fail(info.error());
  });
}

void DesiredStore::fail(const Error& error) {
  log_.debug("workload: desired state: " + error.text);
  ++round_;
  retry_.start(kRetryEvery);
}

void DesiredStore::open_bucket(size_t index) {
  if (index == buckets_.size()) {
    const bool is_replaced = std::any_of(buckets_.begin(), buckets_.end(), [](const auto& b) { return b->is_replaced; });
    if (is_replaced) {
      log_.warn("workload: buckets of the desired state were deleted and made anew");
      events_.on_replaced();
    }
    for (const auto& bucket : buckets_) bucket->is_replaced = false;
    for (size_t i = 0; i < buckets_.size(); ++i) {
      watch(i, *buckets_[i]->bucket);
      raiser_.add(buckets_[i]->bucket->stream());
    }
    return;
  }
  const uint64_t round = round_;
  client::KeyValue::open(
      opening_js_, std::string(buckets_[index]->kind->name),
      [this, index, round, alive = alive_](client::ApiResult<client::KeyValue> bucket) {
        if (!*alive || round != round_) return;
        if (bucket) return identify_bucket(index, *bucket);
        if (bucket.error().code != Errc::NotFound &&
            bucket.error().err_code != client::kStreamNotFoundError) {
          return fail(bucket.error());
        }
        create_bucket(index, kBucketReplicasWanted);
      });
}

// The same bucket as the last time, or another of its name?
void DesiredStore::identify_bucket(size_t index, const client::KeyValue& bucket) {
  buckets_[index]->bucket = bucket.with(js_);
  const uint64_t round = round_;
  bucket.status([this, index, round, alive = alive_](client::ApiResult<client::KeyValueStatus> status) {
    if (!*alive || round != round_) return;
    if (!status) return fail(status.error());
    Bucket& opened = *buckets_[index];
    const WallTime created = status->info.created.value_or(WallTime{});
    opened.is_replaced = opened.is_replaced || (opened.created != WallTime{} && opened.created != created);
    opened.created = created;
    open_bucket(index + 1);
  });
}

void DesiredStore::create_bucket(size_t index, int64_t replicas) {
  const DesiredBucketKind& kind = *buckets_[index]->kind;
  client::KeyValueConfig config;
  config.bucket = kind.name;
  config.description = kind.description;
  config.storage = kind.is_memory ? client::Storage::Memory : client::Storage::File;
  config.ttl = kind.ttl;
  config.num_replicas = replicas;
  const uint64_t round = round_;
  client::KeyValue::create(
      opening_js_, config,
      [this, index, replicas, round, alive = alive_](client::ApiResult<client::KeyValue> bucket) {
        if (!*alive || round != round_) return;
        if (bucket) return identify_bucket(index, *bucket);
        const client::ApiError& error = bucket.error();
        // Another node was quicker, maybe with another number of replicas.
        if (error.err_code == client::kStreamNameInUseError || error.err_code == 0) {
          return fail(error);
        }
        // Fewer servers than that.
        if (replicas > 1) return create_bucket(index, replicas - 1);
        fail(error);
      });
}

void DesiredStore::watch(size_t index, const client::KeyValue& bucket) {
  const uint64_t round = round_;
  client::KeyWatchHandlers handlers;
  const std::string_view name = buckets_[index]->kind->name;
  handlers.on_entry = [this, name](const client::KeyValueEntry& entry) {
    const bool is_gone = entry.operation != client::KeyOperation::Put;
    events_.on_key(name, entry.key, {is_gone ? std::string() : entry.value, entry.revision, is_gone});
  };
  handlers.on_initial_done = [this, index] {
    buckets_[index]->is_read = true;
    const bool is_all = std::all_of(buckets_.begin(), buckets_.end(),
                                    [](const auto& b) { return b->is_read; });
    if (is_all) set_state(State::Ready);
  };
  handlers.on_end = [this, round](const client::ApiError& error) {
    if (round == round_) fail(error);
  };
  auto watch = client::KeyWatch::start(bucket, {}, std::move(handlers));
  if (!watch) return fail(watch.error());
  buckets_[index]->watch = std::move(*watch);
}

client::KeyValue* DesiredStore::find(std::string_view bucket) {
  for (const auto& one : buckets_) {
    if (one->kind->name == bucket && one->bucket) return &*one->bucket;
  }
  return nullptr;
}

void DesiredStore::put(std::string_view bucket, const std::string& key, std::string_view value,
                       uint64_t revision, client::ApiHandler<uint64_t> handler) {
  client::KeyValue* const to = find(bucket);
  if (to == nullptr) return handler(Error{Errc::Unavailable, "the desired state is not there"});
  if (revision == 0) return to->create_key(key, value, std::move(handler));
  to->update_key(key, value, revision, std::move(handler));
}

void DesiredStore::put_always(std::string_view bucket, const std::string& key,
                              std::string_view value, client::ApiHandler<uint64_t> handler) {
  client::KeyValue* const to = find(bucket);
  if (to == nullptr) return handler(Error{Errc::Unavailable, "the desired state is not there"});
  to->put(key, value, std::move(handler));
}

void DesiredStore::erase(std::string_view bucket, const std::string& key, uint64_t revision,
                         client::ApiHandler<client::Done> handler) {
  client::KeyValue* const to = find(bucket);
  if (to == nullptr) return handler(Error{Errc::Unavailable, "the desired state is not there"});
  to->delete_key(key, std::move(handler), revision);
}

void DesiredStore::read(std::string_view bucket, const std::string& key,
                        client::ApiHandler<StoredKey> handler) {
  client::KeyValue* const from = find(bucket);
  if (from == nullptr) return handler(Error{Errc::Unavailable, "the desired state is not there"});
  client::GetOptions options;
  options.last_by_subj = from->subject_of(key);
  js_.get_message(
      from->stream(), options,
      [bucket = *from, handler = std::move(handler)](client::ApiResult<client::StoredMessage> got) {
        if (!got) {
          if (got.error().err_code == client::kMessageNotFoundError) return handler(StoredKey{});
          return handler(got.error());
        }
        const client::KeyValueEntry entry =
            bucket.make_entry(got->subject, got->headers, got->payload, got->seq, got->time);
        const bool is_gone = entry.operation != client::KeyOperation::Put;
        handler(StoredKey{is_gone ? std::string() : entry.value, entry.revision, is_gone});
      });
}

namespace {

// Asks again and again while the store is there.
struct SureRead : std::enable_shared_from_this<SureRead> {
  SureRead(io::Loop& loop, DesiredStore& from) : store(from), retry(loop, [this] { again(); }) {}
  void ask() {
    auto self = shared_from_this();
    store.read(bucket, key, [self](client::ApiResult<StoredKey> got) {
      if (!*self->alive) return;
      if (!got) {
        self->kept = self;  // by its own timer
        return self->retry.start(kRetryEvery);
      }
      self->handler(*got);
    });
  }
  void again() {
    const auto self = std::move(kept);
    if (*alive) ask();
  }
  DesiredStore& store;
  std::shared_ptr<bool> alive;
  std::string bucket;
  std::string key;
  Callback<void(const StoredKey&)> handler;
  std::shared_ptr<SureRead> kept;
  io::Timer retry;
};

}  // namespace

void DesiredStore::read_surely(std::string_view bucket, const std::string& key,
                               Callback<void(const StoredKey&)> handler) {
  auto read = std::make_shared<SureRead>(loop_, *this);
  read->alive = alive_;
  read->bucket = bucket;
  read->key = key;
  read->handler = std::move(handler);
  read->ask();
}

void DesiredStore::open_artifacts(const std::string& ns, bool may_create,
                                  client::ApiHandler<client::ObjectStore> handler) {
  if (const auto found = artifacts_.find(ns); found != artifacts_.end()) {
    return handler(found->second);
  }
  client::ObjectStore::open(
      js_, artifacts_bucket(ns),
      [this, ns, may_create, alive = alive_,
       handler = std::move(handler)](client::ApiResult<client::ObjectStore> store) mutable {
        if (!*alive) return;
        if (store) {
          artifacts_.insert_or_assign(ns, *store);
          return handler(*store);
        }
        const bool is_missing = store.error().code == Errc::NotFound ||
                                store.error().err_code == client::kStreamNotFoundError;
        if (!is_missing || !may_create) return handler(store.error());
        create_artifacts(ns, kBucketReplicasWanted, std::move(handler));
      });
}

void DesiredStore::create_artifacts(const std::string& ns, int64_t replicas,
                                    client::ApiHandler<client::ObjectStore> handler) {
  client::ObjectStoreConfig config;
  config.bucket = artifacts_bucket(ns);
  config.description = "Workloads: artifacts of namespace " + ns;
  config.num_replicas = replicas;
  config.metadata["io.brokkr.namespace"] = ns;
  client::ObjectStore::create(
      js_, config,
      [this, ns, replicas, alive = alive_,
       handler = std::move(handler)](client::ApiResult<client::ObjectStore> store) mutable {
        if (!*alive) return;
        if (store) {
          artifacts_.insert_or_assign(ns, *store);
          return handler(*store);
        }
        if (store.error().err_code == client::kStreamNameInUseError) {
          return open_artifacts(ns, false, std::move(handler));
        }
        if (store.error().err_code != 0 && replicas > 1) {
          return create_artifacts(ns, replicas - 1, std::move(handler));
        }
        handler(store.error());
      });
}

namespace {

void write_artifact(const client::ObjectStore& store, const std::string& sha256,
                    const std::shared_ptr<std::string>& bytes, client::DoneHandler done) {
  client::ObjectMeta meta;
  meta.name = sha256;
  store.put_bytes(meta, std::move(*bytes), [done = std::move(done)](client::ApiResult<client::ObjectInfo> put) {
    done(put ? Status() : Status(put.error()));
  });
}

}  // namespace

void DesiredStore::put_artifact(const std::string& ns, const std::string& sha256, std::string bytes,
                                client::DoneHandler handler) {
  const std::string key = ns + "." + sha256;
  auto done = [this, key, alive = alive_, handler = std::move(handler)](const Status& status) {
    if (!*alive) return;
    if (whole_.size() >= kWholeMax) whole_.clear();
    if (status) whole_[key] = loop_.now();
    handler(status);
  };
  const auto whole = whole_.find(key);
  const bool is_whole = whole != whole_.end() && loop_.now() - whole->second < kWholeFor;
  auto shared = std::make_shared<std::string>(std::move(bytes));
  open_artifacts(ns, true, [sha256, shared, is_whole, done = std::move(done)](
                               client::ApiResult<client::ObjectStore> opened) mutable {
    if (!opened) return done(opened.error());
    const client::ObjectStore store = *opened;
    if (is_whole) {
      return store.info(sha256, [store, sha256, shared, done = std::move(done)](
                                    client::ApiResult<client::ObjectInfo> info) mutable {
        if (info && info->size == shared->size()) return done({});
        write_artifact(store, sha256, shared, std::move(done));
      });
    }
    // A description says nothing of its chunks.
    store.get_bytes(sha256, shared->size(), [store, sha256, shared, done = std::move(done)](
                                                client::ApiResult<std::string> there) mutable {
      if (there && *there == *shared) return done({});
      write_artifact(store, sha256, shared, std::move(done));
    });
  });
}

void DesiredStore::get_artifact(const std::string& ns, const std::string& sha256,
                                uint64_t bytes_max, client::ApiHandler<std::string> handler) {
  open_artifacts(ns, false, [sha256, bytes_max, handler = std::move(handler)](
                                client::ApiResult<client::ObjectStore> store) mutable {
    if (!store) return handler(store.error());
    store->get_bytes(sha256, bytes_max, std::move(handler));
  });
}

void DesiredStore::get_object(const std::string& bucket, const std::string& name,
                              uint64_t bytes_max, client::ApiHandler<std::string> handler) {
  client::ObjectStore::open(js_, bucket,
                            [name, bytes_max, handler = std::move(handler)](
                                client::ApiResult<client::ObjectStore> store) mutable {
                              if (!store) return handler(store.error());
                              store->get_bytes(name, bytes_max, std::move(handler));
                            });
}

void DesiredStore::remove_artifact(const std::string& ns, const std::string& sha256) {
  open_artifacts(ns, false, [sha256](client::ApiResult<client::ObjectStore> store) {
    if (store) store->remove(sha256, [](client::ApiResult<client::Done>) {});
  });
}

}  // namespace brokkr::workload
