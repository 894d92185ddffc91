#include "auth/operator_mode.h"

#include <algorithm>
#include <iterator>

#include "auth/connect_limits.h"
#include "auth/signature.h"
#include "crypto/jwt.h"
#include "crypto/nkey.h"
#include "crypto/user_template.h"
#include "crypto/validate.h"

namespace brokkr::auth {
namespace {

int64_t seconds_of(WallTime time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

WallTime time_of(int64_t seconds) { return WallTime(std::chrono::seconds(seconds)); }

Error invalid(std::string text) { return Error{Errc::InvalidArgument, std::move(text)}; }

std::string jwt_of(std::string_view key) { return "JWT of \"" + std::string(key) + "\""; }

Verdict needs_account(const std::string& id) {
  Verdict verdict;
  verdict.kind = Verdict::Kind::NeedsAccount;
  verdict.account = id;
  return verdict;
}

std::shared_ptr<const CalloutRule> callout_of(const JwtAccount& account) {
  auto rule = std::make_shared<CalloutRule>();
  rule->is_operator_mode = true;
  rule->account = account.id();
  rule->issuer = account.id();
  rule->xkey = account.claims.authorization.xkey;
  rule->allowed_accounts = account.claims.authorization.allowed_accounts;
  rule->auth_users = account.claims.authorization.auth_users;
  return rule;
}

}  // namespace

std::optional<std::vector<std::string>> known_connection_types(
    const std::vector<std::string>& from) {
  static constexpr std::string_view kKnown[] = {"STANDARD", "WEBSOCKET", "LEAFNODE",  "LEAFNODE_WS",
                                                "MQTT",     "MQTT_WS",   "IN_PROCESS"};
  std::vector<std::string> out;
  for (const std::string& name : from) {
    if (std::find(std::begin(kKnown), std::end(kKnown), name) != std::end(kKnown)) {
      out.push_back(name);
    }
  }
  // None known must not become all allowed.
  if (out.empty() && !from.empty()) return std::nullopt;
  return out;
}

Result<std::shared_ptr<const OperatorMode>> OperatorMode::make(
    const config::OperatorOptions& options, const std::string& system_account, WallTime now) {
  auto mode = std::make_shared<OperatorMode>();
  for (const std::string& jwt : options.operators) {
    auto claims = crypto::decode_operator(jwt);
    if (!claims) return invalid("error parsing operator JWT: " + claims.error().text);
    const crypto::Issues issues = crypto::validate(*claims, seconds_of(now));
    if (issues.is_blocking()) return invalid("invalid operator JWT: " + issues.text());
    if (!claims->strict_signing_key_usage) mode->trusted_.insert(claims->sub);
    mode->trusted_.insert(claims->signing_keys.begin(), claims->signing_keys.end());
    if (claims->strict_signing_key_usage) {
      mode->strict_.insert(claims->signing_keys.begin(), claims->signing_keys.end());
    }
    mode->operators_.push_back(std::move(*claims));
  }
  for (const std::string& key : options.trusted_keys) {
    if (!crypto::is_public_key(key, crypto::NkeyType::Operator)) {
      return invalid("trusted key \"" + key + "\" is not an operator public key");
    }
    mode->trusted_.insert(key);
  }
  mode->resolver_ = options.resolver;
  mode->system_account_ = system_account;
  if (system_account.empty() && !mode->operators_.empty()) {
    mode->system_account_ = mode->operators_.front().system_account;
  }
  mode->pinned_.insert(options.resolver_pinned_accounts.begin(),
                       options.resolver_pinned_accounts.end());
  if (!mode->pinned_.empty() && !mode->system_account_.empty()) {
    mode->pinned_.insert(mode->system_account_);
  }
  if (!options.default_sentinel.empty()) {
    auto sentinel = crypto::decode_user(options.default_sentinel);
    if (!sentinel) return invalid("default sentinel JWT not valid: " + sentinel.error().text);
    if (!sentinel->user.bearer_token) return invalid("default sentinel must be a bearer token");
    mode->default_sentinel_ = options.default_sentinel;
  }
  auto accounts = std::make_shared<JwtAccounts>();
  for (const auto& [id, jwt] : options.resolver_preload) {
    auto account = read_jwt_account(id, jwt);
    if (!account) return invalid("preload account " + id + ": " + account.error().text);
    accounts->emplace(id, std::move(*account));
    mode->preloaded_.insert(id);
  }
  mode->accounts_ = std::move(accounts);
  return std::shared_ptr<const OperatorMode>(std::move(mode));
}

std::shared_ptr<const OperatorMode> OperatorMode::with_accounts(JwtAccounts accounts) const {
  auto next = std::make_shared<OperatorMode>(*this);
  next->accounts_ = std::make_shared<const JwtAccounts>(std::move(accounts));
  return next;
}

const JwtAccount* OperatorMode::find(std::string_view id) const {
  const auto found = accounts_->find(id);
  return found == accounts_->end() ? nullptr : found->second.get();
}

const crypto::OperatorClaims* OperatorMode::main_operator() const {
  return operators_.empty() ? nullptr : &operators_.front();
}

// The default stands in for who brings no JWT of NATS.
Result<crypto::UserClaims> OperatorMode::read_user(const Credentials& credentials) const {
  if (!credentials.jwt.empty()) {
    auto claims = crypto::decode_user(credentials.jwt);
    if (claims || default_sentinel_.empty()) return claims;
  }
  if (default_sentinel_.empty()) return Error{Errc::PermissionDenied, "there is none"};
  return crypto::decode_user(default_sentinel_);
}

Verdict OperatorMode::check(const Credentials& credentials) const {
  auto read = read_user(credentials);
  if (!read) return Verdict::refuse("user JWT not valid: " + read.error().text);
  const auto claims = std::make_shared<const crypto::UserClaims>(std::move(*read));
  const std::string& id = claims->issuer_account.empty() ? claims->iss : claims->issuer_account;
  // Before anything is looked up for it.
  const crypto::Issues issues = crypto::validate(*claims, seconds_of(credentials.now));
  if (issues.is_blocking()) return Verdict::refuse(jwt_of(claims->sub) + ": " + issues.text());
  if (!crypto::is_public_key(id, crypto::NkeyType::Account)) {
    return Verdict::refuse(jwt_of(claims->sub) + " is of no account");
  }
  if (!pinned_.empty() && !pinned_.contains(id)) {
    return Verdict::refuse("account \"" + id + "\" is not pinned");
  }
  const JwtAccount* const account = find(id);
  if (account == nullptr) return needs_account(id);
  // There may be a newer one.
  if (account->is_expired(seconds_of(credentials.now)) && !credentials.is_account_fresh) {
    return needs_account(id);
  }
  Judged judged = judge(*claims, *account, credentials, false);
  if (!judged.reason.empty()) return Verdict::refuse(std::move(judged.reason));
  judged.user->claims = claims;
  Verdict verdict = Verdict::accept(std::move(judged.user));
  const auto& auth_users = account->claims.authorization.auth_users;
  if (account->has_callout() &&
      std::find(auth_users.begin(), auth_users.end(), claims->sub) == auth_users.end()) {
    verdict.kind = Verdict::Kind::NeedsCallout;
    verdict.callout = callout_of(*account);
  }
  return verdict;
}

// A key with a scope says itself what its users may do.
Status OperatorMode::apply_scope(crypto::UserClaims& claims, const JwtAccount& account) const {
  const crypto::AccountClaims& owner = account.claims;
  if (claims.iss == owner.sub) {
    if (is_strict(owner.iss)) return Error{Errc::PermissionDenied, "is not signed by a signing key"};
    return {};
  }
  const auto key = owner.signing_keys.find(claims.iss);
  if (key == owner.signing_keys.end() || claims.issuer_account != owner.sub) {
    return Error{Errc::PermissionDenied, "is signed by a key its account does not know"};
  }
  if (!key->second) return {};
  if (!claims.has_empty_permissions()) {
    return Error{Errc::PermissionDenied, "sets permissions that its signing key sets"};
  }
  auto expanded = crypto::expand_user_template(
      key->second->template_,
      {claims.name, claims.sub, owner.name, owner.sub, claims.tags, owner.tags});
  if (!expanded) return expanded.error();
  claims.user = std::move(*expanded);
  return {};
}

OperatorMode::Judged OperatorMode::judge(const crypto::UserClaims& original,
                                         const JwtAccount& account, const Credentials& credentials,
                                         bool is_connected) const {
  using Cause = Revision::Cause;
  const int64_t now = seconds_of(credentials.now);
  const std::string who = jwt_of(original.sub);
  const auto refuse = [&](std::string why, Cause cause = Cause::Violation) {
    return Judged{cause, who + " " + std::move(why), nullptr};
  };
  crypto::UserClaims claims = original;
  if (!trusts(account.claims.iss)) return refuse("is of an account no trusted operator signed");
  if (account.is_expired(now)) return refuse("is of an expired account", Cause::AccountExpired);
  if (claims.exp > 0 && claims.exp <= now) return refuse("has expired", Cause::Expired);
  if (Status scoped = apply_scope(claims, account); !scoped) return refuse(scoped.error().text);
  if (claims.user.proxy_required) return refuse("must come through a proxy");
  if (claims.user.bearer_token && account.claims.limits.account.disallow_bearer) {
    return refuse("is a bearer token, which its account does not allow");
  }
  const auto types = known_connection_types(claims.user.allowed_connection_types);
  if (!types || (!types->empty() && std::find(types->begin(), types->end(),
                                              credentials.connection_type) == types->end())) {
    return refuse("may not connect as " + std::string(credentials.connection_type));
  }
  if (!claims.user.bearer_token && !is_connected) {
    const Status proof = check_signature(claims.sub, credentials.nonce, credentials.signature);
    if (!proof) return refuse("is not proved: " + proof.error().text);
  }
  if (crypto::is_revoked(account.claims.revocations, claims.sub, claims.iat)) {
    return refuse("was revoked", Cause::Revoked);
  }
  if (!is_connected && !is_in_networks(credentials.client_host, claims.user.src)) {
    return refuse("may not connect from " + std::string(credentials.client_host));
  }
  const ConnectTime time =
      check_connect_time(claims.user.times, claims.user.times_location, credentials.now);
  if (!time.is_allowed) return refuse("may not connect at this time", Cause::Expired);
  Judged accepted{{}, {}, make_user(claims, account)};
  if (time.until && (!accepted.user->expires || *time.until < *accepted.user->expires)) {
    accepted.user->expires = time.until;
    accepted.user->expires_with_account = false;
  }
  return accepted;
}

std::shared_ptr<User> OperatorMode::make_user(const crypto::UserClaims& claims,
                                              const JwtAccount& account) const {
  auto user = std::make_shared<User>();
  user->name = claims.name;
  user->nkey = claims.sub;
  user->account = account.id();
  // Who may ask as the server could let in anybody.
  const bool is_asked = account.has_callout();
  const bool says_something = claims.user.permissions != crypto::Permissions{};
  const auto& rules =
      says_something ? claims.user.permissions : account.claims.default_permissions;
  user->permissions = says_something || is_asked ? compile_permissions(rules, is_asked)
                                                 : account.default_permissions;
  if (const auto types = known_connection_types(claims.user.allowed_connection_types)) {
    user->allowed_connection_types = *types;
  }
  user->max_subscriptions = claims.user.limits.subs;
  user->max_payload = claims.user.limits.payload;
  if (claims.exp > 0) user->expires = time_of(claims.exp);
  const int64_t account_end = account.claims.exp;
  if (account_end > 0 && (!user->expires || time_of(account_end) < *user->expires)) {
    user->expires = time_of(account_end);
    user->expires_with_account = true;
  }
  user->issuer_key = claims.iss;
  user->tags = claims.tags;
  user->issued_at = claims.iat;
  return user;
}

Revision OperatorMode::revise(const User& user, const Credentials& credentials) const {
  const JwtAccount* const account = find(user.account);
  if (account == nullptr) {
    return Revision::refuse("account \"" + user.account + "\" was deleted",
                            Revision::Cause::AccountExpired);
  }
  if (user.is_from_callout) {
    if (account->is_expired(seconds_of(credentials.now))) {
      return Revision::refuse("account \"" + user.account + "\" has expired",
                              Revision::Cause::AccountExpired);
    }
    if (crypto::is_revoked(account->claims.revocations, user.nkey, user.issued_at)) {
      return Revision::refuse(jwt_of(user.nkey) + " was revoked", Revision::Cause::Revoked);
    }
    const bool is_known = user.issuer_key == account->id() ||
                          account->claims.signing_keys.contains(user.issuer_key);
    if (!is_known) return Revision::refuse(jwt_of(user.nkey) + " is signed by a key that is gone");
    return Revision::keep(std::make_shared<User>(user));
  }
  if (user.claims == nullptr) {
    return Revision::refuse("user \"" + user.name + user.nkey + "\" came in without a JWT");
  }
  if (!pinned_.empty() && !pinned_.contains(user.account)) {
    return Revision::refuse("account \"" + user.account + "\" is not pinned");
  }
  Judged judged = judge(*user.claims, *account, credentials, true);
  if (!judged.reason.empty()) return Revision::refuse(std::move(judged.reason), judged.cause);
  judged.user->claims = user.claims;
  return Revision::keep(std::move(judged.user));
}

}  // namespace brokkr::auth
