#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "base/result.h"

// The configuration of streams and consumers with JetStream's own names, and its JSON. Absent and
// zero members are left out where the server has a default for them. Value types.
namespace brokkr::client {

enum class Retention : uint8_t { Limits, Interest, WorkQueue };
enum class Discard : uint8_t { Old, New };
enum class Storage : uint8_t { File, Memory };
enum class Compression : uint8_t { None, S2 };
enum class PersistMode : uint8_t { Default, Async };
enum class DeliverPolicy : uint8_t { All, Last, New, ByStartSequence, ByStartTime, LastPerSubject };
enum class AckPolicy : uint8_t { None, All, Explicit, FlowControl };
enum class ReplayPolicy : uint8_t { Instant, Original };
enum class PriorityPolicy : uint8_t { None, Overflow, PinnedClient, Prioritized };

// The wire's word: "workqueue", "last_per_subject".
const char* to_string(Retention);
const char* to_string(Discard);
const char* to_string(Storage);
const char* to_string(Compression);
const char* to_string(PersistMode);
const char* to_string(DeliverPolicy);
const char* to_string(AckPolicy);
const char* to_string(ReplayPolicy);
const char* to_string(PriorityPolicy);

using Metadata = std::map<std::string, std::string>;

struct Placement {
  std::string cluster;
  std::vector<std::string> tags;
  std::string preferred;
};

struct SubjectTransform {
  std::string src;
  std::string dest;
};

struct Republish {
  std::string src;
  std::string dest;
  bool headers_only = false;
};

struct External {
  std::string api;
  std::string deliver;
};

// What a mirror or a source reads from.
struct StreamSource {
  std::string name;
  uint64_t opt_start_seq = 0;
  std::optional<WallTime> opt_start_time;
  std::string filter_subject;
  std::vector<SubjectTransform> subject_transforms;
  std::optional<External> external;
};

struct ConsumerLimits {
  Duration inactive_threshold{};
  int64_t max_ack_pending = 0;
};

struct StreamConfig {
  std::string name;
  std::string description;
  std::vector<std::string> subjects;
  Retention retention = Retention::Limits;
  int64_t max_consumers = -1;
  int64_t max_msgs_per_subject = -1;
  int64_t max_msgs = -1;
  int64_t max_bytes = -1;
  Duration max_age{};
  int64_t max_msg_size = -1;
  Storage storage = Storage::File;
  Discard discard = Discard::Old;
  int64_t num_replicas = 1;
  bool no_ack = false;
  Duration duplicate_window{};  // zero: the server's default
  std::optional<Placement> placement;
  std::optional<StreamSource> mirror;
  std::vector<StreamSource> sources;
  Compression compression = Compression::None;
  uint64_t first_seq = 0;
  std::optional<SubjectTransform> subject_transform;
  std::optional<Republish> republish;
  bool sealed = false;
  bool deny_delete = false;
  bool deny_purge = false;
  bool allow_rollup_hdrs = false;
  bool allow_direct = false;
  bool mirror_direct = false;
  bool discard_new_per_subject = false;
  ConsumerLimits consumer_limits;
  Metadata metadata;
  bool allow_msg_ttl = false;
  Duration subject_delete_marker_ttl{};
  bool allow_msg_counter = false;
  bool allow_atomic = false;
  bool allow_msg_schedules = false;
  bool allow_batched = false;
  PersistMode persist_mode = PersistMode::Default;
};

struct ConsumerConfig {
  std::string name;
  std::string durable_name;
  std::string description;
  DeliverPolicy deliver_policy = DeliverPolicy::All;
  uint64_t opt_start_seq = 0;
  std::optional<WallTime> opt_start_time;
  AckPolicy ack_policy = AckPolicy::Explicit;
  Duration ack_wait{};
  int64_t max_deliver = 0;  // zero: the server's default, -1
  std::vector<Duration> backoff;
  std::string filter_subject;
  std::vector<std::string> filter_subjects;
  ReplayPolicy replay_policy = ReplayPolicy::Instant;
  uint64_t rate_limit_bps = 0;
  std::string sample_freq;
  int64_t max_waiting = 0;
  int64_t max_ack_pending = 0;
  bool flow_control = false;
  Duration idle_heartbeat{};
  bool headers_only = false;
  int64_t max_batch = 0;
  Duration max_expires{};
  int64_t max_bytes = 0;
  std::string deliver_subject;
  std::string deliver_group;
  Duration inactive_threshold{};
  int64_t num_replicas = 0;
  bool mem_storage = false;
  Metadata metadata;
  std::optional<WallTime> pause_until;
  std::vector<std::string> priority_groups;
  PriorityPolicy priority_policy = PriorityPolicy::None;
  Duration priority_timeout{};
};

// Writes the object; `out` stands where a value belongs.
void write_json(json::Writer& out, const StreamConfig&);
void write_json(json::Writer& out, const ConsumerConfig&);

// Reads what is there and leaves the rest at its default. Unknown members are ignored; fails with
// Syntax, naming the member, on a word no policy has and a time that is none.
Result<StreamConfig> parse_stream_config(const json::Value&);
Result<ConsumerConfig> parse_consumer_config(const json::Value&);

}  // namespace brokkr::client
