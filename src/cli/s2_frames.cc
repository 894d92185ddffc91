#include "cli/s2_frames.h"

#include <algorithm>

namespace brokkr::cli {
namespace {

// A chunk is a type, three bytes of length, little-endian, and the body. Blocks begin with a CRC.
constexpr size_t kHeaderSize = 4;
constexpr size_t kCrcSize = 4;
constexpr size_t kPeekSize = 32;
constexpr uint8_t kCompressed = 0x00;
constexpr uint8_t kPlain = 0x01;

uint8_t byte_at(std::string_view text, size_t i) { return static_cast<uint8_t>(text[i]); }

// A varint at `at`, which is moved behind it; 0 when the text ends before.
uint64_t read_varint(std::string_view text, size_t& at) {
  uint64_t value = 0;
  for (unsigned shift = 0; at < text.size() && shift < 64; shift += 7) {
    const uint8_t byte = byte_at(text, at++);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  return 0;
}

// The literal a block begins with, as far as `block` goes.
std::string first_literal(std::string_view block) {
  size_t at = 0;
  read_varint(block, at);
  if (at >= block.size() || (block[at] & 3) != 0) return {};
  size_t length = byte_at(block, at++) >> 2;
  if (length >= 60) {
    const size_t bytes = length - 59;
    length = 0;
    for (size_t i = 0; i < bytes && at < block.size(); ++i) {
      length |= static_cast<size_t>(byte_at(block, at++)) << (8 * i);
    }
  }
  return std::string(block.substr(std::min(at, block.size()), length + 1));
}

}  // namespace

void S2Frames::on_chunk_start() {
  const uint8_t type = byte_at(start_, 0);
  const std::string_view body = std::string_view(start_).substr(kHeaderSize);
  if (body.size() < kCrcSize) return;
  const std::string_view block = body.substr(kCrcSize);
  if (type == kPlain) {
    uncompressed_ += body.size() + body_left_ - kCrcSize;
    if (beginning_.empty()) beginning_ = block;
  } else if (type == kCompressed) {
    size_t at = 0;
    uncompressed_ += read_varint(block, at);
    if (beginning_.empty()) beginning_ = first_literal(block);
  }
}

void S2Frames::add(std::string_view bytes) {
  while (!bytes.empty()) {
    if (!has_header_) {
      const size_t take = std::min(kHeaderSize - start_.size(), bytes.size());
      start_ += bytes.substr(0, take);
      bytes.remove_prefix(take);
      if (start_.size() < kHeaderSize) return;
      has_header_ = true;
      body_left_ = byte_at(start_, 1) | static_cast<uint64_t>(byte_at(start_, 2)) << 8 |
                   static_cast<uint64_t>(byte_at(start_, 3)) << 16;
    }
    const size_t wanted = kHeaderSize + kPeekSize;
    if (start_.size() < wanted && body_left_ > 0) {
      const size_t take = std::min({wanted - start_.size(), bytes.size(), static_cast<size_t>(body_left_)});
      start_ += bytes.substr(0, take);
      bytes.remove_prefix(take);
      body_left_ -= take;
      if (start_.size() == wanted || body_left_ == 0) on_chunk_start();
    }
    const size_t skip = std::min(bytes.size(), static_cast<size_t>(body_left_));
    if (start_.size() >= wanted) {
      bytes.remove_prefix(skip);
      body_left_ -= skip;
    }
    if (body_left_ > 0) continue;
    start_.clear();
    has_header_ = false;
  }
}

}  // namespace brokkr::cli
