#include "sandbox/image_unpack.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <tuple>

#include "base/bytes.h"

namespace brokkr::sandbox::image {
namespace {

constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kWhiteoutOpaque = ".wh..wh..opq";
constexpr std::string_view kWhiteoutMeta = ".wh..wh.";
constexpr const char* kOpaqueAttribute = "trusted.overlay.opaque";
constexpr mode_t kModeBits = 01777;
constexpr mode_t kImplicitFolderMode = 0755;
constexpr size_t kPathPartsMax = 512;
constexpr int kLinksMax = 40;

Error refuse(const std::string& path, const char* why) {
  // Names may hold anything; what is shown of them does not break lines.
  std::string shown = path.substr(0, 200);
  std::replace_if(shown.begin(), shown.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, '?');
  return Error{Errc::Corrupt, "entry '" + shown + "' " + why};
}

bool is_whiteout_device(const struct stat& about) {
  return S_ISCHR(about.st_mode) && about.st_rdev == makedev(0, 0);
}

std::string join(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) (out += out.empty() ? "" : "/") += part;
  return out;
}

// The parts of a path without "." and empty ones. Fails on ".." unless `allows_up`.
Result<std::vector<std::string>> parts_of(const std::string& path, bool allows_up) {
  std::vector<std::string> parts;
  for (const std::string_view part : split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == ".." && !allows_up) return refuse(path, "leads out of the image");
    if (part.size() > 255) return refuse(path, "has a name that is too long");
    parts.emplace_back(part);
  }
  if (parts.size() > kPathPartsMax) return refuse(path, "is nested too deep");
  return parts;
}

Result<std::string> read_link(int folder, const std::string& name) {
  char target[4097];
  const ssize_t size = readlinkat(folder, name.c_str(), target, sizeof target - 1);
  if (size < 0) return system_error("readlink", errno);
  return std::string(target, static_cast<size_t>(size));
}

// What a folder gets once everything is in it.
struct FolderFacts {
  std::string path;
  mode_t mode;
  uid_t uid;
  gid_t gid;
  int64_t modified_s;
};

class Unpacker {
 public:
  Unpacker(TarReader& tar, int root, Form form, const std::vector<int>& lower, Budget& budget)
      : tar_(tar), root_(root), form_(form), lower_(lower), budget_(budget) {}
  Status run();

 private:
  bool is_merge() const { return form_ == Form::MergeErase || form_ == Form::MergeAdd; }
  bool has_owners() const { return is_root_ && form_ != Form::Archive; }
  Status take(const TarEntry&);
  Status add(const TarEntry&, int parent, const std::string& name, const std::string& folder);
  Status add_file(const TarEntry&, int parent, const std::string& name);
  Status add_folder(const TarEntry&, int parent, const std::string& name, const std::string& path);
  Status add_hard_link(const TarEntry&, int parent, const std::string& name);
  Status add_whiteout(const std::string& path, int parent, const std::string& name);
  bool is_below(const std::string& name) const;
  Status hide_all(int parent);
  Status clear_place(int parent, const std::string& name);
  Status finish_folders();
  // The folder the parts name, with links followed as inside the image; made where it is missing.
  // `parts` become the path without links. -1 when it is missing and not to be made.
  Result<int> enter(const std::string& path, std::vector<std::string>& parts, bool makes);
  Result<bool> follow(const std::string& path, int at, const std::string& name,
                      std::vector<std::string>& done, std::deque<std::string>& todo);
  Status make_implicit(int at, const std::string& name, const std::string& path);
  Error failed(const std::string& path) const;

  TarReader& tar_;
  const int root_;
  const Form form_;
  const std::vector<int>& lower_;
  Budget& budget_;
  const bool is_root_ = geteuid() == 0;
  std::vector<FolderFacts> folders_;
  // The parent of the last entry: tars list a folder's files one after the other.
  bool has_parent_ = false;
  std::vector<std::string> parent_asked_;
  std::string parent_path_;
  OwnedFd parent_;
};

Error Unpacker::failed(const std::string& path) const {
  const int error = errno;
  if (error == ENOSPC || error == EDQUOT) return Error{Errc::OutOfSpace, "no space to unpack an image"};
  if (error == ENAMETOOLONG || error == ENOTDIR || error == ELOOP || error == EXDEV || error == EINVAL) {
    return refuse(path, "cannot be made");
  }
  return system_error(path.substr(0, 200).c_str(), error);
}

Status Unpacker::run() {
  while (true) {
    auto entry = tar_.next();
    if (!entry) return entry.error();
    if (!*entry) break;
    if (budget_.files == 0) return Error{Errc::LimitExceeded, "image has too many files"};
    if (form_ != Form::MergeErase) budget_.files--;
    if (Status taken = take(**entry); !taken) return taken;
  }
  parent_.reset();
  return finish_folders();
}

Status Unpacker::take(const TarEntry& entry) {
  auto parts = parts_of(entry.path, false);
  if (!parts) return parts.error();
  if (parts->empty()) {
    if (entry.kind != TarEntry::Kind::Folder) return refuse(entry.path, "is no folder but the root");
    return form_ == Form::MergeErase ? Status() : add_folder(entry, root_, ".", "");
  }
  const std::string name = std::move(parts->back());
  parts->pop_back();
  const bool is_whiteout = form_ != Form::Archive && name.starts_with(kWhiteout);
  if (form_ == Form::MergeErase && !is_whiteout) return {};
  if (form_ == Form::MergeAdd && is_whiteout) return {};
  if (entry.kind == TarEntry::Kind::Other && !is_whiteout) return {};  // devices, pipes
  if (!has_parent_ || *parts != parent_asked_) {
    has_parent_ = false;
    parent_asked_ = *parts;
    auto fd = enter(entry.path, *parts, form_ != Form::MergeErase);
    if (!fd) return fd.error();
    parent_.reset(*fd);
    parent_path_ = join(*parts);
    has_parent_ = *fd >= 0;
    if (*fd < 0) return {};  // nothing there to hide
  }
  if (is_whiteout) return add_whiteout(entry.path, parent_.get(), name);
  return add(entry, parent_.get(), name, parent_path_);
}

Status Unpacker::add(const TarEntry& entry, int parent, const std::string& name, const std::string& folder) {
  if (entry.kind == TarEntry::Kind::Folder) {
    return add_folder(entry, parent, name, folder.empty() ? name : folder + "/" + name);
  }
  if (entry.kind == TarEntry::Kind::HardLink) return add_hard_link(entry, parent, name);
  if (Status clear = clear_place(parent, name); !clear) return clear;
  if (entry.kind == TarEntry::Kind::File) return add_file(entry, parent, name);
  if (entry.target.empty()) return refuse(entry.path, "is a link to nothing");
  if (symlinkat(entry.target.c_str(), parent, name.c_str()) != 0) return failed(entry.path);
  if (has_owners()) {
    std::ignore = fchownat(parent, name.c_str(), static_cast<uid_t>(entry.uid),
                           static_cast<gid_t>(entry.gid), AT_SYMLINK_NOFOLLOW);
  }
  return {};
}

// Removes what is at the place of a new file.
Status Unpacker::clear_place(int parent, const std::string& name) {
  struct stat about {};
  if (fstatat(parent, name.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno == ENOENT ? Status() : Status(failed(name));
  }
  if (S_ISDIR(about.st_mode)) has_parent_ = false;  // it may be what is kept open
  return remove_tree(parent, name);
}

Status Unpacker::add_file(const TarEntry& entry, int parent, const std::string& name) {
  if (entry.size > budget_.bytes) return Error{Errc::LimitExceeded, "image has too many bytes"};
  budget_.bytes -= entry.size;
  const OwnedFd file(openat(parent, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return failed(entry.path);
  Status written = tar_.read_data([&](std::string_view bytes, uint64_t offset) -> Status {
    if (offset > entry.size || bytes.size() > entry.size - offset) return refuse(entry.path, "is longer than it says");
    while (!bytes.empty()) {
      const ssize_t n = pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failed(entry.path);
      bytes.remove_prefix(static_cast<size_t>(n));
      offset += static_cast<uint64_t>(n);
    }
    return {};
  });
  if (!written) return written;
  if (ftruncate(file.get(), static_cast<off_t>(entry.size)) != 0) return failed(entry.path);
  if (has_owners() && fchown(file.get(), static_cast<uid_t>(entry.uid), static_cast<gid_t>(entry.gid)) != 0) {
    return failed(entry.path);
  }
  if (fchmod(file.get(), entry.mode & kModeBits) != 0) return failed(entry.path);
  const timespec times[2] = {{entry.modified_s, 0}, {entry.modified_s, 0}};
  futimens(file.get(), times);  // a time the file system cannot hold is no reason to refuse
  return {};
}

Status Unpacker::add_folder(const TarEntry& entry, int parent, const std::string& name, const std::string& path) {
  bool is_new = false;
  if (name != ".") {
    struct stat about {};
    const bool exists = fstatat(parent, name.c_str(), &about, AT_SYMLINK_NOFOLLOW) == 0;
    if (exists && !S_ISDIR(about.st_mode)) {
      if (unlinkat(parent, name.c_str(), 0) != 0) return failed(entry.path);
    }
    if (!exists || !S_ISDIR(about.st_mode)) {
      if (mkdirat(parent, name.c_str(), 0700) != 0) return failed(entry.path);
      is_new = true;
    }
    // Hidden by this layer and made anew: nothing of the one below shows.
    if (exists && is_new && is_whiteout_device(about)) {
      const OwnedFd made(openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!made) return failed(entry.path);
      if (Status opaque = hide_all(made.get()); !opaque) return opaque;
    }
  }
  folders_.push_back({path, entry.mode & kModeBits, static_cast<uid_t>(entry.uid),
                      static_cast<gid_t>(entry.gid), entry.modified_s});
  return {};
}

Status Unpacker::add_hard_link(const TarEntry& entry, int parent, const std::string& name) {
  auto parts = parts_of(entry.target, false);
  if (!parts) return parts.error();
  if (parts->empty()) return refuse(entry.path, "is a hard link to nothing");
  const std::string target = std::move(parts->back());
  parts->pop_back();
  auto fd = enter(entry.path, *parts, false);
  if (!fd) return fd.error();
  const OwnedFd folder(*fd);
  struct stat about {};
  if (!folder || fstatat(folder.get(), target.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0 ||
      (!S_ISREG(about.st_mode) && !S_ISLNK(about.st_mode))) {
    return refuse(entry.path, "is a hard link to what is not there");
  }
  struct stat old {};
  if (fstatat(parent, name.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0 && old.st_ino == about.st_ino) return {};
  if (Status clear = clear_place(parent, name); !clear) return clear;
  if (linkat(folder.get(), target.c_str(), parent, name.c_str(), 0) != 0) return failed(entry.path);
  return {};
}

// Makes a folder show nothing of the layers below it, if there are any.
Status Unpacker::hide_all(int parent) {
  if (form_ == Form::Overlay) {
    if (lower_.empty()) return {};
    if (fsetxattr(parent, kOpaqueAttribute, "y", 1, 0) != 0) return system_error("make a folder opaque", errno);
    return {};
  }
  if (form_ != Form::MergeErase) return {};
  auto names = names_in(parent);
  if (!names) return names.error();
  for (const std::string& name : *names) {
    if (Status gone = remove_tree(parent, name); !gone) return gone;
  }
  return {};
}

// Whether a layer below has something of that name in the folder at hand.
bool Unpacker::is_below(const std::string& name) const {
  const auto has = [&](int layer) {
    struct stat about {};
    const OwnedFd folder(open_beneath(layer, parent_path_, O_PATH | O_DIRECTORY, 0, RESOLVE_NO_SYMLINKS));
    return folder && fstatat(folder.get(), name.c_str(), &about, AT_SYMLINK_NOFOLLOW) == 0;
  };
  return std::any_of(lower_.begin(), lower_.end(), has);
}

Status Unpacker::add_whiteout(const std::string& path, int parent, const std::string& name) {
  if (name == kWhiteoutOpaque) return hide_all(parent);
  if (name.starts_with(kWhiteoutMeta)) return {};  // an old driver's own files
  const std::string hidden = name.substr(kWhiteout.size());
  if (hidden.empty() || hidden == "." || hidden == "..") return refuse(path, "hides nothing");
  if (form_ == Form::MergeErase) {
    has_parent_ = false;
    return remove_tree(parent, hidden);
  }
  if (form_ == Form::Overlay && !is_below(hidden)) return {};
  if (mknodat(parent, hidden.c_str(), S_IFCHR | 0600, makedev(0, 0)) == 0) return {};
  if (errno != EEXIST) return failed(path);
  // This layer has it too: a file hides the one below by itself, a folder must not show through.
  const OwnedFd made(openat(parent, hidden.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  return made ? hide_all(made.get()) : Status();
}

Status Unpacker::make_implicit(int at, const std::string& name, const std::string& path) {
  if (budget_.files == 0) return Error{Errc::LimitExceeded, "image has too many files"};
  budget_.files--;
  if (mkdirat(at, name.c_str(), 0700) != 0 && errno != EEXIST) return failed(path);
  struct stat about {};
  about.st_mode = kImplicitFolderMode;
  for (const int layer : lower_) {
    const OwnedFd there(open_beneath(layer, path, O_PATH | O_DIRECTORY, 0, RESOLVE_NO_SYMLINKS));
    if (there && fstat(there.get(), &about) == 0) break;
  }
  folders_.push_back({path, about.st_mode & kModeBits, about.st_uid, about.st_gid, about.st_mtim.tv_sec});
  return {};
}

// When `name` in the folder at `done` is a link, here or in a layer below, puts what it stands for in
// front of `todo`.
Result<bool> Unpacker::follow(const std::string& path, int at, const std::string& name,
                              std::vector<std::string>& done, std::deque<std::string>& todo) {
  struct stat about {};
  std::string target;
  if (fstatat(at, name.c_str(), &about, AT_SYMLINK_NOFOLLOW) == 0) {
    if (!S_ISLNK(about.st_mode)) return false;
    auto text = read_link(at, name);
    if (!text) return text.error();
    target = std::move(*text);
    // In a merged tree it may be another layer's link.
    const bool is_out = target.starts_with('/') && !is_merge();
    if (is_out) return refuse(path, "leads through a link out of the image");
  } else {
    const std::string place = join(done) + (done.empty() ? "" : "/");
    for (const int layer : lower_) {
      const OwnedFd folder(open_beneath(layer, join(done), O_PATH | O_DIRECTORY, 0, RESOLVE_NO_SYMLINKS));
      if (!folder || fstatat(folder.get(), name.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0) continue;
      if (!S_ISLNK(about.st_mode)) return false;
      auto text = read_link(folder.get(), name);
      if (!text) return text.error();
      target = std::move(*text);
      break;
    }
    if (target.empty()) return false;
  }
  auto parts = parts_of(target, true);
  if (!parts) return parts.error();
  if (target.starts_with('/')) done.clear();
  todo.insert(todo.begin(), parts->begin(), parts->end());
  return true;
}

Result<int> Unpacker::enter(const std::string& path, std::vector<std::string>& parts, bool makes) {
  std::deque<std::string> todo(parts.begin(), parts.end());
  std::vector<std::string> done;
  OwnedFd at(open_beneath(root_, ".", O_RDONLY | O_DIRECTORY));
  int links = 0;
  while (!todo.empty()) {
    const std::string name = std::move(todo.front());
    todo.pop_front();
    if (name == "..") {
      // Only links hold it.
      if (done.empty() && !is_merge()) return refuse(path, "leads through a link out of the image");
      if (!done.empty()) done.pop_back();
    } else {
      const size_t depth = done.size();
      auto is_link = follow(path, at.get(), name, done, todo);
      if (!is_link) return is_link.error();
      if (*is_link && ++links > kLinksMax) return refuse(path, "leads through too many links");
      if (*is_link && done.size() == depth) continue;
      if (!*is_link) done.push_back(name);
    }
    if (done.size() > kPathPartsMax) return refuse(path, "is nested too deep");
    const std::string so_far = join(done);
    OwnedFd next(open_beneath(root_, so_far, O_RDONLY | O_DIRECTORY, 0, RESOLVE_NO_SYMLINKS));
    if (!next && errno == ENOENT && makes && !done.empty()) {
      if (Status made = make_implicit(at.get(), done.back(), so_far); !made) return made.error();
      next.reset(open_beneath(root_, so_far, O_RDONLY | O_DIRECTORY, 0, RESOLVE_NO_SYMLINKS));
    }
    if (!next && !makes && (errno == ENOENT || errno == ENOTDIR)) return -1;
    if (!next) return failed(path);
    at = std::move(next);
  }
  parts = std::move(done);
  const int fd = fcntl(at.get(), F_DUPFD_CLOEXEC, 3);
  if (fd < 0) return system_error("dup", errno);
  return fd;
}

// Modes last: a folder may be one its owner cannot write to.
Status Unpacker::finish_folders() {
  for (const FolderFacts& folder : folders_) {
    const OwnedFd fd(open_beneath(root_, folder.path, O_RDONLY | O_DIRECTORY, 0, RESOLVE_NO_SYMLINKS));
    if (!fd) continue;  // another entry took its place
    if (has_owners() && fchown(fd.get(), folder.uid, folder.gid) != 0) return failed(folder.path);
    // Without root's rights we could not read our own folders otherwise.
    const mode_t mode = has_owners() ? folder.mode : folder.mode | 0700;
    if (fchmod(fd.get(), mode) != 0) return failed(folder.path);
    const timespec times[2] = {{folder.modified_s, 0}, {folder.modified_s, 0}};
    futimens(fd.get(), times);
  }
  return {};
}

}  // namespace

Status unpack_tar(TarReader& tar, int root, Form form, const std::vector<int>& lower, Budget& budget) {
  return Unpacker(tar, root, form, lower, budget).run();
}

bool can_make_whiteouts(int folder) {
  const std::string name = "probe-" + std::to_string(getpid());
  bool can = mkdirat(folder, name.c_str(), 0700) == 0 || errno == EEXIST;
  if (can) {
    const OwnedFd made(openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    can = made && fsetxattr(made.get(), kOpaqueAttribute, "y", 1, 0) == 0 &&
          mknodat(made.get(), "w", S_IFCHR | 0600, makedev(0, 0)) == 0;
  }
  std::ignore = remove_tree(folder, name);
  return can;
}

}  // namespace brokkr::sandbox::image
