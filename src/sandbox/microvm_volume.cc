#include "sandbox/microvm_volume.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "sandbox/microvm.h"
#include "sandbox/microvm_tree.h"

namespace brokkr::sandbox::microvm {
namespace {

using image::OwnedFd;

constexpr const char* kFormatPrograms[] = {"/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4", "/usr/bin/mkfs.ext4"};

std::string format_program() {
  for (const char* path : kFormatPrograms) {
    if (access(path, X_OK) == 0) return path;
  }
  return {};
}

// Its output goes nowhere: the exit code says enough of an empty file.
Status format(const std::string& path) {
  const std::string program = format_program();
  if (program.empty()) return Error{Errc::Unsupported, "volumes of microVMs need mkfs.ext4 (package e2fsprogs)"};
  std::string words[] = {program, "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0", path};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  char locale[] = "LC_ALL=C";
  char* environment[] = {locale, nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  const int failure = posix_spawn(&pid, program.c_str(), &actions, nullptr, arguments.data(), environment);
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) return system_error(program.c_str(), failure);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) return Error{Errc::System, program + " could not make " + path};
  return {};
}

// Under another name first: an image that is there is whole.
Status make_image(const std::string& path) {
  const std::string part = path + ".part";
  unlink(part.c_str());
  {
    const OwnedFd fd(open(part.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd || ftruncate(fd.get(), static_cast<off_t>(kVolumeBytes)) != 0) return system_error(part.c_str(), errno);
  }
  if (Status done = format(part); !done) {
    unlink(part.c_str());
    return done;
  }
  // The monitor is somebody else; the folder is the node's alone.
  chmod(part.c_str(), 0666);
  if (rename(part.c_str(), path.c_str()) != 0) return system_error(path.c_str(), errno);
  return {};
}

Result<Disk> open_writable(const Bind& bind) {
  Disk disk{volume_disk_of(bind.source), bind.target, true, {}};
  if (access(disk.path.c_str(), F_OK) != 0) {
    std::error_code failure;
    if (!std::filesystem::is_empty(bind.source, failure) && !failure) {
      return Error{Errc::Unsupported, "the volume " + bind.source + " holds files of a program in another sandbox, and a microVM keeps its volumes "
                                      "as images: give it another name, or empty it"};
    }
    if (Status made = make_image(disk.path); !made) return made.error();
  }
  disk.lock.reset(open(disk.path.c_str(), O_RDWR | O_CLOEXEC));
  if (!disk.lock) return system_error(disk.path.c_str(), errno);
  if (flock(disk.lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return Error{Errc::Unavailable, "the volume " + bind.source + " is in use by another microVM, and a disk has one user at a time: stop that one first"};
  }
  return disk;
}

}  // namespace

Result<Disk> open_volume(const Bind& bind, const std::string& folder, const std::string& name) {
  if (bind.is_writable) return open_writable(bind);
  auto tree = tree_of_folder(bind.source);
  if (!tree) return tree.error();
  Disk disk{folder + "/" + name, bind.target, false, {}};
  if (auto written = write_tree_image(*tree, disk.path); !written) return written.error();
  return disk;
}

}  // namespace brokkr::sandbox::microvm
