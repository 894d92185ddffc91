#pragma once

#include <cstdint>

namespace brokkr::sandbox::microvm {

// How many kHz this processor's time stamp counter has, which an emulated guest sees as its own and has nothing to
// measure it by. Measured once, over some 50 ms; zero where there is none. Thread-safe, blocks meanwhile.
uint64_t counter_khz();

}  // namespace brokkr::sandbox::microvm
