#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "client/api_error.h"
#include "client/jetstream_config.h"

// What JetStream answers. Value types; members have JetStream's names.
namespace brokkr::client {

struct LostData {
  std::vector<uint64_t> msgs;
  uint64_t bytes = 0;
};

struct StreamState {
  uint64_t messages = 0;
  uint64_t bytes = 0;
  uint64_t first_seq = 0;
  std::optional<WallTime> first_ts;
  uint64_t last_seq = 0;
  std::optional<WallTime> last_ts;
  uint64_t num_subjects = 0;
  std::map<std::string, uint64_t> subjects;
  uint64_t num_deleted = 0;
  std::vector<uint64_t> deleted;
  std::optional<LostData> lost;
  uint64_t consumer_count = 0;
};

struct PeerInfo {
  std::string name;
  bool current = false;
  bool offline = false;
  Duration active{};
  uint64_t lag = 0;
};

struct ClusterInfo {
  std::string name;
  std::string raft_group;
  std::string leader;
  std::optional<WallTime> leader_since;
  std::string traffic_account;
  bool system_account = false;
  std::vector<PeerInfo> replicas;
};

struct StreamSourceInfo {
  std::string name;
  std::optional<External> external;
  uint64_t lag = 0;
  Duration active{-1};  // negative: never heard
  std::string filter_subject;
  std::vector<SubjectTransform> subject_transforms;
  std::string error;
};

struct StreamInfo {
  StreamConfig config;
  StreamState state;
  std::optional<WallTime> created;
  std::optional<WallTime> ts;
  std::string domain;
  std::optional<ClusterInfo> cluster;
  std::optional<StreamSourceInfo> mirror;
  std::vector<StreamSourceInfo> sources;
  std::string json;  // the whole answer
};

struct SequenceInfo {
  uint64_t consumer_seq = 0;
  uint64_t stream_seq = 0;
  std::optional<WallTime> last_active;
};

struct PriorityGroupState {
  std::string group;
  std::string pinned_client_id;
  std::optional<WallTime> pinned_ts;
};

struct ConsumerInfo {
  std::string stream_name;
  std::string name;
  std::optional<WallTime> created;
  ConsumerConfig config;
  SequenceInfo delivered;
  SequenceInfo ack_floor;
  uint64_t num_ack_pending = 0;
  uint64_t num_redelivered = 0;
  uint64_t num_waiting = 0;
  uint64_t num_pending = 0;
  std::optional<ClusterInfo> cluster;
  bool push_bound = false;
  bool paused = false;
  Duration pause_remaining{};
  std::optional<WallTime> ts;
  std::vector<PriorityGroupState> priority_groups;
  std::string json;  // the whole answer
};

// What a tier may use and uses; -1 means without limit.
struct AccountTier {
  uint64_t memory = 0;
  uint64_t storage = 0;
  uint64_t reserved_memory = 0;
  uint64_t reserved_storage = 0;
  int64_t streams = 0;
  int64_t consumers = 0;
  int64_t max_memory = -1;
  int64_t max_storage = -1;
  int64_t max_streams = -1;
  int64_t max_consumers = -1;
  int64_t max_ack_pending = -1;
  int64_t memory_max_stream_bytes = -1;
  int64_t storage_max_stream_bytes = -1;
  bool max_bytes_required = false;
};

struct AccountInfo : AccountTier {
  std::string domain;
  int api_level = 0;
  uint64_t api_total = 0;
  uint64_t api_errors = 0;
  std::map<std::string, AccountTier> tiers;
  std::string json;
};

struct PubAck {
  std::string stream;
  uint64_t seq = 0;
  bool duplicate = false;
  std::string domain;
  std::string value;  // of a counter stream
  std::string batch;
  uint64_t count = 0;
};

// A message as the stream keeps it.
struct StoredMessage {
  std::string subject;
  uint64_t seq = 0;
  std::string headers;  // the block, or empty
  std::string payload;
  WallTime time{};
  // The next two are set in answers to a batch: what follows this one, and the sequence of the one
  // before it in the batch.
  uint64_t num_pending = 0;
  uint64_t last_seq = 0;
};

struct PauseState {
  bool paused = false;
  std::optional<WallTime> pause_until;
  Duration pause_remaining{};
};

// The error an answer carries, or one of our own when it is no JSON object; null when it is well.
std::optional<ApiError> find_api_error(const Result<json::Value>& answer);

ApiResult<StreamInfo> parse_stream_info(const json::Value&);
ApiResult<ConsumerInfo> parse_consumer_info(const json::Value&);
ApiResult<AccountInfo> parse_account_info(const json::Value&);
ApiResult<PauseState> parse_pause_state(const json::Value&);
// The "message" of an answer to STREAM.MSG.GET.
ApiResult<StoredMessage> parse_stored_message(const json::Value&);
ApiResult<PubAck> parse_pub_ack(std::string_view json);

}  // namespace brokkr::client
