#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/hash.h"
#include "broker/shard.h"
#include "io/loop.h"

namespace brokkr::jetstream {

class Account;
class StreamConsumer;

// Takes what clients of one account send to its consumers (acknowledgements, pull requests, answers
// to flow control) to the right one: three subscriptions and a table, however many consumers there
// are. Requests to a consumer that is not there are answered as if nobody listened.
// Loop-confined; outlives the consumers.
class ConsumerRouter final : private io::Task {
 public:
  explicit ConsumerRouter(Account& account);
  ~ConsumerRouter() override;

  void add(StreamConsumer& consumer);
  void remove(StreamConsumer& consumer);

  // Sends an empty message to `reply` once everything done so far is durable.
  void answer_when_durable(std::string_view reply);

 private:
  using Subscription = std::unique_ptr<broker::InternalSubscription>;
  struct Answers;

  void run() override;
  StreamConsumer* find(std::string_view key) const;
  void on_ack(const broker::Message& message);
  void on_flow_control(const broker::Message& message);
  void on_pull(const broker::Message& message);
  void refuse(const broker::Message& message);

  Account& account_;
  std::string domain_and_hash_;  // of this account in acknowledgement subjects
  // By "<stream>.<consumer>"; the keys are the consumers' own texts.
  std::unordered_map<std::string_view, StreamConsumer*, StringHash> consumers_;
  Subscription acks_;
  Subscription flow_control_;
  Subscription pulls_;
  std::shared_ptr<Answers> answers_;
};

}  // namespace brokkr::jetstream
