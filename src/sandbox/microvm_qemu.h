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
std::string inner_disk(size_t index);
// By which the guest knows it.
std::string disk_serial(size_t index);

struct MachineDisk {
  bool is_writable = false;
};
struct Machine {
  uint64_t memory_bytes = 0;
  uint32_t cpus = 1;
  uint64_t counter_khz = 0;  // of an emulated processor, see microvm_clock.h
  uint64_t io_bytes_per_second = 0;  // of each disk; 0: no limit
  std::vector<MachineDisk> disks;
};
// What a guest needs for a program with these limits.
Machine size_machine(const ProgramLimits& limits);
std::vector<std::string> qemu_arguments(MicroVmKind kind, const std::string& monitor, const Machine& machine);
// The kernel's command line; it names the port the guest's init opens.
std::string kernel_arguments(MicroVmKind kind, const Machine& machine);

}  // namespace brokkr::sandbox::microvm
