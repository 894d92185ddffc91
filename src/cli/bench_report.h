#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "cli/command.h"

// What benchmarks measure and how they print it, in the nats CLI's lines.
namespace brokkr::cli {

// One client's part.
struct BenchMeasure {
  uint64_t done = 0;
  uint64_t errors = 0;
  MonotonicTime started;
  MonotonicTime ended;
  std::vector<uint32_t> latencies;  // nanoseconds of each operation

  Duration took() const { return std::max<Duration>(ended - started, Duration(1)); }
};

// `title` is "NATS Core NATS publisher"; `bytes` the size of a message.
void print_bench_report(const std::string& title, const std::vector<const BenchMeasure*>& clients,
                        uint64_t bytes, bool has_latency);
void print_bench_json(std::string_view name, const std::vector<const BenchMeasure*>& clients,
                      uint64_t bytes, bool has_latency);
// The latency as a sample holds it.
uint32_t latency_sample(Duration);

// `bench js` and `bench kv`.
Command bench_jetstream_command();
Command bench_key_value_command();

}  // namespace brokkr::cli
