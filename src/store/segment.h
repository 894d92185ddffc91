#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/record.h"
#include "store/run.h"
#include "store/subject_index.h"

// The pieces a stream is made of: at the front those in run files, at the end those in memory only.
// Ordinals count a piece's messages from 0; a removed one keeps its ordinal. Loop-confined.
namespace brokkr::store {

// Messages in memory: what is not in a run file yet, or never will be (Storage::Memory). Records are
// kept as the bytes they have on disk. The bytes of a frozen piece never change.
class MemorySegment {
 public:
  explicit MemorySegment(uint64_t first_seq) : first_seq_(first_seq), next_seq_(first_seq) {}
  // The record's seq is at least next_seq(); a gap is filled with removed ordinals. Gives the bytes
  // it is kept as, good until the next append.
  std::string_view append(const Record& record, SubjectId subject);
  // The next append may leave a gap of so many without wasting memory.
  static constexpr uint64_t kGapMax = 1024;

  uint64_t first_seq() const { return first_seq_; }
  uint64_t next_seq() const { return next_seq_; }
  uint32_t ordinals() const { return static_cast<uint32_t>(offsets_.size()); }
  uint64_t seq_at(uint32_t ordinal) const { return seqs_.empty() ? first_seq_ + ordinal : seqs_[ordinal]; }
  // The first ordinal with a sequence at or after `seq`.
  uint32_t lower_bound(uint64_t seq) const;
  bool is_live(uint32_t ordinal) const { return offsets_[ordinal] != kNone; }
  const SubjectId* subjects() const { return subjects_.data(); }
  void set_subject(uint32_t ordinal, SubjectId id) { subjects_[ordinal] = id; }
  std::string_view bytes_at(uint32_t ordinal) const;
  Record record_at(uint32_t ordinal) const;
  // `erase` also overwrites the content, unless frozen.
  void remove(uint32_t ordinal, bool erase);
  void remove_all();
  uint32_t live() const { return live_; }
  size_t byte_size() const { return size_; }
  size_t memory_bytes() const;
  // Rewrites it without the removed ones.
  void compact();
  // The live ones and the bytes they are in, for a writer on another thread.
  struct Image {
    std::shared_ptr<const char[]> bytes;
    std::vector<std::string_view> records;  // into `bytes`
    std::vector<uint64_t> seqs;
  };
  void add_to(std::vector<Image>& images) const;
  // From here on the bytes are another thread's to read.
  void freeze() { is_frozen_ = true; }
  bool is_frozen() const { return is_frozen_; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  char* make_room(size_t bytes);

  uint64_t first_seq_;
  uint64_t next_seq_;
  std::shared_ptr<char[]> bytes_;
  size_t size_ = 0;
  size_t capacity_ = 0;
  std::vector<uint32_t> offsets_;  // in units of 8 bytes
  std::vector<SubjectId> subjects_;
  std::vector<uint64_t> seqs_;  // once compacted
  uint32_t live_ = 0;
  bool is_frozen_ = false;
};

// Messages in a run file. The index is loaded when needed and may be dropped at any time.
struct SealedSegment {
  RunInfo info;
  std::shared_ptr<RunFile> file;        // opened when needed
  std::shared_ptr<RunIndex> index;      // subjects are ids of the stream's index; no names
  std::vector<uint64_t> removed;        // a bit per ordinal; empty while none is
  uint32_t live = 0;
  uint64_t live_bytes = 0;
  bool is_moving = false;   // a checkpoint is writing it anew
  bool is_damaged = false;  // not to be merged
  bool is_to_forget = false;  // holds erased messages that only writing it anew gets rid of

  bool is_live(uint32_t ordinal) const {
    return removed.empty() || (removed[ordinal / 64] >> (ordinal % 64) & 1) == 0;
  }
  void mark_removed(uint32_t ordinal);
};

}  // namespace brokkr::store
