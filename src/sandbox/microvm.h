#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "sandbox/program.h"

// Programs in a virtual machine of their own, behind the interface of program.h.
namespace brokkr::sandbox {

enum class MicroVmKind : uint8_t { None, Firecracker, QemuKvm, QemuEmulated };
const char* to_string(MicroVmKind);

struct MicroVmTools {
  MicroVmKind kind = MicroVmKind::None;
  std::string folder;     // where they were looked for
  std::string monitor;    // path of firecracker or qemu-system-x86_64
  std::string jailer;     // of Firecracker
  std::string firmware;   // of QEMU's microvm machine
  std::string kernel;     // vmlinux or bzImage
  std::string initramfs;  // with our guest init
  std::string missing;    // what is not there, for people
  std::string work_folder;  // where machines have their files, set by whoever starts them; empty: $TMPDIR
};

// Looks for a monitor on PATH and for what tools/microvm.sh made in `folder`: `vmlinuz`, `vmlinux`,
// `initramfs` and `accelerator`. KVM is used when it runs guests here (kvm_probe.h) and `accelerator` does
// not say "tcg", which means that a machine did not boot with it: then Firecracker with its jailer when both
// are there and this is root, else QEMU. Never fails: `missing` says what is not there.
// Without KVM when not `may_use_kvm`.
MicroVmTools find_microvm_tools(const std::string& folder, bool may_use_kvm = true);

// The disk a microVM keeps the volume `folder` in: a file beside it, under a name no volume
// has.
std::string volume_disk_of(const std::string& folder);

// A machine did not come up with KVM: from here on those of `folder` are emulated, also after a restart where
// `accelerator` can be written. Thread-safe.
void remember_kvm_failure(const std::string& folder, const std::string& why);

// One thing microVMs need, and whether it is there.
struct MicroVmCheck {
  enum class State : uint8_t { Ok, Missing, Optional };  // Optional: missing, and microVMs run without it
  std::string name;
  State state = State::Ok;
  std::string details;  // where it is, or what to do
};
const char* to_string(MicroVmCheck::State);
// Of what find_microvm_tools would find in the first of `folders` that has all; the last one tells which monitor
// runs machines. Tries KVM the first time, see kvm_probe.h.
std::vector<MicroVmCheck> check_microvms(const std::vector<std::string>& folders);

// As start_program. The root (an executable linked statically, or an image) is a read-only disk with what is written
// to it in memory; a bind is a volume, see microvm_volume.h; the listeners are reachable in the guest at the same
// addresses; the limits are those of the machine. QEMU runs confined as start_program confines, without network;
// Firecracker as its jailer does. Boot takes seconds under software emulation. A machine that does not come up
// with KVM is emulated, which is remembered; one that does not come up at all ends with a reason.
Result<std::unique_ptr<Program>> start_microvm(const ProgramDeps&, const MicroVmTools&, ProgramSpec,
                                               ProgramEvents);

}  // namespace brokkr::sandbox
