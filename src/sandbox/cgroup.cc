#include "sandbox/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/bytes.h"
#include "sandbox/layers.h"

namespace brokkr::sandbox {
namespace {

constexpr int kRemoveTriesMax = 50;
constexpr unsigned kRemovePauseUs = 2000;

std::string read_text(const std::string& path) {
  std::string text;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  char bytes[4096];
  for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0;) {
    text.append(bytes, static_cast<size_t>(n));
  }
  close(fd);
  return text;
}

Status write_text(const std::string& path, const std::string& text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return system_error(path.c_str(), errno);
  const ssize_t n = write(fd, text.data(), text.size());
  const int error = errno;
  close(fd);
  if (n != static_cast<ssize_t>(text.size())) return system_error(path.c_str(), error);
  return {};
}

// Whether `list`, split at blanks or commas, has the word.
bool has_word(std::string_view list, std::string_view word) {
  for (const char separator : {' ', ','}) {
    for (const std::string_view item : split(trim(list), separator)) {
      if (item == word) return true;
    }
  }
  return false;
}

// The path of this process's group in the hierarchy with `controller` ("" is version 2). Lines of
// the file: "4:memory:/path".
std::string group_path(const std::string& self_text, std::string_view controller) {
  for (const std::string_view line : split(self_text, '\n')) {
    const auto parts = split(line, ':');
    if (parts.size() < 3) continue;
    const bool is_wanted = controller.empty() ? parts[1].empty() : has_word(parts[1], controller);
    if (is_wanted) return std::string(line.substr(parts[0].size() + parts[1].size() + 2));
  }
  return {};
}

constexpr std::string_view kOwnPrefix = "brokkr-";

std::string own_name() { return "/" + std::string(kOwnPrefix) + std::to_string(getpid()); }

std::vector<std::string> folders_in(const std::string& parent) {
  std::vector<std::string> names;
  DIR* folder = opendir(parent.c_str());
  if (folder == nullptr) return names;
  while (const dirent* entry = readdir(folder)) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  closedir(folder);
  return names;
}

// What processes that were killed have left. A group still in use refuses to be removed.
void remove_stale(const std::string& parent) {
  for (const std::string& name : folders_in(parent)) {
    if (!name.starts_with(kOwnPrefix)) continue;
    const auto pid = parse_uint(std::string_view(name).substr(kOwnPrefix.size()));
    const bool is_gone = pid && kill(static_cast<pid_t>(*pid), 0) != 0 && errno == ESRCH;
    if (!is_gone) continue;
    const std::string stale = parent + "/" + name;
    for (const std::string& group : folders_in(stale)) rmdir((stale + "/" + group).c_str());
    rmdir(stale.c_str());
  }
}

}  // namespace

Cgroup::~Cgroup() {
  for (std::string* folder : {&memory_folder_, &pids_folder_}) {
    if (folder->empty() || rmdir(folder->c_str()) == 0 || errno == ENOENT) continue;
    tree_->leftovers_.push_back(std::move(*folder));
  }
}

Status Cgroup::add(pid_t pid) {
  for (const std::string* folder : {&memory_folder_, &pids_folder_}) {
    if (folder->empty() || (folder == &pids_folder_ && pids_folder_ == memory_folder_)) continue;
    if (Status s = write_text(*folder + "/cgroup.procs", std::to_string(pid)); !s) return s;
  }
  return {};
}

bool Cgroup::had_memory_kill() const {
  if (memory_folder_.empty()) return false;
  for (const char* file : {"/memory.events", "/memory.oom_control"}) {
    const std::string text = read_text(memory_folder_ + file);
    for (const std::string_view line : split(text, '\n')) {
      if (line.starts_with("oom_kill ") && line != "oom_kill 0") return true;
    }
  }
  return false;
}

std::unique_ptr<CgroupTree> CgroupTree::open(const std::string& mount_root,
                                             const std::string& self) {
  std::unique_ptr<CgroupTree> tree(new CgroupTree);
  const std::string self_text = read_text(self);
  if (!tree->open_version_2(mount_root + group_path(self_text, ""))) {
    tree->open_version_1(mount_root, self_text);
  }
  return tree;
}

bool CgroupTree::open_version_2(const std::string& folder) {
  const std::string controllers = read_text(folder + "/cgroup.controllers");
  if (!has_word(controllers, "memory")) return false;
  // Children get a controller only when their parent hands it down, and a group that does has no
  // processes of its own: a service manager that delegates sees to that.
  const bool is_handed_down =
      has_word(read_text(folder + "/cgroup.subtree_control"), "memory") ||
      write_text(folder + "/cgroup.subtree_control", "+memory +pids").operator bool();
  if (is_handed_down) remove_stale(folder);
  const std::string own = folder + own_name();
  if (!is_handed_down || (mkdir(own.c_str(), 0755) != 0 && errno != EEXIST)) return false;
  if (!write_text(own + "/cgroup.subtree_control", "+memory +pids")) {
    rmdir(own.c_str());
    return false;
  }
  is_version_2_ = true;
  memory_folder_ = pids_folder_ = own;
  return true;
}

void CgroupTree::open_version_1(const std::string& mount_root, const std::string& self_text) {
  const auto open_one = [&](const char* controller, std::string& folder) {
    const std::string root = mount_root + "/" + controller;
    std::string group = group_path(self_text, controller);
    // In a container the path may name a group outside of what is mounted.
    if (group.empty() || access((root + group).c_str(), W_OK) != 0) group = "/";
    if (access((root + "/cgroup.procs").c_str(), W_OK) != 0) return;
    const std::string parent = root + (group == "/" ? "" : group);
    remove_stale(parent);
    const std::string own = parent + own_name();
    if (mkdir(own.c_str(), 0755) == 0 || errno == EEXIST) folder = own;
  };
  open_one("memory", memory_folder_);
  open_one("pids", pids_folder_);
}

void CgroupTree::remove_leftovers() {
  std::erase_if(leftovers_, [](const std::string& folder) {
    return rmdir(folder.c_str()) == 0 || errno == ENOENT;
  });
}

CgroupTree::~CgroupTree() {
  // Killed processes take a moment to be gone.
  for (int i = 0; i < kRemoveTriesMax && !leftovers_.empty(); ++i) {
    remove_leftovers();
    if (!leftovers_.empty()) usleep(kRemovePauseUs);
  }
  if (!memory_folder_.empty()) rmdir(memory_folder_.c_str());
  if (!pids_folder_.empty() && pids_folder_ != memory_folder_) rmdir(pids_folder_.c_str());
}

uint32_t CgroupTree::layers() const {
  return (memory_folder_.empty() ? 0U : uint32_t{kCgroupMemory}) |
         (pids_folder_.empty() ? 0U : uint32_t{kCgroupPids});
}

Result<std::unique_ptr<Cgroup>> CgroupTree::make(std::string_view name,
                                                 const CgroupLimits& limits) {
  if (layers() == 0) return std::unique_ptr<Cgroup>();
  remove_leftovers();
  std::unique_ptr<Cgroup> group(new Cgroup(*this));
  const std::string tail = "/" + std::string(name);
  const auto make_folder = [&](const std::string& parent, std::string& folder) -> Status {
    if (parent.empty()) return {};
    if (mkdir((parent + tail).c_str(), 0755) != 0 && errno != EEXIST) {
      return system_error((parent + tail).c_str(), errno);
    }
    folder = parent + tail;
    return {};
  };
  if (Status s = make_folder(memory_folder_, group->memory_folder_); !s) return s.error();
  if (Status s = make_folder(pids_folder_, group->pids_folder_); !s) return s.error();
  if (!group->memory_folder_.empty() && limits.memory_bytes_max != 0) {
    const char* file = is_version_2_ ? "/memory.max" : "/memory.limit_in_bytes";
    const Status s = write_text(group->memory_folder_ + file,
                                std::to_string(limits.memory_bytes_max));
    if (!s) return s.error();
  }
  if (!group->pids_folder_.empty() && limits.pids_max != 0) {
    const Status s = write_text(group->pids_folder_ + "/pids.max", std::to_string(limits.pids_max));
    if (!s) return s.error();
  }
  return group;
}

}  // namespace brokkr::sandbox
