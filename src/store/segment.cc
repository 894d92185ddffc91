#include "store/segment.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace brokkr::store {
namespace {

constexpr size_t kBytesMin = 512;

}  // namespace

std::string_view MemorySegment::append(const Record& record, SubjectId subject) {
  DCHECK(record.seq >= next_seq_);
  if (!seqs_.empty()) {
    seqs_.push_back(record.seq);
  } else {
    const auto gap = static_cast<size_t>(record.seq - next_seq_);
    offsets_.insert(offsets_.end(), gap, kNone);
    subjects_.insert(subjects_.end(), gap, kNoSubject);
  }
  const size_t bytes = record_bytes(record);
  const size_t offset = size_;
  char* const at = make_room(bytes);
  encode_record(record, at);
  offsets_.push_back(static_cast<uint32_t>(offset / 8));
  subjects_.push_back(subject);
  next_seq_ = record.seq + 1;
  ++live_;
  return {at, bytes};
}

char* MemorySegment::make_room(size_t bytes) {
  if (size_ + bytes > capacity_) {
    capacity_ = std::max({kBytesMin, capacity_ * 2, size_ + bytes});
    auto grown = std::make_shared_for_overwrite<char[]>(capacity_);
    if (size_ > 0) std::memcpy(grown.get(), bytes_.get(), size_);
    bytes_ = std::move(grown);
  }
  char* const room = bytes_.get() + size_;
  size_ += bytes;
  return room;
}

uint32_t MemorySegment::lower_bound(uint64_t seq) const {
  if (!seqs_.empty()) {
    return static_cast<uint32_t>(std::lower_bound(seqs_.begin(), seqs_.end(), seq) - seqs_.begin());
  }
  if (seq <= first_seq_) return 0;
  return static_cast<uint32_t>(std::min<uint64_t>(seq - first_seq_, offsets_.size()));
}

std::string_view MemorySegment::bytes_at(uint32_t ordinal) const {
  DCHECK(is_live(ordinal));
  const size_t offset = size_t{offsets_[ordinal]} * 8;
  return {bytes_.get() + offset, kept_record_bytes(bytes_.get() + offset)};
}

Record MemorySegment::record_at(uint32_t ordinal) const {
  DCHECK(is_live(ordinal));
  const size_t offset = size_t{offsets_[ordinal]} * 8;
  return read_kept_record(bytes_.get() + offset);
}

void MemorySegment::remove(uint32_t ordinal, bool erase) {
  // Another thread may be reading frozen bytes.
  if (erase && !is_frozen_) {
    const Record record = record_at(ordinal);
    std::memset(const_cast<char*>(record.headers.data()), 0, record.headers.size());
    std::memset(const_cast<char*>(record.body.data()), 0, record.body.size());
  }
  offsets_[ordinal] = kNone;
  --live_;
}

void MemorySegment::remove_all() {
  std::fill(offsets_.begin(), offsets_.end(), kNone);
  live_ = 0;
}

size_t MemorySegment::memory_bytes() const {
  return capacity_ + offsets_.capacity() * sizeof(uint32_t) +
         subjects_.capacity() * sizeof(SubjectId) + seqs_.capacity() * sizeof(uint64_t);
}

void MemorySegment::compact() {
  MemorySegment packed(first_seq_);
  packed.capacity_ = 0;
  for (uint32_t i = 0; i < ordinals(); ++i) {
    if (!is_live(i)) continue;
    const std::string_view bytes = bytes_at(i);
    packed.offsets_.push_back(static_cast<uint32_t>(packed.size_ / 8));
    std::memcpy(packed.make_room(bytes.size()), bytes.data(), bytes.size());
    packed.subjects_.push_back(subjects_[i]);
    packed.seqs_.push_back(seq_at(i));
  }
  packed.live_ = live_;
  packed.next_seq_ = next_seq_;
  *this = std::move(packed);
}

void MemorySegment::add_to(std::vector<Image>& images) const {
  Image image;
  image.bytes = bytes_;
  image.records.reserve(live_);
  image.seqs.reserve(live_);
  for (uint32_t i = 0; i < ordinals(); ++i) {
    if (!is_live(i)) continue;
    image.records.push_back(bytes_at(i));
    image.seqs.push_back(seq_at(i));
  }
  images.push_back(std::move(image));
}

void SealedSegment::mark_removed(uint32_t ordinal) {
  if (removed.empty()) removed.resize((info.count + 63) / 64);
  removed[ordinal / 64] |= uint64_t{1} << (ordinal % 64);
  --live;
}

}  // namespace brokkr::store
