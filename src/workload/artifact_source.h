#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/callback.h"
#include "base/result.h"
#include "workload/access.h"
#include "workload/artifact_cache.h"
#include "workload/desired_store.h"
#include "workload/node_grants.h"

namespace brokkr::workload {

// Where a deployment's artifact is, by its `uri`.
struct ArtifactUri {
  enum class Kind : uint8_t {
    Digest,  // sha256://HEX: the namespace's artifacts
    Object,  // nats://BUCKET/name[:tag]: object "name_tag", without a tag "name", else "name_latest"
    File,    // file:///path on the node
    Image,   // oci: docker-archive: oci-archive: image: docker://: not bytes but an image
  };
  Kind kind = Kind::Image;
  std::string bucket;
  std::string name;  // digest, object or path
  bool has_tag = false;
};
// Fails with InvalidArgument. Pure.
Result<ArtifactUri> parse_artifact_uri(std::string_view uri);

// Gets artifacts from where they are. Loop-confined.
class ArtifactSource {
 public:
  struct Deps {
    ArtifactCache& cache;
    DesiredStore& store;
  };
  explicit ArtifactSource(const Deps& deps) : deps_(deps) {}

  // For whom something is fetched.
  struct For {
    std::string ns;
    std::shared_ptr<const Access> access;  // the workload's
    NodeFolders folders;
    bool may_read_uploads = false;  // NEXCLIFILES, where clients of all namespaces put what they deploy
    // The node's cache has artifacts of all namespaces: it is asked for a digest only when this one has
    // shown before that it has that artifact.
    bool may_use_cache = false;
  };
  // The bytes. `handler` may be called from within. Fails with NotFound, PermissionDenied (a bucket that
  // is not the namespace's, a file it may not name or that not everybody may read), LimitExceeded, or as
  // the store does.
  void fetch(const ArtifactUri&, const For&, Callback<void(Result<std::string>)> handler);

 private:
  const Deps deps_;
};

}  // namespace brokkr::workload
