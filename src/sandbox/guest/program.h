#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "sandbox/microvm_wire.h"

// Starting processes in the guest. Part of the guest's init.
namespace brokkr::sandbox::guest {

constexpr const char* kImageRoot = "/image";

struct Child {
  pid_t pid = -1;
  int output = -1;  // reading ends of pipes
  int error_output = -1;
  std::string failure;  // why there is none
};

// In the image's root, as its user, with its environment. One pipe for both outputs when `is_merged`.
Child start(const wire::Spec& spec, const std::vector<std::string>& arguments, bool is_merged);

// Mounts, loopback addresses, host name: what a program expects of a machine.
void furnish(const wire::Spec& spec);
// What programs use of the machine now.
struct Usage {
  uint64_t memory_bytes = 0;
  uint64_t cpu_ns = 0;
  uint32_t processes = 0;
};
Usage measure();
// How often the kernel has killed for memory.
uint64_t memory_kills();

}  // namespace brokkr::sandbox::guest
