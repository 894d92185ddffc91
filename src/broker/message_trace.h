#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/clock.h"

// Message tracing: a message with the header Nats-Trace-Dest (or a sampled traceparent, where the
// account says so) has what happened to it on its way through the server told to that subject. With
// Nats-Trace-Only it goes nowhere else.
namespace brokkr::broker {

class Account;
class Connection;
class Shard;

// What a header block asks for. Pure.
struct TraceWish {
  std::map<std::string, std::vector<std::string>, std::less<>> headers;
  std::string destination;   // empty: nothing is asked for
  bool is_only = false;      // deliver to nobody
  bool is_external = false;  // by traceparent: the account says where to
  bool has_origin = false;   // of an older protocol, not traced
};
TraceWish read_trace_wish(std::string_view header_block);
// The block with a destination that is none, so that nobody traces the message again.
std::string without_trace_wish(std::string_view header_block);
// Whether reading it closely is worth the while; cheap.
bool may_hold_trace_wish(std::string_view header_block);

// What is told of one message. Several loops add to it; it is sent when the last of them lets go.
// Thread-safe.
class MessageTrace {
 public:
  // The numbers nats-server has for kinds of connections.
  enum class Kind : uint8_t { Client = 0, System = 3, Leaf = 4, JetStream = 5, Account = 6 };
  // The publisher, as the first event tells it.
  struct Ingress {
    Kind kind = Kind::Client;
    uint64_t id = 0;
    std::string name;
    std::string account;
    std::string subject;
    WallTime time;
  };
  struct Egress {
    Kind kind = Kind::Client;
    uint64_t id = 0;
    std::string name;
    std::string hop;
    std::string account;  // told only when it is not the publisher's
    std::string subscription;
    std::string queue;
    std::string_view error;  // of the texts below; empty: it was delivered
  };
  static constexpr std::string_view kNoEcho = "Not delivered because of no echo";
  static constexpr std::string_view kDenied =
      "Not delivered because subscription denies this subject";
  static constexpr std::string_view kSubscriptionClosed =
      "Not delivered because subscription is closed";
  static constexpr std::string_view kClientClosed = "Not delivered because client is closed";
  static constexpr std::string_view kRemoteUnable =
      "Not delivered because remote does not support message tracing";
  static constexpr std::string_view kRemoteSilent =
      "Message delivered but remote does not support message tracing so no trace event generated "
      "from there";
  static constexpr std::string_view kPublishDenied =
      "Not delivered because publish denied for this subject";

  // Begins with one hold, the maker's.
  MessageTrace(TraceWish wish, size_t message_size, Ingress ingress);
  bool is_only() const { return wish_.is_only; }
  const std::string& destination() const { return wish_.destination; }
  const std::string& account() const { return ingress_.account; }

  void fail(std::string_view error);
  void add_mapping(std::string_view to, WallTime now);
  void add_stream_export(std::string_view account, std::string_view to, WallTime now);
  void add_service_import(std::string_view account, std::string_view from, std::string_view to,
                          WallTime now);
  void add_jetstream(std::string_view stream, std::string_view subject, bool no_interest,
                     std::string_view error, WallTime now);
  void add_egress(const Egress& egress, WallTime now);
  // The number of the next server the message goes to, for its header Nats-Trace-Hop.
  std::string next_hop();

  void hold() { holds_.fetch_add(1, std::memory_order_relaxed); }
  // Lets go; the last one sends what was gathered from its shard and destroys this.
  void release(Shard& shard);

 private:
  ~MessageTrace() = default;
  void add(std::string event);
  std::string render(Shard& shard);

  const TraceWish wish_;
  const size_t message_size_;
  Ingress ingress_;
  std::atomic<uint32_t> holds_{1};
  std::mutex mutex_;  // for the rest
  std::string error_;
  std::vector<std::string> events_;  // JSON, without the first
  uint32_t hops_ = 0;
};

// The maker's hold, for the time one message of a connection is routed. Loop-confined.
class TraceScope {
 public:
  explicit TraceScope(Shard& shard) : shard_(shard) {}
  ~TraceScope();
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;
  // Looks at the header block of a message that `from` publishes. False when the message must go
  // nowhere: its publisher may not write to the destination, or wanted a trace alone that cannot be.
  bool begin(Connection& from, std::string_view subject, std::string_view header_block,
             size_t message_size);
  // The same for a message of a leaf node, which `ingress` describes; `may_write` says where the other
  // side may publish to.
  bool begin(MessageTrace::Ingress ingress, const Account& account, std::string_view header_block,
             size_t message_size, FunctionRef<bool(std::string_view subject)> may_write);
  MessageTrace* get() const { return trace_; }
  void fail(std::string_view error) {
    if (trace_ != nullptr) trace_->fail(error);
  }

 private:
  Shard& shard_;
  MessageTrace* trace_ = nullptr;
};

}  // namespace brokkr::broker
