// Paced flow and connection churn.
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "connection.h"
#include "scenarios.h"

namespace brokkr::bench {
namespace {

constexpr uint32_t kTimerId = 1000;
constexpr size_t kChurnParallel = 16;
constexpr uint64_t kChurnMax = 5000;

int make_timer(uint32_t interval_us) {
  const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  itimerspec spec{};
  spec.it_interval.tv_nsec = static_cast<long>(interval_us) * 1000;
  spec.it_value = spec.it_interval;
  if (timer < 0 || timerfd_settime(timer, 0, &spec, nullptr) != 0) {
    fail("timerfd: %s", strerror(errno));
  }
  return timer;
}

// One publisher, one subscriber; the payload holds the sequence and the time it was sent.
class PacedFlow {
 public:
  PacedFlow(const Options& options, const Shape& shape)
      : publisher_(Connection::open(options.port)),
        subscriber_(Connection::open(options.port)),
        poller_(options.spin_us),
        per_tick_(uint64_t{shape.rate} * shape.tick_us / 1'000'000),
        patience_ns_(options.patience_ns) {
    subscriber_->write("SUB bench.paced 1\r\n");
    subscriber_->ping_pong();
    message_ = "PUB bench.paced " + std::to_string(shape.payload) + "\r\n";
    payload_at_ = message_.size();
    message_.append(shape.payload, 'x').append("\r\n");
    payload_ = shape.payload;
    timer_ = make_timer(shape.tick_us);
    poller_.add(timer_, kTimerId);
    poller_.add(publisher_->fd(), 0);
    poller_.add(subscriber_->fd(), 1);
  }
  ~PacedFlow() { close(timer_); }

  // Publishes for `seconds`, then waits for the rest to arrive.
  uint64_t run(double seconds);
  void check_end() { subscriber_->ping_pong(); }
  std::vector<uint32_t>& samples() { return samples_; }

 private:
  void tick();
  void receive();

  std::unique_ptr<Connection> publisher_;
  std::unique_ptr<Connection> subscriber_;
  Poller poller_;
  uint64_t per_tick_;
  uint64_t patience_ns_;
  int timer_ = -1;
  std::string message_;
  size_t payload_at_ = 0;
  size_t payload_ = 0;
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
  std::vector<uint32_t> samples_;
};

void PacedFlow::tick() {
  uint64_t expirations = 0;
  if (read(timer_, &expirations, sizeof expirations) != sizeof expirations) return;
  // One write for each: the messages of independent callers, not a batch.
  for (uint64_t i = 0; i < expirations * per_tick_; ++i) {
    const uint64_t now = now_ns();
    memcpy(message_.data() + payload_at_, &sent_, 8);
    memcpy(message_.data() + payload_at_ + 8, &now, 8);
    ++sent_;
    publisher_->write(message_);
  }
}

void PacedFlow::receive() {
  subscriber_->flush();
  if (!subscriber_->fill()) return;
  const uint64_t now = now_ns();
  subscriber_->each_message([&](const Message& message) {
    uint64_t sequence = 0;
    uint64_t sent_at = 0;
    if (message.subject != "bench.paced" || message.sid != "1" ||
        message.payload.size() != payload_) {
      fail("foreign message");
    }
    memcpy(&sequence, message.payload.data(), 8);
    memcpy(&sent_at, message.payload.data() + 8, 8);
    if (sequence != received_) fail("sequence out of order");
    ++received_;
    samples_.push_back(static_cast<uint32_t>(now - sent_at));
  });
}

uint64_t PacedFlow::run(double seconds) {
  const uint64_t before = sent_;
  const uint64_t end = now_ns() + static_cast<uint64_t>(seconds * 1e9);
  for (uint64_t now = now_ns(); now < end || received_ < sent_; now = now_ns()) {
    if (now > end + patience_ns_) fail("paced messages are missing");
    const size_t ready = poller_.wait(100);
    for (size_t i = 0; i < ready; ++i) {
      const uint32_t id = poller_.event(i).data.u32;
      if (id == kTimerId) {
        if (now < end) tick();
      } else if (id == 1) {
        receive();
      } else {
        publisher_->flush();
        if (publisher_->fill()) {
          publisher_->each_message([](const Message&) { fail("message on the publisher"); });
        }
      }
    }
    // A timer nobody reads would keep the poller awake.
    if (now >= end) poller_.remove(timer_);
  }
  return sent_ - before;
}

struct Visit {
  std::unique_ptr<Connection> connection;
  uint64_t started = 0;
};

}  // namespace

void run_paced(const Options& options, const Shape& shape, Report& report) {
  PacedFlow flow(options, shape);
  const Meter meter(options.pid);
  const uint64_t count = flow.run(options.seconds);
  meter.finish(count, report);
  flow.check_end();
  report.add_percentiles("", flow.samples());
}

void run_churn(const Options& options, const Shape&, Report& report) {
  // Bounded in count, for each connection leaves a port in TIME_WAIT.
  const uint64_t count_max = std::min(options.messages_max, kChurnMax);
  Poller poller;
  std::vector<Visit> visits(kChurnParallel);
  std::vector<uint32_t> samples;
  uint64_t started = 0;
  const auto start = [&](uint32_t id) {
    visits[id].started = now_ns();
    visits[id].connection = std::make_unique<Connection>(options.port, 16 * 1024);
    poller.add(visits[id].connection->fd(), id);
    ++started;
  };
  const Meter meter(options.pid);
  const uint64_t begin = now_ns();
  const uint64_t end = begin + static_cast<uint64_t>(options.seconds * 1e9);
  for (uint32_t id = 0; id < kChurnParallel; ++id)
    start(id);
  while (samples.size() < started) {
    if (now_ns() > end + options.patience_ns) fail("a handshake does not end");
    const size_t ready = poller.wait(100);
    for (size_t i = 0; i < ready; ++i) {
      const uint32_t id = poller.event(i).data.u32;
      Connection& connection = *visits[id].connection;
      connection.flush();
      if (!connection.fill()) continue;
      connection.each_message([](const Message&) { fail("message on a new connection"); });
      if (!connection.is_ready()) continue;
      const uint64_t now = now_ns();
      samples.push_back(static_cast<uint32_t>(now - visits[id].started));
      visits[id].connection.reset();
      if (now < end && started < count_max) start(id);
    }
  }
  meter.finish(samples.size(), report);
  report.add_percentiles("", samples);
}

}  // namespace brokkr::bench
