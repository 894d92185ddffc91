#include "workload/signature.h"

#include <gtest/gtest.h>

#include "base/sha256.h"
#include "crypto/jwt.h"

namespace brokkr::workload {
namespace {

class Signature : public testing::Test {
 protected:
  Signature() {
    request_.ns = "shop";
    request_.name = "echo";
    request_.workload_type = "v8";
    run_.artifact = "(subject, payload) => payload";
    run_.sha256 = sha256_hex(run_.artifact);
    run_.trigger_subjects = {"echo"};
  }

  void sign(Duration lifetime = kSignatureLifetime, std::string_view nonce = "1") {
    auto token = sign_deploy(request_, run_, issuer_, now_, lifetime, nonce);
    ASSERT_TRUE(token) << token.error().text;
    run_.workload_jwt = *token;
  }
  std::string refusal(const Words& issuers = {}, std::string_view ns = "shop") {
    const auto said = verify_deploy(ns, request_, run_, issuers, now_);
    return said ? "" : said.error().text;
  }

  crypto::KeyPair issuer_ = crypto::KeyPair::generate(crypto::NkeyType::Account);
  WallTime now_{std::chrono::hours(24 * 365 * 50)};
  DeployRequest request_;
  RunRequest run_;
};

TEST_F(Signature, LetsThroughWhatWasSigned) {
  sign();
  const auto said = verify_deploy("shop", request_, run_, {issuer_.public_key()}, now_);
  ASSERT_TRUE(said) << said.error().text;
  EXPECT_EQ(said->issuer, issuer_.public_key());
  EXPECT_EQ(said->name, "echo");
  EXPECT_EQ(said->sha256, run_.sha256);
  // However the run request was written.
  auto again = decode_run_request(encode(run_));
  ASSERT_TRUE(again);
  run_ = *again;
  EXPECT_EQ(refusal(), "");
}

TEST_F(Signature, RefusesWhatWasNotSigned) {
  EXPECT_EQ(refusal(), "signature: the deployment is not signed");
  sign();
  const RunRequest good = run_;
  run_.artifact += " ";
  EXPECT_EQ(refusal(), "signature: the artifact is not the one that was signed");
  run_ = good;
  run_.sha256 = std::string(64, 'a');
  EXPECT_EQ(refusal(), "signature: the artifact is not the one that was signed");
  run_ = good;
  run_.trigger_subjects.emplace_back("more");
  EXPECT_EQ(refusal(), "signature: the run request is not the one that was signed");
  run_ = good;
  run_.isolation = Isolation::None;
  EXPECT_EQ(refusal(), "signature: the run request is not the one that was signed");
  run_ = good;
  EXPECT_EQ(refusal({}, "other"), "signature: the token is for namespace \"shop\", not \"other\"");
  request_.name = "else";
  EXPECT_EQ(refusal(), "signature: the token is for workload \"echo\"");
  request_.name = "echo";
  request_.workload_type = "native";
  EXPECT_EQ(refusal(), "signature: the token is for type \"v8\"");
  request_.workload_type = "v8";
  request_.workload_lifecycle = "job";
  EXPECT_EQ(refusal(), "signature: the token is for lifecycle \"function\"");
}

TEST_F(Signature, RefusesForgedTokens) {
  sign();
  const auto other = crypto::KeyPair::generate(crypto::NkeyType::Account);
  EXPECT_EQ(refusal({other.public_key()}), "signature: issuer " + issuer_.public_key() + " is not allowed here");
  std::string& token = run_.workload_jwt;
  const std::string good = token;
  const size_t last = token.rfind('.') + 5;
  token[last] = token[last] == 'A' ? 'B' : 'A';
  EXPECT_NE(refusal(), "");
  token = good.substr(0, good.rfind('.') + 1);
  EXPECT_NE(refusal(), "");
  token = "a.b.c";
  EXPECT_NE(refusal(), "");
  // A user's or an account's own token is signed too, but says nothing of a deployment.
  crypto::GenericClaims claims;
  claims.sub = "echo";
  claims.exp = 1'600'000'000;
  token = *crypto::encode_jwt(claims, issuer_, 1);
  EXPECT_EQ(refusal(), "signature: the token is not one of a deployment");
}

TEST_F(Signature, TokensHaveTheirTime) {
  sign(std::chrono::seconds(60));
  const WallTime signed_at = now_;
  now_ = signed_at + std::chrono::seconds(60) + kSignatureLeeway - std::chrono::seconds(1);
  EXPECT_EQ(refusal(), "");
  now_ += std::chrono::seconds(5);
  EXPECT_EQ(refusal(), "signature: the token expired 34 seconds ago");
  now_ = signed_at - std::chrono::minutes(2);
  EXPECT_EQ(refusal(), "signature: the token is not valid yet");
}

TEST_F(Signature, NeedsAnAccountsKeyAndADigest) {
  const auto user = crypto::KeyPair::generate(crypto::NkeyType::User);
  EXPECT_FALSE(sign_deploy(request_, run_, user, now_, kSignatureLifetime, "1"));
  run_ = {};
  run_.uri = "docker://registry.example/web:1";
  EXPECT_FALSE(sign_deploy(request_, run_, issuer_, now_, kSignatureLifetime, "1"));
  run_.uri = "docker://registry.example/web@sha256:" + std::string(64, 'b');
  sign();
  EXPECT_EQ(refusal(), "");
}

TEST_F(Signature, TokensAreUsedOnce) {
  UsedTokens used;
  sign(kSignatureLifetime, "1");
  const auto first = verify_deploy("shop", request_, run_, {}, now_);
  sign(kSignatureLifetime, "2");
  const auto second = verify_deploy("shop", request_, run_, {}, now_);
  ASSERT_TRUE(first && second);
  EXPECT_NE(used_token_key(*first), used_token_key(*second));
  EXPECT_TRUE(used.use(*first, now_));
  EXPECT_FALSE(used.use(*first, now_));
  EXPECT_TRUE(used.use(*second, now_));
  // As long as the token would be taken it is remembered.
  EXPECT_FALSE(used.use(*first, now_ + kSignatureLifetime + kSignatureLeeway - std::chrono::seconds(1)));
}

}  // namespace
}  // namespace brokkr::workload
