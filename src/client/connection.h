#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/callback.h"
#include "base/random.h"
#include "base/result.h"
#include "client/message.h"
#include "client/options.h"
#include "io/loop.h"
#include "io/worker.h"
#include "protocol/info.h"

namespace brokkr::client {

class Core;

enum class State : uint8_t {
  Connecting,  // dialling, for the first time or again
  Handshake,   // stream open, waiting for INFO or for the answer to CONNECT
  Connected,
  Draining,    // connected, subscriptions ending, publishes leaving; then Closed
  Waiting,     // between two attempts
  Closed,
};
const char* to_string(State);

using MessageHandler = Callback<void(const Message&)>;
// A reply or why there is none: NoResponders, TimedOut, PermissionDenied, Closed.
using ReplyHandler = Callback<void(const Result<Message>&)>;
using DoneHandler = Callback<void(const Status&)>;

enum class RequestId : uint64_t {};

// Interest in a subject for as long as it lives: the destructor unsubscribes. It survives
// reconnects. May be destroyed from within any handler, its own included, and may outlive its
// connection. Loop-confined.
class Subscription {
 public:
  ~Subscription();
  Subscription(const Subscription&) = delete;
  Subscription& operator=(const Subscription&) = delete;

  // No message is delivered after this.
  void unsubscribe();
  // Ends by itself once `messages` have been delivered, counted from the subscription's start.
  void unsubscribe_after(uint64_t messages);
  // Tells the server to stop, delivers what was already on its way, then calls `done`.
  void drain(DoneHandler done = {});
  // Hears of this subscription's own errors: the server refused it (PermissionDenied).
  void on_error(Callback<void(const Error&)> handler) { on_error_ = std::move(handler); }

  bool is_active() const { return core_ != nullptr; }
  const std::string& subject() const { return subject_; }
  const std::string& queue() const { return queue_; }
  uint64_t delivered_count() const { return delivered_; }

 private:
  friend class Core;
  Subscription() = default;

  Core* core_ = nullptr;  // null once ended
  uint64_t sid_ = 0;
  std::string subject_;
  std::string queue_;
  MessageHandler handler_;
  Callback<void(const Error&)> on_error_;
  uint64_t delivered_ = 0;
  uint64_t messages_max_ = 0;
  bool* destroyed_ = nullptr;  // set while a handler of it runs, to tell it has gone meanwhile
};

// Calls back each time its connection has lost its server and found one again, for as long as it
// lives: what the old server was asked for is then to be asked for again. Also tells, once, that the
// connection has closed or is being destroyed: then nothing of it may be used. May be destroyed from
// within any handler and may outlive its connection. Loop-confined.
class ReconnectWatch {
 public:
  ~ReconnectWatch();
  ReconnectWatch(const ReconnectWatch&) = delete;
  ReconnectWatch& operator=(const ReconnectWatch&) = delete;

 private:
  friend class Core;
  ReconnectWatch() = default;
  Core* core_ = nullptr;  // null once the connection has closed
  Callback<void()> handler_;
  Callback<void()> on_gone_;
};

// When collecting several replies ends: whichever comes first.
struct ManyOptions {
  Duration timeout = std::chrono::seconds(5);
  Duration stall{};          // no further reply for so long after one came; zero means no such end
  uint64_t replies_max = 0;  // zero means no such end
  bool until_empty = false;  // a reply without payload ends it and is not delivered
};

struct Stats {
  uint64_t in_messages = 0;
  uint64_t in_bytes = 0;  // payload and header bytes
  uint64_t out_messages = 0;
  uint64_t out_bytes = 0;
  uint64_t reconnects = 0;
};

// One connection to a NATS server, on a loop and with no thread of its own. It connects by itself,
// reconnects with backoff and jitter, and puts its subscriptions in place again. What is published
// within one turn of the loop leaves in one send at the turn's end; what is published while there is
// no connection waits, up to a limit. Delivery is at most once: what was handed to a stream that then
// broke is lost. Destroying it closes at once and calls back to ReconnectWatches only; that is allowed
// in any handler. Loop-confined.
class Connection {
 public:
  // `loop`, `resolver` (name look-ups) and `random` outlive the connection.
  struct Deps {
    io::Loop& loop;
    io::Worker& resolver;
    Random& random;
  };

  // Checks the options and starts to connect; no callback comes from within. Fails with
  // InvalidArgument or Unsupported on a bad server URL.
  static Result<std::unique_ptr<Connection>> open(const Deps&, Options, Events = {});
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Copies the message into the output buffer. Fails with InvalidSubject (empty or with blanks),
  // LimitExceeded (payload beyond the server's max_payload, or buffers full: see
  // Events::drained_output) or Closed.
  Status publish(std::string_view subject, std::string_view payload, const PublishOptions& = {});

  // Fails with InvalidSubject or Closed.
  Result<std::unique_ptr<Subscription>> subscribe(std::string_view subject, MessageHandler handler,
                                                  const SubscribeOptions& = {});

  // Publishes with a reply subject under the connection's one inbox. `handler` is called exactly
  // once unless the request is cancelled or the connection destroyed; never from within. When this
  // fails (as `publish` does), it is not called.
  Result<RequestId> request(std::string_view subject, std::string_view payload, Duration timeout,
                            ReplyHandler handler, std::string_view headers = {});
  // Collects several replies: `on_reply` for each, then `on_end` once: ok when at least one came or
  // the limits of `options` were met otherwise; NoResponders, TimedOut (no reply at all) or Closed.
  Result<RequestId> request_many(std::string_view subject, std::string_view payload,
                                 const ManyOptions& options, MessageHandler on_reply,
                                 DoneHandler on_end, std::string_view headers = {});
  // The handler is not called any more. No effect when the request has ended.
  void cancel(RequestId);

  // Calls back when the server has taken in everything before it; with TimedOut or Closed else.
  void flush(Duration timeout, DoneHandler done);
  // Ends the subscriptions, lets what is on its way arrive, sends what is published, closes, then
  // calls `done`.
  void drain(DoneHandler done = {});
  // Closes at once: pending requests and flushes end with Closed, then Events::closed.
  void close();

  // `handler` runs after subscriptions are in place again and before Events::reconnected.
  std::unique_ptr<ReconnectWatch> watch_reconnects(Callback<void()> handler,
                                                   Callback<void()> on_gone = {});

  State state() const;
  bool is_connected() const { return state() == State::Connected || state() == State::Draining; }
  // What the server said last; of its default content before the first INFO.
  const protocol::ServerInfo& server_info() const;
  // The current server without credentials, or empty.
  std::string server_text() const;
  const Stats& stats() const;
  size_t pending_bytes() const;
  // Why the connection closed or was lost last.
  const Error& last_error() const;
  // A subject nobody else uses, below the inbox prefix.
  std::string make_inbox();
  io::Loop& loop() const;

 private:
  Connection() = default;
  std::unique_ptr<Core> core_;
};

}  // namespace brokkr::client
