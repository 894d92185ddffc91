#include "sandbox/guest/disks.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sandbox/guest/program.h"

namespace brokkr::sandbox::guest {
namespace {

constexpr const char* kRootDisk = "/root-disk";
constexpr const char* kChanges = "/changes";
constexpr int kDiskTries = 500;
constexpr unsigned kDiskPauseUs = 10'000;

std::string read_word(const std::string& path) {
  char text[64] = {};
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  return n <= 0 ? std::string() : std::string(text, strcspn(text, " \n"));
}

// "vda", "vdb" …: more than one machine has are never asked for.
std::string disk_at(size_t place) { return std::string("vd") + static_cast<char>('a' + place); }

std::string find_disk(const std::string& serial, size_t place) {
  bool has_serials = false;
  for (size_t i = 0; i < 26; ++i) {
    const std::string said = read_word("/sys/block/" + disk_at(i) + "/serial");
    if (said == serial) return "/dev/" + disk_at(i);
    has_serials = has_serials || said.rfind("brokkr-", 0) == 0;
  }
  const std::string path = "/dev/" + disk_at(place);
  return !has_serials && access(path.c_str(), F_OK) == 0 ? path : std::string();
}

// They come into being a moment after their module.
std::string wait_for_disk(const std::string& serial, size_t place) {
  for (int tries = 0; tries < kDiskTries; ++tries) {
    const std::string path = find_disk(serial, place);
    if (!path.empty()) return path;
    usleep(kDiskPauseUs);
  }
  return {};
}

std::string failure_of(const std::string& what) { return what + ": " + strerror(errno); }

void make_folders(const std::string& path) {
  for (size_t at = 1; at != std::string::npos;) {
    at = path.find('/', at);
    mkdir(path.substr(0, at).c_str(), 0755);
    if (at != std::string::npos) ++at;
  }
}

std::string mount_root_disk(const std::string& disk, uint64_t bytes_max) {
  for (const char* folder : {kRootDisk, kChanges, kImageRoot}) mkdir(folder, 0755);
  if (mount(disk.c_str(), kRootDisk, "erofs", MS_RDONLY | MS_NODEV | MS_NOSUID, nullptr) != 0) return failure_of("mount the root");
  std::string options = "mode=0755";
  if (bytes_max != 0) options += ",size=" + std::to_string(bytes_max);
  if (mount("tmpfs", kChanges, "tmpfs", MS_NOSUID | MS_NODEV, options.c_str()) != 0) return failure_of("tmpfs");
  const std::string changes = kChanges;
  for (const char* folder : {"/files", "/work"}) mkdir((changes + folder).c_str(), 0755);
  options = std::string("lowerdir=") + kRootDisk + ",upperdir=" + changes + "/files,workdir=" + changes + "/work";
  if (mount("overlay", kImageRoot, "overlay", MS_NOSUID | MS_NODEV, options.c_str()) != 0) return failure_of("overlay");
  return {};
}

std::string mount_volume(const std::string& disk, const wire::Disk& about) {
  const std::string place = kImageRoot + about.target;
  make_folders(place);
  const unsigned long flags = MS_NOSUID | MS_NODEV | (about.is_writable ? 0 : MS_RDONLY);
  if (mount(disk.c_str(), place.c_str(), about.is_writable ? "ext4" : "erofs", flags, about.is_writable ? "discard" : nullptr) != 0) {
    return failure_of("mount the volume " + about.target);
  }
  if (!about.is_writable) return {};
  chmod(place.c_str(), 0777);  // whoever the program is; as in the other sandboxes
  rmdir((place + "/lost+found").c_str());
  return {};
}

std::string mount_disks(const wire::Spec& spec, bool is_root) {
  std::string failure;
  for (size_t i = 0; i < spec.disks.size() && failure.empty(); ++i) {
    const wire::Disk& disk = spec.disks[i];
    if (disk.target.empty() != is_root) continue;
    const std::string path = wait_for_disk(disk.serial, i);
    if (path.empty()) return "no disk " + disk.serial + " in the machine";
    failure = is_root ? mount_root_disk(path, spec.disk_bytes) : mount_volume(path, disk);
  }
  return failure;
}

}  // namespace

std::string mount_root(const wire::Spec& spec) { return mount_disks(spec, true); }

std::string mount_volumes(const wire::Spec& spec) { return mount_disks(spec, false); }

void put_away_disks(const wire::Spec& spec) {
  if (std::none_of(spec.disks.begin(), spec.disks.end(), [](const wire::Disk& disk) { return disk.is_writable; })) return;
  sync();
  for (const wire::Disk& disk : spec.disks) {
    if (disk.is_writable) umount2((kImageRoot + disk.target).c_str(), 0);
  }
}

}  // namespace brokkr::sandbox::guest
