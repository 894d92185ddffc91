// Bytes in and out of a connection, and what the server's lines mean.

#include <cstring>

#include "base/bytes.h"
#include "base/hash.h"
#include "client/core.h"
#include "client/credentials.h"
#include "protocol/connect_options.h"
#include "protocol/encode.h"
#include "protocol/info.h"

namespace brokkr::client {
namespace {

// Output beyond this leaves at once instead of at the turn's end.
constexpr size_t kEarlySendBytes = 256 << 10;
// Reads in one turn, so that one connection does not starve the others of its loop.
constexpr int kReadsPerTurn = 4;

Error stream_error(const io::IoResult& result, const std::string& server) {
  if (result.kind == io::IoResult::Kind::Closed) {
    return {Errc::Closed, server + " closed the connection"};
  }
  return system_error(server.c_str(), result.error);
}

// The text after `marker` up to the next quote.
std::string_view quoted_after(std::string_view text, std::string_view marker) {
  const size_t at = text.find(marker);
  if (at == std::string_view::npos) return {};
  text.remove_prefix(at + marker.size());
  return text.substr(0, text.find('"'));
}

bool has_prefix_of(std::string_view text, std::initializer_list<std::string_view> prefixes) {
  for (const std::string_view prefix : prefixes) {
    if (text.starts_with(prefix)) return true;
  }
  return false;
}

}  // namespace

void Core::on_readable() {
  const Entry entry(*this);
  const uint64_t stream = stream_;
  for (int i = 0; i < kReadsPerTurn && stream_ == stream && transport_ != nullptr; ++i) {
    if (!read_some()) return;
  }
}

bool Core::read_some() {
  // A command much longer than what is here is collected in its own buffer, so that its start is
  // not copied with every read; a short rest goes in front of the shared buffer.
  if (partial_needed_ > partial_.size() + kEarlySendBytes) {
    const size_t held = partial_.size();
    partial_.resize(partial_needed_);
    const io::IoResult result = transport_->read(partial_.data() + held, partial_needed_ - held);
    partial_.resize(held + result.bytes);
    return after_read(result);
  }
  const size_t held = partial_.size();
  const std::span<char> buffer = loop_.receive_buffer(held);
  const io::IoResult result = transport_->read(buffer.data() + held, buffer.size() - held);
  if (result.kind != io::IoResult::Kind::Ok) return after_read(result);
  std::memcpy(buffer.data(), partial_.data(), held);
  const std::string_view input(buffer.data(), held + result.bytes);
  if (input.size() < partial_needed_) {
    partial_.append(input.substr(held));
    return true;
  }
  partial_.clear();
  partial_needed_ = 0;
  const uint64_t stream = stream_;
  const size_t consumed = parse(input);
  if (stream_ == stream) partial_.assign(input.substr(consumed));
  return true;
}

bool Core::after_read(const io::IoResult& result) {
  if (result.kind == io::IoResult::Kind::WouldBlock) return false;
  if (result.kind != io::IoResult::Kind::Ok) {
    // A server that refuses our certificate says so only when the handshake is over for us.
    if (tls_ != nullptr && !tls_->failure().empty()) {
      lose({Errc::Closed, server_text() + ": tls: " + tls_->failure()});
      return false;
    }
    lose(stream_error(result, server_text()));
    return false;
  }
  if (partial_.size() < partial_needed_) return true;
  const std::string input = std::move(partial_);
  partial_.clear();
  partial_needed_ = 0;
  const uint64_t stream = stream_;
  const size_t consumed = parse(input);
  if (stream_ == stream) partial_.assign(input, consumed);
  return true;
}

size_t Core::parse(std::string_view input) {
  const uint64_t stream = stream_;
  const size_t whole = input.size();
  protocol::ServerCommand command;
  while (!input.empty()) {
    switch (parser_.next(input, command)) {
      case protocol::ParseStatus::Command:
        handle(command);
        if (stream_ != stream) return whole;
        input.remove_prefix(command.size);
        break;
      case protocol::ParseStatus::Partial:
        partial_needed_ = parser_.bytes_needed();
        return whole - input.size();
      case protocol::ParseStatus::Error:
        lose({Errc::Syntax, server_text() + " sent what is not the NATS protocol"});
        return whole;
    }
  }
  return whole;
}

void Core::handle(const protocol::ServerCommand& command) {
  switch (command.verb) {
    case protocol::ServerVerb::Msg:
    case protocol::ServerVerb::Hmsg: return deliver(command);
    case protocol::ServerVerb::Ping:
      return (state_ == State::Handshake ? greeting_ : output_).append(protocol::kPong);
    case protocol::ServerVerb::Pong: return on_pong();
    case protocol::ServerVerb::Ok: return;
    case protocol::ServerVerb::Err: return on_error_line(command.text);
    case protocol::ServerVerb::Info: return on_info(command.text);
  }
}

void Core::on_info(std::string_view json) {
  auto info = protocol::parse_info(json);
  if (!info) return lose({Errc::Syntax, server_text() + " sent a bad INFO: " + info.error().text});
  const bool was_lame = info_.lame_duck_mode && has_info_;
  info_ = std::move(*info);
  if (!options_.ignore_discovered_servers) learn_servers();
  if (has_info_) {
    if (info_.lame_duck_mode && !was_lame && events_.lame_duck) events_.lame_duck();
    return;
  }
  has_info_ = true;
  if (tls_ != nullptr) return send_connect();
  if (wants_tls() && !info_.tls_required && !info_.tls_available) {
    return attempt_failed({Errc::Unsupported, server_text() + ": secure connection not available"},
                          Failure::Network);
  }
  if (info_.tls_required || wants_tls()) return start_tls();
  send_connect();
}

void Core::send_connect() {
  const ServerUrl& url = servers_[server_].url;
  protocol::ConnectOptions connect;
  connect.verbose = options_.verbose;
  connect.pedantic = options_.pedantic;
  connect.echo = options_.echo;
  connect.headers = info_.headers;
  connect.no_responders = info_.headers;
  connect.protocol = 1;
  connect.name = options_.name;
  connect.lang = "brokkr-c++";
  connect.version = "0.1.0";
  connect.tls_required = tls_ != nullptr;
  // Credentials in the URL win: they belong to that one server.
  const bool has_own = !url.user.empty() || !url.token.empty();
  connect.user = has_own ? url.user : options_.user;
  connect.pass = has_own ? url.password : options_.password;
  connect.auth_token = has_own ? url.token : options_.token;
  if (Status proof = add_credentials(options_, info_.nonce, connect); !proof) {
    return attempt_failed(proof.error(), Failure::Refused);
  }
  greeting_.append("CONNECT " + protocol::make_connect(connect) + "\r\n");
  greeting_.append(protocol::kPing);
}

void Core::learn_servers() {
  if (options_.make_transport) return;
  for (const std::string& text : info_.connect_urls) {
    auto url = parse_server_url(text);
    if (!url) continue;
    const std::string known = url->address.text();
    bool is_known = false;
    for (const KnownServer& server : servers_) is_known |= server.url.address.text() == known;
    if (!is_known) servers_.push_back({std::move(*url), true});
  }
}

void Core::on_pong() {
  if (state_ == State::Handshake) return become_connected();
  keep_alives_ = 0;
  if (pings_.empty()) return;
  const Ping ping = std::move(pings_.front());
  pings_.pop_front();
  if (ping.done) ping.done(Status());
}

void Core::on_error_line(std::string_view text) {
  const std::string lower = to_lower(text);
  const Error error{Errc::Unavailable, std::string(text)};
  const bool is_refusal =
      has_prefix_of(lower, {"authorization violation", "authentication timeout",
                            "user authentication expired", "user authentication revoked",
                            "account authentication expired"});
  if (state_ == State::Handshake) {
    return attempt_failed({is_refusal ? Errc::PermissionDenied : Errc::Unavailable, error.text},
                          is_refusal ? Failure::Refused : Failure::Network);
  }
  if (lower.starts_with("permissions violation")) {
    return on_permission_error(text, {Errc::PermissionDenied, error.text});
  }
  if (has_prefix_of(lower, {"invalid subject", "invalid publish subject"})) {
    return report({Errc::InvalidSubject, error.text});
  }
  if (lower.starts_with("maximum subscriptions exceeded")) {
    return report({Errc::LimitExceeded, error.text});
  }
  if (is_refusal) {
    servers_[server_].has_refused_us = true;
    return lose({Errc::PermissionDenied, error.text});
  }
  // Whatever else it is, the server closes the connection after it.
  lose(error);
}

void Core::on_permission_error(std::string_view text, const Error& error) {
  const uint64_t stream = stream_;
  if (const auto subject = quoted_after(text, "Publish to \""); !subject.empty()) {
    fail_requests_to(hash_bytes(subject), error);
  } else if (const auto denied = quoted_after(text, "Subscription to \""); !denied.empty()) {
    const std::string_view queue = quoted_after(text, "using queue \"");
    for (const auto& [sid, subscription] : subscriptions_) {
      if (subscription->subject_ != denied || subscription->queue_ != queue) continue;
      if (!subscription->on_error_) break;
      bool is_destroyed = false;
      Subscription* const target = subscription;
      target->destroyed_ = &is_destroyed;
      auto handler = std::move(target->on_error_);
      handler(error);
      if (!is_destroyed) {
        target->destroyed_ = nullptr;
        target->on_error_ = std::move(handler);
      }
      break;
    }
  }
  if (stream_ == stream) report(error);
}

void Core::report(const Error& error) {
  if (events_.error && !is_abandoned_) events_.error(error);
}

void Core::deliver(const protocol::ServerCommand& command) {
  const auto sid = parse_uint(command.sid);
  if (!sid) return;
  const Message message{command.subject, command.reply, command.headers, command.payload,
                        command.sid};
  ++stats_.in_messages;
  stats_.in_bytes += command.headers.size() + command.payload.size();
  if (*sid == inbox_sid_) return on_reply(message);
  const auto found = subscriptions_.find(*sid);
  if (found == subscriptions_.end()) return;  // on its way when we unsubscribed
  Subscription& subscription = *found->second;
  ++subscription.delivered_;
  if (subscription.messages_max_ != 0 && subscription.delivered_ >= subscription.messages_max_) {
    subscription.core_ = nullptr;
    subscriptions_.erase(found);
  }
  // The handler may destroy its subscription, so it runs from here and goes back only if that
  // still lives.
  bool is_destroyed = false;
  subscription.destroyed_ = &is_destroyed;
  MessageHandler handler = std::move(subscription.handler_);
  handler(message);
  if (is_destroyed) return;
  subscription.destroyed_ = nullptr;
  subscription.handler_ = std::move(handler);
}

bool Core::has_work() const {
  if (is_write_broken_) return true;
  if (transport_ == nullptr || is_write_blocked_) return false;
  return !greeting_.empty() || (!output_.empty() && state_ != State::Handshake);
}

void Core::on_turn_end() {
  const Entry entry(*this);
  write_some();
  if (is_write_broken_) {
    is_write_broken_ = false;
    // What the server said before it closed, such as -ERR, is read first; the read also finds the
    // end of the stream.
    on_readable();
    if (transport_ != nullptr) lose({Errc::Closed, server_text() + " closed the connection"});
    return;
  }
  if (has_refused_publish_ && output_.size() <= options_.pending_bytes_max / 2) {
    has_refused_publish_ = false;
    if (events_.drained_output) events_.drained_output();
  }
}

void Core::write_some() {
  if (transport_ == nullptr || is_write_blocked_ || is_write_broken_) return;
  for (Output* out : {&greeting_, &output_}) {
    if (out == &output_ && state_ != State::Connected && state_ != State::Draining) return;
    while (!out->empty()) {
      const std::string_view bytes = out->view();
      const io::IoResult result = transport_->write(bytes.data(), bytes.size());
      if (result.kind == io::IoResult::Kind::Ok) {
        out->consume(result.bytes);
      } else if (result.kind == io::IoResult::Kind::WouldBlock) {
        is_write_blocked_ = true;
        transport_->listen(this, true, true);
        return;
      } else {
        is_write_broken_ = true;
        return;
      }
    }
  }
}

void Core::on_writable() {
  const Entry entry(*this);
  is_write_blocked_ = false;
  transport_->listen(this, true, false);
  on_turn_end();
}

Status Core::publish(std::string_view subject, std::string_view payload,
                     const PublishOptions& options) {
  if (state_ == State::Closed) return last_error_.code == Errc::Closed
                                          ? last_error_
                                          : Error{Errc::Closed, "closed: " + last_error_.text};
  if (!is_plain_word(subject) || (!options.reply.empty() && !is_plain_word(options.reply))) {
    return Error{Errc::InvalidSubject, "invalid subject \"" + std::string(subject) + "\""};
  }
  const size_t size = options.headers.size() + payload.size();
  if (has_info_ && info_.max_payload > 0 && size > static_cast<uint64_t>(info_.max_payload)) {
    return Error{Errc::LimitExceeded, "message of " + std::to_string(size) +
                                          " bytes exceeds the server's limit of " +
                                          std::to_string(info_.max_payload)};
  }
  if (!options.headers.empty() && has_info_ && !info_.headers) {
    return Error{Errc::Unsupported, "the server does not support headers"};
  }
  const bool is_live = state_ == State::Connected || state_ == State::Draining;
  const size_t needed = protocol::message_line_size_max(subject, {}, options.reply) + size + 2;
  const size_t limit = is_live ? options_.pending_bytes_max : options_.reconnect_buffer_bytes_max;
  if (output_.size() + needed > limit) {
    has_refused_publish_ = true;
    return Error{Errc::LimitExceeded,
                 std::to_string(output_.size()) + " bytes wait to be sent, the limit is " +
                     std::to_string(limit)};
  }
  char* at = output_.make_room(needed);
  at = options.headers.empty()
           ? protocol::write_pub_line(at, subject, options.reply, size)
           : protocol::write_hpub_line(at, subject, options.reply, options.headers.size(), size);
  at = protocol::write_text(at, options.headers);
  at = protocol::write_text(at, payload);
  output_.commit(protocol::write_text(at, protocol::kCrlf));
  ++stats_.out_messages;
  stats_.out_bytes += size;
  if (output_.size() >= kEarlySendBytes) write_some();
  return {};
}

void Core::write_sub(Output& out, std::string_view subject, std::string_view queue, uint64_t sid) {
  std::string line = "SUB ";
  line += subject;
  if (!queue.empty()) (line += ' ') += queue;
  line += ' ';
  append_uint(line, sid);
  out.append(line += "\r\n");
}

void Core::write_unsub(Output& out, uint64_t sid, uint64_t messages) {
  std::string line = "UNSUB ";
  append_uint(line, sid);
  if (messages != 0) append_uint(line += ' ', messages);
  out.append(line += "\r\n");
}

}  // namespace brokkr::client
