#pragma once

#include <cstdint>

namespace brokkr::broker {

// Messages and bytes (payload with headers, without protocol) through one connection or loop.
struct Traffic {
  uint64_t in_msgs = 0;
  uint64_t in_bytes = 0;
  uint64_t out_msgs = 0;
  uint64_t out_bytes = 0;
};

}  // namespace brokkr::broker
