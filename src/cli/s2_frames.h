#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace brokkr::cli {

// Looks over an S2 (framed Snappy) stream as it passes by, without decompressing it: how many bytes
// it stands for, and how its content begins. A value type.
class S2Frames {
 public:
  void add(std::string_view bytes);

  uint64_t uncompressed_bytes() const { return uncompressed_; }
  // The first bytes of the content as far as the first block shows them plainly.
  const std::string& beginning() const { return beginning_; }

 private:
  void on_chunk_start();
  std::string start_;       // of the current chunk: its header and what we look at of its body
  uint64_t body_left_ = 0;  // bytes of the current chunk still to come
  bool has_header_ = false;
  uint64_t uncompressed_ = 0;
  std::string beginning_;
};

}  // namespace brokkr::cli
