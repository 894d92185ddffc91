#pragma once

#include <span>
#include <string>
#include <string_view>

#include "store/block_codec.h"

// The compression libraries, one adapter each. Pure functions.
namespace brokkr::store {

// Append the compressed form; false, with `out` as it was, when that saves nothing.
bool compress_lz4(std::string_view plain, std::string& out);
bool compress_zstd(std::string_view plain, std::string& out);
// Fill `plain` exactly, or return false. Safe on any bytes.
bool decompress_lz4(std::string_view stored, std::span<char> plain);
bool decompress_zstd(std::string_view stored, std::span<char> plain);

inline bool compress(Compression method, std::string_view plain, std::string& out) {
  return method == Compression::Lz4 ? compress_lz4(plain, out) : compress_zstd(plain, out);
}
inline bool decompress(Compression method, std::string_view stored, std::span<char> plain) {
  if (method == Compression::Lz4) return decompress_lz4(stored, plain);
  return method == Compression::Zstd && decompress_zstd(stored, plain);
}

}  // namespace brokkr::store
