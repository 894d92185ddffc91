#include "store/message_ids.h"

#include <xxhash.h>

#include <algorithm>

namespace brokkr::store {
namespace {

constexpr int kGenerations = 8;
constexpr size_t kIdSlotsMin = 16;

}  // namespace

MessageIds::Key MessageIds::key_of(std::string_view id) {
  const XXH128_hash_t hash = XXH3_128bits(id.data(), id.size());
  return {hash.low64, hash.high64};
}

void MessageIds::set_window(Duration window) {
  window_ = window;
  if (window <= Duration::zero()) clear();
}

void MessageIds::put(Key key, uint64_t seq, int64_t at_ns) {
  if (window_ <= Duration::zero()) return;
  const int64_t span = std::max<int64_t>(window_.count() / kGenerations, 1);
  if (generations_.empty() || at_ns - generations_.back().begin_ns >= span) {
    drop_before(at_ns - window_.count() - span);
    generations_.push_back({at_ns, 0, {}});
  }
  generations_.back().put(key, seq, at_ns);
}

std::optional<uint64_t> MessageIds::find(Key key, int64_t now_ns) const {
  if (window_ <= Duration::zero()) return std::nullopt;
  const int64_t oldest = now_ns - window_.count();
  for (auto generation = generations_.rbegin(); generation != generations_.rend(); ++generation) {
    if (const Slot* slot = generation->find(key)) {
      return slot->at_ns > oldest ? std::optional(slot->seq) : std::nullopt;
    }
    // Those before this one ended when it began.
    if (generation->begin_ns <= oldest) break;
  }
  return std::nullopt;
}

size_t MessageIds::size() const {
  size_t total = 0;
  for (const Generation& generation : generations_) total += generation.size;
  return total;
}

void MessageIds::drop_before(int64_t ns) {
  while (!generations_.empty() && generations_.front().begin_ns < ns) generations_.pop_front();
}

void MessageIds::Generation::put(Key key, uint64_t seq, int64_t at_ns) {
  if ((size + 1) * 4 > slots.size() * 3) {
    const std::vector<Slot> old = std::move(slots);
    slots.assign(std::max(kIdSlotsMin, old.size() * 2), Slot{});
    size = 0;
    for (const Slot& slot : old) {
      if (slot.seq != 0) put(slot.key, slot.seq, slot.at_ns);
    }
  }
  const size_t mask = slots.size() - 1;
  size_t at = key.low & mask;
  while (slots[at].seq != 0 && slots[at].key != key) at = (at + 1) & mask;
  if (slots[at].seq == 0) ++size;
  slots[at] = {key, seq, at_ns};
}

const MessageIds::Slot* MessageIds::Generation::find(Key key) const {
  if (slots.empty()) return nullptr;
  const size_t mask = slots.size() - 1;
  for (size_t at = key.low & mask; slots[at].seq != 0; at = (at + 1) & mask) {
    if (slots[at].key == key) return &slots[at];
  }
  return nullptr;
}

}  // namespace brokkr::store
