#include "client/server_url.h"

#include <gtest/gtest.h>

namespace brokkr::client {
namespace {

TEST(ServerUrl, ReadsEveryForm) {
  const struct {
    const char* text;
    const char* expected;
  } cases[] = {
      {"nats://127.0.0.1:4222", "nats://127.0.0.1:4222"},
      {"localhost", "nats://localhost:4222"},
      {"localhost:5222", "nats://localhost:5222"},
      {" nats://h:1/ ", "nats://h:1"},
      {"nats://[::1]:4222", "nats://[::1]:4222"},
      {"tcp://h", "nats://h:4222"},
      {"tls://h", "tls://h:4222"},
      {"TLS://h:1", "tls://h:1"},
      {"unix:/run/x.sock", "unix:/run/x.sock"},
      {"unix:///run/x.sock", "unix:/run/x.sock"},
  };
  for (const auto& c : cases) {
    const auto url = parse_server_url(c.text);
    ASSERT_TRUE(url) << c.text << ": " << url.error().text;
    EXPECT_EQ(url->text(), c.expected);
  }
}

TEST(ServerUrl, TakesCredentials) {
  const auto both = parse_server_url("nats://us%40er:p%3ass@h:1");
  ASSERT_TRUE(both);
  EXPECT_EQ(both->user, "us@er");
  EXPECT_EQ(both->password, "p:ss");
  const auto token = parse_server_url("nats://s3cret@h");
  ASSERT_TRUE(token);
  EXPECT_EQ(token->token, "s3cret");
  EXPECT_EQ(token->user, "");
}

TEST(ServerUrl, RefusesWhatItCannotSpeak) {
  for (const char* text : {"ws://h", "wss://h"}) {
    const auto url = parse_server_url(text);
    ASSERT_FALSE(url) << text;
    EXPECT_EQ(url.error().code, Errc::Unsupported);
  }
  for (const char* text : {"", "nats://", "http://h", "nats://h:x", "nats://h:99999", "unix:",
                           "nats://a%zz@h", ":4222"}) {
    EXPECT_FALSE(parse_server_url(text)) << text;
  }
}

TEST(ServerUrl, ReadsLists) {
  const auto urls = parse_server_urls("a:1, nats://b:2,");
  ASSERT_TRUE(urls);
  ASSERT_EQ(urls->size(), 2U);
  EXPECT_EQ((*urls)[1].text(), "nats://b:2");
  EXPECT_FALSE(parse_server_urls(" , "));
}

}  // namespace
}  // namespace brokkr::client
