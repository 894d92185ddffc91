// What a connection does with each command: nats-core.md sections 1.3 to 1.7.
#include <algorithm>

#include "auth/permissions.h"
#include "base/hash.h"
#include "broker/account_routes.h"
#include "broker/connection.h"
#include "broker/error_text.h"
#include "broker/message_trace.h"
#include "broker/server.h"
#include "broker/shard.h"
#include "protocol/encode.h"
#include "protocol/info.h"
#include "subject/subject.h"

namespace brokkr::broker {
namespace {

constexpr size_t kPublishAnswersMax = 128;

uint64_t hash_sid(std::string_view sid) {
  return hash_short(sid.data(), sid.size());
}

// Reply subjects the server keeps to itself.
bool is_reserved_reply(std::string_view reply) {
  return reply.starts_with("_R_.") || reply.starts_with("_GR_.") || reply.starts_with("$JS.ACK.");
}

bool is_reserved_subject(std::string_view subject) {
  return subject.starts_with("$NRG.") || subject.starts_with("_GR_.");
}

}  // namespace

// Returns false when the command is to be handled again later.
bool Connection::handle(const protocol::Command& command) {
  if (state_ != State::Open && !handle_first(command)) return true;
  switch (command.verb) {
    case protocol::Verb::Pub:
    case protocol::Verb::Hpub: handle_publish(command); return true;
    case protocol::Verb::Sub: handle_subscribe(command); return true;
    case protocol::Verb::Unsub: handle_unsubscribe(command); return true;
    case protocol::Verb::Ping: return handle_ping();
    case protocol::Verb::Pong: handle_pong(); return true;
    case protocol::Verb::Connect: handle_connect(command.arguments); return true;
    case protocol::Verb::Info:
    case protocol::Verb::Ok: return true;
    case protocol::Verb::Err:
      close_later(CloseReason::ClientClosed);
      return true;
  }
  return true;
}

// The first command decides: without authentication anything opens the connection, with it only
// CONNECT may come. Returns whether the command is to be handled.
bool Connection::handle_first(const protocol::Command& command) {
  if (command.verb == protocol::Verb::Connect) return true;
  // No CONNECT yet and none needed: such a client is served with CONNECT's defaults, as whoever
  // comes without credentials.
  if (!connect_received_) authenticate();
  return state_ == State::Open;
}

void Connection::handle_publish(const protocol::Command& command) {
  if (command.verb == protocol::Verb::Hpub && !wants_headers_) {
    shard_.log().error("cid:" + std::to_string(id_) + " - message headers not supported");
    return close_later(CloseReason::ProtocolViolation);
  }
  if (command.payload.size() > limits_.max_payload) {
    return close_later(CloseReason::MaxPayloadExceeded, "Maximum Payload Violation");
  }
  ++traffic_.in_msgs;
  traffic_.in_bytes += command.payload.size();
  if (connect_.pedantic && !subject::is_valid_literal(command.subject)) {
    send_error("Invalid Publish Subject");
  }
  TraceScope trace(shard_);
  if (command.header_size > 0 &&
      !trace.begin(*this, command.subject, command.payload.substr(0, command.header_size),
                   command.payload.size())) {
    return;
  }
  const auto refuse = [&](std::string_view what, std::string_view subject) {
    const std::string text = quoted(what, subject);
    trace.fail(text);
    send_error(text);
  };
  if (is_reserved_subject(command.subject)) {
    return refuse("Permissions Violation for Publish to ", command.subject);
  }
  if (!command.reply.empty() && is_reserved_reply(command.reply)) {
    return refuse("Permissions Violation for Publish with Reply of ", command.reply);
  }
  if (permissions_ != nullptr && !may_publish(command.subject) &&
      (reply_grants_ == nullptr || !reply_grants_->use(command.subject, shard_.loop().now()))) {
    return refuse("Permissions Violation for Publish to ", command.subject);
  }
  send_ok();
  Message message;
  message.subject = command.subject;
  message.reply = command.reply;
  message.payload = command.payload;
  message.size_text = command.size_text;
  message.header_size = command.header_size;
  message.from = this;
  message.trace = trace.get();
  std::string mapped;
  if (account_->routes() != nullptr && account_->routes()->has_mappings()) {
    mapped = account_->routes()->map(command.subject);
    if (!mapped.empty()) message.subject = mapped;
    if (!mapped.empty() && message.trace != nullptr) {
      message.trace->add_mapping(mapped, shard_.loop().clock().wall_now());
    }
  }
  shard_.publish(*account_, this, message);
}

// What the server itself writes there on the client's behalf must be what the client may write.
bool Connection::may_trace_to(std::string_view subject) const {
  if (is_reserved_subject(subject)) return false;
  return permissions_ == nullptr || permissions_->may_publish(subject);
}

// Remembers the answers: a client publishes to few subjects, and asking the rules is slow.
bool Connection::may_publish(std::string_view subject) {
  if (publish_answers_ == nullptr) publish_answers_ = std::make_unique<PublishAnswers>();
  const auto known = publish_answers_->find(subject);
  if (known != publish_answers_->end()) return known->second;
  if (publish_answers_->size() >= kPublishAnswersMax) publish_answers_->clear();
  return publish_answers_->emplace(subject, permissions_->may_publish(subject)).first->second;
}

Subscription* Connection::find_subscription(std::string_view sid) const {
  return subscriptions_.find(hash_sid(sid),
                             [&](const Subscription& candidate) { return candidate.sid == sid; });
}

void Connection::handle_subscribe(const protocol::Command& command) {
  const std::string_view subject = command.subject;
  const std::string_view queue = command.queue;
  const Settings& settings = shard_.settings();
  const auto violation = [&] {
    std::string text = quoted("Permissions Violation for Subscription to ", subject);
    if (!queue.empty()) text.append(quoted(" using queue ", queue));
    send_error(text);
  };
  if (!subject::is_valid(subject)) return send_error("Invalid Subject");
  if (settings.max_sub_tokens > 0 && subject::token_count(subject) > settings.max_sub_tokens) {
    return send_error(
        quoted("Permissions Violation for Subscription to ", subject, ", too many tokens"));
  }
  if (queue == "_sys_") return violation();
  if (permissions_ != nullptr && !permissions_->may_subscribe(subject, queue)) return violation();
  if (subscriptions_.size() >= limits_.max_subscriptions) {
    return send_error("maximum subscriptions exceeded");
  }
  if (find_subscription(command.sid) == nullptr) {
    auto made = std::make_unique<Subscription>();
    if (!count_subscription(*made)) return send_error("maximum subscriptions exceeded");
    Subscription* subscription = made.release();  // owned by subscriptions_
    subscription->connection = this;
    subscription->sid = command.sid;
    subscription->has_delivery_filter =
        permissions_ != nullptr && permissions_->needs_delivery_filter(subject, queue);
    subscriptions_.insert(hash_sid(command.sid), subscription);
    shard_.add_interest(*account_, subject, queue, *subscription);
    interest_version_ = shard_.links().version();
  }
  send_ok();
}

void Connection::handle_unsubscribe(const protocol::Command& command) {
  Subscription* subscription = find_subscription(command.sid);
  if (subscription != nullptr) {
    subscription->max_messages = command.max_messages;
    if (subscription->delivered >= command.max_messages) remove_subscription(subscription);
    interest_version_ = shard_.links().version();
  }
  send_ok();
}

void Connection::remove_all_subscriptions() {
  std::vector<Subscription*> all;
  subscriptions_.for_each([&](Subscription& subscription) { all.push_back(&subscription); });
  for (Subscription* subscription : all) remove_subscription(subscription);
  interest_version_ = shard_.links().version();
}

void Connection::remove_subscription(Subscription* subscription) {
  subscriptions_.erase(hash_sid(subscription->sid), subscription);
  discount_subscription(*subscription);
  if (subscription->is_added()) shard_.remove_interest(*account_, *subscription);
  delete subscription;
}

Subscription* Connection::find_subscription_for(std::string_view reply) {
  for (const subject::Interest* interest : account_->interest().match(reply)) {
    for (subject::Subscriber* subscriber : interest->subscribers()) {
      auto* subscription = static_cast<Subscription*>(subscriber);
      if (subscription->kind == Subscription::Kind::Client && subscription->connection == this) {
        return subscription;
      }
    }
  }
  return nullptr;
}

bool Connection::handle_ping() {
  last_activity_ = shard_.loop().clock().wall_now();
  // What other loops sent before this PING was written must be queued before its PONG.
  shard_.links().receive();
  if (has_unsettled_messages_) {
    has_unsettled_messages_ = false;
    interest_version_ = shard_.links().make_barrier();
  }
  if (interest_version_ > shard_.links().known_version()) {
    awaited_version_ = interest_version_;
    shard_.wait_for_interest(*this);
    return false;
  }
  send_pong();
  return true;
}

void Connection::send_pong() {
  trace("->>", "PONG");
  send_text(protocol::kPong);
  if (sent_connect_info_ || !connect_received_ || connect_.protocol < 1) return;
  sent_connect_info_ = true;
  send_text(protocol::make_info_line(shard_.info_for(*this, true)));
}

void Connection::on_interest_known(uint64_t version) {
  if (awaited_version_ == 0 || awaited_version_ > version) return;
  awaited_version_ = 0;
  resume_input();
}

}  // namespace brokkr::broker
