// The bytes of an EROFS image: a superblock, a table of inodes, then the blocks of each in turn.
//
//   0            nothing, up to the superblock at byte 1024
//   4096         inodes of 64 bytes; their number ("nid") counts units of 32 bytes from byte 0
//   then         each entry's blocks of 4096 bytes: a file's bytes, a link's target, or a folder's entries
//
// A folder's block is a run of 12-byte entries (nid, offset of the name, kind) in the order of their names, and the
// names behind them. All numbers are little-endian.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <vector>

#include "sandbox/image_files.h"
#include "sandbox/microvm_tree.h"

namespace brokkr::sandbox::microvm {
namespace {

using image::OwnedFd;

constexpr uint64_t kBlockBytes = 4096;
constexpr uint64_t kBlockBits = 12;
constexpr uint64_t kSuperblockAt = 1024;
constexpr uint32_t kMagic = 0xE0F5E1E2;
constexpr size_t kInodeBytes = 64;
constexpr uint64_t kNidBytes = 32;
constexpr size_t kDirentBytes = 12;
constexpr uint16_t kExtendedPlainInode = 1;
constexpr size_t kImageCopyBytes = 1U << 20;
enum FileKind : uint8_t { kKindRegular = 1, kKindFolder = 2, kKindLink = 7 };

// Numbers at places of a run of bytes.
class Fields {
 public:
  explicit Fields(size_t size) : bytes_(size, '\0') {}
  template <typename Number>
  Fields& put(size_t at, Number value) {
    for (size_t i = 0; i < sizeof(Number); ++i) bytes_[at + i] = static_cast<char>(static_cast<uint64_t>(value) >> (8 * i));
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

struct Node {
  const TreeEntry* entry = nullptr;
  std::string content;  // of a folder or a link
  uint64_t size = 0;
  uint64_t block = 0;   // its first one
  uint32_t names = 0;
  size_t parent = 0;
  std::vector<std::pair<std::string, size_t>> children;  // of a folder, by name
};

uint64_t blocks_of(uint64_t bytes) { return (bytes + kBlockBytes - 1) / kBlockBytes; }
uint64_t nid_of(size_t index) { return (kBlockBytes + index * kInodeBytes) / kNidBytes; }

class TreeImage {
 public:
  explicit TreeImage(const Tree& tree) : tree_(tree) {}
  Status plan();
  Status write(int fd) const;
  uint64_t bytes() const { return blocks_ * kBlockBytes; }

 private:
  Status add_nodes();
  Status read_link(Node& node) const;
  void lay_out_folder(size_t index);
  FileKind kind_of(size_t index) const;
  std::string superblock() const;
  std::string inode(size_t index) const;
  Status copy(int fd, const Node& node) const;

  const Tree& tree_;
  std::vector<Node> nodes_;
  uint64_t blocks_ = 0;
};

FileKind TreeImage::kind_of(size_t index) const {
  const mode_t mode = nodes_[index].entry->about.st_mode;
  return S_ISDIR(mode) ? kKindFolder : S_ISLNK(mode) ? kKindLink : kKindRegular;
}

// An entry per file, also when it has several names.
Status TreeImage::add_nodes() {
  std::map<std::string, size_t> folders;
  std::map<std::pair<dev_t, ino_t>, size_t> linked;
  for (const auto& [path, entry] : tree_) {
    const bool is_root = path.empty();
    const size_t slash = path.rfind('/');
    const auto parent = folders.find(slash == std::string::npos ? "" : path.substr(0, slash));
    if (!is_root && parent == folders.end()) return Error{Errc::Corrupt, path + " is in no folder"};
    size_t index = nodes_.size();
    const bool may_be_there = S_ISREG(entry.about.st_mode) && !entry.source.empty() && entry.about.st_nlink > 1;
    if (may_be_there) index = linked.emplace(std::pair(entry.about.st_dev, entry.about.st_ino), index).first->second;
    if (index == nodes_.size()) nodes_.emplace_back().entry = &entry;
    Node& node = nodes_[index];
    node.names++;
    if (!is_root) nodes_[parent->second].children.emplace_back(path.substr(slash == std::string::npos ? 0 : slash + 1), index);
    if (S_ISDIR(entry.about.st_mode)) {
      node.parent = is_root ? 0 : parent->second;
      folders[path] = index;
    } else if (S_ISLNK(entry.about.st_mode)) {
      if (Status read = read_link(node); !read) return read;
    } else {
      node.size = entry.source.empty() ? entry.text.size() : static_cast<uint64_t>(entry.about.st_size);
    }
  }
  return {};
}

Status TreeImage::read_link(Node& node) const {
  char target[PATH_MAX];
  const ssize_t size = readlink(node.entry->source.c_str(), target, sizeof target);
  if (size < 0) return system_error(node.entry->source.c_str(), errno);
  node.content.assign(target, static_cast<size_t>(size));
  node.size = node.content.size();
  return {};
}

void TreeImage::lay_out_folder(size_t index) {
  Node& folder = nodes_[index];
  auto children = folder.children;
  children.emplace_back(".", index);
  children.emplace_back("..", folder.parent);
  std::sort(children.begin(), children.end());
  for (size_t at = 0; at < children.size();) {
    size_t count = 0;
    for (size_t used = 0; at + count < children.size(); ++count) {
      used += kDirentBytes + children[at + count].first.size();
      if (used > kBlockBytes) break;
    }
    folder.content.resize(blocks_of(folder.content.size()) * kBlockBytes);
    Fields entries(count * kDirentBytes);
    std::string names;
    for (size_t i = 0; i < count; ++i) {
      const auto& [name, child] = children[at + i];
      entries.put(i * kDirentBytes, nid_of(child));
      entries.put(i * kDirentBytes + 8, static_cast<uint16_t>(count * kDirentBytes + names.size()));
      entries.put(i * kDirentBytes + 10, uint8_t{kind_of(child)});
      names += name;
    }
    folder.content += entries.bytes() + names;
    at += count;
  }
  folder.size = folder.content.size();
  // Its own, its parent's and that of each folder in it.
  folder.names = 2 + static_cast<uint32_t>(std::count_if(folder.children.begin(), folder.children.end(), [&](const auto& child) {
                   return kind_of(child.second) == kKindFolder;
                 }));
}

Status TreeImage::plan() {
  if (Status added = add_nodes(); !added) return added;
  if (nodes_.empty() || kind_of(0) != kKindFolder) return Error{Errc::InvalidArgument, "a tree without a root"};
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (kind_of(i) == kKindFolder) lay_out_folder(i);
  }
  blocks_ = 1 + blocks_of(nodes_.size() * kInodeBytes);
  for (Node& node : nodes_) {
    node.block = node.size == 0 ? 0 : blocks_;
    blocks_ += blocks_of(node.size);
    if (bytes() > kTreeBytesMax) {
      return Error{Errc::LimitExceeded, "more than " + std::to_string(kTreeBytesMax >> 30) + " GiB do not fit the disk of a microVM"};
    }
  }
  return {};
}

std::string TreeImage::superblock() const {
  Fields out(kBlockBytes - kSuperblockAt);
  out.put(0, kMagic).put(12, static_cast<uint8_t>(kBlockBits)).put(14, static_cast<uint16_t>(nid_of(0)));
  out.put(16, static_cast<uint64_t>(nodes_.size())).put(36, static_cast<uint32_t>(blocks_));
  return out.bytes();
}

std::string TreeImage::inode(size_t index) const {
  const Node& node = nodes_[index];
  const auto& about = node.entry->about;
  Fields out(kInodeBytes);
  out.put(0, kExtendedPlainInode).put(4, static_cast<uint16_t>(about.st_mode)).put(8, node.size);
  out.put(16, static_cast<uint32_t>(node.block)).put(20, static_cast<uint32_t>(index + 1));
  out.put(24, uint32_t{about.st_uid}).put(28, uint32_t{about.st_gid});
  out.put(32, static_cast<uint64_t>(about.st_mtim.tv_sec)).put(40, static_cast<uint32_t>(about.st_mtim.tv_nsec));
  out.put(44, node.names);
  return out.bytes();
}

Status TreeImage::copy(int fd, const Node& node) const {
  const std::string& path = node.entry->source;
  const OwnedFd file(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!file) return system_error(path.c_str(), errno);
  std::string part(std::min<uint64_t>(kImageCopyBytes, node.size), '\0');
  for (uint64_t done = 0; done < node.size;) {
    const ssize_t n = read(file.get(), part.data(), std::min<uint64_t>(part.size(), node.size - done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error(path.c_str(), errno);
    if (n == 0) return Error{Errc::Corrupt, path + " became shorter"};
    if (Status written = image::write_all(fd, std::string_view(part).substr(0, static_cast<size_t>(n))); !written) return written;
    done += static_cast<uint64_t>(n);
  }
  return {};
}

// What is skipped is a hole, which reads as zeros.
Status TreeImage::write(int fd) const {
  const auto seek = [fd](uint64_t at) { return lseek(fd, static_cast<off_t>(at), SEEK_SET) >= 0; };
  if (!seek(kSuperblockAt)) return system_error("lseek", errno);
  std::string head = superblock();
  for (size_t i = 0; i < nodes_.size(); ++i) head += inode(i);
  if (Status written = image::write_all(fd, head); !written) return written;
  for (const Node& node : nodes_) {
    if (node.size == 0) continue;
    if (!seek(node.block * kBlockBytes)) return system_error("lseek", errno);
    const bool is_copied = node.content.empty() && !node.entry->source.empty();
    Status written = is_copied ? copy(fd, node) : image::write_all(fd, node.content.empty() ? node.entry->text : node.content);
    if (!written) return written;
  }
  if (ftruncate(fd, static_cast<off_t>(bytes())) != 0) return system_error("ftruncate", errno);
  return {};
}

}  // namespace

Result<uint64_t> write_tree_image(const Tree& tree, const std::string& path) {
  TreeImage image(tree);
  if (Status planned = image.plan(); !planned) return planned.error();
  const OwnedFd to(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!to) return system_error(path.c_str(), errno);
  if (Status written = image.write(to.get()); !written) return written.error();
  fchmod(to.get(), 0644);
  return image.bytes();
}

}  // namespace brokkr::sandbox::microvm
