#include <algorithm>
#include <span>

#include "base/bytes.h"
#include "config/reader.h"

// What is known about keys whose feature comes later: enough to report a misspelled name or a value
// of the wrong type now, so that a file accepted today is a correct file.
namespace brokkr::config {
namespace {

enum class Shape : uint8_t {
  Any,
  Bool,
  Int,
  String,
  Strings,    // one or a list
  Listen,
  Duration,
  StringMap,  // any names, string values
  BoolMap,    // any names, boolean values
  Map,        // names of `fields`
  MapOrScalar,
  MapList,    // a list of maps; scalars in it are taken as they are
};

struct Field {
  std::string_view names;  // separated by '|'
  Shape shape = Shape::Any;
  std::span<const Field> fields = {};
};

constexpr Field kOcspPeer[] = {{"verify"}, {"ca_timeout"}, {"allowed_clockskew"},
    {"warn_only"}, {"unknown_is_good"}, {"allow_when_ca_unreachable"},
    {"cache_ttl_when_next_update_unset"}};
constexpr Field kCertificate[] = {{"cert_file", Shape::String}, {"key_file", Shape::String}};
constexpr Field kTls[] = {{"cert_file|key_file|ca_file|cert_store|cert_match_by|cert_match",
                           Shape::String},
    {"insecure|verify|verify_and_map|verify_cert_and_check_known_urls|allow_insecure_cipher_suites|"
     "cert_match_skip_invalid", Shape::Bool},
    {"cipher_suites|curve_preferences|pinned_certs|ca_certs_match", Shape::Strings},
    {"timeout|connection_rate_limit|handshake_first|first|immediate|min_version"},
    {"ocsp_peer", Shape::MapOrScalar, kOcspPeer},
    {"certs|certificates", Shape::MapList, kCertificate}};
constexpr Field kSimpleAuthorization[] = {
    {"user|username|pass|password|token", Shape::String}, {"timeout", Shape::Any}};
constexpr Field kPermissions[] = {{"pub|publish|import|sub|subscribe|export"},
    {"publish_allow_responses|allow_responses"}};
constexpr Field kCompression[] = {{"mode", Shape::String}, {"rtt_thresholds|thresholds|rtts|rtt"}};
constexpr Field kCluster[] = {{"name|advertise|cluster_advertise|write_timeout", Shape::String},
    {"listen", Shape::Listen}, {"port|connect_retries|pool_size|ping_max", Shape::Int},
    {"host|net", Shape::String}, {"authorization", Shape::Map, kSimpleAuthorization},
    {"routes|accounts", Shape::Strings}, {"tls", Shape::Map, kTls},
    {"no_advertise|connect_backoff", Shape::Bool}, {"permissions", Shape::Map, kPermissions},
    {"compression", Shape::MapOrScalar, kCompression},
    {"ping_interval|write_deadline", Shape::Duration}};
constexpr Field kRemoteGateway[] = {{"name|url", Shape::String}, {"urls", Shape::Strings},
    {"tls", Shape::Map, kTls}};
constexpr Field kGateway[] = {{"name|advertise|host|net|write_timeout", Shape::String},
    {"listen", Shape::Listen}, {"port|connect_retries", Shape::Int},
    {"authorization", Shape::Map, kSimpleAuthorization}, {"tls", Shape::Map, kTls},
    {"connect_backoff|reject_unknown|reject_unknown_cluster", Shape::Bool},
    {"gateways", Shape::MapList, kRemoteGateway}, {"write_deadline", Shape::Duration}};
constexpr Field kJetStreamBatch[] = {{"max_inflight_per_stream|max_inflight_total|max_msgs",
                                      Shape::Int}, {"timeout"}};
constexpr Field kJetStreamLimits[] = {
    {"max_ack_pending|max_ha_assets|max_request_batch|default_max_consumers", Shape::Int},
    {"duplicate_window"}, {"batch", Shape::Map, kJetStreamBatch}};
constexpr Field kJetStreamTpm[] = {{"keys_file|encryption_password|srk_password|cipher",
                                    Shape::String}, {"pcr", Shape::Int}};
constexpr Field kJetStream[] = {{"strict|enable|enabled|meta_compact_sync", Shape::Bool},
    {"store|store_dir|storedir|domain|key|ek|encryption_key|prev_key|prev_ek|prev_encryption_key|"
     "cipher|extension_hint|unique_tag", Shape::String},
    {"sync|sync_interval|max_memory_store|max_mem_store|max_mem|max_file_store|max_file|"
     "max_outstanding_catchup|max_buffered_size|meta_compact_size"},
    {"max_buffered_msgs|request_queue_limit|info_queue_limit|meta_compact|max_concurrent_io",
     Shape::Int},
    {"limits", Shape::Map, kJetStreamLimits}, {"tpm", Shape::Map, kJetStreamTpm}};
constexpr Field kMqtt[] = {{"listen", Shape::Listen},
    {"port|max_ack_pending|max_pending|max_inflight|stream_replicas|consumer_replicas", Shape::Int},
    {"host|net|no_auth_user|js_domain", Shape::String}, {"tls", Shape::Map, kTls},
    {"authorization|authentication", Shape::Map, kSimpleAuthorization},
    {"ack_wait|ackwait|js_api_timeout|api_timeout|consumer_inactive_threshold|"
     "consumer_auto_cleanup"},
    {"consumer_memory_storage|reject_qos2_publish|downgrade_qos2_subscribe", Shape::Bool}};
constexpr Field kOcsp[] = {{"mode|url", Shape::String}, {"urls", Shape::Strings}};
constexpr Field kOcspCache[] = {{"type|local_store", Shape::String},
    {"preserve_revoked", Shape::Bool}, {"save_interval"}};
constexpr Field kTrustedProxy[] = {{"key|public_key", Shape::String}};
constexpr Field kProxies[] = {{"trusted", Shape::MapList, kTrustedProxy}};

constexpr Field kTopLevel[] = {{"cluster", Shape::Map, kCluster},
    {"gateway", Shape::Map, kGateway}, {"jetstream", Shape::MapOrScalar, kJetStream},
    {"mqtt", Shape::Map, kMqtt}, {"ocsp", Shape::MapOrScalar, kOcsp},
    {"ocsp_cache", Shape::MapOrScalar, kOcspCache}, {"proxies", Shape::Map, kProxies},
    {"default_js_domain", Shape::StringMap}, {"feature_flags", Shape::BoolMap},
    {"remote_syslog", Shape::String}, {"prof_port|prof_block_rate", Shape::Int},
    {"syslog|proxy_protocol", Shape::Bool}};

constexpr Field kAccountJetStream[] = {
    {"max_memory|max_mem|mem|memory|max_store|max_file|max_disk|store|disk|mem_max_stream_bytes|"
     "memory_max_stream_bytes|disk_max_stream_bytes|store_max_stream_bytes"},
    {"max_streams|streams|max_consumers|consumers|max_ack_pending", Shape::Int},
    {"max_bytes_required|max_stream_bytes|max_bytes", Shape::Bool},
    {"cluster_traffic", Shape::String}};
constexpr Field kAccount[] = {{"jetstream", Shape::MapOrScalar, kAccountJetStream}};

bool names_hold(std::string_view names, std::string_view name) {
  for (const std::string_view one : split(names, '|')) {
    if (one == name) return true;
  }
  return false;
}

const Field* find_field(std::span<const Field> fields, std::string_view name) {
  for (const Field& field : fields) {
    if (names_hold(field.names, name)) return &field;
  }
  return nullptr;
}

void check_shape(Reader& reader, const Value& value, std::string_view name, const Field& field);

void check_map(Reader& reader, const Value& value, std::string_view name,
               std::span<const Field> fields) {
  reader.for_each_member(value, name, [&](const std::string& key, const Member& member) {
    const Field* const field = find_field(fields, key);
    if (field == nullptr) return false;
    check_shape(reader, member.value, key, *field);
    return true;
  });
}

void check_map_list(Reader& reader, const Value& value, std::string_view name,
                    std::span<const Field> fields) {
  if (!value.is_array()) return reader.fail_type(value, name, "a list of maps");
  for (const Value& item : value.items) {
    if (item.is_map()) check_map(reader, item, name, fields);
  }
}

void check_shape(Reader& reader, const Value& value, std::string_view name, const Field& field) {
  bool boolean = false;
  std::string text;
  std::vector<std::string> texts;
  int64_t number = 0;
  HostPort address;
  Duration duration{};
  switch (field.shape) {
    case Shape::Any: return;
    case Shape::Bool: return reader.read(value, name, boolean);
    case Shape::Int: return reader.read(value, name, number, INT64_MIN, INT64_MAX);
    case Shape::String: return reader.read(value, name, text);
    case Shape::Strings: return reader.read_strings(value, name, texts);
    case Shape::Listen: return reader.read_listen(value, name, address);
    case Shape::Duration: return reader.read_duration(value, name, duration);
    case Shape::StringMap:
      return reader.for_each_member(value, name, [&](const std::string& key, const Member& m) {
        reader.read(m.value, key, text);
        return true;
      });
    case Shape::BoolMap:
      return reader.for_each_member(value, name, [&](const std::string& key, const Member& m) {
        reader.read(m.value, key, boolean);
        return true;
      });
    case Shape::Map: return check_map(reader, value, name, field.fields);
    case Shape::MapOrScalar:
      if (value.is_map()) return check_map(reader, value, name, field.fields);
      if (value.is_array()) reader.fail_type(value, name, "a map or a single value");
      return;
    case Shape::MapList: return check_map_list(reader, value, name, field.fields);
  }
}

}  // namespace

bool check_key_names(Reader& reader, const std::string& name, const Value& value) {
  const Field* const field = find_field(kTopLevel, name);
  if (field == nullptr) return false;
  check_shape(reader, value, name, *field);
  return true;
}

bool check_later_key(Reader& reader, const std::string& name, const Value& value) {
  if (!check_key_names(reader, name, value)) return false;
  reader.add_later(name);
  return true;
}

bool check_later_account_key(Reader& reader, const std::string& name, const Value& value) {
  const Field* const field = find_field(kAccount, name);
  if (field == nullptr) return false;
  check_shape(reader, value, name, *field);
  return true;
}

}  // namespace brokkr::config
