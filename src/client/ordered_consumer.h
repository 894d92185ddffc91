#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/pull.h"

namespace brokkr::client {

struct OrderedOptions {
  std::vector<std::string> filter_subjects;
  DeliverPolicy deliver_policy = DeliverPolicy::All;
  uint64_t opt_start_seq = 0;
  std::optional<WallTime> opt_start_time;
  ReplayPolicy replay_policy = ReplayPolicy::Instant;
  bool headers_only = false;
  Duration inactive_threshold = std::chrono::minutes(5);
  std::string name_prefix;  // a random one when empty
  uint64_t messages_max = 500;
  uint64_t bytes_max = 0;
  Duration expires = std::chrono::seconds(30);
  Duration idle_heartbeat = std::chrono::seconds(5);
};

struct OrderedHandlers {
  // The first consumer is there: what is pending now is what there was when it began.
  Callback<void(const ConsumerInfo&)> on_start;
  DeliveryHandler on_message;
  Callback<void(const ApiError&)> on_trouble;  // it made a consumer anew, or is trying to
  // For good: the first consumer could not be made, the stream is gone, the connection closed or is
  // being destroyed.
  Callback<void(const ApiError&)> on_end;
};

// Reads a stream in its order, each message once, with nothing to acknowledge. Behind it stands a
// short-lived pull consumer that is made anew, after the last message delivered, when a message is
// missing, when heartbeats are, when it is gone and after a reconnect. Destroying it deletes the
// consumer; every handler may destroy it. Loop-confined.
class OrderedConsumer {
 public:
  static std::unique_ptr<OrderedConsumer> start(const JetStream&, const std::string& stream,
                                                OrderedOptions, OrderedHandlers);
  ~OrderedConsumer();
  OrderedConsumer(const OrderedConsumer&) = delete;
  OrderedConsumer& operator=(const OrderedConsumer&) = delete;

  // See PullConsumer.
  void pause();
  void resume();

  // How often the consumer was made anew.
  uint64_t resets() const { return serial_ == 0 ? 0 : serial_ - 1; }

 private:
  struct Handlers : OrderedHandlers {
    bool is_gone = false;
  };
  OrderedConsumer(const JetStream&, const std::string& stream, OrderedOptions);
  ConsumerConfig make_config() const;
  void make_consumer();
  void on_made(ApiResult<ConsumerInfo>);
  void on_message(const Message&, const Delivery&);
  void renew(const ApiError& why, Duration wait);
  void drop_consumer();
  void end(const ApiError&);

  const JetStream js_;
  const std::string stream_;
  const OrderedOptions options_;
  std::string prefix_;
  std::shared_ptr<Handlers> handlers_ = std::make_shared<Handlers>();
  std::unique_ptr<PullConsumer> pull_;
  std::unique_ptr<ReconnectWatch> reconnects_;
  std::string consumer_;       // the current one; empty between two
  uint64_t serial_ = 0;        // of the current one, from 1
  uint64_t consumer_seq_ = 0;  // of the last message from the current one
  uint64_t stream_seq_ = 0;    // of the last message of all; 0 before the first
  bool has_started_ = false;
  bool is_paused_ = false;
  Duration retry_wait_{};
  io::Timer renew_timer_;
};

}  // namespace brokkr::client
