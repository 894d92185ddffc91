#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/block_codec.h"
#include "store/files.h"
#include "store/record.h"

// Runs: immutable pieces of streams on disk. A run file holds one or more runs; a run holds messages
// of one stream in the order of their sequences, then a footer that makes every message reachable
// without reading the others. Format: docs/store-format.md.
namespace brokkr::store {

// Where a run is and what it sums up to. In the catalog; enough to start a stream without a read.
struct RunInfo {
  uint64_t file = 0;           // "<file>.run"
  uint64_t offset = 0;         // of the run in the file
  uint64_t footer_offset = 0;  // in the file
  uint32_t footer_bytes = 0;
  uint64_t first_seq = 0;
  uint64_t last_seq = 0;
  uint32_t count = 0;          // messages when it was written
  uint64_t bytes = 0;          // counted bytes when it was written
  int64_t first_ts = 0;
  int64_t last_ts = 0;
  uint64_t min_expires_at = 0;  // 0 when no message of it expires by itself
};

// Whose a run is; in its footer too, so that data can be found again without a catalog.
struct RunOwner {
  uint32_t stream = 0;
  std::string account;
  std::string name;
  std::string config;  // the stream's configuration when the run was written, opaque
};

// A run's footer in memory. Ordinals count the messages of the run from 0.
struct RunIndex {
  struct Subject {
    std::string_view text;  // into `text`
    uint32_t count = 0;
    uint64_t first_seq = 0;
    uint64_t last_seq = 0;
  };
  struct Expiry {
    uint64_t expires_at = 0;
    uint64_t seq = 0;
  };
  struct MessageId {
    uint64_t hash[2]{};
    uint64_t seq = 0;
  };
  RunOwner owner;
  RunInfo info;
  std::vector<uint64_t> seqs;       // empty when dense: seq is info.first_seq + ordinal
  std::vector<uint32_t> subjects;   // by ordinal: index into `names`
  std::vector<uint64_t> positions;  // by ordinal: opaque to all but RunFile
  std::vector<uint32_t> sizes;      // by ordinal: Record::counted_bytes
  std::vector<Subject> names;       // sorted by text
  std::vector<Expiry> expiries;     // sorted by time
  std::vector<MessageId> ids;       // ascending by seq
  std::string text;
  // Where compressed or encrypted blocks are; opaque, like `positions`.
  struct Block {
    uint64_t offset = 0;
    uint32_t bytes = 0;
  };
  std::vector<Block> blocks;
  int64_t min_ts = 0;
  int64_t max_ts = 0;
  bool is_rebuilt = false;  // the footer was damaged: this comes from the messages

  // Index of the first message with a sequence >= seq; info.count when none.
  uint32_t lower_bound(uint64_t seq) const;
  uint64_t seq_at(uint32_t ordinal) const {
    return seqs.empty() ? info.first_seq + ordinal : seqs[ordinal];
  }
};

// Writes one run file: begin_run, add in ascending order, end_run, ... then finish. On the
// executor's thread; not thread-safe.
class RunWriter {
 public:
  struct Options {
    std::string directory;
    uint64_t file = 0;  // its number
    Keyring* keys = nullptr;
    // Ids with a timestamp before this need not be remembered.
    int64_t ids_since_ns = 0;
  };
  // Starts a temporary file.
  static Result<std::unique_ptr<RunWriter>> create(Files&, Options);
  virtual ~RunWriter() = default;  // removes an unfinished file
  virtual void begin_run(RunOwner owner, Compression compression) = 0;
  // `record` is an encoded record (see record.h), copied as it is: damage is neither hidden nor made.
  virtual Status add(std::string_view record) = 0;
  // A run without messages is left out: count is 0.
  virtual Result<RunInfo> end_run() = 0;
  // Index of runs, sync, rename to its name, sync of the directory. The file counts from here.
  virtual Status finish() = 0;
  virtual uint64_t bytes_written() const = 0;
};

// What reading one message gave.
struct ReadRecord {
  RecordDamage damage = RecordDamage::None;
  Record record;
  std::shared_ptr<const std::string> block;  // keeps the views alive
};

// An open run file. Thread-safe; shared by all runs in it; lives on while read from even when the
// file has been removed.
class RunFile {
 public:
  // Fails with NotFound, Corrupt (not a run file, head damaged), PermissionDenied (wrong key).
  static Result<std::shared_ptr<RunFile>> open(Files&, const std::string& directory, uint64_t file,
                                               Keyring* keys);
  virtual ~RunFile() = default;
  // Reads the footer; when that is damaged, rebuilds it by reading the run. `damaged` is set when
  // some messages could not be found again. The caller may drop what it does not need.
  virtual Result<std::unique_ptr<RunIndex>> load_index(const RunInfo&, bool& damaged) = 0;
  // Reads one message, using only `info`, `seqs`, `positions` and `blocks` of the index; `block` may
  // be one of an earlier call to save a read: who reads on passes it and gets larger blocks. Error
  // only when the disk fails; damage is in the answer, with the sequence.
  virtual Result<ReadRecord> read(const RunIndex&, uint32_t ordinal,
                                  const std::shared_ptr<const std::string>& block) = 0;
  // Overwrites a message's headers and body with zeroes; on disk when this returns. Reading it gives
  // damage from then on. Unsupported in a compressed or encrypted run, which must be written again to
  // forget something. Not while the file is being copied.
  virtual Status erase(const RunIndex&, uint32_t ordinal) = 0;
  // All runs in the file, from its own index or, when damaged, by searching. For recovery without a
  // catalog, and for tools.
  virtual Result<std::vector<std::pair<RunOwner, RunInfo>>> list_runs() = 0;
  virtual uint64_t size() const = 0;
};

// The value of the first Nats-Msg-Id header (upper and lower case matter), or empty; and the hash a
// footer remembers it by.
std::string_view find_message_id(std::string_view headers);
void hash_message_id(std::string_view id, uint64_t (&hash)[2]);

std::string run_file_name(uint64_t file);
// The number in "<16 hex digits>.run"; 0 for another name.
uint64_t parse_run_file_name(std::string_view name);

}  // namespace brokkr::store
