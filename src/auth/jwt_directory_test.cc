#include "auth/jwt_directory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "crypto/jwt.h"
#include "crypto/nkey.h"

namespace brokkr::auth {
namespace {

namespace fs = std::filesystem;
using crypto::KeyPair;
using crypto::NkeyType;

class JwtDirectoryTest : public testing::Test {
 protected:
  JwtDirectoryTest() {
    std::string pattern = (fs::temp_directory_path() / "jwtdir-XXXXXX").string();
    base_ = mkdtemp(pattern.data());
    options_.path = (base_ / "deep" / "jwt").string();
  }
  ~JwtDirectoryTest() override { fs::remove_all(base_); }
  std::unique_ptr<JwtDirectory> open() {
    auto opened = JwtDirectory::open(options_, clock_);
    EXPECT_TRUE(opened) << (opened ? "" : opened.error().text);
    return opened ? std::move(*opened) : nullptr;
  }
  std::string token(const KeyPair& account, int64_t issued, int64_t expires = 0) {
    auto claims = crypto::make_account_claims(account.public_key());
    claims.exp = expires;
    return *crypto::encode_jwt(claims, operator_, issued);
  }
  fs::path base_;
  JwtDirectory::Options options_;
  ManualClock clock_;
  KeyPair operator_ = KeyPair::generate(NkeyType::Operator);
  KeyPair a_ = KeyPair::generate(NkeyType::Account);
  KeyPair b_ = KeyPair::generate(NkeyType::Account);
};

TEST_F(JwtDirectoryTest, KeepsTokensAsFiles) {
  const auto directory = open();
  const std::string jwt = token(a_, 5);
  EXPECT_EQ(directory->load(a_.public_key()).error().code, Errc::NotFound);
  EXPECT_TRUE(*directory->save(a_.public_key(), jwt));
  EXPECT_FALSE(*directory->save(a_.public_key(), jwt));
  EXPECT_TRUE(fs::exists(fs::path(options_.path) / (a_.public_key() + ".jwt")));
  EXPECT_EQ(*open()->load(a_.public_key()), jwt);
  EXPECT_EQ(open()->digest(), directory->digest());
  EXPECT_EQ(std::distance(fs::directory_iterator(options_.path), fs::directory_iterator()), 1);
}

// CVE-2022-28357: a name in a request reached files elsewhere.
TEST_F(JwtDirectoryTest, NamesAreKeysOfAccountsAndNothingElse) {
  const auto directory = open();
  const std::string user = KeyPair::generate(NkeyType::User).public_key();
  for (const std::string& id :
       {std::string("../evil"), std::string("/etc/passwd"), std::string(), std::string("x"),
        "../" + a_.public_key(), a_.public_key() + "/..", a_.public_key() + "A", user}) {
    EXPECT_EQ(directory->load(id).error().code, Errc::InvalidArgument) << id;
    EXPECT_FALSE(directory->save(id, token(a_, 5))) << id;
    EXPECT_FALSE(directory->remove(id)) << id;
  }
  EXPECT_TRUE(fs::is_empty(options_.path));
}

TEST_F(JwtDirectoryTest, LinksAreNotFollowed) {
  const auto directory = open();
  const fs::path secret = base_ / "secret";
  std::ofstream(secret) << "secret";
  fs::create_symlink(secret, fs::path(options_.path) / (a_.public_key() + ".jwt"));
  EXPECT_FALSE(directory->load(a_.public_key()));
  EXPECT_TRUE(directory->save(a_.public_key(), token(a_, 5)));
  std::string text;
  std::ifstream(secret) >> text;
  EXPECT_EQ(text, "secret");
}

TEST_F(JwtDirectoryTest, OlderTokensDoNotReplaceNewerOnes) {
  const auto directory = open();
  EXPECT_TRUE(*directory->save_if_newer(a_.public_key(), token(a_, 10)));
  EXPECT_FALSE(*directory->save_if_newer(a_.public_key(), token(a_, 9)));
  EXPECT_TRUE(*directory->save_if_newer(a_.public_key(), token(a_, 11)));
  EXPECT_FALSE(directory->save_if_newer(a_.public_key(), token(b_, 12)));
  EXPECT_FALSE(directory->save_if_newer(a_.public_key(), "nonsense"));
}

TEST_F(JwtDirectoryTest, DeletesAsItMay) {
  EXPECT_FALSE(open()->remove(a_.public_key()));
  options_.deletion = JwtDirectory::Deletion::Rename;
  const auto directory = open();
  ASSERT_TRUE(directory->save(a_.public_key(), token(a_, 5)));
  EXPECT_TRUE(*directory->remove(a_.public_key()));
  EXPECT_FALSE(*directory->remove(a_.public_key()));
  EXPECT_TRUE(fs::exists(fs::path(options_.path) / (a_.public_key() + ".jwt.deleted")));
  EXPECT_FALSE(directory->load(a_.public_key()));
  options_.deletion = JwtDirectory::Deletion::Remove;
  const auto hard = open();
  EXPECT_EQ(hard->size(), 0U);
  ASSERT_TRUE(hard->save(b_.public_key(), token(b_, 5)));
  EXPECT_TRUE(*hard->remove(b_.public_key()));
  EXPECT_FALSE(fs::exists(fs::path(options_.path) / (b_.public_key() + ".jwt.deleted")));
}

TEST_F(JwtDirectoryTest, HoldsNoMoreThanItMay) {
  options_.limit = 1;
  EXPECT_TRUE(open()->save(a_.public_key(), token(a_, 5)));
  EXPECT_EQ(open()->save(b_.public_key(), token(b_, 5)).error().text, "jwt store is full");
  EXPECT_TRUE(open()->save(a_.public_key(), token(a_, 6)));
  options_.evicts = true;
  const auto cache = open();
  EXPECT_TRUE(cache->save(b_.public_key(), token(b_, 5)));
  EXPECT_FALSE(cache->load(a_.public_key()));
}

TEST_F(JwtDirectoryTest, ForgetsWhatIsNotUsed) {
  options_.ttl = std::chrono::seconds(10);
  const auto cache = open();
  ASSERT_TRUE(cache->save(a_.public_key(), token(a_, 5)));
  ASSERT_TRUE(cache->save(b_.public_key(), token(b_, 5)));
  clock_.advance(std::chrono::seconds(6));
  ASSERT_TRUE(cache->load(a_.public_key()));
  clock_.advance(std::chrono::seconds(6));
  cache->expire();
  EXPECT_TRUE(cache->load(a_.public_key()));
  EXPECT_FALSE(cache->load(b_.public_key()));
}

TEST_F(JwtDirectoryTest, ListsWhatIsInTime) {
  const auto directory = open();
  const int64_t now =
      std::chrono::duration_cast<std::chrono::seconds>(clock_.wall_now().time_since_epoch())
          .count();
  ASSERT_TRUE(directory->save(a_.public_key(), token(a_, 5, now + 5)));
  ASSERT_TRUE(directory->save(b_.public_key(), token(b_, 5)));
  EXPECT_EQ(directory->list().size(), 2U);
  clock_.advance(std::chrono::seconds(10));
  EXPECT_EQ(directory->list().size(), 1U);
}

}  // namespace
}  // namespace brokkr::auth
