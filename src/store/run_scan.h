#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "store/run_builder.h"
#include "store/run_format.h"

namespace brokkr::store {

// One piece of a run file, as found by reading it from front to back.
struct RunPiece {
  enum class Kind : uint8_t {
    Head,    // a run starts: `plain` is its head
    Record,  // a bare record: `record`; its content is not checked unless asked for
    Block,   // `plain` holds whole records
    Footer,  // `plain` is a run's footer
    Index,   // `plain` is the file's index
    Gap,     // bytes that are nothing of this file, or damaged
  };
  Kind kind{};
  uint64_t offset = 0;
  uint64_t bytes = 0;
  std::string_view plain;
  ParsedRecord record;
  std::string_view stored;  // of a Record: its bytes
};

// Reads [from, to) of a run file piece by piece. Where the bytes make no sense it goes on at the
// next place, at a multiple of 8, where they do: damage costs what it hit. Fails only when the disk
// does. Views live until `visit` returns.
struct RunScan {
  const File& file;
  const RunFileHead& head;
  const FileKey* key = nullptr;
  bool check_content = false;
  // Bare records are looked for outside of sections; off where they cannot be (encrypted files).
  bool has_bare_records = true;

  Status run(uint64_t from, uint64_t to, FunctionRef<void(const RunPiece&)> visit) const;
};

// Gathers what a scan finds of one run into an index. A run has bare records or blocks, never both:
// records found beside blocks are bytes of a damaged block.
class RunGatherer {
 public:
  // Only sequences of this run count; all when both are 0.
  void limit(const RunInfo& info);
  void take(const RunPiece& piece);
  std::unique_ptr<RunIndex> finish();
  uint64_t gap_bytes() const { return gap_bytes_; }

 private:
  void add(const Record& record, uint64_t position, RunBuilder& builder);
  void take_block(const RunPiece& piece);

  uint64_t first_seq_ = 0;
  uint64_t last_seq_ = UINT64_MAX;
  uint64_t gap_bytes_ = 0;
  size_t blocks_ = 0;
  RunOwner owner_;
  // Every message id is taken: one that the run left out as old is forgotten again by its time.
  RunBuilder bare_{INT64_MIN};
  RunBuilder blocked_{INT64_MIN};
};

// A run file opened for reading, by its head or, when that is damaged, by its tail.
struct RunFileAccess {
  std::unique_ptr<File> file;
  uint64_t size = 0;
  RunFileHead head;
  size_t head_bytes = 0;
  size_t tail_bytes = 0;  // 0 when the tail is damaged
  bool is_head_whole = false;
  bool is_tail_whole = false;
  std::shared_ptr<const FileKey> key;

  RunScan scan(bool check_content) const {
    return {*file, head, key.get(), check_content, key == nullptr};
  }
};
// NotFound, Corrupt (neither head nor tail, or of another file), PermissionDenied, Unsupported,
// System.
Result<RunFileAccess> open_run_file(Files&, const std::string& path, uint64_t number,
                                    Keyring* keys);

// An index of the run in [info.offset, info.footer_offset) from what can be read of it. Sequences
// outside of first_seq to last_seq do not count unless both are 0. `gap_bytes` gets what could not
// be made sense of.
Result<std::unique_ptr<RunIndex>> rebuild_run_index(const RunScan& scan, const RunInfo& info,
                                                    uint64_t& gap_bytes);

}  // namespace brokkr::store
