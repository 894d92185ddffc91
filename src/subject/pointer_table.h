#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace brokkr::subject {

// A hash set of pointers to T whose keys live in the objects: open addressing with linear probing,
// no tombstones, 16 bytes a slot, between 1/8 and 3/4 full. The caller hashes and compares.
// Loop-confined.
template <typename T>
class PointerTable {
 public:
  size_t size() const { return size_; }

  // The item with this hash for which `is_it(const T&)` holds, or null.
  template <typename Predicate>
  T* find(uint64_t hash, Predicate is_it) const {
    if (slots_.empty()) return nullptr;
    for (size_t i = hash & mask_; slots_[i].item != nullptr; i = (i + 1) & mask_) {
      if (slots_[i].hash == hash && is_it(*slots_[i].item)) return slots_[i].item;
    }
    return nullptr;
  }

  void insert(uint64_t hash, T* item) {
    if ((size_ + 1) * 4 > slots_.size() * 3) rehash(slots_.empty() ? kSlotsMin : slots_.size() * 2);
    place(hash, item);
    ++size_;
  }

  // `item` must be there.
  void erase(uint64_t hash, const T* item) {
    size_t hole = hash & mask_;
    while (slots_[hole].item != item) hole = (hole + 1) & mask_;
    // Later entries of the run move up unless that would put them before their home slot.
    for (size_t i = (hole + 1) & mask_; slots_[i].item != nullptr; i = (i + 1) & mask_) {
      if (((i - slots_[i].hash) & mask_) >= ((i - hole) & mask_)) {
        slots_[hole] = slots_[i];
        hole = i;
      }
    }
    slots_[hole] = Slot{};
    --size_;
    if (slots_.size() > kSlotsMin && size_ * 8 < slots_.size()) rehash(slots_.size() / 2);
  }

  template <typename Visitor>
  void for_each(Visitor visit) const {
    for (const Slot& slot : slots_) {
      if (slot.item != nullptr) visit(*slot.item);
    }
  }

 private:
  static constexpr size_t kSlotsMin = 16;
  struct Slot {
    uint64_t hash = 0;
    T* item = nullptr;
  };

  void place(uint64_t hash, T* item) {
    size_t i = hash & mask_;
    while (slots_[i].item != nullptr) i = (i + 1) & mask_;
    slots_[i] = Slot{hash, item};
  }

  void rehash(size_t slot_count) {
    std::vector<Slot> old(slot_count);
    old.swap(slots_);
    mask_ = slot_count - 1;
    for (const Slot& slot : old) {
      if (slot.item != nullptr) place(slot.hash, slot.item);
    }
  }

  std::vector<Slot> slots_;
  size_t mask_ = 0;
  size_t size_ = 0;
};

}  // namespace brokkr::subject
