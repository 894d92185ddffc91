#include "client/ordered_consumer.h"

#include <algorithm>

namespace brokkr::client {
namespace {

constexpr Duration kRetryWaitMin = std::chrono::milliseconds(100);
constexpr Duration kRetryWaitMax = std::chrono::seconds(5);

}  // namespace

OrderedConsumer::OrderedConsumer(const JetStream& js, const std::string& stream,
                                 OrderedOptions options)
    : js_(js),
      stream_(stream),
      options_(std::move(options)),
      prefix_(options_.name_prefix),
      renew_timer_(js.connection().loop(), [this] { make_consumer(); }) {
  if (prefix_.empty()) {
    const std::string inbox = js.connection().make_inbox();
    prefix_ = inbox.substr(inbox.rfind('.') + 1);
  }
}

std::unique_ptr<OrderedConsumer> OrderedConsumer::start(const JetStream& js,
                                                        const std::string& stream,
                                                        OrderedOptions options,
                                                        OrderedHandlers handlers) {
  std::unique_ptr<OrderedConsumer> out(new OrderedConsumer(js, stream, std::move(options)));
  static_cast<OrderedHandlers&>(*out->handlers_) = std::move(handlers);
  out->reconnects_ = js.connection().watch_reconnects(
      [at = out.get()] {
        if (at->consumer_.empty() && !at->renew_timer_.is_armed()) return;
        at->renew(ApiError{{Errc::Unavailable, "connection was lost"}}, Duration(0));
      },
      [at = out.get()] {
        at->consumer_.clear();  // nobody is left to be asked to delete it
        at->end(ApiError{{Errc::Closed, "connection closed"}});
      });
  out->renew_timer_.start(Duration(0));
  return out;
}

OrderedConsumer::~OrderedConsumer() {
  handlers_->is_gone = true;
  drop_consumer();
}

void OrderedConsumer::pause() {
  is_paused_ = true;
  if (pull_) pull_->pause();
}

void OrderedConsumer::resume() {
  is_paused_ = false;
  if (pull_) pull_->resume();
}

ConsumerConfig OrderedConsumer::make_config() const {
  ConsumerConfig config;
  config.name = prefix_ + "_" + std::to_string(serial_);
  config.ack_policy = AckPolicy::None;
  config.max_deliver = 1;
  config.mem_storage = true;
  config.num_replicas = 1;
  config.inactive_threshold = options_.inactive_threshold;
  config.headers_only = options_.headers_only;
  config.replay_policy = options_.replay_policy;
  if (options_.filter_subjects.size() == 1) {
    config.filter_subject = options_.filter_subjects[0];
  } else {
    config.filter_subjects = options_.filter_subjects;
  }
  if (stream_seq_ > 0) {
    config.deliver_policy = DeliverPolicy::ByStartSequence;
    config.opt_start_seq = stream_seq_ + 1;
  } else {
    config.deliver_policy = options_.deliver_policy;
    config.opt_start_seq = options_.opt_start_seq;
    config.opt_start_time = options_.opt_start_time;
  }
  return config;
}

void OrderedConsumer::make_consumer() {
  drop_consumer();
  ++serial_;
  consumer_seq_ = 0;
  js_.create_consumer(stream_, make_config(),
                      [this, handlers = handlers_, serial = serial_](ApiResult<ConsumerInfo> made) {
                        if (!handlers->is_gone && serial == serial_) on_made(std::move(made));
                      });
}

void OrderedConsumer::on_made(ApiResult<ConsumerInfo> made) {
  if (!made) {
    const ApiError& error = made.error();
    const bool is_hopeless = error.code == Errc::Closed || error.err_code == kStreamNotFoundError ||
                             (!has_started_ && error.code != Errc::TimedOut);
    if (is_hopeless) return end(error);
    retry_wait_ = std::clamp(2 * retry_wait_, kRetryWaitMin, kRetryWaitMax);
    return renew(error, retry_wait_);
  }
  retry_wait_ = {};
  consumer_ = made->name;
  if (stream_seq_ == 0 && made->config.deliver_policy == DeliverPolicy::New) {
    // Made anew before its first message, "new" would pass over what came in between.
    stream_seq_ = made->delivered.stream_seq;
  }
  ConsumeOptions options;
  options.messages_max = options_.messages_max;
  options.bytes_max = options_.bytes_max;
  options.expires = options_.expires;
  options.idle_heartbeat = options_.idle_heartbeat;
  options.ends_on_trouble = true;
  ConsumeHandlers handlers;
  handlers.on_message = [this](const Message& message, const Delivery& delivery) {
    on_message(message, delivery);
  };
  handlers.on_end = [this](const ApiError& error) {
    renew(error, Duration(0));
  };
  auto pull = PullConsumer::start(js_, stream_, consumer_, options, std::move(handlers));
  if (!pull) return end(ApiError{pull.error()});
  pull_ = std::move(*pull);
  if (is_paused_) pull_->pause();
  if (has_started_) return;
  has_started_ = true;
  const auto owned = handlers_;
  if (owned->on_start) owned->on_start(*made);
}

void OrderedConsumer::on_message(const Message& message, const Delivery& delivery) {
  // What still arrives from a consumer given up is passed over.
  if (renew_timer_.is_armed() || delivery.consumer != consumer_) return;
  if (delivery.consumer_seq != consumer_seq_ + 1) {
    return renew(ApiError{{Errc::Unavailable,
                           "consumer sequence " + std::to_string(consumer_seq_ + 1) + " is missing"}},
                 Duration(0));
  }
  consumer_seq_ = delivery.consumer_seq;
  stream_seq_ = delivery.stream_seq;
  const auto handlers = handlers_;
  handlers->on_message(message, delivery);
}

// The consumer goes when its successor is made: this may run inside one of its handlers.
void OrderedConsumer::renew(const ApiError& why, Duration wait) {
  renew_timer_.start(wait);
  const auto handlers = handlers_;
  if (handlers->on_trouble) handlers->on_trouble(why);
}

void OrderedConsumer::drop_consumer() {
  pull_.reset();
  if (consumer_.empty()) return;
  js_.delete_consumer(stream_, consumer_, [](ApiResult<Done>) {});
  consumer_.clear();
}

void OrderedConsumer::end(const ApiError& error) {
  renew_timer_.stop();
  reconnects_.reset();
  pull_.reset();
  const auto handlers = handlers_;
  if (handlers->on_end) handlers->on_end(error);
}

}  // namespace brokkr::client
