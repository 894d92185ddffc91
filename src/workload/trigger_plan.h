#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "client/delivery.h"
#include "client/jetstream_config.h"
#include "client/message.h"
#include "workload/trigger.h"

// What a durable trigger wants of the server and how it reads what comes: all of it that needs no
// connection. Pure.
namespace brokkr::workload {

// A message as its function is to see it.
struct TriggerMessage {
  std::string subject;
  std::string headers;
};

// Where one durable trigger reads from, and as what.
struct TriggerPlan {
  std::string stream;
  std::string filter;       // empty: all of it
  std::string consumer;     // "nex-<ns>-<name>-<index>"
  std::string description;  // tells whose it is: names alone may collide
  std::string dead_letter;  // stream; empty: what fails for good is given up
  std::string dead_letter_subject;  // without the sequence at its end
  uint32_t max_deliver = 0;
  std::vector<Duration> backoff;  // the last one repeats; never empty
  Duration ack_wait{};
  uint32_t window = 1;            // calls at once
};

// `trigger` must have passed check_trigger.
TriggerPlan plan_trigger(const TriggerSource::Facts&, const Trigger&);
// The consumer to create. `existing` keeps where it began, which no server lets anybody change.
client::ConsumerConfig consumer_of(const TriggerPlan&, const Trigger&,
                                   const client::ConsumerConfig* existing, bool is_work_queue);
// How long to wait before the attempt after `deliveries`.
Duration pause_after(const TriggerPlan&, uint64_t deliveries);
// The stream for what fails for good.
client::StreamConfig dead_letter_stream(std::string_view ns, const std::string& name);
std::string dead_letter_stream_name(std::string_view ns);

TriggerMessage read_message(const Trigger&, const client::Message&, const client::Delivery&);

// The header block of a dead letter: the message's own headers but those that tell a server what to do
// with it, and who failed to handle it how.
struct Failure {
  std::string_view workload;  // "<ns>/<name>"
  std::string_view error;
  uint16_t code = 0;
  WallTime time{};
};
std::string dead_letter_headers(const client::Message&, const client::Delivery&, const Failure&);

}  // namespace brokkr::workload
