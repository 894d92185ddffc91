#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "broker/shard.h"
#include "jetstream/api_error.h"
#include "jetstream/stream.h"
#include "jetstream/subject_claims.h"

namespace brokkr::jetstream {

class ConsumerRouter;
class JetStream;
class Transfers;

// What an account may use; -1: no limit.
struct AccountLimits {
  int64_t max_memory = -1;
  int64_t max_storage = -1;
  int64_t max_streams = -1;
  int64_t max_consumers = -1;
  int64_t max_ack_pending = -1;
  int64_t memory_max_stream_bytes = -1;
  int64_t storage_max_stream_bytes = -1;
  bool max_bytes_required = false;
};

// What an account has.
struct AccountUsage {
  uint64_t memory = 0;  // counted bytes of streams in memory
  uint64_t storage = 0;
  uint64_t reserved_memory = 0;  // max_bytes of streams that have one
  uint64_t reserved_storage = 0;
  size_t streams = 0;
  size_t consumers = 0;
};

// What was asked of the API.
struct ApiStats {
  uint64_t total = 0;
  uint64_t errors = 0;
};

// The streams of one account. Loop-confined; owned by JetStream.
class Account {
 public:
  // Without limits JetStream is off for the account: the API says so.
  Account(JetStream& jetstream, broker::Account& account, std::optional<AccountLimits> limits);
  ~Account();

  const std::string& name() const { return account_.name(); }
  JetStream& jetstream() { return jetstream_; }
  broker::Account& interest() { return account_; }
  bool is_enabled() const { return is_enabled_; }
  // Other limits than before. Without any the streams end here and stay in the store.
  void set_limits(std::optional<AccountLimits> limits);
  const AccountLimits& limits() const { return limits_; }
  AccountUsage usage() const;
  uint64_t reserved_memory() const { return reserved_memory_; }
  uint64_t reserved_storage() const { return reserved_storage_; }
  ApiStats& api_stats() { return api_stats_; }

  using Streams = std::map<std::string, std::unique_ptr<Stream>, std::less<>>;
  Streams& streams() { return streams_; }
  Stream* find_stream(std::string_view name);
  // Checks everything a configuration must be checked for, and makes it so.
  ApiResult<Stream*> create_stream(StreamConfig config, bool is_pedantic);
  // Whether there is room for it, as it is or instead of the one of that name.
  ApiStatus check_room(const StreamConfig& config);
  ApiStatus update_stream(Stream& stream, StreamConfig config, bool is_pedantic);
  void delete_stream(Stream& stream);
  // Whether there is room for a stream of a checked configuration, and its subjects are free.
  ApiStatus check_new_stream(const StreamConfig& config) const;
  // One that was found in the store.
  void restore_stream(store::Stream& messages);

  // Where acknowledgements and requests for messages find their consumers; made at first use.
  ConsumerRouter& router();
  // Backups and restores that are on their way.
  Transfers& transfers();

  // A message of the server's own to whoever listens in the account. True when somebody did.
  bool publish(std::string_view subject, std::string_view reply, std::string_view headers,
               std::string_view body);
  // The same, sent to those interested in `route` but showing `subject`: how consumers deliver.
  bool deliver(std::string_view route, std::string_view subject, std::string_view reply,
               std::string_view headers, std::string_view body);
  bool has_interest(std::string_view subject) const;
  // An advisory or metric: `write` adds the members between the time and the domain. Not even built
  // when nobody listens.
  void advise(std::string_view subject, std::string_view type, FunctionRef<void(json::Writer&)> write);

 private:
  JetStream& jetstream_;
  broker::Account& account_;
  bool is_enabled_;
  AccountLimits limits_;
  ApiStats api_stats_;
  uint64_t reserved_memory_ = 0;  // the sums over the streams' max_bytes
  uint64_t reserved_storage_ = 0;
  std::shared_ptr<ConsumerRouter> router_;  // outlives the streams
  Streams streams_;
  SubjectClaims claims_;  // of the streams
  std::unique_ptr<Transfers> transfers_;

  void reserve(const StreamConfig& config, bool is_more);
  ApiStatus check_limits(const StreamConfig& config, const StreamConfig* old) const;
  bool do_subjects_overlap(const StreamConfig& config, const Stream* except) const;
  void advise_stream(const std::string& stream, const char* what, const char* action);
};

}  // namespace brokkr::jetstream
