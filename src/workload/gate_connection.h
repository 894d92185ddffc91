#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/hash.h"
#include "client/connection.h"
#include "client/output.h"
#include "io/transport.h"
#include "protocol/connect_options.h"
#include "protocol/parser.h"
#include "workload/gate.h"
#include "workload/inboxes.h"

namespace brokkr::workload {

class GateConnection;

// Where the programs of one gate may answer: the replies of what was delivered to them lately.
// Loop-confined.
class GivenReplies {
 public:
  void add(std::string_view reply, MonotonicTime now);
  bool has(std::string_view subject, MonotonicTime now) const;
  size_t size() const { return given_.size(); }

  static constexpr size_t kMax = 16384;
  static constexpr Duration kKept = std::chrono::minutes(30);

 private:
  std::unordered_map<std::string, MonotonicTime, StringHash, std::equal_to<>> given_;
  std::deque<std::string> order_;
};

// What the connections of one gate share. Loop-confined.
struct GateShared {
  GateShared(const Gate::Deps& d, Gate::Options o, std::string_view secret)
      : deps(d), options(std::move(o)), inboxes(secret) {}

  const Access& access() const { return *options.access; }

  const Gate::Deps deps;
  Gate::Options options;
  const Inboxes inboxes;
  GivenReplies replies;
  // Second tokens of the inboxes programs listen on, "*" for any; and how often.
  std::unordered_map<std::string, size_t, StringHash, std::equal_to<>> inbox_roots;
  size_t subscription_bytes = 0;
  size_t pending_bytes = 0;  // towards the programs
  Gate::Counters counters;
  protocol::ServerInfo info;  // of the server, as it was last
  client::Connection* control = nullptr;  // the gate's own; null while it has none
  std::vector<GateConnection*> dirty;     // have output to send in this turn
  std::string question_prefix;            // of the replies of the node's own questions
  std::string question_reply;             // of the one that is not answered yet
  std::shared_ptr<Callback<void()>> question_answered;
  Callback<void()> sweep;                 // destroys closed connections in the next turn
};

// A copy of everything that can be copied; callbacks share the ones of `options`, which lives as long.
client::Options copy_options(const client::Options& options);

// One connection of a program: the server's side of the protocol towards it, a client's towards the
// server. Owned by its gate; Loop-confined.
//
//   Waiting (for INFO) -> AwaitingConnect -> Open -> Closed
class GateConnection final : private io::TransportHandler {
 public:
  GateConnection(GateShared& shared, uint64_t id, std::unique_ptr<io::Transport> transport);
  ~GateConnection() override;
  GateConnection(const GateConnection&) = delete;
  GateConnection& operator=(const GateConnection&) = delete;

  // Says INFO; the server's is known.
  void begin();
  bool is_waiting() const { return state_ == State::Waiting; }
  bool is_closed() const { return state_ == State::Closed; }
  // Tells why, if at all, and ends once the gate sweeps.
  void close_later(std::string_view error_text = {});
  // Hands a request to the first subscription that takes it; whether there was one.
  bool ask(std::string_view subject, std::string_view reply);
  // Ends subscriptions that are not allowed any more.
  void on_access_changed();
  void flush();

 private:
  enum class State : uint8_t { Waiting, AwaitingConnect, Open, Closed };
  struct Sub {
    std::string sid;
    std::string subject;  // as the program wrote it
    std::string queue;
    std::unique_ptr<client::Subscription> subscription;
  };
  using Subs = std::unordered_map<std::string_view, std::unique_ptr<Sub>>;  // by sid

  void on_readable() override;
  void on_writable() override;
  void read_into_partial(size_t missing);
  void consume(std::string_view input);
  void resume_input();
  bool is_reading_paused() const { return state_ == State::Closed || is_held_; }
  void listen();
  bool handle(const protocol::Command& command);
  void handle_connect(std::string_view json);
  bool is_proven() const;
  void open_upstream();
  bool handle_publish(const protocol::Command& command);
  bool may_publish(std::string_view subject);
  bool is_own_inbox(std::string_view subject) const;
  std::string outward_reply(std::string_view reply, bool& is_allowed);
  bool take_node_answer(std::string_view subject);
  bool take_api_request(const protocol::Command& command);
  void answer_locally(std::string_view reply, std::string_view payload);
  void handle_subscribe(const protocol::Command& command);
  void handle_unsubscribe(const protocol::Command& command);
  void add_subscription(const protocol::Command& command, bool is_inbox);
  void drain(Subs::iterator found);
  void forget(const Sub& sub);
  void drop_subscriptions();
  bool waits_for_server();
  void ask_for_pong(bool is_programs);
  void deliver(Sub& sub, const client::Message& message);
  void write_message(std::string_view subject, std::string_view sid, std::string_view reply,
                     std::string_view headers, std::string_view payload);
  void on_upstream_error(const Error& error);
  void send(std::string_view text);
  void send_error(std::string_view text);
  void refuse(std::string_view what, std::string_view subject, std::string_view rest = {});
  void send_ok();
  void mark_dirty();
  void on_timer();
  void on_write_deadline();

  GateShared& shared_;
  const uint64_t id_;
  std::unique_ptr<io::Transport> transport_;
  State state_ = State::Waiting;
  bool is_held_ = false;  // the command at the start of `input_` waits for the server
  bool is_dirty_ = false;
  bool is_write_blocked_ = false;
  bool connect_received_ = false;
  uint8_t pings_out_ = 0;
  std::string nonce_;
  protocol::ConnectOptions connect_;
  protocol::ClientParser parser_;
  std::string input_;
  size_t input_needed_ = 0;
  client::Output output_;
  size_t counted_pending_ = 0;  // of output_ in shared_.pending_bytes
  uint64_t sent_bytes_ = 0;
  uint64_t sent_mark_ = 0;  // what must be sent when the write timer fires
  io::Timer timer_;
  io::Timer write_timer_;
  std::unique_ptr<client::Connection> upstream_;
  size_t upstream_pending_max_ = 0;
  size_t pongs_awaited_ = 0;   // of the server
  size_t lists_awaited_ = 0;
  Subs subs_;
  std::unordered_map<const Sub*, std::unique_ptr<Sub>> ending_;  // what was on its way still comes
  std::unordered_map<std::string, bool, StringHash, std::equal_to<>> publish_answers_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace brokkr::workload
