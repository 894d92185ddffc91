#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/callback.h"
#include "io/loop.h"
#include "io/transport.h"

namespace brokkr::workload {

// Carries bytes between two streams, both ways. A side that ends is told to the other, which may go on
// sending; a side that does not take its bytes is not given more than kPendingMax, and the other is not
// read meanwhile. Loop-confined.
class Relay final {
 public:
  static constexpr size_t kPendingMax = 64U << 10;

  // `on_end` is called once, when both directions have ended or one side failed; never from within
  // the constructor. It may destroy the relay.
  Relay(io::Loop& loop, std::unique_ptr<io::Transport> a, std::unique_ptr<io::Transport> b,
        Callback<void()> on_end);
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  uint64_t bytes_from_a() const { return ends_[0].read_bytes; }
  uint64_t bytes_from_b() const { return ends_[1].read_bytes; }

 private:
  struct End final : io::TransportHandler {
    void on_readable() override { relay->pump(*this, *other); }
    void on_writable() override { relay->pump(*other, *this); }
    Relay* relay = nullptr;
    End* other = nullptr;
    std::unique_ptr<io::Transport> stream;
    std::string pending;     // read from `other`, to be written here
    size_t sent = 0;
    bool has_ended = false;  // nothing more will be read from it
    bool was_told = false;   // that nothing more will be written to it
    uint64_t read_bytes = 0;
  };
  // Moves what can be moved from one end to the other.
  void pump(End& from, End& to);
  bool read_some(End& from, End& to);
  bool write_pending(End& to);
  void listen();
  void finish();

  io::Loop& loop_;
  End ends_[2];
  Callback<void()> on_end_;
  io::Timer end_;
};

// The relays of one workload, at most so many. Loop-confined.
class RelaySet final {
 public:
  RelaySet(io::Loop& loop, size_t relays_max);
  ~RelaySet();

  // False, and both are closed, when there are too many.
  bool add(std::unique_ptr<io::Transport> a, std::unique_ptr<io::Transport> b);
  bool is_full() const { return relays_.size() >= relays_max_; }
  size_t size() const { return relays_.size(); }
  void clear() { relays_.clear(); }

 private:
  io::Loop& loop_;
  const size_t relays_max_;
  uint64_t next_ = 0;
  std::unordered_map<uint64_t, std::unique_ptr<Relay>> relays_;
};

}  // namespace brokkr::workload
