// Subscriptions, requests and round trips of a connection.

#include <algorithm>

#include "base/hash.h"
#include "client/core.h"
#include "protocol/encode.h"
#include "subject/subject.h"

namespace brokkr::client {
namespace {

constexpr size_t kRequestsMax = 1 << 20;
constexpr std::string_view kDigits =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

// The last token of a reply subject: generation and slot, base 62.
std::string_view write_token(char (&text)[12], uint64_t value) {
  char* at = text + sizeof text;
  do {
    *--at = kDigits[value % kDigits.size()];
    value /= kDigits.size();
  } while (value != 0);
  return {at, static_cast<size_t>(text + sizeof text - at)};
}

uint64_t read_token(std::string_view text) {
  uint64_t value = 0;
  for (const char c : text) {
    const size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) return UINT64_MAX;
    value = value * kDigits.size() + digit;
  }
  return value;
}

uint64_t to_id(uint32_t generation, uint32_t index) {
  return (uint64_t{generation} << 32) | index;
}

}  // namespace

bool is_plain_word(std::string_view text) {
  if (text.empty()) return false;
  return std::none_of(text.begin(), text.end(), [](char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f';
  });
}

Result<std::unique_ptr<Subscription>> Core::subscribe(std::string_view subject,
                                                      MessageHandler handler,
                                                      const SubscribeOptions& options) {
  if (state_ == State::Closed || state_ == State::Draining) {
    return Error{Errc::Closed, std::string("connection is ") + to_string(state_)};
  }
  if (!subject::is_valid(subject) || (!options.queue.empty() && !is_plain_word(options.queue))) {
    return Error{Errc::InvalidSubject, "invalid subject \"" + std::string(subject) + "\""};
  }
  std::unique_ptr<Subscription> subscription(new Subscription());
  subscription->core_ = this;
  subscription->sid_ = next_sid_++;
  subscription->subject_ = subject;
  subscription->queue_ = options.queue;
  subscription->handler_ = std::move(handler);
  subscription->messages_max_ = options.messages_max;
  subscriptions_.emplace(subscription->sid_, subscription.get());
  // Without a connection it is put in place with the others once there is one.
  if (state_ == State::Connected) {
    write_sub(output_, subject, options.queue, subscription->sid_);
    if (options.messages_max != 0) write_unsub(output_, subscription->sid_, options.messages_max);
  }
  return subscription;
}

void Core::unsubscribe(Subscription& subscription) {
  if (state_ == State::Connected) write_unsub(output_, subscription.sid_, 0);
  subscriptions_.erase(subscription.sid_);
  subscription.core_ = nullptr;
}

void Core::unsubscribe_after(Subscription& subscription, uint64_t messages) {
  if (messages <= subscription.delivered_) return unsubscribe(subscription);
  subscription.messages_max_ = messages;
  // The server counts from the SUB it knows, which a reconnect renews: then the numbers differ, and
  // ending here, when our own count is reached, is what holds.
  if (state_ == State::Connected && stats_.reconnects == 0) {
    write_unsub(output_, subscription.sid_, messages);
  }
}

void Core::drain(Subscription& subscription, DoneHandler done) {
  const Entry entry(*this);
  if (state_ != State::Connected) {
    unsubscribe(subscription);
    if (done) done(Status());
    return;
  }
  write_unsub(output_, subscription.sid_, 0);
  send_ping(
      [this, sid = subscription.sid_, done = std::move(done)](const Status& status) {
        if (const auto found = subscriptions_.find(sid); found != subscriptions_.end()) {
          found->second->core_ = nullptr;
          subscriptions_.erase(found);
        }
        if (done) done(status);
      },
      {});
}

void Core::flush(Duration timeout, DoneHandler done) {
  const Entry entry(*this);
  if (state_ == State::Closed) return done(Error{Errc::Closed, "connection closed"});
  send_ping(std::move(done), timeout);
}

void Core::send_ping(DoneHandler done, Duration timeout) {
  Ping ping{std::move(done), nullptr, next_ping_++};
  if (timeout > Duration(0)) {
    ping.timer = std::make_unique<io::Timer>(loop_, [this, id = ping.id] {
      const Entry entry(*this);
      for (Ping& waiting : pings_) {
        if (waiting.id != id || !waiting.done) continue;
        // The PONG is still due and must find its place in the queue.
        const DoneHandler handler = std::move(waiting.done);
        return handler(Error{Errc::TimedOut, "no answer from the server in time"});
      }
    });
    ping.timer->start(timeout);
  }
  pings_.push_back(std::move(ping));
  output_.append(protocol::kPing);
}

Status Core::subscribe_inbox() {
  if (inbox_sid_ != 0) return {};
  if (state_ == State::Draining) return Error{Errc::Closed, "connection is draining"};
  inbox_ = make_inbox() + ".";
  inbox_sid_ = next_sid_++;
  if (state_ == State::Connected) write_sub(output_, inbox_ + "*", {}, inbox_sid_);
  return {};
}

Result<PendingRequest*> Core::open_request(std::string_view subject, std::string_view payload,
                                           std::string_view headers, uint32_t& index) {
  if (Status status = subscribe_inbox(); !status) return status.error();
  if (free_requests_.empty()) {
    if (requests_.size() >= kRequestsMax) {
      return Error{Errc::LimitExceeded, std::to_string(requests_.size()) + " requests wait"};
    }
    index = static_cast<uint32_t>(requests_.size());
    requests_.push_back(std::make_unique<PendingRequest>(
        loop_, [this, slot = index] { on_request_deadline(slot); }));
    free_requests_.push_back(index);
  }
  index = free_requests_.back();
  PendingRequest& request = *requests_[index];
  char token[12];
  std::string reply = inbox_;
  reply += write_token(token, to_id(request.generation, index));
  if (Status sent = publish(subject, payload, {reply, headers}); !sent) return sent.error();
  free_requests_.pop_back();
  request.is_active = true;
  request.subject_hash = hash_bytes(subject);
  request.replies = 0;
  return &request;
}

Result<RequestId> Core::request(std::string_view subject, std::string_view payload,
                                Duration timeout, ReplyHandler handler, std::string_view headers) {
  uint32_t index = 0;
  auto opened = open_request(subject, payload, headers, index);
  if (!opened) return opened.error();
  PendingRequest& request = **opened;
  request.is_many = false;
  request.on_reply = std::move(handler);
  request.timeout = timeout;
  request.timer.start(timeout);
  return RequestId{to_id(request.generation, index)};
}

Result<RequestId> Core::request_many(std::string_view subject, std::string_view payload,
                                     const ManyOptions& options, MessageHandler on_reply,
                                     DoneHandler on_end, std::string_view headers) {
  uint32_t index = 0;
  auto opened = open_request(subject, payload, headers, index);
  if (!opened) return opened.error();
  PendingRequest& request = **opened;
  request.is_many = true;
  request.on_message = std::move(on_reply);
  request.on_end = std::move(on_end);
  request.many = options;
  request.timeout = options.timeout;
  request.timer.start(options.timeout);
  request.deadline = request.timer.deadline();
  return RequestId{to_id(request.generation, index)};
}

void Core::cancel(RequestId id) {
  const auto index = static_cast<uint32_t>(static_cast<uint64_t>(id));
  if (index >= requests_.size()) return;
  PendingRequest& request = *requests_[index];
  if (!request.is_active || to_id(request.generation, index) != static_cast<uint64_t>(id)) return;
  request.on_reply = {};
  request.on_message = {};
  request.on_end = {};
  end_request(request, index, Error{Errc::Closed, "cancelled"});
}

void Core::on_reply(const Message& message) {
  if (!message.subject.starts_with(inbox_)) return;
  const uint64_t id = read_token(message.subject.substr(inbox_.size()));
  const auto index = static_cast<uint32_t>(id);
  if (index >= requests_.size()) return;
  PendingRequest& request = *requests_[index];
  if (!request.is_active || to_id(request.generation, index) != id) return;  // came too late
  if (message.payload.empty() && !message.headers.empty() && message.status() == 503) {
    return end_request(request, index,
                       Error{Errc::NoResponders, "no responders available for request"});
  }
  if (!request.is_many) return end_request(request, index, message);
  if (request.many.until_empty && message.payload.empty()) {
    ++request.replies;
    return end_request(request, index, message);
  }
  ++request.replies;
  const bool is_last =
      request.many.replies_max != 0 && request.replies >= request.many.replies_max;
  if (!is_last && request.many.stall > Duration(0)) {
    request.timer.start_at(
        std::min(request.deadline, loop_.clock().now() + request.many.stall));
  }
  MessageHandler handler = std::move(request.on_message);
  if (handler) handler(message);
  if (!request.is_active || to_id(request.generation, index) != id) return;
  if (is_last) return end_request(request, index, message);
  request.on_message = std::move(handler);
}

void Core::on_request_deadline(uint32_t index) {
  const Entry entry(*this);
  PendingRequest& request = *requests_[index];
  if (!request.is_active) return;
  end_request(request, index,
              Error{Errc::TimedOut, "no reply within " + format_go_duration(request.timeout)});
}

void Core::end_request(PendingRequest& request, uint32_t index, Result<Message> result) {
  request.timer.stop();
  request.is_active = false;
  ++request.generation;
  free_requests_.push_back(index);
  const ReplyHandler on_reply = std::move(request.on_reply);
  const DoneHandler on_end = std::move(request.on_end);
  request.on_message = {};
  if (!request.is_many) {
    if (on_reply) on_reply(result);
    return;
  }
  if (!on_end) return;
  const bool is_enough = result || (request.replies > 0 && result.error().code == Errc::TimedOut);
  on_end(is_enough ? Status() : Status(result.error()));
}

void Core::fail_requests_to(uint64_t subject_hash, const Error& error) {
  for (uint32_t i = 0; i < requests_.size() && !is_abandoned_; ++i) {
    PendingRequest& request = *requests_[i];
    if (request.is_active && request.subject_hash == subject_hash) end_request(request, i, error);
  }
}

}  // namespace brokkr::client
