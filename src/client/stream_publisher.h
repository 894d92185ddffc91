#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "client/jetstream.h"

namespace brokkr::client {

// Publishes to streams with a bounded number of messages that wait for their acknowledgement.
// Destroying it forgets those: their handlers are not called. Loop-confined.
class StreamPublisher {
 public:
  explicit StreamPublisher(const JetStream&, uint64_t in_flight_max = 256);
  ~StreamPublisher();
  StreamPublisher(const StreamPublisher&) = delete;
  StreamPublisher& operator=(const StreamPublisher&) = delete;

  bool has_room() const;
  uint64_t in_flight() const;
  // Fails with LimitExceeded when there is no room. `handler` may be empty.
  Status publish(std::string_view subject, std::string_view payload,
                 const StreamPublishOptions& = {}, ApiHandler<PubAck> handler = {});
  // Called after each acknowledgement or failure, its own handler first: there is room again, or
  // nothing is in flight any more.
  void on_progress(Callback<void()> handler);
  // The first failure since it was made.
  const std::optional<ApiError>& first_error() const;

 private:
  struct State;
  const JetStream js_;
  std::shared_ptr<State> state_;
};

}  // namespace brokkr::client
