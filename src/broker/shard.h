#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/hash.h"
#include "base/log.h"
#include "base/random.h"
#include "broker/account.h"
#include "broker/connection.h"
#include "broker/interest_watch.h"
#include "broker/loop_link.h"
#include "broker/settings.h"
#include "broker/subscription.h"
#include "io/loop.h"
#include "protocol/info.h"
#include "subject/interest_tree.h"

namespace brokkr::auth {
class Authenticator;
}

namespace brokkr::broker {

class Callouts;
class MessageTrace;
class Server;
class ServiceReplies;
class WebSocketDoor;

// A message on its way. The payload includes the header block; its CRLF follows in memory.
struct Message {
  std::string_view subject;
  // Who is interested in this gets it, and is shown `subject`. Empty: in `subject`.
  std::string_view route;
  std::string_view reply;
  std::string_view payload;
  std::string_view size_text;  // payload.size() in decimal
  uint32_t header_size = 0;
  // The client that published it; null for the server's own and those of other loops.
  const Connection* from = nullptr;
  // Of a request to JetStream that came from another loop: who made it, as JSON.
  std::string_view client;
  MessageTrace* trace = nullptr;  // of a message whose way is to be told
  // The leaf link it came in on, and the queue groups the other side chose, separated by blanks: no
  // other group gets it.
  const LeafLink* from_leaf = nullptr;
  std::string_view leaf_queues;
  bool to_any_queue = false;  // a mapping led here, of which the other side knows nothing
  std::string_view routed_by() const { return route.empty() ? subject : route; }
};

// A subscription of the server's own. Loop-confined.
class InternalSubscription {
 public:
  // The views in the message live until the callback returns. The callback may publish; it must not
  // subscribe or unsubscribe.
  using Handler = Callback<void(const Message&)>;
  ~InternalSubscription();
  // Messages that are only traced come too; the handler adds to the trace and does nothing else.
  void take_traces() { takes_traces_ = true; }

 private:
  friend class Shard;
  InternalSubscription(Shard& shard, Account& account, Handler handler)
      : shard_(shard), account_(account), handler_(std::move(handler)) {}
  Shard& shard_;
  Account& account_;
  Handler handler_;
  Subscription subscription_;
  bool takes_traces_ = false;
};

// A connection that has ended, for connz?state=closed.
struct ClosedConnection {
  uint64_t id = 0;
  ConnectionType type = ConnectionType::Tcp;
  std::string host;
  uint16_t port = 0;
  WallTime start;
  WallTime last_activity;
  WallTime stop;
  CloseReason reason = CloseReason::ClientClosed;
  Duration round_trip{};
  uint64_t pending_bytes = 0;
  Traffic traffic;
  size_t subscriptions = 0;
  std::string name;
  std::string lang;
  std::string version;
  std::string user;
  std::string account;
  std::shared_ptr<const TlsFacts> tls;
};

// Counters of one loop; summed over the loops when asked for.
struct ShardStats {
  Traffic traffic;
  uint64_t total_connections = 0;
  uint64_t slow_consumers = 0;
  uint64_t stale_connections = 0;
  uint64_t stalled_clients = 0;
  uint64_t auth_errors = 0;
};

// What the shards of a server share. Swapped whole by the server, on each loop in turn.
struct Shared {
  std::shared_ptr<const Settings> settings;
  std::shared_ptr<const auth::Authenticator> authenticator;
};

// The broker's share of one loop: its connections, its part of every account's interest, and the
// routing between them. Loop-confined; the loop outlives it.
class Shard final : private io::TurnHook {
 public:
  Shard(Server& server, io::Loop& loop, uint32_t index, uint32_t loops, Shared shared, Log& log);
  ~Shard() override;

  // Takes over a connected stream. A refused one is told that there are too many, and closed.
  void adopt(std::unique_ptr<io::Transport> transport, Origin origin, bool is_refused = false);
  void adopt(int fd, bool is_refused);
  // Ends every connection, telling nobody.
  void close_all(CloseReason);
  // Tells every client that can understand it that the server is going away.
  void announce_lame_duck();
  // Closes up to `count` connections; false when none are left.
  bool close_some(size_t count, CloseReason);
  // Puts changed settings to work: drops users and subscriptions that are no longer allowed.
  void reload(Shared shared);
  // Accounts of operator mode have come or changed: clients of those that have are looked at again.
  void change_accounts(Shared shared, const std::set<std::string>& changed);

  // Delivers to everyone interested in the account. `from` is null for the server's own messages.
  // Returns whether anybody was.
  bool publish(Account& account, Connection* from, const Message& message);
  // A message made here: builds what `publish` needs. `headers` is a NATS/1.0 block or empty.
  bool publish(Account& account, std::string_view subject, std::string_view reply,
               std::string_view headers, std::string_view body);
  // The same for whoever is interested in `route`; they are shown `subject`.
  bool deliver(Account& account, std::string_view route, std::string_view subject,
               std::string_view reply, std::string_view headers, std::string_view body);
  // The most bytes that wait to be sent to one of this loop's clients which got the last message.
  uint64_t deepest_output() const { return deepest_output_; }
  // Tells `callback` of each change of whether anybody subscribes to `subject`, in the group `queue`
  // unless empty, on any loop; soon after it, and never while a message is routed. The watch ends with
  // the returned object, which may be destroyed from the callback.
  std::unique_ptr<InterestWatch> watch_interest(Account& account, std::string_view subject,
                                                std::string_view queue,
                                                InterestWatch::Handler callback);
  // A message another loop forwarded: to this loop's subscribers only. Whether any took it.
  bool deliver_forwarded(const ForwardedMessage& message);
  // The same message to those who wait for `subject` in that account, from nobody in particular.
  void pass_on(Account& account, std::string_view subject, const Message& message);
  // On the requester's own subscription for the reply: nobody listens.
  void answer_no_responders(Connection& from, std::string_view subject, std::string_view reply);

  std::unique_ptr<InternalSubscription> subscribe(Account& account, std::string_view pattern,
                                                  std::string_view queue,
                                                  InternalSubscription::Handler handler);
  // The account of that name, made at first use.
  Account& account(std::string_view name);
  Account& global_account() { return *global_account_; }
  Account& system_account() { return account(settings().system_account); }
  const std::vector<std::unique_ptr<Account>>& accounts() const { return accounts_; }

  // For connections.
  void add_interest(Account&, std::string_view pattern, std::string_view queue, Subscription&);
  void remove_interest(Account&, Subscription&);
  // After a change to what an account is interested in, also by other loops.
  void note_interest(Account&, std::string_view pattern);
  void put_dirty(Connection& connection) { dirty_.push_back(&connection); }
  void put_closing(Connection& connection) { closing_.push_back(&connection); }
  void sweep();
  protocol::ServerInfo info_for(const Connection&, bool connect_info) const;
  void on_registered(Connection&);
  // Calls the connection's `on_interest_known` when the other loops have confirmed.
  void wait_for_interest(Connection&);
  void on_interest_known(uint64_t version);
  void on_batch_from_loops() { links_.receive(); }
  // Flushes when this turn has queued more than a send's worth.
  void flush_if_large();
  // The same between two messages of one client, so that what many subscribers get of one packet
  // need not fit in memory.
  void flush_if_flooded() {
    if (queued_bytes_ > kFloodBytes && delivering_ == 0) flush_dirty();
  }

  io::Loop& loop() { return loop_; }
  Log& log() { return log_; }
  Server& server() { return server_; }
  ChunkPool& chunks() { return chunks_; }
  protocol::ClientParser& parser() { return parser_; }
  LoopLinks& links() { return links_; }
  Callouts& callouts() { return *callouts_; }
  Random& random() { return random_; }
  WebSocketDoor& websocket_door() { return *websocket_door_; }
  ShardStats& stats() { return stats_; }
  const Settings& settings() const { return *shared_.settings; }
  const std::shared_ptr<const auth::Authenticator>& authenticator() const {
    return shared_.authenticator;
  }
  uint32_t index() const { return index_; }
  const std::unordered_map<uint64_t, std::unique_ptr<Connection>>& connections() const {
    return connections_;
  }
  Connection* find_connection(uint64_t id);
  const std::deque<ClosedConnection>& closed_connections() const { return closed_; }

 private:
  static constexpr size_t kFloodBytes = 4 << 20;
  static constexpr size_t kScratchMax = 256 << 10;
  struct Delivery;
  // Members of one queue name on one pattern.
  struct MatchedGroup {
    const subject::QueueGroup* group;
    std::string_view pattern;
  };

  bool has_work() const override { return !dirty_.empty() || !closing_.empty(); }
  void on_turn_end() override;
  void flush_dirty();
  void remember_closed(Connection&);

  bool route(Account&, Connection* from, const Message&);
  void apply_rules(Account&);
  void drop_routes();
  bool deliver(Subscription&, Delivery&);
  bool deliver_shadow(const ShadowSubscription&, Delivery&);
  bool cross(size_t first, Connection* from, const Message&);
  bool cross(ServiceRoute&, Connection* from, const Message&);
  bool deliver_to_client(Subscription&, Delivery&);
  void send_traced_to_leaf(LeafLink& link, const Message& message, std::string_view queues);
  // Tells the message's trace of a client it reaches or would have reached. The outcome when that is
  // all, absent when it is to be delivered.
  std::optional<bool> trace_delivery(const Subscription&, const Message&, const Connection* from);
  void gather_groups(const subject::Interest&, const Message&);
  void deliver_to_groups(Delivery&);
  bool deliver_to_group(std::span<const MatchedGroup> lists, Delivery&);
  bool deliver_to_chosen(std::span<const MatchedGroup> lists, uint64_t pick, Delivery&);
  bool deliver_to_member(Subscription&, const MatchedGroup&, Delivery&);
  bool deliver_to_chosen_group(const subject::Match&, std::string_view pattern,
                               std::string_view queue, bool is_retry, Delivery&);
  bool deliver_to_local_member(const subject::SubscriberList&, Delivery&);
  bool deliver_to_leaf(Subscription&, std::string_view queue, Delivery&);
  bool deliver_to_leaf_member(std::span<const MatchedGroup> lists, Delivery&);
  void send_to_leafs(Delivery&);
  void finish_delivery(Account&, const Message&, Connection* from, bool only_other_loops);
  void stall_producer(Connection& from, const Connection& slow);

  Server& server_;
  io::Loop& loop_;
  const uint32_t index_;
  Shared shared_;
  Log& log_;
  SeededRandom random_;
  ChunkPool chunks_;
  protocol::ClientParser parser_;
  std::vector<std::unique_ptr<Account>> accounts_;
  std::unordered_map<std::string_view, Account*> accounts_by_name_;
  Account* global_account_ = nullptr;
  std::unordered_map<uint64_t, std::unique_ptr<Connection>> connections_;
  std::vector<Connection*> dirty_;
  std::vector<Connection*> flushing_;
  std::vector<Connection*> closing_;
  std::vector<std::pair<Connection*, Subscription*>> ended_;  // reached their max while delivering
  std::vector<uint64_t> waiting_for_interest_;  // connection ids
  std::vector<MatchedGroup> groups_;  // of the message at hand
  std::vector<ServiceRoute*> crossings_;  // of the messages at hand, to other accounts
  uint32_t crossing_ = 0;    // depth of cross
  uint32_t delivering_ = 0;  // depth of publish
  size_t queued_bytes_ = 0;  // since the last flush
  uint64_t deepest_output_ = 0;
  std::deque<ClosedConnection> closed_;
  ShardStats stats_;
  std::string scratch_;  // the payload of a message made here; empty while one is under way
  InterestNews interest_news_;
  LoopLinks links_;
  std::unique_ptr<ServiceReplies> replies_;
  const std::unique_ptr<WebSocketDoor> websocket_door_;
  std::unique_ptr<Callouts> callouts_;
};

}  // namespace brokkr::broker
