// What many idle connections and many subscriptions cost. Meant for a fresh server process:
// memory a server has freed but kept would hide the growth.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "connection.h"
#include "scenarios.h"

namespace brokkr::bench {
namespace {

constexpr size_t kConnectParallel = 64;
constexpr useconds_t kSettleUs = 300'000;
constexpr uint64_t kMatchWindow = 8192;
constexpr size_t kMatchBatch = 1024;

// xorshift64*: fixed seed, so that each server sees the same subjects.
struct Draw {
  uint64_t state = 0x9e3779b97f4a7c15U;
  uint32_t below(uint32_t bound) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return static_cast<uint32_t>(((state * 0x2545f4914f6cdd1dU) >> 32) * bound >> 32);
  }
};

// "device.NNNNNN.state": literal subscriptions name it whole, wildcard ones end in "*".
void append_subject(std::string& text, uint32_t index, bool is_wildcard) {
  char digits[16];
  snprintf(digits, sizeof digits, "%06u", index);
  text.append("device.").append(digits, 6).append(is_wildcard ? ".*" : ".state");
}

void insert_subscriptions(Connection& connection, uint32_t count, bool is_wildcard) {
  std::string batch;
  for (uint32_t i = 0; i < count; ++i) {
    batch += "SUB ";
    append_subject(batch, i, is_wildcard);
    batch.append(" ").append(std::to_string(i + 1)).append("\r\n");
    if (batch.size() >= 64 * 1024 || i + 1 == count) {
      while (connection.has_unsent()) {
        connection.flush();
        if (connection.has_unsent()) usleep(100);
      }
      connection.write(batch);
      batch.clear();
    }
  }
  connection.ping_pong();
}

// Publishes to random subscriptions and checks that each message comes once, in order, with the
// number of the subscription it is for.
class MatchFlow {
 public:
  MatchFlow(const Options& options, Connection& subscriber)
      : options_(options),
        subscriber_(subscriber),
        publisher_(Connection::open(options.port)),
        expected_(kMatchWindow) {
    poller_.add(publisher_->fd(), 0);
    poller_.add(subscriber_.fd(), 1);
  }
  uint64_t run(double seconds, uint64_t count_max);

 private:
  void send();
  void receive();

  const Options& options_;
  Connection& subscriber_;
  std::unique_ptr<Connection> publisher_;
  Poller poller_;
  Draw draw_;
  std::string batch_;
  // Subscription of each message on the way, by sequence modulo the window.
  std::vector<uint32_t> expected_;
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
};

void MatchFlow::send() {
  batch_.clear();
  for (size_t i = 0; i < kMatchBatch; ++i) {
    const uint32_t index = draw_.below(options_.subscriptions);
    expected_[sent_ % kMatchWindow] = index;
    batch_ += "PUB ";
    append_subject(batch_, index, false);
    batch_ += " 16\r\n";
    batch_.append(reinterpret_cast<const char*>(&sent_), 8).append("filling~\r\n");
    ++sent_;
  }
  publisher_->write(batch_);
}

void MatchFlow::receive() {
  subscriber_.flush();
  if (!subscriber_.fill()) return;
  subscriber_.each_message([&](const Message& message) {
    const uint32_t index = expected_[received_ % kMatchWindow];
    uint64_t sequence = 0;
    if (message.payload.size() != 16) fail("damaged payload");
    memcpy(&sequence, message.payload.data(), 8);
    if (sequence != received_) fail("sequence out of order");
    const auto sid = strtoul(std::string(message.sid).c_str(), nullptr, 10);
    if (sid != index + 1) fail("message for subscription %u came to %lu", index + 1, sid);
    ++received_;
  });
}

uint64_t MatchFlow::run(double seconds, uint64_t count_max) {
  const uint64_t before = sent_;
  const uint64_t end = now_ns() + static_cast<uint64_t>(seconds * 1e9);
  bool is_watched = false;
  for (;;) {
    const uint64_t now = now_ns();
    const bool is_over = now >= end || sent_ - before >= count_max;
    if (is_over && received_ == sent_) return sent_ - before;
    if (now > end + options_.patience_ns) fail("matched messages are missing");
    while (!is_over && !publisher_->has_unsent() &&
           sent_ - received_ + kMatchBatch <= kMatchWindow) {
      send();
    }
    if (publisher_->has_unsent() != is_watched) {
      is_watched = !is_watched;
      poller_.watch(publisher_->fd(), 0, is_watched);
    }
    const size_t ready = poller_.wait(100);
    for (size_t i = 0; i < ready; ++i) {
      if (poller_.event(i).data.u32 == 1) {
        receive();
        continue;
      }
      publisher_->flush();
      if (publisher_->fill()) {
        publisher_->each_message([](const Message&) { fail("message on the publisher"); });
      }
    }
  }
}

}  // namespace

void run_idle(const Options& options, const Shape&, Report& report) {
  const uint64_t room = file_limit() > 64 ? file_limit() - 64 : 0;
  const auto count = static_cast<uint32_t>(std::min<uint64_t>(options.connections, room));
  Poller poller;
  std::vector<std::unique_ptr<Connection>> connections;
  connections.reserve(count);
  const uint64_t before = resident_bytes(options.pid);
  const uint64_t deadline = now_ns() + 60'000'000'000U;
  const Meter meter(options.pid);
  size_t done = 0;
  while (done < count) {
    while (connections.size() < count && connections.size() - done < kConnectParallel) {
      connections.push_back(std::make_unique<Connection>(options.port, 4096));
      poller.add(connections.back()->fd(), static_cast<uint32_t>(connections.size() - 1));
    }
    if (now_ns() > deadline) fail("only %zu of %u connections came up", done, count);
    const size_t ready = poller.wait(100);
    for (size_t i = 0; i < ready; ++i) {
      Connection& connection = *connections[poller.event(i).data.u32];
      const bool was_ready = connection.is_ready();
      connection.flush();
      if (!connection.fill()) continue;
      connection.each_message([](const Message&) { fail("message on an idle connection"); });
      if (!was_ready && connection.is_ready()) ++done;
    }
  }
  meter.finish(count, report);
  usleep(kSettleUs);
  const uint64_t after = resident_bytes(options.pid);
  report.add("rss_bytes_per_item",
             (static_cast<double>(after) - static_cast<double>(before)) / count);
  report.add("rss_bytes", static_cast<double>(after));
  // Each is still served.
  for (const auto& connection : connections)
    connection->ping_pong();
}

void run_subscriptions(const Options& options, const Shape& shape, Report& report) {
  const auto subscriber = Connection::open(options.port);
  const uint64_t before = resident_bytes(options.pid);
  const Meter meter(options.pid);
  insert_subscriptions(*subscriber, options.subscriptions, shape.is_wildcard);
  meter.finish(options.subscriptions, report);
  usleep(kSettleUs);
  const uint64_t after = resident_bytes(options.pid);
  report.add("rss_bytes_per_item",
             (static_cast<double>(after) - static_cast<double>(before)) / options.subscriptions);
  report.add("rss_bytes", static_cast<double>(after));
}

void run_match(const Options& options, const Shape& shape, Report& report) {
  const auto subscriber = Connection::open(options.port);
  insert_subscriptions(*subscriber, options.subscriptions, shape.is_wildcard);
  MatchFlow flow(options, *subscriber);
  flow.run(options.seconds / 10, options.messages_max);
  const Meter meter(options.pid);
  const uint64_t count = flow.run(options.seconds, options.messages_max);
  meter.finish(count, report);
  subscriber->ping_pong();
}

}  // namespace brokkr::bench
