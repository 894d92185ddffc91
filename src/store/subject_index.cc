#include "store/subject_index.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/hash.h"
#include "base/random.h"
#include "subject/subject.h"

namespace brokkr::store {
namespace {

constexpr size_t kSlotsMin = 8;
constexpr size_t kChunkMin = 256;
constexpr size_t kDeadTextMin = 64 << 10;

// One seed for the process: subjects come from strangers.
uint64_t subject_hash(std::string_view subject) {
  static const uint64_t seed = secure_seed();
  return hash_short(subject.data(), subject.size(), seed);
}

}  // namespace

// The slot that holds the subject, or the free one where it would go.
size_t SubjectIndex::slot_of(std::string_view subject) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = subject_hash(subject) & mask;
  while (slots_[slot] != kNoSubject && text(slots_[slot]) != subject) slot = (slot + 1) & mask;
  return slot;
}

SubjectId SubjectIndex::find(std::string_view subject) const {
  return slots_.empty() ? kNoSubject : slots_[slot_of(subject)];
}

SubjectId SubjectIndex::intern(std::string_view subject) {
  CHECK(subject.size() < kChunkMax);
  if ((size_ + 1) * 4 > slots_.size() * 3) grow();
  const size_t slot = slot_of(subject);
  if (slots_[slot] != kNoSubject) return slots_[slot];
  SubjectId id = kNoSubject;
  if (free_.empty()) {
    id = static_cast<SubjectId>(entries_.size());
    // Large tables grow by a quarter: doubling would hold too much idle memory.
    if (entries_.size() == entries_.capacity() && entries_.size() >= kChunkMax) {
      entries_.reserve(entries_.size() + entries_.size() / 4);
    }
    entries_.emplace_back();
  } else {
    id = free_.back();
    free_.pop_back();
    entries_[id] = Entry{};
  }
  entries_[id].text = store_text(subject);
  entries_[id].text_size = static_cast<uint16_t>(subject.size());
  slots_[slot] = id;
  ++size_;
  return id;
}

void SubjectIndex::erase(SubjectId id) {
  DCHECK(entries_[id].count == 0);
  const size_t mask = slots_.size() - 1;
  size_t hole = slot_of(text(id));
  slots_[hole] = kNoSubject;
  // What had to step over the hole moves back into it.
  for (size_t slot = (hole + 1) & mask; slots_[slot] != kNoSubject; slot = (slot + 1) & mask) {
    const size_t home = subject_hash(text(slots_[slot])) & mask;
    if (((slot - home) & mask) < ((slot - hole) & mask)) continue;
    slots_[hole] = slots_[slot];
    slots_[slot] = kNoSubject;
    hole = slot;
  }
  dead_text_ += entries_[id].text_size;
  free_.push_back(id);
  if (--size_ == 0) return clear();
  if (dead_text_ > kDeadTextMin && dead_text_ * 2 > text_bytes_) compact_text();
}

void SubjectIndex::visit(std::string_view pattern, bool sorted,
                         FunctionRef<void(SubjectId)> visit) const {
  if (!pattern.empty() && subject::is_literal(pattern)) {
    const SubjectId id = find(pattern);
    if (id != kNoSubject) visit(id);
    return;
  }
  const bool all = pattern.empty() || pattern == ">";
  std::vector<SubjectId> found;
  for (const SubjectId id : slots_) {
    if (id == kNoSubject || !(all || subject::matches(pattern, text(id)))) continue;
    if (sorted) {
      found.push_back(id);
    } else {
      visit(id);
    }
  }
  std::sort(found.begin(), found.end(), [this](SubjectId a, SubjectId b) { return text(a) < text(b); });
  for (const SubjectId id : found) visit(id);
}

void SubjectIndex::clear() {
  slots_ = {};
  entries_ = {};
  free_ = {};
  chunks_.clear();
  chunk_used_ = chunk_size_ = text_bytes_ = dead_text_ = size_ = 0;
}

size_t SubjectIndex::memory_bytes() const {
  return slots_.capacity() * sizeof(SubjectId) + entries_.capacity() * sizeof(Entry) +
         free_.capacity() * sizeof(SubjectId) + text_bytes_;
}

void SubjectIndex::grow() {
  const std::vector<SubjectId> old = std::move(slots_);
  slots_.assign(std::max(kSlotsMin, old.size() * 2), kNoSubject);
  for (const SubjectId id : old) {
    if (id != kNoSubject) slots_[slot_of(text(id))] = id;
  }
}

uint32_t SubjectIndex::store_text(std::string_view subject) {
  if (chunk_used_ + subject.size() > chunk_size_) {
    chunk_size_ = std::clamp(chunk_size_ * 2, std::max(kChunkMin, subject.size()), kChunkMax);
    chunks_.push_back(std::make_unique_for_overwrite<char[]>(chunk_size_));
    text_bytes_ += chunk_size_;
    chunk_used_ = 0;
  }
  std::memcpy(chunks_.back().get() + chunk_used_, subject.data(), subject.size());
  const auto place = static_cast<uint32_t>((chunks_.size() - 1) << 16 | chunk_used_);
  chunk_used_ += subject.size();
  return place;
}

void SubjectIndex::compact_text() {
  const std::vector<std::unique_ptr<char[]>> old = std::move(chunks_);
  chunks_.clear();
  chunk_used_ = chunk_size_ = text_bytes_ = dead_text_ = 0;
  for (const SubjectId id : slots_) {
    if (id == kNoSubject) continue;
    Entry& entry = entries_[id];
    entry.text = store_text({old[entry.text >> 16].get() + (entry.text & 0xffff), entry.text_size});
  }
}

}  // namespace brokkr::store
