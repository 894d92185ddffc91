#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// What the tokens of NATS operator mode say, in the words they use. Values; Immutable once shared.
namespace brokkr::crypto {

inline constexpr int64_t kNoLimit = -1;

using Texts = std::vector<std::string>;

// What every token says. Times are seconds since 1970, 0 when not said.
struct ClaimsData {
  std::string aud;
  int64_t exp = 0;
  std::string jti;
  int64_t iat = 0;
  std::string iss;
  std::string name;
  int64_t nbf = 0;
  std::string sub;
};

struct GenericFields {
  Texts tags;
  std::string type;
  int64_t version = 0;
};

struct Permission {
  Texts allow;
  Texts deny;
  bool operator==(const Permission&) const = default;
};

struct ResponsePermission {
  int64_t max = 0;
  int64_t ttl_ns = 0;
  bool operator==(const ResponsePermission&) const = default;
};

struct Permissions {
  Permission pub;
  Permission sub;
  std::optional<ResponsePermission> resp;
  bool operator==(const Permissions&) const = default;
};

struct TimeRange {
  std::string start;  // "15:04:05"
  std::string end;
  bool operator==(const TimeRange&) const = default;
};

struct NatsLimits {
  int64_t subs = 0;
  int64_t data = 0;
  int64_t payload = 0;
  bool operator==(const NatsLimits&) const = default;
};

// What a user may do: said by the user's token, or by the scope of the key that signed it.
struct UserPermissionLimits {
  Permissions permissions;
  Texts src;  // CIDR networks
  std::vector<TimeRange> times;
  std::string times_location;
  NatsLimits limits;
  bool bearer_token = false;
  bool proxy_required = false;
  Texts allowed_connection_types;
  bool operator==(const UserPermissionLimits&) const = default;
};

struct UserClaims : ClaimsData, GenericFields {
  UserPermissionLimits user;
  std::string issuer_account;

  // Nothing is said, as it must be when a scoped key signs.
  bool has_empty_permissions() const { return user == UserPermissionLimits{}; }
};

// The role of an account's signing key: users it signs get `template_`, expanded (user_template.h).
struct UserScope {
  std::string key;
  std::string role;
  UserPermissionLimits template_;
  std::string description;
};

// Signing keys of an account; those without a scope sign like the account itself.
using SigningKeys = std::map<std::string, std::optional<UserScope>, std::less<>>;

// Public key, or "*" for everybody, to the second up to which tokens are revoked.
using Revocations = std::map<std::string, int64_t, std::less<>>;
bool is_revoked(const Revocations&, std::string_view public_key, int64_t issued_at);

enum class ExportType : uint8_t { Unknown, Stream, Service };
const char* to_string(ExportType);

struct ServiceLatency {
  int64_t sampling = 0;  // per cent; 0 = asked for by headers
  std::string results;
};

struct Export {
  std::string name;
  std::string subject;
  ExportType type = ExportType::Unknown;
  bool token_req = false;
  Revocations revocations;
  std::string response_type;  // "", "Singleton", "Stream", "Chunked"
  int64_t response_threshold_ns = 0;
  std::optional<ServiceLatency> latency;
  uint64_t account_token_position = 0;
  bool advertise = false;
  bool allow_trace = false;
  std::string description;
  std::string info_url;
};

struct Import {
  std::string name;
  std::string subject;
  std::string account;
  std::string token;
  std::string to;
  std::string local_subject;
  ExportType type = ExportType::Unknown;
  bool share = false;
  bool allow_trace = false;
};

struct AccountLimits {
  int64_t imports = 0;
  int64_t exports = 0;
  bool wildcards = false;
  bool disallow_bearer = false;
  int64_t conn = 0;
  int64_t leaf = 0;
  bool operator==(const AccountLimits&) const = default;
};

struct JetStreamLimits {
  int64_t mem_storage = 0;
  int64_t disk_storage = 0;
  int64_t streams = 0;
  int64_t consumer = 0;
  int64_t max_ack_pending = 0;
  int64_t mem_max_stream_bytes = 0;
  int64_t disk_max_stream_bytes = 0;
  bool max_bytes_required = false;
  bool operator==(const JetStreamLimits&) const = default;
};

struct OperatorLimits {
  NatsLimits nats;
  AccountLimits account;
  JetStreamLimits jetstream;  // not with tiers
  std::map<std::string, JetStreamLimits, std::less<>> tiers;

  bool is_jetstream_enabled() const;
  bool is_empty() const;
};

struct WeightedMapping {
  std::string subject;
  int64_t weight = 0;  // 0 means 100
  std::string cluster;
};

struct ExternalAuthorization {
  Texts auth_users;
  Texts allowed_accounts;
  std::string xkey;
};

struct MsgTrace {
  std::string dest;
  int64_t sampling = 0;
};

struct AccountClaims : ClaimsData, GenericFields {
  std::vector<Import> imports;
  std::vector<Export> exports;
  OperatorLimits limits;
  SigningKeys signing_keys;
  Revocations revocations;
  Permissions default_permissions;
  std::map<std::string, std::vector<WeightedMapping>, std::less<>> mappings;
  ExternalAuthorization authorization;
  std::optional<MsgTrace> trace;
  std::string cluster_traffic;  // "", "system", "owner"
  std::string description;
  std::string info_url;

  // Whether a token with this issuer and issuer_account speaks for the account.
  bool did_sign(std::string_view issuer, std::string_view issuer_account) const;
};

struct OperatorClaims : ClaimsData, GenericFields {
  Texts signing_keys;
  std::string account_server_url;
  Texts operator_service_urls;
  std::string system_account;
  std::string assert_server_version;
  bool strict_signing_key_usage = false;

  // Whether a token about `subject` with this issuer is the operator's word.
  bool did_sign(std::string_view issuer, std::string_view subject) const;
};

// An account's permission for another one to import.
struct ActivationClaims : ClaimsData, GenericFields {
  std::string import_subject;
  ExportType import_type = ExportType::Unknown;
  std::string issuer_account;
};

// A token of a kind of its own; `data` is the JSON object under "nats".
struct GenericClaims : ClaimsData {
  std::string data = "{}";
};

// What a server asks the service of an auth callout.
struct AuthorizationRequestClaims : ClaimsData, GenericFields {
  struct Server {
    std::string name, host, id, version, cluster;
    Texts tags;
    std::string xkey;
  };
  struct Client {
    std::string host;
    uint64_t id = 0;
    std::string user, name;
    Texts tags;
    std::string name_tag, kind, type, mqtt_id, nonce;
  };
  struct Connect {
    std::string jwt, nkey, sig, auth_token, user, pass, name, lang, version;
    int64_t protocol = 0;
  };
  struct Tls {
    std::string version, cipher;
    Texts certs;  // PEM
    std::vector<Texts> verified_chains;
  };
  Server server;
  std::string user_nkey;
  Client client;
  Connect connect;
  std::optional<Tls> tls;
  std::string request_nonce;
};

struct AuthorizationResponseClaims : ClaimsData, GenericFields {
  std::string jwt;
  std::string error;
  std::string issuer_account;
};

}  // namespace brokkr::crypto
