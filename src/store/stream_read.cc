// A stream's reading side: finding messages by sequence, subject and time.
#include <algorithm>

#include "store/store_impl.h"
#include "store/stream.h"
#include "subject/subject.h"

namespace brokkr::store {

// --- places

uint64_t Stream::seq_at(const Position& at) const {
  if (!at.is_sealed) return memory_[at.segment]->seq_at(at.ordinal);
  return sealed_[at.segment].index->seq_at(at.ordinal);
}

SubjectId Stream::subject_at(const Position& at) {
  if (!at.is_sealed) return memory_[at.segment]->subjects()[at.ordinal];
  return sealed_[at.segment].index->subjects[at.ordinal];
}

Result<Record> Stream::read_at(const Position& at) {
  if (!at.is_sealed) return memory_[at.segment]->record_at(at.ordinal);
  SealedSegment& segment = sealed_[at.segment];
  auto read = segment.file->read(*segment.index, at.ordinal, block_);
  if (!read) return read.error();
  if (read->damage == RecordDamage::None) {
    block_ = std::move(read->block);
    return read->record;
  }
  const uint64_t seq = seq_at(at);
  mark_lost(seq);
  remove_at(at, Removal::Lost, false);
  return Error{Errc::Corrupt, "message " + std::to_string(seq) + " of stream " + options_.name +
                                  " is damaged on disk and lost"};
}

bool Stream::find(uint64_t seq, Position& out) {
  if (seq < first_seq_ || seq > last_seq_) return false;
  if (!memory_.empty() && seq >= memory_.front()->first_seq()) {
    size_t at = memory_.size() - 1;
    while (at > 0 && memory_[at]->first_seq() > seq) --at;
    const MemorySegment& segment = *memory_[at];
    const uint32_t ordinal = segment.lower_bound(seq);
    if (ordinal >= segment.ordinals() || segment.seq_at(ordinal) != seq) return false;
    out = {false, static_cast<uint32_t>(at), ordinal};
    return segment.is_live(ordinal);
  }
  const auto after = std::upper_bound(sealed_.begin(), sealed_.end(), seq,
                                      [](uint64_t s, const SealedSegment& segment) {
                                        return s < segment.info.first_seq;
                                      });
  if (after == sealed_.begin()) return false;
  SealedSegment& segment = *std::prev(after);
  const RunIndex* index = seq <= segment.info.last_seq ? index_of(segment) : nullptr;
  if (index == nullptr) return false;
  const uint32_t ordinal = index->lower_bound(seq);
  if (ordinal >= index->info.count || index->seq_at(ordinal) != seq) return false;
  out = {true, static_cast<uint32_t>(std::prev(after) - sealed_.begin()), ordinal};
  return segment.is_live(ordinal);
}

template <typename Accepts>
bool Stream::scan_forward(uint64_t from, uint64_t until, Accepts accepts, Position& out) {
  from = std::max(from, first_seq_);
  until = std::min(until, last_seq_);
  if (from > until || messages_ == 0) return false;
  for (uint32_t s = 0; s < sealed_.size(); ++s) {
    SealedSegment& segment = sealed_[s];
    if (segment.info.last_seq < from) continue;
    if (segment.info.first_seq > until) return false;
    const RunIndex* index = index_of(segment);
    if (index == nullptr) continue;
    for (uint32_t o = index->lower_bound(from); o < index->info.count; ++o) {
      if (!accepts(index->subjects[o]) || !segment.is_live(o)) continue;
      out = {true, s, o};
      return index->seq_at(o) <= until;
    }
  }
  for (uint32_t s = 0; s < memory_.size(); ++s) {
    const MemorySegment& segment = *memory_[s];
    if (segment.next_seq() <= from) continue;
    if (segment.first_seq() > until) return false;
    const SubjectId* const subjects = segment.subjects();
    for (uint32_t o = segment.lower_bound(from); o < segment.ordinals(); ++o) {
      if (!accepts(subjects[o]) || !segment.is_live(o)) continue;
      out = {false, s, o};
      return segment.seq_at(o) <= until;
    }
  }
  return false;
}

template <typename Accepts>
bool Stream::scan_backward(uint64_t from, uint64_t down_to, Accepts accepts, Position& out) {
  from = std::min(from, last_seq_);
  down_to = std::max(down_to, first_seq_);
  if (from < down_to || messages_ == 0) return false;
  for (auto s = static_cast<uint32_t>(memory_.size()); s-- > 0;) {
    const MemorySegment& segment = *memory_[s];
    if (segment.first_seq() > from) continue;
    if (segment.next_seq() <= down_to) return false;
    for (uint32_t o = segment.lower_bound(from + 1); o-- > 0;) {
      if (!accepts(segment.subjects()[o]) || !segment.is_live(o)) continue;
      out = {false, s, o};
      return segment.seq_at(o) >= down_to;
    }
  }
  for (auto s = static_cast<uint32_t>(sealed_.size()); s-- > 0;) {
    SealedSegment& segment = sealed_[s];
    if (segment.info.first_seq > from) continue;
    if (segment.info.last_seq < down_to) return false;
    const RunIndex* index = index_of(segment);
    if (index == nullptr) continue;
    for (uint32_t o = index->lower_bound(from + 1); o-- > 0;) {
      if (!accepts(index->subjects[o]) || !segment.is_live(o)) continue;
      out = {true, s, o};
      return index->seq_at(o) >= down_to;
    }
  }
  return false;
}

bool Stream::scan_first(uint64_t from, Position& out) {
  return scan_forward(from, UINT64_MAX, [](SubjectId) { return true; }, out);
}

bool Stream::find_next(const SubjectFilter& filter, uint64_t from, uint64_t until, Position& out) {
  if (filter.is_all()) {
    // The usual case: the very message asked for is there.
    return find(from, out) ? from <= until
                           : scan_forward(from, until, [](SubjectId) { return true; }, out);
  }
  if (filter.patterns_.size() == 1 && subject::is_literal(filter.patterns_[0])) {
    const SubjectId id = subjects_.find(filter.patterns_[0]);
    if (id == kNoSubject || from > subjects_.entry(id).last_seq) return false;
    return scan_forward(std::max(from, subjects_.entry(id).first_seq), until,
                        [id](SubjectId other) { return other == id; }, out);
  }
  return scan_forward(from, until, [&](SubjectId id) { return filter.matches_id(id); }, out);
}

bool Stream::find_last(std::string_view pattern, uint64_t until, Position& out) {
  if (subject::is_literal(pattern)) {
    const SubjectId id = subjects_.find(pattern);
    if (id == kNoSubject) return false;
    const uint64_t last = last_of(id);
    if (last <= until) return find(last, out);
    return scan_backward(until, first_seq_, [id](SubjectId other) { return other == id; }, out);
  }
  const SubjectFilter filter(*this, {std::string(pattern)});
  return scan_backward(until, first_seq_, [&](SubjectId id) { return filter.matches_id(id); }, out);
}

uint64_t Stream::first_of(SubjectId id) {
  SubjectIndex::Entry& entry = subjects_.entry(id);
  if (!entry.first_is_stale) return entry.first_seq;
  Position at;
  if (scan_forward(entry.first_seq, UINT64_MAX, [id](SubjectId other) { return other == id; }, at)) {
    entry.first_seq = seq_at(at);
  }
  entry.first_is_stale = false;
  return entry.first_seq;
}

uint64_t Stream::last_of(SubjectId id) {
  SubjectIndex::Entry& entry = subjects_.entry(id);
  if (!entry.last_is_stale) return entry.last_seq;
  Position at;
  if (scan_backward(entry.last_seq, 0, [id](SubjectId other) { return other == id; }, at)) {
    entry.last_seq = seq_at(at);
  }
  entry.last_is_stale = false;
  return entry.last_seq;
}

// --- messages

Result<Record> Stream::load(uint64_t seq) {
  load_if_needed();
  Position at;
  if (find(seq, at)) return read_at(at);
  return Error{Errc::NotFound, "no message found"};
}

Result<Record> Stream::load_next(const SubjectFilter& filter, uint64_t from, uint64_t until) {
  load_if_needed();
  Position at;
  while (find_next(filter, from, until, at)) {
    from = seq_at(at) + 1;
    auto record = read_at(at);
    if (record || record.error().code != Errc::Corrupt) return record;
  }
  return Error{Errc::NotFound, "no message found"};
}

uint64_t Stream::next_seq(const SubjectFilter& filter, uint64_t from, uint64_t until) {
  load_if_needed();
  Position at;
  return find_next(filter, from, until, at) ? seq_at(at) : 0;
}

Result<Record> Stream::load_last(std::string_view pattern, uint64_t until) {
  load_if_needed();
  Position at;
  while (find_last(pattern, until, at)) {
    auto record = read_at(at);
    if (record || record.error().code != Errc::Corrupt) return record;
  }
  return Error{Errc::NotFound, "no message found"};
}

uint64_t Stream::last_seq_of(std::string_view pattern, uint64_t until) {
  load_if_needed();
  Position at;
  return find_last(pattern, until, at) ? seq_at(at) : 0;
}

bool Stream::last_seqs(const SubjectFilter& filter, uint64_t until, size_t max,
                       std::vector<uint64_t>& out) {
  load_if_needed();
  out.clear();
  bool fits = true;
  const auto add = [&](SubjectId id) {
    if (!fits || !(filter.is_all() || filter.matches_id(id))) return;
    uint64_t last = last_of(id);
    if (last > until) {
      Position at;
      const auto same = [id](SubjectId other) { return other == id; };
      if (!scan_backward(until, first_seq_, same, at)) return;
      last = seq_at(at);
    }
    fits = out.size() < max;
    if (fits) out.push_back(last);
  };
  if (filter.patterns().size() == 1) {
    subjects_.visit(filter.patterns()[0], false, add);
  } else {
    subjects_.visit({}, false, add);
  }
  if (!fits) {
    out.clear();
    return false;
  }
  std::sort(out.begin(), out.end());
  return true;
}

// --- counting

template <typename Accepts>
uint64_t Stream::count_range(uint64_t from, uint64_t until, Accepts accepts) {
  uint64_t total = 0;
  for (SealedSegment& segment : sealed_) {
    if (segment.info.last_seq < from) continue;
    if (segment.info.first_seq > until) break;
    const RunIndex* index = index_of(segment);
    if (index == nullptr) continue;
    const uint32_t end = until == UINT64_MAX ? index->info.count : index->lower_bound(until + 1);
    for (uint32_t o = index->lower_bound(from); o < end; ++o) {
      if (segment.is_live(o) && accepts(index->subjects[o])) ++total;
    }
  }
  for (const auto& segment : memory_) {
    if (segment->next_seq() <= from) continue;
    if (segment->first_seq() > until) break;
    const uint32_t end = until == UINT64_MAX ? segment->ordinals() : segment->lower_bound(until + 1);
    for (uint32_t o = segment->lower_bound(from); o < end; ++o) {
      if (segment->is_live(o) && accepts(segment->subjects()[o])) ++total;
    }
  }
  return total;
}

uint64_t Stream::count(const SubjectFilter& filter, uint64_t from) {
  if (from > last_seq_ || messages_ == 0) return 0;
  if (filter.is_all()) {
    if (from <= first_seq_) return messages_;
    if (last_seq_ - first_seq_ + 1 == messages_) return last_seq_ - from + 1;
  }
  load_if_needed();
  uint64_t total = 0;
  if (filter.is_all()) {
    total = messages_;
  } else if (filter.patterns().size() == 1) {
    subjects_.visit(filter.patterns()[0], false, [&](SubjectId id) { total += subjects_.entry(id).count; });
  } else {
    subjects_.visit({}, false, [&](SubjectId id) {
      if (filter.matches_id(id)) total += subjects_.entry(id).count;
    });
  }
  if (from <= first_seq_ || total == 0) return total;
  const auto accepts = [&](SubjectId id) { return filter.is_all() || filter.matches_id(id); };
  // Walks the shorter side.
  if (last_seq_ - from < from - first_seq_) return count_range(from, UINT64_MAX, accepts);
  return total - count_range(first_seq_, from - 1, accepts);
}

uint64_t Stream::count_last_per_subject(const SubjectFilter& filter, uint64_t from) {
  load_if_needed();
  uint64_t total = 0;
  subjects_.visit({}, false, [&](SubjectId id) {
    if (!filter.is_all() && !filter.matches_id(id)) return;
    if (last_of(id) >= from) ++total;
  });
  return total;
}

uint64_t Stream::subject_count() {
  load_if_needed();
  return subjects_.size();
}

uint64_t Stream::count_of(std::string_view subject) {
  load_if_needed();
  const SubjectId id = subjects_.find(subject);
  return id == kNoSubject ? 0 : subjects_.entry(id).count;
}

void Stream::visit_subjects(std::string_view pattern,
                            FunctionRef<void(std::string_view subject, uint64_t count)> visit) {
  load_if_needed();
  subjects_.visit(pattern, true,
                  [&](SubjectId id) { visit(subjects_.text(id), subjects_.entry(id).count); });
}

// --- times and gaps

int64_t Stream::timestamp_of(uint64_t seq) {
  Position at;
  if (!find(seq, at)) return 0;
  auto record = read_at(at);
  return record ? record->timestamp_ns : 0;
}

StreamState Stream::state() {
  StreamState state;
  state.messages = messages_;
  state.bytes = bytes_;
  state.first.seq = first_seq_;
  state.last = {last_seq_, last_timestamp_ns_};
  state.subjects = subject_count();
  if (messages_ == 0) return state;
  state.deleted = last_seq_ - first_seq_ + 1 - messages_;
  if (first_time_.seq != first_seq_) first_time_ = {first_seq_, timestamp_of(first_seq_)};
  state.first = {first_seq_, first_time_.timestamp_ns};
  return state;
}

uint64_t Stream::seq_at(WallTime time) {
  load_if_needed();
  const int64_t wanted = time.time_since_epoch().count();
  if (messages_ == 0 || last_timestamp_ns_ < wanted) return last_seq_ + 1;
  // The smallest sequence whose next message is not older; times ascend with sequences.
  uint64_t low = first_seq_;
  uint64_t high = last_seq_;
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    Position at;
    if (!scan_first(middle, at)) {
      high = middle;
      continue;
    }
    auto record = read_at(at);
    if (record && record->timestamp_ns < wanted) {
      low = record->seq + 1;
    } else {
      high = middle;
    }
  }
  Position at;
  return scan_first(low, at) ? seq_at(at) : last_seq_ + 1;
}

void Stream::deleted_ranges(size_t max, std::vector<std::pair<uint64_t, uint64_t>>& out) {
  load_if_needed();
  out.clear();
  if (messages_ == 0) return;
  uint64_t expected = first_seq_;
  Position at;
  while (out.size() < max && expected <= last_seq_) {
    if (find(expected, at)) {
      ++expected;
      continue;
    }
    const uint64_t next = scan_first(expected, at) ? seq_at(at) : last_seq_ + 1;
    out.emplace_back(expected, next - 1);
    expected = next + 1;
  }
}

std::optional<uint64_t> Stream::find_message_id(std::string_view id) {
  load_if_needed();
  return ids_.find(MessageIds::key_of(id), store_.clock().wall_now().time_since_epoch().count());
}

}  // namespace brokkr::store
