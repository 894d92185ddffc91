#include "sandbox/microvm_qemu.h"

#include <algorithm>

namespace brokkr::sandbox::microvm {
namespace {

constexpr uint64_t kMiB = 1U << 20;
constexpr uint64_t kGuestKernelBytes = 96 * kMiB;
constexpr uint64_t kUsualProgramBytes = 128 * kMiB;
constexpr uint32_t kCpusMax = 8;

}  // namespace

std::string inner_disk(size_t index) { return "/vm-disk" + std::to_string(index); }

std::string disk_serial(size_t index) { return "brokkr-" + std::to_string(index); }

Machine size_machine(const ProgramLimits& limits) {
  Machine out;
  const uint64_t program = limits.memory_bytes != 0 ? limits.memory_bytes : kUsualProgramBytes;
  out.memory_bytes = (program + kGuestKernelBytes + kMiB - 1) / kMiB * kMiB;
  out.cpus = std::clamp<uint32_t>((limits.cpu_millis + 999) / 1000, 1, kCpusMax);
  return out;
}

std::string kernel_arguments(MicroVmKind kind, const Machine& machine) {
  std::string line = "console=ttyS0 quiet loglevel=3 reboot=t panic=-1 random.trust_cpu=on ";
  if (kind == MicroVmKind::Firecracker) return line + "pci=off brokkr.port=vsock:1024";
  // An emulated machine with ACPI has no clock but its processor's counter, and nothing to measure that by.
  if (kind == MicroVmKind::QemuEmulated && machine.counter_khz != 0) {
    line += "tsc_early_khz=" + std::to_string(machine.counter_khz) + " tsc=reliable ";
  }
  return line + "brokkr.port=vport0p1";
}

std::vector<std::string> qemu_arguments(MicroVmKind kind, const std::string& monitor, const Machine& machine) {
  const bool is_kvm = kind == MicroVmKind::QemuKvm;
  std::vector<std::string> out = {monitor};
  const auto add = [&](const char* flag, std::string value) {
    out.emplace_back(flag);
    out.push_back(std::move(value));
  };
  // The guest's kernel finds virtio by ACPI alone.
  add("-M", "microvm,x-option-roms=off,rtc=on,isa-serial=on,acpi=on");
  add("-accel", is_kvm ? "kvm" : "tcg,tb-size=64");
  add("-cpu", is_kvm ? "host" : "max");
  add("-m", std::to_string(machine.memory_bytes / kMiB));
  add("-smp", std::to_string(machine.cpus));
  for (const char* flag : {"-nodefaults", "-no-user-config", "-no-reboot"}) out.emplace_back(flag);
  add("-display", "none");
  add("-monitor", "none");
  add("-serial", "stdio");
  add("-bios", kInnerFirmware);
  add("-kernel", kInnerKernel);
  add("-initrd", kInnerInitramfs);
  add("-append", kernel_arguments(kind, machine));
  add("-chardev", std::string("socket,id=link,path=") + kInnerFolder + "/" + kSocketName);
  add("-device", "virtio-serial-device");
  add("-device", "virtserialport,chardev=link,name=brokkr");
  for (size_t i = 0; i < machine.disks.size(); ++i) {
    const std::string id = "disk" + std::to_string(i);
    const bool is_writable = machine.disks[i].is_writable;
    add("-drive", "if=none,format=raw,id=" + id + ",file=" + inner_disk(i) + ",readonly=" + (is_writable ? "off,discard=unmap" : "on"));
    add("-device", "virtio-blk-device,drive=" + id + ",serial=" + disk_serial(i));
  }
  return out;
}

}  // namespace brokkr::sandbox::microvm
