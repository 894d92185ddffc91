#include "client/core.h"

#include <algorithm>

#include "base/hash.h"
#include "protocol/connect_options.h"
#include "protocol/encode.h"

namespace brokkr::client {

Core::Core(const Connection::Deps& deps, Options options, Events events,
           std::vector<KnownServer> servers)
    : loop_(deps.loop),
      resolver_(deps.resolver),
      random_(deps.random),
      options_(std::move(options)),
      events_(std::move(events)),
      nuid_(deps.random),
      servers_(std::move(servers)),
      attempt_timer_(loop_, [this] { attempt(); }),
      handshake_timer_(loop_, [this] { on_handshake_timeout(); }),
      ping_timer_(loop_, [this] { on_ping_interval(); }),
      drain_timer_(loop_, [this] {
        const Entry entry(*this);
        finish_close({Errc::TimedOut, "drain did not end in time"});
      }) {
  if (options_.randomize_servers) {
    for (size_t i = servers_.size(); i > 1; --i) {
      std::swap(servers_[i - 1], servers_[random_.below(i)]);
    }
  }
  loop_.add_hook(io::Phase::Send, *this);
}

Core::~Core() {
  detach_subscriptions();
  loop_.remove_hook(*this);
}

void Core::abandon(std::unique_ptr<Core> core) {
  core->detach_subscriptions();
  core->write_some();
  core->drop_stream();
  core->attempt_timer_.stop();
  core->drain_timer_.stop();
  core->state_ = State::Closed;
  core->pings_.clear();
  for (const auto& request : core->requests_) request->timer.stop();
  core->tell_gone();
  if (core->entries_ == 0) return;
  core->is_abandoned_ = true;
  static_cast<void>(core.release());  // the outermost Entry deletes it
}

void Core::detach_subscriptions() {
  for (const auto& [sid, subscription] : subscriptions_) subscription->core_ = nullptr;
  subscriptions_.clear();
}

std::unique_ptr<ReconnectWatch> Core::watch_reconnects(Callback<void()> handler,
                                                       Callback<void()> on_gone) {
  std::unique_ptr<ReconnectWatch> watch(new ReconnectWatch());
  watch->handler_ = std::move(handler);
  watch->on_gone_ = std::move(on_gone);
  if (state_ == State::Closed) return watch;
  watch->core_ = this;
  reconnect_watches_.push_back(watch.get());
  return watch;
}

void Core::forget(ReconnectWatch& watch) { std::erase(reconnect_watches_, &watch); }

// Handlers may destroy watches: what is still in the list is still there.
void Core::tell_gone() {
  while (!reconnect_watches_.empty()) {
    ReconnectWatch& watch = *reconnect_watches_.back();
    reconnect_watches_.pop_back();
    watch.core_ = nullptr;
    const Callback<void()> on_gone = std::move(watch.on_gone_);
    if (on_gone) on_gone();
  }
}

// A handler may destroy its own watch, others, or the connection.
void Core::tell_reconnect_watches() {
  const auto is_here = [this](ReconnectWatch* watch) {
    return std::find(reconnect_watches_.begin(), reconnect_watches_.end(), watch) !=
           reconnect_watches_.end();
  };
  for (ReconnectWatch* watch : std::vector<ReconnectWatch*>(reconnect_watches_)) {
    if (!is_here(watch)) continue;
    Callback<void()> handler = std::move(watch->handler_);
    handler();
    if (is_here(watch)) watch->handler_ = std::move(handler);
  }
}

void Core::attempt() {
  const Entry entry(*this);
  state_ = State::Connecting;
  ++attempts_;
  if (options_.make_transport) {
    auto transport = options_.make_transport();
    if (transport == nullptr) {
      return attempt_failed({Errc::Unavailable, "no in-process stream"}, Failure::Network);
    }
    return on_stream(std::move(transport));
  }
  connector_ = io::Connector::start(
      loop_, resolver_, servers_[server_].url.address, options_.connect_timeout,
      [this](Result<std::unique_ptr<io::Transport>> transport) {
        const Entry inner(*this);
        connector_.reset();
        if (!transport) return attempt_failed(transport.error(), Failure::Network);
        on_stream(std::move(*transport));
      });
}

void Core::on_stream(std::unique_ptr<io::Transport> transport) {
  transport_ = std::move(transport);
  ++stream_;
  state_ = State::Handshake;
  has_info_ = false;
  parser_ = protocol::ServerParser();
  handshake_timer_.start(options_.connect_timeout);
  if (options_.tls.handshake_first) return start_tls();
  transport_->listen(this, true, false);
}

void Core::on_handshake_timeout() {
  const Entry entry(*this);
  attempt_failed({Errc::TimedOut, server_text() + " did not answer in time"}, Failure::Network);
}

void Core::become_connected() {
  handshake_timer_.stop();
  ping_timer_.start(options_.ping_interval);
  state_ = State::Connected;
  attempts_ = 0;
  servers_[server_].failures = 0;
  servers_[server_].has_refused_us = false;
  put_subscriptions_in_place();
  if (!was_connected_) {
    was_connected_ = true;
    if (events_.connected) events_.connected();
  } else {
    ++stats_.reconnects;
    tell_reconnect_watches();
    if (state_ == State::Connected && !is_abandoned_ && events_.reconnected) events_.reconnected();
  }
}

void Core::put_subscriptions_in_place() {
  if (inbox_sid_ != 0) write_sub(greeting_, inbox_ + "*", {}, inbox_sid_);
  // In order of subscribing, so that a server with a limit refuses the same ones each time.
  std::vector<uint64_t> sids;
  for (const auto& [sid, subscription] : subscriptions_) sids.push_back(sid);
  std::sort(sids.begin(), sids.end());
  for (const uint64_t sid : sids) {
    const Subscription& subscription = *subscriptions_[sid];
    write_sub(greeting_, subscription.subject_, subscription.queue_, sid);
    // The server counts from this SUB, we from the first.
    if (subscription.messages_max_ != 0) {
      write_unsub(greeting_, sid, subscription.messages_max_ - subscription.delivered_);
    }
  }
}

void Core::attempt_failed(Error error, Failure failure) {
  drop_stream();
  last_error_ = error;
  if (!was_connected_ && !options_.retry_first_connect) {
    if (attempts_ >= static_cast<int>(servers_.size())) return finish_close(std::move(error));
    server_ = (server_ + 1) % servers_.size();
    state_ = State::Waiting;
    attempt_timer_.start(Duration(0));
    return;
  }
  KnownServer& server = servers_[server_];
  ++server.failures;
  const bool is_spent = (options_.reconnect_attempts_max >= 0 &&
                         server.failures >= options_.reconnect_attempts_max) ||
                        (failure == Failure::Refused && server.has_refused_us);
  server.has_refused_us = failure == Failure::Refused;
  if (is_spent) {
    if (servers_.size() == 1) return finish_close(std::move(error));
    servers_.erase(servers_.begin() + static_cast<std::ptrdiff_t>(server_));
    server_ %= servers_.size();
  } else {
    server_ = (server_ + 1) % servers_.size();
  }
  wait_for_next_attempt();
}

void Core::lose(Error error) {
  if (state_ == State::Handshake) return attempt_failed(std::move(error), Failure::Network);
  const bool may_return = options_.allow_reconnect && state_ != State::Draining;
  drop_stream();
  output_.clear();
  last_error_ = error;
  if (!may_return) return finish_close(std::move(error));
  state_ = State::Waiting;
  attempts_ = 0;
  // Whoever waits for a PONG learns it now; requests go on, their reply may still come.
  std::deque<Ping> pings;
  pings.swap(pings_);
  server_ = (server_ + 1) % servers_.size();
  wait_for_next_attempt();
  const Error lost{Errc::Closed, "connection lost: " + error.text};
  for (Ping& ping : pings) {
    if (ping.done && !is_abandoned_) ping.done(lost);
  }
  if (state_ == State::Waiting && events_.disconnected) events_.disconnected(error);
}

void Core::wait_for_next_attempt() {
  state_ = State::Waiting;
  const int round = attempts_ / static_cast<int>(servers_.size());
  Duration wait{};
  if (round > 0) {
    wait = options_.reconnect_wait * (int64_t{1} << std::min(round - 1, 20));
    wait = std::min(wait, options_.reconnect_wait_max);
  }
  if (options_.reconnect_jitter > Duration(0)) {
    wait += Duration(random_.below(static_cast<uint64_t>(options_.reconnect_jitter.count())));
  }
  attempt_timer_.start(wait);
}

void Core::drop_stream() {
  connector_.reset();
  tls_ = nullptr;
  transport_.reset();
  ++stream_;
  partial_.clear();
  partial_needed_ = 0;
  greeting_.clear();
  is_write_blocked_ = false;
  is_write_broken_ = false;
  keep_alives_ = 0;
  handshake_timer_.stop();
  ping_timer_.stop();
}

void Core::close() {
  const Entry entry(*this);
  write_some();  // what the stream takes at once still goes
  finish_close({Errc::Closed, "connection closed"});
}

void Core::finish_close(Error error) {
  if (state_ == State::Closed) return;
  state_ = State::Closed;
  last_error_ = error;
  drop_stream();
  output_.clear();
  attempt_timer_.stop();
  drain_timer_.stop();
  detach_subscriptions();
  end_requests_and_pings({Errc::Closed, error.text});
  tell_gone();
  std::vector<DoneHandler> drain_done = std::move(drain_done_);
  const Status drained = drain_step_ == 2 ? Status() : Status(error);
  for (DoneHandler& done : drain_done) {
    if (!is_abandoned_) done(drained);
  }
  if (events_.closed && !is_abandoned_) events_.closed(error);
}

void Core::end_requests_and_pings(const Error& error) {
  std::deque<Ping> pings;
  pings.swap(pings_);
  for (Ping& ping : pings) {
    if (ping.done && !is_abandoned_) ping.done(error);
  }
  for (uint32_t i = 0; i < requests_.size() && !is_abandoned_; ++i) {
    if (requests_[i]->is_active) end_request(*requests_[i], i, error);
  }
}

void Core::on_ping_interval() {
  const Entry entry(*this);
  if (++keep_alives_ > options_.pings_outstanding_max) {
    return lose({Errc::TimedOut, "stale connection"});
  }
  send_ping({}, {});
  ping_timer_.start(options_.ping_interval);
}

void Core::drain(DoneHandler done) {
  const Entry entry(*this);
  if (state_ == State::Closed) {
    if (done) done(Error{Errc::Closed, "connection closed"});
    return;
  }
  if (done) drain_done_.push_back(std::move(done));
  if (state_ == State::Draining) return;
  if (state_ != State::Connected) return finish_close({Errc::Closed, "not connected"});
  state_ = State::Draining;
  drain_timer_.start(options_.drain_timeout);
  for (const auto& [sid, subscription] : subscriptions_) write_unsub(output_, sid, 0);
  send_ping([this](const Status& status) { on_drain_step(status); }, {});
}

// Step 1: everything sent to the subscriptions has arrived, and handlers may have published
// answers. Step 2: the server has those too.
void Core::on_drain_step(const Status& status) {
  if (state_ != State::Draining || !status) return;
  if (++drain_step_ == 2) return finish_close({Errc::Closed, "connection drained"});
  detach_subscriptions();
  send_ping([this](const Status& next) { on_drain_step(next); }, {});
}

std::string Core::server_text() const {
  if (options_.make_transport) return "in-process";
  return server_ < servers_.size() ? servers_[server_].url.text() : std::string();
}

std::string Core::make_inbox() {
  return options_.inbox_prefix + "." + std::string(nuid_.next());
}

}  // namespace brokkr::client
