#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "store/consumer_store.h"

namespace brokkr::jetstream {

// When the pending deliveries of one consumer are due to be delivered again. With a constant wait
// they come due in the order they were made: a queue; those that do not (back-off, delays) go to a
// heap. Whoever settles or postpones a delivery need not say so: an entry is looked up in the
// pending map when its time comes, and the queue is swept when most of it is stale. Every pending
// delivery that is not queued for redelivery has an entry at or before its deadline.
// Loop-confined.
class AckDeadlines {
 public:
  void add(uint64_t stream_seq, int64_t deadline_ns, const store::PendingMap& pending);
  // The next entry that is due by `now_ns`, taken out; false when none.
  bool take_due(int64_t now_ns, uint64_t& stream_seq);
  // When the next entry is due; INT64_MAX when there is none.
  int64_t next_ns() const;
  void clear();

 private:
  struct Entry {
    int64_t deadline_ns;
    uint64_t stream_seq;
    bool operator>(const Entry& other) const { return deadline_ns > other.deadline_ns; }
  };
  void sweep(const store::PendingMap& pending);

  std::deque<Entry> queue_;   // ascending
  std::vector<Entry> heap_;   // the earliest first
};

}  // namespace brokkr::jetstream
