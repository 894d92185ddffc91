#include "broker/leaf/link.h"

#include <algorithm>

#include "broker/account_routes.h"
#include "broker/leaf/dialer.h"
#include "broker/leaf/leafs.h"
#include "broker/shard.h"
#include "broker/turn_budget.h"
#include "protocol/encode.h"
#include "subject/subject.h"

namespace brokkr::broker {
namespace {

constexpr size_t kReadRoom = 64 << 10;
constexpr size_t kReadRoomMax = 256 << 10;
// Output beyond this is sent at once instead of at the turn's end.
constexpr uint64_t kFlushBytes = 256 << 10;
constexpr uint32_t kControlLineFactor = 16;  // leaves may have longer lines than clients, by this
constexpr size_t kDrainReadsMax = 8;

}  // namespace

// Handles the rest of the input when the loop comes round again.
struct LeafLink::Continuation final : io::Task {
  explicit Continuation(LeafLink& owner) : link(owner) {}
  void run() override {
    std::string input;
    input.swap(link.input_);
    link.consume(input);
    link.update_interest();
    link.leafs_.shard().flush_if_large();
  }
  LeafLink& link;
};

LeafLink::LeafLink(Leafs& leafs, uint64_t id, std::unique_ptr<io::Transport> transport,
                   Origin origin, LeafDialer* dialer)
    : leafs_(leafs),
      id_(id),
      transport_(std::move(transport)),
      origin_(std::move(origin)),
      dialer_(dialer),
      is_solicited_(dialer != nullptr),
      state_(is_solicited_ ? State::AwaitingInfo : State::AwaitingConnect),
      output_(leafs.shard().chunks()),
      timer_(leafs.loop(), [this] { on_timer(); }),
      continuation_(std::make_unique<Continuation>(*this)),
      last_input_(leafs.loop().now()),
      start_time_(leafs.loop().clock().wall_now()),
      last_activity_(start_time_) {
  const Settings& settings = leafs_.settings();
  parser_.set_limits({settings.max_control_line * kControlLineFactor, settings.max_payload});
}

LeafLink::~LeafLink() {
  leafs_.loop().cancel(*continuation_);
  for (const auto& [key, subscription] : subscriptions_) {
    if (subscription->is_added()) leafs_.shard().remove_interest(*account_, *subscription);
  }
  transport_->listen(nullptr, false, false);
}

std::string LeafLink::log_name() const {
  return transport_->peer().host + ":" + std::to_string(transport_->peer().port) +
         " - lid:" + std::to_string(id_);
}

void LeafLink::trace(std::string_view direction, std::string_view text) const {
  if (!leafs_.log().is_on(LogLevel::Trace)) return;
  leafs_.log().trace(log_name() + " - " + std::string(direction) + " [" + std::string(text) + "]");
}

void LeafLink::start() {
  transport_->listen(this, false, false);
  if (is_solicited_) return start_dialled();
  start_accepted();
}

void LeafLink::mark_dirty() {
  if (is_dirty_) return;
  is_dirty_ = true;
  leafs_.put_dirty(*this);
}

void LeafLink::send_text(std::string_view text) {
  if (state_ == State::Closed) return;
  output_.append(text);
  mark_dirty();
}

void LeafLink::close_later(std::string_view reason, std::string_view error_text) {
  if (state_ == State::Closed) return;
  if (!error_text.empty()) {
    trace("->>", "-ERR " + std::string(error_text));
    send_text("-ERR '" + std::string(error_text) + "'\r\n");
  }
  state_ = State::Closed;
  close_reason_ = reason;
  leafs_.put_closing(*this);
}

// --- reading ---------------------------------------------------------------------------------

void LeafLink::update_interest() {
  if (state_ == State::Closed) return;
  if (state_ == State::Handshaking) return;
  const bool reads = state_ != State::Authenticating && !continuation_->is_scheduled();
  transport_->listen(this, reads, wants_writable_);
}

void LeafLink::on_readable() {
  last_input_ = leafs_.loop().now();
  if (state_ == State::AwaitingHello) return end_hello(true);
  read();
  leafs_.shard().flush_if_large();
}

void LeafLink::read() {
  io::IoResult got;
  if (input_.empty()) {
    const std::span<char> buffer = leafs_.loop().receive_buffer(0);
    got = transport_->read(buffer.data(), buffer.size());
    if (got.kind == io::IoResult::Kind::Ok) consume({buffer.data(), got.bytes});
  } else {
    const size_t kept = input_.size();
    const size_t missing = input_needed_ - std::min(input_needed_, kept);
    const size_t room = std::clamp(missing, kReadRoom, kReadRoomMax);
    input_.resize(kept + room);
    got = transport_->read(input_.data() + kept, room);
    input_.resize(kept + got.bytes);
    if (got.kind == io::IoResult::Kind::Ok && input_.size() >= input_needed_) {
      std::string input;
      input.swap(input_);
      consume(input);
    }
  }
  if (got.kind == io::IoResult::Kind::Closed) close_later("Client Closed");
  if (got.kind == io::IoResult::Kind::Failed) close_later("Read Error");
  update_interest();
}

// Keeps what is not handled in `input_`, which is empty now.
void LeafLink::consume(std::string_view input) {
  TurnBudget budget(leafs_.loop().clock());
  protocol::LeafCommand command;
  input_needed_ = 0;
  while (!input.empty()) {
    if (state_ == State::Closed) return;
    if (state_ == State::Authenticating) break;
    const protocol::ParseStatus status = parser_.next(input, command);
    if (status == protocol::ParseStatus::Partial) {
      input_needed_ = parser_.bytes_needed();
      break;
    }
    if (status == protocol::ParseStatus::Error) return on_parse_error(parser_.error());
    input.remove_prefix(command.size);
    handle(command);
    if (drops_rest_) {
      drops_rest_ = false;
      return;
    }
    leafs_.shard().flush_if_flooded();
    if (!input.empty() && budget.is_spent()) {
      leafs_.loop().schedule(*continuation_);
      break;
    }
  }
  input_.assign(input);
}

void LeafLink::on_parse_error(protocol::ParseError error) {
  std::string_view text = protocol::error_text(error);
  // Nothing but CONNECT may come first, whatever it is.
  if (state_ == State::AwaitingConnect && error == protocol::ParseError::UnknownOperation) {
    text = "Authorization Violation";
  }
  leafs_.log().error(log_name() + " - Leafnode sent what is not understood" +
                     (text.empty() ? std::string() : ": " + std::string(text)));
  close_later(error == protocol::ParseError::PayloadTooLarge ? "Maximum Message Payload Exceeded"
                                                             : "Protocol Violation",
              text);
}

// Goes on with what was kept while a password was checked.
void LeafLink::resume() {
  if (!input_.empty()) leafs_.loop().schedule(*continuation_);
  update_interest();
}

// --- writing ---------------------------------------------------------------------------------

bool LeafLink::takes(const Message& message) const {
  if (state_ != State::Open) return false;
  if (message.from_leaf != nullptr) {
    if (message.from_leaf == this) return false;
    // All servers of a cluster have seen it.
    if (!remote_cluster_.empty() && message.from_leaf->remote_cluster_ == remote_cluster_) {
      return false;
    }
  }
  if (message.payload.size() > payload_max_) return false;
  return outgoing_.allows(message.routed_by());
}

void LeafLink::send_message(const Message& message, std::string_view queues) {
  if (state_ != State::Open) return;
  std::string reply_and_subject;
  protocol::LeafMessageLine line;
  line.subject = message.routed_by();
  line.reply = message.reply;
  // Routed by one subject and shown under another, as JetStream does: the other side is told both.
  if (!message.route.empty() && !message.reply.empty()) {
    reply_and_subject.append(message.reply).append("@").append(message.subject);
    line.reply = reply_and_subject;
  }
  line.queues = queues;
  const bool with_headers = message.header_size > 0 && wants_headers_;
  const std::string_view payload =
      with_headers ? message.payload : message.payload.substr(message.header_size);
  line.header_size = with_headers ? message.header_size : 0;
  line.total_size = payload.size();
  line_.clear();
  protocol::append_leaf_message_line(line_, line);
  if (leafs_.log().is_on(LogLevel::Trace)) {
    trace("->>", std::string_view(line_).substr(0, line_.size() - 2));
  }
  output_.append(line_);
  // The CRLF that closed the publisher's payload closes this one.
  output_.append({payload.data(), payload.size() + 2});
  ++traffic_.out_msgs;
  traffic_.out_bytes += payload.size();
  mark_dirty();
  if (output_.pending() > leafs_.settings().max_pending) {
    ++leafs_.shard().stats().slow_consumers;
    return close_later("Slow Consumer (Pending Bytes)");
  }
  if (output_.pending() > kFlushBytes) flush();
}

void LeafLink::flush() {
  is_dirty_ = false;
  if (output_.empty() || (wants_writable_ && state_ != State::Closed)) return;
  const io::IoResult sent = output_.flush(*transport_);
  if (sent.kind == io::IoResult::Kind::Ok) return;
  if (sent.kind != io::IoResult::Kind::WouldBlock) return close_later("Write Error");
  if (state_ == State::Closed) return;
  wants_writable_ = true;
  start_write_deadline();
  update_interest();
}

// What has come and is not read is thrown away: a socket closed with unread input is reset, and the
// reset may overtake what was queued.
void LeafLink::finish() {
  flush();
  transport_->end_writing();
  const std::span<char> trash = leafs_.loop().receive_buffer(0);
  for (size_t i = 0; i < kDrainReadsMax; ++i) {
    if (transport_->read(trash.data(), trash.size()).kind != io::IoResult::Kind::Ok) break;
  }
}

void LeafLink::on_writable() {
  wants_writable_ = false;
  const io::IoResult sent = output_.flush(*transport_);
  if (sent.kind == io::IoResult::Kind::WouldBlock) {
    wants_writable_ = true;
  } else if (sent.kind == io::IoResult::Kind::Ok) {
    if (write_timer_ != nullptr) write_timer_->stop();
  } else {
    close_later("Write Error");
  }
  update_interest();
}

// What is queued now has this long to leave, even if some of it moves meanwhile.
void LeafLink::start_write_deadline() {
  if (write_timer_ == nullptr) {
    write_timer_ = std::make_unique<io::Timer>(leafs_.loop(), [this] { on_write_deadline(); });
  }
  if (write_timer_->is_armed()) return;
  write_mark_ = output_.total();
  write_timer_->start(leafs_.options().write_deadline.value_or(leafs_.settings().write_deadline));
}

void LeafLink::on_write_deadline() {
  if (output_.empty()) return;
  if (output_.total() - output_.pending() >= write_mark_) return start_write_deadline();
  ++leafs_.shard().stats().slow_consumers;
  close_later("Slow Consumer (Write Deadline)");
}

// --- interest --------------------------------------------------------------------------------

// Who here wants something is told to the other side, but not what came from there, and to a hub
// only what is wanted below it.
bool LeafLink::wants_interest_of(const Subscription& which, std::string_view pattern) const {
  const bool is_loop_subject = pattern.starts_with(kLoopSubjectPrefix);
  if (which.kind == Subscription::Kind::Leaf) {
    const LeafLink& other = *which.leaf;
    if (&other == this || is_isolated_) return false;
    if (!remote_cluster_.empty() && other.remote_cluster_ == remote_cluster_) return false;
    if (is_spoke_ && other.is_spoke_ && !is_loop_subject) return false;
  }
  return is_loop_subject || announced_.allows_interest(pattern);
}

void LeafLink::on_interest_changed(std::string_view pattern, std::string_view queue,
                                   const Subscription& which, int64_t change) {
  if (state_ != State::Open || !wants_interest_of(which, pattern)) return;
  line_.clear();
  interest_.change(pattern, queue, change, line_);
  if (line_.empty()) return;
  trace("->>", std::string_view(line_).substr(0, line_.size() - 2));
  send_text(line_);
}

void LeafLink::announce_everything() {
  std::string lines;
  const auto add = [&](const subject::Subscriber& subscriber, std::string_view pattern,
                       std::string_view queue) {
    const auto& subscription = static_cast<const Subscription&>(subscriber);
    if (!wants_interest_of(subscription, pattern)) return;
    const bool is_one = subscription.kind != Subscription::Kind::OtherLoop &&
                        subscription.kind != Subscription::Kind::Leaf;
    interest_.add(pattern, queue, is_one ? 1 : static_cast<int64_t>(subscription.delivered));
  };
  account_->interest().for_each([&](const subject::Interest& interest) {
    for (const subject::Subscriber* each : interest.subscribers()) {
      add(*each, interest.pattern(), {});
    }
    for (const subject::QueueGroup* group = interest.first_group(); group != nullptr;
         group = group->next()) {
      for (const subject::Subscriber* each : group->members()) {
        add(*each, interest.pattern(), group->name());
      }
    }
  });
  // What a mapping takes is wanted, whoever gets it then.
  if (account_->routes() != nullptr) {
    for (const std::string& source : account_->routes()->mapping_sources()) {
      if (announced_.allows_interest(source)) interest_.add(source, {}, 1);
    }
  }
  interest_.add(leafs_.loop_subject(*account_), {}, 1);
  interest_.write_all(lines);
  send_text(lines);
}

std::vector<std::string> LeafLink::subscription_list() const {
  std::vector<std::string> out;
  for (const auto& [key, subscription] : subscriptions_) {
    out.emplace_back(subscription->pattern());
  }
  return out;
}

// --- time ------------------------------------------------------------------------------------

void LeafLink::on_timer() {
  switch (state_) {
    case State::AwaitingHello: return end_hello(false);
    case State::Handshaking: return fail_handshake("timeout");
    case State::AwaitingInfo:
      leafs_.log().error(log_name() + " - Leafnode remote did not send INFO in time");
      return close_later("Read Error");
    case State::AwaitingAnswer:
      return close_later("Stale Connection", "Stale Leaf Node Connection - Closing");
    case State::AwaitingConnect:
    case State::Authenticating:
      ++leafs_.shard().stats().auth_errors;
      leafs_.log().info(log_name() + " - Leafnode did not authenticate in time");
      return close_later("Authentication Timeout", "Authentication Timeout");
    case State::Open: return on_ping_due();
    case State::Closed: return;
  }
}

// The first PING goes out at once after the start, the others at their interval whatever else is
// sent: a peer may not know otherwise that the link lives.
void LeafLink::on_ping_due() {
  const Settings& settings = leafs_.settings();
  const MonotonicTime now = leafs_.loop().now();
  if (now - last_input_ < settings.ping_interval) pings_out_ = 0;
  if (pings_out_ + 1U > settings.ping_max) {
    ++leafs_.shard().stats().stale_connections;
    return close_later("Stale Connection", "Stale Connection");
  }
  ++pings_out_;
  ping_sent_ = leafs_.loop().clock().now();
  trace("->>", "PING");
  send_text(protocol::kPing);
  timer_.start(settings.ping_interval);
}

void LeafLink::handle_pong() {
  pings_out_ = 0;
  if (ping_sent_ == MonotonicTime()) return;
  round_trip_ = std::max(leafs_.loop().clock().now() - ping_sent_, Duration(1));
}

}  // namespace brokkr::broker
