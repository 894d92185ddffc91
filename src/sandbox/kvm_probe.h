#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "base/clock.h"

// Whether KVM runs guests here. A device that opens need not: under another hypervisor, or with a kernel module that
// refuses, creating a machine or running it fails or never returns.
namespace brokkr::sandbox {

enum class KvmState : uint8_t {
  Works,
  Absent,   // no device
  Refused,  // it cannot be opened
  Broken,   // it opens and runs nothing
};

struct KvmProbe {
  KvmState state = KvmState::Absent;
  std::string details;  // what happened, or why not; for people
  bool works() const { return state == KvmState::Works; }
};

// Runs a few instructions in a machine made with `device`, in a child process that is killed when it is
// not back in `timeout`. Blocks until then. Thread-safe.
KvmProbe probe_kvm(const std::string& device, Duration timeout = std::chrono::seconds(1));
// That of /dev/kvm, tried once in the life of this process.
const KvmProbe& kvm_of_this_machine();

}  // namespace brokkr::sandbox
