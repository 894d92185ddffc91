#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace brokkr::store {

class Stream;

struct SequencePair {
  uint64_t consumer = 0;
  uint64_t stream = 0;
};

// One delivery that waits for its acknowledgement.
struct Pending {
  uint64_t stream_seq = 0;
  uint64_t consumer_seq = 0;  // of the last delivery
  int64_t timestamp_ns = 0;   // of the last delivery
  uint32_t deliveries = 1;
};

// Pending deliveries ordered by stream sequence: appended at the end, erased anywhere, walked in
// order. 32 bytes each and little more. Loop-confined.
class PendingMap {
 public:
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  Pending* find(uint64_t stream_seq);
  const Pending* find(uint64_t stream_seq) const { return const_cast<PendingMap*>(this)->find(stream_seq); }
  // Replaces what is there.
  Pending& put(const Pending& pending);
  bool erase(uint64_t stream_seq);
  void clear();
  // The first at or after `stream_seq`; null when none.
  Pending* lower_bound(uint64_t stream_seq);
  Pending* first() { return lower_bound(0); }
  Pending* next(const Pending& after) { return lower_bound(after.stream_seq + 1); }

 private:
  std::vector<Pending> entries_;  // ascending; an erased one has deliveries 0
  size_t begin_ = 0;              // entries before it are erased
  size_t size_ = 0;
};

struct ConsumerState {
  SequencePair delivered;  // last delivered
  SequencePair ack_floor;  // everything up to it is acknowledged
  int64_t delivered_at_ns = 0;
  int64_t acked_at_ns = 0;
  PendingMap pending;
  // Messages that reached max_deliver are neither pending nor acknowledged; nothing is kept of them.
};

// What a restart must still know of a consumer. The owner changes `state` and says what it did; the
// log gets what was said, gathered per turn. Loop-confined; lives until Stream::delete_consumer.
class ConsumerStore {
 public:
  ConsumerStore(Stream& stream, uint32_t id, std::string name, std::string config, bool in_memory);
  const std::string& name() const { return name_; }
  const std::string& config() const { return config_; }  // opaque
  uint32_t id() const { return id_; }
  bool in_memory() const { return in_memory_; }
  const ConsumerState& state() const { return state_; }

  // A (re)delivery. `is_pending`: it waits for an acknowledgement.
  void delivered(uint64_t consumer_seq, uint64_t stream_seq, uint32_t deliveries, int64_t timestamp_ns,
                 bool is_pending);
  // Not pending any more (acknowledged, terminated, out of deliveries, deleted).
  void settled(uint64_t stream_seq);
  // Shifts the time a pending one is counted from (in progress, negative acknowledgement).
  // Not logged: after a restart it may be delivered a little earlier or later.
  void touch(uint64_t stream_seq, int64_t timestamp_ns);
  void set_ack_floor(SequencePair floor);
  // Starts over, e.g. after a reset or a purge.
  void reset(ConsumerState state);
  void forget_delivery(uint64_t stream_seq);  // the last delivery reached nobody: one delivery less

  // For the store: a compact image of all, and its inverse (Corrupt on bad bytes, never more memory
  // than the bytes are worth).
  void encode(std::string& out) const;
  Status decode(std::string_view bytes);
  // For the store: what was said since the last call as bytes to log, empty when nothing; and its
  // replay.
  void take_delta(std::string& out);
  Status apply_delta(std::string_view bytes);

 private:
  friend class Stream;
  void changed();  // asks the store for a place in the next group

  Stream& stream_;
  const uint32_t id_;
  const std::string name_;
  std::string config_;
  const bool in_memory_;
  ConsumerState state_;
  std::string delta_;
  bool is_queued_ = false;
};

}  // namespace brokkr::store
