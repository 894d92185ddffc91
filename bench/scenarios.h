#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "measure.h"

namespace brokkr::bench {

// What the command line says: where the server is and how long a run may take.
struct Options {
  uint16_t port = 4222;
  pid_t pid = 0;
  double seconds = 0.7;
  uint64_t messages_max = 50'000'000;
  uint32_t connections = 10'000;
  uint32_t subscriptions = 100'000;
  uint32_t spin_us = 0;
  // How long a message may be missing before the run has failed.
  uint64_t patience_ns = 20'000'000'000U;
  std::string function_subject;
  uint32_t function_in_flight = 32;
  // Storage rows; 0 leaves the scenario's own.
  uint64_t subject_count = 0;
  uint32_t payload = 0;
  uint32_t consumer_count = 1;
};

// What a scenario's row in the table says.
struct Shape {
  uint32_t payload = 128;
  uint32_t publishers = 1;
  uint32_t subscribers = 0;
  // Independent publisher-subscriber groups, each on its own subject.
  uint32_t channels = 1;
  bool is_queue = false;
  // One message per write instead of 64 KiB batches.
  bool is_unbatched = false;
  uint32_t in_flight = 0;
  uint32_t rate = 0;
  uint32_t tick_us = 0;
  bool is_wildcard = false;
  // Of a stream: kept in memory; a key-value bucket's.
  bool is_memory = false;
  bool is_bucket = false;
};

// Publishes as fast as a window of 1 MiB lets it, and checks each header, count and order.
void run_flow(const Options&, const Shape&, Report&);
// Keeps `in_flight` requests open against a responder of its own.
void run_requests(const Options&, const Shape&, Report&);
// The same against a deployed function, next to the bare responder.
void run_function(const Options&, const Shape&, Report&);
// Publishes `rate` messages a second in ticks and measures their latency.
void run_paced(const Options&, const Shape&, Report&);
// Connects, shakes hands, closes; 16 at a time.
void run_churn(const Options&, const Shape&, Report&);
// Memory of idle connections.
void run_idle(const Options&, const Shape&, Report&);
// Inserts subscriptions: CPU and memory of one.
void run_subscriptions(const Options&, const Shape&, Report&);
// The same, and publishes to subjects drawn at random among them.
void run_match(const Options&, const Shape&, Report&);

// Publishes into a stream with `in_flight` unacknowledged messages.
void run_js_publish(const Options&, const Shape&, Report&);
// Fills a stream, then takes all of it through pull consumers that acknowledge each message.
void run_js_consume(const Options&, const Shape&, Report&);
// Puts to and direct gets from a bucket with a history of one.
void run_kv_put(const Options&, const Shape&, Report&);
void run_kv_get(const Options&, const Shape&, Report&);
// Leaves a stream or bucket of `messages_max` messages behind: memory of it.
void run_js_fill(const Options&, const Shape&, Report&);
// Leaves `messages_max` empty streams behind.
void run_js_streams(const Options&, const Shape&, Report&);

}  // namespace brokkr::bench
