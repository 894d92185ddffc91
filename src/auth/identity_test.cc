// Who a connection is by its nkey or its certificate.
#include <gtest/gtest.h>

#include "auth/authenticator.h"
#include "auth/certificate_names.h"
#include "base/bytes.h"
#include "config/options.h"
#include "crypto/nkey.h"

namespace brokkr::auth {
namespace {

using Kind = Verdict::Kind;

std::shared_ptr<const Authenticator> build(const config::Options& options) {
  auto made = Authenticator::make(options);
  EXPECT_TRUE(made) << (made ? "" : made.error().text);
  return made ? *made : nullptr;
}

config::UserEntry named(std::string name, std::string password = {}) {
  config::UserEntry user;
  user.name = std::move(name);
  user.password = std::move(password);
  return user;
}

config::UserEntry keyed(const crypto::KeyPair& key) {
  config::UserEntry user;
  user.nkey = key.public_key();
  return user;
}

constexpr std::string_view kNonce = "PXoWU7zWAMt75FY";

Credentials signed_by(const crypto::KeyPair& key, const std::string& signature) {
  Credentials credentials;
  credentials.nkey = key.public_key();
  credentials.signature = signature;
  credentials.nonce = kNonce;
  return credentials;
}

TEST(NkeyUsers, ProveTheirKeyBySigningTheNonce) {
  const auto key = crypto::KeyPair::generate(crypto::NkeyType::User);
  const auto other = crypto::KeyPair::generate(crypto::NkeyType::User);
  config::Options options;
  options.authorization.users = {keyed(key)};
  const auto auth = build(options);
  EXPECT_TRUE(auth->needs_nonce());
  EXPECT_TRUE(auth->is_required());
  const std::string url = base64url_encode(key.sign(kNonce));
  const std::string standard = base64_encode(key.sign(kNonce));
  EXPECT_EQ(auth->check(signed_by(key, url)).kind, Kind::Accepted);
  EXPECT_EQ(auth->check(signed_by(key, standard)).user->nkey, key.public_key());
  EXPECT_EQ(auth->check(signed_by(key, "")).reason,
            "nkey \"" + key.public_key() + "\": the signature is missing");
  EXPECT_EQ(auth->check(signed_by(key, "%%%")).kind, Kind::Refused);
  EXPECT_EQ(auth->check(signed_by(key, base64url_encode(other.sign(kNonce)))).kind, Kind::Refused);
  EXPECT_EQ(auth->check(signed_by(key, base64url_encode(key.sign("another nonce")))).kind,
            Kind::Refused);
  EXPECT_EQ(auth->check(signed_by(other, base64url_encode(other.sign(kNonce)))).reason,
            "nkey \"" + other.public_key() + "\" is not known");
  EXPECT_EQ(auth->check({}).kind, Kind::Refused);
}

TEST(NkeyUsers, WithoutNonceNothingIsASignature) {
  const auto key = crypto::KeyPair::generate(crypto::NkeyType::User);
  config::Options options;
  options.authorization.users = {keyed(key)};
  const std::string signature = base64url_encode(key.sign(""));
  Credentials credentials = signed_by(key, signature);
  credentials.nonce = {};
  EXPECT_EQ(build(options)->check(credentials).kind, Kind::Refused);
}

TEST(NkeyUsers, KeysOfTheWrongKindAreNoUsers) {
  config::Options options;
  options.authorization.users = {keyed(crypto::KeyPair::generate(crypto::NkeyType::Account))};
  EXPECT_FALSE(Authenticator::make(options));
  options.authorization.users[0].nkey = "U" + std::string(55, 'A');
  EXPECT_FALSE(Authenticator::make(options));
}

TEST(NkeyUsers, MayOnlyComeAsTheyAreAllowed) {
  const auto key = crypto::KeyPair::generate(crypto::NkeyType::User);
  config::Options options;
  options.authorization.users = {keyed(key)};
  options.authorization.users[0].allowed_connection_types = {"WEBSOCKET"};
  const auto auth = build(options);
  const std::string signature = base64url_encode(key.sign(kNonce));
  Credentials credentials = signed_by(key, signature);
  EXPECT_EQ(auth->check(credentials).kind, Kind::Refused);
  credentials.connection_type = "WEBSOCKET";
  EXPECT_EQ(auth->check(credentials).kind, Kind::Accepted);
}

TEST(ProxyRequired, RefusesWhoComesDirectly) {
  config::Options options;
  options.authorization.users = {named("a", "1"), named("b", "2")};
  options.authorization.users[0].proxy_required = true;
  const auto auth = build(options);
  Credentials credentials;
  credentials.user = "a";
  credentials.password = "1";
  EXPECT_EQ(auth->check(credentials).reason, "user \"a\" must come through a proxy");
  credentials.user = "b";
  credentials.password = "2";
  EXPECT_EQ(auth->check(credentials).kind, Kind::Accepted);
}

TEST(NoAuthUser, IsOnlyForThoseWhoBringNothing) {
  config::Options options;
  options.authorization.users = {named("a", "1"), named("b", "2")};
  options.authorization.no_auth_user = "a";
  const auto auth = build(options);
  EXPECT_FALSE(auth->is_required());
  EXPECT_EQ(auth->check({}).user->name, "a");
  Credentials wrong;
  wrong.password = "guess";
  EXPECT_EQ(auth->check(wrong).kind, Kind::Refused);
  wrong = {};
  wrong.token = "guess";
  EXPECT_EQ(auth->check(wrong).kind, Kind::Refused);
  wrong = {};
  wrong.user = "b";
  wrong.password = "1";
  EXPECT_EQ(auth->check(wrong).kind, Kind::Refused);
}

// Advisory 2026-24: what restricts the stand-in counts for it as for everybody.
TEST(NoAuthUser, IsRestrictedLikeEveryUser) {
  config::Options options;
  options.authorization.users = {named("a", "1")};
  options.authorization.no_auth_user = "a";
  options.authorization.users[0].allowed_connection_types = {"WEBSOCKET"};
  EXPECT_EQ(build(options)->check({}).kind, Kind::Refused);
  options.authorization.users[0].allowed_connection_types = {};
  options.authorization.users[0].proxy_required = true;
  EXPECT_EQ(build(options)->check({}).kind, Kind::Refused);
}

// Advisory 2023-01 (CVE-2023-47090).
TEST(SystemUsersOnly, LeaveTheServerOpenOnlyWhenNothingSaysOtherwise) {
  config::Options options;
  options.accounts.emplace_back().name = "$SYS";
  options.authorization.users = {named("sys", "s")};
  options.authorization.users[0].account = "$SYS";
  const auto open = build(options);
  ASSERT_EQ(open->check({}).kind, Kind::Accepted);
  EXPECT_EQ(open->check({}).user->account, "$G");
  EXPECT_TRUE(open->is_required());
  Credentials wrong;
  wrong.user = "sys";
  wrong.password = "x";
  EXPECT_EQ(open->check(wrong).kind, Kind::Refused);

  options.authorization.is_block_present = true;
  EXPECT_EQ(build(options)->check({}).kind, Kind::Refused);
  options.authorization.is_block_present = false;
  options.accounts.emplace_back().name = "B";
  EXPECT_EQ(build(options)->check({}).kind, Kind::Refused);
}

TEST(Websocket, MayHaveItsOwnUser) {
  config::Options options;
  options.authorization.token = "server";
  options.websocket.user = "web";
  options.websocket.password = "w";
  const auto auth = build(options);
  Credentials credentials;
  credentials.connection_type = "WEBSOCKET";
  credentials.user = "web";
  credentials.password = "w";
  EXPECT_EQ(auth->check(credentials).kind, Kind::Accepted);
  credentials.connection_type = "STANDARD";
  EXPECT_EQ(auth->check(credentials).kind, Kind::Refused);
  credentials = {};
  credentials.token = "server";
  EXPECT_EQ(auth->check(credentials).kind, Kind::Accepted);
  credentials.connection_type = "WEBSOCKET";
  EXPECT_EQ(auth->check(credentials).kind, Kind::Refused);
}

TEST(Leafnodes, MayHaveTheirOwnUsers) {
  config::Options options;
  options.authorization.users = {named("a", "1")};
  options.leafnodes.users = {{"leaf", "l", "A", false}, {"far", "f", "", true}};
  const auto auth = build(options);
  Credentials credentials;
  credentials.connection_type = "LEAFNODE";
  credentials.user = "leaf";
  credentials.password = "l";
  EXPECT_EQ(auth->check(credentials).user->account, "A");
  credentials.connection_type = "STANDARD";
  EXPECT_EQ(auth->check(credentials).kind, Kind::Refused);
  credentials.connection_type = "LEAFNODE";
  credentials.user = "a";
  credentials.password = "1";
  EXPECT_EQ(auth->check(credentials).kind, Kind::Refused);
  credentials.user = "far";
  credentials.password = "f";
  EXPECT_EQ(auth->check(credentials).kind, Kind::Refused);
}

// --- certificates ----------------------------------------------------------------------------

class Certificates : public testing::Test {
 protected:
  Certificates() {
    options_.tls.emplace().verify_and_map = true;
    options_.authorization.users = {
        named("derek@nats.io"),
        named("host.nats.io"),
        named("spiffe://nats.io/one"),
        named("CN=example.com,OU=NATS.io"),
        named("CN=locked,O=NATS", "needs this too"),
        named("CN=www.nats.io,OU=NATS,DC=nats,DC=io"),
    };
  }
  Verdict check(const TlsIdentity& identity, std::string_view password = {}) {
    Credentials credentials;
    credentials.tls_identity = &identity;
    credentials.password = password;
    return build(options_)->check(credentials);
  }
  std::string name_for(const TlsIdentity& identity) {
    const Verdict verdict = check(identity);
    return verdict.kind == Kind::Accepted ? verdict.user->name : verdict.reason;
  }
  config::Options options_;
};

TEST_F(Certificates, NamesAreTriedInOrder) {
  TlsIdentity all{{"x@y", "derek@nats.io"}, {"host.nats.io"}, {"spiffe://nats.io/one"},
                  "CN=example.com,OU=NATS.io"};
  EXPECT_EQ(name_for(all), "derek@nats.io");
  all.emails.clear();
  EXPECT_EQ(name_for(all), "host.nats.io");
  all.dns_names = {"nobody"};
  EXPECT_EQ(name_for(all), "spiffe://nats.io/one");
  all.uris.clear();
  EXPECT_EQ(name_for(all), "CN=example.com,OU=NATS.io");
  all.subject = "CN=nobody";
  EXPECT_EQ(name_for(all), "no user for the certificate of \"CN=nobody\"");
}

TEST_F(Certificates, SubjectsMatchInAnyOrder) {
  EXPECT_EQ(name_for({{}, {}, {}, "OU=NATS.io,CN=example.com"}), "CN=example.com,OU=NATS.io");
  EXPECT_EQ(name_for({{}, {}, {}, "DC=nats,DC=io,CN=www.nats.io,OU=NATS"}),
            "CN=www.nats.io,OU=NATS,DC=nats,DC=io");
  // Domain components and an address that nobody names do not count.
  EXPECT_EQ(name_for({{}, {}, {}, "emailAddress=x@y,CN=example.com,DC=z,OU=NATS.io"}),
            "CN=example.com,OU=NATS.io");
  // The certificate's order of domain components, as Go writes it after the rest.
  EXPECT_EQ(name_for({{}, {}, {}, "DC=io,DC=nats,OU=NATS,CN=www.nats.io"}),
            "CN=www.nats.io,OU=NATS,DC=nats,DC=io");
}

// Advisory 2026-13: every element counts once, and all of them count.
TEST_F(Certificates, SubjectsWithMoreOrLessAreOthers) {
  for (const char* subject :
       {"CN=example.com", "CN=example.com,OU=NATS.io,OU=NATS.io", "CN=example.com,CN=example.com",
        "CN=example.com,OU=NATS.io,O=Other", "CN=example.com+OU=NATS.io",
        "OU=NATS.io+CN=example.com,OU=NATS.io", "CN=example.com\\,OU=NATS.io"}) {
    EXPECT_EQ(check({{}, {}, {}, subject}).kind, Kind::Refused) << subject;
  }
  options_.authorization.users = {named("CN=a,OU=x,OU=y")};
  EXPECT_EQ(check({{}, {}, {}, "CN=a,OU=x,OU=x"}).kind, Kind::Refused);
  EXPECT_EQ(check({{}, {}, {}, "CN=a,OU=y,OU=x"}).kind, Kind::Accepted);
}

TEST_F(Certificates, WithoutOneNobodyComesIn) {
  Credentials credentials;
  credentials.user = "CN=example.com,OU=NATS.io";
  EXPECT_EQ(build(options_)->check(credentials).kind, Kind::Refused);
  EXPECT_EQ(check({}).kind, Kind::Refused);
}

TEST_F(Certificates, APasswordIsStillAskedFor) {
  const TlsIdentity identity{{}, {}, {}, "CN=locked,O=NATS"};
  EXPECT_EQ(check(identity).kind, Kind::Refused);
  EXPECT_EQ(check(identity, "needs this too").kind, Kind::Accepted);
}

// On another listener the name alone is not enough.
TEST_F(Certificates, UsersOfCertificatesHaveNoEmptyPassword) {
  Credentials credentials;
  credentials.connection_type = "WEBSOCKET";
  credentials.user = "derek@nats.io";
  EXPECT_EQ(build(options_)->check(credentials).reason,
            "user \"derek@nats.io\" must show a certificate");
}

TEST(DistinguishedName, ReadsWhatRfc4514Says) {
  const auto name = DistinguishedName::parse("cn=a\\,b , ou = x+o=\\43\\ ,DC=");
  ASSERT_TRUE(name);
  EXPECT_TRUE(name->equals(*DistinguishedName::parse("CN=a\\2Cb,O=C\\ +OU=x,DC=")));
  for (const char* bad : {"", "x", "=a", "CN=a,", "CN=a\\", "CN=a\\zz", "CN=#0401", "CN=a,b"}) {
    EXPECT_FALSE(DistinguishedName::parse(bad)) << bad;
  }
}

}  // namespace
}  // namespace brokkr::auth
