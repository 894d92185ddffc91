#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sandbox/microvm.h"

// QEMU's microvm machine: what it is started with. Pure.
namespace brokkr::sandbox::microvm {

// Where the monitor finds its files inside its own sandbox.
constexpr const char* kInnerKernel = "/vm-kernel";
constexpr const char* kInnerInitramfs = "/vm-initramfs";
constexpr const char* kInnerFirmware = "/vm-firmware";
constexpr const char* kInnerFolder = "/vm";
constexpr const char* kSocketName = "port";

struct Machine {
  uint64_t memory_bytes = 0;
  uint32_t cpus = 1;
};
// What a guest needs for a program with these limits and a packed root of `root_bytes`.
Machine size_machine(const ProgramLimits& limits, uint64_t root_bytes);
std::vector<std::string> qemu_arguments(MicroVmKind kind, const std::string& monitor, const Machine& machine);
// The kernel's command line; it names the port the guest's init opens.
std::string kernel_arguments(MicroVmKind kind);
// Bytes that may be on their way to the guest.
uint32_t link_window(MicroVmKind kind);

}  // namespace brokkr::sandbox::microvm
