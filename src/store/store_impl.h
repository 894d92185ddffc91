#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "store/catalog.h"
#include "store/scrubber.h"
#include "store/store.h"

namespace brokkr::store {

class Checkpoint;

// What a store is made of; seen by its own files only.
struct Store::Impl {
  using Name = std::pair<std::string, std::string>;  // account, stream
  // A stream's sequence that may be shown once the log is durable up to there.
  struct Unseen {
    Lsn lsn = 0;
    uint32_t stream = 0;
    uint64_t seq = 0;
  };
  struct Waiter {
    Lsn lsn = 0;
    Callback<void()> done;
    Callback<void()> failed;  // may be empty
  };
  // A run file that nothing refers to any more, kept until no catalog on disk does.
  struct Doomed {
    uint64_t file = 0;
    uint64_t checkpoint = 0;  // the number of the first catalog without it
  };

  // A run's index that is in memory.
  struct CachedIndex {
    uint32_t stream = 0;
    uint64_t file = 0;
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };

  // A message whose bytes are to be overwritten in its run, once its removal is durable.
  struct Erasure {
    uint32_t stream = 0;
    uint64_t seq = 0;
  };

  Impl(Options opts, Environment env);
  ~Impl();

  Status open(Store& store);
  struct Opening;
  Status recover(Opening& opening);
  Status read_image(Opening& opening, const CatalogImage& image);
  Stream& add_stream(Store& store, uint32_t id, StreamOptions stream_options);
  void put_stream(Opening& opening, uint32_t id, std::string_view body);
  void apply(Opening& opening, const Frame& frame);
  void apply_to(Stream& stream, const Frame& frame);
  void apply_note(Opening& opening, std::string_view note);
  Status settle_run_files(Opening& opening, const CatalogImage& image, bool is_whole);
  void put_aside(Opening& opening, const std::string& name);
  void adopt_run_file(Opening& opening, uint64_t number);
  void forget(Stream& stream);
  void sync_later();
  void shorten_log_later(Store& store);
  void log_consumers();
  void close_group();
  void show_unlogged();
  void checkpoint_if_due(Store& store);
  void end_checkpoint(Store& store);
  // Asks again and again whether there is room on the disk, until there is.
  void seek_space_later(Store& store);
  void seek_space(Store& store);
  void look_at_free_bytes();
  // Every so many bytes of log.
  void watch_free_bytes(Store& store);
  void remove_doomed();
  void erase_when_durable(Store& store);
  void erase(const Erasure& erasure);
  void start_scrubber();
  std::optional<Scrubber::Target> next_to_scrub();
  void on_scrubbed(const Scrubber::Target& target, const std::vector<uint64_t>& damaged);
  // Checkpoints cannot keep up, or fail: the log has grown far beyond its bound.
  // Looked at once a turn: for each message it would cost more than the message.
  void note_log_size();
  void on_durable(Lsn lsn);
  void on_closing_group(std::string& note);
  void fail(const Error& error);
  Lsn log(FrameType type, uint32_t stream, std::string_view body);
  bool is_logged() const { return wal != nullptr; }
  Result<std::shared_ptr<RunFile>> run_file(uint64_t file);
  void use_file(uint64_t file) { ++file_uses[file]; }
  void release_file(uint64_t file);
  // Counts the index against the cache and drops others beyond it.
  void keep_index(Stream& stream, const SealedSegment& segment);
  std::string path(std::string_view name) const { return options.directory + "/" + std::string(name); }

  const Options options;
  const Environment environment;
  std::unique_ptr<Keyring> keys;
  std::unique_ptr<File> lock;
  std::unique_ptr<Wal> wal;
  std::string store_id;
  std::map<Name, std::unique_ptr<Stream>> streams;
  std::unordered_map<uint32_t, Stream*> by_id;
  std::vector<std::unique_ptr<Stream>> deleted;  // until the turn ends: their callers may be on the stack
  uint32_t next_stream = 1;
  uint64_t next_run_file = 1;

  // Since the last commit.
  std::vector<Stream*> touched;
  std::vector<Stream*> touched_now;
  ConsumerStore::Queue consumer_queue;
  // For the group's note: last sequences, and stream options that were put.
  std::unordered_map<uint32_t, uint64_t> group_seqs;
  std::unordered_map<uint32_t, std::string> group_puts;
  std::string scratch;
  std::deque<Unseen> unseen;
  std::deque<Waiter> waiters;
  std::unique_ptr<Error> failure;
  Callback<void(const Error&)> failed;
  bool is_committing = false;
  Lsn handed_over = 0;  // end of what the last commit gave to the log

  // Run files.
  std::unordered_map<uint64_t, std::shared_ptr<RunFile>> files;
  std::unordered_map<uint64_t, uint32_t> file_uses;  // segments in it
  std::vector<Doomed> doomed;
  std::vector<Erasure> erasures;
  std::unique_ptr<Scrubber> scrubber;
  // The run it was given last: of which stream, and the last sequence in it.
  std::pair<uint32_t, uint64_t> scrubbed{0, 0};
  std::deque<CachedIndex> indexes;  // the oldest first
  uint64_t index_bytes = 0;

  // Checkpoints.
  std::unique_ptr<Checkpoint> checkpoint;
  std::vector<Callback<void(const Status&)>> checkpoint_waiters;
  bool is_retrying = false;  // checkpoints
  bool is_seeking_space = false;
  bool is_short_of_space = false;  // little more is free than `free_bytes_min`
  Lsn looked_lsn = 0;              // when that was found out
  uint64_t catalog_number = 0;
  Lsn catalog_lsn = 0;           // of the newest catalog
  bool is_over_log_limit = false;  // as of the last turn: appends are refused
  Lsn previous_catalog_lsn = 0;  // of the one before
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
};

void encode_run(const SealedSegment& segment, std::string& out);
bool decode_run(class Decoder& in, SealedSegment& segment);

}  // namespace brokkr::store
