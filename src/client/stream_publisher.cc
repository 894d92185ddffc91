#include "client/stream_publisher.h"

namespace brokkr::client {

// Shared with the handlers of what is in flight, which may outlive the publisher.
struct StreamPublisher::State {
  uint64_t in_flight_max = 0;
  uint64_t in_flight = 0;
  std::optional<ApiError> first_error;
  Callback<void()> on_progress;
  bool is_gone = false;
};

StreamPublisher::StreamPublisher(const JetStream& js, uint64_t in_flight_max)
    : js_(js), state_(std::make_shared<State>()) {
  state_->in_flight_max = in_flight_max;
}

StreamPublisher::~StreamPublisher() { state_->is_gone = true; }

bool StreamPublisher::has_room() const { return state_->in_flight < state_->in_flight_max; }
uint64_t StreamPublisher::in_flight() const { return state_->in_flight; }
const std::optional<ApiError>& StreamPublisher::first_error() const { return state_->first_error; }

void StreamPublisher::on_progress(Callback<void()> handler) {
  state_->on_progress = std::move(handler);
}

Status StreamPublisher::publish(std::string_view subject, std::string_view payload,
                                const StreamPublishOptions& options, ApiHandler<PubAck> handler) {
  if (!has_room()) {
    return Error{Errc::LimitExceeded,
                 std::to_string(state_->in_flight) + " messages wait for their acknowledgement"};
  }
  ++state_->in_flight;
  js_.publish(subject, payload, options,
              [state = state_, handler = std::move(handler)](ApiResult<PubAck> ack) {
                --state->in_flight;
                if (state->is_gone) return;
                if (!ack && !state->first_error) state->first_error = ack.error();
                if (handler) handler(std::move(ack));
                if (state->is_gone || !state->on_progress) return;
                Callback<void()> on_progress = std::move(state->on_progress);
                on_progress();
                if (!state->on_progress) state->on_progress = std::move(on_progress);
              });
  return {};
}

}  // namespace brokkr::client
