#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"

namespace brokkr::store {

using SubjectId = uint32_t;
constexpr SubjectId kNoSubject = UINT32_MAX;

// The subjects of one stream: how many messages each has and where the first and last are. Ids are
// small numbers, used again when a subject's last message has gone. About 60 bytes a subject.
// Loop-confined.
class SubjectIndex {
 public:
  struct Entry {
    uint64_t first_seq = 0;  // exact only if !first_is_stale
    uint64_t last_seq = 0;   // exact only if !last_is_stale
    uint32_t count = 0;
    uint32_t text_offset = 0;
    uint16_t text_size = 0;
    bool first_is_stale = false;
    bool last_is_stale = false;
  };

  SubjectIndex();
  ~SubjectIndex();
  SubjectId find(std::string_view subject) const;
  // The subject's id, made when it has none; its count is 0 then.
  SubjectId intern(std::string_view subject);
  // Of a subject whose count has become 0.
  void erase(SubjectId id);
  Entry& entry(SubjectId id) { return entries_[id]; }
  const Entry& entry(SubjectId id) const { return entries_[id]; }
  std::string_view text(SubjectId id) const;
  size_t size() const { return size_; }
  SubjectId id_limit() const { return static_cast<SubjectId>(entries_.size()); }
  // Counts the times an id got another meaning; caches by id check it.
  uint64_t generation() const { return generation_; }
  // Every subject matching the pattern (empty: all), in order of text when `sorted`.
  void visit(std::string_view pattern, bool sorted, FunctionRef<void(SubjectId)> visit);
  void clear();
  size_t memory_bytes() const;

 private:
  size_t slot_of(std::string_view subject, uint64_t hash) const;
  void grow();
  void compact_text();
  void sort_ids();

  std::vector<SubjectId> slots_;  // open addressing, linear; size a power of two
  std::vector<Entry> entries_;
  std::vector<SubjectId> free_;
  std::string text_;
  size_t dead_text_ = 0;
  size_t size_ = 0;
  uint64_t generation_ = 0;
  std::vector<SubjectId> sorted_;  // of the first `sorted_generation_` changes; see visit
  bool is_sorted_ = false;
};

}  // namespace brokkr::store
