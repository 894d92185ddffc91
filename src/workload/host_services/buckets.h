#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "client/key_value.h"
#include "client/object_store.h"
#include "workload/access.h"
#include "workload/host_services/options.h"

namespace brokkr::workload {

// The mark of a bucket's owner.
constexpr std::string_view kNamespaceMetadata = "io.brokkr.namespace";

// The buckets of one kind that a function uses: opened once and kept for a while, made with the node's
// limits when they are not there. A bucket that is marked as another namespace's is refused, as is one
// the function may not use. Loop-confined; what is still being opened when it goes is dropped.
template <typename Store>
class Buckets {
 public:
  using Handler = client::ApiHandler<Store>;
  static constexpr size_t kBucketsMax = 32;  // of one function, by name

  Buckets(const client::JetStream& js, std::shared_ptr<const Access> access,
          const HostServiceOptions& options);
  ~Buckets();

  // By the name the function uses.
  void open(std::string_view bucket, Handler handler);
  // The next call opens it anew: it may have been deleted.
  void forget(std::string_view bucket);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

extern template class Buckets<client::KeyValue>;
extern template class Buckets<client::ObjectStore>;

// Whether an error says that the bucket is not there (any more).
bool is_bucket_gone(const client::ApiError& error);

}  // namespace brokkr::workload
