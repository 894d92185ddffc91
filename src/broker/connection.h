#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/clock.h"
#include "base/hash.h"
#include "broker/origin.h"
#include "broker/output_buffer.h"
#include "broker/subscription.h"
#include "broker/traffic.h"
#include "io/loop.h"
#include "io/transport.h"
#include "protocol/connect_options.h"
#include "protocol/parser.h"
#include "subject/pointer_table.h"

namespace brokkr::auth {
struct AccountTotals;
class Permissions;
class ReplyGrants;
struct Revision;
struct User;
struct Verdict;
}  // namespace brokkr::auth

namespace brokkr::broker {

class Account;
struct CalloutClient;
class Shard;

// Why a connection ended; the texts are nats-server's, shown in connz and the log.
enum class CloseReason : uint8_t {
  ClientClosed,
  AuthenticationTimeout,
  AuthenticationFailure,
  SlowConsumerPending,
  SlowConsumerDeadline,
  WriteError,
  ReadError,
  ParseError,
  StaleConnection,
  ProtocolViolation,
  BadClientProtocolVersion,
  MaxPayloadExceeded,
  MaxControlLineExceeded,
  MaxConnectionsExceeded,
  MissingAccount,
  AuthenticationExpired,
  Kicked,
  ServerShutdown,
  NoRespondersRequiresHeaders,
  AccountConnectionsExceeded,
  Revocation,
  TlsHandshakeError,
};
std::string_view to_string(CloseReason);

// One client of the broker: reads commands, keeps its subscriptions, queues what is sent to it.
// Owned by its Shard and confined to that shard's loop.
//
//   AwaitingConnect -> (Authenticating ->) Open -> Closed
//
// While Authenticating, stalled, out of its TurnBudget, or waiting for other loops to learn of its
// interest it reads nothing; what came in waits in `input_`.
class Connection final : private io::TransportHandler {
 public:
  enum class State : uint8_t { AwaitingConnect, Authenticating, Open, Closed };
  // The narrowest of the server's limits and the user's.
  struct Limits {
    uint64_t max_payload = UINT64_MAX;
    uint64_t max_subscriptions = UINT64_MAX;
  };

  Connection(Shard& shard, uint64_t id, std::unique_ptr<io::Transport> transport, Origin origin);
  ~Connection() override;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Sends INFO and starts reading, or begins with the TLS handshake. A refused one, about to be told
  // so and closed, is spared that.
  void start(bool is_refused = false);
  // Sends INFO again: lame duck, changed limits.
  void send_async_info();
  // Tells this client alone that the server is going away; false when it would not understand.
  bool send_lame_duck_info();
  // -ERR with `text`, and the connection stays open.
  void send_error(std::string_view text);
  // Ends the connection once the shard sweeps; nothing more is delivered to it from now on. With
  // `error_text` it is told why first.
  void close_later(CloseReason, std::string_view error_text = {});
  // Sends what is queued; called once a turn.
  void flush();
  // Stops reading for a while, because something it feeds cannot keep up.
  void stall(Duration);
  // The other loops know all interest up to `version`.
  void on_interest_known(uint64_t version);
  // A message of this connection went to another loop's member of a queue group, which may have to
  // pass it on: its next PONG waits for that.
  void on_forwarded_to_group() { has_unsettled_messages_ = true; }
  bool is_awaiting_interest() const { return awaited_version_ != 0; }
  // The user's account was looked for; `error` says why it is not there, or is empty.
  void on_account_loaded(const std::string& error);
  // The service of an auth callout has answered, or did not in time.
  void on_callout_answer(const auth::Verdict& verdict);
  // The outcome of a password check that ran off the loop.
  void on_verdict(const auth::Verdict&);
  // After a change of who may connect: ends the connection, or goes on with what its user may now.
  void revise_user();

  // "127.0.0.1:50312 - cid:7 - "v1.2:lang:name" - "$G/user:u"": how the log calls it.
  std::string log_name() const;
  // For the trace: a message that has been queued. `line` ends with CRLF.
  void trace_delivery(std::string_view line, std::string_view payload, uint32_t header_size) const;

  // The hot path of delivery: what `output` takes is announced by `on_queued`. The caller has
  // checked `is_open`.
  OutputBuffer& output() { return output_; }
  void mark_dirty();
  void on_queued(size_t payload_bytes);
  // The same for what the server says itself, which is no message that was sent to it.
  void on_told();
  bool is_open() const { return state_ != State::Closed; }
  // Whether what happens to its messages may be told on that subject.
  bool may_trace_to(std::string_view subject) const;
  // Whether it was ever let in.
  bool was_open() const { return was_open_; }
  bool wants_headers() const { return wants_headers_; }
  bool wants_echo() const { return connect_.echo; }
  bool wants_no_responders() const { return connect_.no_responders; }

  uint64_t id() const { return id_; }
  Shard& shard() const { return shard_; }
  State state() const { return state_; }
  ConnectionType type() const { return origin_.type; }
  const Origin& origin() const { return origin_; }
  Account* account() const { return account_; }
  const auth::Permissions* permissions() const { return permissions_.get(); }
  auth::ReplyGrants* reply_grants() const { return reply_grants_.get(); }
  const auth::User* user() const { return user_.get(); }
  // The user's name for people to read; "[REDACTED]" stands for a token.
  std::string shown_user() const;
  const protocol::ConnectOptions& connect_options() const { return connect_; }
  const io::Peer& peer() const { return transport_->peer(); }
  const Traffic& traffic() const { return traffic_; }
  Traffic& traffic() { return traffic_; }
  uint64_t pending_bytes() const { return output_.pending(); }
  size_t subscription_count() const { return subscriptions_.size(); }
  WallTime start_time() const { return start_time_; }
  WallTime last_activity() const { return last_activity_; }
  Duration round_trip() const { return round_trip_; }
  CloseReason close_reason() const { return close_reason_; }
  uint64_t stalls() const { return stalls_; }
  const std::string& nonce() const { return nonce_; }
  const Limits& limits() const { return limits_; }
  template <typename Visitor>
  void for_each_subscription(Visitor visit) const {
    subscriptions_.for_each(visit);
  }

  // Takes the subscription out of the tree and forgets it.
  void remove_subscription(Subscription*);
  void remove_all_subscriptions();
  // The plain subscription of this connection that `reply` reaches, or null.
  Subscription* find_subscription_for(std::string_view reply);

 private:
  friend class Shard;
  void on_readable() override;
  void on_writable() override;

  void check_pending();
  void trace(std::string_view direction, std::string_view text) const;
  void trace_command(const protocol::Command&, std::string_view input) const;
  void trace_payload(std::string_view direction, std::string_view payload,
                     uint32_t header_size) const;

  void open_stream(bool with_info);
  void read_into_partial();
  void consume(std::string_view input, bool is_partial);
  void keep_rest(std::string_view rest, bool is_partial);
  bool handle(const protocol::Command&);
  bool handle_first(const protocol::Command&);
  bool needs_credentials() const;
  // The listener's own, or the server's.
  Duration ping_interval() const;
  Duration auth_timeout() const;
  bool may_publish(std::string_view subject);
  void handle_connect(std::string_view json);
  void handle_publish(const protocol::Command&);
  void authenticate();
  void accept_user();
  bool join_account();
  void leave_account();
  bool count_subscription(Subscription&);
  void discount_subscription(Subscription&);
  auth::Credentials credentials() const;
  void refuse(const std::string& reason);
  void act_on(auth::Verdict verdict);
  void dismiss(const auth::Revision& revision);
  CalloutClient callout_client() const;
  void apply_user();
  void watch_expiry();
  void on_expiry_timer();
  void handle_subscribe(const protocol::Command&);
  void handle_unsubscribe(const protocol::Command&);
  bool handle_ping();
  void handle_pong();
  void send_pong();
  void send_ok();
  void send_text(std::string_view text);
  void fail_parse(protocol::ParseError);
  Subscription* find_subscription(std::string_view sid) const;
  bool is_reading_paused() const;
  void refresh_permissions();
  void update_interest();
  void resume_input();
  void resume_next_turn();
  void on_timer();
  void on_ping_due();
  void on_write_deadline();
  void start_write_deadline();

  Shard& shard_;
  const uint64_t id_;
  std::unique_ptr<io::Transport> transport_;
  Origin origin_;
  State state_ = State::AwaitingConnect;
  CloseReason close_reason_ = CloseReason::ClientClosed;
  bool wants_headers_ = false;
  bool is_dirty_ = false;
  bool is_refused_ = false;  // it takes nobody's place and is not counted
  bool wants_writable_ = false;
  bool sent_connect_info_ = false;
  bool was_open_ = false;
  bool connect_received_ = false;
  bool has_unsettled_messages_ = false;
  bool is_account_fresh_ = false;  // the user's account was looked for already
  bool is_held_ = false;  // the first command in `input_` has been seen before
  uint8_t pings_out_ = 0;
  OutputBuffer output_;

  std::string input_;        // bytes received and not yet handled
  size_t input_needed_ = 0;  // how long `input_` must be before it is worth another look
  subject::PointerTable<Subscription> subscriptions_;  // by sid
  Account* account_ = nullptr;
  std::shared_ptr<auth::AccountTotals> totals_;  // that this connection counts in
  std::shared_ptr<const auth::User> user_;
  std::shared_ptr<const auth::Permissions> permissions_;
  std::unique_ptr<auth::ReplyGrants> reply_grants_;
  using PublishAnswers = std::unordered_map<std::string, bool, StringHash, std::equal_to<>>;
  std::unique_ptr<PublishAnswers> publish_answers_;
  Traffic traffic_;
  uint64_t interest_version_ = 0;      // of the shard, after this connection's last SUB or UNSUB
  uint64_t awaited_version_ = 0;       // a PONG is held until the other loops know this
  class TlsStart;
  std::unique_ptr<TlsStart> tls_start_;  // until the stream is what commands come in by
  struct Resumption;
  std::unique_ptr<Resumption> resumption_;  // the rest of `input_` has its turn later
  protocol::ConnectOptions connect_;

  io::Timer timer_;                        // authentication time-out, then pings
  std::unique_ptr<io::Timer> write_timer_;  // while output is stuck
  std::unique_ptr<io::Timer> stall_timer_;
  std::unique_ptr<io::Timer> expiry_timer_;  // of a user who may stay for some time only
  std::string nonce_;                        // what INFO asks to sign; empty for nothing
  Limits limits_;
  uint64_t write_mark_ = 0;  // output_.total() that must be sent when the write timer fires
  MonotonicTime ping_sent_{};
  MonotonicTime last_input_{};
  Duration round_trip_{};
  const WallTime start_time_;
  WallTime last_activity_;
  uint64_t stalls_ = 0;
};

}  // namespace brokkr::broker
