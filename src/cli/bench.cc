// brokkr bench: throughput and latency with the nats CLI's spelling and its result lines.

#include <algorithm>
#include <cstdio>
#include <memory>

#include "base/bytes.h"
#include "cli/bench_report.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/files.h"
#include "cli/terminal.h"
#include "client/service.h"

namespace brokkr::cli {
namespace {

constexpr size_t kPendingHigh = 8 << 20;
constexpr uint64_t kPublishBatch = 64;
constexpr uint64_t kClientsMax = 10'000;

// One connection of the benchmark and what it measured.
struct BenchClient : BenchMeasure {
  std::unique_ptr<client::Connection> connection;
  std::unique_ptr<client::Subscription> subscription;
  std::unique_ptr<client::Service> service;
  uint64_t target = 0;
};

class Bench {
 public:
  enum class Role : uint8_t { Publish, Subscribe, Request, Reply, ServiceRequest, ServiceServe };

  Bench(const Context& context, const Values& values, Role role)
      : context_(context),
        values_(values),
        role_(role),
        size_(values.number("size")),
        messages_(values.number("msgs")),
        clients_wanted_(values.number("clients")),
        sleep_(values.duration("sleep")) {}

  int run() {
    if (clients_wanted_ == 0 || clients_wanted_ > kClientsMax || messages_ == 0) {
      return fail(context_.program, "--clients: 1 to 10000, --msgs: at least 1");
    }
    if (Status ready = prepare(); !ready) return fail(context_.program, ready.error());
    announce();
    if (Status done = work(); !done) return fail(context_.program, done.error());
    report();
    for (const auto& c : clients_) {
      if (c->errors > 0) return fail(context_.program, std::to_string(c->errors) + " requests failed");
    }
    return 0;
  }

 private:
  bool is_server() const { return role_ == Role::Reply || role_ == Role::ServiceServe; }
  bool is_requester() const { return role_ == Role::Request || role_ == Role::ServiceRequest; }
  const char* noun() const {
    switch (role_) {
      case Role::Publish: return "publisher";
      case Role::Subscribe: return "subscriber";
      case Role::Request: return "requester";
      case Role::Reply: return "replier";
      case Role::ServiceRequest: return "service requester";
      case Role::ServiceServe: return "service server";
    }
    return "?";
  }

  Status prepare() {
    payload_.assign(size_, 'x');
    if (!values_.text("payload").empty()) {
      auto text = read_file(values_.text("payload"), 64 << 20);
      if (!text) return text.error();
      payload_ = std::move(*text);
      size_ = payload_.size();
    }
    auto headers = make_headers(values_.all("header"));
    if (!headers) return headers.error();
    headers_ = std::move(*headers);
    auto first = connect(context_, values_);
    if (!first) return first.error();
    session_ = std::move(*first);
    for (uint64_t i = 0; i < clients_wanted_; ++i) {
      auto options = make_options(context_, values_);
      if (!options) return options.error();
      auto c = std::make_unique<BenchClient>();
      // Each has its share; the first ones carry the remainder. Subscribers all get everything.
      c->target = role_ == Role::Subscribe
                      ? messages_
                      : messages_ / clients_wanted_ + (i < messages_ % clients_wanted_ ? 1 : 0);
      auto connection = client::Connection::open(
          {session_->loop(), session_->resolver(), session_->random()}, std::move(*options));
      if (!connection) return connection.error();
      c->connection = std::move(*connection);
      clients_.push_back(std::move(c));
    }
    const bool is_up = client::run_until(session_->loop(), std::chrono::seconds(30), [this] {
      return std::all_of(clients_.begin(), clients_.end(),
                         [](const auto& c) { return c->connection->is_connected(); });
    });
    if (!is_up) return Error{Errc::TimedOut, "not all clients could connect"};
    return {};
  }

  void announce() {
    remark("Starting Core NATS " + std::string(noun()) + " benchmark [clients=" +
           std::to_string(clients_wanted_) + ", msg-size=" + format_bytes(size_) + ", msgs=" +
           format_count(messages_) + ", sleep=" + format_go_duration(sleep_) + ", subject=" +
           values_.text("subject") + "]");
  }

  Status work() {
    uint64_t total = 0;
    for (const auto& c : clients_) total += is_server() ? 0 : c->target;
    ProgressBar bar(noun(), total, values_.is_on("progress"));
    for (const auto& c : clients_) {
      if (Status started = start(*c); !started) return started;
    }
    while (true) {
      uint64_t done = 0;
      bool is_finished = !is_server();
      for (const auto& c : clients_) {
        if (role_ == Role::Publish) {
          if (Status status = publish_some(*c); !status) return status;
        }
        if (c->connection->state() == client::State::Closed) return c->connection->last_error();
        done += c->done;
        is_finished = is_finished && c->done >= c->target && c->ended != MonotonicTime{};
      }
      if (is_finished) return {};
      const MonotonicTime now = session_->clock().now();
      bar.update(done, now);
      session_->loop().run_once(has_to_publish() ? Duration(0) : std::chrono::milliseconds(100));
    }
  }

  bool has_to_publish() const {
    if (role_ != Role::Publish || sleep_ > Duration(0)) return false;
    return std::any_of(clients_.begin(), clients_.end(), [](const auto& c) {
      return c->done < c->target && c->connection->pending_bytes() < kPendingHigh;
    });
  }

  Status start(BenchClient& c) {
    c.started = session_->clock().now();
    c.latencies.reserve(static_cast<size_t>(std::min<uint64_t>(c.target, 10'000'000)));
    const std::string subject = values_.text("subject");
    if (role_ == Role::Subscribe) {
      auto subscription = c.connection->subscribe(subject, [this, &c](const client::Message&) {
        if (c.done == 0) c.started = session_->clock().now();
        if (++c.done == c.target) c.ended = session_->clock().now();
      });
      if (!subscription) return subscription.error();
      c.subscription = std::move(*subscription);
    } else if (role_ == Role::Reply) {
      auto subscription = c.connection->subscribe(subject, [this, &c](const client::Message& m) {
        static_cast<void>(c.connection->publish(m.reply, payload_));
      }, {"bench-reply", 0});
      if (!subscription) return subscription.error();
      c.subscription = std::move(*subscription);
    } else if (role_ == Role::ServiceServe) {
      auto service = client::Service::start(*c.connection, session_->random(),
                                            {"brokkr-bench", "1.0.0", "Benchmark service", {}, "q"});
      if (!service) return service.error();
      auto added = (*service)->add_endpoint(
          {"bench", subject, {}, {}, false},
          [this](client::ServiceRequest request) { static_cast<void>(request.respond(payload_)); });
      if (!added) return added.error();
      c.service = std::move(*service);
    } else if (is_requester() && c.target > 0) {
      return request_next(c);
    } else if (c.target == 0) {
      c.ended = c.started;
    }
    return {};
  }

  Status publish_some(BenchClient& c) {
    if (c.done >= c.target || c.connection->pending_bytes() > kPendingHigh) return {};
    const MonotonicTime now = session_->clock().now();
    if (sleep_ > Duration(0) && now < c.started + sleep_ * static_cast<int64_t>(c.done)) {
      session_->loop().run_once(std::min<Duration>(sleep_, std::chrono::milliseconds(1)));
      return {};
    }
    MonotonicTime before = now;
    const uint64_t batch = sleep_ > Duration(0) ? 1 : std::min(kPublishBatch, c.target - c.done);
    for (uint64_t i = 0; i < batch; ++i) {
      const Status sent = c.connection->publish(values_.text("subject"), payload_, {{}, headers_});
      if (!sent && sent.error().code == Errc::LimitExceeded &&
          c.connection->pending_bytes() > kPendingHigh) {
        return {};
      }
      if (!sent) return sent;
      const MonotonicTime after = session_->clock().now();
      c.latencies.push_back(static_cast<uint32_t>((after - before).count()));
      before = after;
      ++c.done;
    }
    if (c.done < c.target) return {};
    c.connection->flush(std::chrono::minutes(10), [this, &c](const Status&) {
      c.ended = session_->clock().now();
    });
    return {};
  }

  Status request_next(BenchClient& c) {
    const MonotonicTime before = session_->clock().now();
    auto sent = c.connection->request(
        values_.text("subject"), payload_, values_.duration("timeout"),
        [this, &c, before](const Result<client::Message>& reply) {
          const MonotonicTime now = session_->clock().now();
          if (!reply) ++c.errors;
          c.latencies.push_back(latency_sample(now - before));
          if (++c.done == c.target) {
            c.ended = now;
          } else if (Status next = request_next(c); !next) {
            c.errors += c.target - c.done;
            c.done = c.target;
            c.ended = now;
          }
        },
        headers_);
    if (!sent) return sent.error();
    return {};
  }

  void report() {
    std::vector<const BenchMeasure*> measures;
    for (const auto& c : clients_) measures.push_back(c.get());
    const bool has_latency = role_ != Role::Subscribe;
    if (values_.is_on("json")) return print_bench_json(noun(), measures, size_, has_latency);
    print_bench_report("NATS Core NATS " + std::string(noun()), measures, size_, has_latency);
  }

  const Context& context_;
  const Values& values_;
  const Role role_;
  uint64_t size_;
  const uint64_t messages_;
  const uint64_t clients_wanted_;
  const Duration sleep_;
  std::string payload_;
  std::string headers_;
  std::unique_ptr<client::Session> session_;
  std::vector<std::unique_ptr<BenchClient>> clients_;
};

std::vector<Flag> bench_flags() {
  return {
      {"sleep", "Sleep for the specified interval between publications", Kind::Duration, "DURATION"},
      {"clients", "Number of concurrent clients", Kind::Number, "", "1"},
      {"msgs", "Number of messages to publish or subscribe to", Kind::Number, "", "100000"},
      {"progress", "Enable or disable the progress bar", Kind::Bool, "", "true"},
      {"size", "Size of the test messages", Kind::Size, "", "128B"},
      {"payload", "File containing a message payload to send", Kind::Text, "PAYLOAD"},
      {"header,H", "Adds headers to the message using K:V format", Kind::Text, "K:V", "", "", true},
      {"json,j", "Produce JSON output"},
  };
}

Command bench_part(const char* name, const char* summary, Bench::Role role) {
  Command command{name, {}, summary};
  command.arguments = {{"subject", "Subject to use for the benchmark"}};
  command.flags = bench_flags();
  command.run = [role](const Context& context, const Values& values) {
    return Bench(context, values, role).run();
  };
  return command;
}

}  // namespace

Command bench_command() {
  using Role = Bench::Role;
  Command service{"service", {}, "Micro-service mode"};
  service.subcommands.push_back(
      bench_part("request", "Send a request and wait for a reply", Role::ServiceRequest));
  service.subcommands.push_back(bench_part("serve", "Service requests", Role::ServiceServe));
  Command command{"bench", {}, "Benchmark utility"};
  command.subcommands.push_back(bench_part("pub", "Publish Core NATS messages", Role::Publish));
  command.subcommands.push_back(bench_part("sub", "Subscribe to Core NATS messages", Role::Subscribe));
  command.subcommands.push_back(bench_part("request", "Send requests, one after the other", Role::Request));
  command.subcommands.push_back(bench_part("reply", "Answer requests", Role::Reply));
  command.subcommands.push_back(std::move(service));
  command.subcommands.push_back(bench_jetstream_command());
  command.subcommands.push_back(bench_key_value_command());
  return command;
}

}  // namespace brokkr::cli
