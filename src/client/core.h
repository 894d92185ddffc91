#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "client/connection.h"
#include "client/output.h"
#include "client/server_url.h"
#include "io/socket.h"
#include "io/tls.h"
#include "protocol/server_parser.h"

namespace brokkr::client {

// One known server and how it has behaved.
struct KnownServer {
  ServerUrl url;
  bool is_discovered = false;
  int failures = 0;             // attempts in a row
  bool has_refused_us = false;  // the last attempt ended with an authentication error
};

// A request that waits for its reply or replies. Slots are reused; the generation tells a late reply
// to an earlier user of the slot from one to this.
struct PendingRequest {
  PendingRequest(io::Loop& loop, Callback<void()> on_deadline)
      : timer(loop, std::move(on_deadline)) {}
  uint32_t generation = 0;
  bool is_active = false;
  bool is_many = false;
  uint64_t subject_hash = 0;  // finds the requests a permission error is about
  ReplyHandler on_reply;
  MessageHandler on_message;
  DoneHandler on_end;
  ManyOptions many;
  MonotonicTime deadline;
  Duration timeout{};
  uint64_t replies = 0;
  io::Timer timer;
};

// Can stand as one word of a protocol line: not empty, no blanks.
bool is_plain_word(std::string_view);

// The state behind a Connection. It outlives its Connection only while one of its callbacks is on
// the stack: each way in holds an Entry, and the last Entry of an abandoned core deletes it.
// Loop-confined.
class Core final : private io::TransportHandler, private io::TurnHook {
 public:
  Core(const Connection::Deps&, Options, Events, std::vector<KnownServer>);
  ~Core() override;
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  // Makes the first attempt in the next turn.
  void start() { attempt_timer_.start(Duration(0)); }
  // The Connection goes away.
  static void abandon(std::unique_ptr<Core>);

  Status publish(std::string_view subject, std::string_view payload, const PublishOptions&);
  Result<std::unique_ptr<Subscription>> subscribe(std::string_view subject, MessageHandler,
                                                  const SubscribeOptions&);
  void unsubscribe(Subscription&);
  void unsubscribe_after(Subscription&, uint64_t messages);
  void drain(Subscription&, DoneHandler);
  Result<RequestId> request(std::string_view subject, std::string_view payload, Duration timeout,
                            ReplyHandler, std::string_view headers);
  Result<RequestId> request_many(std::string_view subject, std::string_view payload,
                                 const ManyOptions&, MessageHandler, DoneHandler,
                                 std::string_view headers);
  void cancel(RequestId);
  void flush(Duration timeout, DoneHandler);
  void drain(DoneHandler);
  void close();
  std::unique_ptr<ReconnectWatch> watch_reconnects(Callback<void()> handler,
                                                   Callback<void()> on_gone);
  void forget(ReconnectWatch&);

  State state() const { return state_; }
  const protocol::ServerInfo& server_info() const { return info_; }
  std::string server_text() const;
  const Stats& stats() const { return stats_; }
  size_t pending_bytes() const { return output_.size() + greeting_.size(); }
  const Error& last_error() const { return last_error_; }
  std::string make_inbox();
  io::Loop& loop() const { return loop_; }

 private:
  // Marks that a callback of ours may be on the stack.
  class Entry {
   public:
    explicit Entry(Core& core) : core_(core) { ++core_.entries_; }
    ~Entry() {
      if (--core_.entries_ == 0 && core_.is_abandoned_) delete &core_;
    }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

   private:
    Core& core_;
  };
  // A PING on its way. Whoever waits for its PONG is in `done`; keep-alives have none.
  struct Ping {
    DoneHandler done;
    std::unique_ptr<io::Timer> timer;
    uint64_t id = 0;
  };
  enum class Failure : uint8_t { Network, Refused };

  // core.cc: the life of a connection
  void attempt();
  void on_stream(std::unique_ptr<io::Transport>);
  void on_handshake_timeout();
  void become_connected();
  void attempt_failed(Error, Failure);
  void lose(Error);
  void wait_for_next_attempt();
  void finish_close(Error);
  void drop_stream();
  void end_requests_and_pings(const Error&);
  void put_subscriptions_in_place();
  void on_ping_interval();
  void on_drain_step(const Status&);
  void detach_subscriptions();
  void tell_reconnect_watches();
  void tell_gone();

  // core_tls.cc
  bool wants_tls() const;
  std::string tls_server_name() const;
  void start_tls();
  void on_tls(const Status&);

  // core_stream.cc: bytes in and out
  void on_readable() override;
  void on_writable() override;
  bool has_work() const override;
  void on_turn_end() override;
  void write_some();
  // False when there is nothing more to read for now.
  bool read_some();
  bool after_read(const io::IoResult&);
  // Handles the commands in `input`; returns how much of it was consumed.
  size_t parse(std::string_view input);
  void handle(const protocol::ServerCommand&);
  void on_info(std::string_view json);
  void send_connect();
  void on_error_line(std::string_view text);
  void on_permission_error(std::string_view text, const Error&);
  void on_pong();
  void deliver(const protocol::ServerCommand&);
  void learn_servers();
  void report(const Error&);

  // core_requests.cc
  Result<PendingRequest*> open_request(std::string_view subject, std::string_view payload,
                                       std::string_view headers, uint32_t& index);
  Status subscribe_inbox();
  void on_reply(const Message&);
  void on_request_deadline(uint32_t index);
  void end_request(PendingRequest&, uint32_t index, Result<Message>);
  void fail_requests_to(uint64_t subject_hash, const Error&);

  void write_sub(Output&, std::string_view subject, std::string_view queue, uint64_t sid);
  void write_unsub(Output&, uint64_t sid, uint64_t messages);
  void send_ping(DoneHandler done, Duration timeout);

  io::Loop& loop_;
  io::Worker& resolver_;
  Random& random_;
  Options options_;
  Events events_;
  Nuid nuid_;

  State state_ = State::Connecting;
  bool was_connected_ = false;
  int entries_ = 0;
  bool is_abandoned_ = false;
  std::vector<KnownServer> servers_;
  size_t server_ = 0;    // the current one
  int attempts_ = 0;     // since the connection was lost
  Error last_error_{Errc::Closed, "not connected yet"};
  protocol::ServerInfo info_;
  bool has_info_ = false;

  std::unique_ptr<io::Connector> connector_;
  std::unique_ptr<io::Transport> transport_;
  io::TlsTransport* tls_ = nullptr;  // what `transport_` is once TLS has begun
  uint64_t stream_ = 0;  // counts streams: a changed number tells a loop that its stream has gone
  protocol::ServerParser parser_;
  std::string partial_;      // the start of a command whose end has not arrived
  size_t partial_needed_ = 0;
  Output greeting_;  // CONNECT and the subscriptions; precedes what is in output_
  Output output_;
  bool is_write_blocked_ = false;
  bool is_write_broken_ = false;
  bool has_refused_publish_ = false;

  std::unordered_map<uint64_t, Subscription*> subscriptions_;
  uint64_t next_sid_ = 1;
  uint64_t inbox_sid_ = 0;  // 0 until the first request
  std::string inbox_;       // "_INBOX.<nuid>."
  std::vector<std::unique_ptr<PendingRequest>> requests_;
  std::vector<uint32_t> free_requests_;
  std::vector<ReconnectWatch*> reconnect_watches_;
  std::deque<Ping> pings_;
  uint64_t next_ping_ = 1;
  int keep_alives_ = 0;  // without an answer
  std::vector<DoneHandler> drain_done_;
  int drain_step_ = 0;
  Stats stats_;

  io::Timer attempt_timer_;
  io::Timer handshake_timer_;
  io::Timer ping_timer_;
  io::Timer drain_timer_;
};

}  // namespace brokkr::client
