#include "broker/shard.h"

#include <unistd.h>

#include <algorithm>

#include "auth/authenticator.h"
#include "auth/permissions.h"
#include "broker/account_routes.h"
#include "broker/identity/callouts.h"
#include "broker/server.h"
#include "broker/service_replies.h"
#include "broker/system/system_services.h"
#include "broker/tls_rules.h"
#include "broker/websocket/door.h"
#include "protocol/encode.h"

namespace brokkr::broker {
namespace {

// Output queued in a turn beyond this is sent at once instead of at the turn's end.
constexpr size_t kFlushBytes = 256 << 10;
// Bytes read and thrown away before closing: a socket closed with unread input is reset, and the
// reset may overtake a queued -ERR.
constexpr size_t kDrainReads = 8;

// What the server at the other end of a leaf link wants stands for several.
int64_t members_of(const Subscription& subscription) {
  const bool is_leaf = subscription.kind == Subscription::Kind::Leaf;
  return is_leaf ? static_cast<int64_t>(subscription.delivered) : 1;
}

}  // namespace

InternalSubscription::~InternalSubscription() {
  if (subscription_.is_added()) shard_.remove_interest(account_, subscription_);
}

Shard::Shard(Server& server, io::Loop& loop, uint32_t index, uint32_t loops, Shared shared, Log& log)
    : server_(server),
      loop_(loop),
      index_(index),
      shared_(std::move(shared)),
      log_(log),
      random_(secure_seed()),
      interest_news_(loop),
      links_(*this, index, loops),
      websocket_door_(std::make_unique<WebSocketDoor>(*this)) {
  parser_.set_limits({settings().max_control_line, settings().max_payload});
  replies_ = std::make_unique<ServiceReplies>(*this);
  callouts_ = std::make_unique<Callouts>(*this);
  global_account_ = &account(kGlobalAccount);
  loop_.add_hook(io::Phase::Send, *this);
}

Shard::~Shard() {
  loop_.remove_hook(*this);
  links_.stop();
  websocket_door_->close();
  connections_.clear();
  callouts_.reset();
  replies_.reset();
  drop_routes();
}

void Shard::adopt(int fd, bool is_refused) {
  auto transport = io::adopt_socket(loop_, fd);
  if (!transport) {
    log_.error("accepted connection cannot be used: " + transport.error().text);
    if (!is_refused) server_.on_connection_ended();
    return;
  }
  adopt(std::move(*transport), Origin{}, is_refused);
}

void Shard::adopt(std::unique_ptr<io::Transport> transport, Origin origin, bool is_refused) {
  ++stats_.total_connections;
  const uint64_t id = server_.next_client_id();
  auto connection = std::make_unique<Connection>(*this, id, std::move(transport), std::move(origin));
  Connection& added = *connection;
  connections_.emplace(id, std::move(connection));
  if (log_.is_on(LogLevel::Debug)) {
    log_.debug(added.log_name() + " - Client connection created");
  }
  added.start(is_refused);
  if (is_refused) {
    added.close_later(CloseReason::MaxConnectionsExceeded, "maximum connections exceeded");
  }
}

Connection* Shard::find_connection(uint64_t id) {
  const auto found = connections_.find(id);
  return found == connections_.end() ? nullptr : found->second.get();
}

protocol::ServerInfo Shard::info_for(const Connection& connection, bool connect_info) const {
  protocol::ServerInfo info;
  server_.fill_info(info);
  info.client_id = connection.id();
  info.client_ip = connection.peer().host;
  if (settings().tls != nullptr && connection.type() == ConnectionType::Tcp) {
    const TlsRules& tls = *settings().tls;
    const auto& done = connection.origin().tls;
    info.tls_required = !tls.allow_non_tls || (done != nullptr && done->was_first);
    info.tls_available = tls.allow_non_tls;
    info.tls_verify = tls.verify && info.tls_required;
  }
  info.auth_required =
      shared_.authenticator->is_required(connection_type_name(connection.type()));
  info.nonce = connection.nonce();
  info.max_payload = static_cast<int64_t>(
      std::min<uint64_t>(settings().max_payload, connection.limits().max_payload));
  info.headers = settings().headers;
  if (connection.type() == ConnectionType::WebSocket) describe_websocket(server_, info);
  if (connect_info) {
    info.connect_info = true;
    info.remote_account = connection.account()->name();
    info.max_payload = std::min<int64_t>(
        info.max_payload,
        static_cast<int64_t>(std::min<uint64_t>(connection.limits().max_payload, INT64_MAX)));
  }
  return info;
}

void Shard::on_registered(Connection& connection) {
  server_.system().on_connected(*this, connection);
  if (!log_.is_on(LogLevel::Debug)) return;
  log_.debug("cid:" + std::to_string(connection.id()) + " - client registered in account " +
             connection.account()->name());
}

// --- interest --------------------------------------------------------------------------------

void Shard::add_interest(Account& account, std::string_view pattern, std::string_view queue,
                         Subscription& subscription) {
  DCHECK(delivering_ == 0);
  account.interest().add(pattern, queue, subscription);
  links_.on_interest_added(account, subscription);
  if (account.observer() != nullptr) {
    account.observer()->on_interest_changed(account, pattern, queue, subscription, members_of(subscription));
  }
  note_interest(account, pattern);
  if (account.routes() != nullptr) account.routes()->on_added(subscription);
}

void Shard::remove_interest(Account& account, Subscription& subscription) {
  DCHECK(delivering_ == 0);
  if (account.routes() != nullptr) account.routes()->on_removed(subscription);
  links_.on_interest_removed(account, subscription);
  if (account.observer() != nullptr) {
    account.observer()->on_interest_changed(account, subscription.pattern(), subscription.queue(),
                                            subscription, -members_of(subscription));
  }
  if (account.watches().empty()) return account.interest().remove(subscription);
  const std::string pattern(subscription.pattern());
  account.interest().remove(subscription);
  note_interest(account, pattern);
}

void Shard::note_interest(Account& account, std::string_view pattern) {
  if (!account.watches().empty()) account.watches().mark(pattern, interest_news_);
}

std::unique_ptr<InterestWatch> Shard::watch_interest(Account& account, std::string_view subject,
                                                     std::string_view queue,
                                                     InterestWatch::Handler callback) {
  return std::make_unique<InterestWatch>(account, interest_news_, subject, queue,
                                         std::move(callback));
}

std::unique_ptr<InternalSubscription> Shard::subscribe(Account& account, std::string_view pattern,
                                                       std::string_view queue,
                                                       InternalSubscription::Handler handler) {
  std::unique_ptr<InternalSubscription> made(
      new InternalSubscription(*this, account, std::move(handler)));
  made->subscription_.kind = Subscription::Kind::Internal;
  made->subscription_.internal = made.get();
  add_interest(account, pattern, queue, made->subscription_);
  return made;
}

void Shard::wait_for_interest(Connection& connection) {
  waiting_for_interest_.push_back(connection.id());
}

void Shard::on_interest_known(uint64_t version) {
  std::vector<uint64_t> waiting;
  waiting.swap(waiting_for_interest_);
  for (const uint64_t id : waiting) {
    Connection* connection = find_connection(id);
    if (connection == nullptr) continue;
    connection->on_interest_known(version);
    if (connection->is_awaiting_interest()) waiting_for_interest_.push_back(id);
  }
}

// --- ending connections ----------------------------------------------------------------------

void Shard::sweep() {
  if (delivering_ > 0) return;
  // Closing one may end others: its queued error is flushed, which can fail.
  while (!closing_.empty()) {
    std::vector<Connection*> closing;
    closing.swap(closing_);
    for (Connection* connection : closing) {
      connection->flush();
      set_close_frame(*connection, *connection->transport_);
      connection->transport_->end_writing();
      if (connection->transport_->fd() >= 0) {
        const std::span<char> trash = loop_.receive_buffer(0);
        for (size_t i = 0; i < kDrainReads; ++i) {
          const io::IoResult got = connection->transport_->read(trash.data(), trash.size());
          if (got.kind != io::IoResult::Kind::Ok) break;
        }
      }
      remember_closed(*connection);
      const bool is_refused = connection->is_refused_;
      std::erase(dirty_, connection);
      connections_.erase(connection->id());
      if (!is_refused) server_.on_connection_ended();
    }
  }
}

void Shard::remember_closed(Connection& connection) {
  server_.system().on_closed(*this, connection);
  const bool is_slow = connection.close_reason() == CloseReason::SlowConsumerPending ||
                       connection.close_reason() == CloseReason::SlowConsumerDeadline;
  if (const std::string& error = websocket_error(connection, *connection.transport_);
      !error.empty()) {
    log_.error(connection.log_name() + " - read error: " + error);
  }
  const std::string who = is_slow || log_.is_on(LogLevel::Debug) ? connection.log_name() : "";
  if (is_slow) {
    log_.info(who + " - " + std::string(to_string(connection.close_reason())) + " with " +
              std::to_string(connection.pending_bytes()) + " bytes pending");
  } else if (log_.is_on(LogLevel::Debug)) {
    log_.debug(who + " - Client connection closed: " +
               std::string(to_string(connection.close_reason())));
  }
  Account::Ended& ended = connection.account()->ended();
  ended.traffic.in_msgs += connection.traffic().in_msgs;
  ended.traffic.in_bytes += connection.traffic().in_bytes;
  ended.traffic.out_msgs += connection.traffic().out_msgs;
  ended.traffic.out_bytes += connection.traffic().out_bytes;
  if (is_slow) ++ended.slow_consumers;
  const size_t closed_max = settings().max_closed_clients;
  if (closed_max == 0) return;
  while (closed_.size() >= closed_max) closed_.pop_front();
  ClosedConnection& entry = closed_.emplace_back();
  entry.id = connection.id();
  entry.type = connection.type();
  entry.host = connection.peer().host;
  entry.port = connection.peer().port;
  entry.start = connection.start_time();
  entry.last_activity = connection.last_activity();
  entry.stop = loop_.clock().wall_now();
  entry.reason = connection.close_reason();
  entry.round_trip = connection.round_trip();
  entry.pending_bytes = connection.pending_bytes();
  entry.traffic = connection.traffic();
  entry.subscriptions = connection.subscription_count();
  entry.name = connection.connect_options().name;
  entry.lang = connection.connect_options().lang;
  entry.version = connection.connect_options().version;
  entry.user = connection.shown_user();
  entry.account = connection.account()->name();
  entry.tls = connection.origin().tls;
}

void Shard::close_all(CloseReason reason) {
  while (close_some(1000, reason)) {
  }
}

bool Shard::close_some(size_t count, CloseReason reason) {
  for (const auto& [id, connection] : connections_) {
    if (count == 0) break;
    connection->close_later(reason);
    --count;
  }
  sweep();
  return !connections_.empty();
}

void Shard::announce_lame_duck() {
  for (const auto& [id, connection] : connections_) connection->send_async_info();
}

void Shard::reload(Shared shared) {
  const bool has_new_accounts = shared.authenticator->accounts() != shared_.authenticator->accounts();
  shared_ = std::move(shared);
  parser_.set_limits({settings().max_control_line, settings().max_payload});
  if (has_new_accounts) {
    for (size_t i = 0; i < accounts_.size(); ++i) apply_rules(*accounts_[i]);
  }
  for (const auto& [id, connection] : connections_) connection->revise_user();
  sweep();
}

void Shard::change_accounts(Shared shared, const std::set<std::string>& changed) {
  shared_ = std::move(shared);
  for (size_t i = 0; i < accounts_.size(); ++i) apply_rules(*accounts_[i]);
  if (changed.empty()) return;
  for (const auto& [id, connection] : connections_) {
    if (changed.contains(connection->account()->name())) connection->revise_user();
  }
  sweep();
}

// --- the turn's end --------------------------------------------------------------------------

void Shard::on_turn_end() {
  sweep();
  flush_dirty();
  sweep();
}

void Shard::flush_if_large() {
  if (queued_bytes_ > kFlushBytes && delivering_ == 0) flush_dirty();
}

void Shard::flush_dirty() {
  flushing_.swap(dirty_);
  for (Connection* connection : flushing_) connection->flush();
  flushing_.clear();
  queued_bytes_ = 0;
}

}  // namespace brokkr::broker
