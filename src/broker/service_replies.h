#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "auth/account_rules.h"
#include "base/clock.h"
#include "base/hash.h"
#include "io/loop.h"

namespace brokkr::broker {

class Account;
class InternalSubscription;
class Shard;
struct Message;
struct ServiceRoute;

// The way back of requests that went to another account: the service answers to "_R_.<loop>.<id>",
// which only it was told, and the answer goes on to where the requester waits. Loop-confined.
//
// One answer ends a singleton, an empty one every other kind; all end when nothing came for
// the response threshold. Bounded: with kPendingMax under way no more are taken.
class ServiceReplies {
 public:
  static constexpr size_t kPendingMax = 1 << 18;

  explicit ServiceReplies(Shard& shard);
  ~ServiceReplies();
  // Answers of that account's services are taken from now on.
  void listen(Account& exporter);
  // What the service is to answer to; empty when too many answers are awaited. `requester` is who asks, as JSON, for the latency report.
  std::string open(const ServiceRoute& route, const Message& request, std::string_view requester);
  // Nobody listens to the service: the requester will be told otherwise.
  void cancel(std::string_view reply);
  size_t size() const { return pending_.size(); }
  // The account's imports changed: answers to what went over them are not awaited any more.
  void forget(const Account& importer);

 private:
  struct Pending {
    Account* importer = nullptr;
    Account* exporter = nullptr;
    std::string reply;
    config::ResponseType type = config::ResponseType::Singleton;
    Duration threshold{};
    MonotonicTime deadline{};
    std::optional<config::ServiceLatency> latency;  // only of sampled requests
    std::string requester;
    WallTime start{};
    Duration requester_round_trip{};
  };
  using Table = std::unordered_map<std::string, Pending, StringHash, std::equal_to<>>;
  void on_answer(const Message& answer);
  void on_timer();
  struct Responder {
    std::string_view client;  // as JSON; empty: nobody answered
    Duration round_trip{};
  };
  void report(const Pending&, int status, std::string_view description, Responder responder);

  Shard& shard_;
  std::string prefix_;  // "_R_.<loop>."
  Table pending_;       // by what follows the prefix
  std::vector<std::pair<Account*, std::unique_ptr<InternalSubscription>>> listeners_;
  io::Timer timer_;
};

}  // namespace brokkr::broker
