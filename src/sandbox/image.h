#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/callback.h"
#include "base/clock.h"
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
  bool is_merged = false;  // never layers/, always merged/
};

struct UnpackedImage {
  ImageConfig config;
  std::vector<std::string> lower;  // layer folders, top first: ProgramSpec::lower
};

// A blob on its way into a store, by parts. Destroying it before `commit` leaves nothing behind.
class BlobWriter {
 public:
  ~BlobWriter();
  BlobWriter(const BlobWriter&) = delete;
  BlobWriter& operator=(const BlobWriter&) = delete;
  // Fails with Corrupt beyond the size that was announced.
  Status write(std::string_view bytes);
  // Fails with Corrupt when size or digest are others.
  Status commit();

 private:
  friend class ImageStore;
  struct State;
  explicit BlobWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Layers unpacked once and shared by every image that has them, below one folder:
//
//   blobs/sha256/<hex>        verified blobs of images that were pulled or imported
//   layers/<chain id>/        an unpacked layer, whiteouts in overlay's form
//   merged/<chain id>/        all layers up to that one in one folder: where overlay's form cannot be
//                             made (without root) or there are too many layers for one mount
//   images/<hex>              a manifest; its time is when the image was used last
//   archives/<hex>            what a file that was imported held, while the file is the same
//   tmp/                      what is being made; emptied when nobody uses the store
//
// Every path is made beneath its layer's folder without following a link out of it; entries that
// would leave it ("..", through absolute links) refuse the whole image. Devices, pipes, setuid bits and
// extended attributes are left out. Owners are the image's when this is root, else the caller.
class ImageStore {
 public:
  // Makes the folder. Fails with System.
  static Result<ImageStore> open(const std::string& folder, UnpackLimits limits = {});

  // A folder with `oci-layout`, an OCI or `docker save` tar, or gzip or zstd of one. `reference` picks
  // a tag when there are several; the platform is this machine's. Copies its blobs into the store and
  // returns the manifest's digest. A file that has not changed since is not read again. Fails with NotFound, Corrupt (digest, size, JSON: says which blob),
  // Unsupported, LimitExceeded.
  Result<std::string> import(const std::string& path, std::string_view reference);
  // The same from anywhere: `copy` brings a blob that is not there yet by `begin_blob`; the first one
  // is `digest`, a manifest or an index. `size` 0: not known.
  struct Wanted {
    std::string digest;
    uint64_t size = 0;
    bool is_manifest = false;  // or an index
  };
  using CopyBlob = FunctionRef<Status(const Wanted&)>;
  Result<std::string> fetch(const std::string& digest, uint64_t size, CopyBlob copy);
  // Unpacks the layers of a manifest in the store that are not there yet.
  Result<UnpackedImage> unpack(const std::string& manifest_digest);

  // Adds a blob, checking its digest ("sha256:…"). Nothing when it is there.
  Status put_blob(const std::string& digest, std::string_view bytes);
  Result<std::unique_ptr<BlobWriter>> begin_blob(const std::string& digest, uint64_t size_max);
  bool has_blob(const std::string& digest) const;
  Result<std::string> read_blob(const std::string& digest, uint64_t bytes_max) const;
  // Path of a blob that is there.
  std::string blob_path(const std::string& digest) const;
  // All blobs a manifest needs, itself first.
  Result<std::vector<std::string>> blobs_of(const std::string& manifest_digest) const;
  // Notes that the image is used now.
  Status use(const std::string& manifest_digest);
  // What stays: images that are held, and of the others those used within `unused_max`, the last used
  // first, as long as all together take no more than `bytes_max` (0: any).
  struct KeepRules {
    std::vector<std::string> held;  // digests of manifests
    Duration unused_max{};
    uint64_t bytes_max = 0;
    WallTime now{};
  };
  // Moves away what no image that stays needs; quick. No program may run from it, and nobody else may
  // use the store meanwhile. Each name it returns is for `remove_aside`, at any time.
  Result<std::vector<std::string>> set_aside(const KeepRules& rules);
  Status remove_aside(const std::string& name);
  const std::string& folder() const { return folder_; }

 private:
  struct Lock;
  ImageStore(std::string folder, UnpackLimits limits, std::shared_ptr<Lock> lock)
      : folder_(std::move(folder)), limits_(limits), lock_(std::move(lock)) {}
  Result<std::string> import_folder(int folder, std::string_view reference);
  Result<std::string> import_saved(int folder, std::string_view reference);
  Result<std::string> import_archive(int file, const std::string& path, std::string_view reference);
  Result<std::vector<std::string>> move_aside(const std::set<std::string>& kept);
  std::string folder_;
  UnpackLimits limits_;
  std::shared_ptr<Lock> lock_;
};

}  // namespace brokkr::sandbox
