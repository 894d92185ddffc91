#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "jetstream/api_error.h"

namespace brokkr::jetstream {

enum class Retention : uint8_t { Limits, Interest, WorkQueue };
enum class Discard : uint8_t { Old, New };
enum class StorageType : uint8_t { File, Memory };
enum class StoreCompression : uint8_t { None, S2 };
enum class PersistMode : uint8_t { Default, Async };

struct SubjectTransformConfig {
  std::string source;       // "src"
  std::string destination;  // "dest"
  bool operator==(const SubjectTransformConfig&) const = default;
};
struct RepublishConfig {
  std::string source;
  std::string destination;
  bool headers_only = false;
  bool operator==(const RepublishConfig&) const = default;
};
struct ExternalStream {
  std::string api;      // prefix, "$JS.hub.API"
  std::string deliver;  // prefix
  bool operator==(const ExternalStream&) const = default;
};
struct StreamSource {
  std::string name;
  uint64_t opt_start_seq = 0;
  std::optional<WallTime> opt_start_time;
  std::string filter_subject;
  std::vector<SubjectTransformConfig> subject_transforms;
  std::optional<ExternalStream> external;
  bool operator==(const StreamSource&) const = default;
};
struct Placement {
  std::string cluster;
  std::vector<std::string> tags;
  std::string preferred;
  bool operator==(const Placement&) const = default;
};
struct ConsumerLimits {
  Duration inactive_threshold{};
  int64_t max_ack_pending = 0;
  bool operator==(const ConsumerLimits&) const = default;
};
using Metadata = std::map<std::string, std::string>;

// A stream's configuration; names, defaults and rules are JetStream's (jetstream.md 2.1).
struct StreamConfig {
  std::string name;
  std::string description;
  std::vector<std::string> subjects;
  Retention retention = Retention::Limits;
  int64_t max_consumers = 0;  // -1 or less: no limit; normalised by `check`
  int64_t max_msgs = 0;
  int64_t max_bytes = 0;
  Duration max_age{};
  int64_t max_msgs_per_subject = 0;
  int32_t max_msg_size = 0;
  Discard discard = Discard::Old;
  bool discard_new_per_subject = false;
  StorageType storage = StorageType::File;
  int num_replicas = 0;
  bool no_ack = false;
  Duration duplicate_window{};
  std::optional<Placement> placement;
  std::optional<StreamSource> mirror;
  std::vector<StreamSource> sources;
  StoreCompression compression = StoreCompression::None;
  uint64_t first_seq = 0;
  std::optional<SubjectTransformConfig> subject_transform;
  std::optional<RepublishConfig> republish;
  bool allow_direct = false;
  bool mirror_direct = false;
  bool sealed = false;
  bool deny_delete = false;
  bool deny_purge = false;
  bool allow_rollup_hdrs = false;
  ConsumerLimits consumer_limits;
  Metadata metadata;
  bool allow_msg_ttl = false;
  Duration subject_delete_marker_ttl{};
  bool allow_atomic = false;
  bool allow_msg_counter = false;
  bool allow_msg_schedules = false;
  PersistMode persist_mode = PersistMode::Default;
  bool operator==(const StreamConfig&) const = default;
};

// Unknown fields and enum strings are 10025 when `strict`; lenient otherwise.
ApiResult<StreamConfig> parse_stream_config(const json::Value& object, bool strict);
// Fields and their order as nats-server prints them.
void write_stream_config(json::Writer& out, const StreamConfig& config);
std::string stream_config_json(const StreamConfig& config);

}  // namespace brokkr::jetstream
