#pragma once

#include <cstddef>
#include <cstdint>

// What node and zygote say on their SOCK_SEQPACKET pair: one struct a packet, descriptors beside it.
// The zygote runs no user code, so the node trusts it.
namespace brokkr::workload {

constexpr int kZygoteControlDescriptor = 3;
constexpr int kInstanceDescriptor = 3;

// Node to zygote: fork an instance. Carries the instance's end of its socket pair.
struct ZygoteRequest {
  uint32_t number = 0;  // the node's name for the instance
};

struct ZygoteReport {
  enum Kind : uint32_t {
    kReady = 1,    // `layers` in force, engine version in `text`
    kFailed = 2,   // cannot work; `text` says why; the zygote ends
    kForked = 3,   // `number` runs; carries its pidfd
    kRefused = 4,  // `number` could not be forked; `text`
    kExited = 5,   // `number` ended: `is_signalled`, `value`
  };
  uint32_t kind = 0;
  uint32_t number = 0;
  uint32_t layers = 0;
  int32_t is_signalled = 0;
  int32_t value = 0;
  char text[236] = {};
};

// One packet, with one descriptor when `descriptor` is not -1. False with errno set on failure.
bool send_packet(int fd, const void* bytes, size_t size, int descriptor = -1);
// The size of the packet read, 0 at the end of the stream, -1 with errno set. `descriptor` is -1
// when none came; else it is close-on-exec and the caller's.
int64_t receive_packet(int fd, void* bytes, size_t size, int& descriptor);

}  // namespace brokkr::workload
