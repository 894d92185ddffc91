#include "sandbox/microvm_tree.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <cerrno>

#include "sandbox/image_files.h"

namespace brokkr::sandbox::microvm {
namespace {

using image::OwnedFd;

constexpr int kTreeDepthMax = 512;
constexpr const char* kUsers = "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/tmp:/sbin/nologin\n";
constexpr const char* kGroups = "root:x:0:\nnogroup:x:65534:\n";

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
  if (depth > kTreeDepthMax) return Error{Errc::LimitExceeded, "folders are nested too deep"};
  const OwnedFd fd(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return system_error(folder.c_str(), errno);
  auto names = image::names_in(fd.get());
  if (!names) return names.error();
  for (const std::string& name : *names) {
    TreeEntry entry{folder + "/" + name, {}, {}};
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

TreeEntry made_entry(mode_t mode, std::string text = {}) {
  TreeEntry entry{{}, std::move(text), {}};
  entry.about.st_mode = mode;
  entry.about.st_nlink = 1;
  return entry;
}

Result<Tree> tree_of_program(const std::string& executable) {
  Tree tree;
  for (const char* folder : {"", "app", "dev", "etc", "proc", "tmp"}) tree[folder] = made_entry(S_IFDIR | 0755);
  tree["etc/passwd"] = made_entry(S_IFREG | 0644, kUsers);
  tree["etc/group"] = made_entry(S_IFREG | 0644, kGroups);
  TreeEntry program{executable, {}, {}};
  if (stat(executable.c_str(), &program.about) != 0) {
    if (errno == ENOENT) return Error{Errc::NotFound, "no program " + executable};
    return system_error(executable.c_str(), errno);
  }
  program.about.st_uid = program.about.st_gid = 0;
  program.about.st_mode = S_IFREG | 0755;
  program.about.st_nlink = 1;
  tree["app/" + executable.substr(executable.rfind('/') + 1)] = std::move(program);
  return tree;
}

}  // namespace

Result<Tree> tree_of_folder(const std::string& folder) {
  Tree tree;
  tree[""] = made_entry(S_IFDIR | 0755);
  if (Status added = add_folder(tree, folder, "", 0); !added) return added.error();
  return tree;
}

Result<Tree> tree_of_root(const ProgramSpec& spec) {
  if (!spec.executable.empty()) return tree_of_program(spec.executable);
  if (!spec.root.empty()) return tree_of_folder(spec.root);
  Tree tree;
  tree[""] = made_entry(S_IFDIR | 0755);
  for (auto layer = spec.lower.rbegin(); layer != spec.lower.rend(); ++layer) {
    if (Status added = add_folder(tree, *layer, "", 0); !added) return added.error();
  }
  return tree;
}

}  // namespace brokkr::sandbox::microvm
