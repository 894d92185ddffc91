#pragma once

#include <atomic>
#include <cstddef>

#include <v8-array-buffer.h>

// The memory of ArrayBuffers, within a budget: beyond it an allocation fails, which JavaScript sees
// as a RangeError it can catch. Built without RTTI, as V8 is. Thread-safe (V8 frees from its own
// threads).
namespace brokkr::runtime {

class MemoryBudget final : public v8::ArrayBuffer::Allocator {
 public:
  static constexpr const char* kExceeded = "Array buffer allocation failed";

  void set_limit(size_t bytes) { limit_ = bytes; }
  size_t used() const { return used_; }
  // Whether an allocation was refused since the last call.
  bool take_refused() { return refused_.exchange(false); }

  void* Allocate(size_t size) override;
  void* AllocateUninitialized(size_t size) override;
  void Free(void* data, size_t size) override;

 private:
  bool take(size_t size);
  std::atomic<size_t> used_{0};
  std::atomic<size_t> limit_{64U << 20};
  std::atomic<bool> refused_{false};
};

}  // namespace brokkr::runtime
