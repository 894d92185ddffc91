#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

// OCI images (image-spec v1.0 and v1.1, and Docker's schema 2): read from a layout folder or an archive,
// checked by digest, unpacked layer by layer. Blocking: for a worker thread, one image at a time.
namespace brokkr::sandbox {

// What an image wants to run as.
struct ImageConfig {
  std::string digest;    // of the manifest, "sha256:…"
  std::string architecture;
  std::string os;
  std::string user;
  std::string working_folder;
  std::vector<std::string> environment;
  std::vector<std::string> entrypoint;
  std::vector<std::string> command;
  std::vector<std::string> volumes;        // paths
  std::vector<std::string> exposed_ports;  // "80/tcp"
  std::string stop_signal;
  std::vector<std::pair<std::string, std::string>> labels;
};

struct UnpackLimits {
  uint64_t bytes_max = 16ULL << 30;  // of an unpacked image
  uint64_t files_max = 2'000'000;
};

struct UnpackedImage {
  ImageConfig config;
  std::vector<std::string> lower;  // layer folders, top first: ProgramSpec::lower
};

// Layers unpacked once and shared by every image that has them, below one folder:
//
//   blobs/sha256/<hex>        verified blobs of images that were pulled or imported
//   layers/<chain id>/        an unpacked layer, whiteouts in overlay's form
//
// Every path is made beneath its layer's folder without following a link out of it; entries that
// would leave it ("..", absolute link targets written through, devices) refuse the whole image.
class ImageStore {
 public:
  // Makes the folder. Fails with System.
  static Result<ImageStore> open(std::string folder, UnpackLimits limits = {});

  // A folder with `oci-layout`, an OCI or `docker save` tar, or gzip or zstd of one. `reference` picks
  // a tag when there are several; the platform is this machine's. Copies its blobs into the store.
  // Fails with NotFound, Corrupt (digest, size, JSON: says which blob), Unsupported, LimitExceeded.
  Result<std::string> import(const std::string& path, std::string_view reference);
  // Unpacks the layers of a manifest in the store that are not there yet.
  Result<UnpackedImage> unpack(const std::string& manifest_digest);
  // Adds a blob, checking its digest ("sha256:…"). Nothing when it is there.
  Status put_blob(const std::string& digest, std::string_view bytes);
  bool has_blob(const std::string& digest) const;
  Result<std::string> read_blob(const std::string& digest, uint64_t bytes_max) const;
  // Path of a blob that is there.
  std::string blob_path(const std::string& digest) const;
  // All blobs a manifest needs, itself first.
  Result<std::vector<std::string>> blobs_of(const std::string& manifest_digest) const;
  const std::string& folder() const { return folder_; }

 private:
  ImageStore(std::string folder, UnpackLimits limits)
      : folder_(std::move(folder)), limits_(limits) {}
  std::string folder_;
  UnpackLimits limits_;
};

}  // namespace brokkr::sandbox
