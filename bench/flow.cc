// Throughput: publishers in 64 KiB batches against subscribers that check every message.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "connection.h"
#include "scenarios.h"

namespace brokkr::bench {
namespace {

constexpr size_t kBatchBytes = 64 * 1024;
constexpr uint64_t kWindowBytes = 1024 * 1024;
// A publisher without subscribers bounds its window by PONGs; more often would cost the server
// a flush that the publish path does not need.
constexpr uint64_t kPingBytes = 512 * 1024;
constexpr char kTail[9] = "~bench~~";
constexpr unsigned kPublisherShift = 48;

// The payload is: publisher and sequence (8 bytes, native order), filler, kTail.
struct Publisher {
  std::unique_ptr<Connection> connection;
  std::string batch;
  size_t wire_bytes = 0;
  size_t payload_at = 0;
  size_t batch_messages = 0;
  uint64_t id = 0;
  uint64_t sent = 0;
  uint64_t sent_at_ping[4] = {};
  uint64_t pings = 0;
  uint64_t bytes_since_ping = 0;
  bool is_watched = false;

  void send(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      const uint64_t sequence = (id << kPublisherShift) | sent++;
      memcpy(batch.data() + i * wire_bytes + payload_at, &sequence, sizeof sequence);
    }
    connection->write({batch.data(), count * wire_bytes});
  }
};

struct Subscriber {
  std::unique_ptr<Connection> connection;
  std::string header;
  size_t payload = 0;
  bool is_queue_member = false;
  uint64_t received = 0;
  // Of all sequences without the publisher's number: with the count it shows, for a queue group,
  // that each message came to exactly one member.
  uint64_t sequence_sum = 0;
  // Next sequence of each publisher; a queue member may skip, but never go back.
  std::vector<uint64_t> next;

  void consume();

 private:
  void check_payload(const char* bytes);
};

struct Channel {
  std::vector<Publisher> publishers;
  std::vector<Subscriber> subscribers;
  bool is_queue = false;
  uint64_t window = 0;
  uint64_t sent_max = 0;

  uint64_t sent() const;
  uint64_t received() const;
};

void Subscriber::check_payload(const char* bytes) {
  uint64_t stamp = 0;
  memcpy(&stamp, bytes, sizeof stamp);
  const uint64_t publisher = stamp >> kPublisherShift;
  const uint64_t sequence = stamp & ((uint64_t{1} << kPublisherShift) - 1);
  if (publisher >= next.size() || memcmp(bytes + payload - 8, kTail, 8) != 0) {
    fail("damaged payload after %llu messages", static_cast<unsigned long long>(received));
  }
  if (is_queue_member ? sequence < next[publisher] : sequence != next[publisher]) {
    fail("publisher %llu: sequence %llu where %llu was due",
         static_cast<unsigned long long>(publisher), static_cast<unsigned long long>(sequence),
         static_cast<unsigned long long>(next[publisher]));
  }
  next[publisher] = sequence + 1;
  sequence_sum += sequence;
  ++received;
}

void Subscriber::consume() {
  const size_t wire = header.size() + payload + 2;
  for (;;) {
    const std::string_view bytes = connection->received();
    size_t at = 0;
    while (bytes.size() - at >= wire &&
           memcmp(bytes.data() + at, header.data(), header.size()) == 0) {
      const char* end = bytes.data() + at + wire - 2;
      if (end[0] != '\r' || end[1] != '\n') fail("a message does not end in CR LF");
      check_payload(bytes.data() + at + header.size());
      at += wire;
    }
    connection->consume(at);
    const std::string_view rest = connection->received();
    if (rest.empty()) return;
    if (rest[0] == 'M') {
      const size_t known = std::min(rest.size(), header.size());
      if (rest.substr(0, known) != std::string_view(header).substr(0, known)) {
        fail("unexpected header '%.*s'", static_cast<int>(known), rest.data());
      }
      return;
    }
    if (!connection->consume_control()) return;
  }
}

uint64_t Channel::sent() const {
  uint64_t sum = 0;
  for (const Publisher& publisher : publishers)
    sum += publisher.sent;
  return sum;
}

// What all who should have seen it have seen.
uint64_t Channel::received() const {
  uint64_t sum = 0;
  if (subscribers.empty()) {
    for (const Publisher& publisher : publishers) {
      const uint64_t pongs = publisher.connection->pongs();
      if (pongs > 0) sum += publisher.sent_at_ping[(pongs - 1) % 4];
    }
    return sum;
  }
  if (is_queue) {
    for (const Subscriber& subscriber : subscribers)
      sum += subscriber.received;
    return sum;
  }
  sum = subscribers[0].received;
  for (const Subscriber& subscriber : subscribers)
    sum = std::min(sum, subscriber.received);
  return sum;
}

class Flow {
 public:
  Flow(const Options& options, const Shape& shape);
  // Sends for `seconds` or until `messages_max`, then until everything has arrived.
  uint64_t run(double seconds, uint64_t messages_max);
  // Nothing may follow the last expected message, and totals must agree.
  void check_end();
  uint64_t deliveries() const;

 private:
  Publisher make_publisher(const Shape&, uint32_t channel, uint32_t index) const;
  Subscriber make_subscriber(const Shape&, uint32_t channel) const;
  bool send_round(Channel&, bool is_last);
  void ping(Publisher&) const;
  void handle(uint32_t id);

  const Options& options_;
  std::vector<Channel> channels_;
  // Index of a poller id: publishers first, then subscribers.
  std::vector<Publisher*> publishers_;
  std::vector<Subscriber*> subscribers_;
  Poller poller_;
};

Publisher Flow::make_publisher(const Shape& shape, uint32_t channel, uint32_t index) const {
  Publisher publisher;
  publisher.connection = Connection::open(options_.port, 16 * 1024);
  publisher.id = index;
  std::string message =
      "PUB bench." + std::to_string(channel) + " " + std::to_string(shape.payload) + "\r\n";
  publisher.payload_at = message.size();
  message.append(shape.payload, 'x');
  memcpy(message.data() + message.size() - 8, kTail, 8);
  message += "\r\n";
  publisher.wire_bytes = message.size();
  publisher.batch_messages =
      shape.is_unbatched ? 1 : std::max<size_t>(1, kBatchBytes / message.size());
  for (size_t i = 0; i < publisher.batch_messages; ++i)
    publisher.batch += message;
  return publisher;
}

Subscriber Flow::make_subscriber(const Shape& shape, uint32_t channel) const {
  Subscriber subscriber;
  subscriber.connection = Connection::open(options_.port);
  subscriber.payload = shape.payload;
  subscriber.is_queue_member = shape.is_queue;
  subscriber.next.resize(shape.publishers);
  const std::string subject = "bench." + std::to_string(channel);
  subscriber.header = "MSG " + subject + " 1 " + std::to_string(shape.payload) + "\r\n";
  subscriber.connection->write("SUB " + subject + (shape.is_queue ? " workers" : "") + " 1\r\n");
  subscriber.connection->ping_pong();
  return subscriber;
}

Flow::Flow(const Options& options, const Shape& shape) : options_(options) {
  channels_.resize(shape.channels);
  for (uint32_t c = 0; c < shape.channels; ++c) {
    Channel& channel = channels_[c];
    channel.is_queue = shape.is_queue;
    for (uint32_t i = 0; i < shape.subscribers; ++i) {
      channel.subscribers.push_back(make_subscriber(shape, c));
    }
    for (uint32_t i = 0; i < shape.publishers; ++i) {
      channel.publishers.push_back(make_publisher(shape, c, i));
    }
    // Unbatched publishers have about one message each on the way, so that the server can not
    // read several at once.
    const size_t wire_bytes = channel.publishers[0].wire_bytes;
    channel.window =
        shape.is_unbatched ? shape.publishers : kWindowBytes / shape.channels / wire_bytes;
  }
  for (Channel& channel : channels_) {
    for (Publisher& publisher : channel.publishers)
      publishers_.push_back(&publisher);
    for (Subscriber& subscriber : channel.subscribers)
      subscribers_.push_back(&subscriber);
  }
  uint32_t id = 0;
  for (Publisher* publisher : publishers_)
    poller_.add(publisher->connection->fd(), id++);
  for (Subscriber* subscriber : subscribers_)
    poller_.add(subscriber->connection->fd(), id++);
}

void Flow::ping(Publisher& publisher) const {
  publisher.connection->write("PING\r\n");
  publisher.sent_at_ping[publisher.pings++ % 4] = publisher.sent;
  publisher.bytes_since_ping = 0;
}

// One batch of each publisher that may send; false when none could.
bool Flow::send_round(Channel& channel, bool is_last) {
  bool any = false;
  uint64_t sent = channel.sent();
  const uint64_t received = channel.received();
  for (Publisher& publisher : channel.publishers) {
    if (publisher.connection->has_unsent()) continue;
    if (is_last) {
      if (channel.subscribers.empty() && publisher.bytes_since_ping > 0) ping(publisher);
      continue;
    }
    const uint64_t left = channel.sent_max > sent ? channel.sent_max - sent : 0;
    const uint64_t count = std::min<uint64_t>(publisher.batch_messages, left);
    if (count == 0 || (sent - received + count > channel.window && sent > received)) break;
    publisher.send(count);
    sent += count;
    any = true;
    publisher.bytes_since_ping += count * publisher.wire_bytes;
    if (channel.subscribers.empty() && publisher.bytes_since_ping >= kPingBytes) ping(publisher);
  }
  return any;
}

void Flow::handle(uint32_t id) {
  if (id < publishers_.size()) {
    Publisher& publisher = *publishers_[id];
    publisher.connection->flush();
    if (publisher.connection->fill()) {
      while (!publisher.connection->received().empty() && publisher.connection->consume_control()) {
      }
    }
    return;
  }
  Subscriber& subscriber = *subscribers_[id - publishers_.size()];
  subscriber.connection->flush();
  if (subscriber.connection->fill()) subscriber.consume();
}

uint64_t Flow::run(double seconds, uint64_t messages_max) {
  const uint64_t start = now_ns();
  const uint64_t end = start + static_cast<uint64_t>(seconds * 1e9);
  const auto total = [&](auto member) {
    uint64_t sum = 0;
    for (const Channel& channel : channels_)
      sum += (channel.*member)();
    return sum;
  };
  const uint64_t before = total(&Channel::sent);
  const uint64_t share = messages_max / channels_.size();
  for (Channel& channel : channels_)
    channel.sent_max = channel.sent() + share;
  for (;;) {
    const uint64_t now = now_ns();
    const uint64_t sent_before_round = total(&Channel::sent);
    const bool is_last = now >= end || sent_before_round >= before + share * channels_.size();
    for (Channel& channel : channels_) {
      while (send_round(channel, is_last)) {
      }
    }
    const uint64_t sent = total(&Channel::sent);
    const uint64_t received = total(&Channel::received);
    if (is_last && sent == received) return sent - before;
    // The count is full: the closing PINGs go out in the next turn, without a wait for news.
    if (!is_last && sent >= before + share * channels_.size()) continue;
    if (received > sent || now > end + options_.patience_ns) {
      fail("sent %llu, but %llu arrived", static_cast<unsigned long long>(sent),
           static_cast<unsigned long long>(received));
    }
    for (uint32_t id = 0; id < publishers_.size(); ++id) {
      Publisher& publisher = *publishers_[id];
      const bool has_unsent = publisher.connection->has_unsent();
      if (has_unsent == publisher.is_watched) continue;
      poller_.watch(publisher.connection->fd(), id, has_unsent);
      publisher.is_watched = has_unsent;
    }
    const size_t ready = poller_.wait(100);
    for (size_t i = 0; i < ready; ++i)
      handle(poller_.event(i).data.u32);
  }
}

void Flow::check_end() {
  for (Publisher* publisher : publishers_)
    publisher->connection->ping_pong();
  for (Subscriber* subscriber : subscribers_)
    subscriber->connection->ping_pong();
  for (const Channel& channel : channels_) {
    if (channel.subscribers.empty()) continue;
    uint64_t expected_sum = 0;
    uint64_t sum = 0;
    for (const Publisher& publisher : channel.publishers) {
      expected_sum += publisher.sent * (publisher.sent - 1) / 2;
    }
    const uint64_t copies = channel.is_queue ? 1 : channel.subscribers.size();
    for (const Subscriber& subscriber : channel.subscribers)
      sum += subscriber.sequence_sum;
    if (sum != expected_sum * copies) fail("the sequences that arrived are not those sent");
  }
}

uint64_t Flow::deliveries() const {
  uint64_t sum = 0;
  for (const Subscriber* subscriber : subscribers_)
    sum += subscriber->received;
  return sum;
}

}  // namespace

void run_flow(const Options& options, const Shape& shape, Report& report) {
  Flow flow(options, shape);
  // Socket buffers, page faults and match caches settle before the clock starts.
  flow.run(options.seconds / 10, options.messages_max / 10);
  const uint64_t deliveries_before = flow.deliveries();
  const Meter meter(options.pid);
  const uint64_t messages = flow.run(options.seconds, options.messages_max);
  meter.finish(messages, report);
  report.add("deliveries", static_cast<double>(flow.deliveries() - deliveries_before));
  flow.check_end();
}

}  // namespace brokkr::bench
