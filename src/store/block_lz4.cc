#include <lz4.h>

#include "store/block_compress.h"

namespace brokkr::store {

bool compress_lz4(std::string_view plain, std::string& out) {
  if (plain.size() < 32 || plain.size() > LZ4_MAX_INPUT_SIZE) return false;
  const size_t start = out.size();
  out.resize(start + plain.size() - 1);
  const int room = static_cast<int>(plain.size() - 1);
  const int size =
      LZ4_compress_default(plain.data(), &out[start], static_cast<int>(plain.size()), room);
  out.resize(start + static_cast<size_t>(size > 0 ? size : 0));
  return size > 0;
}

bool decompress_lz4(std::string_view stored, std::span<char> plain) {
  const int size = LZ4_decompress_safe(stored.data(), plain.data(), static_cast<int>(stored.size()),
                                       static_cast<int>(plain.size()));
  return size >= 0 && static_cast<size_t>(size) == plain.size();
}

}  // namespace brokkr::store
