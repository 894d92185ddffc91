#include "crypto/creds.h"

#include "crypto/test_keys.h"

namespace brokkr::crypto {
namespace {

TEST(Creds, FilesAreWrittenAsTheReferenceWritesThem) {
  const std::string token = testing::read_testdata("user.jwt");
  const auto text = format_creds(token, testing::user_key());
  ASSERT_TRUE(text) << text.error().text;
  EXPECT_EQ(*text, testing::read_testdata("user.creds"));
}

TEST(Creds, AFileGivesTokenAndKey) {
  const auto creds = parse_creds(testing::read_testdata("user.creds"));
  ASSERT_TRUE(creds) << creds.error().text;
  EXPECT_EQ(creds->jwt, testing::read_testdata("user.jwt"));
  EXPECT_EQ(creds->key.public_key(), testing::user_key().public_key());
}

TEST(Creds, LineEndsAndAMissingLastLineEndDoNotMatter) {
  std::string windows;
  for (const char c : testing::read_testdata("user.creds")) windows += c == '\n' ? std::string("\r\n") : std::string(1, c);
  EXPECT_TRUE(parse_creds(windows));
  const std::string text = testing::read_testdata("user.creds");
  const std::string cut = text.substr(0, text.find("------END USER NKEY SEED------") + 30);
  EXPECT_TRUE(parse_creds(cut));
}

TEST(Creds, BareTextsAreRead) {
  const std::string token = testing::read_testdata("user.jwt");
  EXPECT_EQ(*parse_jwt_file(token + "\n"), token);
  EXPECT_EQ(*parse_jwt_file(decorate_jwt("user", token)), token);
  for (const std::string& text : {testing::operator_key().seed() + "\n", "# a comment\n" + testing::operator_key().seed(),
                                  decorate_seed(testing::operator_key())}) {
    const auto key = parse_seed_file(text);
    ASSERT_TRUE(key) << text;
    EXPECT_EQ(key->public_key(), testing::operator_key().public_key());
  }
}

TEST(Creds, WhatIsMissingOrForeignIsRefused) {
  const std::string token = testing::read_testdata("user.jwt");
  EXPECT_FALSE(parse_creds(""));
  EXPECT_FALSE(parse_creds(decorate_jwt("user", token)));
  EXPECT_FALSE(parse_creds(decorate_seed(testing::user_key())));
  EXPECT_FALSE(parse_creds(decorate_jwt("user", token) + decorate_seed(testing::account_key())));
  EXPECT_FALSE(parse_seed_file("no seed here"));
  EXPECT_FALSE(parse_jwt_file("two words"));
  EXPECT_FALSE(format_creds(token, testing::key(NkeyType::User, 9)));
  EXPECT_FALSE(format_creds(testing::read_testdata("account.jwt"), testing::user_key()));
}

}  // namespace
}  // namespace brokkr::crypto
