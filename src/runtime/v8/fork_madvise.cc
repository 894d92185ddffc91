#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// V8 marks its heap MADV_DONTFORK, which would leave a forked instance without the heap its zygote
// prepared. This definition replaces libc's in the executable that links it (the linker must export
// it: -Wl,--export-dynamic-symbol=madvise) and drops that one advice. It lives in the executable
// because a plugin's own definition comes after libc in the search order.
extern "C" __attribute__((visibility("default"))) int madvise(void* address, size_t length,
                                                              int advice) noexcept {
  if (advice == MADV_DONTFORK) return 0;
  return static_cast<int>(syscall(SYS_madvise, address, length, advice));
}
