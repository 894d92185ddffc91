#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "client/delivery.h"
#include "client/jetstream.h"
#include "io/loop.h"

namespace brokkr::client {

// One pull request as the server reads it.
struct PullOptions {
  uint64_t batch = 1;
  Duration expires = std::chrono::seconds(30);  // zero with no_wait: what is there now
  bool no_wait = false;
  uint64_t max_bytes = 0;
  Duration idle_heartbeat{};
  std::string group;
  uint64_t min_pending = 0;
  uint64_t min_ack_pending = 0;
  std::string id;  // of the pinned client
  int priority = 0;
};

// The request's body. Pure.
std::string make_pull_body(const PullOptions&);

// Whether this end of a fetch only says that there was no more: no messages, request timeout, batch
// completed, message size exceeds maxbytes.
bool is_end_of_messages(const ApiError&);

// One batch pulled from a consumer. Ends by itself: with the whole batch, with the server's status
// (`is_end_of_messages` tells the harmless ones), with TimedOut when two heartbeats are missing or
// the server is silent beyond `expires`, or with Closed. Destroying it ends it without `on_end`;
// both handlers may destroy it. Loop-confined.
class Fetch {
 public:
  // Fails when it cannot be sent.
  static Result<std::unique_ptr<Fetch>> start(const JetStream&, const std::string& stream,
                                              const std::string& consumer, const PullOptions&,
                                              DeliveryHandler on_message, ApiHandler<Done> on_end);
  ~Fetch();
  Fetch(const Fetch&) = delete;
  Fetch& operator=(const Fetch&) = delete;

  // Takes nothing more: delivers what is on its way, then calls back instead of `on_end`. Messages the
  // server has given out are not lost to their ack wait so. Not after the end.
  void drain(Callback<void()> done);

  uint64_t delivered_count() const { return delivered_; }

 private:
  struct Handlers {
    DeliveryHandler on_message;
    ApiHandler<Done> on_end;
    bool is_gone = false;
  };
  Fetch(const JetStream&, const PullOptions&);
  void on_message(const Message&);
  void on_silence();
  void restart_timer();
  void end(ApiResult<Done>);

  Connection& connection_;
  const PullOptions options_;
  std::shared_ptr<Handlers> handlers_ = std::make_shared<Handlers>();
  std::unique_ptr<Subscription> subscription_;
  std::unique_ptr<ReconnectWatch> watch_;
  MonotonicTime deadline_;
  io::Timer timer_;
  uint64_t delivered_ = 0;
  bool is_draining_ = false;
};

struct ConsumeOptions {
  uint64_t messages_max = 500;  // asked for and not yet handled
  uint64_t bytes_max = 0;       // the same in bytes; zero means no such limit
  Duration expires = std::chrono::seconds(30);
  Duration idle_heartbeat{};  // zero: half of `expires`
  std::string group;
  uint64_t min_pending = 0;
  uint64_t min_ack_pending = 0;
  int priority = 0;
  // Any trouble ends it instead of being overcome: for an owner that makes the consumer anew.
  bool ends_on_trouble = false;
};

struct ConsumeHandlers {
  DeliveryHandler on_message;
  Callback<void(const ApiError&)> on_trouble;  // overcome, it goes on
  // For good: consumer deleted, connection closed or being destroyed.
  Callback<void(const ApiError&)> on_end;
};

// Pulls from a consumer without end. It asks for more whenever half of what it may hold has been
// handled, asks again when the server falls silent, restarts or loses its leader, and after a
// reconnect. While paused it holds what was asked for, at most `messages_max`, and asks for no
// more. Destroying it stops it; every handler may. Loop-confined.
class PullConsumer {
 public:
  static Result<std::unique_ptr<PullConsumer>> start(const JetStream&, const std::string& stream,
                                                     const std::string& consumer,
                                                     const ConsumeOptions&, ConsumeHandlers);
  ~PullConsumer();
  PullConsumer(const PullConsumer&) = delete;
  PullConsumer& operator=(const PullConsumer&) = delete;

  void pause() { is_paused_ = true; }
  // What is held is delivered in the loop's next turns.
  void resume();
  bool is_paused() const { return is_paused_; }

 private:
  struct Handlers : ConsumeHandlers {
    bool is_gone = false;
  };
  PullConsumer(const JetStream&, const std::string& stream, const std::string& consumer,
               const ConsumeOptions&);
  Status open_inbox();
  void pull_if_low();
  void on_arrival(const Message&);
  void on_status(const ApiError&, const Message&);
  // False when a handler has destroyed this.
  bool deliver(const Message&);
  void deliver_held();
  void on_silence();
  void overcome(const ApiError&);
  void ask_for_consumer();
  void start_over();
  void end(const ApiError&);
  void take_off(const Message& status);

  const JetStream js_;
  const std::string stream_;
  const std::string consumer_;
  const ConsumeOptions options_;
  std::shared_ptr<Handlers> handlers_ = std::make_shared<Handlers>();
  std::unique_ptr<Subscription> subscription_;
  std::unique_ptr<ReconnectWatch> reconnects_;
  std::deque<OwnedMessage> held_;
  uint64_t held_bytes_ = 0;
  uint64_t asked_messages_ = 0;  // and not yet arrived
  uint64_t asked_bytes_ = 0;
  std::string pin_id_;
  bool is_paused_ = false;
  bool has_ended_ = false;
  io::Timer silence_timer_;
  io::Timer retry_timer_;
  io::Timer held_timer_;
};

}  // namespace brokkr::client
