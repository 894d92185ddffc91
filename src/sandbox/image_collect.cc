#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <map>
#include <set>
#include <tuple>

#include "base/bytes.h"
#include "sandbox/image.h"
#include "sandbox/image_files.h"
#include "sandbox/image_manifest.h"
#include "sandbox/image_store.h"

// What of a store is still needed, and the rest out of the way.
namespace brokkr::sandbox {

using image::OwnedFd;

namespace {

constexpr const char* kParts[] = {"/layers", "/merged", "/blobs/sha256"};
constexpr size_t kRecordBytesMax = 512;

// Files and folders below a store, "layers/…" and the like, with what they take.
using Needed = std::map<std::string, uint64_t>;

uint64_t size_of(const std::string& path) {
  struct stat about {};
  return stat(path.c_str(), &about) == 0 ? static_cast<uint64_t>(about.st_size) : 0;
}

// The bytes an unpacked folder was found to have.
uint64_t unpacked_size(const std::string& path) {
  const OwnedFd file(::open((path + ".size").c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return 0;
  const auto text = image::read_all(file.get(), kRecordBytesMax, path);
  return text ? parse_uint(trim(*text).substr(0, trim(*text).find(' '))).value_or(0) : 0;
}

Result<Needed> needs_of(const ImageStore& store, const std::string& manifest) {
  auto blobs = store.blobs_of(manifest);
  if (!blobs) return blobs.error();
  auto text = store.read_blob((*blobs)[1], image::kConfigBytesMax);
  if (!text) return text.error();
  auto config = image::parse_config(*text);
  if (!config) return config.error();
  Needed needed;
  for (const std::string& blob : *blobs) {
    needed["/blobs/sha256/" + image::hex_of(blob)] = size_of(store.blob_path(blob));
  }
  for (const std::string& chain : image::chain_ids(config->diff_ids)) {
    for (const char* part : {"/layers/", "/merged/"}) {
      const std::string name = part + image::hex_of(chain);
      needed[name] = unpacked_size(store.folder() + name);
      needed[name + ".size"] = 0;
    }
  }
  return needed;
}

struct ImageUse {
  std::string digest;
  WallTime used{};
};

WallTime modified(const struct stat& about) {
  return WallTime(std::chrono::duration_cast<WallTime::duration>(
      std::chrono::seconds(about.st_mtim.tv_sec) + std::chrono::nanoseconds(about.st_mtim.tv_nsec)));
}

// Notes of archives whose image does not stay.
void forget_archives(const std::string& path, const std::set<std::string>& kept) {
  const OwnedFd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto names = folder ? image::names_in(folder.get()) : Result<std::vector<std::string>>(std::vector<std::string>{});
  if (!names) return;
  for (const std::string& name : *names) {
    const OwnedFd file(openat(folder.get(), name.c_str(), O_RDONLY | O_CLOEXEC));
    const auto text = file ? image::read_all(file.get(), kRecordBytesMax, name) : Result<std::string>(std::string());
    const size_t at = text ? text->rfind(' ') : std::string::npos;
    const std::string digest = at == std::string::npos ? "" : text->substr(at + 1);
    if (image::is_digest(digest) && kept.count("/blobs/sha256/" + image::hex_of(digest)) != 0) continue;
    unlinkat(folder.get(), name.c_str(), 0);
  }
}

}  // namespace

Status ImageStore::use(const std::string& manifest_digest) {
  const std::string path = folder_ + "/images/" + image::hex_of(manifest_digest);
  const OwnedFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (!file || futimens(file.get(), nullptr) != 0) return system_error(path.c_str(), errno);
  return {};
}

Result<std::vector<std::string>> ImageStore::set_aside(const KeepRules& rules) {
  const OwnedFd records(::open((folder_ + "/images").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!records) return system_error("images", errno);
  auto names = image::names_in(records.get());
  if (!names) return names.error();
  std::vector<ImageUse> others;
  for (const std::string& name : *names) {
    const std::string digest = "sha256:" + name;
    struct stat about {};
    const bool is_held = std::find(rules.held.begin(), rules.held.end(), digest) != rules.held.end();
    if (is_held || fstatat(records.get(), name.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0) continue;
    others.push_back({digest, modified(about)});
  }
  std::sort(others.begin(), others.end(), [](const auto& a, const auto& b) { return a.used > b.used; });

  Needed kept = {{"/layers/empty", 0}};
  uint64_t bytes = 0;
  const auto keep = [&](const Needed& needed) {
    for (const auto& [name, size] : needed) {
      if (kept.emplace(name, size).second) bytes += size;
    }
  };
  for (const std::string& digest : rules.held) {
    const auto needed = needs_of(*this, digest);
    if (!needed) return needed.error();
    keep(*needed);
  }
  std::set<std::string> gone;
  bool is_full = false;
  for (const ImageUse& image : others) {
    const bool is_old = rules.now - image.used > rules.unused_max;
    const auto needed = is_old || is_full ? Result<Needed>(Error{Errc::NotFound, ""}) : needs_of(*this, image.digest);
    uint64_t more = 0;
    if (needed) {
      for (const auto& [name, size] : *needed) more += kept.count(name) == 0 ? size : 0;
    }
    // The one that does not fit and all that were used before it.
    is_full = is_full || (rules.bytes_max != 0 && bytes + more > rules.bytes_max);
    if (needed && !is_full) {
      keep(*needed);
    } else {
      gone.insert(image::hex_of(image.digest));
    }
  }
  for (const std::string& name : gone) std::ignore = image::remove_tree(records.get(), name);
  std::set<std::string> paths;
  for (const auto& [path, size] : kept) paths.insert(path);
  forget_archives(folder_ + "/archives", paths);
  return move_aside(paths);
}

Result<std::vector<std::string>> ImageStore::move_aside(const std::set<std::string>& kept) {
  std::vector<std::string> aside;
  for (const std::string part : kParts) {
    const OwnedFd folder(::open((folder_ + part).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder) return system_error(part.c_str(), errno);
    auto names = image::names_in(folder.get());
    if (!names) return names.error();
    for (const std::string& name : *names) {
      if (kept.count(part + "/" + name) != 0) continue;
      const std::string temporary = image::temporary_name();
      const std::string to = folder_ + "/tmp/" + temporary;
      if (renameat(folder.get(), name.c_str(), AT_FDCWD, to.c_str()) != 0) return system_error(name.c_str(), errno);
      aside.push_back(temporary);
    }
  }
  return aside;
}

Status ImageStore::remove_aside(const std::string& name) {
  const OwnedFd temporary(::open((folder_ + "/tmp").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!temporary) return system_error("tmp", errno);
  return image::remove_tree(temporary.get(), name);
}

}  // namespace brokkr::sandbox
