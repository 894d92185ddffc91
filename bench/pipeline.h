#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "connection.h"
#include "scenarios.h"

namespace brokkr::bench {

// Keeps a window of requests open on one connection, each with a reply subject of its own under one
// wildcard inbox, as the clients' asynchronous publish does; checks that each is answered once.
// Loop-confined.
class Pipeline {
 public:
  explicit Pipeline(const Options& options);

  // Sends requests until `seconds` or `count_max` passed and all are answered; gives their number.
  // `write(out, index, reply)` appends a request's line and payload to `out`,
  // `check(index, message)` looks at its answer. Indexes go on from run to run.
  template <typename Write, typename Check>
  uint64_t run(uint32_t window, double seconds, uint64_t count_max, Write&& write, Check&& check);

  // One request and its answer's payload.
  std::string request(std::string_view subject, std::string_view payload);

  // Nanoseconds from a request's write to its answer's receipt, of all runs since the last clear.
  std::vector<uint32_t>& samples() { return samples_; }

 private:
  // Larger than any window, so that a slot is free again before it is needed.
  static constexpr uint32_t kSlots = 1 << 16;
  static constexpr size_t kBatchBytes = 256 * 1024;

  uint64_t index_of(const Message& answer, uint64_t now);

  const Options& options_;
  std::unique_ptr<Connection> connection_;
  Poller poller_;
  std::string batch_;
  std::string reply_;
  // When each open request was sent, 0 when it is answered.
  std::vector<uint64_t> started_ = std::vector<uint64_t>(kSlots);
  std::vector<uint32_t> samples_;
  uint64_t sent_ = 0;
  uint64_t answered_ = 0;
};

// Appends "PUB subject reply size\r\n".
void append_pub(std::string& out, std::string_view subject, std::string_view reply, size_t size);

template <typename Write, typename Check>
uint64_t Pipeline::run(uint32_t window, double seconds, uint64_t count_max, Write&& write,
                       Check&& check) {
  const uint64_t before = sent_;
  uint64_t last_answer = now_ns();
  const uint64_t end = last_answer + static_cast<uint64_t>(seconds * 1e9);
  bool is_watched = false;
  for (;;) {
    const uint64_t now = now_ns();
    const bool is_over = now >= end || sent_ - before >= count_max;
    if (is_over && answered_ == sent_) return sent_ - before;
    if (now > last_answer + options_.patience_ns) fail("%lu requests unanswered", sent_ - answered_);
    batch_.clear();
    while (!is_over && !connection_->has_unsent() && sent_ - answered_ < window &&
           sent_ - before < count_max && batch_.size() < kBatchBytes) {
      char id[16];
      const int size = snprintf(id, sizeof id, "%08x", static_cast<uint32_t>(sent_));
      reply_.resize(reply_.size() - 8);
      reply_.append(id, static_cast<size_t>(size));
      started_[sent_ % kSlots] = now;
      write(batch_, sent_++, std::string_view(reply_));
    }
    if (!batch_.empty()) connection_->write(batch_);
    if (connection_->has_unsent() != is_watched) {
      is_watched = !is_watched;
      poller_.watch(connection_->fd(), 0, is_watched);
    }
    poller_.wait(100);
    connection_->flush();
    if (!connection_->fill()) continue;
    last_answer = now_ns();
    connection_->each_message([&](const Message& answer) {
      check(index_of(answer, last_answer), answer);
      ++answered_;
    });
  }
}

}  // namespace brokkr::bench
