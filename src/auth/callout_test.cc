// Answers to auth callouts, and who is asked for.
#include "auth/callout.h"

#include <gtest/gtest.h>

#include "auth/authenticator.h"
#include "auth/operator_mode.h"
#include "crypto/jwt.h"
#include "crypto/nkey.h"
#include "crypto/xkey.h"

namespace brokkr::auth {
namespace {

using Kind = Verdict::Kind;
using crypto::KeyPair;
using crypto::NkeyType;

constexpr int64_t kNow = 1'800'000'000;

WallTime now() { return WallTime(std::chrono::seconds(kNow)); }

class CalloutTest : public testing::Test {
 protected:
  CalloutTest() {
    options_.accounts.resize(2);
    options_.accounts[0].name = "AUTH";
    options_.accounts[1].name = "APP";
    config::UserEntry service;
    service.name = "auth";
    service.password = "auth";
    service.account = "AUTH";
    options_.authorization.users = {service, service};
    options_.authorization.users[1].name = "own";
    options_.authorization.users[1].account = "APP";
    auto& callout = options_.authorization.callout.emplace();
    callout.issuer = issuer_.public_key();
    callout.account = "AUTH";
    callout.auth_users = {"auth"};
    question_.user_nkey = user_.public_key();
    question_.server_id = server_.public_key();
    question_.connection_type = "STANDARD";
    question_.client_host = "10.0.0.1";
    claims_ = crypto::make_user_claims(user_.public_key());
    claims_.aud = "APP";
    answer_.sub = user_.public_key();
    answer_.aud = server_.public_key();
  }
  std::shared_ptr<const Authenticator> auth() {
    auto made = Authenticator::make(options_, nullptr, now());
    EXPECT_TRUE(made) << (made ? "" : made.error().text);
    return made ? *made : nullptr;
  }
  Verdict knock(std::string_view user, std::string_view password) {
    Credentials credentials;
    credentials.user = user;
    credentials.password = password;
    return auth()->check(credentials);
  }
  std::string answer(const KeyPair& signer) {
    if (answer_.error.empty()) {
      crypto::UserClaims claims = claims_;
      answer_.jwt = *crypto::encode_jwt(claims, user_signer_ ? *user_signer_ : issuer_, kNow);
    }
    auto jwt = crypto::encode_jwt(answer_, signer, kNow);
    EXPECT_TRUE(jwt) << (jwt ? "" : jwt.error().text);
    return jwt ? *jwt : "";
  }
  Verdict judge(std::string_view raw) {
    const auto made = auth();
    question_.rule = made->check({}).callout;
    return made->judge_callout(question_, raw, xkey_, now());
  }
  Verdict judge() { return judge(answer(issuer_)); }

  config::Options options_;
  KeyPair issuer_ = KeyPair::generate(NkeyType::Account);
  KeyPair stranger_ = KeyPair::generate(NkeyType::Account);
  KeyPair user_ = KeyPair::generate(NkeyType::User);
  KeyPair server_ = KeyPair::generate(NkeyType::Server);
  crypto::CurveKey xkey_ = crypto::CurveKey::generate();
  const KeyPair* user_signer_ = nullptr;
  CalloutQuestion question_;
  crypto::UserClaims claims_;
  crypto::AuthorizationResponseClaims answer_;
};

TEST_F(CalloutTest, EverybodyIsAskedForButTheService) {
  EXPECT_TRUE(auth()->is_required());
  EXPECT_EQ(knock("", "").kind, Kind::NeedsCallout);
  EXPECT_EQ(knock("anybody", "x").kind, Kind::NeedsCallout);
  EXPECT_EQ(knock("own", "auth").kind, Kind::NeedsCallout);
  EXPECT_EQ(knock("own", "wrong").kind, Kind::NeedsCallout);
  EXPECT_EQ(knock("auth", "auth").kind, Kind::Accepted);
  EXPECT_EQ(knock("auth", "wrong").kind, Kind::Refused);
}

TEST_F(CalloutTest, OnlyUsersOfDelegatedAccountsAreAskedFor) {
  options_.authorization.callout->allowed_accounts = {"OTHER"};
  EXPECT_EQ(knock("own", "auth").kind, Kind::Accepted);
  EXPECT_EQ(knock("anybody", "x").kind, Kind::NeedsCallout);
  options_.authorization.callout->allowed_accounts = {"APP"};
  EXPECT_EQ(knock("own", "auth").kind, Kind::NeedsCallout);
}

TEST_F(CalloutTest, WhoSharesTheAccountCannotAskAsTheServer) {
  const auto user = knock("auth", "auth").user;
  ASSERT_NE(user->permissions, nullptr);
  EXPECT_FALSE(user->permissions->may_publish(kCalloutSubject));
  EXPECT_TRUE(user->permissions->may_publish("anything"));
}

TEST_F(CalloutTest, GoodAnswersLetIn) {
  claims_.name = "joe";
  claims_.exp = kNow + 60;
  claims_.user.permissions.pub.allow = {"p"};
  const Verdict verdict = judge();
  ASSERT_EQ(verdict.kind, Kind::Accepted) << verdict.reason;
  EXPECT_EQ(verdict.user->account, "APP");
  EXPECT_EQ(verdict.user->name, "joe");
  EXPECT_FALSE(verdict.user->permissions->may_publish("q"));
  EXPECT_EQ(*verdict.user->expires, WallTime(std::chrono::seconds(kNow + 60)));
  EXPECT_EQ(auth()->revise(*verdict.user, {}).kind, Revision::Kind::Kept);
  options_.accounts.pop_back();
  options_.authorization.users.pop_back();
  EXPECT_EQ(auth()->revise(*verdict.user, {}).kind, Revision::Kind::Refused);
}

TEST_F(CalloutTest, AnswersOfOthersDoNot) {
  EXPECT_EQ(judge("").reason, "auth callout violation: no reason supplied");
  EXPECT_EQ(judge("nonsense").kind, Kind::Refused);
  EXPECT_EQ(judge(answer(stranger_)).reason, "auth callout signing key is unknown");
  user_signer_ = &stranger_;
  EXPECT_EQ(judge().kind, Kind::Refused);
  user_signer_ = nullptr;
  answer_.aud = KeyPair::generate(NkeyType::Server).public_key();
  EXPECT_EQ(judge().reason,
            "auth callout violation: auth callout response is not for server");
}

TEST_F(CalloutTest, AnswersToOtherQuestionsDoNot) {
  const KeyPair other = KeyPair::generate(NkeyType::User);
  answer_.sub = other.public_key();
  EXPECT_EQ(judge().reason,
            "auth callout violation: auth callout response is not for expected user");
  answer_.sub = user_.public_key();
  claims_.sub = other.public_key();
  EXPECT_EQ(judge().kind, Kind::Refused);
}

TEST_F(CalloutTest, WhatTheUsersTokenSaysCounts) {
  claims_.aud = "NONE";
  EXPECT_EQ(judge().kind, Kind::Refused);
  claims_.aud = "APP";
  claims_.exp = kNow - 1;
  EXPECT_EQ(judge().kind, Kind::Refused);
  claims_.exp = 0;
  claims_.user.allowed_connection_types = {"WEBSOCKET"};
  EXPECT_EQ(judge().kind, Kind::Refused);
  claims_.user.allowed_connection_types = {};
  claims_.user.src = {"192.168.0.0/16"};
  EXPECT_EQ(judge().kind, Kind::Refused);
  claims_.user.src = {"10.0.0.0/8"};
  claims_.user.proxy_required = true;
  EXPECT_EQ(judge().kind, Kind::Refused);
  claims_.user.proxy_required = false;
  claims_.issuer_account = stranger_.public_key();
  EXPECT_EQ(judge().kind, Kind::Refused);
  claims_.issuer_account.clear();
  EXPECT_EQ(judge().kind, Kind::Accepted);
  answer_.error = "go away";
  answer_.jwt.clear();
  EXPECT_EQ(judge().reason, "auth callout service returned an error: go away");
}

// CVE-2023-46129 was a box sealed with an all-zero key.
TEST_F(CalloutTest, SealedAnswersAreTheServicesOwn) {
  const crypto::CurveKey service = crypto::CurveKey::generate();
  const crypto::CurveKey other = crypto::CurveKey::generate();
  options_.authorization.callout->xkey = service.public_key();
  const std::string plain = answer(issuer_);
  EXPECT_EQ(judge(*service.seal(plain, xkey_.public_key())).kind, Kind::Accepted);
  EXPECT_EQ(judge(*other.seal(plain, xkey_.public_key())).kind, Kind::Refused);
  EXPECT_EQ(judge(*service.seal(plain, other.public_key())).kind, Kind::Refused);
  EXPECT_FALSE(service.seal(plain, "X" + std::string(55, 'A')));
  const std::string zero = crypto::format_public_key(NkeyType::Curve, {});
  EXPECT_FALSE(service.seal(plain, zero));
}

}  // namespace
}  // namespace brokkr::auth
