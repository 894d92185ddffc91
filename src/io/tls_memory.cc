#include "io/tls_memory.h"

#include <openssl/crypto.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <mutex>

namespace brokkr::io {
namespace {

constexpr size_t kTlsPageBytes = 4096;
// Beyond the records' buffers: only the buffer of handshake messages is as large.
constexpr size_t kTlsLargeBytes = 20 << 10;
constexpr size_t kTlsLargeBytesMax = 32 << 10;

// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables): OpenSSL's hooks take no context
thread_local bool is_watching = false;
thread_local void* large_block = nullptr;
thread_local size_t large_bytes = 0;
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

void* tls_allocate(size_t bytes, const char*, int) {
  if (bytes == 0) return nullptr;
  if (!is_watching || bytes < kTlsLargeBytes || bytes > kTlsLargeBytesMax) return std::malloc(bytes);
  // On pages of its own, so that they can go without taking anything else along.
  const size_t whole = (bytes + kTlsPageBytes - 1) / kTlsPageBytes * kTlsPageBytes;
  void* block = std::aligned_alloc(kTlsPageBytes, whole);
  large_block = block;
  large_bytes = whole;
  return block;
}

void tls_free(void* block, const char*, int) {
  if (block == large_block) large_block = nullptr;
  std::free(block);
}

void* tls_reallocate(void* block, size_t bytes, const char* file, int line) {
  if (block == nullptr) return tls_allocate(bytes, file, line);
  if (bytes == 0) {
    tls_free(block, file, line);
    return nullptr;
  }
  if (block == large_block) large_block = nullptr;
  return std::realloc(block, bytes);
}

}  // namespace

void HandshakeMemory::install() {
  static std::once_flag once;
  std::call_once(once, [] { CRYPTO_set_mem_functions(tls_allocate, tls_reallocate, tls_free); });
}

HandshakeMemory::HandshakeMemory() {
  is_watching = true;
  large_block = nullptr;
}

HandshakeMemory::~HandshakeMemory() {
  is_watching = false;
  large_block = nullptr;
}

void HandshakeMemory::release() {
  if (large_block != nullptr) madvise(large_block, large_bytes, MADV_DONTNEED);
}

}  // namespace brokkr::io
