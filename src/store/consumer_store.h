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
  uint64_t consumer_seq = 0;  // of the first delivery
  int64_t timestamp_ns = 0;   // of the last delivery
  uint32_t deliveries = 1;
  bool is_queued = false;  // for the owner: it waits to be delivered again; not kept
};

// Pending deliveries ordered by stream sequence: appended at the end, erased anywhere, walked in
// order. 32 bytes each and little more. Loop-confined.
class PendingMap {
 public:
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  Pending* find(uint64_t stream_seq);
  const Pending* find(uint64_t stream_seq) const {
    return const_cast<PendingMap*>(this)->find(stream_seq);
  }
  // Replaces what is there. Pointers handed out before are no longer good.
  Pending& put(const Pending& pending);
  bool erase(uint64_t stream_seq);
  void clear();
  // The first at or after `stream_seq`; null when none.
  Pending* lower_bound(uint64_t stream_seq);
  const Pending* lower_bound(uint64_t stream_seq) const {
    return const_cast<PendingMap*>(this)->lower_bound(stream_seq);
  }
  Pending* first() { return lower_bound(0); }
  const Pending* first() const { return lower_bound(0); }
  Pending* next(const Pending& after) { return lower_bound(after.stream_seq + 1); }
  const Pending* next(const Pending& after) const { return lower_bound(after.stream_seq + 1); }

 private:
  size_t position(uint64_t stream_seq) const;
  void compact();

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
  // Messages that were delivered as often as may be: neither pending nor acknowledged.
  PendingMap exhausted;
};

// What a restart must still know of a consumer. The owner changes `state` and says what it did; the
// log gets what was said, gathered per turn. Loop-confined; lives until Stream::delete_consumer.
class ConsumerStore {
 public:
  // Consumers that have something to log.
  using Queue = std::vector<ConsumerStore*>;

  // `queue` outlives the consumer; null when nothing is logged, as for one that is `in_memory`.
  ConsumerStore(Stream& stream, uint32_t id, std::string name, std::string config, bool in_memory,
                Queue* queue);
  ~ConsumerStore();
  ConsumerStore(const ConsumerStore&) = delete;
  ConsumerStore& operator=(const ConsumerStore&) = delete;

  Stream& stream() const { return stream_; }
  const std::string& name() const { return name_; }
  const std::string& config() const { return config_; }  // opaque
  void set_config(std::string config) { config_ = std::move(config); }  // for Stream::put_consumer
  uint32_t id() const { return id_; }
  bool in_memory() const { return in_memory_; }
  const ConsumerState& state() const { return state_; }
  const PendingMap& pending() const { return state_.pending; }
  // For `touch` and what is not kept.
  Pending* find_pending(uint64_t stream_seq) { return state_.pending.find(stream_seq); }
  PendingMap& pending() { return state_.pending; }

  // A (re)delivery. `is_pending`: it waits for an acknowledgement.
  void delivered(uint64_t consumer_seq, uint64_t stream_seq, uint32_t deliveries,
                 int64_t timestamp_ns, bool is_pending);
  // Neither pending nor exhausted any more (acknowledged, terminated, deleted).
  void settled(uint64_t stream_seq);
  // Pending until now, and out of deliveries.
  void exhausted(uint64_t stream_seq);
  // Shifts the time a pending one is counted from (in progress, negative acknowledgement).
  // Not logged: after a restart it may be delivered a little earlier or later.
  void touch(uint64_t stream_seq, int64_t timestamp_ns);
  void set_ack_floor(SequencePair floor);
  // Somebody acknowledged something. Not logged but in images.
  void set_acked_at(int64_t timestamp_ns) { state_.acked_at_ns = timestamp_ns; }
  // Starts over, e.g. after a reset or a purge.
  void reset(ConsumerState state);
  void forget_delivery(uint64_t stream_seq);  // the last delivery reached nobody: one delivery less

  // For the store: a compact image of all, and its inverse (Corrupt on bad bytes, never more memory
  // than the bytes are worth; the state is then as before).
  void encode(std::string& out) const;
  Status decode(std::string_view bytes);
  // For the store: what was said since the last call as bytes to log, empty when nothing; and its
  // replay. Each delta can be read without the ones before it.
  void take_delta(std::string& out);
  Status apply_delta(std::string_view bytes);

 private:
  class DeltaReader;
  void changed();  // asks for a place in the next group
  void put_delta(uint32_t operation, uint64_t stream_seq);
  Status apply_operation(DeltaReader& reader);
  static Status read_entries(DeltaReader& reader, PendingMap& out);
  void note_delivered(uint64_t consumer_seq, uint64_t stream_seq, uint32_t deliveries,
                      int64_t timestamp_ns, bool is_pending);
  void note_forgotten(uint64_t stream_seq);
  void note_exhausted(uint64_t stream_seq);

  // What the next operation of a delta is written relative to.
  struct DeltaBase {
    uint64_t stream_seq = 0;
    uint64_t consumer_seq = 0;
    int64_t timestamp_ns = 0;
  };

  Stream& stream_;
  const uint32_t id_;
  const std::string name_;
  std::string config_;
  const bool in_memory_;
  Queue* const queue_;
  ConsumerState state_;
  std::string delta_;
  DeltaBase delta_base_;
  bool floor_moved_ = false;  // since the last delta
  bool is_queued_ = false;
};

}  // namespace brokkr::store
