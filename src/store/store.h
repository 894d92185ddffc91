#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "store/block_codec.h"
#include "store/files.h"
#include "store/stream.h"
#include "store/wal.h"

namespace brokkr::store {

// A set of streams in one directory, or in memory only. The owner calls `commit` once a turn; what
// was done in the turn becomes durable together, and callers hear of it through `when_durable`.
// Loop-confined; executors, files and clock outlive it.
class Store {
 public:
  struct Options {
    std::string directory;  // made when missing; empty: nothing is written, Storage::File is memory
    SyncMode sync = SyncMode::Always;
    Duration sync_interval = std::chrono::minutes(2);
    // Cipher::None: not encrypted.
    Cipher cipher = Cipher::None;
    std::string key;
    std::string previous_key;
    // The log is emptied into run files whenever it has grown by so much; bounds the memory for
    // messages that are only in the log, and the time to start.
    uint64_t checkpoint_bytes = 32 << 20;
    uint64_t log_file_bytes = 16 << 20;
    // For blocks read from run files and their indexes.
    uint64_t cache_bytes = 64 << 20;
    // Refuses publishes when this little is left on the disk, so that the rest still works; looked
    // at when the log has been emptied.
    uint64_t free_bytes_min = 32 << 20;
  };
  struct Environment {
    Files& files;
    Executor& log_executor;         // writes and syncs of the log; one thread
    Executor& background_executor;  // checkpoints, compaction, scrubbing; another
    Clock& clock;
    Log& log;
    // Calls back on the store's thread after the delay; for sync intervals, retries and checkpoints.
    std::function<void(Duration, Callback<void()>)> after;
  };
  struct Usage {
    uint64_t memory_bytes = 0;  // counted bytes of Storage::Memory streams
    uint64_t file_bytes = 0;    // of Storage::File streams
    size_t streams = 0;
    size_t consumers = 0;
  };

  // Takes the directory's lock, recovers. Fails with AlreadyExists (another process has it),
  // PermissionDenied (wrong key), Unsupported (written by a newer version), OutOfSpace, System.
  // Damage does not make it fail: it is reported to the log and in `Stream::lost`.
  static Result<std::unique_ptr<Store>> open(Options options, Environment environment);
  // Without a checkpoint; what is not durable yet is lost as in a crash. See `close`.
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // AlreadyExists, OutOfSpace, Unavailable.
  Result<Stream*> create_stream(StreamOptions options);
  Stream* find_stream(std::string_view account, std::string_view name);
  // Its messages and consumers are gone for good once durable.
  void delete_stream(Stream& stream);
  // All streams in order of account and name.
  std::vector<Stream*> streams();

  // Ends the turn: hands what was appended to the log. No effect when nothing was.
  void commit();
  bool has_uncommitted() const;
  // Whether a `commit` now would do anything: what it was given before and waits for the disk goes
  // on by itself.
  bool needs_commit() const;
  // Position after everything done so far, and how far that is durable. Equal: nothing to wait for.
  Lsn appended() const;
  Lsn durable() const;
  // Calls back once everything done before this call is durable: at once when it is already.
  // If the store fails first (see `failure`) `failed` is called instead, so that whoever waits can be
  // told; after a failure at once, unless nothing was left to be written.
  void when_durable(Callback<void()> done, Callback<void()> failed = {});
  // Null while all is well. After a failed write or sync nothing is durable any more; reads work.
  const Error* failure() const;
  // Called once when the store fails.
  void on_failure(Callback<void(const Error&)> callback);
  // Why a publish cannot be taken now: OutOfSpace, Unavailable (too much waits for the disk, or
  // failed). Cheap; Stream::append says the same.
  Status can_append() const;

  // Empties the log into run files so that the next start has nothing to replay, then calls back.
  // Appending meanwhile is allowed but not covered.
  void close(Callback<void()> done);
  void checkpoint(Callback<void(const Status&)> done);

  Usage usage() const;
  Clock& clock() const;

 private:
  friend class Stream;
  friend class Checkpoint;
  struct Impl;
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace brokkr::store
