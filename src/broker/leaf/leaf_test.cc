#include <gtest/gtest.h>

#include "broker/leaf/interest.h"
#include "broker/leaf/rules.h"
#include "broker/leaf/url.h"

namespace brokkr::broker {
namespace {

TEST(LeafRules, AllowEverythingWithoutRules) {
  const LeafRules rules;
  EXPECT_TRUE(rules.allows("a.b"));
  EXPECT_TRUE(rules.allows_interest(">"));
}

TEST(LeafRules, KeepToBothLists) {
  LeafRules rules;
  rules.allow({"a.>", "queue only"});
  rules.deny({"a.secret.*"});
  EXPECT_TRUE(rules.allows("a.b"));
  EXPECT_FALSE(rules.allows("b"));
  EXPECT_FALSE(rules.allows("a.secret.x"));
  EXPECT_TRUE(rules.allows("a.secret.x.y"));
  EXPECT_FALSE(rules.allows("queue"));
  // Wider than what is allowed: messages are looked at one by one.
  EXPECT_TRUE(rules.allows_interest(">"));
  EXPECT_TRUE(rules.allows_interest("a.secret.>"));
  EXPECT_FALSE(rules.allows_interest("a.secret.*"));
  EXPECT_FALSE(rules.allows_interest("b.>"));
}

TEST(LeafRules, ForgetAnswersWhenTheyChange) {
  LeafRules rules;
  rules.deny({"x"});
  EXPECT_TRUE(rules.allows("y"));
  rules.deny({"y"});
  EXPECT_FALSE(rules.allows("y"));
}

TEST(LeafRules, AnEmptyAllowListAllowsNothing) {
  LeafRules rules;
  rules.allow({});
  EXPECT_FALSE(rules.allows("y"));
  EXPECT_FALSE(rules.allows_interest(">"));
}

TEST(LeafInterest, TellsOfFirstAndLast) {
  LeafInterest interest;
  std::string out;
  interest.change("a", {}, 1, out);
  EXPECT_EQ(out, "LS+ a\r\n");
  out.clear();
  interest.change("a", {}, 2, out);
  interest.change("a", {}, -2, out);
  EXPECT_EQ(out, "");
  interest.change("a", {}, -1, out);
  EXPECT_EQ(out, "LS- a\r\n");
  EXPECT_EQ(interest.size(), 0U);
}

TEST(LeafInterest, TellsHowManyOfAQueue) {
  LeafInterest interest;
  std::string out;
  interest.change("a", "q", 2, out);
  interest.change("a", "q", 1, out);
  interest.change("a", "q", -3, out);
  EXPECT_EQ(out, "LS+ a q 2\r\nLS+ a q 3\r\nLS- a q\r\n");
}

TEST(LeafInterest, TakesNothingAwayTwice) {
  LeafInterest interest;
  std::string out;
  interest.change("a", {}, -1, out);
  EXPECT_EQ(out, "");
  interest.add("a", {}, 1);
  interest.add("b", "q", 4);
  interest.change("a", {}, -5, out);
  EXPECT_EQ(out, "LS- a\r\n");
  out.clear();
  interest.write_all(out);
  EXPECT_EQ(out, "LS+ b q 4\r\n");
}

TEST(LeafUrl, IsTakenApart) {
  const auto url = parse_leaf_url("nats-leaf://us%65r:p%40ss@hub.example:7000");
  ASSERT_TRUE(url);
  EXPECT_EQ(url->user, "user");
  EXPECT_EQ(url->password, "p@ss");
  EXPECT_EQ(url->address.host, "hub.example");
  EXPECT_EQ(url->address.port, 7000);
  EXPECT_FALSE(url->is_tls);
  EXPECT_EQ(url->host_and_port(), "hub.example:7000");
}

TEST(LeafUrl, KnowsItsSchemes) {
  EXPECT_EQ(parse_leaf_url("hub")->address.port, 7422);
  EXPECT_EQ(parse_leaf_url("ws://hub/path")->address.port, 80);
  EXPECT_EQ(parse_leaf_url("wss://hub/path")->address.port, 443);
  EXPECT_EQ(parse_leaf_url("ws://hub/path")->path, "/path");
  EXPECT_TRUE(parse_leaf_url("wss://hub")->is_tls);
  EXPECT_TRUE(parse_leaf_url("tls://hub")->is_tls);
  EXPECT_TRUE(parse_leaf_url("nats://token@hub")->has_user);
  EXPECT_FALSE(parse_leaf_url("nats://token@hub")->has_password);
  EXPECT_EQ(parse_leaf_url("nats://[::1]:7000")->host_and_port(), "[::1]:7000");
  EXPECT_FALSE(parse_leaf_url("http://hub"));
  EXPECT_FALSE(parse_leaf_url("nats://"));
  EXPECT_FALSE(parse_leaf_url("nats://hub:port"));
}

}  // namespace
}  // namespace brokkr::broker
