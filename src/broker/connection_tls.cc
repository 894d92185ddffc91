#include "broker/connection_tls.h"

#include "broker/shard.h"
#include "protocol/info.h"

namespace brokkr::broker {
namespace {

constexpr char kFirstByteOfTls = 0x16;
constexpr std::string_view kTlsRequired = "Secure Connection - TLS Required";
constexpr std::string_view kThrottled =
    "Connection throttling is active. Please try again later.";

}  // namespace

Connection::TlsStart::TlsStart(Connection& connection, std::shared_ptr<const TlsRules> rules)
    : connection_(connection),
      rules_(std::move(rules)),
      timer_(connection.shard_.loop(), [this] { on_time_out(); }) {}

void Connection::TlsStart::begin() {
  is_first_ = rules_->handshake_first;
  if (!is_first_) return send_info_first();
  if (rules_->handshake_first_fallback <= Duration(0)) return begin_handshake({});
  stage_ = Stage::AwaitingHello;
  timer_.start(rules_->handshake_first_fallback);
  connection_.transport_->listen(this, true, false);
}

// INFO in plain text; what follows it may be TLS.
void Connection::TlsStart::send_info_first() {
  is_first_ = false;
  connection_.send_text(protocol::make_info_line(shard().info_for(connection_, false)));
  connection_.flush();
  if (!connection_.is_open()) return;
  if (!rules_->allow_non_tls) return begin_handshake({});
  stage_ = Stage::Sniffing;
  timer_.start(rules_->timeout);
  connection_.transport_->listen(this, true, false);
}

void Connection::TlsStart::on_readable() {
  Shard& owner = shard();
  char byte = 0;
  const io::IoResult got = connection_.transport_->read(&byte, 1);
  if (got.kind == io::IoResult::Kind::WouldBlock) return;
  if (got.kind != io::IoResult::Kind::Ok) {
    connection_.close_later(CloseReason::ClientClosed);
  } else if (stage_ == Stage::Sniffing && byte != kFirstByteOfTls) {
    go_on_without({&byte, 1});  // destroys this
  } else {
    begin_handshake({&byte, 1});
  }
  owner.sweep();  // may destroy the connection, and this
}

void Connection::TlsStart::begin_handshake(std::string_view early) {
  stage_ = Stage::Handshake;
  if (!is_allowed_by_rate()) return;
  timer_.start(rules_->timeout);
  auto wrapped = io::wrap_tls_server(shard().loop(), std::move(connection_.transport_),
                                     rules_->context, early);
  tls_ = wrapped.get();
  connection_.transport_ = std::move(wrapped);
  tls_->start_handshake([this](const Status& done) { on_handshake(done); });
}

bool Connection::TlsStart::is_allowed_by_rate() {
  if (rules_->rate == nullptr) return true;
  const auto answer = rules_->rate->ask(shard().loop().now());
  if (answer == HandshakeRate::Answer::Allowed) return true;
  // One line a second, or the log is the next to suffer.
  refuse(CloseReason::MaxConnectionsExceeded, kThrottled,
         answer == HandshakeRate::Answer::FirstRefused ? LogLevel::Info : LogLevel::Debug,
         "more than " + std::to_string(rules_->rate->a_second()) + " TLS connections a second");
  return false;
}

void Connection::TlsStart::on_handshake(const Status& done) {
  Shard& owner = shard();
  Connection& connection = connection_;
  timer_.stop();
  if (done) {
    connection.origin_.tls = keep_facts(tls_->facts(), *rules_, is_first_);
    if (owner.log().is_on(LogLevel::Debug)) {
      owner.log().debug(connection.log_name() + " - TLS handshake complete, version " +
                        tls_->facts().version + ", cipher suite " + tls_->facts().cipher);
    }
    const bool needs_info = is_first_;
    connection.tls_start_.reset();  // destroys this
    connection.open_stream(needs_info);
  } else if (tls_->is_plain_text()) {
    refuse(CloseReason::TlsHandshakeError, kTlsRequired, LogLevel::Info,
           "TLS handshake error: " + done.error().text);
  } else {
    // Who only looks whether the port is open is nobody that was refused.
    const bool is_probe = done.error().text == "EOF";
    refuse(CloseReason::TlsHandshakeError, {}, is_probe ? LogLevel::Debug : LogLevel::Error,
           "TLS handshake error: " + done.error().text);
  }
  owner.sweep();
}

void Connection::TlsStart::on_time_out() {
  Shard& owner = shard();
  if (stage_ == Stage::AwaitingHello) {
    send_info_first();
  } else if (stage_ == Stage::Sniffing) {
    go_on_without({});  // destroys this
  } else {
    refuse(CloseReason::TlsHandshakeError, kTlsRequired, LogLevel::Info, "TLS handshake timeout");
  }
  owner.sweep();
}

void Connection::TlsStart::go_on_without(std::string_view input) {
  Connection& connection = connection_;
  connection.input_.assign(input);
  connection.tls_start_.reset();  // destroys this
  connection.open_stream(false);
}

// Ends the connection. `answer` goes out in plain text: the other side speaks it, or knows nothing
// yet.
void Connection::TlsStart::refuse(CloseReason reason, std::string_view answer, LogLevel level,
                                  const std::string& why) {
  timer_.stop();
  if (shard().log().is_on(level)) {
    shard().log().write(level, connection_.log_name() + " - " + why);
  }
  if (!answer.empty()) {
    const std::string line = "-ERR '" + std::string(answer) + "'\r\n";
    io::Transport& plain = tls_ == nullptr ? *connection_.transport_ : tls_->inner();
    static_cast<void>(plain.write(line.data(), line.size()));
    plain.end_writing();
    // Unread input would turn the close into a reset, which may overtake the answer.
    const std::span<char> trash = shard().loop().receive_buffer(0);
    static_cast<void>(plain.read(trash.data(), trash.size()));
  }
  connection_.close_later(reason);
}

// The stream is what commands come in by.
void Connection::open_stream(bool with_info) {
  timer_.start(needs_credentials() ? auth_timeout() : ping_interval());
  last_input_ = shard_.loop().now();
  if (with_info) send_text(protocol::make_info_line(shard_.info_for(*this, false)));
  if (!input_.empty()) return resume_input();
  transport_->listen(this, true, wants_writable_);
}

}  // namespace brokkr::broker
