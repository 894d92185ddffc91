#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "broker/shard.h"
#include "jetstream/api_error.h"
#include "jetstream/consumer.h"
#include "jetstream/stream_config.h"
#include "store/store.h"
#include "subject/transform.h"

namespace brokkr::jetstream {

class Account;

// One stream: captures what is published on its subjects, answers with PubAcks once durable, keeps
// its retention, feeds its consumers. Loop-confined; owned by its account.
class Stream final : private store::StreamObserver {
 public:
  // `config` has been checked against all rules. Subscribes to its subjects.
  Stream(Account& account, StreamConfig config, store::Stream& messages, WallTime created);
  ~Stream() override;

  const std::string& name() const { return config_.name; }
  const StreamConfig& config() const { return config_; }
  WallTime created() const { return created_; }
  Account& account() { return account_; }
  store::Stream& messages() { return messages_; }

  // A checked new configuration takes effect: limits, subjects, transforms, retention.
  void update(StreamConfig config);
  // Ends the consumers and subscriptions. The account removes the messages and destroys it.
  void end(Consumer::End reason);

  // Stores a message as if it had been published, with all the checks; the PubAck goes to `reply`
  // unless empty. `from` may be null.
  void ingest(std::string_view subject, std::string_view reply, std::string_view headers,
              std::string_view body, broker::Connection* from);

  using Consumers = std::map<std::string, std::unique_ptr<Consumer>, std::less<>>;
  Consumers& consumers() { return consumers_; }
  Consumer* find_consumer(std::string_view name);
  void add_consumer(std::unique_ptr<Consumer> consumer);
  // Ends and destroys it and forgets its state; messages nobody needs any more go.
  void remove_consumer(Consumer& consumer, Consumer::End reason);
  // The consumer has settled that message (acknowledged, terminated); with interest or work-queue
  // retention it may go.
  void on_settled(Consumer& consumer, uint64_t seq);
  // A consumer's filter has become narrower: what it alone kept may go.
  void on_interest_changed();

 private:
  void on_removed(uint64_t seq, std::string_view subject, store::Removal why) override;
  void on_purged(std::string_view filter, uint64_t below) override;
  bool on_expiring(const store::Record& message) override;
  void on_visible(uint64_t seq) override;

  Account& account_;
  StreamConfig config_;
  store::Stream& messages_;
  const WallTime created_;
  Consumers consumers_;
};

}  // namespace brokkr::jetstream
