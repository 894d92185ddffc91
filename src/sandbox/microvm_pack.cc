#include "sandbox/microvm_pack.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <map>

#include "sandbox/image_files.h"

namespace brokkr::sandbox::microvm {
namespace {

using image::OwnedFd;

constexpr size_t kAlignment = 4;
constexpr size_t kPackCopyBytes = 256 * 1024;
constexpr int kDepthMax = 512;

struct Entry {
  std::string source;  // on the host
  struct stat about {};
};
// By path inside, so that a folder comes before what is in it.
using Tree = std::map<std::string, Entry>;

bool is_whiteout(const struct stat& about) {
  return S_ISCHR(about.st_mode) && about.st_rdev == makedev(0, 0);
}

void hide(Tree& tree, const std::string& path) {
  tree.erase(path);
  const std::string below = path + "/";
  for (auto at = tree.lower_bound(below); at != tree.end() && at->first.starts_with(below);) at = tree.erase(at);
}

bool is_opaque(const std::string& folder) {
  char value[2];
  return lgetxattr(folder.c_str(), "trusted.overlay.opaque", value, sizeof value) == 1 && value[0] == 'y';
}

// Lays what is in `folder` over the tree.
Status add_folder(Tree& tree, const std::string& folder, const std::string& inside, int depth) {
  if (depth > kDepthMax) return Error{Errc::LimitExceeded, "folders are nested too deep"};
  const OwnedFd fd(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return system_error(folder.c_str(), errno);
  auto names = image::names_in(fd.get());
  if (!names) return names.error();
  for (const std::string& name : *names) {
    Entry entry{folder + "/" + name, {}};
    if (fstatat(fd.get(), name.c_str(), &entry.about, AT_SYMLINK_NOFOLLOW) != 0) return system_error(name.c_str(), errno);
    const std::string path = inside.empty() ? name : inside + "/" + name;
    const bool is_folder = S_ISDIR(entry.about.st_mode);
    if (is_whiteout(entry.about)) {
      hide(tree, path);
      continue;
    }
    const auto old = tree.find(path);
    if (old != tree.end() && (!is_folder || !S_ISDIR(old->second.about.st_mode) || is_opaque(entry.source))) hide(tree, path);
    if (!is_folder && !S_ISREG(entry.about.st_mode) && !S_ISLNK(entry.about.st_mode)) continue;
    const std::string source = entry.source;
    tree[path] = std::move(entry);
    if (!is_folder) continue;
    if (Status added = add_folder(tree, source, path, depth + 1); !added) return added;
  }
  return {};
}

class Archive {
 public:
  explicit Archive(int fd) : fd_(fd) {}
  uint64_t bytes() const { return bytes_; }

  Status entry(const std::string& name, mode_t mode, uid_t uid, gid_t gid, int64_t modified_s, uint64_t size) {
    char header[128];
    const auto number = [](uint64_t value) { return static_cast<unsigned>(value & 0xFFFFFFFFU); };
    std::snprintf(header, sizeof header, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", ++inode_, number(mode),
                  number(uid), number(gid), 1U, number(static_cast<uint64_t>(modified_s)), number(size), 0U, 0U, 0U, 0U,
                  number(name.size() + 1), 0U);
    std::string text = header + name;
    text += '\0';
    pad(text);
    return write(text);
  }
  Status write(std::string_view text) {
    bytes_ += text.size();
    if (bytes_ > kPackedBytesMax) {
      return Error{Errc::LimitExceeded, "a root of more than " + std::to_string(kPackedBytesMax >> 20) + " MiB does not fit a microVM"};
    }
    return image::write_all(fd_, text);
  }
  Status copy(const std::string& path, uint64_t size) {
    const OwnedFd file(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!file) return system_error(path.c_str(), errno);
    std::string part(kPackCopyBytes, '\0');
    uint64_t left = size;
    while (left > 0) {
      const ssize_t n = read(file.get(), part.data(), std::min<uint64_t>(part.size(), left));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return system_error(path.c_str(), errno);
      if (n == 0) return Error{Errc::Corrupt, path + " became shorter"};
      if (Status done = write(std::string_view(part).substr(0, static_cast<size_t>(n))); !done) return done;
      left -= static_cast<uint64_t>(n);
    }
    std::string rest;
    pad_to(rest, bytes_);
    return write(rest);
  }
  Status finish() {
    return entry("TRAILER!!!", 0, 0, 0, 0, 0);
  }

 private:
  static void pad_to(std::string& text, uint64_t from) { text.append((kAlignment - from % kAlignment) % kAlignment, '\0'); }
  static void pad(std::string& text) { pad_to(text, text.size()); }
  const int fd_;
  uint64_t bytes_ = 0;
  unsigned inode_ = 0;
};

Status write_entry(Archive& archive, const std::string& path, const Entry& from) {
  const std::string name = "image/" + path;
  const auto& about = from.about;
  if (S_ISLNK(about.st_mode)) {
    char target[PATH_MAX];
    const ssize_t size = readlink(from.source.c_str(), target, sizeof target);
    if (size < 0) return system_error(from.source.c_str(), errno);
    std::string text(target, static_cast<size_t>(size));
    if (Status done = archive.entry(name, about.st_mode, about.st_uid, about.st_gid, about.st_mtim.tv_sec, text.size()); !done) return done;
    text.append((kAlignment - text.size() % kAlignment) % kAlignment, '\0');
    return archive.write(text);
  }
  const uint64_t size = S_ISREG(about.st_mode) ? static_cast<uint64_t>(about.st_size) : 0;
  if (Status done = archive.entry(name, about.st_mode, about.st_uid, about.st_gid, about.st_mtim.tv_sec, size); !done) return done;
  return size == 0 ? Status() : archive.copy(from.source, size);
}

Status build_tree(const ProgramSpec& spec, Tree& tree) {
  if (!spec.root.empty()) return add_folder(tree, spec.root, "", 0);
  for (auto layer = spec.lower.rbegin(); layer != spec.lower.rend(); ++layer) {
    if (Status added = add_folder(tree, *layer, "", 0); !added) return added;
  }
  return {};
}

Status write_program(Archive& archive, const ProgramSpec& spec) {
  Entry program{spec.executable, {}};
  if (stat(spec.executable.c_str(), &program.about) != 0) {
    if (errno == ENOENT) return Error{Errc::NotFound, "no program " + spec.executable};
    return system_error(spec.executable.c_str(), errno);
  }
  program.about.st_uid = program.about.st_gid = 0;
  program.about.st_mode = S_IFREG | 0755;
  for (const char* folder : {"image/app", "image/etc", "image/proc", "image/dev", "image/tmp"}) {
    if (Status done = archive.entry(folder, S_IFDIR | 0755, 0, 0, 0, 0); !done) return done;
  }
  const std::string users = "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/tmp:/sbin/nologin\n\n\n";
  const std::string padded = users.substr(0, users.size() - users.size() % kAlignment);
  if (Status done = archive.entry("image/etc/passwd", S_IFREG | 0644, 0, 0, 0, padded.size()); !done) return done;
  if (Status done = archive.write(padded); !done) return done;
  return write_entry(archive, "app/" + spec.executable.substr(spec.executable.rfind('/') + 1), program);
}

}  // namespace

Result<uint64_t> write_initramfs(const std::string& base, const ProgramSpec& spec, const std::string& path) {
  const OwnedFd from(open(base.c_str(), O_RDONLY | O_CLOEXEC));
  if (!from) return system_error(base.c_str(), errno);
  auto first = image::read_all(from.get(), kPackedBytesMax, base);
  if (!first) return first.error();
  first->append((kAlignment - first->size() % kAlignment) % kAlignment, '\0');
  const OwnedFd to(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!to) return system_error(path.c_str(), errno);
  if (Status done = image::write_all(to.get(), *first); !done) return done.error();
  Archive archive(to.get());
  if (Status done = archive.entry("image", S_IFDIR | 0755, 0, 0, 0, 0); !done) return done.error();
  if (spec.executable.empty()) {
    Tree tree;
    if (Status built = build_tree(spec, tree); !built) return built.error();
    for (const auto& [inside, entry] : tree) {
      if (Status done = write_entry(archive, inside, entry); !done) return done.error();
    }
  } else if (Status done = write_program(archive, spec); !done) {
    return done.error();
  }
  if (Status done = archive.finish(); !done) return done.error();
  fchmod(to.get(), 0644);
  return archive.bytes();
}

}  // namespace brokkr::sandbox::microvm
