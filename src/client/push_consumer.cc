#include "client/push_consumer.h"

#include "base/bytes.h"

namespace brokkr::client {

PushConsumer::PushConsumer(Connection& connection, Duration idle_heartbeat, bool is_shared)
    : connection_(connection),
      idle_heartbeat_(idle_heartbeat),
      is_shared_(is_shared),
      silence_timer_(connection.loop(), [this] {
        silence_timer_.start(2 * idle_heartbeat_);
        report("no heartbeat received");
      }) {}

PushConsumer::~PushConsumer() { handlers_->is_gone = true; }

Result<std::unique_ptr<PushConsumer>> PushConsumer::start(Connection& connection,
                                                          const ConsumerInfo& info,
                                                          ConsumeHandlers handlers) {
  const ConsumerConfig& config = info.config;
  if (config.deliver_subject.empty()) {
    return Error{Errc::InvalidArgument, "consumer " + info.name + " is pull based"};
  }
  std::unique_ptr<PushConsumer> out(
      new PushConsumer(connection, config.idle_heartbeat, !config.deliver_group.empty()));
  static_cast<ConsumeHandlers&>(*out->handlers_) = std::move(handlers);
  auto subscription = connection.subscribe(
      config.deliver_subject,
      [at = out.get()](const Message& message) { at->on_arrival(message); },
      {config.deliver_group, 0});
  if (!subscription) return subscription.error();
  out->subscription_ = std::move(*subscription);
  if (config.idle_heartbeat > Duration(0)) out->silence_timer_.start(2 * config.idle_heartbeat);
  return out;
}

void PushConsumer::on_arrival(const Message& message) {
  if (silence_timer_.is_armed()) silence_timer_.start(2 * idle_heartbeat_);
  if (const auto status = find_status(message)) return on_status(message, status->http_code);
  const auto delivery = parse_delivery(message.reply);
  if (!delivery) return;
  const bool has_gap =
      !is_shared_ && consumer_seq_ != 0 && delivery->consumer_seq > consumer_seq_ + 1;
  consumer_seq_ = delivery->consumer_seq;
  const auto handlers = handlers_;
  if (has_gap) report("messages are missing");
  if (!handlers->is_gone) handlers->on_message(message, *delivery);
}

void PushConsumer::on_status(const Message& message, int status) {
  if (status != 100) return;
  // A flow control request is answered once everything before it was handled, as it is by now. A
  // heartbeat names the request that is still open when its answer was lost.
  const std::string_view request =
      message.reply.empty() ? message.header("Nats-Consumer-Stalled") : message.reply;
  if (!request.empty()) static_cast<void>(connection_.publish(request, {}));
  const auto last = parse_uint(message.header("Nats-Last-Consumer"));
  if (last && !is_shared_ && consumer_seq_ != 0 && *last > consumer_seq_) {
    consumer_seq_ = *last;
    report("messages are missing");
  }
}

void PushConsumer::report(const char* what) {
  const auto handlers = handlers_;
  if (handlers->on_trouble) handlers->on_trouble(ApiError{{Errc::Unavailable, what}});
}

}  // namespace brokkr::client
