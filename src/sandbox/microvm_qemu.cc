#include "sandbox/microvm_qemu.h"

#include <algorithm>

#include "sandbox/microvm_wire.h"

namespace brokkr::sandbox::microvm {
namespace {

constexpr uint64_t kMiB = 1U << 20;
constexpr uint64_t kGuestKernelBytes = 96 * kMiB;
constexpr uint64_t kUsualProgramBytes = 128 * kMiB;
constexpr uint32_t kCpusMax = 8;

}  // namespace

Machine size_machine(const ProgramLimits& limits, uint64_t root_bytes) {
  Machine out;
  const uint64_t program = limits.memory_bytes != 0 ? limits.memory_bytes : kUsualProgramBytes;
  // While the kernel unpacks it, the root is there twice.
  const uint64_t bytes = program + kGuestKernelBytes + 2 * root_bytes;
  out.memory_bytes = (bytes + kMiB - 1) / kMiB * kMiB;
  out.cpus = std::clamp<uint32_t>((limits.cpu_millis + 999) / 1000, 1, kCpusMax);
  return out;
}

std::string kernel_arguments(MicroVmKind kind) {
  const std::string usual = "console=ttyS0 quiet loglevel=3 reboot=t panic=-1 random.trust_cpu=on ";
  switch (kind) {
    case MicroVmKind::Firecracker: return usual + "pci=off nomodule brokkr.port=vsock:1024";
    case MicroVmKind::QemuKvm: return usual + "brokkr.port=vport0p1";
    default: return usual + "8250.nr_uarts=2 brokkr.port=ttyS1";
  }
}

uint32_t link_window(MicroVmKind kind) {
  return kind == MicroVmKind::QemuEmulated ? wire::kSerialWindowBytes : wire::kLinkWindowBytes;
}

std::vector<std::string> qemu_arguments(MicroVmKind kind, const std::string& monitor, const Machine& machine) {
  const bool is_kvm = kind == MicroVmKind::QemuKvm;
  std::vector<std::string> out = {monitor};
  const auto add = [&](const char* flag, std::string value) {
    out.emplace_back(flag);
    out.push_back(std::move(value));
  };
  // Without ACPI the kernel finds its clocks by the PIT, which emulation needs, and without it no virtio:
  // there a second serial port is the link.
  add("-M", std::string("microvm,x-option-roms=off,rtc=on,isa-serial=on") + (is_kvm ? "" : ",acpi=off,pit=on,pic=on"));
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
  add("-append", kernel_arguments(kind));
  add("-chardev", std::string("socket,id=link,path=") + kInnerFolder + "/" + kSocketName);
  if (is_kvm) {
    add("-device", "virtio-serial-device");
    add("-device", "virtserialport,chardev=link,name=brokkr");
  } else {
    add("-device", "isa-serial,chardev=link,iobase=0x2f8,irq=3,index=1");
  }
  return out;
}

}  // namespace brokkr::sandbox::microvm
