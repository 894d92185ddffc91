#include "runtime/v8/memory_budget.h"

#include <cstdlib>

namespace brokkr::runtime {

bool MemoryBudget::take(size_t size) {
  const size_t before = used_.fetch_add(size);
  if (before + size <= limit_ && before + size >= before) return true;
  used_ -= size;
  refused_ = true;
  return false;
}

void* MemoryBudget::Allocate(size_t size) {
  if (!take(size)) return nullptr;
  void* data = std::calloc(1, size > 0 ? size : 1);
  if (data == nullptr) used_ -= size;
  return data;
}

void* MemoryBudget::AllocateUninitialized(size_t size) {
  if (!take(size)) return nullptr;
  void* data = std::malloc(size > 0 ? size : 1);
  if (data == nullptr) used_ -= size;
  return data;
}

void MemoryBudget::Free(void* data, size_t size) {
  used_ -= size;
  std::free(data);
}

}  // namespace brokkr::runtime
