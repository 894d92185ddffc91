// What the store does for its run files between checkpoints: overwriting what was erased, and reading
// all of them now and then to find damage early.
#include <algorithm>

#include "store/store_impl.h"

namespace brokkr::store {
// --- erasing

// A crash before the removal is durable must find the message whole.
void Store::Impl::erase_when_durable(Store& store) {
  store.when_durable([this, is_alive = alive, now = std::move(erasures)] {
    if (!*is_alive) return;
    for (const Erasure& erasure : now) erase(erasure);
  });
  erasures.clear();
}

void Store::Impl::erase(const Erasure& erasure) {
  const auto at = by_id.find(erasure.stream);
  if (at == by_id.end()) return;
  for (SealedSegment& segment : at->second->sealed_) {
    if (erasure.seq < segment.info.first_seq || erasure.seq > segment.info.last_seq) continue;
    // A run that is being copied is erased from when it is in its new place.
    if (segment.is_moving || checkpoint != nullptr) return erasures.push_back(erasure);
    const RunIndex* const index = at->second->index_of(segment);
    if (index == nullptr) return;
    const uint32_t ordinal = index->lower_bound(erasure.seq);
    if (ordinal >= index->info.count || index->seq_at(ordinal) != erasure.seq) return;
    auto outcome = std::make_shared<Status>();
    environment.background_executor.run(
        [outcome, file = segment.file, kept = segment.index, ordinal] { *outcome = file->erase(*kept, ordinal); },
        [this, is_alive = alive, outcome, stream = erasure.stream, file = segment.info.file, offset = segment.info.offset] {
          if (!*is_alive || *outcome) return;
          const auto owner = by_id.find(stream);
          if (owner == by_id.end()) return;
          // Compressed or encrypted: the next checkpoint writes it anew.
          for (SealedSegment& each : owner->second->sealed_) {
            if (each.info.file == file && each.info.offset == offset) each.is_to_forget = true;
          }
        });
    return;
  }
}

// --- scrubbing

void Store::Impl::start_scrubber() {
  Scrubber::Events events;
  events.next = [this] { return next_to_scrub(); };
  events.damaged = [this](const Scrubber::Target& target, const std::vector<uint64_t>& seqs) {
    on_scrubbed(target, seqs);
  };
  events.footer_damaged = [this](const Scrubber::Target& target) {
    environment.log.warn("JetStream store: the footer of a run in " + run_file_name(target.info.file) +
                         " is damaged; its messages are not");
  };
  events.after = environment.after;
  scrubber = std::make_unique<Scrubber>(environment.background_executor, Scrubber::Options{}, std::move(events));
  scrubber->start();
}

// Runs in order of stream and sequence.
std::optional<Scrubber::Target> Store::Impl::next_to_scrub() {
  std::pair<uint32_t, uint64_t> best{UINT32_MAX, UINT64_MAX};
  const SealedSegment* found = nullptr;
  for (const auto& [id, stream] : by_id) {
    if (id < scrubbed.first || id > best.first) continue;
    for (const SealedSegment& segment : stream->sealed_) {
      const std::pair<uint32_t, uint64_t> place{id, segment.info.last_seq};
      if (place <= scrubbed || place >= best) continue;
      best = place;
      found = &segment;
    }
  }
  if (found == nullptr) {
    scrubbed = {0, 0};
    return std::nullopt;
  }
  scrubbed = best;
  auto file = run_file(found->info.file);
  if (!file) return std::nullopt;
  return Scrubber::Target{*file, found->info, best.first};
}

void Store::Impl::on_scrubbed(const Scrubber::Target& target, const std::vector<uint64_t>& damaged) {
  const auto at = by_id.find(target.stream);
  if (at == by_id.end()) return;
  Stream& stream = *at->second;
  for (const uint64_t seq : damaged) {
    auto record = stream.load(seq);
    if (record || record.error().code != Errc::Corrupt) continue;
    environment.log.error("JetStream store: message " + std::to_string(seq) + " of stream " +
                          stream.options().name + " is damaged on disk and lost");
  }
}

}  // namespace brokkr::store
