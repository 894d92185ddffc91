#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "broker/shard.h"
#include "io/loop.h"
#include "jetstream/api_error.h"
#include "jetstream/consumer.h"
#include "jetstream/stream_config.h"
#include "jetstream/upkeep.h"
#include "store/store.h"
#include "subject/transform.h"

namespace brokkr::jetstream {

class Account;
class DirectGet;
class Ingest;
class Schedules;
class Sources;

// What the store must know of a stream with that configuration.
store::StreamOptions store_options(const StreamConfig& config, std::string_view account,
                                   WallTime created);

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
  // Whether it was purged since the start: only then, or when it was given one, does nats-server show
  // the first sequence of a stream that never had a message.
  bool was_purged() const { return was_purged_; }
  void note_purge() { was_purged_ = true; }
  Account& account() { return account_; }
  store::Stream& messages() { return messages_; }

  // A checked new configuration takes effect: limits, subjects, transforms, retention. The store
  // keeps it.
  void update(StreamConfig config);
  // What waits for the disk will not get there: says so to whoever waits for an answer.
  void on_store_failed();
  // Ends the consumers and subscriptions. The account removes the messages and destroys it.
  void end(Consumer::End reason);

  // Stores a message as if it had been published, with all the checks; the PubAck goes to `reply`
  // unless empty. `from` may be null.
  void ingest(std::string_view subject, std::string_view reply, std::string_view headers,
              std::string_view body, const broker::Connection* from);

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

  // A link to another server is there: origins behind it are asked again at once.
  void hurry_sources();
  // The members "mirror" and "sources" of a StreamInfo, where there are any.
  void write_sources(json::Writer& out);

  // Where in the log is what a reader may see now; 0 when all of it is durable.
  store::Lsn durable_after();

  // --- for the parts of a stream
  // A message was stored: sees to its end of life. `expires_at` as in store::Record.
  void on_stored(int64_t timestamp_ns, uint64_t expires_at);
  void on_schedule_stored(uint64_t seq, std::string_view subject, std::string_view headers,
                          int64_t timestamp_ns);
  // Stops reading from the connection for a while; it may be null or gone.
  void stall(const broker::Connection* from, Duration how_long);
  Ingest& ingestion() { return *ingest_; }
  // A message from another stream or of the stream's own making; see Ingest::add_sourced.
  std::optional<uint64_t> add_sourced(std::string_view subject, std::string_view headers,
                                      std::string_view body);
  // A mirror's message under its origin's sequence and time; false when the store does not take it.
  bool add_mirrored(uint64_t seq, int64_t timestamp_ns, std::string_view subject,
                    std::string_view headers, std::string_view body);

 private:
  class Busy;
  class Expiry;
  class Sweep;
  struct Deferred;

  void on_removed(uint64_t seq, std::string_view subject, store::Removal why) override;
  void on_purged(std::string_view filter, uint64_t below) override;
  bool on_expiring(const store::Record& message) override;
  void on_visible(uint64_t seq) override;

  void subscribe();
  void capture(const broker::Message& message);
  void capture_traced(const broker::Message& message);
  void run_deferred();
  void tell_visible();
  void place_markers();
  void apply_services();
  bool is_needed(uint64_t seq, std::string_view subject, const Consumer* except);

  Account& account_;
  StreamConfig config_;
  store::Stream& messages_;
  const WallTime created_;
  bool is_ended_ = false;
  bool was_purged_ = false;
  // Within a call that changes the stream: what is published meanwhile waits for its end.
  uint32_t busy_ = 0;
  bool is_visible_news_ = false;
  uint64_t told_visible_ = 0;
  bool is_removal_news_ = false;
  store::Lsn removed_at_ = 0;  // position in the log of the last removal somebody asked for
  std::vector<Deferred> deferred_;
  std::unique_ptr<io::Task> deferred_task_;
  std::vector<std::string> markers_;  // subjects that get a delete marker

  std::unique_ptr<Ingest> ingest_;
  std::unique_ptr<Expiry> expiry_;
  std::unique_ptr<Sweep> sweep_;
  std::unique_ptr<Schedules> schedules_;
  std::unique_ptr<DirectGet> direct_get_;
  std::unique_ptr<Sources> sources_;
  Consumers consumers_;
  std::vector<std::unique_ptr<broker::InternalSubscription>> subscriptions_;
};

}  // namespace brokkr::jetstream
