#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "broker/shard.h"

namespace brokkr::jetstream {

// What a stream has to say once what it rests on is durable: acknowledgements, errors, republished
// messages. First in, first out; kept as bytes one after the other, so that a publish costs no
// allocation. Loop-confined.
class Outbox {
 public:
  // The acknowledgement of a message stored under `seq`: `prefix`, the number, '}'. `prefix` is the
  // outbox's own for all of them, see `set_ack_prefix`.
  void set_ack_prefix(std::string prefix) { ack_prefix_ = std::move(prefix); }
  const std::string& ack_prefix() const { return ack_prefix_; }

  // Each waits until everything up to `after` is visible.
  void put_ack(uint64_t after, std::string_view reply, uint64_t seq);
  // `is_answer`: somebody waits for it.
  void put(uint64_t after, std::string_view subject, std::string_view headers, std::string_view body,
           bool is_answer = true);

  bool empty() const { return first_ == entries_.size() && late_entries_.empty(); }
  size_t size() const { return entries_.size() - first_ + late_entries_.size(); }
  size_t bytes() const { return text_.size() - text_first_ + late_text_.size(); }
  // Publishes what waited for `visible` or less. What is put in meanwhile stays behind it.
  void release(uint64_t visible, broker::Shard& shard, broker::Account& account);
  // Nothing that waits will become durable: whoever waits for an answer gets this one instead.
  void fail(std::string_view headers, std::string_view body, broker::Shard& shard,
            broker::Account& account);
  void clear();

 private:
  struct Entry {
    uint64_t after = 0;
    uint64_t ack_seq = 0;  // of an acknowledgement; else 0
    uint32_t subject_size = 0;
    uint32_t header_size = 0;
    uint32_t body_size = 0;
    bool is_answer = true;
  };
  void publish(const Entry& entry, const char* text, broker::Shard& shard, broker::Account& account);
  Entry take_first();
  void drop_released();

  std::string ack_prefix_;
  std::vector<Entry> entries_;
  size_t first_ = 0;  // entries before it are gone
  // Of each entry its subject and, but for an acknowledgement, its payload and CRLF.
  std::string text_;
  size_t text_first_ = 0;
  // Put in while others are released.
  std::vector<Entry> late_entries_;
  std::string late_text_;
  bool is_releasing_ = false;
};

}  // namespace brokkr::jetstream
