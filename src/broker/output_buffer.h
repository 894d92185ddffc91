#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "io/transport.h"

namespace brokkr::broker {

// A piece of output. Two sizes: most connections never need more than a small one.
struct Chunk {
  Chunk* next = nullptr;
  uint32_t capacity = 0;
  uint32_t begin = 0;  // bytes before it are sent
  uint32_t end = 0;
  char* data() { return reinterpret_cast<char*>(this + 1); }
};

// Recycles chunks among the connections of one loop, so that a burst costs no page faults. Keeps at
// most kFreeBytesMax. Loop-confined; outlives its buffers.
class ChunkPool {
 public:
  static constexpr uint32_t kSmall = 4096 - sizeof(Chunk);
  static constexpr uint32_t kLarge = 65536 - sizeof(Chunk);
  static constexpr size_t kFreeBytesMax = 16 << 20;

  ChunkPool() = default;
  ~ChunkPool();
  ChunkPool(const ChunkPool&) = delete;
  ChunkPool& operator=(const ChunkPool&) = delete;
  Chunk* take(bool large);
  void give(Chunk*);

 private:
  Chunk* free_small_ = nullptr;
  Chunk* free_large_ = nullptr;
  size_t free_bytes_ = 0;
};

// What waits to be sent on one connection: a chain of chunks, none while empty. Loop-confined.
class OutputBuffer {
 public:
  explicit OutputBuffer(ChunkPool& pool) : pool_(&pool) {}
  ~OutputBuffer() { clear(); }
  OutputBuffer(const OutputBuffer&) = delete;
  OutputBuffer& operator=(const OutputBuffer&) = delete;

  bool empty() const { return pending_ == 0; }
  uint64_t pending() const { return pending_; }
  // Bytes ever put in; `pending` subtracted gives the bytes sent.
  uint64_t total() const { return total_; }

  // Room for `bytes` (at most kContiguousMax) in one piece; `commit` the end of what was written.
  static constexpr size_t kContiguousMax = 8192;
  char* reserve(size_t bytes) {
    DCHECK(bytes <= kContiguousMax);
    if (last_ == nullptr || last_->capacity - last_->end < bytes) add_chunk(bytes);
    return last_->data() + last_->end;
  }
  void commit(const char* end) {
    const auto n = static_cast<uint32_t>(end - (last_->data() + last_->end));
    last_->end += n;
    pending_ += n;
    total_ += n;
  }

  void append(std::string_view bytes) {
    if (last_ != nullptr && last_->capacity - last_->end >= bytes.size()) {
      std::memcpy(last_->data() + last_->end, bytes.data(), bytes.size());
      last_->end += static_cast<uint32_t>(bytes.size());
      pending_ += bytes.size();
      total_ += bytes.size();
      return;
    }
    append_split(bytes);
  }

  // Writes until everything is sent or the transport will take no more. The result's kind is Ok when
  // all was sent; `bytes` is what this call sent.
  io::IoResult flush(io::Transport&);
  void clear();

 private:
  void add_chunk(size_t bytes);
  void append_split(std::string_view bytes);
  void drop_first();

  ChunkPool* pool_;
  Chunk* first_ = nullptr;
  Chunk* last_ = nullptr;
  uint64_t pending_ = 0;
  uint64_t total_ = 0;
  bool starts_large_ = false;  // the last burst outgrew a small chunk
};

}  // namespace brokkr::broker
