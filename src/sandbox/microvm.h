#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "sandbox/program.h"

// Programs in a virtual machine of their own, behind the interface of program.h.
namespace brokkr::sandbox {

enum class MicroVmKind : uint8_t { None, Firecracker, QemuKvm, QemuEmulated };

struct MicroVmTools {
  MicroVmKind kind = MicroVmKind::None;
  std::string monitor;  // path of firecracker or qemu-system-x86_64
  std::string jailer;
  std::string kernel;     // vmlinux or bzImage
  std::string initramfs;  // with our guest init
  std::string missing;    // what is not there, for `node preflight`
};

// Looks for a monitor on PATH and for kernel and initramfs in `folder` (made by `brokkr node
// preflight --microvm`). Never fails: `missing` says what is not there.
MicroVmTools find_microvm_tools(const std::string& folder);

// As start_program. The root (executable or image) is packed for the guest; the listeners are reachable
// there at the same addresses; the limits are those of the machine. Boot may take seconds under software
// emulation.
Result<std::unique_ptr<Program>> start_microvm(const ProgramDeps&, const MicroVmTools&, ProgramSpec,
                                               ProgramEvents);

}  // namespace brokkr::sandbox
