#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "auth/account_claims.h"
#include "auth/authenticator.h"
#include "auth/callout.h"
#include "config/options.h"
#include "crypto/claims.h"

namespace brokkr::auth {

// Users and accounts that are JWTs: nats-core.md section 3.4. Immutable: an account that is loaded,
// changed or deleted makes another one.
class OperatorMode {
 public:
  // Accounts in `resolver_preload` are there from the start. Fails when an operator's JWT cannot be
  // read or is out of date.
  static Result<std::shared_ptr<const OperatorMode>> make(const config::OperatorOptions& options,
                                                          const std::string& system_account,
                                                          WallTime now);
  std::shared_ptr<const OperatorMode> with_accounts(JwtAccounts accounts) const;

  // NeedsAccount when the user's account is not there.
  Verdict check(const Credentials& credentials) const;
  Revision revise(const User& user, const Credentials& credentials) const;
  // Who the user's JWT, in the answer of a callout, says it is; NeedsAccount as above.
  Verdict accept_from_callout(const crypto::UserClaims& claims, const CalloutQuestion& question,
                              WallTime now) const;

  const JwtAccounts& accounts() const { return *accounts_; }
  const JwtAccount* find(std::string_view id) const;
  bool trusts(std::string_view operator_key) const { return trusted_.contains(std::string(operator_key)); }
  // Of the first operator, for those who change accounts; empty with trusted_keys alone.
  const crypto::OperatorClaims* main_operator() const;
  const std::string& system_account() const { return system_account_; }
  // Where the accounts' JWTs come from.
  const config::ResolverOptions& resolver() const { return resolver_; }
  // Whether the configuration itself brings the account.
  bool is_preloaded(const std::string& id) const { return preloaded_.contains(id); }
  // Whether that operator lets its own key sign nothing.
  bool is_strict(std::string_view operator_key) const { return strict_.contains(std::string(operator_key)); }

 private:
  struct Judged {
    Revision::Cause cause = Revision::Cause::Violation;
    std::string reason;  // empty: accepted
    std::shared_ptr<User> user;
  };
  Result<crypto::UserClaims> read_user(const Credentials& credentials) const;
  // Everything but the signature, and but where and when when `is_connected`.
  Judged judge(const crypto::UserClaims& claims, const JwtAccount& account,
               const Credentials& credentials, bool is_connected) const;
  Status apply_scope(crypto::UserClaims& claims, const JwtAccount& account) const;
  std::shared_ptr<User> make_user(const crypto::UserClaims& claims, const JwtAccount& account) const;

  std::vector<crypto::OperatorClaims> operators_;
  std::unordered_set<std::string> trusted_;
  std::unordered_set<std::string> strict_;
  std::unordered_set<std::string> pinned_;  // empty: every account may be used
  std::string system_account_;
  std::string default_sentinel_;
  config::ResolverOptions resolver_;
  std::unordered_set<std::string> preloaded_;
  std::shared_ptr<const JwtAccounts> accounts_;
};

// Null when the options do not ask for it. Fails with nats-server's reason when they contradict each
// other.
Result<std::shared_ptr<const OperatorMode>> make_operator_mode(const config::Options& options,
                                                               WallTime now);

// Whom of the connection types a JWT names are known here. Absent when it names only others.
std::optional<std::vector<std::string>> known_connection_types(const std::vector<std::string>& from);

}  // namespace brokkr::auth
