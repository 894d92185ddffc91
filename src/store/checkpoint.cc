#include "store/checkpoint.h"

#include <algorithm>

#include "store/coding.h"

namespace brokkr::store {
namespace {

// Runs up to this size are merged when so many of them are together at a stream's end.
constexpr uint64_t kSmallRunBytes = 4 << 20;
constexpr size_t kSmallRunsMax = 8;
// A run of which less than half is left is written anew.
constexpr uint32_t kThinCountMin = 256;
// Old bytes one checkpoint reads at most for merging.
constexpr uint64_t kMergeBytesMax = 64 << 20;
// Runs from this size on have a file of their own, which goes when they go.
constexpr uint64_t kOwnFileBytes = 1 << 20;
constexpr Duration kRetry = std::chrono::seconds(1);
// The log may grow to so many times what a checkpoint waits for, when checkpoints fail.
constexpr uint64_t kLogLimitFactor = 8;

bool is_thin(const SealedSegment& segment) {
  if (segment.is_to_forget && !segment.is_damaged) return true;
  return segment.info.count >= kThinCountMin && segment.live * 2 < segment.info.count &&
         !segment.is_damaged;
}

}  // namespace

Checkpoint::Checkpoint(Store::Impl& store) : store_(store) {}

Checkpoint::~Checkpoint() = default;

// --- the picture

void Checkpoint::begin() {
  number_ = store_.catalog_number + 1;
  lsn_ = store_.wal->appended();
  first_file_ = next_file_ = store_.next_run_file;
  now_ns_ = store_.environment.clock.wall_now().time_since_epoch().count();
  image_.store_id = store_.store_id;
  image_.lsn = lsn_;
  image_.next_stream = store_.next_stream;
  std::vector<Stream*> streams;
  for (const auto& [id, stream] : store_.by_id) streams.push_back(stream);
  std::sort(streams.begin(), streams.end(),
            [](const Stream* a, const Stream* b) { return a->id() < b->id(); });
  for (Stream* stream : streams) add_stream(*stream);
  // Large runs have a file each, the small ones share one.
  store_.next_run_file += jobs_.size() + 1;
  image_.next_run_file = store_.next_run_file;
}

void Checkpoint::add_stream(Stream& stream) {
  if (!stream.unloaded_removed_.empty()) stream.load_if_needed();
  Entry entry;
  entry.stream = stream.id();
  stream.encode_entry(entry.head);
  stream.removed_meanwhile_.clear();
  if (stream.options().storage == Storage::File) plan(stream, entry);
  for (const auto& consumer : stream.consumers_) {
    if (consumer->in_memory()) continue;
    std::string bytes;
    put_text(bytes, consumer->name());
    put_text(bytes, consumer->config());
    consumer->encode(bytes);
    image_.consumers.push_back({stream.id(), consumer->id(), lsn_, image_.keep(std::move(bytes))});
  }
  entries_.push_back(std::move(entry));
}

// Decides which runs stay and which are written anew, with what is in memory at the end.
void Checkpoint::plan(Stream& stream, Entry& entry) {
  const auto& sealed = stream.sealed_;
  const bool with_memory = std::any_of(stream.memory_.begin(), stream.memory_.end(),
                                       [](const auto& segment) { return segment->live() > 0; });
  size_t tail = sealed.size();
  uint64_t merged = 0;
  while (tail > 0 && sealed[tail - 1].info.bytes < kSmallRunBytes && !sealed[tail - 1].is_damaged &&
         merged < kMergeBytesMax) {
    merged += sealed[--tail].info.bytes;
  }
  if (sealed.size() - tail < kSmallRunsMax) tail = sealed.size();
  for (size_t i = 0; i < tail; ++i) {
    if (is_thin(sealed[i]) && merged < kMergeBytesMax) {
      merged += sealed[i].info.bytes;
      add_job(stream, entry, i, i + 1, false);
      continue;
    }
    entry.runs.emplace_back();
    encode_run(sealed[i], entry.runs.back());
  }
  if (with_memory || tail < sealed.size()) add_job(stream, entry, tail, sealed.size(), with_memory);
}

void Checkpoint::add_job(Stream& stream, Entry& entry, size_t first, size_t last, bool with_memory) {
  Job job;
  job.stream = stream.id();
  job.owner.stream = stream.id();
  job.owner.account = stream.options().account;
  job.owner.name = stream.options().name;
  stream.encode_options(job.owner.config);
  job.compression = stream.options().compression;
  bool all_open = true;
  for (size_t i = first; i < last; ++i) {
    const SealedSegment& segment = stream.sealed_[i];
    auto file = store_.run_file(segment.info.file);
    all_open = all_open && file;
    if (file) job.sources.push_back({*file, segment.info, segment.removed});
    job.bytes += segment.live_bytes;
  }
  if (!all_open) {
    job.sources.clear();
    for (size_t i = first; i < last; ++i) {
      entry.runs.emplace_back();
      encode_run(stream.sealed_[i], entry.runs.back());
    }
  }
  for (size_t i = first; i < last; ++i) stream.sealed_[i].is_moving = all_open;
  if (with_memory) {
    for (const auto& segment : stream.memory_) {
      segment->freeze();
      job.bytes += segment->byte_size();
      segment->add_to(job.images);
    }
  }
  if (job.sources.empty() && job.images.empty()) return;
  entry.jobs.push_back(jobs_.size());
  entry.runs.emplace_back();
  jobs_.push_back(std::move(job));
}

// --- the work

void Checkpoint::work() {
  status_ = write_runs();
  if (status_) status_ = write_image();
}

Status Checkpoint::write_runs() {
  std::unique_ptr<RunWriter> shared;
  const auto create = [&] {
    return RunWriter::create(store_.environment.files,
                             {store_.path("runs"), next_file_++, store_.keys.get(),
                              now_ns_ - Duration(std::chrono::hours(24)).count()});
  };
  for (Job& job : jobs_) {
    if (job.bytes < kOwnFileBytes) {
      if (shared == nullptr) {
        auto created = create();
        if (!created) return created.error();
        shared = std::move(*created);
      }
      if (Status written = write_run(*shared, job); !written) return written;
      continue;
    }
    auto own = create();
    if (!own) return own.error();
    if (Status written = write_run(**own, job); !written) return written;
    if (job.result.count == 0) continue;
    if (Status finished = (*own)->finish(); !finished) return finished;
  }
  const bool is_used = std::any_of(jobs_.begin(), jobs_.end(), [](const Job& job) {
    return job.bytes < kOwnFileBytes && job.result.count > 0;
  });
  return shared != nullptr && is_used ? shared->finish() : Status();
}

Status Checkpoint::write_run(RunWriter& writer, Job& job) {
  writer.begin_run(job.owner, job.compression);
  for (const Source& source : job.sources) {
    if (Status written = write_source(writer, source); !written) return written;
  }
  for (const MemorySegment::Image& image : job.images) {
    for (const std::string_view record : image.records) {
      if (Status added = writer.add(record); !added) return added;
    }
  }
  auto info = writer.end_run();
  if (!info) return info.error();
  job.result = *info;
  return {};
}

Status Checkpoint::write_source(RunWriter& writer, const Source& source) {
  bool is_damaged = false;
  auto index = source.file->load_index(source.info, is_damaged);
  if (!index) return index.error();
  // The ordinals of `removed` are those of the whole index.
  if (is_damaged) return Error{Errc::Corrupt, "a run to merge is damaged"};
  std::shared_ptr<const std::string> block;
  std::string bytes;
  for (uint32_t o = 0; o < (*index)->info.count; ++o) {
    if (!source.removed.empty() && (source.removed[o / 64] >> (o % 64) & 1) != 0) continue;
    auto read = source.file->read(**index, o, block);
    if (!read) return read.error();
    block = read->block;
    if (read->damage != RecordDamage::None) return Error{Errc::Corrupt, "a run to merge is damaged"};
    bytes.clear();
    append_record(read->record, bytes);
    if (Status added = writer.add(bytes); !added) return added;
  }
  return {};
}

Status Checkpoint::write_image() {
  for (Entry& entry : entries_) {
    size_t job = 0;
    std::vector<std::string> runs;
    for (std::string& run : entry.runs) {
      if (!run.empty()) {
        runs.push_back(std::move(run));
        continue;
      }
      const RunInfo& info = jobs_[entry.jobs[job++]].result;
      if (info.count == 0) continue;
      SealedSegment segment;
      segment.info = info;
      segment.live = info.count;
      segment.live_bytes = info.bytes;
      runs.emplace_back();
      encode_run(segment, runs.back());
    }
    std::string bytes = std::move(entry.head);
    put_varint(bytes, runs.size());
    for (const std::string& run : runs) bytes.append(run);
    image_.streams.push_back({entry.stream, 0, lsn_, image_.keep(std::move(bytes))});
  }
  return write_catalog(store_.environment.files, store_.options.directory, number_, image_, store_.keys.get());
}

// --- the result

void Checkpoint::finish() {
  if (!status_) return give_up();
  store_.catalog_number = number_;
  store_.previous_catalog_lsn = store_.catalog_lsn;
  store_.catalog_lsn = lsn_;
  // All at first: runs that are gone already share their file with others.
  for (const Job& job : jobs_) {
    if (job.result.count > 0) store_.use_file(job.result.file);
  }
  for (const Job& job : jobs_) {
    const auto at = store_.by_id.find(job.stream);
    if (at != store_.by_id.end()) {
      place_result(*at->second, job);
    } else if (job.result.count > 0) {
      store_.release_file(job.result.file);
    }
  }
  for (const auto& [id, stream] : store_.by_id) stream->removed_meanwhile_.clear();
  // The catalog before this one may still be needed, with the log from there on.
  store_.wal->release_before(store_.previous_catalog_lsn + 1);
  store_.remove_doomed();
}

// What was to be written stays where it was, in memory and in the log.
void Checkpoint::give_up() {
  for (const auto& [id, stream] : store_.by_id) {
    for (SealedSegment& segment : stream->sealed_) {
      // Damage is left alone until somebody reads it.
      if (segment.is_moving && status_.error().code == Errc::Corrupt) segment.is_damaged = true;
      segment.is_moving = false;
    }
    stream->removed_meanwhile_.clear();
  }
  for (uint64_t file = first_file_; file < next_file_; ++file) {
    (void)store_.environment.files.remove(store_.path("runs/" + run_file_name(file)));
  }
}

// The new run takes the place of what went into it, without what has been removed meanwhile.
void Checkpoint::place_result(Stream& stream, const Job& job) {
  const auto was_moved = [&](const SealedSegment& segment) {
    return std::any_of(job.sources.begin(), job.sources.end(), [&](const Source& source) {
      return source.info.file == segment.info.file && source.info.offset == segment.info.offset;
    });
  };
  size_t position = stream.sealed_.size();
  for (size_t i = position; i-- > 0;) {
    if (!was_moved(stream.sealed_[i])) continue;
    store_.release_file(stream.sealed_[i].info.file);
    stream.sealed_.erase(stream.sealed_.begin() + static_cast<ptrdiff_t>(i));
    position = i;
  }
  if (!job.images.empty()) {
    position = stream.sealed_.size();
    std::erase_if(stream.memory_, [](const auto& segment) { return segment->is_frozen(); });
  }
  if (job.result.count == 0) return;
  SealedSegment segment;
  segment.info = job.result;
  segment.live = job.result.count;
  segment.live_bytes = job.result.bytes;
  auto& placed = *stream.sealed_.insert(stream.sealed_.begin() + static_cast<ptrdiff_t>(position), std::move(segment));
  stream.remove_from(placed, stream.removed_meanwhile_);
  if (placed.live > 0) return;
  store_.release_file(placed.info.file);
  stream.sealed_.erase(stream.sealed_.begin() + static_cast<ptrdiff_t>(position));
}

// --- when

void Store::Impl::checkpoint_if_due(Store& store) {
  if (checkpoint != nullptr || failure != nullptr || is_retrying) return;
  const bool is_wanted = !checkpoint_waiters.empty();
  if (!is_wanted && wal->bytes_since(catalog_lsn) < options.checkpoint_bytes) return;
  if (wal->has_uncommitted()) return;
  checkpoint = std::make_unique<Checkpoint>(*this);
  checkpoint->begin();
  // The picture may show what is not durable yet; nothing of it may reach the disk before the log.
  store.when_durable([this, &store] {
    environment.background_executor.run([this] { checkpoint->work(); },
                                        [this, &store, is_alive = alive] {
                                          if (*is_alive) end_checkpoint(store);
                                        });
  });
}

void Store::Impl::end_checkpoint(Store& store) {
  checkpoint->finish();
  note_log_size();
  const Status status = checkpoint->status();
  checkpoint.reset();
  auto waiting = std::move(checkpoint_waiters);
  checkpoint_waiters.clear();
  if (!status) {
    environment.log.error("JetStream store: cannot empty the log: " + status.error().text);
    is_retrying = true;
    environment.after(kRetry, [this, &store, is_alive = alive] {
      if (!*is_alive) return;
      is_retrying = false;
      checkpoint_if_due(store);
    });
  }
  look_at_free_bytes();
  if (is_short_of_space || wal->is_full()) seek_space_later(store);
  for (const auto& done : waiting) done(status);
}

void Store::Impl::note_log_size() {
  is_over_log_limit = wal->bytes_since(catalog_lsn) > kLogLimitFactor * options.checkpoint_bytes;
}

void Store::checkpoint(Callback<void(const Status&)> done) {
  if (impl_->wal == nullptr) return done({});
  if (impl_->failure != nullptr) return done(*impl_->failure);
  impl_->checkpoint_waiters.push_back(std::move(done));
  if (!has_uncommitted()) impl_->checkpoint_if_due(*this);
}

// --- files and caches

void Store::Impl::release_file(uint64_t file) {
  const auto uses = file_uses.find(file);
  if (uses == file_uses.end() || --uses->second > 0) return;
  file_uses.erase(uses);
  files.erase(file);
  doomed.push_back({file, catalog_number + (checkpoint == nullptr ? 1 : 2)});
}

// Two catalogs are on disk; a file goes when neither names it.
void Store::Impl::remove_doomed() {
  std::erase_if(doomed, [this](const Doomed& file) {
    if (catalog_number < file.checkpoint + 1) return false;
    DCHECK(!file_uses.contains(file.file));
    environment.background_executor.run(
        [&files = environment.files, name = path("runs/" + run_file_name(file.file))] { (void)files.remove(name); },
        [] {});
    return true;
  });
}

void Store::Impl::keep_index(Stream& stream, const SealedSegment& segment) {
  const RunIndex& index = *segment.index;
  const uint64_t bytes = index.seqs.size() * 8 + index.subjects.size() * 4 + index.positions.size() * 8 + index.sizes.size() * 4;
  indexes.push_back({stream.id(), segment.info.file, segment.info.offset, bytes});
  index_bytes += bytes;
  // Some are always kept: those being used now.
  while (index_bytes > options.cache_bytes && indexes.size() > 8) {
    const CachedIndex oldest = indexes.front();
    indexes.pop_front();
    index_bytes -= oldest.bytes;
    const auto at = by_id.find(oldest.stream);
    if (at != by_id.end()) at->second->drop_index(oldest.file, oldest.offset);
  }
}

void Store::Impl::sync_later() {
  if (options.sync != SyncMode::Interval) return;
  environment.after(options.sync_interval, [this, is_alive = alive] {
    if (!*is_alive) return;
    wal->sync_now();
    sync_later();
  });
}

}  // namespace brokkr::store
