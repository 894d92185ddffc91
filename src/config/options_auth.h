#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "config/options_tls.h"

namespace brokkr::config {

// What a user may do, as written in a `permissions` block.
struct PermissionRules {
  struct Side {
    bool has_allow = false;  // only what `allow` holds is allowed, even when it is empty
    std::vector<std::string> allow;
    std::vector<std::string> deny;
    bool operator==(const Side&) const = default;
  };
  Side publish;
  Side subscribe;  // entries may be "subject queue"
  bool allow_responses = false;
  int64_t responses_max = 1;                         // negative means no limit
  Duration responses_ttl = std::chrono::minutes(2);  // negative means no limit
  bool operator==(const PermissionRules&) const = default;
};

// An entry of a `users` list. Has a name or an nkey, never both.
struct UserEntry {
  std::string name;
  std::string password;  // plain or bcrypt
  std::string nkey;      // public, "U..."; its checksum is not checked here
  std::string account = "$G";
  std::optional<PermissionRules> permissions;         // absent: everything is allowed
  std::vector<std::string> allowed_connection_types;  // upper case; empty means all
  bool proxy_required = false;
  bool operator==(const UserEntry&) const = default;
};

// The block `auth_callout`: another program decides who may connect.
struct AuthCallout {
  std::string issuer;                         // public account nkey that signs the answers
  std::string account = "$G";                 // where the requests are published
  std::vector<std::string> auth_users;        // names or nkeys of users that need no callout
  std::string xkey;                           // public curve key; empty: not encrypted
  std::vector<std::string> allowed_accounts;  // empty: all
  bool operator==(const AuthCallout&) const = default;
};

// Who may connect.
struct Authorization {
  bool always_enable_nonce = false;  // INFO brings one even when nobody has to sign it
  bool is_block_present = false;  // even an empty one says that not everybody may
  std::string user;
  std::string password;
  std::string token;
  std::optional<Duration> timeout;  // absent: 2 s, or the TLS timeout and a second more
  std::vector<UserEntry> users;     // those of `accounts` too
  std::optional<PermissionRules> default_permissions;  // already given to users without their own
  std::string no_auth_user;
  std::optional<AuthCallout> callout;
  bool proxy_required = false;
  // The file asks for a kind of authentication that comes later (operator, auth_callout):
  // nobody may be let in just because it is not there.
  bool needs_later_kind = false;
  bool operator==(const Authorization&) const = default;
};

// Where the JWTs of accounts come from.
struct ResolverOptions {
  enum class Kind : uint8_t { None, Memory, Url, Full, Cache };
  Kind kind = Kind::None;
  std::string url;                // Url: the account's name is appended
  std::string dir;                // Full and Cache
  bool allow_delete = false;      // Full
  bool hard_delete = false;       // Full: deleted files are removed, not renamed
  Duration sync_interval{};       // Full; zero: a minute
  int64_t limit = 0;              // Full and Cache: JWTs at most; 0: no limit (Cache: 1000)
  Duration ttl{};                 // Cache; zero: for ever
  Duration timeout{};             // of a look-up; zero: 2 s
  std::optional<TlsOptions> tls;  // `resolver_tls`, for Url
  bool operator==(const ResolverOptions&) const = default;
};

// Operator mode: users and accounts are JWTs. On when operators or trusted_keys are given.
struct OperatorOptions {
  std::vector<std::string> operators;      // the JWTs; files that were named have been read
  std::vector<std::string> trusted_keys;   // public operator nkeys
  ResolverOptions resolver;
  std::map<std::string, std::string> resolver_preload;  // account nkey -> JWT
  std::vector<std::string> resolver_pinned_accounts;
  std::string default_sentinel;  // JWT for who brings none

  bool is_on() const { return !operators.empty() || !trusted_keys.empty(); }
  bool operator==(const OperatorOptions&) const = default;
};

}  // namespace brokkr::config
