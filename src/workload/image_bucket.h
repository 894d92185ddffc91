#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/result.h"
#include "client/object_store.h"
#include "io/worker.h"
#include "sandbox/image.h"
#include "workload/image_reference.h"
#include "workload/registry.h"

// Images in the object store. Bucket NEX_IMAGES_<ns> holds each blob once, as the object of its digest
// ("sha256:…"), and for each image an object "<name>:<tag>" that lists its blobs. A tag is written when
// all its blobs are there.
namespace brokkr::workload {

std::string images_bucket(std::string_view ns);

struct ImageTag {
  struct Blob {
    std::string digest;
    uint64_t size = 0;
  };
  std::string manifest;
  std::string architecture;
  std::string source;       // where it was imported from
  std::vector<Blob> blobs;  // the manifest first
  uint64_t bytes() const;
};
std::string encode(const ImageTag&);
// Fails with Corrupt.
Result<ImageTag> decode_image_tag(std::string_view json);
// "name:tag" as the object is called.
std::string image_object_name(std::string_view name, std::string_view tag);
bool is_image_object(std::string_view object_name);

// What of an image in `store` is to be in the bucket.
Result<ImageTag> describe_image(const sandbox::ImageStore& store, const std::string& manifest_digest);

// An image on its way to the bucket.
struct ImportedImage {
  ImageTag tag;
  std::vector<std::string> paths;  // of the blobs, in the tag's order
};
// Takes an image of any kind but Stored into a store in `folder` and tries to unpack it. Blocking. Fails as
// ImageStore and pull_image do.
Result<ImportedImage> import_image(const std::string& folder, const ImageUri& uri, const RegistryOptions& registry,
                                   FunctionRef<void(const std::string& digest, uint64_t size)> on_blob);

// Brings the blobs of a tag that are not here yet into a store. Loop-confined; bytes are written as they
// come, and made durable by the worker.
class ImageFetch {
 public:
  // `done` is called once, not from within, with the manifest's digest; not after the fetch was
  // destroyed. `store` and `worker` outlive the fetch and what the worker still has of it.
  using Done = Callback<void(Result<ImageTag>)>;
  static std::unique_ptr<ImageFetch> start(client::JetStream js, const std::string& ns,
                                           const std::string& name, const std::string& tag,
                                           sandbox::ImageStore& store, io::Loop& loop,
                                           io::Worker& worker, Done done);
  ~ImageFetch();
  ImageFetch(const ImageFetch&) = delete;
  ImageFetch& operator=(const ImageFetch&) = delete;

 private:
  struct State;
  explicit ImageFetch(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

}  // namespace brokkr::workload
