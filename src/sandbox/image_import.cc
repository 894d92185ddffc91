#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <cstdio>
#include <optional>
#include <tuple>

#include "base/bytes.h"
#include "base/sha256.h"
#include "sandbox/image.h"
#include "sandbox/image_files.h"
#include "sandbox/image_manifest.h"
#include "sandbox/image_store.h"
#include "sandbox/image_unpack.h"

// Images into a store: from folders and archives, or blob by blob from anywhere.
namespace brokkr::sandbox {

using image::Descriptor;
using image::OwnedFd;

namespace {

constexpr int kIndexDepthMax = 4;
constexpr uint64_t kBlobBytesMax = 64ULL << 30;
constexpr size_t kCopyBytes = 256 * 1024;

Result<OwnedFd> open_regular(int folder, const std::string& path) {
  // Not blocking: a pipe of that name must not stop us.
  OwnedFd file(image::open_beneath(folder, path, O_RDONLY | O_NONBLOCK));
  if (!file && errno == ENOENT) return Error{Errc::NotFound, "no " + path + " in the image"};
  if (!file && (errno == EXDEV || errno == ELOOP)) return Error{Errc::Corrupt, path + " leads out of the image"};
  if (!file) return system_error(path.c_str(), errno);
  struct stat about {};
  if (fstat(file.get(), &about) != 0) return system_error(path.c_str(), errno);
  if (!S_ISREG(about.st_mode)) return Error{Errc::Corrupt, path + " is no file"};
  return file;
}

Result<std::string> read_file(int folder, const std::string& path, uint64_t bytes_max) {
  auto file = open_regular(folder, path);
  if (!file) return file.error();
  return image::read_all(file->get(), bytes_max, path);
}

Status read_parts(int fd, FunctionRef<Status(std::string_view)> take) {
  std::string part(kCopyBytes, '\0');
  while (true) {
    const ssize_t n = read(fd, part.data(), part.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error("read an image", errno);
    if (n == 0) return {};
    if (Status taken = take({part.data(), static_cast<size_t>(n)}); !taken) return taken;
  }
}

Status copy_into(ImageStore& store, int fd, const std::string& digest, uint64_t size_max) {
  auto writer = store.begin_blob(digest, size_max);
  if (!writer) return writer.error();
  Status copied = read_parts(fd, [&](std::string_view bytes) { return (*writer)->write(bytes); });
  return copied ? (*writer)->commit() : copied;
}

bool matches(const Descriptor& one, std::string_view reference) {
  return one.reference == reference || one.reference_full == reference ||
         one.reference_full.ends_with("/" + std::string(reference)) || one.digest == reference;
}

// The entry of a layout's index that `reference` names.
Result<Descriptor> choose_reference(const std::vector<Descriptor>& manifests, std::string_view reference) {
  std::vector<Descriptor> candidates;
  std::string names;
  for (const Descriptor& one : manifests) {
    const std::string& name = one.reference.empty() ? one.digest : one.reference;
    names += (names.empty() ? "" : ", ") + name;
    if (reference.empty() || matches(one, reference)) candidates.push_back(one);
  }
  if (candidates.empty()) {
    return Error{Errc::NotFound, "no image '" + std::string(reference) + "', there is " + (names.empty() ? "none" : names)};
  }
  if (candidates.size() == 1) return candidates.front();
  // Several with one name are one image for several platforms.
  const auto is_same = [&](const Descriptor& one) { return one.reference == candidates.front().reference; };
  if (!std::all_of(candidates.begin(), candidates.end(), is_same)) {
    return Error{Errc::NotFound, "several images, choose one of " + names};
  }
  return image::choose_platform(candidates);
}

Status check_platform(const ImageConfig& config) {
  const std::string machine = image::machine_architecture();
  if ((config.os.empty() || config.os == "linux") &&
      (config.architecture.empty() || config.architecture == machine)) {
    return {};
  }
  return Error{Errc::Unsupported, "image is for " + config.os + "/" + config.architecture +
                                      ", this machine is linux/" + machine};
}

// What changes when a file does. Nobody can set the time of change.
std::string stamp_of(const struct stat& about) {
  std::string text;
  for (const int64_t part : {static_cast<int64_t>(about.st_dev), static_cast<int64_t>(about.st_ino),
                             static_cast<int64_t>(about.st_size), about.st_mtim.tv_sec, about.st_mtim.tv_nsec,
                             about.st_ctim.tv_sec, about.st_ctim.tv_nsec}) {
    text += std::to_string(part) + " ";
  }
  return text;
}

// Whether a further change would show: not while the clock of the file system may still tell the same
// time, which with some is for two seconds.
bool is_settled(const struct stat& about) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  const int64_t age_ms = (now.tv_sec - about.st_ctim.tv_sec) * 1000 + (now.tv_nsec - about.st_ctim.tv_nsec) / 1'000'000;
  return age_ms > (about.st_ctim.tv_nsec == 0 ? 2100 : 100);
}

// The digest noted for a file of that stamp; empty when there is none.
std::string recall_archive(const std::string& record, const std::string& stamp) {
  const OwnedFd file(::open(record.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return {};
  const auto text = image::read_all(file.get(), 1024, record);
  return text && text->starts_with(stamp) ? text->substr(stamp.size()) : std::string();
}

const image::SavedImage* find_saved(const std::vector<image::SavedImage>& images, std::string_view reference) {
  if (reference.empty()) return images.size() == 1 ? &images.front() : nullptr;
  for (const image::SavedImage& one : images) {
    for (const std::string& tag : one.tags) {
      if (tag == reference || tag.ends_with("/" + std::string(reference)) ||
          tag.ends_with(":" + std::string(reference))) {
        return &one;
      }
    }
  }
  return nullptr;
}

// Brings one blob and checks that its size is what was said of it.
Status bring(ImageStore& store, const Descriptor& blob, ImageStore::CopyBlob copy, bool is_manifest = false) {
  if (!store.has_blob(blob.digest)) {
    if (blob.size > kBlobBytesMax) return Error{Errc::LimitExceeded, "blob " + blob.digest + " is too large"};
    if (Status copied = copy({blob.digest, blob.size, is_manifest}); !copied) return copied;
  }
  struct stat about {};
  if (stat(store.blob_path(blob.digest).c_str(), &about) != 0) {
    return Error{Errc::NotFound, "blob " + blob.digest + " is not there"};
  }
  if (blob.size != 0 && static_cast<uint64_t>(about.st_size) != blob.size) {
    return Error{Errc::Corrupt, "blob " + blob.digest + " has " + std::to_string(about.st_size) +
                                    " bytes, not " + std::to_string(blob.size)};
  }
  return {};
}

Status bring_parts(ImageStore& store, const image::Document& manifest, ImageStore::CopyBlob copy) {
  if (Status config = bring(store, manifest.config, copy); !config) return config;
  auto text = store.read_blob(manifest.config.digest, image::kConfigBytesMax);
  if (!text) return text.error();
  auto config = image::parse_config(*text);
  if (!config) return Error{config.error().code, "blob " + manifest.config.digest + ": " + config.error().text};
  if (Status fits = check_platform(config->config); !fits) return fits;
  if (config->diff_ids.size() != manifest.layers.size()) {
    return Error{Errc::Corrupt, "image has " + std::to_string(manifest.layers.size()) + " layers and " +
                                    std::to_string(config->diff_ids.size()) + " diff ids"};
  }
  for (const Descriptor& layer : manifest.layers) {
    if (Status brought = bring(store, layer, copy); !brought) return brought;
  }
  return {};
}

}  // namespace

Result<std::string> ImageStore::fetch(const std::string& digest, uint64_t size, CopyBlob copy) {
  Descriptor at;
  at.digest = digest;
  at.size = size;
  for (int depth = 0; depth < kIndexDepthMax; ++depth) {
    if (at.size > image::kManifestBytesMax) return Error{Errc::LimitExceeded, "manifest " + at.digest + " is too large"};
    if (Status brought = bring(*this, at, copy, true); !brought) return brought.error();
    auto text = read_blob(at.digest, image::kManifestBytesMax);
    if (!text) return text.error();
    auto document = image::parse_document(*text);
    if (!document) return Error{document.error().code, "blob " + at.digest + ": " + document.error().text};
    if (!document->is_index) {
      if (Status parts = bring_parts(*this, *document, copy); !parts) return parts.error();
      return at.digest;
    }
    auto chosen = image::choose_platform(document->manifests);
    if (!chosen) return chosen.error();
    at = std::move(*chosen);
  }
  return Error{Errc::Corrupt, "index within index within index"};
}

Result<std::string> ImageStore::import_saved(int folder, std::string_view reference) {
  auto text = read_file(folder, "manifest.json", image::kManifestBytesMax);
  if (!text) return text.error();
  auto images = image::parse_saved(*text);
  if (!images) return images.error();
  const image::SavedImage* saved = find_saved(*images, reference);
  if (saved == nullptr) {
    std::string names;
    for (const image::SavedImage& one : *images) {
      for (const std::string& tag : one.tags) names += (names.empty() ? "" : ", ") + tag;
    }
    return Error{Errc::NotFound, "no image '" + std::string(reference) + "', there is " + (names.empty() ? "none" : names)};
  }
  auto config = read_file(folder, saved->config, image::kConfigBytesMax);
  if (!config) return config.error();
  Descriptor config_blob{"application/vnd.oci.image.config.v1+json", image::digest_of(*config), config->size(), {}, {}, {}, {}};
  // Its name is its digest, here or at the end of a path.
  const std::string stem = saved->config.substr(saved->config.find_last_of('/') + 1);
  const std::string named = "sha256:" + stem.substr(0, stem.find('.'));
  if (image::is_digest(named) && named != config_blob.digest) {
    return Error{Errc::Corrupt, "config " + saved->config + " has digest " + config_blob.digest};
  }
  if (Status put = put_blob(config_blob.digest, *config); !put) return put.error();
  std::vector<Descriptor> layers;
  for (const std::string& path : saved->layers) {
    auto file = open_regular(folder, path);
    if (!file) return file.error();
    struct stat about {};
    if (fstat(file->get(), &about) != 0) return system_error(path.c_str(), errno);
    Sha256 hash;
    unsigned char magic[2] = {};
    const bool is_gzip = pread(file->get(), magic, 2, 0) == 2 && magic[0] == 0x1f && magic[1] == 0x8b;
    Status hashed = read_parts(file->get(), [&](std::string_view bytes) {
      hash.update(bytes);
      return Status();
    });
    if (!hashed) return hashed.error();
    Descriptor layer;
    layer.media_type = std::string("application/vnd.oci.image.layer.v1.tar") + (is_gzip ? "+gzip" : "");
    layer.digest = "sha256:" + hex_encode(hash.finish());
    layer.size = static_cast<uint64_t>(about.st_size);
    if (!has_blob(layer.digest)) {
      lseek(file->get(), 0, SEEK_SET);
      if (Status copied = copy_into(*this, file->get(), layer.digest, layer.size); !copied) return copied.error();
    }
    layers.push_back(std::move(layer));
  }
  const std::string manifest = image::make_manifest(config_blob, layers);
  const std::string digest = image::digest_of(manifest);
  if (Status put = put_blob(digest, manifest); !put) return put.error();
  return fetch(digest, manifest.size(), [](const Wanted& blob) -> Status {
    return Error{Errc::NotFound, "blob " + blob.digest + " is not there"};
  });
}

Result<std::string> ImageStore::import_folder(int folder, std::string_view reference) {
  auto text = read_file(folder, "index.json", image::kManifestBytesMax);
  if (!text) {
    if (text.error().code != Errc::NotFound) return text.error();
    auto saved = import_saved(folder, reference);
    if (!saved && saved.error().code == Errc::NotFound && saved.error().text.starts_with("no manifest.json")) {
      return Error{Errc::Corrupt, "neither an OCI layout nor what docker save writes"};
    }
    return saved;
  }
  auto index = image::parse_document(*text);
  if (!index) return Error{index.error().code, "index.json: " + index.error().text};
  if (!index->is_index) return Error{Errc::Corrupt, "index.json is no index"};
  auto chosen = choose_reference(index->manifests, reference);
  if (!chosen) {
    // Only docker save's own list has the full names of some writers.
    if (chosen.error().code == Errc::NotFound && read_file(folder, "manifest.json", image::kManifestBytesMax)) {
      if (auto saved = import_saved(folder, reference); saved) return saved;
    }
    return chosen.error();
  }
  return fetch(chosen->digest, chosen->size, [&](const Wanted& blob) -> Status {
    auto file = open_regular(folder, "blobs/sha256/" + image::hex_of(blob.digest));
    if (!file) return file.error();
    return copy_into(*this, file->get(), blob.digest, blob.size);
  });
}

Result<std::string> ImageStore::import(const std::string& path, std::string_view reference) {
  const OwnedFd source(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!source && errno == ENOENT) return Error{Errc::NotFound, path + " is not there"};
  if (!source) return system_error(path.c_str(), errno);
  struct stat about {};
  if (fstat(source.get(), &about) != 0) return system_error(path.c_str(), errno);
  if (S_ISDIR(about.st_mode)) return import_folder(source.get(), reference);
  const std::string record = folder_ + "/archives/" +
                             sha256_hex(std::to_string(about.st_dev) + " " + std::to_string(about.st_ino) + " " +
                                        std::string(reference));
  const std::string stamp = stamp_of(about);
  if (const std::string known = recall_archive(record, stamp); !known.empty()) {
    // It may have been collected since.
    auto digest = fetch(known, 0, [](const Wanted& blob) -> Status {
      return Error{Errc::NotFound, "blob " + blob.digest + " is not there"};
    });
    if (digest) return digest;
  }
  auto digest = import_archive(source.get(), path, reference);
  if (!digest || fstat(source.get(), &about) != 0 || stamp_of(about) != stamp || !is_settled(about)) return digest;
  const std::string temporary = folder_ + "/tmp/" + image::temporary_name();
  const OwnedFd file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  // Without the note the file is read again.
  const bool is_noted = file && image::write_all(file.get(), stamp + *digest).operator bool();
  if (!is_noted || rename(temporary.c_str(), record.c_str()) != 0) unlink(temporary.c_str());
  return digest;
}

Result<std::string> ImageStore::import_archive(int file, const std::string& path, std::string_view reference) {
  const OwnedFd temporary(::open((folder_ + "/tmp").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::string name = image::temporary_name();
  if (!temporary || mkdirat(temporary.get(), name.c_str(), 0700) != 0) return system_error("make a folder", errno);
  const OwnedFd staging(openat(temporary.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto taken = [&]() -> Result<std::string> {
    auto tar = image::TarReader::open(file, limits_.bytes_max, path);
    if (!tar) return tar.error();
    image::Budget budget{limits_.bytes_max, limits_.files_max};
    Status unpacked = image::unpack_tar(**tar, staging.get(), image::Form::Archive, {}, budget);
    if (!unpacked) return unpacked.error();
    return import_folder(staging.get(), reference);
  }();
  std::ignore = image::remove_tree(temporary.get(), name);
  return taken;
}

}  // namespace brokkr::sandbox
