#include "auth/authenticator.h"

#include <gtest/gtest.h>

#include "config/loader.h"

namespace brokkr::auth {
namespace {

using Kind = Verdict::Kind;

// bcrypt of "foo" at cost 4, made with the three prefixes that name one algorithm.
const std::string kHash = "$2a$04$KDCUv/gkzqbldOvi99R2oOOVsxh4zZ9SAzr8F5m4DW9C6N2ZpzMzG";

class NoFiles final : public config::Sources {
 public:
  Result<std::string> read_file(const std::string&) override {
    return Error{Errc::NotFound, "no such file"};
  }
  std::optional<std::string> environment(const std::string&) override { return std::nullopt; }
};

config::Options options_from(const std::string& text) {
  NoFiles sources;
  const config::Loaded loaded = config::load_options(config::parse_text(text, "t", sources));
  EXPECT_EQ(loaded.error_text(), "");
  return loaded.options;
}

std::shared_ptr<const Authenticator> make(const std::string& text) {
  auto made = Authenticator::make(options_from(text));
  EXPECT_TRUE(made) << (made ? "" : made.error().text);
  return made ? *made : Authenticator::open_to_all();
}

Verdict check(const Authenticator& auth, std::string_view user, std::string_view password,
              std::string_view token = {}, std::string_view type = "STANDARD") {
  return auth.check(
      {.user = user, .password = password, .token = token, .connection_type = type});
}

TEST(Authenticator, WithoutConfigurationEverybodyComesIn) {
  for (const auto& auth : {make("port: 1"), Authenticator::open_to_all()}) {
    EXPECT_FALSE(auth->is_required());
    EXPECT_EQ(check(*auth, "any", "thing").kind, Kind::Accepted);
    EXPECT_EQ(check(*auth, "", "").user, nullptr);
  }
}

TEST(Authenticator, Token) {
  const auto auth = make("authorization { token: s3cret }");
  EXPECT_TRUE(auth->is_required());
  EXPECT_TRUE(auth->has_plain_passwords());
  EXPECT_EQ(check(*auth, "", "", "s3cret").kind, Kind::Accepted);
  EXPECT_EQ(check(*auth, "", "", "s3creT").kind, Kind::Refused);
  EXPECT_EQ(check(*auth, "", "", "s3cre").reason, "wrong token");
  EXPECT_EQ(check(*auth, "", "").kind, Kind::Refused);
  EXPECT_EQ(check(*auth, "s3cret", "").kind, Kind::Refused);
}

TEST(Authenticator, OneUser) {
  const auto auth = make("authorization { user: derek, password: pork }");
  EXPECT_EQ(check(*auth, "derek", "pork").kind, Kind::Accepted);
  EXPECT_EQ(check(*auth, "derek", "pork").user->name, "derek");
  EXPECT_EQ(check(*auth, "derek", "pork").user->permissions, nullptr);
  EXPECT_EQ(check(*auth, "derek", "Pork").reason, "wrong password for user \"derek\"");
  EXPECT_EQ(check(*auth, "derel", "pork").reason, "user \"derel\" is not known");
  EXPECT_EQ(check(*auth, "", "pork").kind, Kind::Refused);
  EXPECT_EQ(check(*auth, "", "", "pork").kind, Kind::Refused);
}

TEST(Authenticator, UsersWithTheirPermissions) {
  const auto auth = make(
      "authorization { default_permissions { publish: \"x\" }\n"
      "users = [ {user: a, password: 1a}\n {user: b, password: 1b, permissions {publish: \"y\"}}\n"
      "{user: c, password: 1c, allowed_connection_types: [WEBSOCKET]} ] }");
  EXPECT_TRUE(check(*auth, "a", "1a").user->permissions->may_publish("x"));
  EXPECT_FALSE(check(*auth, "b", "1b").user->permissions->may_publish("x"));
  EXPECT_EQ(check(*auth, "a", "1b").kind, Kind::Refused);
  EXPECT_EQ(check(*auth, "", "").kind, Kind::Refused);
  EXPECT_EQ(check(*auth, "c", "1c").reason, "user \"c\" may not connect as STANDARD");
  EXPECT_EQ(check(*auth, "c", "1c", "", "WEBSOCKET").kind, Kind::Accepted);
  EXPECT_EQ(auth->find_user("a")->account, "$G");
  EXPECT_EQ(auth->find_user("nobody"), nullptr);
}

TEST(Authenticator, NoAuthUserStandsInForMissingCredentials) {
  const auto auth =
      make("authorization { users = [ {user: a, password: 1a} ] }\nno_auth_user: a");
  EXPECT_EQ(check(*auth, "", "").user->name, "a");
  EXPECT_EQ(check(*auth, "a", "wrong").kind, Kind::Refused);
  EXPECT_EQ(check(*auth, "", "x").kind, Kind::Refused);
  EXPECT_EQ(check(*auth, "", "", "x").kind, Kind::Refused);
}

TEST(Authenticator, NoAuthUserMustExist) {
  const auto made =
      Authenticator::make(options_from("authorization { user: a, password: b }\nno_auth_user: a"));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().text,
            "no_auth_user: \"a\" not present as user in authorization block or account "
            "configuration");
}

TEST(Authenticator, HashedPasswordsAreComparedElsewhere) {
  const auto auth = make("authorization { user: a, password: \"" + kHash + "\" }");
  EXPECT_FALSE(auth->has_plain_passwords());
  const Verdict verdict = check(*auth, "a", "foo");
  EXPECT_EQ(verdict.kind, Kind::NeedsBcrypt);
  EXPECT_EQ(verdict.user->name, "a");
  EXPECT_EQ(verdict.hash, kHash);
  EXPECT_EQ(verdict.password, "foo");
  EXPECT_EQ(check(*auth, "b", "foo").kind, Kind::Refused);
  EXPECT_EQ(check(*make("authorization { token: \"" + kHash + "\" }"), "", "", "foo").kind,
            Kind::NeedsBcrypt);
}

TEST(Authenticator, KindsWithoutPasswordsDoNotOpenTheServer) {
  for (const char* text :
       {"authorization { users: [{nkey: UCNGL4W5QX66CFX6A6DCBVDH5VOHMI7B2UZZU7TXAUQQSI2JPHULCKBR}] "
        "}",
        "authorization { auth_callout { issuer: "
        "ABJHLOVMPA4CI6R5KLNGOB4GSLNIY7IOUPAJC4YFNDLQVIOBYQGUWVLA, auth_users: [a] } }"}) {
    const auto auth = make(text);
    EXPECT_TRUE(auth->is_required()) << text;
    EXPECT_NE(check(*auth, "", "").kind, Kind::Accepted) << text;
    EXPECT_NE(check(*auth, "a", "b", "c").kind, Kind::Accepted) << text;
  }
  EXPECT_FALSE(Authenticator::make(options_from("operator: \"/x.jwt\"")));
}

TEST(Authenticator, UsersOfAccountsKeepTheirAccount) {
  const auto auth = make("accounts { A { users: [{user: a, password: 1a}] } }");
  EXPECT_EQ(check(*auth, "a", "1a").user->account, "A");
}

TEST(IsBcrypt, ByItsPrefix) {
  EXPECT_TRUE(is_bcrypt(kHash));
  for (const char* prefix : {"$2b$", "$2x$", "$2y$"}) {
    EXPECT_TRUE(is_bcrypt(prefix + kHash.substr(4)));
  }
  for (const char* text : {"", "$2a$", "$2c$10$abc", "$2a$1x$abc", "2a$10$abc", "$1$10$abc"}) {
    EXPECT_FALSE(is_bcrypt(text)) << text;
  }
}

TEST(BcryptMatches, RightAndWrongPasswords) {
  // A well-known pair, with a lower cost: the password is "U*U".
  const std::string hash = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
  EXPECT_TRUE(bcrypt_matches(hash, "U*U"));
  EXPECT_TRUE(bcrypt_matches("$2b$" + hash.substr(4), "U*U"));
  EXPECT_TRUE(bcrypt_matches("$2y$" + hash.substr(4), "U*U"));
  EXPECT_FALSE(bcrypt_matches(hash, "U*V"));
  EXPECT_FALSE(bcrypt_matches(hash, ""));
  EXPECT_FALSE(bcrypt_matches(hash, std::string("U*U\0x", 5)));
  EXPECT_FALSE(bcrypt_matches(hash.substr(0, 59), "U*U"));
  EXPECT_FALSE(bcrypt_matches("plain", "plain"));
}

TEST(BcryptMatches, EightBitPasswordsAndLongOnes) {
  // Password of 8-bit bytes, where a faulty implementation would sign-extend.
  EXPECT_TRUE(bcrypt_matches("$2y$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e",
                             "\xff\xff\xa3"));
  EXPECT_TRUE(bcrypt_matches("$2a$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e",
                             "\xff\xff\xa3"));
}

}  // namespace
}  // namespace brokkr::auth
