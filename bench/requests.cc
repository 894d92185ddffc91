// Request and reply: latency and cost of a round trip, against a responder here or a function.
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "connection.h"
#include "scenarios.h"

namespace brokkr::bench {
namespace {

constexpr char kHex[] = "0123456789abcdef";
constexpr size_t kIdDigits = 8;

void write_id(char* at, uint32_t id) {
  for (size_t i = 0; i < kIdDigits; ++i)
    at[i] = kHex[(id >> (28 - 4 * i)) & 15];
}

// Answers each request with its own payload.
class Responder {
 public:
  Responder(uint16_t port, const std::string& subject)
      : connection_(Connection::open(port)), subject_(subject) {
    connection_->write("SUB " + subject + " 1\r\n");
    connection_->ping_pong();
  }
  int fd() const { return connection_->fd(); }
  void handle() {
    connection_->flush();
    if (!connection_->fill()) return;
    replies_.clear();
    connection_->each_message([&](const Message& request) {
      if (request.subject != subject_ || request.sid != "1") fail("foreign request");
      replies_.append("PUB ").append(request.reply).append(" ");
      replies_.append(std::to_string(request.payload.size())).append("\r\n");
      replies_.append(request.payload).append("\r\n");
    });
    if (!replies_.empty()) connection_->write(replies_);
  }
  void check_end() { connection_->ping_pong(); }

 private:
  std::unique_ptr<Connection> connection_;
  std::string subject_;
  std::string replies_;
};

// Keeps requests open on one connection with one wildcard inbox, as the clients do.
class Requester {
 public:
  Requester(uint16_t port, const std::string& subject, bool is_exact)
      : connection_(Connection::open(port)),
        inbox_(is_exact ? "_INBOX.bare." : "_INBOX.function."),
        is_exact_(is_exact) {
    connection_->write("SUB " + inbox_ + "* 1\r\n");
    connection_->ping_pong();
    request_ = "PUB " + subject + " " + inbox_;
    inbox_at_ = request_.size();
    request_ += "00000000 16\r\n";
    payload_at_ = request_.size();
    request_ += "req-00000000-end\r\n";
  }
  int fd() const { return connection_->fd(); }
  uint64_t answered() const { return answered_; }
  uint32_t open() const { return sent_ - static_cast<uint32_t>(answered_); }
  std::vector<uint32_t>& samples() { return samples_; }

  void send(uint32_t count) {
    batch_.clear();
    const uint64_t now = now_ns();
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t id = sent_++;
      if (started_.size() < kSlots) started_.resize(kSlots);
      if (started_[id % kSlots] != 0) fail("request %u is still open", id - kSlots);
      started_[id % kSlots] = now;
      write_id(request_.data() + inbox_at_, id);
      write_id(request_.data() + payload_at_ + 4, id);
      batch_ += request_;
    }
    connection_->write(batch_);
  }

  // Number of replies that came.
  uint32_t handle() {
    connection_->flush();
    if (!connection_->fill()) return 0;
    uint32_t count = 0;
    const uint64_t now = now_ns();
    connection_->each_message([&](const Message& reply) {
      check(reply, now);
      ++count;
    });
    answered_ += count;
    return count;
  }
  void check_end() { connection_->ping_pong(); }

 private:
  static constexpr uint32_t kSlots = 4096;

  void check(const Message& reply, uint64_t now);

  std::unique_ptr<Connection> connection_;
  // Its own for each requester on a server: a shared one would see the other's replies.
  std::string inbox_;
  bool is_exact_;
  std::string request_;
  size_t inbox_at_ = 0;
  size_t payload_at_ = 0;
  std::string batch_;
  uint32_t sent_ = 0;
  uint64_t answered_ = 0;
  std::vector<uint64_t> started_;
  std::vector<uint32_t> samples_;
};

void Requester::check(const Message& reply, uint64_t now) {
  // A status line ("NATS/1.0 503") or a service error; other headers are the responder's own.
  if (reply.headers.starts_with("NATS/1.0 ") ||
      reply.headers.find("Nats-Service-Error") != std::string_view::npos) {
    fail("a request failed: %.*s %.*s", static_cast<int>(reply.headers.size()),
         reply.headers.data(), static_cast<int>(reply.payload.size()), reply.payload.data());
  }
  if (!reply.subject.starts_with(inbox_) || reply.subject.size() != inbox_.size() + kIdDigits ||
      reply.sid != "1")
    fail("foreign reply");
  const uint32_t id = static_cast<uint32_t>(
      strtoul(std::string(reply.subject.substr(inbox_.size())).c_str(), nullptr, 16));
  char expected[] = "req-00000000-end";
  write_id(expected + 4, id);
  const std::string_view wanted(expected, sizeof expected - 1);
  if (is_exact_ ? reply.payload != wanted : reply.payload.find(wanted) == std::string_view::npos) {
    fail("reply '%.*s' does not carry '%s'", static_cast<int>(reply.payload.size()),
         reply.payload.data(), expected);
  }
  if (id >= sent_ || started_[id % kSlots] == 0) fail("request %u was answered twice", id);
  samples_.push_back(static_cast<uint32_t>(now - started_[id % kSlots]));
  started_[id % kSlots] = 0;
}

// Runs a requester, with or without a responder of ours, until `seconds` or `count_max` passed.
class Exchange {
 public:
  Exchange(const Options& options, const std::string& subject, bool has_responder)
      : poller_(options.spin_us), patience_ns_(options.patience_ns) {
    if (has_responder) {
      responder_.emplace(options.port, subject);
      poller_.add(responder_->fd(), 1);
    }
    requester_.emplace(options.port, subject, has_responder);
    poller_.add(requester_->fd(), 0);
  }

  uint64_t run(uint32_t in_flight, double seconds, uint64_t count_max) {
    const uint64_t start = requester_->answered();
    const uint64_t end = now_ns() + static_cast<uint64_t>(seconds * 1e9);
    requester_->send(in_flight);
    uint64_t last_reply = now_ns();
    while (requester_->open() > 0) {
      const size_t ready = poller_.wait(100);
      for (size_t i = 0; i < ready; ++i) {
        if (poller_.event(i).data.u32 == 1) {
          responder_->handle();
          continue;
        }
        const uint32_t answered = requester_->handle();
        if (answered == 0) continue;
        last_reply = now_ns();
        const bool is_over = last_reply >= end || requester_->answered() - start >= count_max;
        if (!is_over) requester_->send(answered);
      }
      if (now_ns() > last_reply + patience_ns_) fail("%u requests unanswered", requester_->open());
    }
    return requester_->answered() - start;
  }

  void check_end() {
    requester_->check_end();
    if (responder_) responder_->check_end();
  }
  std::vector<uint32_t>& samples() { return requester_->samples(); }

 private:
  std::optional<Responder> responder_;
  std::optional<Requester> requester_;
  Poller poller_;
  uint64_t patience_ns_;
};

}  // namespace

void run_requests(const Options& options, const Shape& shape, Report& report) {
  Exchange exchange(options, "bench.request", true);
  exchange.run(shape.in_flight, options.seconds / 10, options.messages_max / 10);
  exchange.samples().clear();
  const Meter meter(options.pid);
  const uint64_t count = exchange.run(shape.in_flight, options.seconds, options.messages_max);
  meter.finish(count, report);
  exchange.check_end();
  report.add_percentiles("", exchange.samples());
}

void run_function(const Options& options, const Shape&, Report& report) {
  if (options.function_subject.empty()) fail("fn_echo needs --function-subject");
  Exchange bare(options, "bench.request", true);
  Exchange function(options, options.function_subject, false);
  function.run(1, options.seconds / 10, options.messages_max);
  bare.run(1, options.seconds / 10, options.messages_max);
  function.samples().clear();
  bare.samples().clear();
  // Short turns in alternation, so that both see the same state of the machine.
  constexpr int kTurns = 10;
  for (int i = 0; i < kTurns; ++i) {
    bare.run(1, options.seconds / kTurns / 2, options.messages_max);
    function.run(1, options.seconds / kTurns / 2, options.messages_max);
  }
  bare.check_end();
  report.add_percentiles("bare_", bare.samples());
  report.add_percentiles("function_", function.samples());
  const double added = static_cast<double>(function.samples()[function.samples().size() / 2]) -
                       static_cast<double>(bare.samples()[bare.samples().size() / 2]);
  report.add("added_p50_ns", added);
  const uint64_t tree_start = process_tree_cpu_ns(options.pid);
  const Meter meter(options.pid);
  const uint64_t count =
      function.run(options.function_in_flight, options.seconds, options.messages_max);
  meter.finish(count, report);
  // Function instances are children of the server: their time is part of a call's cost.
  const uint64_t tree = process_tree_cpu_ns(options.pid) - tree_start;
  report.add("tree_cpu_ns_per_message", static_cast<double>(tree) / static_cast<double>(count));
  function.check_end();
}

}  // namespace brokkr::bench
