#pragma once

#include <cstdint>
#include <memory>

#include "client/pull.h"

namespace brokkr::client {

// Receives what a push consumer delivers: subscribes to its deliver subject (in its queue group when
// it has one), answers flow control, and reports a missing heartbeat or message as trouble. It goes
// on until it is destroyed, which every handler may do; the consumer stays. Loop-confined.
class PushConsumer {
 public:
  // `info` is of a consumer with a deliver subject. ConsumeHandlers::on_end is not called.
  static Result<std::unique_ptr<PushConsumer>> start(Connection&, const ConsumerInfo& info,
                                                     ConsumeHandlers);
  ~PushConsumer();
  PushConsumer(const PushConsumer&) = delete;
  PushConsumer& operator=(const PushConsumer&) = delete;

 private:
  struct Handlers : ConsumeHandlers {
    bool is_gone = false;
  };
  PushConsumer(Connection&, Duration idle_heartbeat, bool is_shared);
  void on_arrival(const Message&);
  void on_status(const Message&, int status);
  void report(const char* what);

  Connection& connection_;
  const Duration idle_heartbeat_;
  const bool is_shared_;  // a queue group sees only its share of the sequences
  std::shared_ptr<Handlers> handlers_ = std::make_shared<Handlers>();
  std::unique_ptr<Subscription> subscription_;
  uint64_t consumer_seq_ = 0;
  io::Timer silence_timer_;
};

}  // namespace brokkr::client
