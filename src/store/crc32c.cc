#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "store/little_endian.h"
#include "store/record.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace brokkr::store {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // Castagnoli's, lowest power first

using CrcTables = std::array<std::array<uint32_t, 256>, 8>;

// Table k advances a byte by k further zero bytes, so that eight bytes are eight look-ups.
constexpr CrcTables make_crc_tables() {
  CrcTables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < 8; ++k) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t before = tables[k - 1][byte];
      tables[k][byte] = (before >> 8) ^ tables[0][before & 0xff];
    }
  }
  return tables;
}

constexpr CrcTables kCrcTables = make_crc_tables();

uint32_t crc_by_table(const char* data, size_t size, uint32_t crc) {
  for (; size >= 8; data += 8, size -= 8) {
    const uint64_t word = load_le<uint64_t>(data) ^ crc;
    crc = 0;
    for (size_t i = 0; i < 8; ++i) crc ^= kCrcTables[7 - i][(word >> (8 * i)) & 0xff];
  }
  for (; size > 0; ++data, --size) {
    crc = (crc >> 8) ^ kCrcTables[0][(crc ^ static_cast<uint8_t>(*data)) & 0xff];
  }
  return crc;
}

#if defined(__x86_64__)

// x to the power `n` modulo the polynomial, lowest power in the highest bit.
constexpr uint32_t power_of_x(size_t n) {
  uint32_t value = 0x80000000;
  for (; n > 0; --n) value = (value >> 1) ^ ((value & 1) != 0 ? kPolynomial : 0);
  return value;
}

// The instruction takes one word a cycle but answers after three: three thirds of `3 * kBlock` bytes
// are summed side by side, then put together by multiplying the first two with the power of x that
// the bytes behind them stand for (33 less: carry-less multiply and reduction add those).
template <size_t kBlock>
__attribute__((target("sse4.2,pclmul"))) inline uint32_t crc_of_thirds(const char* data, uint32_t crc) {
  constexpr uint32_t kTwoBlocks = power_of_x(16 * kBlock - 33);
  constexpr uint32_t kOneBlock = power_of_x(8 * kBlock - 33);
  uint64_t a = crc;
  uint64_t b = 0;
  uint64_t c = 0;
  for (size_t i = 0; i < kBlock; i += 8) {
    a = _mm_crc32_u64(a, load_le<uint64_t>(data + i));
    b = _mm_crc32_u64(b, load_le<uint64_t>(data + kBlock + i));
    c = _mm_crc32_u64(c, load_le<uint64_t>(data + 2 * kBlock + i));
  }
  const __m128i high = _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<int64_t>(a)),
                                            _mm_cvtsi64_si128(kTwoBlocks), 0);
  const __m128i low = _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<int64_t>(b)),
                                           _mm_cvtsi64_si128(kOneBlock), 0);
  const auto both = static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_xor_si128(high, low)));
  return static_cast<uint32_t>(c ^ _mm_crc32_u64(0, both));
}

__attribute__((target("sse4.2,pclmul"))) uint32_t crc_by_instruction(const char* data, size_t size,
                                                                      uint32_t crc) {
  for (; size >= 3 * 2048; data += 3 * 2048, size -= 3 * 2048) crc = crc_of_thirds<2048>(data, crc);
  for (; size >= 3 * 256; data += 3 * 256, size -= 3 * 256) crc = crc_of_thirds<256>(data, crc);
  for (; size >= 3 * 64; data += 3 * 64, size -= 3 * 64) crc = crc_of_thirds<64>(data, crc);
  uint64_t wide = crc;
  for (; size >= 8; data += 8, size -= 8) wide = _mm_crc32_u64(wide, load_le<uint64_t>(data));
  crc = static_cast<uint32_t>(wide);
  if ((size & 4) != 0) {
    crc = _mm_crc32_u32(crc, load_le<uint32_t>(data));
    data += 4;
  }
  if ((size & 2) != 0) {
    crc = _mm_crc32_u16(crc, load_le<uint16_t>(data));
    data += 2;
  }
  if ((size & 1) != 0) crc = _mm_crc32_u8(crc, static_cast<uint8_t>(*data));
  return crc;
}

// Asked once. False until then, which is as right and only slower.
const bool kHasCrcInstruction = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");

#endif

}  // namespace

uint32_t crc32c(std::string_view bytes, uint32_t seed) {
#if defined(__x86_64__)
  if (kHasCrcInstruction) [[likely]] {
    return ~crc_by_instruction(bytes.data(), bytes.size(), ~seed);
  }
#endif
  return crc32c_portable(bytes, seed);
}

uint32_t crc32c_portable(std::string_view bytes, uint32_t seed) {
  return ~crc_by_table(bytes.data(), bytes.size(), ~seed);
}

}  // namespace brokkr::store
