// echo.wasm: replies with its input followed by the subject. Built with
//   clang-14 --target=wasm32-wasi --sysroot=/usr -O2 -Wl,--strip-all -o examples/echo.wasm examples/echo.c
// (Debian: clang-14 lld-14 wasi-libc libclang-rt-14-dev-wasm32). read and write instead of stdio
// keep the module at 6 KB.
#include <string.h>
#include <unistd.h>

static int write_all(const char* bytes, size_t size) {
  while (size > 0) {
    ssize_t written = write(STDOUT_FILENO, bytes, size);
    if (written <= 0) return 1;
    bytes += written;
    size -= (size_t)written;
  }
  return 0;
}

int main(int argc, char** argv) {
  static char buffer[64 * 1024];
  ssize_t got;
  while ((got = read(STDIN_FILENO, buffer, sizeof buffer)) > 0) {
    if (write_all(buffer, (size_t)got)) return 1;
  }
  return argc > 1 ? write_all(argv[1], strlen(argv[1])) : 1;
}
