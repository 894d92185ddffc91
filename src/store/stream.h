#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/clock.h"
#include "base/result.h"
#include "store/block_codec.h"
#include "store/consumer_store.h"
#include "store/message_ids.h"
#include "store/record.h"
#include "store/segment.h"
#include "store/subject_index.h"

namespace brokkr::store {

class Store;
class Stream;

enum class Storage : uint8_t { File, Memory };

// Zero or less than zero means no limit, as in NATS's configuration.
struct StreamLimits {
  int64_t max_msgs = -1;
  int64_t max_bytes = -1;
  int64_t max_msgs_per_subject = -1;
  Duration max_age{};
  bool discard_new = false;  // else the oldest give way
  bool discard_new_per_subject = false;
  Duration duplicate_window{};  // zero: message ids are not remembered
};

struct StreamOptions {
  std::string account;
  std::string name;
  std::string config;  // kept for the owner, opaque
  Storage storage = Storage::File;
  Compression compression = Compression::None;
  bool async_persist = false;  // reported durable before it is
  uint64_t first_seq = 1;
  WallTime created;
  StreamLimits limits;
};

// What to store.
struct NewMessage {
  std::string_view subject;
  std::string_view headers;  // a whole NATS/1.0 block, or empty
  std::string_view body;
  int64_t timestamp_ns = 0;
  uint64_t expires_at = 0;      // see Record
  std::string_view message_id;  // remembered for duplicate_window; empty: none
  // A roll-up replaces what it would exceed: discard_new_per_subject does not refuse it.
  bool is_rollup = false;
};

// When exactly a message of that time expires, which `expires_at` says in whole seconds (see Record).
inline WallTime expiry_time(int64_t timestamp_ns, uint64_t expires_at) {
  constexpr int64_t kSecond = 1'000'000'000;
  constexpr uint64_t kLatest = 9'000'000'000;
  const int64_t rounded = (kSecond - timestamp_ns % kSecond) % kSecond;
  const auto seconds = static_cast<int64_t>(expires_at < kLatest ? expires_at : kLatest);
  return WallTime(Duration(seconds * kSecond - rounded));
}

enum class Removal : uint8_t { Limit, Expired, Deleted, Purged, Acknowledged, Lost };

// Hears what happens to a stream's messages. Called on the store's thread from within the call that
// caused it; may read the stream, must not change it.
class StreamObserver {
 public:
  virtual ~StreamObserver() = default;
  // One message is gone from the index. Not called message by message for a purge.
  virtual void on_removed(uint64_t seq, std::string_view subject, Removal why) = 0;
  // Every message below `below` that matches `filter` (empty: every subject) is gone.
  virtual void on_purged(std::string_view filter, uint64_t below) = 0;
  // A message's time (its own, or max_age) has come. True: the observer sees to it, now or later,
  // after this call; the store asks again in a second if it is still there. False: the store
  // removes it.
  virtual bool on_expiring(const Record& message) = 0;
  // Messages up to `seq` may be shown.
  virtual void on_visible(uint64_t seq) = 0;
};

struct SequenceTime {
  uint64_t seq = 0;
  int64_t timestamp_ns = 0;
};

struct StreamState {
  uint64_t messages = 0;
  uint64_t bytes = 0;  // by nats-server's rule, Record::counted_bytes
  SequenceTime first;  // of an empty stream: last.seq + 1, no time
  SequenceTime last;
  uint64_t subjects = 0;
  uint64_t deleted = 0;  // sequences in [first, last] that are no more
};

// A choice of subjects, compiled for one stream and kept up to date with it. The stream outlives it.
// No pattern at all chooses everything. Loop-confined.
class SubjectFilter {
 public:
  SubjectFilter(Stream& stream, std::vector<std::string> patterns);
  ~SubjectFilter();
  SubjectFilter(const SubjectFilter&) = delete;
  SubjectFilter& operator=(const SubjectFilter&) = delete;
  bool is_all() const { return patterns_.empty(); }
  bool matches(std::string_view subject) const;
  const std::vector<std::string>& patterns() const { return patterns_; }

 private:
  friend class Stream;
  bool matches_id(SubjectId id) const;
  void forget_id(SubjectId id) const;
  void forget_all() { known_.clear(); }
  Stream& stream_;
  const std::vector<std::string> patterns_;
  mutable std::vector<uint64_t> known_;   // a bit per subject id: looked at
  mutable std::vector<uint64_t> chosen_;  // a bit per subject id: matches
};

// What a purge takes. Zero and empty mean "not given".
struct PurgeRequest {
  std::string_view filter;  // literal or with wildcards
  uint64_t below = 0;       // only sequences less than this
  uint64_t keep = 0;        // spare so many of the newest
};

// One stream's messages. Reads see everything appended, durable or not: who shows them to somebody
// waits for `Store::when_durable`, or keeps to `visible_seq`. Views in a returned Record live until
// the next call that is not const or reads another message, on any stream of the store.
// Loop-confined; lives until Store::delete_stream.
class Stream {
 public:
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  const StreamOptions& options() const { return options_; }
  uint32_t id() const { return id_; }
  void set_observer(StreamObserver* observer) { observer_ = observer; }
  // New limits apply at once; what exceeds them goes (Removal::Limit). Storage, account and name
  // stay. The change is durable when `Store::appended()` of now is.
  void update(StreamOptions options);

  StreamState state();
  uint64_t first_seq() const { return first_seq_; }
  uint64_t last_seq() const { return last_seq_; }
  uint64_t messages() const { return messages_; }
  uint64_t bytes() const { return bytes_; }
  // The last sequence that is as durable as promised.
  uint64_t visible_seq() const { return visible_seq_; }
  // Sequences found damaged and given up, ascending, and the bytes they counted if known.
  const std::vector<uint64_t>& lost() const { return lost_; }

  // Takes the next sequence. Fails with LimitExceeded and NATS's own text ("maximum messages
  // exceeded", "maximum bytes exceeded", "maximum messages per subject exceeded"), OutOfSpace,
  // Unavailable (the store has failed or is busy). Removes what the limits no longer allow.
  Result<uint64_t> append(const NewMessage& message);
  // All or none, also across a crash; returns the last sequence.
  Result<uint64_t> append_batch(std::span<const NewMessage> messages);
  // For mirrors: takes that sequence, which must be above last_seq; those between are skipped.
  Status append_at(uint64_t seq, const NewMessage& message);
  // Uses up sequences without a message, up to and with `seq`.
  // `message_id` is remembered as if a message had been stored.
  void skip_to(uint64_t seq, std::string_view message_id = {});

  // False when it is not there. Overwrites the bytes on disk when `erase`.
  bool remove(uint64_t seq, Removal why, bool erase = false);
  // How many were removed.
  uint64_t purge(const PurgeRequest& request);
  // Removes whatever has come to its end by now; see StreamObserver::on_expiring. When to call again:
  // absent when nothing will expire.
  std::optional<WallTime> expire(WallTime now);

  // NotFound: no such message; Corrupt: it was there and is lost now (listed in `lost`); System: the
  // disk failed to read.
  Result<Record> load(uint64_t seq);
  // The first message at or after `from` that the filter chooses and is at most `until`.
  Result<Record> load_next(const SubjectFilter& filter, uint64_t from, uint64_t until = UINT64_MAX);
  // Its sequence only; 0 when none.
  uint64_t next_seq(const SubjectFilter& filter, uint64_t from, uint64_t until = UINT64_MAX);
  // The last message whose subject matches (literal or wildcards), at most `until`.
  Result<Record> load_last(std::string_view pattern, uint64_t until = UINT64_MAX);
  uint64_t last_seq_of(std::string_view pattern, uint64_t until = UINT64_MAX);
  // The last sequence of each subject chosen, ascending; at most `max` of them: empty and false when
  // there are more.
  bool last_seqs(const SubjectFilter& filter, uint64_t until, size_t max, std::vector<uint64_t>& out);
  // Messages from `from` on (included) that the filter chooses. Exact.
  uint64_t count(const SubjectFilter& filter, uint64_t from);
  // Of those, the ones that are the last of their subject.
  uint64_t count_last_per_subject(const SubjectFilter& filter, uint64_t from);
  // The first sequence with a timestamp at or after `at`; last_seq + 1 when none.
  uint64_t seq_at(WallTime at);
  // Every subject that matches and its number of messages, in order of subject.
  void visit_subjects(std::string_view pattern,
                      FunctionRef<void(std::string_view subject, uint64_t count)> visit);
  uint64_t subject_count();
  // Messages on exactly this subject.
  uint64_t count_of(std::string_view subject);
  // The sequences in [first, last] that are no more, as ranges [from, to], ascending; at most `max`.
  void deleted_ranges(size_t max, std::vector<std::pair<uint64_t, uint64_t>>& out);
  // The sequence stored under that message id within the window.
  std::optional<uint64_t> find_message_id(std::string_view id);
  // The id of the last message stored, or empty (Nats-Expected-Last-Msg-Id).
  std::string_view last_message_id() const { return last_message_id_; }

  // Consumers, by name. Put creates or replaces the configuration.
  ConsumerStore& put_consumer(std::string_view name, std::string config, bool in_memory);
  ConsumerStore* find_consumer(std::string_view name);
  void delete_consumer(std::string_view name);
  const std::vector<std::unique_ptr<ConsumerStore>>& consumers() const { return consumers_; }

 private:
  friend class Store;
  friend class SubjectFilter;
  friend class ConsumerStore;
  friend class Checkpoint;

  // A message's place: which piece, and where in it.
  struct Position {
    bool is_sealed = false;
    uint32_t segment = 0;
    uint32_t ordinal = 0;
  };
  struct Expiry {
    WallTime at{};
    uint64_t seq = 0;
    bool operator>(const Expiry& other) const { return at > other.at; }
  };

  Stream(Store& store, uint32_t id, StreamOptions options);

  // --- reading
  void load_if_needed() {
    if (!is_loaded_) load_index();
  }
  const RunIndex* index_of(SealedSegment& segment);
  uint64_t seq_at(const Position& at) const;
  SubjectId subject_at(const Position& at);
  Result<Record> read_at(const Position& at);
  bool find(uint64_t seq, Position& out);
  // The first live message at or after `from`.
  bool scan_first(uint64_t from, Position& out);
  // The first live message in [from, until] whose subject `accepts`; and the last in [down_to, from].
  template <typename Accepts>
  bool scan_forward(uint64_t from, uint64_t until, Accepts accepts, Position& out);
  template <typename Accepts>
  bool scan_backward(uint64_t from, uint64_t down_to, Accepts accepts, Position& out);
  template <typename Accepts>
  uint64_t count_range(uint64_t from, uint64_t until, Accepts accepts);
  bool find_next(const SubjectFilter& filter, uint64_t from, uint64_t until, Position& out);
  bool find_last(std::string_view pattern, uint64_t until, Position& out);
  uint64_t first_of(SubjectId id);
  uint64_t last_of(SubjectId id);
  int64_t timestamp_of(uint64_t seq);
  uint64_t counted(const Record& record) const;
  void mark_lost(uint64_t seq);

  // --- changing
  Status check_limits(const NewMessage& message, uint64_t counted);
  Status check_batch(std::span<const NewMessage> messages);
  SubjectId put(uint64_t seq, const NewMessage& message);
  struct Placed {
    SubjectId subject = kNoSubject;
    std::string_view bytes;  // the record as stored
  };
  Placed place(const Record& record, uint64_t counted);
  MemorySegment& active_for(uint64_t seq, size_t bytes);
  void remove_at(const Position& at, Removal why, bool erase);
  uint64_t remove_matching(const PurgeRequest& request);
  uint64_t first_kept(uint64_t keep);
  void drop_below(uint64_t below);
  void forget(SubjectId id, uint64_t seq);
  void tidy_segment(const Position& at);
  void enforce_limits();
  void enforce_subject_limit(SubjectId id);
  void remove_first(Removal why);
  void move_first();
  bool expire_by_age(WallTime now, std::optional<WallTime>& next);
  void expire_by_ttl(WallTime now, std::optional<WallTime>& next);
  bool offer_to_observer(const Position& at);
  void add_expiry(WallTime at, uint64_t seq);
  void log_removed(uint64_t seq, uint64_t counted);
  void flush_removed();
  void touch();  // asks the store for a place in the next group
  bool is_logged() const;

  // --- starting
  void load_index();
  bool load_sealed(SealedSegment& segment);
  void load_memory(MemorySegment& segment);
  void mend_segment(SealedSegment& segment, RunIndex& index);
  void lose_segment(size_t at);
  Result<std::unique_ptr<RunIndex>> read_index(SealedSegment& segment, bool& is_damaged);
  void adopt_index(SealedSegment& segment, std::unique_ptr<RunIndex> index,
                   const std::vector<SubjectId>& ids);
  void index_message(SubjectId id, uint64_t seq);
  void encode_options(std::string& out) const;
  static bool decode_options(std::string_view bytes, StreamOptions& options);
  void encode_entry(std::string& out) const;
  bool decode_entry(std::string_view bytes);
  void replay_append(const Record& record, bool is_lost);
  void replay_skip(uint64_t seq, int64_t timestamp_ns);
  void replay_lost(uint64_t seq);
  void replay_lost_one(uint64_t seq);
  void replay_removed(std::string_view body);
  void replay_purge(std::string_view body);
  void replay_totals(uint64_t count, uint64_t bytes, uint64_t first);
  void replay_remove_range(uint64_t from, uint64_t to);
  void take_removed(std::string& out);
  ConsumerStore& restore_consumer(uint32_t id, std::string_view name, std::string_view config);
  ConsumerStore* consumer_by_id(uint32_t id);
  void drop_consumer(uint32_t id);
  void adopt_run(const RunInfo& info);
  void remove_from(SealedSegment& segment, const std::vector<std::pair<uint64_t, uint64_t>>& ranges);
  void drop_index(uint64_t file, uint64_t offset);
  void note_removed(uint64_t from, uint64_t to);

  Store& store_;
  const uint32_t id_;
  StreamOptions options_;
  StreamObserver* observer_ = nullptr;
  bool is_loaded_ = true;
  uint64_t first_seq_;
  uint64_t last_seq_;
  int64_t last_timestamp_ns_ = 0;
  uint64_t messages_ = 0;
  uint64_t bytes_ = 0;
  uint64_t visible_seq_;
  std::vector<uint64_t> lost_;
  std::string last_message_id_;
  SubjectIndex subjects_;
  MessageIds ids_;
  std::deque<SealedSegment> sealed_;
  std::deque<std::unique_ptr<MemorySegment>> memory_;  // the last one grows
  std::vector<std::unique_ptr<ConsumerStore>> consumers_;
  uint32_t next_consumer_ = 1;
  std::vector<SubjectFilter*> filters_;
  std::vector<Expiry> expiries_;  // a heap, the next first
  uint64_t age_cursor_ = 0;       // messages before it do not expire by age
  SequenceTime first_time_;       // remembers the first message's timestamp
  std::shared_ptr<const std::string> block_;  // keeps the last record's views alive
  std::string scratch_;
  // Since the last group.
  std::vector<std::pair<uint64_t, uint64_t>> removed_;  // ranges
  uint64_t removed_count_ = 0;
  uint64_t removed_bytes_ = 0;
  // Removed in the log, from pieces not loaded yet.
  std::vector<std::pair<uint64_t, uint64_t>> unloaded_removed_;
  // Since the checkpoint at work began.
  std::vector<std::pair<uint64_t, uint64_t>> removed_meanwhile_;
  bool is_touched_ = false;
};

}  // namespace brokkr::store
