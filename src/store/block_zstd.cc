#include <zstd.h>

#include "store/block_compress.h"

namespace brokkr::store {

bool compress_zstd(std::string_view plain, std::string& out) {
  if (plain.size() < 32) return false;
  const size_t start = out.size();
  out.resize(start + plain.size() - 1);
  const size_t size = ZSTD_compress(&out[start], plain.size() - 1, plain.data(), plain.size(), 1);
  const bool is_smaller = ZSTD_isError(size) == 0;
  out.resize(start + (is_smaller ? size : 0));
  return is_smaller;
}

bool decompress_zstd(std::string_view stored, std::span<char> plain) {
  const size_t size = ZSTD_decompress(plain.data(), plain.size(), stored.data(), stored.size());
  return ZSTD_isError(size) == 0 && size == plain.size();
}

}  // namespace brokkr::store
