#include "runtime/v8/prelude_source.h"

// BROKKR_PRELUDE_FILE is the bundle's path, from CMake.
__asm__(
    ".section .rodata\n"
    ".global brokkr_prelude_begin\n"
    ".hidden brokkr_prelude_begin\n"
    "brokkr_prelude_begin:\n"
    ".incbin \"" BROKKR_PRELUDE_FILE "\"\n"
    ".global brokkr_prelude_end\n"
    ".hidden brokkr_prelude_end\n"
    "brokkr_prelude_end:\n"
    ".byte 0\n"
    ".previous\n");

extern "C" {
__attribute__((visibility("hidden"))) extern const char brokkr_prelude_begin[];
__attribute__((visibility("hidden"))) extern const char brokkr_prelude_end[];
}

namespace brokkr::runtime {

std::string_view prelude_source() {
  return {brokkr_prelude_begin, static_cast<size_t>(brokkr_prelude_end - brokkr_prelude_begin)};
}

}  // namespace brokkr::runtime
