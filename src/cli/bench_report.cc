#include "cli/bench_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "base/bytes.h"
#include "base/json.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

struct Rates {
  double per_second = 0;
  double bytes_per_second = 0;
};

Rates rates_of(uint64_t messages, uint64_t size, Duration took) {
  const double seconds = std::chrono::duration<double>(took).count();
  const double rate = static_cast<double>(messages) / seconds;
  return {rate, rate * static_cast<double>(size)};
}

std::string rate_text(const Rates& rates) {
  const double mib = rates.bytes_per_second / (1 << 20);
  char bytes[32];
  if (mib >= 1) {
    std::snprintf(bytes, sizeof bytes, mib >= 10 ? "%.0f MiB/sec" : "%.1f MiB/sec", mib);
  } else {
    std::snprintf(bytes, sizeof bytes, "%.0f KiB/sec", rates.bytes_per_second / 1024);
  }
  return format_count(static_cast<uint64_t>(rates.per_second)) + " msgs/sec ~ " + bytes;
}

std::string micros(double nanoseconds) {
  const auto hundredths = static_cast<uint64_t>(std::llround(nanoseconds / 10));
  char fraction[8];
  std::snprintf(fraction, sizeof fraction, ".%02d", static_cast<int>(hundredths % 100));
  return format_count(hundredths / 100) + fraction + "us";
}

struct Latency {
  double min = 0, average = 0, max = 0, deviation = 0, p50 = 0, p90 = 0, p99 = 0, p999 = 0;
};

Latency latency_of(std::vector<uint32_t> samples) {
  Latency out;
  if (samples.empty()) return out;
  std::sort(samples.begin(), samples.end());
  const auto at = [&](double share) {
    const auto index = static_cast<size_t>(share * static_cast<double>(samples.size()));
    return static_cast<double>(samples[std::min(index, samples.size() - 1)]);
  };
  const auto count = static_cast<double>(samples.size());
  out.average = std::accumulate(samples.begin(), samples.end(), 0.0) / count;
  double squares = 0;
  for (const uint32_t sample : samples) squares += (sample - out.average) * (sample - out.average);
  out.deviation = std::sqrt(squares / count);
  out.min = samples.front();
  out.max = samples.back();
  out.p50 = at(0.5);
  out.p90 = at(0.9);
  out.p99 = at(0.99);
  out.p999 = at(0.999);
  return out;
}

std::string latency_text(const Latency& l) {
  return " ~ min: " + micros(l.min) + " ~ avg: " + micros(l.average) + " ~ max: " + micros(l.max) +
         " ~ P50: " + micros(l.p50) + " ~ P90: " + micros(l.p90) + " ~ P99: " + micros(l.p99) +
         " ~ P99.9: " + micros(l.p999);
}

}  // namespace

void print_bench_report(const std::string& title, const std::vector<const BenchMeasure*>& clients,
                        uint64_t bytes, bool has_latency) {
  std::vector<uint32_t> all;
  Duration longest{1};
  double slowest = 1e300;
  double fastest = 0;
  double sum = 0;
  double squares = 0;
  uint64_t messages = 0;
  std::string lines;
  for (size_t i = 0; i < clients.size(); ++i) {
    const BenchMeasure& c = *clients[i];
    const Rates rates = rates_of(c.done, bytes, c.took());
    lines += "  [" + std::to_string(i + 1) + "] " + rate_text(rates);
    if (!c.latencies.empty()) lines += latency_text(latency_of(c.latencies));
    lines += " (" + format_count(c.done) + " msgs)\n";
    all.insert(all.end(), c.latencies.begin(), c.latencies.end());
    longest = std::max(longest, c.took());
    slowest = std::min(slowest, rates.per_second);
    fastest = std::max(fastest, rates.per_second);
    sum += rates.per_second;
    squares += rates.per_second * rates.per_second;
    messages += c.done;
  }
  const std::string total = rate_text(rates_of(messages, bytes, longest));
  const Latency latency = latency_of(std::move(all));
  print("\n");
  if (clients.size() == 1) {
    print(title + " stats: " + total + (has_latency ? latency_text(latency) : "") + "\n\n");
    return;
  }
  const auto count = static_cast<double>(clients.size());
  const double average = sum / count;
  const double deviation = std::sqrt(std::max(0.0, squares / count - average * average));
  const auto rounded = [](double value) { return format_count(static_cast<uint64_t>(value)); };
  print(lines + "\n " + title + " aggregated stats: " + total + "\n message rates min " +
        rounded(slowest) + " | avg " + rounded(average) + " | max " + rounded(fastest) +
        " | stddev " + rounded(deviation) + " msgs\n");
  if (has_latency) {
    print(" latencies per operation min " + micros(latency.min) + " | avg " +
          micros(latency.average) + " | max " + micros(latency.max) + " | stddev " +
          micros(latency.deviation) + " | P50 " + micros(latency.p50) + " | P90 " +
          micros(latency.p90) + " | P99 " + micros(latency.p99) + " | P99.9: " +
          micros(latency.p999) + "\n");
  }
  print("\n");
}

void print_bench_json(std::string_view name, const std::vector<const BenchMeasure*>& clients,
                      uint64_t bytes, bool has_latency) {
  std::vector<uint32_t> all;
  uint64_t messages = 0;
  uint64_t errors = 0;
  Duration longest{1};
  for (const BenchMeasure* c : clients) {
    all.insert(all.end(), c->latencies.begin(), c->latencies.end());
    messages += c->done;
    errors += c->errors;
    longest = std::max(longest, c->took());
  }
  const Rates rates = rates_of(messages, bytes, longest);
  const Latency latency = latency_of(std::move(all));
  json::Writer out({2, true});
  out.begin_object().field("benchmark", name).field("clients", uint64_t{clients.size()});
  out.field("messages", messages).field("errors", errors).field("message_bytes", bytes);
  out.field("duration_ns", static_cast<int64_t>(longest.count()));
  out.field("messages_per_second", rates.per_second).field("bytes_per_second", rates.bytes_per_second);
  if (has_latency) {
    out.key("latency_ns").begin_object();
    out.field("min", latency.min).field("avg", latency.average).field("max", latency.max);
    out.field("p50", latency.p50).field("p90", latency.p90).field("p99", latency.p99);
    out.field("p99_9", latency.p999).end_object();
  }
  print_line(out.end_object().text());
}

uint32_t latency_sample(Duration took) {
  return static_cast<uint32_t>(std::min<int64_t>(took.count(), UINT32_MAX));
}

}  // namespace brokkr::cli
