#include "workload/relay.h"

#include <algorithm>
#include <span>
#include <string>

namespace brokkr::workload {
namespace {

// Reads in one go, so that one busy stream does not hold up the loop.
constexpr int kRelayReadsPerTurn = 4;

}  // namespace

Relay::Relay(io::Loop& loop, std::unique_ptr<io::Transport> a, std::unique_ptr<io::Transport> b,
             Callback<void()> on_end)
    : loop_(loop), on_end_(std::move(on_end)), end_(loop, [this] { finish(); }) {
  ends_[0].stream = std::move(a);
  ends_[1].stream = std::move(b);
  for (End& end : ends_) {
    end.relay = this;
    end.other = &end == ends_ ? ends_ + 1 : ends_;
  }
  listen();
}

Relay::~Relay() = default;

void Relay::listen() {
  for (End& end : ends_) {
    const bool wants_read = !end.has_ended && end.other->pending.empty();
    const bool wants_write = !end.pending.empty();
    // A stream nobody waits for has no handler: were it to hang up, it would say so in every turn.
    end.stream->listen(wants_read || wants_write ? &end : nullptr, wants_read, wants_write);
  }
}

bool Relay::read_some(End& from, End& to) {
  for (int i = 0; i < kRelayReadsPerTurn && to.pending.empty() && !from.has_ended; ++i) {
    const std::span<char> buffer = loop_.receive_buffer(0);
    const io::IoResult got = from.stream->read(buffer.data(), std::min(buffer.size(), kPendingMax));
    if (got.kind == io::IoResult::Kind::WouldBlock) return true;
    if (got.kind == io::IoResult::Kind::Failed) return false;
    if (got.kind == io::IoResult::Kind::Closed) {
      from.has_ended = true;
      return true;
    }
    from.read_bytes += got.bytes;
    const io::IoResult put = to.stream->write(buffer.data(), got.bytes);
    if (put.kind == io::IoResult::Kind::Failed || put.kind == io::IoResult::Kind::Closed) return false;
    to.pending.assign(buffer.data() + put.bytes, got.bytes - put.bytes);
    to.sent = 0;
  }
  return true;
}

bool Relay::write_pending(End& to) {
  while (to.sent < to.pending.size()) {
    const io::IoResult put =
        to.stream->write(to.pending.data() + to.sent, to.pending.size() - to.sent);
    if (put.kind == io::IoResult::Kind::Failed || put.kind == io::IoResult::Kind::Closed) return false;
    if (put.kind == io::IoResult::Kind::WouldBlock || put.bytes == 0) return true;
    to.sent += put.bytes;
  }
  // Gives its memory back: most streams are idle most of the time.
  std::string().swap(to.pending);
  to.sent = 0;
  return true;
}

void Relay::pump(End& from, End& to) {
  if (end_.is_armed()) return;
  const bool is_good = write_pending(to) && read_some(from, to);
  if (is_good && from.has_ended && to.pending.empty() && !to.was_told) {
    to.was_told = true;
    to.stream->end_writing();
  }
  if (!is_good || (ends_[0].was_told && ends_[1].was_told)) {
    for (End& end : ends_) end.stream->listen(nullptr, false, false);
    return end_.start(Duration::zero());
  }
  listen();
}

void Relay::finish() {
  for (End& end : ends_) end.stream.reset();
  if (const auto on_end = std::move(on_end_)) on_end();
}

RelaySet::RelaySet(io::Loop& loop, size_t relays_max) : loop_(loop), relays_max_(relays_max) {}
RelaySet::~RelaySet() = default;

bool RelaySet::add(std::unique_ptr<io::Transport> a, std::unique_ptr<io::Transport> b) {
  if (is_full()) return false;
  const uint64_t number = next_++;
  relays_[number] = std::make_unique<Relay>(loop_, std::move(a), std::move(b),
                                            [this, number] { relays_.erase(number); });
  return true;
}

}  // namespace brokkr::workload
