#include "crypto/jwt.h"

#include "base/bytes.h"
#include "crypto/test_keys.h"
#include "crypto/validate.h"

namespace brokkr::crypto {
namespace {

constexpr int64_t kNow = 1'800'000'000;

// A token with any header and payload, signed over what the caller says.
std::string make_token(std::string_view payload, const KeyPair& signer,
                       std::string_view header = R"({"typ":"JWT","alg":"ed25519-nkey"})", bool old = false) {
  const std::string part = base64url_encode(payload);
  const std::string head = base64url_encode(header) + "." + part;
  return head + "." + base64url_encode(signer.sign(old ? part : head));
}

std::string user_payload(const std::string& nats, const KeyPair& issuer = testing::account_key()) {
  return R"({"iss":")" + issuer.public_key() + R"(","sub":")" + testing::user_key().public_key() +
         R"(","nats":{"type":"user","version":2)" + nats + "}}";
}

template <typename T>
void expect_same_again(Result<T> claims, const std::string& token, const KeyPair& signer) {
  ASSERT_TRUE(claims) << claims.error().text;
  const auto again = encode_jwt(*claims, signer, claims->iat);
  ASSERT_TRUE(again) << again.error().text;
  EXPECT_EQ(*again, token);
}

TEST(Jwt, TokensOfTheReferenceAreReadAndWrittenByteForByte) {
  const auto file = [](const char* name) { return testing::read_testdata(std::string(name) + ".jwt"); };
  expect_same_again(decode_operator(file("operator")), file("operator"), testing::operator_key());
  expect_same_again(decode_account(file("account")), file("account"), testing::operator_signing_key());
  expect_same_again(decode_user(file("user")), file("user"), testing::other_account_key());
  expect_same_again(decode_activation(file("activation")), file("activation"), testing::other_account_key());
  expect_same_again(decode_authorization_request(file("authorization_request")), file("authorization_request"),
                    testing::server_key());
  expect_same_again(decode_authorization_response(file("authorization_response")), file("authorization_response"),
                    testing::account_key());
  expect_same_again(decode_generic(file("generic")), file("generic"), testing::account_key());
}

TEST(Jwt, TypedClaimsHaveWhatTheTokenSays) {
  const auto account = decode_account(testing::read_testdata("account.jwt"));
  ASSERT_TRUE(account);
  EXPECT_EQ(account->name, "ACC <&>");
  EXPECT_EQ(account->limits.tiers.at("R1").disk_max_stream_bytes, 7);
  EXPECT_TRUE(account->limits.is_jetstream_enabled());
  ASSERT_EQ(account->exports.size(), 2U);
  EXPECT_EQ(account->exports[1].latency->sampling, 0);
  EXPECT_EQ(account->exports[1].response_threshold_ns, 1'000'000'000);
  EXPECT_TRUE(account->signing_keys.at(testing::scoped_key().public_key())->template_.permissions.resp.has_value());
  EXPECT_TRUE(is_revoked(account->revocations, testing::user_key().public_key(), 50));
  EXPECT_FALSE(is_revoked(account->revocations, testing::user_key().public_key(), 51));
  EXPECT_TRUE(account->did_sign(testing::scoped_key().public_key(), account->sub));
  EXPECT_FALSE(account->did_sign(testing::scoped_key().public_key(), ""));
  const auto user = decode_user(testing::read_testdata("user.jwt"));
  ASSERT_TRUE(user);
  EXPECT_EQ(user->user.permissions.pub.allow, (Texts{"a", "b.*"}));
  EXPECT_EQ(user->user.times.at(0).end, "17:00:00");
  EXPECT_EQ(user->user.limits.payload, 99);
  EXPECT_FALSE(user->has_empty_permissions());
}

TEST(Jwt, EveryChangedByteIsRefused) {
  const std::string token = testing::read_testdata("user.jwt");
  for (size_t i = 0; i < token.size(); ++i) {
    std::string changed = token;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(decode_jwt(changed)) << i;
  }
  EXPECT_FALSE(decode_jwt(token + "A"));
  EXPECT_FALSE(decode_jwt(token + "="));
  EXPECT_FALSE(decode_jwt(token + "\n"));
}

TEST(Jwt, HeadersOfOtherKindsAreRefused) {
  const std::string payload = user_payload("");
  const KeyPair account = testing::account_key();
  EXPECT_TRUE(decode_jwt(make_token(payload, account, R"({"typ":"jwt","alg":"Ed25519-NKEY"})")));
  for (const char* header : {R"({"typ":"JWS","alg":"ed25519-nkey"})", R"({"typ":"JWT","alg":"none"})",
                             R"({"typ":"JWT","alg":"HS256"})", R"({"typ":"JWT"})", R"({})", R"([])", "x"}) {
    EXPECT_FALSE(decode_jwt(make_token(payload, account, header))) << header;
  }
  EXPECT_FALSE(decode_jwt("a.b"));
  EXPECT_FALSE(decode_jwt(""));
  EXPECT_EQ(decode_jwt(std::string(kTokenBytesMax + 1, 'a')).error().code, Errc::LimitExceeded);
}

TEST(Jwt, OnlyTheIssuerMaySignAndOnlyOfItsType) {
  EXPECT_TRUE(decode_user(make_token(user_payload(""), testing::account_key())));
  const auto forged = decode_user(make_token(user_payload(""), testing::other_account_key()));
  ASSERT_FALSE(forged);
  EXPECT_EQ(forged.error().code, Errc::PermissionDenied);
  const KeyPair op = testing::operator_key();
  EXPECT_FALSE(decode_user(make_token(user_payload("", op), op)));
  UserClaims claims = make_user_claims(testing::user_key().public_key());
  EXPECT_FALSE(encode_jwt(claims, op, kNow));
  claims.sub = op.public_key();
  EXPECT_FALSE(encode_jwt(claims, testing::account_key(), kNow));
  EXPECT_FALSE(decode_account(testing::read_testdata("user.jwt")));
}

TEST(Jwt, MembersOfAWrongKindAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"(,"subs":"5")", "claims: nats.subs is not an integer"},
      {R"(,"subs":1.5)", "claims: nats.subs is not an integer"},
      {R"(,"pub":[])", "claims: nats.pub is not an object"},
      {R"(,"pub":{"allow":"a"})", "claims: nats.pub.allow is not a list"},
      {R"(,"pub":{"allow":[1]})", "claims: nats.pub.allow is not a list of strings"},
      {R"(,"times":[null])", "claims: nats.times is not a list of objects"},
      {R"(,"bearer_token":"true")", "claims: nats.bearer_token is not true or false"},
  };
  for (const auto& [nats, text] : cases) {
    const auto claims = decode_user(make_token(user_payload(nats), testing::account_key()));
    ASSERT_FALSE(claims) << nats;
    EXPECT_EQ(claims.error().text, text);
  }
  EXPECT_TRUE(decode_user(make_token(user_payload(R"(,"unknown":{"a":1},"pub":null)"), testing::account_key())));
}

// A null import crashed a server (CVE-2020-26521); an unknown scope must not be a key without one.
TEST(Jwt, NullEntriesAndUnknownScopesAreRefused) {
  for (const char* nats : {R"("imports":[null])", R"("exports":[null])", R"("signing_keys":[null])",
                           R"("signing_keys":[{"kind":"other","key":"A"}])", R"("mappings":{"a":[null]})",
                           R"("mappings":{"a":[{"subject":"b","weight":-1}]})"}) {
    const std::string payload = R"({"iss":")" + testing::operator_key().public_key() + R"(","sub":")" +
                                testing::account_key().public_key() + R"(","nats":{"type":"account","version":2,)" +
                                nats + "}}";
    EXPECT_FALSE(decode_account(make_token(payload, testing::operator_key()))) << nats;
  }
}

TEST(Jwt, VersionsOneAndTwoAreReadOthersNot) {
  const KeyPair account = testing::account_key();
  const std::string head = R"({"iss":")" + account.public_key() + R"(","sub":")" + testing::user_key().public_key() + R"(",)";
  const std::string old = head + R"("type":"user","tags":["t"],"issuer_account":"AX","nats":{"src":"10.0.0.0/8, ::1/128","data":5}})";
  const auto claims = decode_user(make_token(old, account, R"({"typ":"jwt","alg":"ed25519"})", true));
  ASSERT_TRUE(claims) << claims.error().text;
  EXPECT_EQ(claims->version, 1);
  EXPECT_EQ(claims->issuer_account, "AX");
  EXPECT_EQ(claims->user.src, (Texts{"10.0.0.0/8", "::1/128"}));
  EXPECT_EQ(claims->user.limits.data, 5);
  EXPECT_EQ(claims->user.limits.subs, kNoLimit);
  for (const char* version : {"0", "3", "-1"}) {
    const std::string payload = head + R"("nats":{"type":"user","version":)" + version + "}}";
    EXPECT_FALSE(decode_user(make_token(payload, account))) << version;
    EXPECT_FALSE(decode_user(make_token(payload, account, R"({"typ":"jwt","alg":"ed25519"})", true))) << version;
  }
}

TEST(Jwt, ScopedUsersSayNothing) {
  UserClaims claims;
  claims.sub = testing::user_key().public_key();
  claims.issuer_account = testing::account_key().public_key();
  const auto token = encode_jwt(claims, testing::scoped_key(), kNow);
  ASSERT_TRUE(token);
  EXPECT_TRUE(decode_user(*token)->has_empty_permissions());
  EXPECT_FALSE(make_user_claims(claims.sub).has_empty_permissions());
}

TEST(Validate, TimesAndNetworks) {
  UserClaims claims = make_user_claims(testing::user_key().public_key());
  EXPECT_FALSE(validate(claims, kNow).is_blocking());
  claims.exp = kNow - 1;
  EXPECT_TRUE(validate(claims, kNow).is_blocking());
  EXPECT_FALSE(validate(claims, kNow).is_blocking(false));
  claims.exp = 0;
  claims.nbf = kNow + 1;
  EXPECT_TRUE(validate(claims, kNow).is_blocking());
  for (const char* good : {"10.0.0.0/8", "1.2.3.4/32", "::/0", "fe80::1/64"}) EXPECT_TRUE(is_network(good)) << good;
  for (const char* bad : {"", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "a/8", "1.2.3.4/-1", "::1/129", "1.2.3.4/08"}) {
    EXPECT_FALSE(is_network(bad)) << bad;
  }
  EXPECT_TRUE(is_time_of_day("8:00:00"));
  for (const char* bad : {"24:00:00", "08:00", "08:60:00", "08:0:00", ""}) EXPECT_FALSE(is_time_of_day(bad)) << bad;
}

TEST(Validate, AccountsOfTheReferencePassAndWrongOnesDoNot) {
  auto claims = decode_account(testing::read_testdata("account.jwt"));
  ASSERT_TRUE(claims);
  EXPECT_EQ(validate(*claims, kNow).text(), "");
  claims->imports[0].account = testing::account_key().public_key();
  EXPECT_TRUE(validate(*claims, kNow).is_blocking());
  claims->imports.clear();
  claims->mappings["m.*"][1].weight = 0;
  EXPECT_FALSE(validate(*claims, kNow).is_blocking());
  claims->mappings["m.*"].push_back({"p", 1, ""});
  EXPECT_TRUE(validate(*claims, kNow).is_blocking());
  claims->mappings.clear();
  claims->exports.push_back(claims->exports[0]);
  EXPECT_TRUE(validate(*claims, kNow).is_blocking());
}

TEST(Validate, ContainmentOfPatterns) {
  EXPECT_TRUE(is_contained_in("a.b", "a.*"));
  EXPECT_TRUE(is_contained_in("a.*.c", "a.>"));
  EXPECT_TRUE(is_contained_in("a.>", "a.>"));
  EXPECT_FALSE(is_contained_in("a", "a.>"));
  EXPECT_FALSE(is_contained_in("a.>", "a.*"));
  EXPECT_FALSE(is_contained_in("a.b.c", "a.*"));
}

}  // namespace
}  // namespace brokkr::crypto
