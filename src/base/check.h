#pragma once

// Broken invariants stop the process: CHECK is always on, DCHECK only without NDEBUG. Neither is
// ever used on bytes from outside (network, disk, workload).
namespace brokkr {

// Prints "file:line: check failed: text" to stderr and aborts.
[[noreturn]] void check_failed(const char* file, int line, const char* text);

}  // namespace brokkr

#define CHECK(condition)                                                \
  (__builtin_expect(static_cast<bool>(condition), 1)                    \
       ? static_cast<void>(0)                                           \
       : ::brokkr::check_failed(__FILE__, __LINE__, #condition))

#ifdef NDEBUG
#define DCHECK(condition) static_cast<void>(sizeof(condition))
#else
#define DCHECK(condition) CHECK(condition)
#endif
