#include "jetstream/ack_deadlines.h"

#include <algorithm>
#include <functional>

namespace brokkr::jetstream {
namespace {
constexpr size_t kSweepMin = 1024;
}  // namespace

void AckDeadlines::add(uint64_t stream_seq, int64_t deadline_ns, const store::PendingMap& pending) {
  if (queue_.empty() || queue_.back().deadline_ns <= deadline_ns) {
    queue_.push_back({deadline_ns, stream_seq});
  } else {
    heap_.push_back({deadline_ns, stream_seq});
    std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  }
  if (queue_.size() + heap_.size() > 2 * pending.size() + kSweepMin) sweep(pending);
}

bool AckDeadlines::take_due(int64_t now_ns, uint64_t& stream_seq) {
  const bool from_queue = !queue_.empty() && (heap_.empty() || queue_.front().deadline_ns <= heap_.front().deadline_ns);
  if (from_queue) {
    if (queue_.front().deadline_ns > now_ns) return false;
    stream_seq = queue_.front().stream_seq;
    queue_.pop_front();
    return true;
  }
  if (heap_.empty() || heap_.front().deadline_ns > now_ns) return false;
  stream_seq = heap_.front().stream_seq;
  std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
  heap_.pop_back();
  return true;
}

int64_t AckDeadlines::next_ns() const {
  int64_t next = INT64_MAX;
  if (!queue_.empty()) next = queue_.front().deadline_ns;
  if (!heap_.empty()) next = std::min(next, heap_.front().deadline_ns);
  return next;
}

void AckDeadlines::clear() {
  queue_.clear();
  heap_.clear();
}

void AckDeadlines::sweep(const store::PendingMap& pending) {
  const auto is_stale = [&](const Entry& entry) { return pending.find(entry.stream_seq) == nullptr; };
  std::erase_if(queue_, is_stale);
  if (std::erase_if(heap_, is_stale) > 0) {
    std::make_heap(heap_.begin(), heap_.end(), std::greater<>());
  }
  if (queue_.size() + heap_.size() <= 2 * pending.size() + kSweepMin / 2) return;
  // A pending delivery that was postponed or made again often has several entries: one is enough.
  std::vector<Entry> entries(queue_.begin(), queue_.end());
  entries.insert(entries.end(), heap_.begin(), heap_.end());
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.stream_seq != b.stream_seq ? a.stream_seq < b.stream_seq : a.deadline_ns < b.deadline_ns;
  });
  entries.erase(std::unique(entries.begin(), entries.end(),
                            [](const Entry& a, const Entry& b) { return a.stream_seq == b.stream_seq; }),
                entries.end());
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.deadline_ns < b.deadline_ns; });
  queue_.assign(entries.begin(), entries.end());
  heap_.clear();
}

}  // namespace brokkr::jetstream
