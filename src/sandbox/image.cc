#include "sandbox/image.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>

#include "base/bytes.h"
#include "base/sha256.h"
#include "sandbox/image_files.h"
#include "sandbox/image_manifest.h"
#include "sandbox/image_store.h"

namespace brokkr::sandbox {

using image::OwnedFd;

std::string image::temporary_name() {
  static std::atomic<uint64_t> count{0};
  return std::to_string(getpid()) + "-" + std::to_string(count.fetch_add(1));
}

// Held shared by everyone who uses a store; whoever gets it alone may clear up.
struct ImageStore::Lock {
  OwnedFd file;
};

struct BlobWriter::State {
  std::string digest;
  std::string path;
  std::string temporary;
  uint64_t size_max = 0;
  uint64_t size = 0;
  OwnedFd file;
  Sha256 hash;
};

BlobWriter::BlobWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}

BlobWriter::~BlobWriter() {
  if (!state_->temporary.empty()) unlink(state_->temporary.c_str());
}

Status BlobWriter::write(std::string_view bytes) {
  if (bytes.size() > state_->size_max - state_->size) {
    return Error{Errc::Corrupt, "blob " + state_->digest + " is longer than " + std::to_string(state_->size_max) + " bytes"};
  }
  state_->size += bytes.size();
  state_->hash.update(bytes);
  return image::write_all(state_->file.get(), bytes);
}

Status BlobWriter::commit() {
  const std::string digest = "sha256:" + hex_encode(state_->hash.finish());
  if (digest != state_->digest) {
    return Error{Errc::Corrupt, "blob " + state_->digest + " has digest " + digest};
  }
  if (fsync(state_->file.get()) != 0) return system_error("fsync", errno);
  if (rename(state_->temporary.c_str(), state_->path.c_str()) != 0) {
    return system_error(state_->path.c_str(), errno);
  }
  state_->temporary.clear();
  return {};
}

Result<ImageStore> ImageStore::open(const std::string& folder, UnpackLimits limits) {
  for (const char* part : {"/blobs/sha256", "/layers", "/merged", "/images", "/archives", "/tmp"}) {
    if (Status made = image::make_folders(folder + part); !made) return made.error();
  }
  char real[PATH_MAX];
  if (realpath(folder.c_str(), real) == nullptr) return system_error(folder.c_str(), errno);
  const std::string path = real;
  auto lock = std::make_shared<Lock>();
  lock->file.reset(::open((path + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock->file) return system_error((path + "/lock").c_str(), errno);
  const OwnedFd temporary(::open((path + "/tmp").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!temporary) return system_error((path + "/tmp").c_str(), errno);
  if (flock(lock->file.get(), LOCK_EX | LOCK_NB) == 0) {
    auto leftovers = image::names_in(temporary.get());
    if (!leftovers) return leftovers.error();
    for (const std::string& name : *leftovers) {
      if (Status gone = image::remove_tree(temporary.get(), name); !gone) return gone.error();
    }
  }
  if (flock(lock->file.get(), LOCK_SH) != 0) return system_error("lock the image store", errno);
  return ImageStore(path, limits, std::move(lock));
}

std::string ImageStore::blob_path(const std::string& digest) const {
  return folder_ + "/blobs/sha256/" + image::hex_of(digest);
}

bool ImageStore::has_blob(const std::string& digest) const {
  struct stat about {};
  return image::is_digest(digest) && stat(blob_path(digest).c_str(), &about) == 0 && S_ISREG(about.st_mode);
}

Result<std::unique_ptr<BlobWriter>> ImageStore::begin_blob(const std::string& digest, uint64_t size_max) {
  if (!image::is_digest(digest)) return Error{Errc::InvalidArgument, "'" + digest + "' is no SHA-256 digest"};
  auto state = std::make_unique<BlobWriter::State>();
  state->digest = digest;
  state->path = blob_path(digest);
  state->size_max = size_max;
  const std::string temporary = folder_ + "/tmp/" + image::temporary_name();
  state->file.reset(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!state->file) return system_error(temporary.c_str(), errno);
  state->temporary = temporary;
  return std::unique_ptr<BlobWriter>(new BlobWriter(std::move(state)));
}

Status ImageStore::put_blob(const std::string& digest, std::string_view bytes) {
  if (has_blob(digest)) return {};
  auto writer = begin_blob(digest, bytes.size());
  if (!writer) return writer.error();
  if (Status written = (*writer)->write(bytes); !written) return written;
  return (*writer)->commit();
}

Result<std::string> ImageStore::read_blob(const std::string& digest, uint64_t bytes_max) const {
  if (!image::is_digest(digest)) return Error{Errc::InvalidArgument, "'" + digest + "' is no SHA-256 digest"};
  const OwnedFd file(::open(blob_path(digest).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file && errno == ENOENT) return Error{Errc::NotFound, "blob " + digest + " is not there"};
  if (!file) return system_error(blob_path(digest).c_str(), errno);
  auto bytes = image::read_all(file.get(), bytes_max, "blob " + digest);
  if (!bytes) return bytes;
  // These are the small ones that say what the others are; layers are checked by their diff id.
  if (image::digest_of(*bytes) != digest) return Error{Errc::Corrupt, "blob " + digest + " has changed on disk"};
  return bytes;
}

Result<std::vector<std::string>> ImageStore::blobs_of(const std::string& manifest_digest) const {
  auto text = read_blob(manifest_digest, image::kManifestBytesMax);
  if (!text) return text.error();
  auto manifest = image::parse_document(*text);
  if (!manifest) return manifest.error();
  if (manifest->is_index) return Error{Errc::InvalidArgument, manifest_digest + " is an index"};
  std::vector<std::string> blobs = {manifest_digest, manifest->config.digest};
  for (const image::Descriptor& layer : manifest->layers) {
    if (std::find(blobs.begin(), blobs.end(), layer.digest) == blobs.end()) blobs.push_back(layer.digest);
  }
  return blobs;
}

}  // namespace brokkr::sandbox
