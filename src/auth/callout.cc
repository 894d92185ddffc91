#include "auth/callout.h"

#include <algorithm>

#include "auth/account_claims.h"
#include "auth/authenticator.h"
#include "auth/connect_limits.h"
#include "auth/operator_mode.h"
#include "crypto/jwt.h"
#include "crypto/validate.h"
#include "crypto/xkey.h"

namespace brokkr::auth {
namespace {

int64_t whole_seconds(WallTime time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

Error violation(std::string text) { return Error{Errc::PermissionDenied, std::move(text)}; }

// Who signed a sealed answer needs no look: only the service could seal it.
Status check_signer(const crypto::AuthorizationResponseClaims& answer, const CalloutRule& rule,
                    const OperatorMode* mode) {
  if (!rule.is_operator_mode) {
    if (answer.iss == rule.issuer) return {};
    return violation("auth callout signing key is unknown");
  }
  if (!answer.issuer_account.empty() && answer.issuer_account != rule.account) {
    return violation("auth callout response issuer account \"" + answer.issuer_account +
                     "\" is not the callout account");
  }
  const JwtAccount* const account = mode == nullptr ? nullptr : mode->find(rule.account);
  if (account == nullptr) return violation("the callout account is gone");
  if (answer.iss == rule.account || account->claims.signing_keys.contains(answer.iss)) return {};
  return violation("auth callout signing key is unknown");
}

// The user's JWT in the answer.
Result<crypto::UserClaims> open_answer(const CalloutQuestion& question, std::string_view raw,
                                       const crypto::CurveKey& key, const OperatorMode* mode,
                                       int64_t now) {
  const CalloutRule& rule = *question.rule;
  if (raw.empty()) return violation("auth callout violation: no reason supplied");
  std::string opened;
  const bool is_sealed = !rule.xkey.empty() && !raw.starts_with("eyJ");
  if (is_sealed) {
    auto text = key.open(raw, rule.xkey);
    if (!text) return violation("error decrypting auth callout response: " + text.error().text);
    opened = std::move(*text);
    raw = opened;
  }
  const auto answer = crypto::decode_authorization_response(raw);
  if (!answer) return answer.error();
  const crypto::Issues issues = crypto::validate(*answer, now);
  if (!issues.list().empty()) {
    return violation("authorization response had validation errors: " + issues.list()[0].text);
  }
  if (answer->sub != question.user_nkey) {
    return violation("auth callout violation: auth callout response is not for expected user");
  }
  if (answer->aud != question.server_id) {
    return violation("auth callout violation: auth callout response is not for server");
  }
  if (!is_sealed) {
    if (Status signer = check_signer(*answer, rule, mode); !signer) return signer.error();
  }
  if (!answer->error.empty()) {
    return violation("auth callout service returned an error: " + answer->error);
  }
  auto claims = crypto::decode_user(answer->jwt);
  if (!claims) return violation("user JWT not valid: " + claims.error().text);
  const crypto::Issues faults = crypto::validate(*claims, now);
  if (!faults.list().empty()) {
    return violation("error validating user JWT: " + faults.list()[0].text);
  }
  if (claims->sub != question.user_nkey) {
    return violation("expected authorized user of \"" + question.user_nkey + "\" but got \"" +
                     claims->sub + "\"");
  }
  return claims;
}

// The rest of what the JWT asks of its bearer. Fills in when the user has to leave.
Status check_bearer(const crypto::UserClaims& claims, const CalloutQuestion& question, WallTime now,
                    User& user) {
  if (claims.user.proxy_required || question.is_proxy_required) {
    return violation("the user must come through a proxy");
  }
  const auto types = known_connection_types(claims.user.allowed_connection_types);
  if (!types || (!types->empty() && std::find(types->begin(), types->end(),
                                              question.connection_type) == types->end())) {
    return violation("authorized user may not connect as " + question.connection_type);
  }
  if (!is_in_networks(question.client_host, claims.user.src)) {
    return violation("authorized user may not connect from " + question.client_host);
  }
  const ConnectTime time =
      check_connect_time(claims.user.times, claims.user.times_location, now);
  if (!time.is_allowed) return violation("authorized user outside of valid connect times");
  user.allowed_connection_types = *types;
  if (claims.exp > 0) user.expires = WallTime(std::chrono::seconds(claims.exp));
  if (time.until && (!user.expires || *time.until < *user.expires)) user.expires = time.until;
  return {};
}

void fill_user(const crypto::UserClaims& claims, User& user) {
  user.name = claims.name;
  user.nkey = claims.sub;
  user.issuer_key = claims.iss;
  user.issued_at = claims.iat;
  user.tags = claims.tags;
  user.max_subscriptions = claims.user.limits.subs;
  user.max_payload = claims.user.limits.payload;
  user.is_from_callout = true;
}

}  // namespace

Verdict Authenticator::judge_callout(const CalloutQuestion& question, std::string_view raw,
                                     const crypto::CurveKey& key, WallTime now) const {
  const CalloutRule& rule = *question.rule;
  const auto claims = open_answer(question, raw, key, operator_.get(), whole_seconds(now));
  if (!claims) return Verdict::refuse(claims.error().text);
  if (rule.is_operator_mode) {
    if (operator_ == nullptr) return Verdict::refuse("operator mode has ended");
    return operator_->accept_from_callout(*claims, question, now);
  }
  if (!claims->issuer_account.empty()) {
    return Verdict::refuse("auth callout: an issuer_account outside of operator mode");
  }
  if (claims->iss != rule.issuer) {
    return Verdict::refuse("wrong issuer for auth callout response on account \"" + rule.account +
                           "\", expected \"" + rule.issuer + "\" got \"" + claims->iss + "\"");
  }
  // The configuration's accounts have names; the audience says which.
  if (!account_names_.contains(claims->aud)) {
    return Verdict::refuse("no valid account \"" + claims->aud +
                           "\" for auth callout response on account \"" + rule.account + "\"");
  }
  auto user = std::make_shared<User>();
  fill_user(*claims, *user);
  user->account = claims->aud;
  if (Status bearer = check_bearer(*claims, question, now, *user); !bearer) {
    return Verdict::refuse(bearer.error().text);
  }
  user->permissions =
      compile_permissions(claims->user.permissions, user->account == rule.account);
  return Verdict::accept(std::move(user));
}

Verdict OperatorMode::accept_from_callout(const crypto::UserClaims& original,
                                          const CalloutQuestion& question, WallTime now) const {
  const CalloutRule& rule = *question.rule;
  const std::string& id =
      original.issuer_account.empty() ? original.iss : original.issuer_account;
  const auto& allowed = rule.allowed_accounts;
  const bool takes_any = allowed.size() == 1 && allowed[0] == "*";
  if (id != rule.account && !takes_any &&
      std::find(allowed.begin(), allowed.end(), id) == allowed.end()) {
    return Verdict::refuse("account \"" + id +
                           "\" not permitted as valid account option for auth callout for "
                           "account \"" + rule.account + "\"");
  }
  const JwtAccount* const account = find(id);
  if (account == nullptr) {
    Verdict verdict;
    verdict.kind = Verdict::Kind::NeedsAccount;
    verdict.account = id;
    return verdict;
  }
  if (!trusts(account->claims.iss)) {
    return Verdict::refuse("account \"" + id + "\" was not signed by a trusted operator");
  }
  if (account->is_expired(whole_seconds(now))) {
    return Verdict::refuse("account \"" + id + "\" has expired");
  }
  crypto::UserClaims claims = original;
  if (Status scoped = apply_scope(claims, *account); !scoped) {
    return Verdict::refuse("user JWT " + scoped.error().text);
  }
  if (crypto::is_revoked(account->claims.revocations, claims.sub, claims.iat)) {
    return Verdict::refuse("user JWT was revoked");
  }
  auto user = make_user(claims, *account);
  const auto account_end = user->expires_with_account ? user->expires : std::nullopt;
  fill_user(claims, *user);
  if (Status bearer = check_bearer(claims, question, now, *user); !bearer) {
    return Verdict::refuse(bearer.error().text);
  }
  if (account_end && (!user->expires || *account_end < *user->expires)) user->expires = account_end;
  return Verdict::accept(std::move(user));
}

}  // namespace brokkr::auth
