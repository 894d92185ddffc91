#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/callback.h"
#include "base/clock.h"
#include "client/connection.h"
#include "client/message.h"

// What a consumer's message says about itself, and the answers to it.
namespace brokkr::client {

// The reply subject of a delivered message, read. Views into it.
struct Delivery {
  std::string_view domain;  // empty when there is none
  std::string_view stream;
  std::string_view consumer;
  uint64_t delivered_count = 0;  // 1 the first time
  uint64_t stream_seq = 0;
  uint64_t consumer_seq = 0;
  uint64_t num_pending = 0;  // messages that match and follow this one
  WallTime time{};           // when it was stored
};

// Absent when the subject is none a JetStream server makes. Pure.
std::optional<Delivery> parse_delivery(std::string_view reply);

using DeliveryHandler = Callback<void(const Message&, const Delivery&)>;

// Answers to the message whose reply subject it is. They leave like any publish and are not
// acknowledged themselves.
Status ack(Connection&, std::string_view reply);
// To be delivered again: at once, or after the delay.
Status nak(Connection&, std::string_view reply, Duration delay = {});
// Work is going on: its time to be acknowledged starts again.
Status ack_in_progress(Connection&, std::string_view reply);
// Never to be delivered again; the reason goes into the server's advisory.
Status ack_term(Connection&, std::string_view reply, std::string_view reason = {});
// Acknowledges and waits until the server has taken it in.
void ack_and_wait(Connection&, std::string_view reply, Duration timeout, DoneHandler done);

}  // namespace brokkr::client
