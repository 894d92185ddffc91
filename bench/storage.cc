// What is kept: publishing into streams, consuming with explicit acks, key-value puts and gets, and
// stores of a given size for the memory and start rows.
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <vector>

#include "pipeline.h"
#include "scenarios.h"

namespace brokkr::bench {
namespace {

constexpr std::string_view kStream = "BENCH";
constexpr std::string_view kBucket = "KV_BENCH";
constexpr uint32_t kFillWindow = 4000;
constexpr uint64_t kConsumeMax = 400'000;
constexpr uint32_t kPullBatch = 500;
constexpr uint32_t kPullsOpen = 2;
constexpr double kFillSeconds = 3000;
constexpr useconds_t kSettleMemoryUs = 500'000;

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

void ask(Pipeline& pipeline, const std::string& subject, const std::string& body) {
  const std::string answer = pipeline.request(subject, body);
  if (contains(answer, "\"error\"")) fail("%s: %s", subject.c_str(), answer.c_str());
}

void delete_stream(Pipeline& pipeline, std::string_view stream) {
  const std::string answer =
      pipeline.request("$JS.API.STREAM.DELETE." + std::string(stream), "");
  if (contains(answer, "\"error\"") && !contains(answer, "10059")) {
    fail("delete: %s", answer.c_str());
  }
}

void create_stream(Pipeline& pipeline, bool is_memory) {
  delete_stream(pipeline, kStream);
  const std::string name(kStream);
  ask(pipeline, "$JS.API.STREAM.CREATE." + name,
      "{\"name\":\"" + name + "\",\"subjects\":[\"bench.>\"],\"retention\":\"limits\"," +
          "\"max_consumers\":-1,\"max_msgs\":-1,\"max_bytes\":-1,\"max_age\":0,\"num_replicas\":1," +
          "\"discard\":\"old\",\"allow_direct\":true,\"storage\":\"" +
          (is_memory ? "memory" : "file") + "\"}");
}

// The configuration the clients give a bucket with a history of one.
void create_bucket(Pipeline& pipeline) {
  delete_stream(pipeline, kBucket);
  const std::string name(kBucket);
  ask(pipeline, "$JS.API.STREAM.CREATE." + name,
      "{\"name\":\"" + name + "\",\"subjects\":[\"$KV.BENCH.>\"],\"max_msgs_per_subject\":1," +
          "\"retention\":\"limits\",\"max_consumers\":-1,\"max_msgs\":-1,\"max_bytes\":-1," +
          "\"max_age\":0,\"storage\":\"file\",\"num_replicas\":1,\"discard\":\"new\"," +
          "\"duplicate_window\":120000000000,\"allow_rollup_hdrs\":true,\"deny_delete\":true," +
          "\"allow_direct\":true}");
}

// "PREFIX.NNNNNNNN".
std::string numbered(std::string_view prefix, uint64_t number) {
  char digits[16];
  snprintf(digits, sizeof digits, "%08lu", number);
  return std::string(prefix) + digits;
}

// xorshift64*: fixed seed, so that each server sees the same keys.
struct KeyDraw {
  uint64_t state = 0x9e3779b97f4a7c15U;
  uint64_t below(uint64_t bound) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return ((state * 0x2545f4914f6cdd1dU) >> 32) * bound >> 32;
  }
};

uint64_t sequence_in(const Message& ack) {
  constexpr std::string_view kField = "\"seq\":";
  const size_t at = ack.payload.find(kField);
  if (at == std::string_view::npos || contains(ack.payload, "\"error\"")) {
    fail("not acknowledged: %.*s", static_cast<int>(ack.payload.size()), ack.payload.data());
  }
  uint64_t seq = 0;
  const char* begin = ack.payload.data() + at + kField.size();
  std::from_chars(begin + (*begin == ' ' ? 1 : 0), ack.payload.data() + ack.payload.size(), seq);
  return seq;
}

// Publishes messages whose subject is the next of `subjects`, or drawn among them; each
// acknowledgement must carry the sequence its message has as the stream's only publisher's.
class Publisher {
 public:
  Publisher(Pipeline& pipeline, std::string_view prefix, uint64_t subjects, uint32_t payload)
      : pipeline_(pipeline), prefix_(prefix), subjects_(subjects), payload_(payload, 'x') {}

  void draw_subjects() { is_drawn_ = true; }
  uint64_t published() const { return published_; }

  uint64_t run(uint32_t window, double seconds, uint64_t count_max) {
    std::optional<uint64_t> first_index;
    const uint64_t base = published_;
    const uint64_t count = pipeline_.run(
        window, seconds, count_max,
        [&](std::string& out, uint64_t index, std::string_view reply) {
          if (!first_index) first_index = index;
          const uint64_t subject = is_drawn_ ? draw_.below(subjects_) : published_ % subjects_;
          append_pub(out, numbered(prefix_, subject), reply, payload_.size());
          out.append(payload_).append("\r\n");
          ++published_;
        },
        [&](uint64_t index, const Message& ack) {
          const uint64_t expected = base + (index - *first_index) + 1;
          if (const uint64_t seq = sequence_in(ack); seq != expected) {
            fail("message %lu was stored as %lu", expected, seq);
          }
        });
    return count;
  }

 private:
  Pipeline& pipeline_;
  std::string_view prefix_;
  uint64_t subjects_;
  std::string payload_;
  KeyDraw draw_;
  bool is_drawn_ = false;
  uint64_t published_ = 0;
};

uint64_t subjects_of(const Options& options, uint64_t otherwise) {
  return options.subject_count > 0 ? options.subject_count : otherwise;
}

uint32_t payload_of(const Options& options, const Shape& shape) {
  return options.payload > 0 ? options.payload : shape.payload;
}

// Pull consumers of one stream on one connection, each with two pulls open.
class Consumers {
 public:
  Consumers(const Options& options, uint32_t count)
      : options_(options),
        connection_(Connection::open(options.port, 4 * 1024 * 1024)),
        received_(count),
        pulled_(count) {
    for (uint32_t i = 0; i < count; ++i) {
      connection_->write("SUB " + inbox(i) + " " + std::to_string(i + 1) + "\r\n");
    }
    connection_->ping_pong();
    poller_.add(connection_->fd(), 0);
  }

  static std::string name(uint32_t index) { return "c" + std::to_string(index); }

  // Takes `each` messages for every consumer and acknowledges them all.
  void run(uint64_t each) {
    for (uint32_t i = 0; i < received_.size(); ++i) {
      for (uint32_t k = 0; k < kPullsOpen; ++k) pull(i);
    }
    const uint64_t total = each * received_.size();
    uint64_t last = now_ns();
    while (total_ < total) {
      connection_->write(acks_);
      acks_.clear();
      poller_.watch(connection_->fd(), 0, connection_->has_unsent());
      poller_.wait(100);
      connection_->flush();
      if (connection_->fill()) {
        last = now_ns();
        connection_->each_message([&](const Message& message) { take(message); });
      }
      if (now_ns() > last + options_.patience_ns) fail("%lu messages missing", total - total_);
    }
    connection_->write(acks_);
    connection_->ping_pong([](const Message&) {});
  }

 private:
  static std::string inbox(uint32_t index) { return "_INBOX.pull." + std::to_string(index); }

  void pull(uint32_t index) {
    const std::string body = "{\"batch\":" + std::to_string(kPullBatch) + ",\"expires\":30000000000}";
    append_pub(acks_, "$JS.API.CONSUMER.MSG.NEXT." + std::string(kStream) + "." + name(index),
               inbox(index), body.size());
    acks_.append(body).append("\r\n");
    pulled_[index] += kPullBatch;
  }

  void take(const Message& message) {
    if (!message.headers.empty()) {
      fail("status %.*s", static_cast<int>(message.headers.size()), message.headers.data());
    }
    uint32_t sid = 0;
    std::from_chars(message.sid.data(), message.sid.data() + message.sid.size(), sid);
    const uint32_t index = sid - 1;
    if (index >= received_.size()) fail("a message for no consumer");
    const uint64_t seq = stream_sequence(message.reply);
    if (seq != ++received_[index]) fail("message %lu came as %lu", seq, received_[index]);
    ++total_;
    append_pub(acks_, message.reply, {}, 4);
    acks_ += "+ACK\r\n";
    if (pulled_[index] - received_[index] <= kPullBatch * (kPullsOpen - 1)) pull(index);
  }

  // "$JS.ACK.stream.consumer.deliveries.STREAM_SEQ.consumer_seq.time.pending".
  static uint64_t stream_sequence(std::string_view reply) {
    for (int i = 0; i < 5; ++i) {
      const size_t dot = reply.find('.');
      if (dot == std::string_view::npos) fail("a message without an ack subject");
      reply.remove_prefix(dot + 1);
    }
    uint64_t seq = 0;
    std::from_chars(reply.data(), reply.data() + reply.size(), seq);
    return seq;
  }

  const Options& options_;
  std::unique_ptr<Connection> connection_;
  Poller poller_;
  std::string acks_;
  std::vector<uint64_t> received_;
  std::vector<uint64_t> pulled_;
  uint64_t total_ = 0;
};

void create_consumer(Pipeline& pipeline, const std::string& name) {
  ask(pipeline, "$JS.API.CONSUMER.DURABLE.CREATE." + std::string(kStream) + "." + name,
      "{\"stream_name\":\"" + std::string(kStream) + "\",\"config\":{\"durable_name\":\"" + name +
          "\",\"deliver_policy\":\"all\",\"ack_policy\":\"explicit\",\"ack_wait\":60000000000," +
          "\"replay_policy\":\"instant\",\"max_ack_pending\":20000,\"max_waiting\":512}}");
}

// An ack has no answer: what counts is that the server says none is missing.
void wait_acknowledged(Pipeline& pipeline, const std::string& name, uint64_t count) {
  const uint64_t deadline = now_ns() + 10'000'000'000U;
  const std::string floor = "\"stream_seq\":" + std::to_string(count);
  for (;;) {
    const std::string info =
        pipeline.request("$JS.API.CONSUMER.INFO." + std::string(kStream) + "." + name, "");
    const size_t at = info.find("\"ack_floor\"");
    if (at != std::string::npos && contains(std::string_view(info).substr(at, 120), floor)) return;
    if (now_ns() > deadline) fail("acknowledgements are missing: %s", info.c_str());
    usleep(1000);
  }
}

void report_memory(const Options& options, uint64_t before, uint64_t count, Report& report) {
  usleep(kSettleMemoryUs);
  const uint64_t after = resident_bytes(options.pid);
  report.add("rss_bytes", static_cast<double>(after));
  report.add("rss_grown_bytes", static_cast<double>(after) - static_cast<double>(before));
  report.add("rss_bytes_per_item", (static_cast<double>(after) - static_cast<double>(before)) /
                                       static_cast<double>(count));
}

}  // namespace

void run_js_publish(const Options& options, const Shape& shape, Report& report) {
  Pipeline pipeline(options);
  create_stream(pipeline, shape.is_memory);
  Publisher publisher(pipeline, "bench.", subjects_of(options, 1), payload_of(options, shape));
  publisher.run(shape.in_flight, options.seconds / 5, options.messages_max / 10);
  pipeline.samples().clear();
  const Meter meter(options.pid);
  const uint64_t count = publisher.run(shape.in_flight, options.seconds, options.messages_max);
  meter.finish(count, report);
  report.add_percentiles("", pipeline.samples());
  delete_stream(pipeline, kStream);
}

void run_js_consume(const Options& options, const Shape& shape, Report& report) {
  Pipeline pipeline(options);
  create_stream(pipeline, shape.is_memory);
  const uint64_t each = std::min(options.messages_max, kConsumeMax) / options.consumer_count;
  Publisher publisher(pipeline, "bench.", subjects_of(options, 1), payload_of(options, shape));
  publisher.run(kFillWindow, kFillSeconds, each);
  for (uint32_t i = 0; i < options.consumer_count; ++i) {
    create_consumer(pipeline, Consumers::name(i));
  }
  const Meter meter(options.pid);
  Consumers consumers(options, options.consumer_count);
  consumers.run(each);
  for (uint32_t i = 0; i < options.consumer_count; ++i) {
    wait_acknowledged(pipeline, Consumers::name(i), each);
  }
  meter.finish(each * options.consumer_count, report);
  delete_stream(pipeline, kStream);
}

void run_kv_put(const Options& options, const Shape& shape, Report& report) {
  Pipeline pipeline(options);
  create_bucket(pipeline);
  Publisher publisher(pipeline, "$KV.BENCH.", subjects_of(options, 100'000),
                      payload_of(options, shape));
  publisher.draw_subjects();
  publisher.run(shape.in_flight, options.seconds / 5, options.messages_max / 10);
  pipeline.samples().clear();
  const Meter meter(options.pid);
  const uint64_t count = publisher.run(shape.in_flight, options.seconds, options.messages_max);
  meter.finish(count, report);
  report.add_percentiles("", pipeline.samples());
  delete_stream(pipeline, kBucket);
}

void run_kv_get(const Options& options, const Shape& shape, Report& report) {
  Pipeline pipeline(options);
  create_bucket(pipeline);
  const uint64_t keys = std::min(options.messages_max, subjects_of(options, 100'000));
  const uint32_t payload = payload_of(options, shape);
  Publisher publisher(pipeline, "$KV.BENCH.", keys, payload);
  publisher.run(kFillWindow, kFillSeconds, keys);
  pipeline.samples().clear();
  KeyDraw draw;
  const auto run = [&](double seconds, uint64_t count_max) {
    return pipeline.run(
        shape.in_flight, seconds, count_max,
        [&](std::string& out, uint64_t, std::string_view reply) {
          append_pub(out, numbered("$JS.API.DIRECT.GET.KV_BENCH.$KV.BENCH.", draw.below(keys)),
                     reply, 0);
          out += "\r\n";
        },
        [&](uint64_t, const Message& answer) {
          if (answer.payload.size() != payload || !contains(answer.headers, "Nats-Sequence:")) {
            fail("not found: %.*s", static_cast<int>(answer.headers.size()), answer.headers.data());
          }
        });
  };
  run(options.seconds / 5, options.messages_max / 10);
  pipeline.samples().clear();
  const Meter meter(options.pid);
  const uint64_t count = run(options.seconds, options.messages_max);
  meter.finish(count, report);
  report.add_percentiles("", pipeline.samples());
  delete_stream(pipeline, kBucket);
}

void run_js_fill(const Options& options, const Shape& shape, Report& report) {
  Pipeline pipeline(options);
  const uint64_t before = resident_bytes(options.pid);
  if (shape.is_bucket) {
    create_bucket(pipeline);
  } else {
    create_stream(pipeline, shape.is_memory);
  }
  Publisher publisher(pipeline, shape.is_bucket ? "$KV.BENCH." : "bench.",
                      subjects_of(options, shape.is_bucket ? options.messages_max : 1),
                      payload_of(options, shape));
  const Meter meter(options.pid);
  // In pieces: the samples of ten million messages would be most of the generator's memory.
  while (publisher.published() < options.messages_max) {
    publisher.run(kFillWindow, kFillSeconds,
                  std::min<uint64_t>(100'000, options.messages_max - publisher.published()));
    pipeline.samples().clear();
  }
  meter.finish(publisher.published(), report);
  report_memory(options, before, publisher.published(), report);
}

void run_js_streams(const Options& options, const Shape& shape, Report& report) {
  Pipeline pipeline(options);
  const uint64_t before = resident_bytes(options.pid);
  const Meter meter(options.pid);
  uint64_t number = 0;
  const uint64_t count = pipeline.run(
      shape.in_flight, kFillSeconds, options.messages_max,
      [&](std::string& out, uint64_t, std::string_view reply) {
        const std::string name = numbered("S", number);
        const std::string body = "{\"name\":\"" + name + "\",\"subjects\":[\"" +
                                 numbered("s.", number) + "\"],\"storage\":\"file\"," +
                                 "\"num_replicas\":1}";
        append_pub(out, "$JS.API.STREAM.CREATE." + name, reply, body.size());
        out.append(body).append("\r\n");
        ++number;
      },
      [&](uint64_t, const Message& answer) {
        if (contains(answer.payload, "\"error\"")) {
          fail("create: %.*s", static_cast<int>(answer.payload.size()), answer.payload.data());
        }
      });
  meter.finish(count, report);
  report_memory(options, before, count, report);
}

}  // namespace brokkr::bench
