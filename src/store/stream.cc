#include "store/stream.h"

#include <algorithm>

#include "store/checkpoint.h"
#include "store/coding.h"
#include "store/store_impl.h"
#include "subject/subject.h"

namespace brokkr::store {
namespace {

constexpr size_t kSegmentBytes = 2 << 20;
constexpr uint32_t kCompactOrdinalsMin = 1024;
constexpr size_t kRangesMax = 64 << 10;  // between two groups, before they are written early

int64_t to_ns(WallTime time) { return time.time_since_epoch().count(); }

}  // namespace

Stream::Stream(Store& store, uint32_t id, StreamOptions options)
    : store_(store),
      id_(id),
      options_(std::move(options)),
      first_seq_(std::max<uint64_t>(options_.first_seq, 1)),
      last_seq_(first_seq_ - 1),
      visible_seq_(last_seq_) {
  ids_.set_window(options_.limits.duplicate_window);
}

Stream::~Stream() = default;

bool Stream::is_logged() const {
  return options_.storage == Storage::File && store_.impl_->is_logged();
}

void Stream::touch() {
  if (is_touched_) return;
  is_touched_ = true;
  store_.impl_->touched.push_back(this);
}

uint64_t Stream::counted(const Record& record) const {
  if (options_.storage == Storage::File) return record.counted_bytes();
  return 16 + record.subject.size() + record.headers.size() + record.body.size();
}

void Stream::update(StreamOptions options) {
  load_if_needed();
  options.account = options_.account;
  options.name = options_.name;
  options.storage = options_.storage;
  options_ = std::move(options);
  ids_.set_window(options_.limits.duplicate_window);
  age_cursor_ = 0;
  scratch_.clear();
  encode_options(scratch_);
  store_.impl_->log(FrameType::StreamPut, id_, scratch_);
  touch();
  if (options_.limits.max_msgs_per_subject > 0) {
    std::vector<SubjectId> over;
    const auto max = static_cast<uint64_t>(options_.limits.max_msgs_per_subject);
    subjects_.visit({}, false, [&](SubjectId id) {
      if (subjects_.entry(id).count > max) over.push_back(id);
    });
    for (const SubjectId id : over) enforce_subject_limit(id);
  }
  enforce_limits();
}

// --- storing

// The rules of nats-server: only discard "new" refuses; a message that takes the place of its
// subject's oldest may pass the other limits if it is no larger.
Status Stream::check_limits(const NewMessage& message, uint64_t counted) {
  const StreamLimits& limits = options_.limits;
  if (!limits.discard_new) return {};
  bool replaces = false;
  uint64_t replaced_bytes = 0;
  if (limits.max_msgs_per_subject > 0) {
    const SubjectId id = subjects_.find(message.subject);
    if (id != kNoSubject &&
        subjects_.entry(id).count >= static_cast<uint64_t>(limits.max_msgs_per_subject)) {
      if (limits.discard_new_per_subject && !message.is_rollup) {
        return Error{Errc::LimitExceeded, "maximum messages per subject exceeded"};
      }
      replaces = true;
      Position at;
      if (find(first_of(id), at)) {
        auto record = read_at(at);
        if (record) replaced_bytes = this->counted(*record);
      }
    }
  }
  if (limits.max_msgs > 0 && messages_ >= static_cast<uint64_t>(limits.max_msgs) && !replaces) {
    return Error{Errc::LimitExceeded, "maximum messages exceeded"};
  }
  if (limits.max_bytes > 0 && bytes_ + counted > static_cast<uint64_t>(limits.max_bytes) &&
      (!replaces || replaced_bytes < counted)) {
    return Error{Errc::LimitExceeded, "maximum bytes exceeded"};
  }
  return {};
}

Result<uint64_t> Stream::append(const NewMessage& message) {
  load_if_needed();
  if (is_logged()) {
    if (Status ready = store_.can_append(); !ready) return ready.error();
  }
  Record record;
  record.subject = message.subject;
  record.headers = message.headers;
  record.body = message.body;
  if (Status fits = check_limits(message, counted(record)); !fits) return fits.error();
  const SubjectId subject = put(last_seq_ + 1, message);
  const uint64_t seq = last_seq_;
  if (options_.limits.max_msgs_per_subject > 0) enforce_subject_limit(subject);
  enforce_limits();
  return seq;
}

Status Stream::check_batch(std::span<const NewMessage> messages) {
  const StreamLimits& limits = options_.limits;
  if (!limits.discard_new) return {};
  uint64_t bytes = 0;
  for (const NewMessage& message : messages) {
    Record record;
    record.subject = message.subject;
    record.headers = message.headers;
    record.body = message.body;
    bytes += counted(record);
    if (limits.max_msgs_per_subject > 0 && limits.discard_new_per_subject && !message.is_rollup) {
      const auto same = std::count_if(messages.begin(), messages.end(), [&](const NewMessage& other) {
        return other.subject == message.subject;
      });
      if (count_of(message.subject) + static_cast<uint64_t>(same) >
          static_cast<uint64_t>(limits.max_msgs_per_subject)) {
        return Error{Errc::LimitExceeded, "maximum messages per subject exceeded"};
      }
    }
  }
  if (limits.max_msgs > 0 && messages_ + messages.size() > static_cast<uint64_t>(limits.max_msgs)) {
    return Error{Errc::LimitExceeded, "maximum messages exceeded"};
  }
  if (limits.max_bytes > 0 && bytes_ + bytes > static_cast<uint64_t>(limits.max_bytes)) {
    return Error{Errc::LimitExceeded, "maximum bytes exceeded"};
  }
  return {};
}

Result<uint64_t> Stream::append_batch(std::span<const NewMessage> messages) {
  load_if_needed();
  if (is_logged()) {
    if (Status ready = store_.can_append(); !ready) return ready.error();
  }
  if (Status fits = check_batch(messages); !fits) return fits.error();
  if (is_logged()) store_.impl_->log(FrameType::BatchBegin, id_, {});
  for (const NewMessage& message : messages) put(last_seq_ + 1, message);
  if (is_logged()) store_.impl_->log(FrameType::BatchCommit, id_, {});
  const uint64_t seq = last_seq_;
  if (options_.limits.max_msgs_per_subject > 0) {
    for (const NewMessage& message : messages) {
      const SubjectId id = subjects_.find(message.subject);
      if (id != kNoSubject) enforce_subject_limit(id);
    }
  }
  enforce_limits();
  return seq;
}

Status Stream::append_at(uint64_t seq, const NewMessage& message) {
  load_if_needed();
  if (is_logged()) {
    if (Status ready = store_.can_append(); !ready) return ready.error();
  }
  if (seq <= last_seq_) {
    return Error{Errc::InvalidArgument, "sequence " + std::to_string(seq) + " is not above the last, " +
                                            std::to_string(last_seq_)};
  }
  if (seq > last_seq_ + 1) skip_to(seq - 1);
  const SubjectId subject = put(seq, message);
  if (options_.limits.max_msgs_per_subject > 0) enforce_subject_limit(subject);
  enforce_limits();
  return {};
}

void Stream::skip_to(uint64_t seq, std::string_view message_id) {
  if (seq <= last_seq_) return;
  last_seq_ = seq;
  last_timestamp_ns_ = to_ns(store_.clock().wall_now());
  last_message_id_.assign(message_id);
  if (!message_id.empty()) ids_.put(MessageIds::key_of(message_id), seq, last_timestamp_ns_);
  if (messages_ == 0) first_seq_ = last_seq_ + 1;
  if (is_logged()) {
    scratch_.clear();
    put_varint(scratch_, last_seq_);
    put_signed(scratch_, last_timestamp_ns_);
    store_.impl_->log(FrameType::Skip, id_, scratch_);
  }
  touch();
}

SubjectId Stream::put(uint64_t seq, const NewMessage& message) {
  Record record;
  record.seq = seq;
  record.timestamp_ns = message.timestamp_ns;
  record.expires_at = message.expires_at;
  record.subject = message.subject;
  record.headers = message.headers;
  record.body = message.body;
  const Placed placed = place(record, counted(record));
  last_message_id_.assign(message.message_id);
  if (!message.message_id.empty()) {
    ids_.put(MessageIds::key_of(message.message_id), seq, message.timestamp_ns);
  }
  if (is_logged()) store_.impl_->wal->append(FrameType::Append, id_, {placed.bytes});
  touch();
  return placed.subject;
}

// Puts the record at the stream's end and into the indexes.
Stream::Placed Stream::place(const Record& record, uint64_t counted) {
  const size_t ids_before = subjects_.id_limit();
  const size_t size_before = subjects_.size();
  const SubjectId id = subjects_.intern(record.subject);
  if (subjects_.size() != size_before && id < ids_before) {
    for (SubjectFilter* filter : filters_) filter->forget_id(id);
  }
  const std::string_view bytes = active_for(record.seq, record_bytes(record)).append(record, id);
  index_message(id, record.seq);
  if (messages_ == 0) first_seq_ = record.seq;
  ++messages_;
  bytes_ += counted;
  last_seq_ = record.seq;
  last_timestamp_ns_ = record.timestamp_ns;
  if (record.expires_at != 0 && record.expires_at != kNeverExpires) {
    add_expiry(expiry_time(record.timestamp_ns, record.expires_at), record.seq);
  }
  return {id, bytes};
}

void Stream::index_message(SubjectId id, uint64_t seq) {
  SubjectIndex::Entry& entry = subjects_.entry(id);
  if (entry.count++ == 0) {
    entry.first_seq = seq;
    entry.first_is_stale = false;
  }
  entry.last_seq = seq;
  entry.last_is_stale = false;
}

MemorySegment& Stream::active_for(uint64_t seq, size_t bytes) {
  if (!memory_.empty()) {
    MemorySegment& last = *memory_.back();
    const bool fits = last.byte_size() + bytes <= kSegmentBytes || last.ordinals() == 0;
    if (fits && !last.is_frozen() && seq - last.next_seq() <= MemorySegment::kGapMax) return last;
    tidy_segment({false, static_cast<uint32_t>(memory_.size() - 1), 0});
  }
  memory_.push_back(std::make_unique<MemorySegment>(seq));
  return *memory_.back();
}

void Stream::add_expiry(WallTime at, uint64_t seq) {
  expiries_.push_back({at, seq});
  std::push_heap(expiries_.begin(), expiries_.end(), std::greater<>());
}

// --- removing

bool Stream::remove(uint64_t seq, Removal why, bool erase) {
  load_if_needed();
  Position at;
  if (!find(seq, at)) return false;
  remove_at(at, why, erase);
  return true;
}

void Stream::remove_at(const Position& at, Removal why, bool erase) {
  const uint64_t seq = seq_at(at);
  const SubjectId id = subject_at(at);
  uint64_t size = 0;
  if (at.is_sealed) {
    SealedSegment& segment = sealed_[at.segment];
    size = segment.index->sizes[at.ordinal];
    segment.mark_removed(at.ordinal);
    segment.live_bytes -= std::min<uint64_t>(segment.live_bytes, size);
  } else {
    MemorySegment& segment = *memory_[at.segment];
    size = counted(segment.record_at(at.ordinal));
    segment.remove(at.ordinal, erase);
  }
  if (erase && is_logged() && (at.is_sealed || memory_[at.segment]->is_frozen())) {
    store_.impl_->erasures.push_back({id_, seq});
  }
  --messages_;
  bytes_ -= std::min(bytes_, size);
  note_removed(seq, seq);
  log_removed(seq, size);
  tidy_segment(at);
  if (seq == first_seq_ || messages_ == 0) move_first();
  // The text may move when the subject's last message goes.
  std::string subject;
  if (observer_ != nullptr && why != Removal::Purged) subject = subjects_.text(id);
  forget(id, seq);
  if (observer_ != nullptr && why != Removal::Purged) observer_->on_removed(seq, subject, why);
}

void Stream::forget(SubjectId id, uint64_t seq) {
  if (id == kNoSubject) return;
  SubjectIndex::Entry& entry = subjects_.entry(id);
  if (--entry.count == 0) {
    subjects_.erase(id);
    return;
  }
  const bool was_first = seq == entry.first_seq;
  const bool was_last = seq == entry.last_seq;
  if (was_first) entry.first_is_stale = true;
  if (was_last) entry.last_is_stale = true;
  if (entry.count > 1) return;
  // One end that is known is the other too: a subject that keeps one message is never searched for.
  if (entry.first_is_stale && !entry.last_is_stale) {
    entry.first_seq = entry.last_seq;
    entry.first_is_stale = false;
  } else if (entry.last_is_stale && !entry.first_is_stale) {
    entry.last_seq = entry.first_seq;
    entry.last_is_stale = false;
  }
}

// Frees a piece that has become empty, packs one that has become thin.
void Stream::tidy_segment(const Position& at) {
  if (at.is_sealed) {
    if (sealed_[at.segment].live > 0 || sealed_[at.segment].is_moving) return;
    store_.impl_->release_file(sealed_[at.segment].info.file);
    sealed_.erase(sealed_.begin() + at.segment);
    return;
  }
  MemorySegment& segment = *memory_[at.segment];
  if (segment.is_frozen()) return;
  const bool is_active = at.segment + 1 == memory_.size();
  if (segment.live() == 0 && (!is_active || segment.byte_size() > kSegmentBytes / 4)) {
    memory_.erase(memory_.begin() + at.segment);
  } else if (!is_active && segment.ordinals() >= kCompactOrdinalsMin &&
             segment.live() * 2 < segment.ordinals()) {
    segment.compact();
  }
}

void Stream::move_first() {
  if (messages_ == 0) {
    first_seq_ = last_seq_ + 1;
    return;
  }
  Position at;
  if (scan_first(first_seq_ + 1, at)) first_seq_ = seq_at(at);
}

void Stream::remove_first(Removal why) {
  Position at;
  if (find(first_seq_, at)) {
    remove_at(at, why, false);
  } else {
    move_first();
  }
}

void Stream::enforce_limits() {
  const StreamLimits& limits = options_.limits;
  if (limits.max_msgs > 0) {
    while (messages_ > static_cast<uint64_t>(limits.max_msgs)) remove_first(Removal::Limit);
  }
  if (limits.max_bytes > 0) {
    while (bytes_ > static_cast<uint64_t>(limits.max_bytes) && messages_ > 0) {
      remove_first(Removal::Limit);
    }
  }
}

void Stream::enforce_subject_limit(SubjectId id) {
  const auto max = static_cast<uint64_t>(options_.limits.max_msgs_per_subject);
  while (id != kNoSubject && subjects_.entry(id).count > max) {
    Position at;
    if (!find(first_of(id), at)) return;
    remove_at(at, Removal::Limit, false);
  }
}

uint64_t Stream::purge(const PurgeRequest& request) {
  load_if_needed();
  const bool everything = request.filter.empty() || request.filter == ">";
  const uint64_t before = messages_;
  if (!everything) return remove_matching(request);
  uint64_t below = last_seq_ + 1;
  if (request.keep > 0) {
    if (request.keep >= messages_) return 0;
    below = first_kept(request.keep);
  } else if (request.below > 0) {
    below = request.below;
    if (below <= 1) return 0;
  }
  drop_below(below);
  if (observer_ != nullptr) observer_->on_purged({}, below);
  return before - messages_;
}

// Gaps do not count: `keep` messages stay.
uint64_t Stream::first_kept(uint64_t keep) {
  uint64_t seq = first_seq_;
  Position at;
  for (uint64_t left = messages_ - keep; left > 0 && scan_first(seq + 1, at); --left) seq = seq_at(at);
  return seq;
}

void Stream::drop_below(uint64_t below) {
  flush_removed();
  const uint64_t bytes_before = bytes_;
  const uint64_t messages_before = messages_;
  if (below > last_seq_) {
    note_removed(0, below - 1);
    for (const SealedSegment& segment : sealed_) store_.impl_->release_file(segment.info.file);
    sealed_.clear();
    std::erase_if(memory_, [](const auto& segment) { return !segment->is_frozen(); });
    for (const auto& segment : memory_) segment->remove_all();
    subjects_.clear();
    for (SubjectFilter* filter : filters_) filter->forget_all();
    expiries_.clear();
    messages_ = bytes_ = 0;
    last_seq_ = std::max(last_seq_, below - 1);
    first_seq_ = last_seq_ + 1;
  } else {
    while (messages_ > 0 && first_seq_ < below) {
      Position at;
      if (find(first_seq_, at)) {
        remove_at(at, Removal::Purged, false);
      } else {
        move_first();
      }
    }
  }
  // The purge says it all.
  removed_.clear();
  removed_count_ = removed_bytes_ = 0;
  if (is_logged()) {
    scratch_.clear();
    put_varint(scratch_, below);
    put_varint(scratch_, messages_before - messages_);
    put_varint(scratch_, bytes_before - bytes_);
    put_varint(scratch_, first_seq_);
    store_.impl_->log(FrameType::Purge, id_, scratch_);
  }
  touch();
}

uint64_t Stream::remove_matching(const PurgeRequest& request) {
  SubjectFilter filter(*this, {std::string(request.filter)});
  uint64_t most = UINT64_MAX;
  if (request.keep > 0) {
    const uint64_t matching = count(filter, 0);
    if (request.keep >= matching) return 0;
    most = matching - request.keep;
  }
  const uint64_t until = request.below > 1 ? request.below - 1 : last_seq_;
  uint64_t removed = 0;
  uint64_t from = first_seq_;
  Position at;
  while (removed < most && find_next(filter, from, until, at)) {
    from = seq_at(at) + 1;
    remove_at(at, Removal::Purged, false);
    ++removed;
  }
  if (observer_ != nullptr && removed > 0) observer_->on_purged(request.filter, from);
  return removed;
}

void Stream::log_removed(uint64_t seq, uint64_t counted) {
  if (!is_logged()) return;
  ++removed_count_;
  removed_bytes_ += counted;
  if (!removed_.empty() && removed_.back().second + 1 == seq) {
    removed_.back().second = seq;
  } else {
    removed_.emplace_back(seq, seq);
  }
  touch();
  if (removed_.size() >= kRangesMax) flush_removed();
}

// For the checkpoint at work, whose picture still has them.
void Stream::note_removed(uint64_t from, uint64_t to) {
  if (store_.impl_->checkpoint == nullptr || options_.storage != Storage::File) return;
  if (!removed_meanwhile_.empty() && removed_meanwhile_.back().second + 1 == from) {
    removed_meanwhile_.back().second = to;
  } else {
    removed_meanwhile_.emplace_back(from, to);
  }
}

void Stream::flush_removed() {
  if (removed_.empty()) return;
  scratch_.clear();
  take_removed(scratch_);
  store_.impl_->log(FrameType::Remove, id_, scratch_);
}

void Stream::take_removed(std::string& out) {
  put_varint(out, removed_count_);
  put_varint(out, removed_bytes_);
  put_varint(out, first_seq_);
  put_varint(out, removed_.size());
  uint64_t last = 0;
  for (const auto& [from, to] : removed_) {
    put_signed(out, static_cast<int64_t>(from - last));
    put_varint(out, to - from);
    last = to;
  }
  removed_.clear();
  removed_count_ = removed_bytes_ = 0;
}

void Stream::mark_lost(uint64_t seq) {
  const auto at = std::lower_bound(lost_.begin(), lost_.end(), seq);
  if (at != lost_.end() && *at == seq) return;
  lost_.insert(at, seq);
  if (!is_logged()) return;
  scratch_.clear();
  put_varint(scratch_, seq);
  store_.impl_->log(FrameType::Lost, id_, scratch_);
  touch();
}

// --- expiring

// True: the message has been left to the observer.
bool Stream::offer_to_observer(const Position& at) {
  if (observer_ == nullptr) return false;
  auto record = read_at(at);
  return record && observer_->on_expiring(*record);
}

std::optional<WallTime> Stream::expire(WallTime now) {
  if (options_.limits.max_age <= Duration::zero() && expiries_.empty() && is_loaded_) {
    return std::nullopt;
  }
  load_if_needed();
  std::optional<WallTime> next;
  expire_by_ttl(now, next);
  if (options_.limits.max_age > Duration::zero()) {
    while (expire_by_age(now, next)) {
    }
  }
  return next;
}

// Looks at the first message that can expire by age; true when there may be more to do.
bool Stream::expire_by_age(WallTime now, std::optional<WallTime>& next) {
  Position at;
  if (!scan_first(std::max(first_seq_, age_cursor_), at)) return false;
  const uint64_t seq = seq_at(at);
  auto record = read_at(at);
  if (!record) return record.error().code == Errc::Corrupt;
  const WallTime due = WallTime(Duration(record->timestamp_ns)) + options_.limits.max_age;
  const bool stays = record->expires_at == kNeverExpires;
  if (!stays && due > now) {
    next = std::min(next.value_or(due), due);
    return false;
  }
  age_cursor_ = seq + 1;
  if (stays) return true;
  if (offer_to_observer(at)) {
    add_expiry(now + std::chrono::seconds(1), seq);
    next = std::min(next.value_or(now + std::chrono::seconds(1)), now + std::chrono::seconds(1));
  } else {
    remove_at(at, Removal::Expired, false);
  }
  return true;
}

void Stream::expire_by_ttl(WallTime now, std::optional<WallTime>& next) {
  while (!expiries_.empty()) {
    const Expiry due = expiries_.front();
    if (due.at > now) {
      next = std::min(next.value_or(due.at), due.at);
      return;
    }
    std::pop_heap(expiries_.begin(), expiries_.end(), std::greater<>());
    expiries_.pop_back();
    Position at;
    if (!find(due.seq, at)) continue;
    if (offer_to_observer(at)) {
      add_expiry(now + std::chrono::seconds(1), due.seq);
    } else {
      remove_at(at, Removal::Expired, false);
    }
  }
}

// --- consumers

ConsumerStore& Stream::put_consumer(std::string_view name, std::string config, bool in_memory) {
  ConsumerStore* consumer = find_consumer(name);
  if (consumer == nullptr) {
    ConsumerStore::Queue* const queue = in_memory || !is_logged() ? nullptr : &store_.impl_->consumer_queue;
    consumers_.push_back(std::make_unique<ConsumerStore>(*this, next_consumer_++, std::string(name),
                                                         std::move(config), in_memory,
                                                         queue));
    consumer = consumers_.back().get();
  } else {
    consumer->set_config(std::move(config));
  }
  if (!consumer->in_memory() && is_logged()) {
    scratch_.clear();
    put_varint(scratch_, consumer->id());
    put_text(scratch_, consumer->name());
    put_text(scratch_, consumer->config());
    store_.impl_->log(FrameType::ConsumerPut, id_, scratch_);
    touch();
  }
  return *consumer;
}

ConsumerStore* Stream::find_consumer(std::string_view name) {
  for (const auto& consumer : consumers_) {
    if (consumer->name() == name) return consumer.get();
  }
  return nullptr;
}

ConsumerStore& Stream::restore_consumer(uint32_t id, std::string_view name, std::string_view config) {
  if (ConsumerStore* known = consumer_by_id(id)) {
    known->set_config(std::string(config));
    return *known;
  }
  next_consumer_ = std::max(next_consumer_, id + 1);
  consumers_.push_back(std::make_unique<ConsumerStore>(*this, id, std::string(name), std::string(config),
                                                       false, &store_.impl_->consumer_queue));
  return *consumers_.back();
}

ConsumerStore* Stream::consumer_by_id(uint32_t id) {
  for (const auto& consumer : consumers_) {
    if (consumer->id() == id) return consumer.get();
  }
  return nullptr;
}

void Stream::drop_consumer(uint32_t id) {
  std::erase_if(consumers_, [id](const auto& consumer) { return consumer->id() == id; });
}

void Stream::delete_consumer(std::string_view name) {
  const auto at = std::find_if(consumers_.begin(), consumers_.end(),
                               [&](const auto& consumer) { return consumer->name() == name; });
  if (at == consumers_.end()) return;
  if (!(*at)->in_memory() && is_logged()) {
    scratch_.clear();
    put_varint(scratch_, (*at)->id());
    store_.impl_->log(FrameType::ConsumerDelete, id_, scratch_);
    touch();
  }
  consumers_.erase(at);
}

// --- filters

SubjectFilter::SubjectFilter(Stream& stream, std::vector<std::string> patterns)
    : stream_(stream), patterns_(std::move(patterns)) {
  stream_.filters_.push_back(this);
}

SubjectFilter::~SubjectFilter() { std::erase(stream_.filters_, this); }

bool SubjectFilter::matches(std::string_view subject) const {
  if (patterns_.empty()) return true;
  return std::any_of(patterns_.begin(), patterns_.end(), [&](const std::string& pattern) {
    return subject::matches(pattern, subject);
  });
}

bool SubjectFilter::matches_id(SubjectId id) const {
  if (id == kNoSubject) return false;
  const size_t word = id / 64;
  const uint64_t bit = uint64_t{1} << (id % 64);
  if (word >= known_.size()) {
    known_.resize(word + 1 + word / 4);
    chosen_.resize(known_.size());
  }
  if ((known_[word] & bit) == 0) {
    known_[word] |= bit;
    if (matches(stream_.subjects_.text(id))) {
      chosen_[word] |= bit;
    } else {
      chosen_[word] &= ~bit;
    }
  }
  return (chosen_[word] & bit) != 0;
}

void SubjectFilter::forget_id(SubjectId id) const {
  if (id / 64 < known_.size()) known_[id / 64] &= ~(uint64_t{1} << (id % 64));
}

}  // namespace brokkr::store
