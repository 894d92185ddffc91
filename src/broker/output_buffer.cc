#include "broker/output_buffer.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>

#include "base/check.h"

namespace brokkr::broker {

ChunkPool::~ChunkPool() {
  for (Chunk* list : {free_small_, free_large_}) {
    while (list != nullptr) std::free(std::exchange(list, list->next));
  }
}

Chunk* ChunkPool::take(bool large) {
  Chunk*& list = large ? free_large_ : free_small_;
  if (list != nullptr) {
    Chunk* chunk = std::exchange(list, list->next);
    free_bytes_ -= chunk->capacity;
    chunk->next = nullptr;
    chunk->begin = chunk->end = 0;
    return chunk;
  }
  const uint32_t capacity = large ? kLarge : kSmall;
  void* memory = std::malloc(sizeof(Chunk) + capacity);
  CHECK(memory != nullptr);
  auto* chunk = new (memory) Chunk;
  chunk->capacity = capacity;
  return chunk;
}

void ChunkPool::give(Chunk* chunk) {
  if (free_bytes_ + chunk->capacity > kFreeBytesMax) {
    std::free(chunk);
    return;
  }
  Chunk*& list = chunk->capacity == kLarge ? free_large_ : free_small_;
  chunk->next = list;
  list = chunk;
  free_bytes_ += chunk->capacity;
}

void OutputBuffer::add_chunk(size_t bytes) {
  // Only the first chunk of a burst is small, and only while bursts are.
  const bool large = first_ != nullptr || starts_large_ || bytes > ChunkPool::kSmall;
  if (first_ != nullptr) starts_large_ = true;
  Chunk* chunk = pool_->take(large);
  (first_ == nullptr ? first_ : last_->next) = chunk;
  last_ = chunk;
}

void OutputBuffer::append_split(std::string_view bytes) {
  while (!bytes.empty()) {
    if (last_ == nullptr || last_->end == last_->capacity) add_chunk(bytes.size());
    const size_t n = std::min<size_t>(bytes.size(), last_->capacity - last_->end);
    std::memcpy(last_->data() + last_->end, bytes.data(), n);
    last_->end += static_cast<uint32_t>(n);
    pending_ += n;
    total_ += n;
    bytes.remove_prefix(n);
  }
}

void OutputBuffer::drop_first() {
  Chunk* done = std::exchange(first_, first_->next);
  if (first_ == nullptr) last_ = nullptr;
  pool_->give(done);
}

io::IoResult OutputBuffer::flush(io::Transport& transport) {
  io::IoResult total;
  if (pending_ <= ChunkPool::kSmall) starts_large_ = false;
  while (first_ != nullptr) {
    const size_t n = first_->end - first_->begin;
    if (n == 0) {
      drop_first();
      continue;
    }
    const io::IoResult sent = transport.write(first_->data() + first_->begin, n);
    total.bytes += sent.bytes;
    if (sent.kind != io::IoResult::Kind::Ok) {
      total.kind = sent.kind;
      total.error = sent.error;
      return total;
    }
    pending_ -= sent.bytes;
    first_->begin += static_cast<uint32_t>(sent.bytes);
    if (sent.bytes == n) drop_first();
  }
  return total;
}

void OutputBuffer::clear() {
  while (first_ != nullptr) drop_first();
  pending_ = 0;
}

}  // namespace brokkr::broker
