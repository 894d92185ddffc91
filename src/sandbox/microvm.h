#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "sandbox/program.h"

// Programs in a virtual machine of their own, behind the interface of program.h.
namespace brokkr::sandbox {

enum class MicroVmKind : uint8_t { None, Firecracker, QemuKvm, QemuEmulated };
const char* to_string(MicroVmKind);

struct MicroVmTools {
  MicroVmKind kind = MicroVmKind::None;
  std::string monitor;    // path of firecracker or qemu-system-x86_64
  std::string jailer;     // of Firecracker
  std::string firmware;   // of QEMU's microvm machine
  std::string kernel;     // vmlinux or bzImage
  std::string initramfs;  // with our guest init
  std::string missing;    // what is not there, for people
};

// Looks for a monitor on PATH and for what tools/microvm.sh made in `folder`: `vmlinuz`, `vmlinux`,
// `initramfs` and `accelerator`, which says "kvm" when a machine was seen to boot with it. Firecracker with its
// jailer when that is so and this is root; else QEMU, emulated: the sandbox its monitor runs in passes no
// /dev/kvm on. Never fails: `missing` says what is not there.
MicroVmTools find_microvm_tools(const std::string& folder);

// As start_program. The root (an executable linked statically, or an image) is packed into the guest's
// memory; the listeners are reachable there at the same addresses; the limits are those of the machine,
// and the root is part of its memory. QEMU runs confined as start_program confines, without network;
// Firecracker as its jailer does. Binds are not supported. Boot takes seconds under software emulation; a machine that does not
// come up ends with a reason.
Result<std::unique_ptr<Program>> start_microvm(const ProgramDeps&, const MicroVmTools&, ProgramSpec,
                                               ProgramEvents);

}  // namespace brokkr::sandbox
