// How a leaf link gets its TLS: nats-core.md sections 3.5 and 5.1. The one side sends INFO in plain
// text first, or both begin with the handshake.
#include "broker/leaf/dialer.h"
#include "broker/leaf/leafs.h"
#include "broker/leaf/link.h"
#include "broker/tls_rules.h"
#include "io/tls.h"

namespace brokkr::broker {

// Of an accepted link.
void LeafLink::start_accepted() {
  const std::shared_ptr<const TlsRules>& rules = leafs_.tls_rules();
  const bool has_tls = rules != nullptr && origin_.tls == nullptr && origin_.websocket == nullptr;
  if (has_tls && rules->handshake_first) {
    if (rules->handshake_first_fallback == Duration()) return handshake_as_server(true);
    state_ = State::AwaitingHello;
    timer_.start(rules->handshake_first_fallback);
    return transport_->listen(this, true, false);
  }
  send_info(false);
  if (has_tls) return handshake_as_server(false);
  await_connect();
}

void LeafLink::await_connect() {
  state_ = State::AwaitingConnect;
  timer_.start(leafs_.options().auth_timeout.value_or(leafs_.settings().auth_timeout));
  update_interest();
}

// The first byte came, or did not.
void LeafLink::end_hello(bool has_begun) {
  if (has_begun) return handshake_as_server(true);
  send_info(false);
  handshake_as_server(false);
}

void LeafLink::handshake_as_server(bool is_first) {
  const std::shared_ptr<const TlsRules> rules = leafs_.tls_rules();
  if (rules->rate != nullptr &&
      rules->rate->ask(leafs_.loop().now()) != HandshakeRate::Answer::Allowed) {
    return close_later("Maximum Connections Exceeded");
  }
  flush();
  state_ = State::Handshaking;
  timer_.start(rules->timeout);
  auto wrapped = io::wrap_tls_server(leafs_.loop(), std::move(transport_), rules->context);
  io::TlsTransport& tls = *wrapped;
  transport_ = std::move(wrapped);
  tls.start_handshake([this, &tls, rules, is_first](const Status& done) {
    if (state_ == State::Closed) return;
    if (!done) return fail_handshake(done.error().text);
    origin_.tls = keep_facts(tls.facts(), *rules, is_first);
    if (is_first) send_info(false);
    await_connect();
  });
}

// Of a dialled link; `then` is run inside the TLS.
void LeafLink::handshake_as_client(Callback<void()> then) {
  state_ = State::Handshaking;
  timer_.start(dialer_->tls_timeout());
  auto wrapped = io::wrap_tls_client(leafs_.loop(), std::move(transport_), dialer_->tls(),
                                     dialer_->url().address.host);
  io::TlsTransport& tls = *wrapped;
  transport_ = std::move(wrapped);
  tls.start_handshake([this, &tls, then = std::move(then)](const Status& done) {
    if (state_ == State::Closed) return;
    if (!done) return fail_handshake(done.error().text);
    TlsRules rules;
    rules.verify = true;
    origin_.tls = keep_facts(tls.facts(), rules, false);
    then();
    update_interest();
  });
}

void LeafLink::fail_handshake(const std::string& why) {
  leafs_.log().error(log_name() + " - TLS leafnode handshake error: " + why);
  close_later("TLS Handshake Failure");
}

void LeafLink::start_dialled() {
  if (origin_.tls == nullptr && dialer_->wants_tls_first()) {
    return handshake_as_client([this] { await_info(); });
  }
  await_info();
}

void LeafLink::await_info() {
  state_ = State::AwaitingInfo;
  timer_.start(dialer_ == nullptr ? kFirstInfoTimeout : dialer_->first_info_timeout());
  update_interest();
}

// True when INFO is to be looked at again inside the TLS that begins now. What came behind it in plain
// text is not trusted.
bool LeafLink::starts_tls(const protocol::LeafInfo& info) {
  if (origin_.tls != nullptr || origin_.type == ConnectionType::LeafWebSocket) return false;
  if (!info.tls_required && !dialer_->wants_tls()) return false;
  drops_rest_ = true;
  handshake_as_client([this, info] { handle_first_info(info); });
  return true;
}

}  // namespace brokkr::broker
