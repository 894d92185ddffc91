#include "sandbox/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
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

constexpr uint64_t kCpuPeriodUs = 100'000;

// The number after `key` in a text of "key number" lines; a text of one number has no key.
uint64_t number_in(const std::string& text, std::string_view key) {
  for (const std::string_view line : split(text, '\n')) {
    if (key.empty()) return parse_uint(trim(line)).value_or(0);
    if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == ' ') {
      return parse_uint(trim(line.substr(key.size()))).value_or(0);
    }
  }
  return 0;
}

}  // namespace

std::vector<std::string> Cgroup::folders() const {
  std::vector<std::string> found;
  for (const std::string* folder : {&memory_folder_, &pids_folder_, &cpu_folder_, &io_folder_}) {
    if (folder->empty() || std::find(found.begin(), found.end(), *folder) != found.end()) continue;
    found.push_back(*folder);
  }
  return found;
}

Cgroup::~Cgroup() {
  for (std::string& folder : folders()) {
    if (rmdir(folder.c_str()) == 0 || errno == ENOENT) continue;
    tree_->leftovers_.push_back(std::move(folder));
  }
}

Status Cgroup::add(pid_t pid) {
  for (const std::string& folder : folders()) {
    if (Status s = write_text(folder + "/cgroup.procs", std::to_string(pid)); !s) return s;
  }
  return {};
}

Status Cgroup::limit(const CgroupLimits& limits) { return tree_->set_limits(*this, limits); }

Result<std::vector<int>> Cgroup::open_entries() const {
  std::vector<int> opened;
  for (const std::string& folder : folders()) {
    const int fd = ::open((folder + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
      const int error = errno;
      for (const int other : opened) close(other);
      return system_error(folder.c_str(), error);
    }
    opened.push_back(fd);
  }
  return opened;
}

bool Cgroup::had_memory_kill() const {
  if (memory_folder_.empty()) return false;
  for (const char* file : {"/memory.events", "/memory.oom_control"}) {
    if (number_in(read_text(memory_folder_ + file), "oom_kill") != 0) return true;
  }
  return false;
}

void Cgroup::kill_all() const {
  for (const std::string& folder : folders()) {
    if (write_text(folder + "/cgroup.kill", "1")) return;
    const std::string processes = read_text(folder + "/cgroup.procs");
    for (const std::string_view line : split(processes, '\n')) {
      const auto pid = parse_uint(line);
      if (pid && *pid > 1) kill(static_cast<pid_t>(*pid), SIGKILL);
    }
    return;
  }
}

CgroupUsage Cgroup::usage() const {
  CgroupUsage usage;
  const bool is_version_2 = tree_->is_version_2_;
  if (!memory_folder_.empty()) {
    const char* file = is_version_2 ? "/memory.current" : "/memory.usage_in_bytes";
    usage.memory_bytes = number_in(read_text(memory_folder_ + file), "");
  }
  if (!pids_folder_.empty()) {
    usage.pids = static_cast<uint32_t>(number_in(read_text(pids_folder_ + "/pids.current"), ""));
  }
  if (!cpu_folder_.empty()) {
    // Version 1 counts in another controller, which is mostly mounted together with this one.
    usage.cpu_ns = is_version_2
                       ? number_in(read_text(cpu_folder_ + "/cpu.stat"), "usage_usec") * 1000
                       : number_in(read_text(cpu_folder_ + "/cpuacct.usage"), "");
  }
  return usage;
}

uint32_t Cgroup::layers() const {
  return (memory_folder_.empty() ? 0U : uint32_t{kCgroupMemory}) |
         (pids_folder_.empty() ? 0U : uint32_t{kCgroupPids}) |
         (cpu_folder_.empty() ? 0U : uint32_t{kCgroupCpu}) |
         (io_folder_.empty() ? 0U : uint32_t{kCgroupIo});
}

std::unique_ptr<CgroupTree> CgroupTree::open(const std::string& mount_root, const std::string& self,
                                             const std::string& disks) {
  std::unique_ptr<CgroupTree> tree(new CgroupTree);
  const std::string self_text = read_text(self);
  if (!tree->open_version_2(mount_root + group_path(self_text, ""))) {
    tree->open_version_1(mount_root, self_text);
  }
  tree->find_disks(disks);
  return tree;
}

bool CgroupTree::open_version_2(const std::string& folder) {
  const std::string controllers = read_text(folder + "/cgroup.controllers");
  if (!has_word(controllers, "memory")) return false;
  const std::string control = "/cgroup.subtree_control";
  // Children get a controller only when their parent hands it down, and a group that does has no
  // processes of its own: a service manager that delegates sees to that.
  const bool is_handed_down = has_word(read_text(folder + control), "memory") ||
                              write_text(folder + control, "+memory +pids").operator bool();
  if (is_handed_down) remove_stale(folder);
  const std::string own = folder + own_name();
  if (!is_handed_down || (mkdir(own.c_str(), 0755) != 0 && errno != EEXIST)) return false;
  if (!write_text(own + control, "+memory +pids")) {
    rmdir(own.c_str());
    return false;
  }
  is_version_2_ = true;
  memory_folder_ = pids_folder_ = own;
  // These two are often not delegated.
  const auto try_controller = [&](const char* name, std::string& kept) {
    if (!has_word(controllers, name)) return;
    const std::string word = std::string("+") + name;
    const bool is_there = has_word(read_text(folder + control), name) ||
                          write_text(folder + control, word).operator bool();
    if (is_there && write_text(own + control, word)) kept = own;
  };
  try_controller("cpu", cpu_folder_);
  try_controller("io", io_folder_);
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
  open_one("cpu", cpu_folder_);
  open_one("blkio", io_folder_);
}

void CgroupTree::find_disks(const std::string& folder) {
  DIR* disks = opendir(folder.c_str());
  if (disks == nullptr) return;
  while (const dirent* entry = readdir(disks)) {
    if (entry->d_name[0] == '.') continue;
    const std::string number = read_text(folder + "/" + entry->d_name + "/dev");
    if (!number.empty()) disks_.emplace_back(trim(number));
  }
  closedir(disks);
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
  for (const std::string* folder : {&memory_folder_, &pids_folder_, &cpu_folder_, &io_folder_}) {
    if (!folder->empty()) rmdir(folder->c_str());
  }
}

uint32_t CgroupTree::layers() const {
  return (memory_folder_.empty() ? 0U : uint32_t{kCgroupMemory}) |
         (pids_folder_.empty() ? 0U : uint32_t{kCgroupPids}) |
         (cpu_folder_.empty() ? 0U : uint32_t{kCgroupCpu}) |
         (io_folder_.empty() ? 0U : uint32_t{kCgroupIo});
}

Result<std::unique_ptr<Cgroup>> CgroupTree::make(std::string_view name, const CgroupLimits& limits,
                                                 uint32_t layers_off) {
  if ((layers() & ~layers_off) == 0) return std::unique_ptr<Cgroup>();
  remove_leftovers();
  std::unique_ptr<Cgroup> group(new Cgroup(*this));
  const std::string tail = "/" + std::string(name);
  struct Place {
    uint32_t layer;
    const std::string& parent;
    std::string& folder;
  };
  for (const Place& place : {Place{kCgroupMemory, memory_folder_, group->memory_folder_},
                             Place{kCgroupPids, pids_folder_, group->pids_folder_},
                             Place{kCgroupCpu, cpu_folder_, group->cpu_folder_},
                             Place{kCgroupIo, io_folder_, group->io_folder_}}) {
    if (place.parent.empty() || (layers_off & place.layer) != 0) continue;
    if (mkdir((place.parent + tail).c_str(), 0755) != 0 && errno != EEXIST) {
      return system_error((place.parent + tail).c_str(), errno);
    }
    place.folder = place.parent + tail;
  }
  if (Status s = set_limits(*group, limits); !s) return s.error();
  return group;
}

Status CgroupTree::set_limits(const Cgroup& group, const CgroupLimits& limits) const {
  if (!group.memory_folder_.empty() && limits.memory_bytes_max != 0) {
    const char* file = is_version_2_ ? "/memory.max" : "/memory.limit_in_bytes";
    const std::string value = std::to_string(limits.memory_bytes_max);
    if (Status s = write_text(group.memory_folder_ + file, value); !s) return s;
    // Where swap is counted: no way around the limit. Kernels may be built without.
    const char* swap = is_version_2_ ? "/memory.swap.max" : "/memory.memsw.limit_in_bytes";
    (void)write_text(group.memory_folder_ + swap, is_version_2_ ? "0" : value).operator bool();
  }
  if (!group.pids_folder_.empty() && limits.pids_max != 0) {
    const Status s = write_text(group.pids_folder_ + "/pids.max", std::to_string(limits.pids_max));
    if (!s) return s;
  }
  if (!group.cpu_folder_.empty() && limits.cpu_millis != 0) {
    const std::string quota = std::to_string(limits.cpu_millis * kCpuPeriodUs / 1000);
    const std::string period = std::to_string(kCpuPeriodUs);
    const Status s = is_version_2_
                         ? write_text(group.cpu_folder_ + "/cpu.max", quota + " " + period)
                         : write_text(group.cpu_folder_ + "/cpu.cfs_quota_us", quota);
    if (!s) return s;
  }
  if (!group.io_folder_.empty() && limits.io_bytes_per_second != 0) {
    return limit_disks(group, limits.io_bytes_per_second);
  }
  return {};
}

// A disk the controller does not know (without a queue of its own) is left out.
Status CgroupTree::limit_disks(const Cgroup& group, uint64_t bytes_per_second) const {
  const std::string rate = std::to_string(bytes_per_second);
  for (const std::string& disk : disks_) {
    if (is_version_2_) {
      (void)write_text(group.io_folder_ + "/io.max", disk + " rbps=" + rate + " wbps=" + rate)
          .operator bool();
      continue;
    }
    for (const char* file : {"/blkio.throttle.read_bps_device", "/blkio.throttle.write_bps_device"}) {
      (void)write_text(group.io_folder_ + file, disk + " " + rate).operator bool();
    }
  }
  return {};
}

}  // namespace brokkr::sandbox
