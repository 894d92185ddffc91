#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <tuple>

#include "base/bytes.h"
#include "sandbox/image.h"
#include "sandbox/image_files.h"
#include "sandbox/image_manifest.h"
#include "sandbox/image_store.h"
#include "sandbox/image_unpack.h"

// From blobs to the folders a program runs on.
namespace brokkr::sandbox {

using image::Budget;
using image::Form;
using image::OwnedFd;

namespace {

// Options of a mount are one page, in which a layer takes some eighteen bytes (/proc/self/fd/…).
constexpr size_t kOverlayLayersMax = 150;
// Beside the files' bytes: headers and padding of a tar.
constexpr uint64_t kTarBytesPerFile = 4096;

struct ImageLayer {
  std::string digest;
  std::string diff_id;
  std::string chain_id;
};

// Unpacks the layers of one image.
class Stack {
 public:
  Stack(const ImageStore& store, const UnpackLimits& limits)
      : store_(store), budget_{limits.bytes_max, limits.files_max} {}
  Status open();
  bool can_overlay() const { return can_overlay_; }
  Result<std::vector<std::string>> overlay(const std::vector<ImageLayer>&);
  Result<std::vector<std::string>> merge(const std::vector<ImageLayer>&);

 private:
  Status unpack_into(const ImageLayer&, int root, Form, const std::vector<int>& lower);
  Status unpack_missing(const std::vector<ImageLayer>&, std::vector<OwnedFd>& opened);
  Result<OwnedFd> make(const std::string& path);
  Status publish();
  void drop();
  bool charge_existing(const std::string& path);

  // Unpacked and not in its place yet.
  struct Made {
    std::string temporary;
    std::string path;
    Budget used{};
  };
  const ImageStore& store_;
  Budget budget_;
  std::vector<Made> made_;
  OwnedFd temporary_;
  bool can_overlay_ = false;
};

Status Stack::open() {
  temporary_.reset(::open((store_.folder() + "/tmp").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!temporary_) return system_error("open tmp", errno);
  can_overlay_ = image::can_make_whiteouts(temporary_.get());
  return {};
}

Status Stack::unpack_into(const ImageLayer& layer, int root, Form form, const std::vector<int>& lower) {
  const OwnedFd blob(::open(store_.blob_path(layer.digest).c_str(), O_RDONLY | O_CLOEXEC));
  if (!blob) return Error{Errc::NotFound, "blob " + layer.digest + " is not there"};
  const uint64_t bytes_max = budget_.bytes + std::min(budget_.files, budget_.bytes) * kTarBytesPerFile + (1U << 20);
  auto tar = image::TarReader::open(blob.get(), bytes_max, "layer " + layer.digest);
  if (!tar) return tar.error();
  Status unpacked = image::unpack_tar(**tar, root, form, lower, budget_);
  if (!unpacked) return Error{unpacked.error().code, "layer " + layer.digest + ": " + unpacked.error().text};
  auto diff_id = (*tar)->finish();
  if (!diff_id) return diff_id.error();
  if (*diff_id != layer.diff_id) {
    return Error{Errc::Corrupt, "layer " + layer.digest + " unpacks to " + *diff_id + ", not to " + layer.diff_id};
  }
  return {};
}

// A folder that was unpacked before counts as it did then.
bool Stack::charge_existing(const std::string& path) {
  struct stat about {};
  if (stat(path.c_str(), &about) != 0 || !S_ISDIR(about.st_mode)) return false;
  const OwnedFd file(::open((path + ".size").c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return true;
  auto text = image::read_all(file.get(), 64, path);
  if (!text) return true;
  const auto parts = split(trim(*text), ' ');
  if (parts.size() != 2) return true;
  budget_.bytes -= std::min(budget_.bytes, parse_uint(parts[0]).value_or(0));
  budget_.files -= std::min(budget_.files, parse_uint(parts[1]).value_or(0));
  return true;
}

Result<OwnedFd> Stack::make(const std::string& path) {
  const std::string name = image::temporary_name();
  if (mkdirat(temporary_.get(), name.c_str(), 0755) != 0) return system_error("make a folder", errno);
  made_.push_back({name, path});
  OwnedFd folder(openat(temporary_.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return system_error("open a folder", errno);
  fchmod(folder.get(), 0755);  // whatever the umask says
  return folder;
}

// Durable first, all at once; then in place. Somebody else may have been faster with the same bytes.
Status Stack::publish() {
  if (made_.empty()) return {};
  for (const Made& one : made_) {
    const std::string size = std::to_string(one.used.bytes) + " " + std::to_string(one.used.files) + "\n";
    const OwnedFd file(::open((one.path + ".size").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!file) return system_error((one.path + ".size").c_str(), errno);
    if (Status written = image::write_all(file.get(), size); !written) return written;
  }
  if (syncfs(temporary_.get()) != 0) return system_error("syncfs", errno);
  for (const Made& one : made_) {
    if (renameat(temporary_.get(), one.temporary.c_str(), AT_FDCWD, one.path.c_str()) == 0) continue;
    if (errno != EEXIST && errno != ENOTEMPTY) return system_error(one.path.c_str(), errno);
  }
  return {};
}

// What is still in the temporary folder.
void Stack::drop() {
  for (const Made& one : made_) std::ignore = image::remove_tree(temporary_.get(), one.temporary);
}

Status Stack::unpack_missing(const std::vector<ImageLayer>& layers, std::vector<OwnedFd>& opened) {
  std::vector<int> below;
  for (const ImageLayer& layer : layers) {
    const std::string path = store_.folder() + "/layers/" + image::hex_of(layer.chain_id);
    if (charge_existing(path)) {
      opened.emplace_back(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (!opened.back()) return system_error(path.c_str(), errno);
    } else {
      auto folder = make(path);
      if (!folder) return folder.error();
      const Budget before = budget_;
      if (Status done = unpack_into(layer, folder->get(), Form::Overlay, below); !done) return done;
      made_.back().used = {before.bytes - budget_.bytes, before.files - budget_.files};
      opened.push_back(std::move(*folder));
    }
    below.insert(below.begin(), opened.back().get());
  }
  return publish();
}

Result<std::vector<std::string>> Stack::overlay(const std::vector<ImageLayer>& layers) {
  std::vector<OwnedFd> opened;
  Status done = unpack_missing(layers, opened);
  drop();
  if (!done) return done.error();
  std::vector<std::string> lower;
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
    lower.push_back(store_.folder() + "/layers/" + image::hex_of(layer->chain_id));
  }
  return lower;
}

Result<std::vector<std::string>> Stack::merge(const std::vector<ImageLayer>& layers) {
  const std::string path = store_.folder() + "/merged/" + image::hex_of(layers.back().chain_id);
  if (charge_existing(path)) return std::vector<std::string>{path};
  auto folder = make(path);
  if (!folder) return folder.error();
  const Budget before = budget_;
  Status done;
  for (size_t i = 0; i < layers.size() && done; ++i) {
    if (i > 0) done = unpack_into(layers[i], folder->get(), Form::MergeErase, {});
    if (done) done = unpack_into(layers[i], folder->get(), i == 0 ? Form::Overlay : Form::MergeAdd, {});
  }
  made_.back().used = {before.bytes - budget_.bytes, before.files - budget_.files};
  if (done) done = publish();
  drop();
  if (!done) return done.error();
  return std::vector<std::string>{path};
}

}  // namespace

Result<UnpackedImage> ImageStore::unpack(const std::string& manifest_digest) {
  auto text = read_blob(manifest_digest, image::kManifestBytesMax);
  if (!text) return text.error();
  auto manifest = image::parse_document(*text);
  if (!manifest) return manifest.error();
  if (manifest->is_index) return Error{Errc::InvalidArgument, manifest_digest + " is an index"};
  auto config_text = read_blob(manifest->config.digest, image::kConfigBytesMax);
  if (!config_text) return config_text.error();
  auto config = image::parse_config(*config_text);
  if (!config) return config.error();
  if (config->diff_ids.size() != manifest->layers.size()) {
    return Error{Errc::Corrupt, "image " + manifest_digest + " has other layers than diff ids"};
  }
  UnpackedImage out;
  out.config = std::move(config->config);
  out.config.digest = manifest_digest;
  const std::vector<std::string> chain = image::chain_ids(config->diff_ids);
  std::vector<ImageLayer> layers;
  for (size_t i = 0; i < chain.size(); ++i) {
    layers.push_back({manifest->layers[i].digest, config->diff_ids[i], chain[i]});
  }
  if (layers.empty()) {
    const std::string empty = folder_ + "/layers/empty";
    if (Status made = image::make_folders(empty); !made) return made.error();
    chmod(empty.c_str(), 0755);
    out.lower = {empty};
    return out;
  }
  Stack stack(*this, limits_);
  if (Status opened = stack.open(); !opened) return opened.error();
  const bool is_overlay = stack.can_overlay() && !limits_.is_merged && layers.size() <= kOverlayLayersMax;
  auto lower = is_overlay ? stack.overlay(layers) : stack.merge(layers);
  if (!lower) return lower.error();
  out.lower = std::move(*lower);
  return out;
}

}  // namespace brokkr::sandbox
