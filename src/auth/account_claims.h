#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "auth/account_rules.h"
#include "auth/permissions.h"
#include "base/result.h"
#include "crypto/claims.h"

// Accounts of operator mode, from their JWTs.
namespace brokkr::auth {

// An account whose JWT was read: well formed, about that account, signed by its issuer. Whether the
// issuer is trusted and the time right is asked when it counts. Immutable.
struct JwtAccount {
  std::string jwt;
  crypto::AccountClaims claims;
  std::shared_ptr<const Permissions> default_permissions;  // null: everything is allowed

  const std::string& id() const { return claims.sub; }
  // Delegates who may connect to the service of an auth callout.
  bool has_callout() const { return !claims.authorization.auth_users.empty(); }
  bool is_expired(int64_t now) const { return claims.exp > 0 && claims.exp <= now; }
};

using JwtAccounts = std::map<std::string, std::shared_ptr<const JwtAccount>, std::less<>>;

// Fails with Syntax or PermissionDenied when the token is not that account's.
Result<std::shared_ptr<const JwtAccount>> read_jwt_account(std::string_view id,
                                                           std::string_view jwt);

// What the routing needs to know of the account. Activation tokens count when they are the
// importer's, in time, and signed by the exporter or a key of it, as `all` tells.
AccountDescription describe(const JwtAccount& account, const JwtAccounts& all, int64_t now);

// The accounts this one imports from, each once.
std::vector<std::string> exporters_of(const JwtAccount& account);

// Null when nothing is said.
std::shared_ptr<const Permissions> compile_permissions(const crypto::Permissions& from,
                                                       bool denies_callout_subject = false);

}  // namespace brokkr::auth
