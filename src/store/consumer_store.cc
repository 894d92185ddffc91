#include "store/consumer_store.h"

#include <algorithm>
#include <utility>

#include "store/coding.h"

namespace brokkr::store {
namespace {

// Image and delta are made of varints: 7 bits a byte, lowest first, the top bit says that more
// follow. Signed numbers are zigzagged.
//
//   image     = version delivered.consumer delivered.stream floor.consumer floor.stream
//               delivered_at acked_at count entry* count entry*, first the pending, then the exhausted
//   entry     = stream_seq - the one before, consumer_seq (relative), timestamp (relative), deliveries
//   delta     = operation*
//   operation = head [rest], head = zigzag(stream_seq - the last operation's) << 3 | kind
//
// A distance that leaves no room for the kind is put by a jump before the operation.
constexpr uint64_t kImageVersion = 1;
constexpr size_t kEntryBytesMin = 4;

enum Operation : uint32_t {
  kDelivered = 0,  // rest: deliveries << 1 | is_pending, consumer_seq, timestamp
  kSettled = 1,
  kFloor = 2,  // rest: consumer_seq
  kReset = 3,  // rest: size of an image, the image
  kForgotten = 4,
  kJump = 5,  // rest: stream_seq, absolute
  kExhausted = 6,
};

uint64_t zigzag(uint64_t difference) {
  const auto value = static_cast<int64_t>(difference);
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
uint64_t unzigzag(uint64_t coded) { return (coded >> 1) ^ (0 - (coded & 1)); }

constexpr uint64_t kHeadMax = UINT64_MAX >> 3;

void put_entries(std::string& out, const PendingMap& entries) {
  put_varint(out, entries.size());
  Pending base{0, 0, 0};
  for (const Pending* p = entries.first(); p != nullptr; p = entries.next(*p)) {
    put_varint(out, p->stream_seq - base.stream_seq);
    put_varint(out, zigzag(p->consumer_seq - base.consumer_seq));
    put_varint(out, zigzag(static_cast<uint64_t>(p->timestamp_ns) -
                           static_cast<uint64_t>(base.timestamp_ns)));
    put_varint(out, p->deliveries);
    base = *p;
  }
}

Error corrupt_consumer(const char* what) {
  return {Errc::Corrupt, std::string("consumer state: ") + what};
}

}  // namespace

// Reads varints; after a failure everything is 0 and `is_good` false.
class ConsumerStore::DeltaReader {
 public:
  explicit DeltaReader(std::string_view bytes) : rest_(bytes) {}
  bool is_good() const { return is_good_; }
  bool at_end() const { return rest_.empty(); }
  size_t left() const { return rest_.size(); }
  DeltaBase base;

  uint64_t varint() {
    uint64_t value = 0;
    for (size_t i = 0; i < rest_.size() && i < 10; ++i) {
      const auto byte = static_cast<uint8_t>(rest_[i]);
      if (i == 9 && byte > 1) break;
      value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
      if ((byte & 0x80) == 0) {
        rest_.remove_prefix(i + 1);
        return value;
      }
    }
    is_good_ = false;
    rest_ = {};
    return 0;
  }
  uint64_t relative(uint64_t to) { return to + unzigzag(varint()); }
  std::string_view bytes(uint64_t size) {
    if (size > rest_.size()) {
      is_good_ = false;
      return {};
    }
    const std::string_view out = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return out;
  }

 private:
  std::string_view rest_;
  bool is_good_ = true;
};

// --- PendingMap

size_t PendingMap::position(uint64_t stream_seq) const {
  if (begin_ == entries_.size()) return begin_;
  const uint64_t first = entries_[begin_].stream_seq;
  if (stream_seq <= first) return begin_;
  // Sequences ascend by at least one, so the place is never beyond this guess, and it is the guess
  // when there are no gaps.
  const size_t end = entries_.size();
  const uint64_t distance = stream_seq - first;
  if (distance >= end - begin_) {
    if (entries_.back().stream_seq < stream_seq) return end;
  } else if (entries_[begin_ + distance].stream_seq == stream_seq) {
    return begin_ + distance;
  }
  const auto from = entries_.begin() + static_cast<ptrdiff_t>(begin_);
  const auto until = distance >= end - begin_ ? entries_.end() : from + static_cast<ptrdiff_t>(distance);
  const auto at = std::lower_bound(from, until, stream_seq, [](const Pending& pending, uint64_t seq) {
    return pending.stream_seq < seq;
  });
  return static_cast<size_t>(at - entries_.begin());
}

Pending* PendingMap::find(uint64_t stream_seq) {
  const size_t at = position(stream_seq);
  if (at == entries_.size()) return nullptr;
  Pending& entry = entries_[at];
  return entry.stream_seq == stream_seq && entry.deliveries > 0 ? &entry : nullptr;
}

Pending& PendingMap::put(const Pending& pending) {
  DCHECK(pending.deliveries > 0);
  const size_t at = position(pending.stream_seq);
  if (at < entries_.size() && entries_[at].stream_seq == pending.stream_seq) {
    if (entries_[at].deliveries == 0) ++size_;
    entries_[at] = pending;
    return entries_[at];
  }
  ++size_;
  // The place before it may be free.
  if (at > 0 && entries_[at - 1].deliveries == 0) {
    begin_ = std::min(begin_, at - 1);
    entries_[at - 1] = pending;
    return entries_[at - 1];
  }
  return *entries_.insert(entries_.begin() + static_cast<ptrdiff_t>(at), pending);
}

bool PendingMap::erase(uint64_t stream_seq) {
  Pending* entry = find(stream_seq);
  if (entry == nullptr) return false;
  entry->deliveries = 0;
  if (--size_ == 0) {
    clear();
    return true;
  }
  while (begin_ < entries_.size() && entries_[begin_].deliveries == 0) ++begin_;
  if (entries_.size() > 2 * size_ + 64) compact();
  return true;
}

void PendingMap::compact() {
  size_t to = 0;
  for (size_t from = begin_; from < entries_.size(); ++from) {
    if (entries_[from].deliveries > 0) entries_[to++] = entries_[from];
  }
  entries_.resize(to);
  begin_ = 0;
}

void PendingMap::clear() {
  entries_.clear();
  begin_ = 0;
  size_ = 0;
}

Pending* PendingMap::lower_bound(uint64_t stream_seq) {
  size_t at = position(stream_seq);
  while (at < entries_.size() && entries_[at].deliveries == 0) ++at;
  return at == entries_.size() ? nullptr : &entries_[at];
}

// --- ConsumerStore

ConsumerStore::ConsumerStore(Stream& stream, uint32_t id, std::string name, std::string config,
                             bool in_memory, Queue* queue)
    : stream_(stream),
      id_(id),
      name_(std::move(name)),
      config_(std::move(config)),
      in_memory_(in_memory),
      queue_(in_memory ? nullptr : queue) {}

ConsumerStore::~ConsumerStore() {
  if (is_queued_) queue_->erase(std::find(queue_->begin(), queue_->end(), this));
}

void ConsumerStore::changed() {
  if (is_queued_) return;
  is_queued_ = true;
  queue_->push_back(this);
}

void ConsumerStore::put_delta(uint32_t operation, uint64_t stream_seq) {
  uint64_t distance = zigzag(stream_seq - delta_base_.stream_seq);
  if (distance > kHeadMax) {
    put_varint(delta_, kJump);
    put_varint(delta_, stream_seq);
    distance = 0;
  }
  delta_base_.stream_seq = stream_seq;
  put_varint(delta_, distance << 3 | operation);
}

void ConsumerStore::delivered(uint64_t consumer_seq, uint64_t stream_seq, uint32_t deliveries,
                              int64_t timestamp_ns, bool is_pending) {
  note_delivered(consumer_seq, stream_seq, deliveries, timestamp_ns, is_pending);
  if (queue_ == nullptr) return;
  changed();
  put_delta(kDelivered, stream_seq);
  put_varint(delta_, uint64_t{deliveries} << 1 | (is_pending ? 1 : 0));
  put_varint(delta_, zigzag(consumer_seq - delta_base_.consumer_seq));
  put_varint(delta_, zigzag(static_cast<uint64_t>(timestamp_ns) -
                            static_cast<uint64_t>(delta_base_.timestamp_ns)));
  delta_base_.consumer_seq = consumer_seq;
  delta_base_.timestamp_ns = timestamp_ns;
}

void ConsumerStore::note_delivered(uint64_t consumer_seq, uint64_t stream_seq, uint32_t deliveries,
                                   int64_t timestamp_ns, bool is_pending) {
  state_.delivered.consumer = std::max(state_.delivered.consumer, consumer_seq);
  state_.delivered.stream = std::max(state_.delivered.stream, stream_seq);
  state_.delivered_at_ns = timestamp_ns;
  if (!is_pending) return;
  deliveries = std::max(deliveries, 1U);
  Pending* pending = state_.pending.find(stream_seq);
  if (pending == nullptr) {
    state_.pending.put({stream_seq, consumer_seq, timestamp_ns, deliveries, false});
    return;
  }
  // Floors go by the sequence of the first delivery.
  pending->timestamp_ns = timestamp_ns;
  pending->deliveries = deliveries;
}

void ConsumerStore::settled(uint64_t stream_seq) {
  if (!state_.pending.erase(stream_seq) && !state_.exhausted.erase(stream_seq)) return;
  if (queue_ == nullptr) return;
  changed();
  put_delta(kSettled, stream_seq);
}

void ConsumerStore::exhausted(uint64_t stream_seq) {
  note_exhausted(stream_seq);
  if (queue_ == nullptr) return;
  changed();
  put_delta(kExhausted, stream_seq);
}

void ConsumerStore::note_exhausted(uint64_t stream_seq) {
  const Pending* pending = state_.pending.find(stream_seq);
  if (pending == nullptr) return;
  state_.exhausted.put(*pending);
  state_.pending.erase(stream_seq);
}

void ConsumerStore::touch(uint64_t stream_seq, int64_t timestamp_ns) {
  if (Pending* pending = state_.pending.find(stream_seq)) pending->timestamp_ns = timestamp_ns;
}

void ConsumerStore::set_ack_floor(SequencePair floor) {
  if (floor.stream == state_.ack_floor.stream && floor.consumer == state_.ack_floor.consumer) return;
  state_.ack_floor = floor;
  if (queue_ == nullptr) return;
  floor_moved_ = true;
  changed();
}

void ConsumerStore::reset(ConsumerState state) {
  state_ = std::move(state);
  if (queue_ == nullptr) return;
  // What was said before no longer matters.
  delta_.clear();
  delta_base_ = {};
  floor_moved_ = false;
  changed();
  put_delta(kReset, 0);
  std::string image;
  encode(image);
  put_varint(delta_, image.size());
  delta_ += image;
}

void ConsumerStore::forget_delivery(uint64_t stream_seq) {
  note_forgotten(stream_seq);
  if (queue_ == nullptr) return;
  changed();
  put_delta(kForgotten, stream_seq);
}

void ConsumerStore::note_forgotten(uint64_t stream_seq) {
  Pending* pending = state_.pending.find(stream_seq);
  if (pending != nullptr && pending->deliveries > 1) --pending->deliveries;
}

void ConsumerStore::encode(std::string& out) const {
  put_varint(out, kImageVersion);
  put_varint(out, state_.delivered.consumer);
  put_varint(out, state_.delivered.stream);
  put_varint(out, state_.ack_floor.consumer);
  put_varint(out, state_.ack_floor.stream);
  put_varint(out, zigzag(static_cast<uint64_t>(state_.delivered_at_ns)));
  put_varint(out, zigzag(static_cast<uint64_t>(state_.acked_at_ns)));
  put_entries(out, state_.pending);
  put_entries(out, state_.exhausted);
}

Status ConsumerStore::read_entries(DeltaReader& reader, PendingMap& out) {
  const uint64_t count = reader.varint();
  if (!reader.is_good()) return corrupt_consumer("cut short");
  if (count > reader.left() / kEntryBytesMin) return corrupt_consumer("more entries than bytes");
  DeltaBase base;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t step = reader.varint();
    if ((step == 0 && i > 0) || base.stream_seq + step < base.stream_seq) {
      return corrupt_consumer("entries out of order");
    }
    base.stream_seq += step;
    base.consumer_seq = reader.relative(base.consumer_seq);
    base.timestamp_ns =
        static_cast<int64_t>(reader.relative(static_cast<uint64_t>(base.timestamp_ns)));
    const uint64_t deliveries = reader.varint();
    if (!reader.is_good()) return corrupt_consumer("cut short");
    if (deliveries == 0 || deliveries > UINT32_MAX) return corrupt_consumer("impossible deliveries");
    out.put({base.stream_seq, base.consumer_seq, base.timestamp_ns,
             static_cast<uint32_t>(deliveries), false});
  }
  return {};
}

Status ConsumerStore::decode(std::string_view bytes) {
  DeltaReader reader(bytes);
  if (reader.varint() != kImageVersion) return corrupt_consumer("unknown version");
  ConsumerState state;
  state.delivered.consumer = reader.varint();
  state.delivered.stream = reader.varint();
  state.ack_floor.consumer = reader.varint();
  state.ack_floor.stream = reader.varint();
  state.delivered_at_ns = static_cast<int64_t>(unzigzag(reader.varint()));
  state.acked_at_ns = static_cast<int64_t>(unzigzag(reader.varint()));
  for (PendingMap* map : {&state.pending, &state.exhausted}) {
    Status status = read_entries(reader, *map);
    if (!status) return status;
  }
  if (!reader.at_end()) return corrupt_consumer("bytes after its end");
  state_ = std::move(state);
  return {};
}

void ConsumerStore::take_delta(std::string& out) {
  is_queued_ = false;
  if (floor_moved_) {
    put_delta(kFloor, state_.ack_floor.stream);
    put_varint(delta_, zigzag(state_.ack_floor.consumer - delta_base_.consumer_seq));
  }
  out += delta_;
  delta_.clear();
  delta_base_ = {};
  floor_moved_ = false;
}

Status ConsumerStore::apply_delta(std::string_view bytes) {
  DeltaReader reader(bytes);
  while (!reader.at_end()) {
    Status status = apply_operation(reader);
    if (!status) return status;
  }
  return reader.is_good() ? Status() : corrupt_consumer("delta cut short");
}

Status ConsumerStore::apply_operation(DeltaReader& reader) {
  const uint64_t head = reader.varint();
  DeltaBase& base = reader.base;
  base.stream_seq += unzigzag(head >> 3);
  switch (head & 7) {
    case kDelivered: {
      const uint64_t flags = reader.varint();
      base.consumer_seq = reader.relative(base.consumer_seq);
      base.timestamp_ns =
          static_cast<int64_t>(reader.relative(static_cast<uint64_t>(base.timestamp_ns)));
      if (!reader.is_good() || flags >> 1 > UINT32_MAX) return corrupt_consumer("delta cut short");
      note_delivered(base.consumer_seq, base.stream_seq, static_cast<uint32_t>(flags >> 1),
                     base.timestamp_ns, (flags & 1) != 0);
      return {};
    }
    case kSettled:
      if (!reader.is_good()) return {};
      state_.pending.erase(base.stream_seq);
      state_.exhausted.erase(base.stream_seq);
      return {};
    case kFloor: {
      const uint64_t consumer_seq = reader.relative(base.consumer_seq);
      if (reader.is_good()) state_.ack_floor = {consumer_seq, base.stream_seq};
      return {};
    }
    case kReset: {
      const std::string_view image = reader.bytes(reader.varint());
      if (!reader.is_good()) return corrupt_consumer("delta cut short");
      return decode(image);
    }
    case kJump: base.stream_seq = reader.varint(); return {};
    case kExhausted:
      if (reader.is_good()) note_exhausted(base.stream_seq);
      return {};
    case kForgotten:
      if (reader.is_good()) note_forgotten(base.stream_seq);
      return {};
    default: return corrupt_consumer("unknown operation");
  }
}

}  // namespace brokkr::store
