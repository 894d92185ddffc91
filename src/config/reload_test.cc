#include "config/reload.h"

#include <gtest/gtest.h>

namespace brokkr::config {
namespace {

std::string refusal(const Options& before, const Options& after) {
  std::string all;
  for (const std::string& error : compare(before, after).errors)
    all += (all.empty() ? "" : " | ") + error;
  return all;
}

TEST(Compare, BlocksNameTheFieldThatDiffers) {
  Options before;
  before.websocket.port = 9222;
  Options after = before;
  after.websocket.compression = true;
  EXPECT_EQ(refusal(before, after),
            "config reload not supported for Websocket: field \"Compression\": old=false, new=true");
  after = before;
  after.leafnodes.min_version = "2.9.0";
  EXPECT_EQ(refusal(before, after),
            "config reload not supported for LeafNode: field \"MinVersion\": old=, new=2.9.0");
}

TEST(Compare, SecretsAreNotShown) {
  Options before;
  before.websocket.password = "tiger";
  before.leafnodes.password = "tiger";
  before.jetstream_options.key = "tiger";
  before.leafnodes.remotes.push_back({.urls = {"nats://u:tiger@h:1"}, .nkey_seed = "tiger"});
  Options after = before;
  after.websocket.password = "lion";
  after.leafnodes.remotes[0].hub = true;
  after.jetstream_options.key = "lion";
  const std::string text = refusal(before, after);
  EXPECT_EQ(text.find("tiger"), std::string::npos) << text;
  EXPECT_EQ(text.find("lion"), std::string::npos) << text;
  EXPECT_NE(text.find("remote urls=[\"nats://u:xxxxx@h:1\"], account=\"$G\", "
                      "nkey=\"[REDACTED]\": field \"Hub\": old=false, new=true"),
            std::string::npos)
      << text;
}

TEST(Compare, RemotesComeAndGo) {
  Options before;
  before.leafnodes.remotes.push_back({.urls = {"nats://a:1"}});
  Options after = before;
  after.leafnodes.remotes = {{.urls = {"nats://b:1"}, .hub = true}};
  EXPECT_EQ(refusal(before, after), "");
  after = before;
  after.leafnodes.remotes[0].disabled = true;
  EXPECT_EQ(compare(before, after).hot, std::vector<std::string>{"leafnodes"});
}

TEST(Compare, NoAuthUserMayGoWithItsUser) {
  Options before;
  before.authorization.users.push_back({.name = "a", .password = "b"});
  before.authorization.no_auth_user = "a";
  Options after = before;
  after.authorization.no_auth_user.clear();
  EXPECT_EQ(refusal(before, after), "config reload not supported for NoAuthUser: old=a, new=");
  after.authorization.users.clear();
  EXPECT_EQ(refusal(before, after), "");
}

TEST(Compare, ARandomPortStays) {
  Options before;
  Options after = before;
  after.port = -1;
  before.leafnodes.port = 7422;
  after.leafnodes.port = -1;
  EXPECT_EQ(refusal(before, after), "");
}

}  // namespace
}  // namespace brokkr::config
