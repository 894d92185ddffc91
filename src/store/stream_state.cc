// A stream's way through a restart: what the catalog and the log keep of it.
#include <algorithm>

#include "store/coding.h"
#include "store/store_impl.h"
#include "store/stream.h"

namespace brokkr::store {
namespace {

constexpr uint64_t kDiscardNew = 1;
constexpr uint64_t kDiscardNewPerSubject = 2;
constexpr uint64_t kAsyncPersist = 4;
// More damaged sequences than this are counted, not listed.
constexpr size_t kLostMax = 1 << 20;
enum class RemovedForm : uint8_t { None, List, Bitmap };

void encode_removed(const SealedSegment& segment, std::string& out) {
  size_t count = 0;
  for (const uint64_t word : segment.removed) count += static_cast<size_t>(__builtin_popcountll(word));
  if (count == 0) {
    out.push_back(static_cast<char>(RemovedForm::None));
    return;
  }
  if (count * 16 > segment.info.count) {
    out.push_back(static_cast<char>(RemovedForm::Bitmap));
    for (const uint64_t word : segment.removed) {
      for (int shift = 0; shift < 64; shift += 8) out.push_back(static_cast<char>(word >> shift));
    }
    return;
  }
  out.push_back(static_cast<char>(RemovedForm::List));
  put_varint(out, count);
  uint32_t last = 0;
  for (uint32_t o = 0; o < segment.info.count; ++o) {
    if (segment.is_live(o)) continue;
    put_varint(out, o - last);
    last = o;
  }
}

bool decode_removed(Decoder& in, SealedSegment& segment) {
  const std::string_view form = in.bytes(1);
  if (!in.ok()) return false;
  const size_t words = (size_t{segment.info.count} + 63) / 64;
  switch (static_cast<RemovedForm>(form[0])) {
    case RemovedForm::None: return true;
    case RemovedForm::Bitmap: {
      const std::string_view bytes = in.bytes(words * 8);
      if (!in.ok()) return false;
      segment.removed.resize(words);
      for (size_t i = 0; i < bytes.size(); ++i) {
        segment.removed[i / 8] |= uint64_t{static_cast<uint8_t>(bytes[i])} << (i % 8 * 8);
      }
      return true;
    }
    case RemovedForm::List: {
      const uint64_t count = in.count();
      segment.removed.resize(in.ok() ? words : 0);
      uint64_t ordinal = 0;
      for (uint64_t i = 0; i < count && in.ok(); ++i) {
        ordinal += in.varint();
        if (ordinal >= segment.info.count) return false;
        segment.removed[ordinal / 64] |= uint64_t{1} << (ordinal % 64);
      }
      return in.ok();
    }
  }
  return false;
}

}  // namespace

void encode_run(const SealedSegment& segment, std::string& out) {
  const RunInfo& info = segment.info;
  for (const uint64_t value : {info.file, info.offset, info.footer_offset, uint64_t{info.footer_bytes},
                               info.first_seq, info.last_seq, uint64_t{info.count}, info.bytes}) {
    put_varint(out, value);
  }
  put_signed(out, info.first_ts);
  put_signed(out, info.last_ts);
  put_varint(out, info.min_expires_at);
  put_varint(out, segment.live);
  put_varint(out, segment.live_bytes);
  encode_removed(segment, out);
}

bool decode_run(Decoder& in, SealedSegment& segment) {
  RunInfo& info = segment.info;
  info.file = in.varint();
  info.offset = in.varint();
  info.footer_offset = in.varint();
  info.footer_bytes = static_cast<uint32_t>(in.varint());
  info.first_seq = in.varint();
  info.last_seq = in.varint();
  info.count = static_cast<uint32_t>(in.varint());
  info.bytes = in.varint();
  info.first_ts = in.signed_varint();
  info.last_ts = in.signed_varint();
  info.min_expires_at = in.varint();
  segment.live = static_cast<uint32_t>(in.varint());
  segment.live_bytes = in.varint();
  return in.ok() && info.first_seq <= info.last_seq && info.count > 0 &&
         info.count - 1 <= info.last_seq - info.first_seq && decode_removed(in, segment);
}

// --- encoding

void Stream::encode_options(std::string& out) const {
  put_text(out, options_.account);
  put_text(out, options_.name);
  put_text(out, options_.config);
  put_varint(out, static_cast<uint64_t>(options_.storage));
  put_varint(out, static_cast<uint64_t>(options_.compression));
  put_varint(out, options_.first_seq);
  put_signed(out, options_.created.time_since_epoch().count());
  const StreamLimits& limits = options_.limits;
  put_signed(out, limits.max_msgs);
  put_signed(out, limits.max_bytes);
  put_signed(out, limits.max_msgs_per_subject);
  put_signed(out, limits.max_age.count());
  put_signed(out, limits.duplicate_window.count());
  put_varint(out, (limits.discard_new ? kDiscardNew : 0) |
                      (limits.discard_new_per_subject ? kDiscardNewPerSubject : 0) |
                      (options_.async_persist ? kAsyncPersist : 0));
}

bool Stream::decode_options(std::string_view bytes, StreamOptions& options) {
  Decoder in(bytes);
  options.account = in.text();
  options.name = in.text();
  options.config = in.text();
  options.storage = in.varint() == 0 ? Storage::File : Storage::Memory;
  const uint64_t compression = in.varint();
  options.compression = compression <= 2 ? static_cast<Compression>(compression) : Compression::None;
  options.first_seq = in.varint();
  options.created = WallTime(Duration(in.signed_varint()));
  StreamLimits& limits = options.limits;
  limits.max_msgs = in.signed_varint();
  limits.max_bytes = in.signed_varint();
  limits.max_msgs_per_subject = in.signed_varint();
  limits.max_age = Duration(in.signed_varint());
  limits.duplicate_window = Duration(in.signed_varint());
  const uint64_t flags = in.varint();
  limits.discard_new = (flags & kDiscardNew) != 0;
  limits.discard_new_per_subject = (flags & kDiscardNewPerSubject) != 0;
  options.async_persist = (flags & kAsyncPersist) != 0;
  return in.done();
}

// The number of runs and the runs follow what this writes.
void Stream::encode_entry(std::string& out) const {
  std::string options;
  encode_options(options);
  put_text(out, options);
  put_varint(out, next_consumer_);
  const bool keeps_messages = options_.storage == Storage::File;
  put_varint(out, keeps_messages ? first_seq_ : 1);
  put_varint(out, keeps_messages ? last_seq_ : 0);
  put_signed(out, last_timestamp_ns_);
  put_varint(out, keeps_messages ? messages_ : 0);
  put_varint(out, keeps_messages ? bytes_ : 0);
  put_text(out, last_message_id_);
  put_varint(out, lost_.size());
  uint64_t last = 0;
  for (const uint64_t seq : lost_) {
    put_varint(out, seq - last);
    last = seq;
  }
}

// `bytes` is the entry after its options.
bool Stream::decode_entry(std::string_view bytes) {
  Decoder in(bytes);
  next_consumer_ = static_cast<uint32_t>(in.varint());
  first_seq_ = in.varint();
  last_seq_ = in.varint();
  last_timestamp_ns_ = in.signed_varint();
  messages_ = in.varint();
  bytes_ = in.varint();
  last_message_id_ = in.text();
  const uint64_t lost = in.count();
  uint64_t seq = 0;
  for (uint64_t i = 0; i < lost && in.ok(); ++i) {
    seq += in.varint();
    lost_.push_back(seq);
  }
  const uint64_t runs = in.count();
  for (uint64_t i = 0; i < runs && in.ok(); ++i) {
    SealedSegment segment;
    if (!decode_run(in, segment)) return false;
    store_.impl_->use_file(segment.info.file);
    sealed_.push_back(std::move(segment));
  }
  visible_seq_ = last_seq_;
  is_loaded_ = false;
  return in.done();
}

// --- replay

void Stream::replay_append(const Record& record, bool is_lost) {
  if (record.seq <= last_seq_) return;
  for (uint64_t seq = last_seq_ + 1; seq < record.seq && lost_.size() < kLostMax; ++seq) {
    lost_.push_back(seq);
  }
  is_loaded_ = false;
  last_timestamp_ns_ = record.timestamp_ns;
  last_message_id_ = store::find_message_id(record.headers);
  if (is_lost) {
    lost_.push_back(record.seq);
  } else {
    active_for(record.seq, record_bytes(record)).append(record, kNoSubject);
    if (messages_ == 0) first_seq_ = record.seq;
    ++messages_;
    bytes_ += counted(record);
  }
  last_seq_ = visible_seq_ = record.seq;
  if (messages_ == 0) first_seq_ = last_seq_ + 1;
}

void Stream::replay_skip(uint64_t seq, int64_t timestamp_ns) {
  if (seq <= last_seq_) return;
  last_seq_ = visible_seq_ = seq;
  last_timestamp_ns_ = timestamp_ns;
  if (messages_ == 0) first_seq_ = last_seq_ + 1;
}

// Sequences up to `seq` were used, and what they held cannot be read.
void Stream::replay_lost(uint64_t seq) {
  for (uint64_t lost = last_seq_ + 1; lost <= seq && lost_.size() < kLostMax; ++lost) {
    lost_.push_back(lost);
  }
  replay_skip(seq, last_timestamp_ns_);
}

void Stream::replay_lost_one(uint64_t seq) {
  const auto at = std::lower_bound(lost_.begin(), lost_.end(), seq);
  if (at == lost_.end() || *at != seq) lost_.insert(at, seq);
}

void Stream::replay_removed(std::string_view body) {
  Decoder in(body);
  const uint64_t count = in.varint();
  const uint64_t bytes = in.varint();
  const uint64_t first = in.varint();
  const uint64_t ranges = in.count();
  uint64_t last = 0;
  for (uint64_t i = 0; i < ranges && in.ok(); ++i) {
    const uint64_t from = last + static_cast<uint64_t>(in.signed_varint());
    last = from + in.varint();
    if (in.ok() && from <= last && last <= last_seq_) replay_remove_range(from, last);
  }
  replay_totals(count, bytes, first);
}

void Stream::replay_purge(std::string_view body) {
  Decoder in(body);
  const uint64_t below = in.varint();
  const uint64_t count = in.varint();
  const uint64_t bytes = in.varint();
  const uint64_t first = in.varint();
  if (!in.ok() || below == 0) return;
  if (below > last_seq_) {
    for (const SealedSegment& segment : sealed_) store_.impl_->release_file(segment.info.file);
    sealed_.clear();
    memory_.clear();
    unloaded_removed_.clear();
    last_seq_ = visible_seq_ = below - 1;
    is_loaded_ = false;
  } else {
    replay_remove_range(0, below - 1);
  }
  replay_totals(count, bytes, first);
}

void Stream::replay_totals(uint64_t count, uint64_t bytes, uint64_t first) {
  messages_ -= std::min(messages_, count);
  bytes_ -= std::min(bytes_, bytes);
  first_seq_ = std::max(first_seq_, std::min(first, last_seq_ + 1));
}

void Stream::replay_remove_range(uint64_t from, uint64_t to) {
  is_loaded_ = false;
  while (!sealed_.empty() && sealed_.front().info.last_seq <= to && sealed_.front().info.first_seq >= from) {
    store_.impl_->release_file(sealed_.front().info.file);
    sealed_.pop_front();
  }
  if (!sealed_.empty() && from <= sealed_.back().info.last_seq && to >= sealed_.front().info.first_seq) {
    unloaded_removed_.emplace_back(from, to);
  }
  for (size_t s = memory_.size(); s-- > 0;) {
    MemorySegment& segment = *memory_[s];
    if (segment.next_seq() <= from) break;
    for (uint32_t o = segment.lower_bound(from); o < segment.ordinals() && segment.seq_at(o) <= to; ++o) {
      if (segment.is_live(o)) segment.remove(o, false);
    }
    const bool is_last = s + 1 == memory_.size();
    if (segment.live() == 0 && !is_last) memory_.erase(memory_.begin() + static_cast<ptrdiff_t>(s));
  }
}

// --- loading

// Builds the subject index from the runs' footers and from memory. Counts become exact again, even
// if damage made them drift.
void Stream::load_index() {
  is_loaded_ = true;
  subjects_.clear();
  ids_.clear();
  expiries_.clear();
  age_cursor_ = 0;
  for (SubjectFilter* filter : filters_) filter->forget_all();
  messages_ = bytes_ = 0;
  for (size_t s = 0; s < sealed_.size();) {
    if (load_sealed(sealed_[s])) {
      ++s;
    } else {
      lose_segment(s);
    }
  }
  unloaded_removed_.clear();
  for (const auto& segment : memory_) load_memory(*segment);
  std::make_heap(expiries_.begin(), expiries_.end(), std::greater<>());
  if (messages_ == 0) first_seq_ = last_seq_ + 1;
  Position at;
  if (messages_ > 0 && !find(first_seq_, at) && scan_first(0, at)) first_seq_ = seq_at(at);
}

const RunIndex* Stream::index_of(SealedSegment& segment) {
  if (segment.index != nullptr) return segment.index.get();
  bool is_damaged = false;
  auto index = read_index(segment, is_damaged);
  if (!index || (*index)->info.count != segment.info.count) return nullptr;
  std::vector<SubjectId> ids((*index)->names.size());
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = subjects_.find((*index)->names[i].text);
  adopt_index(segment, std::move(*index), ids);
  return segment.index.get();
}

Result<std::unique_ptr<RunIndex>> Stream::read_index(SealedSegment& segment, bool& is_damaged) {
  if (segment.file == nullptr) {
    auto file = store_.impl_->run_file(segment.info.file);
    if (!file) return file.error();
    segment.file = std::move(*file);
  }
  if (segment.info.offset >= segment.file->size()) return Error{Errc::Corrupt, "the file ends before it"};
  return segment.file->load_index(segment.info, is_damaged);
}

// From here on the index speaks the stream's subject ids.
void Stream::adopt_index(SealedSegment& segment, std::unique_ptr<RunIndex> index,
                         const std::vector<SubjectId>& ids) {
  for (uint32_t& subject : index->subjects) subject = ids[subject];
  index->names = {};
  index->expiries = {};
  index->ids = {};
  index->text = {};
  index->owner = {};
  segment.index = std::move(index);
  store_.impl_->keep_index(*this, segment);
}

// False when the run is lost.
bool Stream::load_sealed(SealedSegment& segment) {
  segment.index = nullptr;
  bool is_damaged = false;
  auto read = read_index(segment, is_damaged);
  if (!read) {
    store_.impl_->environment.log.error("stream " + options_.name + ": cannot read the index of " +
                                        run_file_name(segment.info.file) + ": " + read.error().text);
    // A disk that does not answer today may tomorrow.
    messages_ += segment.live;
    bytes_ += segment.live_bytes;
    return read.error().code != Errc::Corrupt && read.error().code != Errc::NotFound;
  }
  std::unique_ptr<RunIndex> index = std::move(*read);
  if (is_damaged) mend_segment(segment, *index);
  for (const auto& [from, to] : unloaded_removed_) {
    for (uint32_t o = index->lower_bound(from); o < index->info.count && index->seq_at(o) <= to; ++o) {
      if (segment.is_live(o)) segment.mark_removed(o);
    }
  }
  std::vector<SubjectId> ids(index->names.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    const RunIndex::Subject& name = index->names[i];
    ids[i] = subjects_.intern(name.text);
    SubjectIndex::Entry& entry = subjects_.entry(ids[i]);
    if (entry.count == 0) entry.first_seq = name.first_seq;
    entry.count += name.count;
    entry.last_seq = name.last_seq;
  }
  for (const RunIndex::Expiry& expiry : index->expiries) {
    expiries_.push_back({expiry_time(0, expiry.expires_at), expiry.seq});
  }
  for (const RunIndex::MessageId& id : index->ids) {
    ids_.put({id.hash[0], id.hash[1]}, id.seq, segment.info.last_ts);
  }
  adopt_index(segment, std::move(index), ids);
  segment.live_bytes = 0;
  segment.live = 0;
  for (uint32_t o = 0; o < segment.info.count; ++o) {
    if (segment.is_live(o)) {
      ++segment.live;
      segment.live_bytes += segment.index->sizes[o];
    } else {
      forget(segment.index->subjects[o], segment.index->seq_at(o));
    }
  }
  messages_ += segment.live;
  bytes_ += segment.live_bytes;
  return true;
}

// The index was rebuilt without some messages, so ordinals have moved.
void Stream::mend_segment(SealedSegment& segment, RunIndex& index) {
  const bool was_dense = segment.info.last_seq - segment.info.first_seq + 1 == segment.info.count;
  SealedSegment mended;
  mended.info = index.info;
  mended.file = segment.file;
  mended.live = index.info.count;
  const bool is_complete = index.info.count == segment.info.count;
  if (is_complete) mended.removed = segment.removed;
  // With gaps ordinals can only be told when it is the end that is missing.
  const bool is_cut = !is_complete && !was_dense && index.info.last_seq < segment.info.last_seq;
  for (uint32_t at = 0; is_cut && at < index.info.count; ++at) {
    if (!segment.is_live(at)) mended.mark_removed(at);
  }
  uint32_t o = 0;
  for (uint64_t seq = segment.info.first_seq; !is_complete && seq <= segment.info.last_seq; ++seq) {
    const auto old = static_cast<uint32_t>(seq - segment.info.first_seq);
    const bool is_there = o < index.info.count && index.seq_at(o) == seq;
    if (!was_dense) {
      // What the run had not got cannot be told from what is missing now.
      if (!is_there && lost_.size() < kLostMax) replay_lost_one(seq);
    } else if (!segment.is_live(old)) {
      if (is_there) mended.mark_removed(o);
    } else if (!is_there) {
      replay_lost_one(seq);
    }
    if (is_there) ++o;
  }
  segment = std::move(mended);
}

// Marks what is in the ranges as removed; counts of the stream do not change.
void Stream::remove_from(SealedSegment& segment, const std::vector<std::pair<uint64_t, uint64_t>>& ranges) {
  if (ranges.empty()) return;
  const RunIndex* index = index_of(segment);
  if (index == nullptr) return;
  for (const auto& [from, to] : ranges) {
    for (uint32_t o = index->lower_bound(from); o < index->info.count && index->seq_at(o) <= to; ++o) {
      if (!segment.is_live(o)) continue;
      segment.mark_removed(o);
      segment.live_bytes -= std::min<uint64_t>(segment.live_bytes, index->sizes[o]);
    }
  }
}

void Stream::drop_index(uint64_t file, uint64_t offset) {
  for (SealedSegment& segment : sealed_) {
    if (segment.info.file == file && segment.info.offset == offset) segment.index = nullptr;
  }
}

// A run found without a catalog. Where runs overlap (one was being merged into the other), the part
// that is there already counts.
void Stream::adopt_run(const RunInfo& info) {
  // What the log still has comes from there: it knows what was removed since.
  if (!memory_.empty() && memory_.front()->first_seq() <= info.first_seq &&
      memory_.back()->next_seq() > info.last_seq) {
    return;
  }
  const auto overlaps = [&](const SealedSegment& other) {
    return info.first_seq <= other.info.last_seq && other.info.first_seq <= info.last_seq;
  };
  const auto rival = std::find_if(sealed_.begin(), sealed_.end(), overlaps);
  if (rival != sealed_.end()) {
    if (rival->info.count >= info.count) return;
    std::erase_if(sealed_, overlaps);
  }
  SealedSegment segment;
  segment.info = info;
  segment.live = info.count;
  segment.live_bytes = info.bytes;
  const auto at = std::find_if(sealed_.begin(), sealed_.end(), [&](const SealedSegment& other) {
    return other.info.first_seq > info.last_seq;
  });
  sealed_.insert(at, std::move(segment));
  store_.impl_->use_file(info.file);
  is_loaded_ = false;
  if (info.last_seq > last_seq_) {
    last_seq_ = visible_seq_ = info.last_seq;
    last_timestamp_ns_ = info.last_ts;
  }
  first_seq_ = sealed_.front().info.first_seq;
  messages_ += info.count;
  bytes_ += info.bytes;
}

// A run that cannot be read at all: its messages are lost; its file stays where it is.
void Stream::lose_segment(size_t at) {
  const SealedSegment& segment = sealed_[at];
  messages_ -= segment.live;
  bytes_ -= segment.live_bytes;
  const bool is_dense = segment.info.last_seq - segment.info.first_seq + 1 == segment.info.count;
  for (uint64_t seq = segment.info.first_seq; seq <= segment.info.last_seq && lost_.size() < kLostMax; ++seq) {
    if (!is_dense || segment.is_live(static_cast<uint32_t>(seq - segment.info.first_seq))) replay_lost_one(seq);
  }
  sealed_.erase(sealed_.begin() + static_cast<ptrdiff_t>(at));
}

void Stream::load_memory(MemorySegment& segment) {
  for (uint32_t o = 0; o < segment.ordinals(); ++o) {
    if (!segment.is_live(o)) continue;
    const Record record = segment.record_at(o);
    const SubjectId id = subjects_.intern(record.subject);
    segment.set_subject(o, id);
    index_message(id, record.seq);
    ++messages_;
    bytes_ += counted(record);
    if (record.expires_at != 0 && record.expires_at != kNeverExpires) {
      expiries_.push_back({expiry_time(record.timestamp_ns, record.expires_at), record.seq});
    }
    const std::string_view message_id = store::find_message_id(record.headers);
    if (!message_id.empty()) ids_.put(MessageIds::key_of(message_id), record.seq, record.timestamp_ns);
  }
}

}  // namespace brokkr::store
