#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "broker/jetstream_report.h"
#include "broker/leaf_report.h"
#include "broker/monitor/connz.h"
#include "broker/monitor/documents.h"
#include "broker/monitor/subsz.h"
#include "broker/monitor/varz.h"

namespace brokkr::broker {

class Server;

// Asks the loops what they know and waits for the answers, a bounded piece of work per loop and
// turn so that clients are not held up. Called on threads that run no loop, several at a time;
// Thread-safe. A survey that is cancelled or takes longer than kWaitMax comes back empty.
class Survey {
 public:
  static constexpr Duration kWaitMax = std::chrono::seconds(5);
  // One visit to a loop reports at most this many connections, or lists about this many
  // subscriptions; those of one connection are not divided.
  static constexpr size_t kConnectionsPerVisit = 512;
  static constexpr size_t kSubscriptionsPerVisit = 8192;

  // `server` outlives the survey's last call and the posts it left behind are harmless afterwards.
  explicit Survey(Server& server) : server_(server), state_(std::make_shared<State>()) {}

  std::optional<std::vector<LoopReport>> loops();
  // By name; the system account is always among them.
  std::optional<std::vector<AccountReport>> accounts();
  std::optional<Connz> connz(const ConnzOptions& options, WallTime now);
  std::optional<Subsz> subsz(const SubszOptions& options, WallTime now);

  // What JetStream answers; absent inside when there is none.
  std::optional<std::optional<std::string>> jsz(const JszOptions& options);
  std::optional<std::optional<JetStreamSummary>> jetstream();
  std::optional<JetStreamProblem> jetstream_health(const HealthzOptions& options);

  std::optional<std::vector<LeafReport>> leafs(bool with_subscriptions);
  // Ends the client or leaf node of that id; false inside when there is none.
  std::optional<bool> kick(uint64_t id);
  // Tells one client that the server is going away, so that it goes elsewhere.
  enum class Notified : uint8_t { NoSuchClient, NotReady, Yes };
  std::optional<Notified> announce_lame_duck(uint64_t id);
  // How many clients' subscriptions a message on `subject` reaches or, where it has wildcards, are
  // within it; with `queue` only those of that group.
  std::optional<uint64_t> count_subscribers(const std::string& account, const std::string& subject,
                                            const std::string& queue);

  // Lets every caller go at once and stops what is queued on the loops from running.
  void cancel();

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    std::atomic<bool> is_cancelled{false};
  };
  template <typename T>
  struct Round;
  struct KeyList;
  struct SubscriptionVisit;

  template <typename T>
  std::optional<std::vector<T>> ask(std::vector<uint32_t> shards,
                                    std::function<T(Shard&, size_t)> question);
  template <typename T>
  std::optional<std::vector<T>> ask_all(std::function<T(Shard&, size_t)> question);
  std::optional<std::vector<ConnectionReport>> fetch(const std::vector<ConnectionKey>& page,
                                                     const ConnzOptions& options);
  std::optional<std::vector<SubscriptionReport>> list_subscriptions(const SubszOptions& options,
                                                                    uint64_t& total);

  Server& server_;
  const std::shared_ptr<State> state_;
};

}  // namespace brokkr::broker
