#include "client/pull.h"

#include <algorithm>

#include "base/bytes.h"
#include "client/jetstream_json.h"

namespace brokkr::client {
namespace {

// The server's own words come a little later than its clock says.
constexpr Duration kGrace = std::chrono::seconds(1);
constexpr Duration kRetryWait = std::chrono::milliseconds(250);

// What the server charges against max_bytes.
uint64_t charged_bytes(const Message& message) {
  return message.subject.size() + message.reply.size() + message.headers.size() +
         message.payload.size();
}

bool contains(const ApiError& error, std::string_view words) {
  return error.text.find(words) != std::string::npos;
}

std::string pull_subject(const JetStream& js, const std::string& stream,
                         const std::string& consumer) {
  return js.api_prefix() + ".CONSUMER.MSG.NEXT." + stream + "." + consumer;
}

Status check_names(const std::string& stream, const std::string& consumer) {
  if (is_asset_name(stream) && is_asset_name(consumer)) return {};
  return Error{Errc::InvalidArgument,
               "invalid stream or consumer name \"" + stream + "\", \"" + consumer + "\""};
}

// A status that no further pull would change.
bool is_final(const ApiError& error) {
  if (error.http_code == 400 || error.http_code == 412) return true;
  return contains(error, "consumer deleted") || contains(error, "push based") ||
         contains(error, "exceeded maxrequest");
}

}  // namespace

std::string make_pull_body(const PullOptions& options) {
  json::Writer body;
  body.begin_object().field("batch", options.batch);
  FieldWriter fields(body);
  fields.write("expires", options.expires);
  fields.write("no_wait", options.no_wait);
  fields.write("max_bytes", options.max_bytes);
  fields.write("idle_heartbeat", options.idle_heartbeat);
  fields.write("group", options.group);
  fields.write("min_pending", options.min_pending);
  fields.write("min_ack_pending", options.min_ack_pending);
  fields.write("id", options.id);
  fields.write("priority", int64_t{options.priority});
  return body.end_object().take();
}

bool is_end_of_messages(const ApiError& error) {
  return error.http_code == 404 || error.http_code == 408 || contains(error, "batch completed") ||
         contains(error, "message size exceeds");
}

Fetch::Fetch(const JetStream& js, const PullOptions& options)
    : connection_(js.connection()),
      options_(options),
      timer_(js.connection().loop(), [this] { on_silence(); }) {
  const Duration patience = options.expires > Duration(0) ? options.expires : js.options().timeout;
  deadline_ = js.connection().loop().clock().now() + patience + kGrace;
}

Fetch::~Fetch() { handlers_->is_gone = true; }

Result<std::unique_ptr<Fetch>> Fetch::start(const JetStream& js, const std::string& stream,
                                            const std::string& consumer,
                                            const PullOptions& options,
                                            DeliveryHandler on_message, ApiHandler<Done> on_end) {
  if (Status status = check_names(stream, consumer); !status) return status.error();
  std::unique_ptr<Fetch> fetch(new Fetch(js, options));
  fetch->handlers_->on_message = std::move(on_message);
  fetch->handlers_->on_end = std::move(on_end);
  const std::string inbox = js.connection().make_inbox();
  auto subscription = js.connection().subscribe(
      inbox, [at = fetch.get()](const Message& message) { at->on_message(message); });
  if (!subscription) return subscription.error();
  fetch->subscription_ = std::move(*subscription);
  Status sent = js.connection().publish(pull_subject(js, stream, consumer),
                                        make_pull_body(options), {inbox, {}});
  if (!sent) return sent.error();
  fetch->watch_ = js.connection().watch_reconnects(
      [] {}, [at = fetch.get()] { at->end(Error{Errc::Closed, "connection closed"}); });
  fetch->restart_timer();
  return fetch;
}

void Fetch::restart_timer() {
  MonotonicTime deadline = deadline_;
  if (options_.idle_heartbeat > Duration(0)) {
    const MonotonicTime now = connection_.loop().clock().now();
    deadline = std::min(deadline, now + 2 * options_.idle_heartbeat);
  }
  timer_.start_at(deadline);
}

void Fetch::on_message(const Message& message) {
  if (auto status = find_status(message)) {
    if (is_draining_) return;
    if (status->http_code == 100) return restart_timer();
    if (status->http_code == 503) return end(Error{Errc::NoResponders, "no such consumer"});
    return end(std::move(*status));
  }
  const auto delivery = parse_delivery(message.reply);
  if (!delivery) return;
  ++delivered_;
  if (!is_draining_) restart_timer();
  const auto handlers = handlers_;
  handlers->on_message(message, *delivery);
  if (!handlers->is_gone && !is_draining_ && delivered_ >= options_.batch) end(Done{});
}

void Fetch::drain(Callback<void()> done) {
  is_draining_ = true;
  timer_.stop();
  watch_.reset();
  subscription_->drain([handlers = handlers_, done = std::move(done)](const Status&) {
    if (!handlers->is_gone) done();
  });
}

void Fetch::on_silence() {
  const bool is_late = connection_.loop().clock().now() >= deadline_;
  end(Error{Errc::TimedOut, is_late ? "no answer to the pull" : "no heartbeat received"});
}

void Fetch::end(ApiResult<Done> result) {
  timer_.stop();
  subscription_.reset();
  watch_.reset();
  const auto handlers = handlers_;
  handlers->on_end(std::move(result));
}

PullConsumer::PullConsumer(const JetStream& js, const std::string& stream,
                           const std::string& consumer, const ConsumeOptions& options)
    : js_(js),
      stream_(stream),
      consumer_(consumer),
      options_(options),
      silence_timer_(js.connection().loop(), [this] { on_silence(); }),
      retry_timer_(js.connection().loop(), [this] { ask_for_consumer(); }),
      held_timer_(js.connection().loop(), [this] { deliver_held(); }) {}

PullConsumer::~PullConsumer() { handlers_->is_gone = true; }

Result<std::unique_ptr<PullConsumer>> PullConsumer::start(const JetStream& js,
                                                          const std::string& stream,
                                                          const std::string& consumer,
                                                          const ConsumeOptions& options,
                                                          ConsumeHandlers handlers) {
  if (Status status = check_names(stream, consumer); !status) return status.error();
  std::unique_ptr<PullConsumer> out(new PullConsumer(js, stream, consumer, options));
  static_cast<ConsumeHandlers&>(*out->handlers_) = std::move(handlers);
  if (!options.ends_on_trouble) {
    out->reconnects_ = js.connection().watch_reconnects(
        [at = out.get()] { at->start_over(); },
        [at = out.get()] { at->end(ApiError{{Errc::Closed, "connection closed"}}); });
  }
  if (Status status = out->open_inbox(); !status) return status.error();
  out->pull_if_low();
  return out;
}

// A new inbox forgets every request to the old one: without interest the server drops them.
Status PullConsumer::open_inbox() {
  auto subscription = js_.connection().subscribe(
      js_.connection().make_inbox(), [this](const Message& message) { on_arrival(message); });
  if (!subscription) return subscription.error();
  subscription_ = std::move(*subscription);
  asked_messages_ = 0;
  asked_bytes_ = 0;
  return {};
}

void PullConsumer::pull_if_low() {
  if (has_ended_ || is_paused_ || !subscription_ || retry_timer_.is_armed()) return;
  const uint64_t messages = asked_messages_ + held_.size();
  const uint64_t bytes = asked_bytes_ + held_bytes_;
  const bool is_low = messages <= options_.messages_max / 2 ||
                      (options_.bytes_max > 0 && bytes <= options_.bytes_max / 2);
  if (!is_low || messages >= options_.messages_max) return;
  PullOptions pull;
  pull.batch = options_.messages_max - messages;
  if (options_.bytes_max > bytes) pull.max_bytes = options_.bytes_max - bytes;
  pull.expires = options_.expires;
  pull.idle_heartbeat =
      options_.idle_heartbeat > Duration(0) ? options_.idle_heartbeat : options_.expires / 2;
  pull.group = options_.group;
  pull.min_pending = options_.min_pending;
  pull.min_ack_pending = options_.min_ack_pending;
  pull.priority = options_.priority;
  pull.id = pin_id_;
  Status sent =
      js_.connection().publish(pull_subject(js_, stream_, consumer_), make_pull_body(pull),
                               {subscription_->subject(), {}});
  if (!sent) {
    retry_timer_.start(kRetryWait);
    return;
  }
  asked_messages_ += pull.batch;
  asked_bytes_ += pull.max_bytes;
  silence_timer_.start(2 * pull.idle_heartbeat);
}

void PullConsumer::on_arrival(const Message& message) {
  if (silence_timer_.is_armed()) {
    const Duration heartbeat =
        options_.idle_heartbeat > Duration(0) ? options_.idle_heartbeat : options_.expires / 2;
    silence_timer_.start(2 * heartbeat);
  }
  if (const auto status = find_status(message)) return on_status(*status, message);
  asked_messages_ -= std::min<uint64_t>(asked_messages_, 1);
  asked_bytes_ -= std::min(asked_bytes_, charged_bytes(message));
  if (asked_messages_ == 0) silence_timer_.stop();
  if (!options_.group.empty()) {
    if (const auto pin = message.header("Nats-Pin-Id"); !pin.empty()) pin_id_ = pin;
  }
  if (is_paused_ || !held_.empty()) {
    held_bytes_ += charged_bytes(message);
    held_.emplace_back(message);
    return;
  }
  if (deliver(message)) pull_if_low();
}

bool PullConsumer::deliver(const Message& message) {
  const auto delivery = parse_delivery(message.reply);
  if (!delivery) return true;
  const auto handlers = handlers_;
  handlers->on_message(message, *delivery);
  return !handlers->is_gone;
}

void PullConsumer::resume() {
  if (!is_paused_) return;
  is_paused_ = false;
  held_timer_.start(Duration(0));
}

void PullConsumer::deliver_held() {
  while (!is_paused_ && !held_.empty()) {
    const OwnedMessage message = std::move(held_.front());
    held_.pop_front();
    held_bytes_ -= charged_bytes(message.view());
    if (!deliver(message.view())) return;
  }
  pull_if_low();
}

void PullConsumer::take_off(const Message& status) {
  const auto messages = parse_uint(status.header("Nats-Pending-Messages"));
  const auto bytes = parse_uint(status.header("Nats-Pending-Bytes"));
  asked_messages_ -= std::min(asked_messages_, messages.value_or(0));
  asked_bytes_ -= std::min(asked_bytes_, bytes.value_or(0));
  if (asked_messages_ == 0) silence_timer_.stop();
}

void PullConsumer::on_status(const ApiError& status, const Message& message) {
  if (status.http_code == 100) return;
  take_off(message);
  if (is_end_of_messages(status)) return pull_if_low();
  if (is_final(status)) return end(status);
  if (status.http_code == 423) pin_id_.clear();
  if (status.http_code == 503) {
    return overcome(ApiError{{Errc::NoResponders, "no such consumer"}});
  }
  overcome(status);
}

void PullConsumer::on_silence() {
  overcome(ApiError{{Errc::TimedOut, "no heartbeat received"}});
}

// Reports the trouble and sees, a moment later, whether the consumer is still there.
void PullConsumer::overcome(const ApiError& trouble) {
  if (options_.ends_on_trouble) return end(trouble);
  subscription_.reset();
  silence_timer_.stop();
  retry_timer_.start(kRetryWait);
  const auto handlers = handlers_;
  if (handlers->on_trouble) handlers->on_trouble(trouble);
}

void PullConsumer::ask_for_consumer() {
  js_.consumer_info(stream_, consumer_,
                    [this, handlers = handlers_](ApiResult<ConsumerInfo> info) {
                      if (handlers->is_gone || has_ended_) return;
                      if (info) return start_over();
                      const int code = info.error().err_code;
                      if (code == kConsumerNotFoundError || code == kStreamNotFoundError) {
                        return end(info.error());
                      }
                      retry_timer_.start(kRetryWait);
                    });
}

void PullConsumer::start_over() {
  if (has_ended_) return;
  retry_timer_.stop();
  if (Status status = open_inbox(); !status) return end(ApiError{status.error()});
  pull_if_low();
}

void PullConsumer::end(const ApiError& error) {
  if (has_ended_) return;
  has_ended_ = true;
  subscription_.reset();
  silence_timer_.stop();
  retry_timer_.stop();
  held_timer_.stop();
  const auto handlers = handlers_;
  if (handlers->on_end) handlers->on_end(error);
}

}  // namespace brokkr::client
