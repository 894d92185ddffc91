#include "client/credentials.h"

#include <stdlib.h>
#include <unistd.h>

#include <cstdio>

#include "base/bytes.h"
#include "crypto/creds.h"
#include "crypto/jwt.h"

namespace brokkr::client {
namespace {

class CredentialsTest : public ::testing::Test {
 protected:
  ~CredentialsTest() override { unlink(path_.c_str()); }

  void write(const std::string& text) {
    const int fd = mkstemp(path_.data());
    ASSERT_GE(fd, 0);
    ASSERT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    close(fd);
  }
  std::string make_creds() {
    crypto::UserClaims claims = crypto::make_user_claims(user_.public_key());
    token_ = *crypto::encode_jwt(claims, account_, 1);
    return *crypto::format_creds(token_, user_);
  }
  bool is_signed(std::string_view nonce) const {
    const auto signature = base64_decode(connect_.sig);
    return signature && crypto::verify_signature(user_.public_key(), nonce, *signature);
  }

  crypto::KeyPair user_ = crypto::KeyPair::generate(crypto::NkeyType::User);
  crypto::KeyPair account_ = crypto::KeyPair::generate(crypto::NkeyType::Account);
  std::string token_;
  std::string path_ = "/tmp/brokkr_creds_XXXXXX";
  Options options_;
  protocol::ConnectOptions connect_;
};

TEST_F(CredentialsTest, ACredentialsFileGivesTheTokenAndSignsTheNonce) {
  write(make_creds());
  options_.credentials_file = path_;
  ASSERT_TRUE(add_credentials(options_, "nonce", connect_));
  EXPECT_EQ(connect_.jwt, token_);
  EXPECT_EQ(connect_.nkey, "");
  EXPECT_TRUE(is_signed("nonce"));
}

TEST_F(CredentialsTest, ASeedFileGivesThePublicKeyAndSignsTheNonce) {
  write(user_.seed() + "\n");
  options_.nkey_seed_file = path_;
  ASSERT_TRUE(add_credentials(options_, "nonce", connect_));
  EXPECT_EQ(connect_.nkey, user_.public_key());
  EXPECT_TRUE(is_signed("nonce"));
  EXPECT_EQ(add_credentials(options_, "", connect_).error().text, "nkeys not supported by the server");
}

TEST_F(CredentialsTest, ACallerCanSignItself) {
  options_.jwt = "token";
  options_.sign = [&](std::string_view nonce) { return Result<std::string>(user_.sign(nonce)); };
  ASSERT_TRUE(add_credentials(options_, "n", connect_));
  EXPECT_EQ(connect_.jwt, "token");
  EXPECT_TRUE(is_signed("n"));
}

TEST_F(CredentialsTest, AMissingOrForeignFileIsNamed) {
  options_.credentials_file = "/nowhere/user.creds";
  const Status missing = add_credentials(options_, "n", connect_);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().text, "open /nowhere/user.creds: No such file or directory");
  write("nothing");
  options_.credentials_file = path_;
  const Status foreign = add_credentials(options_, "n", connect_);
  ASSERT_FALSE(foreign);
  EXPECT_TRUE(foreign.error().text.starts_with(path_ + ": ")) << foreign.error().text;
}

}  // namespace
}  // namespace brokkr::client
