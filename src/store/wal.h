#pragma once

#include <cstdint>
#include <deque>
#include <initializer_list>
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

namespace brokkr::store {

// Position in the log: counts frames from 1, never reused.
using Lsn = uint64_t;

enum class FrameType : uint8_t {
  Append = 1,    // a record
  Remove,        // sequences of one stream that are gone
  Purge,         // a stream's first sequence moved
  Skip,          // a stream's last sequence moved without a message
  StreamPut,     // a stream's identity and configuration: created or changed
  StreamDelete,
  ConsumerPut,
  ConsumerDelete,
  ConsumerDelta,
  BatchBegin,    // the frames to BatchCommit count only if that is there
  BatchCommit,
  Lost,          // sequences found damaged
  GroupEnd = 255,  // written by the log itself
};

// What replay hands over, in order.
struct Frame {
  Lsn lsn = 0;
  FrameType type{};
  uint32_t stream = 0;
  std::string_view body;
};

enum class SyncMode : uint8_t {
  Always,    // durable means on stable storage (group commit)
  Interval,  // durable means handed to the kernel; synced every so often
  None,      // the same, synced when the kernel likes
};

// The write-ahead log all streams share: files of zeroes that are filled, synced by the group and
// used again. Frames appended in one turn of the loop make a group; the group is written and synced
// as one, while the next gathers. Store's thread only, save that work runs on the executor.
//
// A write or sync error is final: the log refuses everything after it (see `failure`), since nothing
// is known about the file any more. A full disk is not: see `is_full`.
class Wal {
 public:
  struct Options {
    std::string directory;
    SyncMode sync = SyncMode::Always;
    Duration sync_interval = std::chrono::minutes(2);
    uint64_t file_bytes = 16 << 20;
    // Beyond this many bytes waiting to be written the log says `is_busy`.
    uint64_t pending_bytes_max = 64 << 20;
    Keyring* keys = nullptr;  // encrypts frame bodies; may be null
  };
  struct Events {
    // Everything up to `lsn` is as durable as the mode promises.
    Callback<void(Lsn lsn)> durable;
    // Appends to the group's end marker what the store wants to find again if a frame of the group
    // is damaged; handed to replay's `visit` as a GroupEnd frame. Must not append.
    Callback<void(std::string& note)> closing_group;
    // `is_full` has become true: `retry_space` is wanted in a while.
    Callback<void()> full;
    // Once. No later append becomes durable.
    Callback<void(const Error&)> failed;
  };
  // What opening found.
  struct Recovery {
    Lsn last_lsn = 0;
    uint64_t frames = 0;
    uint64_t damaged = 0;    // frames that were there once and cannot be read
    bool torn_tail = false;  // the last group was not written whole, as after a crash
    std::vector<std::string> notes;  // for the log: what was damaged and where
  };

  // Reads what is in the directory, calling `visit` for every whole frame from `from` on, in order.
  // Damage in the middle is skipped and reported, never cut off; an incomplete last group is
  // replayed as far as its frames are whole. Then gets ready to append in a fresh file.
  // Files it does not understand are left alone and reported.
  static Result<std::unique_ptr<Wal>> open(Files&, Executor&, Options, Lsn from,
                                           FunctionRef<void(const Frame&)> visit, Events, Log&,
                                           Recovery&);
  ~Wal();

  // Adds a frame to the group at hand. The body is the parts one after another.
  Lsn append(FrameType type, uint32_t stream, std::initializer_list<std::string_view> body);
  // The same with room to write the body into; valid until the next call.
  Lsn append(FrameType type, uint32_t stream, size_t body_bytes, char*& body);

  // Ends the turn: starts to write the group unless one is on its way, in which case it joins the
  // next. No effect on an empty group. Without SyncMode::Always a small group is written at once and
  // `durable` is called from in here.
  void commit();
  // For SyncMode::Interval, every `sync_interval`: puts on stable storage what was written. No effect
  // when there is nothing or a sync is on its way.
  void sync_now();

  // The log's own frames count too: after commit this is the end of the group.
  Lsn appended() const { return next_lsn_ - 1; }
  Lsn durable() const { return durable_; }
  bool has_uncommitted() const { return !group_.empty(); }
  // Too much waits to be written: refuse publishes for now.
  bool is_busy() const { return pending_bytes() > options_.pending_bytes_max; }
  uint64_t pending_bytes() const { return group_.size() + writing_bytes_; }
  // No new log file can be made. What must get through (deletes, acknowledgements, purges) still
  // fits into the reserve; publishes must be refused. `retry_space` tries again.
  bool is_full() const { return is_full_; }
  void retry_space();
  // Bytes appended since `lsn`.
  uint64_t bytes_since(Lsn lsn) const;
  const Error* failure() const { return failure_ ? failure_.get() : nullptr; }

  // Everything before `lsn` is no longer needed: files wholly before it are used again.
  void release_before(Lsn lsn);

 private:
  class Writer;
  Wal(Files&, Executor&, Options, Events, Log&);
  void seal();
  size_t begin_frame(size_t body_bytes);
  Lsn end_frame(size_t at, FrameType type, uint32_t stream, size_t body_bytes);

  Options options_;
  // Frames, the last of which may still lack its checksums.
  std::string group_;
  size_t open_frame_ = SIZE_MAX;  // offset of that one
  Lsn group_first_lsn_ = 0;
  uint32_t group_frames_ = 0;
  uint32_t group_chain_ = 0;
  Lsn open_batch_ = 0;
  uint32_t salt_ = 0;  // of the file the group will go into, as far as known
  uint32_t mask_ = 0;
  uint64_t writing_bytes_ = 0;
  Lsn next_lsn_ = 1;
  Lsn durable_ = 0;
  bool is_full_ = false;
  std::unique_ptr<Error> failure_;
  std::unique_ptr<Writer> writer_;
};

}  // namespace brokkr::store
