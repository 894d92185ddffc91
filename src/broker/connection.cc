#include "broker/connection.h"

#include <algorithm>

#include "auth/authenticator.h"
#include "auth/permissions.h"
#include "base/bytes.h"
#include "broker/connection_tls.h"
#include "broker/nonce.h"
#include "broker/shard.h"
#include "broker/turn_budget.h"
#include "protocol/encode.h"
#include "protocol/info.h"

namespace brokkr::broker {
namespace {

// A partial message at least this long is read straight into its own buffer instead of being copied
// in front of every read.
constexpr size_t kReadDirectMin = 64 << 10;
// The least room made for the rest of a long message. It grows with what has come, so that a promise
// of a long message costs nothing.
constexpr size_t kReadDirectRoom = 16 << 10;
constexpr size_t kReadDirectMax = 256 << 10;
// Input buffers larger than this are given back when they run empty.
constexpr size_t kInputKeepMax = 4 << 10;
// The round-trip time is measured again after this long, even on a busy connection.
constexpr Duration kRoundTripEvery = std::chrono::hours(1);

}  // namespace

// Handles the rest of the input when the loop comes round again.
struct Connection::Resumption final : io::Task {
  explicit Resumption(Connection& owner) : connection(owner) {}
  void run() override {
    Shard& shard = connection.shard_;
    connection.resume_input();
    shard.sweep();  // may destroy the connection, and this
  }
  Connection& connection;
};

std::string_view to_string(CloseReason reason) {
  switch (reason) {
    case CloseReason::ClientClosed: return "Client Closed";
    case CloseReason::AuthenticationTimeout: return "Authentication Timeout";
    case CloseReason::AuthenticationFailure: return "Authentication Failure";
    case CloseReason::SlowConsumerPending: return "Slow Consumer (Pending Bytes)";
    case CloseReason::SlowConsumerDeadline: return "Slow Consumer (Write Deadline)";
    case CloseReason::WriteError: return "Write Error";
    case CloseReason::ReadError: return "Read Error";
    case CloseReason::ParseError: return "Parse Error";
    case CloseReason::StaleConnection: return "Stale Connection";
    case CloseReason::ProtocolViolation: return "Protocol Violation";
    case CloseReason::BadClientProtocolVersion: return "Bad Client Protocol Version";
    case CloseReason::MaxPayloadExceeded: return "Maximum Message Payload Exceeded";
    case CloseReason::MaxControlLineExceeded: return "Maximum Control Line Exceeded";
    case CloseReason::MaxConnectionsExceeded: return "Maximum Connections Exceeded";
    case CloseReason::MissingAccount: return "Missing Account";
    case CloseReason::AuthenticationExpired: return "Authentication Expired";
    case CloseReason::Kicked: return "Kicked";
    case CloseReason::ServerShutdown: return "Server Shutdown";
    case CloseReason::NoRespondersRequiresHeaders: return "No Responders Requires Headers";
    case CloseReason::AccountConnectionsExceeded: return "Maximum Account Connections Exceeded";
    case CloseReason::Revocation: return "Credentials Revoked";
    case CloseReason::TlsHandshakeError: return "TLS Handshake Failure";
  }
  return "Unknown";
}

Connection::Connection(Shard& shard, uint64_t id, std::unique_ptr<io::Transport> transport,
                       Origin origin)
    : shard_(shard),
      id_(id),
      transport_(std::move(transport)),
      origin_(std::move(origin)),
      output_(shard.chunks()),
      account_(&shard.global_account()),
      timer_(shard.loop(), [this] { on_timer(); }),
      last_input_(shard.loop().now()),
      start_time_(shard.loop().clock().wall_now()),
      last_activity_(start_time_) {}

Connection::~Connection() {
  subscriptions_.for_each([this](Subscription& subscription) {
    discount_subscription(subscription);
    if (subscription.is_added()) shard_.remove_interest(*account_, subscription);
    delete &subscription;
  });
  leave_account();
}

std::string Connection::shown_user() const {
  if (user_ != nullptr && !user_->nkey.empty() && !user_->is_from_callout) return user_->nkey;
  if (user_ != nullptr && !user_->name.empty()) return user_->name;
  if (!connect_.user.empty()) return connect_.user;
  return connect_.auth_token.empty() ? "" : "[REDACTED]";
}

void Connection::start(bool is_refused) {
  is_refused_ = is_refused;
  if (type() != ConnectionType::InProcess && shard_.authenticator()->needs_nonce()) {
    nonce_ = make_nonce();
  }
  const auto& tls = shard_.settings().tls;
  if (type() != ConnectionType::Tcp || tls == nullptr || is_refused) return open_stream(true);
  tls_start_ = std::make_unique<TlsStart>(*this, tls);
  tls_start_->begin();
}

// What runs inside the server's own process is the server's.
bool Connection::needs_credentials() const {
  return type() != ConnectionType::InProcess && shard_.authenticator()->is_required(connection_type_name(type()));
}

void Connection::send_async_info() {
  if (connect_.protocol < 1 || !connect_received_) return;
  send_text(protocol::make_info_line(shard_.info_for(*this, false)));
}

bool Connection::send_lame_duck_info() {
  if (connect_.protocol < 1 || !sent_connect_info_) return false;
  protocol::ServerInfo info = shard_.info_for(*this, true);
  info.lame_duck_mode = true;
  send_text(protocol::make_info_line(info));
  return true;
}

void Connection::mark_dirty() {
  if (is_dirty_) return;
  is_dirty_ = true;
  shard_.put_dirty(*this);
}

void Connection::send_text(std::string_view text) {
  output_.append(text);
  mark_dirty();
  check_pending();
}

void Connection::send_error(std::string_view text) {
  std::string line = "-ERR '";
  line.append(text).append("'\r\n");
  if (shard_.log().is_on(LogLevel::Trace)) trace("->>", "-ERR " + std::string(text));
  send_text(line);
}

void Connection::send_ok() {
  if (!connect_.verbose) return;
  trace("->>", "OK");
  send_text(protocol::kOk);
}

void Connection::close_later(CloseReason reason, std::string_view error_text) {
  if (state_ == State::Closed) return;
  if (!error_text.empty()) send_error(error_text);
  if (state_ == State::Closed) return;  // the error was more than it may have pending
  state_ = State::Closed;
  close_reason_ = reason;
  shard_.put_closing(*this);
}

void Connection::on_queued(size_t payload_bytes) {
  ++traffic_.out_msgs;
  traffic_.out_bytes += payload_bytes;
  on_told();
}

void Connection::on_told() {
  mark_dirty();
  check_pending();
}

void Connection::check_pending() {
  if (output_.pending() <= shard_.settings().max_pending || state_ == State::Closed) return;
  ++shard_.stats().slow_consumers;
  close_later(CloseReason::SlowConsumerPending);
}

// --- reading ---------------------------------------------------------------------------------

bool Connection::is_reading_paused() const {
  return state_ == State::Authenticating || state_ == State::Closed || awaited_version_ != 0 ||
         (stall_timer_ != nullptr && stall_timer_->is_armed()) ||
         (resumption_ != nullptr && resumption_->is_scheduled());
}

void Connection::update_interest() {
  if (state_ == State::Closed) return;
  transport_->listen(this, !is_reading_paused(), wants_writable_);
}

void Connection::on_readable() {
  last_input_ = shard_.loop().now();
  const size_t missing = input_needed_ - std::min(input_needed_, input_.size());
  if (missing > 0 && std::max(missing, input_.size()) >= kReadDirectMin) {
    read_into_partial();
  } else {
    const std::span<char> buffer = shard_.loop().receive_buffer(input_.size());
    std::copy(input_.begin(), input_.end(), buffer.begin());
    const size_t kept = input_.size();
    const io::IoResult got = transport_->read(buffer.data() + kept, buffer.size() - kept);
    if (got.kind == io::IoResult::Kind::Ok) {
      consume({buffer.data(), kept + got.bytes}, false);
    } else if (got.kind != io::IoResult::Kind::WouldBlock) {
      close_later(got.kind == io::IoResult::Kind::Closed ? CloseReason::ClientClosed
                                                         : CloseReason::ReadError);
    }
  }
  shard_.flush_if_large();
  shard_.sweep();  // may destroy this connection
}

// The rest of something long goes where its beginning is: exactly to its end when that is far away.
void Connection::read_into_partial() {
  const size_t kept = input_.size();
  const size_t missing = input_needed_ - kept;
  const size_t wanted = missing < kReadDirectMin
                            ? kReadDirectRoom
                            : std::min(missing, std::clamp(kept, kReadDirectRoom, kReadDirectMax));
  input_.resize(kept + wanted);
  const io::IoResult got = transport_->read(input_.data() + kept, wanted);
  input_.resize(kept + got.bytes);
  if (got.kind == io::IoResult::Kind::Closed || got.kind == io::IoResult::Kind::Failed) {
    return close_later(got.kind == io::IoResult::Kind::Closed ? CloseReason::ClientClosed
                                                              : CloseReason::ReadError);
  }
  if (input_.size() >= input_needed_) consume(input_, true);
}

// Handles the commands in `input`, which is `input_` itself when `is_partial`.
void Connection::consume(std::string_view input, bool is_partial) {
  protocol::Command command;
  protocol::ClientParser& parser = shard_.parser();
  input_needed_ = 0;
  if (state_ == State::AwaitingConnect && needs_credentials() &&
      to_lower(input.front()) != 'c') {
    // Nothing but CONNECT may come first; not even the rest of the line is waited for.
    ++shard_.stats().auth_errors;
    return close_later(CloseReason::ProtocolViolation, "Authorization Violation");
  }
  TurnBudget budget(shard_.loop().clock());
  while (!input.empty() && !is_reading_paused()) {
    const protocol::ParseStatus status = parser.next(input, command);
    if (status == protocol::ParseStatus::Partial) {
      input_needed_ = parser.bytes_needed();
      break;
    }
    if (status == protocol::ParseStatus::Error) return fail_parse(parser.error());
    if (!is_held_ && shard_.log().is_on(LogLevel::Trace)) trace_command(command, input);
    is_held_ = !handle(command);
    if (is_held_) break;  // comes again when the reason is gone
    input.remove_prefix(command.size);
    shard_.flush_if_flooded();
    if (!input.empty() && budget.is_spent()) resume_next_turn();
  }
  if (state_ == State::Closed) return;
  keep_rest(input, is_partial);
  if (is_reading_paused()) update_interest();
}

void Connection::keep_rest(std::string_view rest, bool is_partial) {
  if (is_partial) {
    input_.erase(0, input_.size() - rest.size());
  } else {
    input_.assign(rest);
  }
  // The last read may bring more than the end of what is missing; growing then would double it all.
  const size_t wanted = input_needed_ + kReadDirectRoom;
  if (input_.capacity() < wanted && input_needed_ >= kReadDirectMin) input_.reserve(wanted);
  if (input_.empty() && input_.capacity() > kInputKeepMax) std::string().swap(input_);
}

// Goes on with what was kept while reading was paused.
void Connection::resume_input() {
  if (state_ == State::Closed || is_reading_paused()) return;
  if (!input_.empty() && input_.size() >= input_needed_) {
    std::string input;
    input.swap(input_);
    consume(input, false);
  }
  update_interest();
  shard_.flush_if_large();
}

void Connection::resume_next_turn() {
  if (resumption_ == nullptr) resumption_ = std::make_unique<Resumption>(*this);
  shard_.loop().schedule(*resumption_);
}

void Connection::fail_parse(protocol::ParseError error) {
  CloseReason reason = CloseReason::ProtocolViolation;
  if (error == protocol::ParseError::PayloadTooLarge) reason = CloseReason::MaxPayloadExceeded;
  if (error == protocol::ParseError::ControlLineTooLong) reason = CloseReason::MaxControlLineExceeded;
  close_later(reason, protocol::error_text(error));
}

void Connection::stall(Duration how_long) {
  if (stall_timer_ == nullptr) {
    stall_timer_ = std::make_unique<io::Timer>(shard_.loop(), [this] {
      resume_input();
      shard_.sweep();
    });
  }
  if (stall_timer_->is_armed()) return;
  ++stalls_;
  ++shard_.stats().stalled_clients;
  stall_timer_->start(how_long);
}

// --- writing ---------------------------------------------------------------------------------

void Connection::flush() {
  is_dirty_ = false;
  if (output_.empty() || (wants_writable_ && state_ != State::Closed)) return;
  const io::IoResult sent = output_.flush(*transport_);
  if (sent.kind == io::IoResult::Kind::Ok) return;
  if (sent.kind != io::IoResult::Kind::WouldBlock) return close_later(CloseReason::WriteError);
  if (state_ == State::Closed) return;
  wants_writable_ = true;
  start_write_deadline();
  update_interest();
}

void Connection::on_writable() {
  wants_writable_ = false;
  const io::IoResult sent = output_.flush(*transport_);
  if (sent.kind == io::IoResult::Kind::WouldBlock) {
    wants_writable_ = true;
  } else if (sent.kind == io::IoResult::Kind::Ok) {
    if (write_timer_ != nullptr) write_timer_->stop();
  } else {
    close_later(CloseReason::WriteError);
  }
  update_interest();
  shard_.sweep();  // may destroy this connection
}

// What is queued now has this long to leave, even if some of it moves meanwhile.
void Connection::start_write_deadline() {
  if (write_timer_ == nullptr) {
    write_timer_ = std::make_unique<io::Timer>(shard_.loop(), [this] { on_write_deadline(); });
  }
  if (write_timer_->is_armed()) return;
  write_mark_ = output_.total();
  write_timer_->start(shard_.settings().write_deadline);
}

void Connection::on_write_deadline() {
  if (output_.empty()) return;
  if (output_.total() - output_.pending() >= write_mark_) return start_write_deadline();
  ++shard_.stats().slow_consumers;
  close_later(CloseReason::SlowConsumerDeadline);
  shard_.sweep();
}

// --- time ------------------------------------------------------------------------------------

void Connection::on_timer() {
  const bool awaits_auth = needs_credentials() && state_ != State::Open;
  if (awaits_auth && state_ == State::Authenticating) {
    // The client has done its part. What it waits for answers in any case.
    timer_.start(shard_.settings().auth_timeout);
  } else if (awaits_auth) {
    ++shard_.stats().auth_errors;
    close_later(CloseReason::AuthenticationTimeout, "Authentication Timeout");
  } else {
    on_ping_due();
  }
  shard_.sweep();
}

void Connection::on_ping_due() {
  const Settings& settings = shard_.settings();
  const MonotonicTime now = shard_.loop().now();
  const bool needs_round_trip =
      connect_received_ && (ping_sent_ == MonotonicTime() || now - ping_sent_ > kRoundTripEvery);
  const bool is_quiet = now - last_input_ >= ping_interval();
  timer_.start(ping_interval());
  if (pings_out_ == 0 && !is_quiet && !needs_round_trip) return;
  if (pings_out_ > 0 && !is_quiet) pings_out_ = 0;
  if (pings_out_ + 1U > settings.ping_max) {
    ++shard_.stats().stale_connections;
    return close_later(CloseReason::StaleConnection, "Stale Connection");
  }
  ++pings_out_;
  ping_sent_ = now;
  trace("->>", "PING");
  send_text(protocol::kPing);
}

void Connection::handle_pong() {
  pings_out_ = 0;
  if (ping_sent_ != MonotonicTime()) {
    round_trip_ = std::max(shard_.loop().clock().now() - ping_sent_, Duration(1));
  }
}

}  // namespace brokkr::broker
