// Users and accounts that are JWTs.
#include "auth/operator_mode.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "crypto/jwt.h"
#include "crypto/nkey.h"

namespace brokkr::auth {
namespace {

using Kind = Verdict::Kind;
using crypto::KeyPair;
using crypto::NkeyType;

constexpr int64_t kNow = 1'800'000'000;  // 2027-01-15 08:00:00 UTC
constexpr std::string_view kNonce = "PXoWU7zWAMt75FY";

// An operator with one account and what it takes to make users.
class OperatorModeTest : public testing::Test {
 protected:
  OperatorModeTest() {
    account_ = crypto::make_account_claims(account_key_.public_key());
    account_.name = "A";
    user_ = crypto::make_user_claims(user_key_.public_key());
    user_.name = "joe";
  }

  template <typename Claims>
  std::string sign(Claims claims, const KeyPair& key, int64_t issued = kNow) {
    auto jwt = crypto::encode_jwt(claims, key, issued);
    EXPECT_TRUE(jwt) << (jwt ? "" : jwt.error().text);
    return jwt ? *jwt : "";
  }
  config::Options options() {
    crypto::OperatorClaims op = operator_;
    op.sub = operator_key_.public_key();
    config::Options options;
    options.operator_mode.operators = {sign(op, operator_key_)};
    options.operator_mode.resolver.kind = config::ResolverOptions::Kind::Memory;
    if (!account_jwt_) account_jwt_ = sign(account_, account_signer_ ? *account_signer_ : operator_key_);
    options.operator_mode.resolver_preload[account_key_.public_key()] = *account_jwt_;
    return options;
  }
  std::shared_ptr<const Authenticator> auth() {
    auto made = Authenticator::make(options(), nullptr, WallTime(std::chrono::seconds(kNow)));
    EXPECT_TRUE(made) << (made ? "" : made.error().text);
    return made ? *made : Authenticator::open_to_all();
  }
  Credentials with_jwt(const std::string& jwt) {
    jwt_ = jwt;
    signature_ = base64url_encode(user_key_.sign(kNonce));
    Credentials credentials;
    credentials.jwt = jwt_;
    credentials.nonce = kNonce;
    credentials.signature = signature_;
    credentials.client_host = "10.1.2.3";
    credentials.now = WallTime(std::chrono::seconds(now_));
    return credentials;
  }
  Verdict check() { return check(account_key_); }
  Verdict check(const KeyPair& signer) { return auth()->check(with_jwt(sign(user_, signer, issued_))); }
  // What the log says of the refusal, without the key in front.
  std::string refusal() { return refusal(account_key_); }
  std::string refusal(const KeyPair& signer) {
    const Verdict verdict = check(signer);
    if (verdict.kind == Kind::Accepted) return "accepted";
    const std::string who = "JWT of \"" + user_key_.public_key() + "\"";
    return verdict.reason.starts_with(who) ? verdict.reason.substr(who.size()) : verdict.reason;
  }
  void revoke(const std::string& key, int64_t at) { account_.revocations[key] = at; }

  KeyPair operator_key_ = KeyPair::generate(NkeyType::Operator);
  KeyPair account_key_ = KeyPair::generate(NkeyType::Account);
  KeyPair signing_key_ = KeyPair::generate(NkeyType::Account);
  KeyPair user_key_ = KeyPair::generate(NkeyType::User);
  crypto::OperatorClaims operator_;
  crypto::AccountClaims account_;
  std::optional<std::string> account_jwt_;
  const KeyPair* account_signer_ = nullptr;
  crypto::UserClaims user_;
  int64_t now_ = kNow + 10;
  int64_t issued_ = kNow;
  std::string jwt_;
  std::string signature_;
};

TEST_F(OperatorModeTest, UsersOfAnAccountComeIn) {
  const auto made = auth();
  EXPECT_TRUE(made->is_required());
  EXPECT_TRUE(made->needs_nonce());
  const Verdict verdict = check();
  ASSERT_EQ(verdict.kind, Kind::Accepted) << verdict.reason;
  EXPECT_EQ(verdict.user->account, account_key_.public_key());
  EXPECT_EQ(verdict.user->nkey, user_key_.public_key());
  EXPECT_EQ(verdict.user->name, "joe");
  EXPECT_EQ(verdict.user->permissions, nullptr);
  EXPECT_FALSE(verdict.user->expires);
  EXPECT_NE(made->accounts()->find(account_key_.public_key()), nullptr);
}

TEST_F(OperatorModeTest, WithoutJwtNobodyDoes) {
  Credentials nothing;
  EXPECT_EQ(auth()->check(nothing).kind, Kind::Refused);
  nothing.user = "a";
  nothing.password = "b";
  EXPECT_EQ(auth()->check(nothing).kind, Kind::Refused);
  for (const char* jwt : {"x", "a.b.c", "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.e30.AA"}) {
    EXPECT_EQ(auth()->check(with_jwt(jwt)).kind, Kind::Refused) << jwt;
  }
}

TEST_F(OperatorModeTest, TheKeyMustBeProved) {
  Credentials credentials = with_jwt(sign(user_, account_key_));
  credentials.signature = {};
  EXPECT_EQ(auth()->check(credentials).kind, Kind::Refused);
  const std::string other = base64url_encode(signing_key_.sign(kNonce));
  credentials.signature = other;
  EXPECT_EQ(auth()->check(credentials).kind, Kind::Refused);
}

TEST_F(OperatorModeTest, AccountsOfOtherOperatorsDoNotCount) {
  const KeyPair other = KeyPair::generate(NkeyType::Operator);
  account_signer_ = &other;
  EXPECT_EQ(refusal(), " is of an account no trusted operator signed");
  account_jwt_.reset();
  account_signer_ = &account_key_;  // signed by itself
  EXPECT_EQ(refusal(), " is of an account no trusted operator signed");
  account_jwt_.reset();
  operator_.signing_keys = {other.public_key()};
  account_signer_ = &other;
  EXPECT_EQ(refusal(), "accepted");
}

TEST_F(OperatorModeTest, StrictOperatorsSignWithSigningKeysOnly) {
  const KeyPair key = KeyPair::generate(NkeyType::Operator);
  operator_.signing_keys = {key.public_key()};
  operator_.strict_signing_key_usage = true;
  account_.signing_keys[signing_key_.public_key()] = std::nullopt;
  EXPECT_EQ(refusal(), " is of an account no trusted operator signed");
  account_jwt_.reset();
  account_signer_ = &key;
  EXPECT_EQ(refusal(), " is not signed by a signing key");
  user_.issuer_account = account_key_.public_key();
  EXPECT_EQ(refusal(signing_key_), "accepted");
}

TEST_F(OperatorModeTest, UsersMayBeSignedByKnownKeysOnly) {
  user_.issuer_account = account_key_.public_key();
  EXPECT_EQ(refusal(signing_key_), " is signed by a key its account does not know");
  account_jwt_.reset();
  account_.signing_keys[signing_key_.public_key()] = std::nullopt;
  EXPECT_EQ(refusal(signing_key_), "accepted");
  EXPECT_EQ(check(signing_key_).user->issuer_key, signing_key_.public_key());
  // Without saying whose key it is, it is the key of no account.
  user_.issuer_account.clear();
  EXPECT_EQ(check(signing_key_).kind, Kind::NeedsAccount);
}

TEST_F(OperatorModeTest, UnknownAccountsAreAskedFor) {
  const KeyPair other = KeyPair::generate(NkeyType::Account);
  const Verdict verdict = check(other);
  EXPECT_EQ(verdict.kind, Kind::NeedsAccount);
  EXPECT_EQ(verdict.account, other.public_key());
}

TEST_F(OperatorModeTest, PinnedAccountsOnly) {
  config::Options pinned = options();
  pinned.operator_mode.resolver_pinned_accounts = {signing_key_.public_key()};
  const auto made = Authenticator::make(pinned, nullptr, WallTime(std::chrono::seconds(kNow)));
  ASSERT_TRUE(made);
  EXPECT_EQ((*made)->check(with_jwt(sign(user_, account_key_))).kind, Kind::Refused);
}

// CVE-2020-26892: expired credentials.
TEST_F(OperatorModeTest, TimesCount) {
  user_.exp = now_ + 5;
  ASSERT_EQ(refusal(), "accepted");
  EXPECT_EQ(*check().user->expires, WallTime(std::chrono::seconds(now_ + 5)));
  user_.exp = now_ - 1;
  EXPECT_EQ(refusal(), ": claim is expired");
  user_.exp = now_;
  EXPECT_EQ(refusal(), " has expired");
  user_.exp = 0;
  user_.nbf = now_ + 1;
  EXPECT_EQ(refusal(), ": claim is not yet valid");
  user_.nbf = 0;
  account_jwt_.reset();
  account_.exp = now_ + 3;
  ASSERT_EQ(refusal(), "accepted");
  EXPECT_TRUE(check().user->expires_with_account);
  account_jwt_.reset();
  account_.exp = now_;
  // First a newer one is looked for.
  EXPECT_EQ(check().kind, Kind::NeedsAccount);
  Credentials again = with_jwt(sign(user_, account_key_));
  again.is_account_fresh = true;
  EXPECT_EQ(auth()->check(again).kind, Kind::Refused);
}

TEST_F(OperatorModeTest, RevokedUsersStayOut) {
  revoke(user_key_.public_key(), kNow - 1);
  EXPECT_EQ(refusal(), "accepted");
  account_jwt_.reset();
  revoke(user_key_.public_key(), kNow);
  EXPECT_EQ(refusal(), " was revoked");
  issued_ = kNow + 1;
  EXPECT_EQ(refusal(), "accepted");
  account_jwt_.reset();
  revoke("*", kNow + 1);
  EXPECT_EQ(refusal(), " was revoked");
}

TEST_F(OperatorModeTest, BearerTokensNeedNoSignatureWhereAllowed) {
  user_.user.bearer_token = true;
  Credentials credentials = with_jwt(sign(user_, account_key_));
  credentials.signature = {};
  EXPECT_EQ(auth()->check(credentials).kind, Kind::Accepted);
  account_jwt_.reset();
  account_.limits.account.disallow_bearer = true;
  EXPECT_EQ(auth()->check(credentials).kind, Kind::Refused);
}

TEST_F(OperatorModeTest, ConnectionTypes) {
  user_.user.allowed_connection_types = {"WEBSOCKET", "SOMETHING_NEW"};
  EXPECT_EQ(refusal(), " may not connect as STANDARD");
  Credentials credentials = with_jwt(sign(user_, account_key_));
  credentials.connection_type = "WEBSOCKET";
  EXPECT_EQ(auth()->check(credentials).kind, Kind::Accepted);
  // Only unknown ones do not mean all.
  user_.user.allowed_connection_types = {"SOMETHING_NEW"};
  EXPECT_EQ(refusal(), " may not connect as STANDARD");
}

TEST_F(OperatorModeTest, NetworksAndHours) {
  user_.user.src = {"192.168.0.0/16", "10.1.2.0/24"};
  EXPECT_EQ(refusal(), "accepted");
  user_.user.src = {"10.1.3.0/24"};
  EXPECT_EQ(refusal(), " may not connect from 10.1.2.3");
  user_.user.src.clear();
  user_.user.times_location = "UTC";
  user_.user.times = {{"07:00:00", "08:00:30"}};
  ASSERT_EQ(refusal(), "accepted");
  EXPECT_EQ(*check().user->expires, WallTime(std::chrono::seconds(kNow + 30)));
  user_.user.times = {{"08:01:00", "09:00:00"}};
  EXPECT_EQ(refusal(), " may not connect at this time");
}

TEST_F(OperatorModeTest, LimitsAndPermissions) {
  user_.user.limits.subs = 5;
  user_.user.limits.payload = 100;
  user_.user.permissions.pub.allow = {"a.>"};
  user_.user.permissions.sub.deny = {"b"};
  const auto user = check().user;
  ASSERT_NE(user, nullptr);
  EXPECT_EQ(user->max_subscriptions, 5);
  EXPECT_EQ(user->max_payload, 100);
  EXPECT_TRUE(user->permissions->may_publish("a.b"));
  EXPECT_FALSE(user->permissions->may_publish("b"));
  EXPECT_FALSE(user->permissions->may_subscribe("b", ""));
  user_.user.permissions = {};
  user_.user.permissions.resp = crypto::ResponsePermission{1, 0};
  const auto responder = check().user->permissions;
  EXPECT_TRUE(responder->allows_responses());
  EXPECT_FALSE(responder->may_publish("a.b"));
}

TEST_F(OperatorModeTest, DefaultPermissionsOfTheAccount) {
  account_.default_permissions.pub.allow = {"only"};
  EXPECT_FALSE(check().user->permissions->may_publish("other"));
  user_.user.permissions.pub.allow = {"other"};
  EXPECT_TRUE(check().user->permissions->may_publish("other"));
}

TEST_F(OperatorModeTest, ScopedKeysSayWhatTheirUsersMay) {
  crypto::UserScope scope = crypto::make_user_scope(signing_key_.public_key());
  scope.template_.permissions.pub.allow = {"u.{{name()}}"};
  scope.template_.limits.subs = 7;
  account_.signing_keys[signing_key_.public_key()] = scope;
  user_.issuer_account = account_key_.public_key();
  EXPECT_EQ(refusal(signing_key_), " sets permissions that its signing key sets");
  user_.user = {};
  const auto user = check(signing_key_).user;
  ASSERT_NE(user, nullptr);
  EXPECT_TRUE(user->permissions->may_publish("u.joe"));
  EXPECT_FALSE(user->permissions->may_publish("u.jim"));
  EXPECT_EQ(user->max_subscriptions, 7);
}

TEST_F(OperatorModeTest, DefaultSentinel) {
  user_.user.bearer_token = true;
  config::Options with = options();
  with.operator_mode.default_sentinel = sign(user_, account_key_);
  auto made = Authenticator::make(with, nullptr, WallTime(std::chrono::seconds(kNow)));
  ASSERT_TRUE(made);
  Credentials nothing;
  nothing.now = WallTime(std::chrono::seconds(now_));
  EXPECT_EQ((*made)->check(nothing).kind, Kind::Accepted);
  user_.user.bearer_token = false;
  with.operator_mode.default_sentinel = sign(user_, account_key_);
  EXPECT_FALSE(Authenticator::make(with, nullptr, WallTime(std::chrono::seconds(kNow))));
}

// --- changes ---------------------------------------------------------------------------------

TEST_F(OperatorModeTest, ChangesReachConnectedUsers) {
  const Credentials credentials = with_jwt(sign(user_, account_key_));
  const auto first = auth();
  const Verdict verdict = first->check(credentials);
  ASSERT_EQ(verdict.kind, Kind::Accepted);
  const auto after = [&] {
    auto account = read_jwt_account(account_key_.public_key(), sign(account_, operator_key_));
    EXPECT_TRUE(account);
    JwtAccounts accounts;
    if (account) accounts.emplace(account_key_.public_key(), *account);
    const auto next = first->with_operator_mode(first->operator_mode()->with_accounts(accounts),
                                                credentials.now);
    return next->revise(*verdict.user, credentials);
  };
  EXPECT_EQ(after().kind, Revision::Kind::Kept);
  account_.default_permissions.pub.allow = {"x"};
  EXPECT_FALSE(after().user->permissions->may_publish("y"));
  account_.revocations[user_key_.public_key()] = kNow;
  EXPECT_EQ(after().cause, Revision::Cause::Revoked);
  account_.revocations.clear();
  account_.exp = kNow + 1;
  EXPECT_EQ(after().cause, Revision::Cause::AccountExpired);
  const auto gone = first->with_operator_mode(first->operator_mode()->with_accounts({}),
                                              credentials.now);
  EXPECT_EQ(gone->revise(*verdict.user, credentials).cause, Revision::Cause::AccountExpired);
}

// --- imports ---------------------------------------------------------------------------------

class ImportsTest : public OperatorModeTest {
 protected:
  ImportsTest() {
    exporter_ = crypto::make_account_claims(exporter_key_.public_key());
    crypto::Export open;
    open.subject = "private.>";
    open.type = crypto::ExportType::Stream;
    open.token_req = true;
    exporter_.exports = {open};
    crypto::Import import;
    import.account = exporter_key_.public_key();
    import.subject = "private.a";
    import.type = crypto::ExportType::Stream;
    account_.imports = {import};
    activation_.sub = account_key_.public_key();
    activation_.import_subject = "private.a";
    activation_.import_type = crypto::ExportType::Stream;
  }
  bool is_imported(const KeyPair& signer) {
    account_jwt_.reset();
    account_.imports[0].token = signed_activation_ ? sign(activation_, signer) : "";
    config::Options both = options();
    both.operator_mode.resolver_preload[exporter_key_.public_key()] =
        sign(exporter_, operator_key_);
    auto made = Authenticator::make(both, nullptr, WallTime(std::chrono::seconds(kNow)));
    EXPECT_TRUE(made) << (made ? "" : made.error().text);
    return made && !(*made)->accounts()->find(account_key_.public_key())->stream_imports.empty();
  }
  KeyPair exporter_key_ = KeyPair::generate(NkeyType::Account);
  crypto::AccountClaims exporter_;
  crypto::ActivationClaims activation_;
  bool signed_activation_ = true;
};

// CVE-2021-3127: the token that allows an import must be the exporter's word for this account.
TEST_F(ImportsTest, NeedTheExportersToken) {
  EXPECT_TRUE(is_imported(exporter_key_));
  EXPECT_FALSE(is_imported(account_key_));
  EXPECT_FALSE(is_imported(signing_key_));
  signed_activation_ = false;
  EXPECT_FALSE(is_imported(exporter_key_));
  signed_activation_ = true;
  activation_.sub = signing_key_.public_key();  // for somebody else
  EXPECT_FALSE(is_imported(exporter_key_));
  activation_.sub = account_key_.public_key();
  activation_.import_subject = "private.b";
  EXPECT_FALSE(is_imported(exporter_key_));
  activation_.import_subject = "private.>";
  EXPECT_TRUE(is_imported(exporter_key_));
  activation_.import_type = crypto::ExportType::Service;
  EXPECT_FALSE(is_imported(exporter_key_));
  activation_.import_type = crypto::ExportType::Stream;
  activation_.exp = kNow - 1;
  EXPECT_FALSE(is_imported(exporter_key_));
}

TEST_F(ImportsTest, TokensMayBeSignedByAKeyOfTheExporter) {
  activation_.issuer_account = exporter_key_.public_key();
  EXPECT_FALSE(is_imported(signing_key_));
  exporter_.signing_keys[signing_key_.public_key()] = std::nullopt;
  EXPECT_TRUE(is_imported(signing_key_));
  activation_.issuer_account.clear();
  EXPECT_FALSE(is_imported(signing_key_));
}

TEST_F(ImportsTest, RevokedTokensDoNotCount) {
  exporter_.exports[0].revocations[account_key_.public_key()] = kNow;
  EXPECT_FALSE(is_imported(exporter_key_));
  exporter_.exports[0].revocations = {{"*", kNow - 1}};
  EXPECT_TRUE(is_imported(exporter_key_));
}

}  // namespace
}  // namespace brokkr::auth
