#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "auth/account_rules.h"
#include "auth/permissions.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/result.h"

namespace brokkr::config {
struct Options;
}
namespace brokkr::crypto {
class CurveKey;
struct UserClaims;
}

namespace brokkr::auth {

struct CalloutQuestion;
struct CalloutRule;
class OperatorMode;

// Somebody who may connect. Immutable.
struct User {
  std::string name;      // empty for the bare token; a JWT's display name
  std::string nkey;      // the public key of users that have one; else empty
  std::string account;   // "$G" unless the configuration says otherwise
  std::string password;  // plain or bcrypt; empty for none
  std::shared_ptr<const Permissions> permissions;  // null: everything is allowed
  std::vector<std::string> allowed_connection_types;  // empty: all
  bool is_proxy_required = false;
  // Limits of this user alone; -1: none.
  int64_t max_subscriptions = -1;
  int64_t max_payload = -1;
  // When the connection is to end: the user's or the account's JWT expires, or its hours are over.
  std::optional<WallTime> expires;
  bool expires_with_account = false;
  std::string issuer_key;         // who signed the user's JWT; empty without one
  std::vector<std::string> tags;  // of the user's JWT
  std::shared_ptr<const crypto::UserClaims> claims;  // null without a JWT
  int64_t issued_at = 0;          // of the user's JWT, in seconds; against revocations
  bool is_from_callout = false;   // an auth callout answered for it
};

// Who the other side of a TLS connection proved to be: the names in its verified certificate, in the
// order verify_and_map tries them (nats-core.md section 3.5).
struct TlsIdentity {
  std::vector<std::string> emails;
  std::vector<std::string> dns_names;
  std::vector<std::string> uris;
  std::string subject;  // RFC 2253
};

// What CONNECT brought, and how the connection came in.
struct Credentials {
  std::string_view user;
  std::string_view password;
  std::string_view token;
  std::string_view nkey;
  std::string_view jwt;
  std::string_view signature;  // of `nonce`, base64url
  std::string_view nonce;      // what INFO asked to sign
  // STANDARD, WEBSOCKET, LEAFNODE, LEAFNODE_WS or IN_PROCESS.
  std::string_view connection_type = "STANDARD";
  std::string_view client_host;              // its address, without the port
  const TlsIdentity* tls_identity = nullptr;  // null without a verified certificate
  WallTime now{};
  bool is_account_fresh = false;  // the user's account was just looked for
};

struct Verdict {
  enum class Kind : uint8_t {
    Accepted,     // `user` may be null: nobody in particular, no restrictions
    Refused,      // `reason` says why, for the log; the client hears only Authorization Violation
    NeedsBcrypt,  // accepted if bcrypt_matches(hash, password); ask off the loop, it takes long
    NeedsAccount,  // ask again once the JWT of `account` is there; refused if there is none
    NeedsCallout,  // ask the service `callout` names
  };
  Kind kind = Kind::Refused;
  std::shared_ptr<const User> user;
  std::string hash;
  std::string password;
  std::string account;
  std::shared_ptr<const CalloutRule> callout;
  std::string reason;

  static Verdict refuse(std::string reason);
  static Verdict accept(std::shared_ptr<const User> user);
};

// What became of a connected user after a change of the configuration.
struct Revision {
  enum class Kind : uint8_t {
    Kept,     // `user` as it is now
    Refused,  // is no longer allowed
  };
  enum class Cause : uint8_t { Violation, Revoked, Expired, AccountExpired };
  Kind kind = Kind::Refused;
  Cause cause = Cause::Violation;
  std::shared_ptr<const User> user;
  std::string reason;

  static Revision refuse(std::string reason, Cause cause = Cause::Violation);
  static Revision keep(std::shared_ptr<const User> user);
};

// Decides who gets in: nats-core.md section 3. Immutable.
class Authenticator {
 public:
  // Fails when the options contradict each other, with nats-server's reason. `previous`, which may be
  // null, is what was in force before: what its accounts have counted goes on.
  static Result<std::shared_ptr<const Authenticator>> make(
      const config::Options& options, const Authenticator* previous = nullptr,
      WallTime now = SystemClock().wall_now());
  // Lets everybody in.
  static std::shared_ptr<const Authenticator> open_to_all();

  // Whether CONNECT must bring credentials, what INFO calls auth_required. Not where a
  // no_auth_user stands in for those who bring none.
  bool is_required(std::string_view connection_type = "STANDARD") const;
  // Whether INFO brings a nonce to sign.
  bool needs_nonce() const { return needs_nonce_; }
  // Compares plain passwords in constant time.
  Verdict check(const Credentials&) const;
  // What a connection is to do that came in as `user`, not null, by the rules before these.
  Revision revise(const User& user, const Credentials&) const;
  // What the answer to an auth callout means. `key` is the server's own.
  Verdict judge_callout(const CalloutQuestion&, std::string_view answer,
                        const crypto::CurveKey& key, WallTime now) const;

  // Null when users and accounts are not JWTs.
  const std::shared_ptr<const OperatorMode>& operator_mode() const { return operator_; }
  // What the accounts are is made anew.
  std::shared_ptr<const Authenticator> with_operator_mode(std::shared_ptr<const OperatorMode> mode,
                                                          WallTime now) const;
  // The user of that name or nkey; null when there is none (any more).
  std::shared_ptr<const User> find_user(std::string_view name) const;
  // All accounts and what they export, import and map. Never null.
  const std::shared_ptr<const AccountTable>& accounts() const { return accounts_; }
  // Passwords in plain text in the configuration deserve a warning at the start.
  bool has_plain_passwords() const { return has_plain_passwords_; }

 private:
  using Users =
      std::unordered_map<std::string, std::shared_ptr<const User>, StringHash, std::equal_to<>>;
  // What differs from listener to listener.
  struct Listener {
    bool maps_certificates = false;
    bool has_own = false;  // `simple`, `token` and `users` count instead of the server's
    std::shared_ptr<const User> simple;
    std::shared_ptr<const User> token;
    Users users;
    std::string nkey;  // the only one, for a user "simple"
    std::shared_ptr<const User> no_auth_user;
    std::shared_ptr<const User> default_user;  // when nothing is required
  };
  enum class Port : uint8_t { Client, Websocket, Leaf };
  static constexpr size_t kPorts = 3;

  static Port port_of(std::string_view connection_type);
  static bool may_use(const User& user, std::string_view connection_type);
  static Verdict compare(std::shared_ptr<const User> user, std::string_view given);
  const Listener& listener(Port port) const { return listeners_[static_cast<size_t>(port)]; }
  Listener& listener(Port port) { return listeners_[static_cast<size_t>(port)]; }
  const std::shared_ptr<const User>& no_auth_user_for(std::string_view connection_type) const;
  Status add_users(const config::Options&);
  void add_simple(const config::Options&);
  Status add_no_auth_users(const config::Options&);
  void add_websocket(const config::Options&);
  void add_leafnodes(const config::Options&);
  bool is_for_system_only(const config::Options&) const;
  bool is_certificate_user(const User&) const;
  Verdict check_configured(const Credentials&) const;
  Verdict with_callout(Verdict verdict, const Credentials&) const;
  Revision revise_configured(const User& user, const Credentials&) const;
  Status add_operator_mode(const config::Options&, const Authenticator* previous, WallTime now);
  void add_jwt_accounts(const AccountTable* previous, WallTime now);
  Status add_callout(const config::Options&);
  Verdict check_own_leaf(const Listener&, const Credentials&) const;
  Verdict check_nkey(std::shared_ptr<const User>, const Credentials&) const;
  Verdict check_simple(const Listener&, const Credentials&) const;
  Verdict check_by_certificate(const Users&, const Credentials&) const;

  std::shared_ptr<const AccountTable> accounts_ = AccountTable::make({});
  bool has_rules_ = false;
  bool is_proxy_required_ = false;  // for the single user and the token
  bool needs_nonce_ = false;
  bool has_plain_passwords_ = false;
  bool is_implicit_no_auth_user_ = false;
  Users users_;
  Users nkeys_;
  std::array<Listener, kPorts> listeners_;
  std::shared_ptr<const User> leaf_websocket_no_auth_user_;
  std::shared_ptr<const OperatorMode> operator_;
  std::shared_ptr<const CalloutRule> callout_;
  std::unordered_set<std::string> account_names_;  // of the configuration
};

// Whether the text is a bcrypt hash ($2a$, $2b$, $2x$, $2y$).
bool is_bcrypt(std::string_view text);
// Blocks for about 50 ms at cost 10, twice that with each step: for a worker thread with a bounded
// queue, never for a loop. Pure.
bool bcrypt_matches(const std::string& hash, const std::string& password);

}  // namespace brokkr::auth
