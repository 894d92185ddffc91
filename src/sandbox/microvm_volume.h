#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "sandbox/image_files.h"
#include "sandbox/program.h"

// Volumes of microVMs: a guest's kernel has no way into a folder of the host, so a volume that can be written is
// an ext4 image beside its folder, and one that cannot is an image made of the folder at each start. Blocking;
// for a worker thread.
namespace brokkr::sandbox::microvm {

// The most a volume grows to; it takes the disk's space only as it is used.
constexpr uint64_t kVolumeBytes = 4ULL << 30;

struct Disk {
  std::string path;    // of the image on the host
  std::string target;  // where the guest mounts it
  bool is_writable = false;
  image::OwnedFd lock;  // held as long as the machine may write to it
};
// Opens the volume `bind`, making its image when there is none; read-only ones are made as `<folder>/<name>`. Fails
// with Unavailable when another machine has it, Unsupported when its folder holds files of programs in other
// sandboxes or mkfs.ext4 is not there, or System.
Result<Disk> open_volume(const Bind& bind, const std::string& folder, const std::string& name);

}  // namespace brokkr::sandbox::microvm
