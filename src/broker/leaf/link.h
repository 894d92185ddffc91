#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/hash.h"
#include "broker/connection.h"
#include "broker/leaf/interest.h"
#include "broker/leaf/rules.h"
#include "broker/origin.h"
#include "broker/output_buffer.h"
#include "broker/subscription.h"
#include "io/loop.h"
#include "io/transport.h"
#include "protocol/leaf_info.h"
#include "protocol/leaf_parser.h"

namespace brokkr::auth {
struct Credentials;
}

namespace brokkr::broker {

class Account;
class LeafDialer;
class Leafs;
struct Message;

// What a link subscribes to at the other side, to notice when it comes back around.
constexpr std::string_view kLoopSubjectPrefix = "$LDS.";
constexpr Duration kFirstInfoTimeout = std::chrono::seconds(1);

// What servers tell each other they speak; with this one they trace messages.
constexpr int kLeafProtocol = 3;

// One connection between this server and another as leaf and hub, from either side, bound to one
// account here and one there. Each tells the other what is wanted on its side, and sends a message
// once if anybody there wants it. Owned by Leafs and confined to the main loop.
//
//   dialled:   AwaitingInfo -> AwaitingAnswer -> Open -> Closed
//   accepted:  AwaitingConnect (-> Authenticating) -> Open -> Closed
//
// With TLS, Handshaking comes before the first state, or of a dialled link behind it; AwaitingHello
// before that where the first byte decides who begins.
class LeafLink final : private io::TransportHandler {
 public:
  enum class State : uint8_t {
    AwaitingHello,
    Handshaking,
    AwaitingInfo,
    AwaitingAnswer,
    AwaitingConnect,
    Authenticating,
    Open,
    Closed
  };

  // `dialer` is null for an accepted link.
  LeafLink(Leafs& leafs, uint64_t id, std::unique_ptr<io::Transport> transport, Origin origin,
           LeafDialer* dialer);
  ~LeafLink() override;
  LeafLink(const LeafLink&) = delete;
  LeafLink& operator=(const LeafLink&) = delete;

  void start();
  // Ends the link at the end of the turn. With `error_text` the other side is told why first.
  void close_later(std::string_view reason, std::string_view error_text = {});
  // Sends what is queued.
  void flush();
  // Sends what can be sent at once, before the link is destroyed.
  void finish();
  // Its dialer is gone: it is not to be told any more.
  void forget_dialer() { dialer_ = nullptr; }

  // Whether the message may go to the other side.
  bool takes(const Message& message) const;
  // Queues it; `queues` are the groups that chose this link, separated by blanks.
  void send_message(const Message& message, std::string_view queues);
  // Somebody here wants `pattern`, or no longer does.
  void on_interest_changed(std::string_view pattern, std::string_view queue,
                           const Subscription& which, int64_t change);
  // Of an accepted link: why its user may no longer come; empty when he may.
  std::string reason_to_end() const;
  // What an auth callout is told of it.
  CalloutClient callout_client() const;
  // The outcome of a password check that ran off the loop.
  void on_verdict(const auth::Verdict& verdict);
  // The user's account was looked for; `error` says why it is not there, or is empty.
  void on_account_loaded(const std::string& error);

  uint64_t id() const { return id_; }
  State state() const { return state_; }
  bool is_open() const { return state_ == State::Open; }
  bool was_opened() const { return was_opened_; }
  bool is_solicited() const { return is_solicited_; }
  // The other side is the hub: it hears only of what this server and its own leaves want.
  bool is_spoke() const { return is_spoke_; }
  bool is_isolated() const { return is_isolated_; }
  Account* account() const { return account_; }
  LeafDialer* dialer() const { return dialer_; }
  const std::string& remote_name() const { return remote_name_; }
  // Whether the other server can tell what becomes of a traced message.
  bool is_remote_tracing() const { return remote_protocol_ >= kLeafProtocol; }
  const std::string& remote_id() const { return remote_id_; }
  const std::string& remote_cluster() const { return remote_cluster_; }
  const std::string& remote_account() const { return remote_account_; }
  const std::string& remote_domain() const { return remote_domain_; }
  const Origin& origin() const { return origin_; }
  const auth::User* user() const { return user_.get(); }
  const io::Peer& peer() const { return transport_->peer(); }
  const Traffic& traffic() const { return traffic_; }
  uint64_t pending_bytes() const { return output_.pending(); }
  Duration round_trip() const { return round_trip_; }
  WallTime start_time() const { return start_time_; }
  WallTime last_activity() const { return last_activity_; }
  size_t subscription_count() const { return subscriptions_.size(); }
  const std::string& close_reason() const { return close_reason_; }
  std::vector<std::string> subscription_list() const;
  // "127.0.0.1:7422 - lid:5": how the log calls it.
  std::string log_name() const;

 private:
  void on_readable() override;
  void on_writable() override;
  void read();
  void consume(std::string_view input);
  void on_parse_error(protocol::ParseError error);
  void handle(const protocol::LeafCommand& command);
  bool may_come_now(protocol::LeafVerb verb) const;
  void handle_info(std::string_view json);
  void handle_first_info(const protocol::LeafInfo& info);
  void handle_connect(std::string_view json);
  bool check_connect(const protocol::LeafConnect& connect);
  auth::Credentials credentials() const;
  void authenticate();
  void handle_sub(const protocol::LeafCommand& command);
  void handle_unsub(const protocol::LeafCommand& command);
  void handle_message(const protocol::LeafCommand& command);
  void handle_error(std::string_view text);
  void handle_pong();
  void start_accepted();
  void start_dialled();
  void await_info();
  void await_connect();
  void end_hello(bool has_begun);
  void handshake_as_server(bool is_first);
  void handshake_as_client(Callback<void()> then);
  void fail_handshake(const std::string& why);
  bool starts_tls(const protocol::LeafInfo& info);
  void send_info(bool is_answer);
  void send_connect();
  void open();
  void apply_user_rules();
  void deny_jetstream();
  void announce_everything();
  bool wants_interest_of(const Subscription& which, std::string_view pattern) const;
  void violate(std::string_view action, std::string_view subject);
  void send_text(std::string_view text);
  void mark_dirty();
  void update_interest();
  void resume();
  void watch_expiry();
  void on_timer();
  void on_ping_due();
  void start_write_deadline();
  void on_write_deadline();
  void trace(std::string_view direction, std::string_view text) const;
  struct Continuation;

  Leafs& leafs_;
  const uint64_t id_;
  std::unique_ptr<io::Transport> transport_;
  Origin origin_;
  LeafDialer* dialer_;
  const bool is_solicited_;
  State state_;
  bool is_spoke_ = false;
  bool is_isolated_ = false;
  bool wants_headers_ = false;
  bool was_opened_ = false;
  bool is_dirty_ = false;
  bool wants_writable_ = false;
  bool drops_rest_ = false;  // of the input at hand
  uint8_t pings_out_ = 0;
  uint64_t payload_max_ = UINT64_MAX;  // what the other side takes
  std::string close_reason_;

  OutputBuffer output_;
  std::string input_;        // bytes received and not yet handled
  size_t input_needed_ = 0;  // how long `input_` must be before it is worth another look
  protocol::LeafParser parser_;
  std::string line_;  // scratch

  Account* account_ = nullptr;
  std::shared_ptr<const auth::User> user_;
  protocol::LeafConnect connect_;  // of an accepted link
  std::string nonce_;
  std::string remote_name_;
  int remote_protocol_ = 0;
  std::string remote_id_;
  std::string remote_cluster_;
  std::string remote_account_;
  std::string remote_domain_;

  LeafRules outgoing_;   // what may be sent to the other side, and wanted by it
  LeafRules incoming_;   // what it may send
  LeafRules announced_;  // what it may be told is wanted here
  LeafInterest interest_;
  // What the other side wants, by pattern, or pattern, blank and queue.
  std::unordered_map<std::string, std::unique_ptr<Subscription>, StringHash, std::equal_to<>>
      subscriptions_;

  Traffic traffic_;
  io::Timer timer_;                          // handshake, then pings
  std::unique_ptr<io::Timer> write_timer_;   // while output is stuck
  std::unique_ptr<io::Timer> expiry_timer_;  // of a user who may stay for some time only
  bool is_account_fresh_ = false;            // the user's account was looked for already
  std::unique_ptr<Continuation> continuation_;
  uint64_t write_mark_ = 0;  // output_.total() that must be sent when the write timer fires
  MonotonicTime ping_sent_{};
  MonotonicTime last_input_{};
  Duration round_trip_{};
  const WallTime start_time_;
  WallTime last_activity_;
};

}  // namespace brokkr::broker
