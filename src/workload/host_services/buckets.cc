#include "workload/host_services/buckets.h"

#include <algorithm>

namespace brokkr::workload {
namespace {

// After so long the owner is looked at again.
constexpr auto kTrustedFor = std::chrono::seconds(30);
constexpr int64_t kBytesMin = 1 << 20;
constexpr int64_t kShrink = 8;
constexpr int kCreateTriesMax = 8;

struct KeyValueKind {
  using Store = client::KeyValue;
  static constexpr std::string_view kPrefix = "KV_";
  static bool is_allowed(const Access& access, std::string_view bucket) {
    return access.may_use_key_value(bucket);
  }
  static std::string name(const Access& access, std::string_view bucket) {
    return access.key_value_name(bucket);
  }
  static int64_t bytes_max(const HostServiceOptions& options) {
    return static_cast<int64_t>(options.key_value_bytes_max);
  }
  using Config = client::KeyValueConfig;
};

struct ObjectStoreKind {
  using Store = client::ObjectStore;
  static constexpr std::string_view kPrefix = "OBJ_";
  static bool is_allowed(const Access& access, std::string_view bucket) {
    return access.may_use_object_store(bucket);
  }
  static std::string name(const Access& access, std::string_view bucket) {
    return access.object_store_name(bucket);
  }
  static int64_t bytes_max(const HostServiceOptions& options) {
    return static_cast<int64_t>(options.object_store_bytes_max);
  }
  using Config = client::ObjectStoreConfig;
};

template <typename Store>
using KindOf =
    std::conditional_t<std::is_same_v<Store, client::KeyValue>, KeyValueKind, ObjectStoreKind>;

// The storage a stream may reserve, as servers refuse it.
bool is_storage_refused(const client::ApiError& error) {
  constexpr int kCodes[] = {10023, 10026, 10028, 10047};
  return std::find(std::begin(kCodes), std::end(kCodes), error.err_code) != std::end(kCodes);
}

}  // namespace

bool is_bucket_gone(const client::ApiError& error) {
  return error.err_code == client::kStreamNotFoundError || error.code == Errc::NoResponders;
}

template <typename Store>
struct Buckets<Store>::State : std::enable_shared_from_this<State> {
  using Kind = KindOf<Store>;
  struct Bucket {
    std::optional<Store> store;
    MonotonicTime opened{};
    std::vector<Handler> waiting;
    int64_t bytes_max = 0;
    int tries = 0;
  };
  State(const client::JetStream& jetstream, std::shared_ptr<const Access> rights,
        const HostServiceOptions& o)
      : js(jetstream), access(std::move(rights)), options(o) {}

  MonotonicTime now() const { return js.connection().loop().clock().now(); }

  void look(const std::string& bucket) {
    const std::string name = Kind::name(*access, bucket);
    js.stream_info(std::string(Kind::kPrefix) + name,
                   [state = this->weak_from_this(), bucket,
                    name](client::ApiResult<client::StreamInfo> info) {
                     const auto self = state.lock();
                     if (self == nullptr) return;
                     if (info) return self->attach(bucket, name, *info);
                     if (info.error().err_code != client::kStreamNotFoundError) {
                       return self->finish(bucket, info.error());
                     }
                     self->create(bucket, name);
                   });
  }

  void attach(const std::string& bucket, const std::string& name, const client::StreamInfo& info) {
    for (const auto& [key, value] : info.config.metadata) {
      if (key != kNamespaceMetadata || value == access->names().ns) continue;
      return finish(bucket, Error{Errc::PermissionDenied,
                                  "bucket \"" + bucket + "\" belongs to another namespace"});
    }
    Store::open(js, name, done(bucket));
  }

  void create(const std::string& bucket, const std::string& name) {
    Bucket& entry = buckets[bucket];
    if (entry.bytes_max == 0) entry.bytes_max = Kind::bytes_max(options);
    typename Kind::Config config;
    config.bucket = name;
    config.max_bytes = entry.bytes_max;
    config.num_replicas = options.bucket_replicas;
    config.metadata = {{std::string(kNamespaceMetadata), access->names().ns}};
    Store::create(js, config,
                  [state = this->weak_from_this(), bucket, name](client::ApiResult<Store> store) {
                    const auto self = state.lock();
                    if (self == nullptr) return;
                    if (store) return self->finish(bucket, std::move(store));
                    self->retry(bucket, name, store.error());
                  });
  }

  // Another was faster, or the server has not that much to give.
  void retry(const std::string& bucket, const std::string& name, const client::ApiError& error) {
    Bucket& entry = buckets[bucket];
    if (++entry.tries < kCreateTriesMax) {
      if (error.err_code == client::kStreamNameInUseError) return look(bucket);
      if (is_storage_refused(error) && entry.bytes_max / kShrink >= kBytesMin) {
        entry.bytes_max /= kShrink;
        return create(bucket, name);
      }
    }
    finish(bucket, error);
  }

  Handler done(const std::string& bucket) {
    return [state = this->weak_from_this(), bucket](client::ApiResult<Store> store) {
      if (const auto self = state.lock()) self->finish(bucket, std::move(store));
    };
  }

  void finish(const std::string& bucket, client::ApiResult<Store> result) {
    const auto found = buckets.find(bucket);
    if (found == buckets.end()) return;
    const std::vector<Handler> waiting = std::move(found->second.waiting);
    if (result) {
      found->second = {*result, now(), {}, 0, 0};
    } else {
      buckets.erase(found);
    }
    for (const Handler& handler : waiting) handler(result);
  }

  const client::JetStream js;
  const std::shared_ptr<const Access> access;
  const HostServiceOptions& options;
  std::unordered_map<std::string, Bucket> buckets;
};

template <typename Store>
Buckets<Store>::Buckets(const client::JetStream& js, std::shared_ptr<const Access> access,
                        const HostServiceOptions& options)
    : state_(std::make_shared<State>(js, std::move(access), options)) {}

template <typename Store>
Buckets<Store>::~Buckets() = default;

template <typename Store>
void Buckets<Store>::open(std::string_view name, Handler handler) {
  using Kind = KindOf<Store>;
  const std::string bucket(name);
  if (!client::is_bucket_name(bucket)) {
    return handler(Error{Errc::InvalidArgument, "invalid bucket name \"" + bucket + "\""});
  }
  if (!Kind::is_allowed(*state_->access, bucket)) {
    return handler(
        Error{Errc::PermissionDenied, "functions may not use bucket \"" + bucket + "\""});
  }
  const auto found = state_->buckets.find(bucket);
  if (found == state_->buckets.end() && state_->buckets.size() >= kBucketsMax) {
    return handler(client::ApiError{{Errc::System, "too many buckets"}, 429, 0});
  }
  auto& entry = state_->buckets[bucket];
  if (entry.store && state_->now() - entry.opened < kTrustedFor) return handler(*entry.store);
  entry.store.reset();
  entry.waiting.push_back(std::move(handler));
  if (entry.waiting.size() == 1) state_->look(bucket);
}

template <typename Store>
void Buckets<Store>::forget(std::string_view bucket) {
  const auto found = state_->buckets.find(std::string(bucket));
  if (found != state_->buckets.end()) found->second.store.reset();
}

template class Buckets<client::KeyValue>;
template class Buckets<client::ObjectStore>;

}  // namespace brokkr::workload
