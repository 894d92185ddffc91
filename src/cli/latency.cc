// brokkr latency: how long messages take from one server to another.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <optional>

#include "cli/columns.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/files.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

constexpr uint64_t kStampBytes = 8;
constexpr Duration kLateMax = std::chrono::seconds(5);  // messages that come later count as lost
constexpr double kPercentiles[] = {10, 50, 75, 90, 99, 99.9, 99.99, 99.999, 99.9999, 99.99999, 100};

// "8B", "1.5K"
std::string size_text(double bytes) {
  static constexpr const char* kUnits[] = {"B", "K", "M", "G", "T"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit > 0 && bytes < 10 ? "%.1f%s" : "%.0f%s", bytes,
                kUnits[unit]);
  return text;
}

std::string took_text(Duration took) {
  return format_go_duration(std::chrono::duration_cast<std::chrono::microseconds>(took));
}

// Of sorted values, the least that so many percent do not exceed.
Duration percentile(const std::vector<Duration>& sorted, double percent) {
  const auto rank =
      static_cast<size_t>(std::ceil(percent / 100 * static_cast<double>(sorted.size())));
  return sorted[std::clamp<size_t>(rank, 1, sorted.size()) - 1];
}

std::string percent_text(double percent) {
  char text[32];
  std::snprintf(text, sizeof text, "%.8g", percent);
  return text;
}

struct LatencyRun {
  std::vector<Duration> times;  // in order of arrival
  Duration published_in{};
  Duration received_in{};
  uint64_t sent = 0;
};

// Two connections on one loop: one publishes, the other measures.
class LatencyTest {
 public:
  static Result<std::unique_ptr<LatencyTest>> open(const Context& context, const Values& values) {
    auto test = std::unique_ptr<LatencyTest>(new LatencyTest(values));
    auto session = connect(context, values);
    if (!session)
      return Error{session.error().code, "first connection failed: " + describe(session.error())};
    test->session_ = std::move(*session);
    auto options = make_options(context, values);
    if (!options) return options.error();
    if (const std::string other = values.text("server-b"); !other.empty())
      options->servers = {other};
    options->allow_reconnect = false;
    client::Session& s = *test->session_;
    auto second =
        client::Connection::open({s.loop(), s.resolver(), s.random()}, std::move(*options));
    if (!second)
      return Error{second.error().code, "second connection failed: " + second.error().text};
    test->receiver_ = std::move(*second);
    client::Connection& receiver = *test->receiver_;
    client::run_until(s.loop(), test->timeout_, [&] {
      return receiver.is_connected() || receiver.state() == client::State::Closed;
    });
    if (!receiver.is_connected()) {
      return Error{Errc::Unavailable, "second connection failed: " + receiver.last_error().text};
    }
    return test;
  }

  Result<Duration> first_round_trip() { return session_->round_trip(timeout_); }
  Result<Duration> second_round_trip() {
    const MonotonicTime start = session_->clock().now();
    std::optional<Status> end;
    receiver_->flush(timeout_, [&](const Status& status) { end = status; });
    while (!end)
      session_->loop().run_once(timeout_);
    if (!*end) return end->error();
    return Duration(session_->clock().now() - start);
  }

  Result<LatencyRun> run(uint64_t count, uint64_t size, uint64_t rate) {
    LatencyRun out;
    out.times.reserve(count);
    const std::string subject = receiver_->make_inbox();
    auto subscription = receiver_->subscribe(subject, [&](const client::Message& message) {
      int64_t sent_at = 0;
      if (message.payload.size() < kStampBytes) return;
      std::memcpy(&sent_at, message.payload.data(), kStampBytes);
      if (sent_at != 0) out.times.push_back(now() - Duration(sent_at));
      ++arrived_;
    });
    if (!subscription) return subscription.error();
    if (auto ready = second_round_trip(); !ready) return ready.error();
    if (Status routed = wait_for_route(subject); !routed) return routed.error();
    std::string payload(size, 'x');
    const Duration start = now();
    for (uint64_t i = 0; i < count; ++i) {
      const Duration due =
          start +
          Duration(static_cast<int64_t>(static_cast<double>(i) * 1e9 / static_cast<double>(rate)));
      // Short turns: a sleep would be part of what is measured.
      while (now() < due)
        session_->loop().run_once(Duration(0));
      const int64_t stamp = now().count();
      std::memcpy(payload.data(), &stamp, kStampBytes);
      if (Status sent = session_->connection().publish(subject, payload); !sent)
        return sent.error();
      ++out.sent;
      session_->loop().run_once(Duration(0));
    }
    out.published_in = now() - start;
    client::run_until(session_->loop(), kLateMax, [&] { return out.times.size() >= out.sent; });
    out.received_in = now() - start;
    return out;
  }

 private:
  explicit LatencyTest(const Values& values)
      : timeout_(std::max<Duration>(values.duration("timeout"), std::chrono::milliseconds(1))) {}

  Duration now() { return session_->clock().now().time_since_epoch(); }

  // Between two servers the interest has to travel first.
  Status wait_for_route(const std::string& subject) {
    const std::string nothing(kStampBytes, '\0');
    for (int attempt = 0; attempt < 200 && arrived_ == 0; ++attempt) {
      if (Status sent = session_->connection().publish(subject, nothing); !sent) return sent;
      client::run_until(session_->loop(), std::chrono::milliseconds(10),
                        [&] { return arrived_ > 0; });
    }
    if (arrived_ == 0) return Error{Errc::TimedOut, "couldn't receive end-to-end test message"};
    return {};
  }

  Duration timeout_;
  std::unique_ptr<client::Session> session_;
  std::unique_ptr<client::Connection> receiver_;
  uint64_t arrived_ = 0;
};

void remark_results(const LatencyRun& run, const std::vector<Duration>& sorted, uint64_t size) {
  remark("HDR Percentiles:");
  for (const double percent : kPercentiles) {
    std::string label = percent_text(percent) + ":";
    label.resize(std::max<size_t>(label.size(), 9), ' ');
    remark(label + " " + took_text(percentile(sorted, percent)));
  }
  remark("==============================");
  const double rate =
      static_cast<double>(run.sent) / std::chrono::duration<double>(run.published_in).count();
  remark("Actual Msgs/Sec: " + std::to_string(static_cast<uint64_t>(rate)));
  remark("Actual Band/Sec: " + size_text(rate * static_cast<double>(size) * 2));
  remark("Minimum Latency: " + took_text(sorted.front()));
  remark("Median Latency : " + took_text(percentile(sorted, 50)));
  remark("Maximum Latency: " + took_text(sorted.back()));
  remark("Last Sent Wall Time: " + took_text(run.published_in));
  remark("Last Recv Wall Time: " + took_text(run.received_in));
}

// <file>.raw: every time as it came, in milliseconds; <file>.histogram: the percentiles.
Status write_histogram(const std::string& file, const LatencyRun& run,
                       const std::vector<Duration>& sorted) {
  char line[96];
  std::string raw;
  for (const Duration took : run.times) {
    std::snprintf(line, sizeof line, "%f\n",
                  std::chrono::duration<double, std::milli>(took).count());
    raw += line;
  }
  if (Status written = write_file(file + ".raw", raw); !written) return written;
  std::string out = "Value    Percentile    TotalCount    1/(1-Percentile)\n\n";
  for (const double percent : kPercentiles) {
    const double value =
        std::chrono::duration<double, std::milli>(percentile(sorted, percent)).count();
    const double inverse = percent < 100 ? 1 / (1 - percent / 100) : 10'000'000;
    std::snprintf(line, sizeof line, "%f    %f        %d        %f\n", value, percent / 100,
                  static_cast<int>(percent / 100 * static_cast<double>(sorted.size())), inverse);
    out += line;
  }
  return write_file(file + ".histogram", out);
}

int run_latency(const Context& context, const Values& values) {
  const uint64_t size = values.number("size");
  const uint64_t rate = std::max<uint64_t>(values.number("rate"), 1);
  const double seconds = std::chrono::duration<double>(values.duration("duration")).count();
  const auto count = static_cast<uint64_t>(seconds * static_cast<double>(rate));
  if (size < kStampBytes)
    return fail(context.program, "message Payload Size must be at least 8 bytes");
  if (count == 0) return fail(context.program, "--duration and --rate give no message to send");
  auto test = LatencyTest::open(context, values);
  if (!test) return fail(context.program, test.error());
  auto first = (*test)->first_round_trip();
  if (!first)
    return fail(context.program,
                "could not determine RTT for first connection: " + first.error().text);
  auto second = (*test)->second_round_trip();
  if (!second)
    return fail(context.program,
                "could not determine RTT for second connection: " + second.error().text);
  remark("==============================");
  remark("Pub Server RTT : " + took_text(*first));
  remark("Sub Server RTT : " + took_text(*second));
  remark("Message Payload: " + size_text(static_cast<double>(size)));
  remark("Target Duration: " + format_go_duration(values.duration("duration")));
  remark("Target Msgs/Sec: " + std::to_string(rate));
  remark("Target Band/Sec: " + size_text(static_cast<double>(rate * size * 2)));
  remark("==============================");
  auto run = (*test)->run(count, size, rate);
  if (!run) return fail(context.program, run.error());
  if (run->times.empty()) return fail(context.program, "no message came through");
  std::vector<Duration> sorted = run->times;
  std::sort(sorted.begin(), sorted.end());
  remark_results(*run, sorted, size);
  if (const std::string file = values.text("histogram"); !file.empty()) {
    if (Status written = write_histogram(file, *run, sorted); !written)
      return fail(context.program, written.error());
  }
  if (run->times.size() < run->sent) {
    return fail(context.program,
                std::to_string(run->sent - run->times.size()) + " messages were lost");
  }
  return 0;
}

}  // namespace

Command latency_command() {
  Command command{"latency", {"lat"}, "Perform latency tests between two NATS servers"};
  command.flags = {{"server-b", "The second server to subscribe on", Kind::Text, "SERVER-B"},
                   {"size", "Message size", Kind::Size, "", "8"},
                   {"rate", "Rate of messages per second", Kind::Number, "", "1000"},
                   {"duration", "Test duration", Kind::Duration, "", "5s"},
                   {"histogram", "Output file to store the histogram in", Kind::Text, "HISTOGRAM"}};
  command.run = run_latency;
  return command;
}

}  // namespace brokkr::cli
