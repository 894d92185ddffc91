#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "jetstream/api_error.h"
#include "jetstream/stream_config.h"

namespace brokkr::jetstream {

struct AccountLimits;

enum class DeliverPolicy : uint8_t { All, Last, New, ByStartSequence, ByStartTime, LastPerSubject, Undefined };
enum class AckPolicy : uint8_t { None, All, Explicit, FlowControl };
enum class ReplayPolicy : uint8_t { Instant, Original };
enum class PriorityPolicy : uint8_t { None, Overflow, PinnedClient, Prioritized };

// A consumer's configuration; names, defaults and rules are JetStream's (jetstream.md 2.2).
struct ConsumerConfig {
  std::string durable_name;
  std::string name;
  std::string description;
  DeliverPolicy deliver_policy = DeliverPolicy::All;
  uint64_t opt_start_seq = 0;
  std::optional<WallTime> opt_start_time;
  AckPolicy ack_policy = AckPolicy::None;
  Duration ack_wait{};
  int64_t max_deliver = 0;
  std::vector<Duration> backoff;
  std::string filter_subject;
  std::vector<std::string> filter_subjects;
  ReplayPolicy replay_policy = ReplayPolicy::Instant;
  uint64_t rate_limit_bps = 0;
  std::string sample_freq;
  int64_t max_waiting = 0;
  int64_t max_ack_pending = 0;
  bool flow_control = false;
  bool headers_only = false;
  int64_t max_batch = 0;
  Duration max_expires{};
  int64_t max_bytes = 0;
  std::string deliver_subject;  // empty: pull
  std::string deliver_group;
  Duration idle_heartbeat{};
  Duration inactive_threshold{};
  int64_t num_replicas = 0;
  bool mem_storage = false;
  bool direct = false;
  bool sourcing = false;
  Metadata metadata;
  std::optional<WallTime> pause_until;
  std::vector<std::string> priority_groups;
  PriorityPolicy priority_policy = PriorityPolicy::None;
  Duration priority_timeout{};
  bool operator==(const ConsumerConfig&) const = default;
  bool is_push() const { return !deliver_subject.empty(); }
  bool is_durable() const { return !durable_name.empty(); }
  // All the filters; empty for everything.
  std::vector<std::string> filters() const;
  // How long a message that has been delivered so often waits for its acknowledgement.
  Duration wait_after(uint32_t deliveries) const;
};

// Unknown fields are 10025 when `strict`, ignored otherwise; wrong kinds and enum strings always are.
ApiResult<ConsumerConfig> parse_consumer_config(const json::Value& object, bool strict);
// Fields and their order as nats-server prints them.
void write_consumer_config(json::Writer& out, const ConsumerConfig& config);

enum class ConsumerAction : uint8_t { CreateOrUpdate, Create, Update };

// The body of a request that creates or updates a consumer.
struct ConsumerCreateRequest {
  std::string stream_name;
  ConsumerConfig config;
  ConsumerAction action = ConsumerAction::CreateOrUpdate;
  bool pedantic = false;
};
ApiResult<ConsumerCreateRequest> parse_consumer_create_request(const json::Value& object, bool strict);

}  // namespace brokkr::jetstream
