#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/callback.h"

namespace brokkr::store {

using SubjectId = uint32_t;
constexpr SubjectId kNoSubject = UINT32_MAX;

// The subjects of one stream: how many messages each has and where the first and last are. Ids are
// small numbers, used again when a subject's last message has gone. About 65 bytes a subject.
// Loop-confined.
class SubjectIndex {
 public:
  struct Entry {
    uint64_t first_seq = 0;  // at most the first one, if first_is_stale
    uint64_t last_seq = 0;   // at least the last one, if last_is_stale
    uint32_t count = 0;
    uint32_t text = 0;  // chunk and offset
    uint16_t text_size = 0;
    bool first_is_stale = false;
    bool last_is_stale = false;
  };

  SubjectId find(std::string_view subject) const;
  // The subject's id, made when it has none; its count is 0 then. `subject` has at most 65535 bytes.
  SubjectId intern(std::string_view subject);
  // Of a subject whose count has become 0.
  void erase(SubjectId id);
  Entry& entry(SubjectId id) { return entries_[id]; }
  const Entry& entry(SubjectId id) const { return entries_[id]; }
  std::string_view text(SubjectId id) const {
    const Entry& entry = entries_[id];
    return {chunks_[entry.text >> 16].get() + (entry.text & 0xffff), entry.text_size};
  }
  size_t size() const { return size_; }
  // Every id is less.
  SubjectId id_limit() const { return static_cast<SubjectId>(entries_.size()); }
  // Every subject matching the pattern (empty: all), in order of text when `sorted`. `visit` must not
  // change the index.
  void visit(std::string_view pattern, bool sorted, FunctionRef<void(SubjectId)> visit) const;
  void clear();
  size_t memory_bytes() const;

 private:
  static constexpr size_t kChunkMax = 1 << 16;

  size_t slot_of(std::string_view subject) const;
  void grow();
  uint32_t store_text(std::string_view subject);
  void compact_text();

  std::vector<SubjectId> slots_;  // open addressing, linear; the size is a power of two
  std::vector<Entry> entries_;
  std::vector<SubjectId> free_;
  std::vector<std::unique_ptr<char[]>> chunks_;
  size_t chunk_used_ = 0;  // of the last chunk
  size_t chunk_size_ = 0;
  size_t text_bytes_ = 0;  // in all chunks
  size_t dead_text_ = 0;
  size_t size_ = 0;
};

}  // namespace brokkr::store
