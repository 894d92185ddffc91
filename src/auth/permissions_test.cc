#include "auth/permissions.h"

#include <gtest/gtest.h>

namespace brokkr::auth {
namespace {

using Texts = std::vector<std::string>;

Permissions publisher(Texts allow, Texts deny) {
  PermissionRules rules;
  rules.publish = {!allow.empty(), std::move(allow), std::move(deny)};
  return Permissions(std::move(rules));
}

Permissions subscriber(Texts allow, Texts deny) {
  PermissionRules rules;
  rules.subscribe = {!allow.empty(), std::move(allow), std::move(deny)};
  return Permissions(std::move(rules));
}

TEST(Permissions, WithoutRulesAllIsAllowed) {
  const Permissions p{PermissionRules{}};
  EXPECT_TRUE(p.may_publish("a"));
  EXPECT_TRUE(p.may_subscribe(">", ""));
  EXPECT_TRUE(p.may_receive("a", "q"));
  EXPECT_FALSE(p.needs_delivery_filter(">", ""));
  EXPECT_FALSE(p.allows_responses());
}

TEST(Permissions, PublishTakesWhatIsAllowedAndNotDenied) {
  const Permissions p = publisher({"p.*", "w.>", "lit"}, {"w.no", "p.x*"});
  EXPECT_TRUE(p.may_publish("p.a"));
  EXPECT_TRUE(p.may_publish("lit"));
  EXPECT_TRUE(p.may_publish("w.a.b"));
  EXPECT_TRUE(p.may_publish("p.*"));
  EXPECT_FALSE(p.may_publish("p.x*"));
  EXPECT_FALSE(p.may_publish("p.a.b"));
  EXPECT_FALSE(p.may_publish("w.no"));
  EXPECT_FALSE(p.may_publish("w..b"));
  EXPECT_FALSE(p.may_publish("other"));
  EXPECT_FALSE(p.may_publish(""));
}

TEST(Permissions, DenyAloneLeavesTheRest) {
  const Permissions p = publisher({}, {"no.>"});
  EXPECT_TRUE(p.may_publish("a"));
  EXPECT_FALSE(p.may_publish("no.a"));
}

TEST(Permissions, AnEmptyAllowListForbidsAll) {
  PermissionRules rules;
  rules.publish.has_allow = true;
  EXPECT_FALSE(Permissions(rules).may_publish("a"));
}

TEST(Permissions, SubscriptionsMustBeInsideAnAllow) {
  const Permissions p = subscriber({"foo.*", "d.>"}, {});
  EXPECT_TRUE(p.may_subscribe("foo.*", ""));
  EXPECT_TRUE(p.may_subscribe("foo.a", ""));
  EXPECT_TRUE(p.may_subscribe("foo.*", "any"));
  EXPECT_TRUE(p.may_subscribe("d.>", ""));
  EXPECT_TRUE(p.may_subscribe("d.*.x", ""));
  EXPECT_FALSE(p.may_subscribe("foo.>", ""));
  EXPECT_FALSE(p.may_subscribe("*.a", ""));
  EXPECT_FALSE(p.may_subscribe(">", ""));
  EXPECT_FALSE(p.may_subscribe("foo..a", ""));
}

TEST(Permissions, QueueFormsAsNatsServerReadsThem) {
  const Permissions p = subscriber({"q.* g.*", "z", "z zz", "e.> e"}, {"e.b other", "e.c >"});
  EXPECT_FALSE(p.may_subscribe("q.1", ""));
  EXPECT_TRUE(p.may_subscribe("q.1", "g.1"));
  EXPECT_TRUE(p.may_subscribe("q.1", "g.*"));
  EXPECT_FALSE(p.may_subscribe("q.1", "g.2.3"));
  EXPECT_FALSE(p.may_subscribe("q.1", "g.>"));
  EXPECT_TRUE(p.may_subscribe("z", ""));
  EXPECT_TRUE(p.may_subscribe("z", "zz"));
  EXPECT_FALSE(p.may_subscribe("z", "other"));
  EXPECT_TRUE(p.may_subscribe("e.b", "e"));
  EXPECT_FALSE(p.may_subscribe("e.b", "other"));
  EXPECT_FALSE(p.may_subscribe("e.c", "e"));
  EXPECT_FALSE(p.may_subscribe("e.b", ""));
}

TEST(Permissions, OddQueueNamesAreNoPatterns) {
  const Permissions p = subscriber({"a q.*"}, {});
  EXPECT_FALSE(p.may_subscribe("a", "q..x"));
  EXPECT_FALSE(p.may_subscribe("a", "q."));
}

TEST(Permissions, SubscriptionsInsideADenyAreRefused) {
  const Permissions p = subscriber({}, {"d.x", "d.*.y"});
  EXPECT_FALSE(p.may_subscribe("d.x", ""));
  EXPECT_FALSE(p.may_subscribe("d.*.y", ""));
  EXPECT_FALSE(p.may_subscribe("d.1.y", "q"));
  EXPECT_TRUE(p.may_subscribe("d.>", ""));
  EXPECT_TRUE(p.may_subscribe("d.*", ""));
}

TEST(Permissions, WiderThanADenyIsFilteredAtDelivery) {
  const Permissions p = subscriber({}, {"d.x", "s q.*"});
  EXPECT_TRUE(p.needs_delivery_filter("d.*", ""));
  EXPECT_TRUE(p.needs_delivery_filter(">", "any"));
  EXPECT_FALSE(p.needs_delivery_filter("d.y", ""));
  EXPECT_FALSE(p.needs_delivery_filter("e.*", ""));
  EXPECT_FALSE(p.may_receive("d.x", ""));
  EXPECT_TRUE(p.may_receive("d.y", ""));
  EXPECT_TRUE(p.needs_delivery_filter("*", "q.1"));
  EXPECT_FALSE(p.needs_delivery_filter("*", "other"));
  EXPECT_FALSE(p.may_receive("s", "q.1"));
  EXPECT_TRUE(p.may_receive("s", "other"));
  EXPECT_TRUE(p.may_receive("s", ""));
}

class ReplyGrantsTest : public testing::Test {
 protected:
  ReplyGrants make(int64_t max, Duration ttl) {
    PermissionRules rules;
    rules.allow_responses = true;
    rules.responses_max = max;
    rules.responses_ttl = ttl;
    return ReplyGrants(Permissions(rules));
  }
  ManualClock clock_;
};

TEST_F(ReplyGrantsTest, CountsAnswers) {
  ReplyGrants grants = make(2, std::chrono::minutes(2));
  EXPECT_FALSE(grants.use("r", clock_.now()));
  grants.grant("r", clock_.now());
  EXPECT_TRUE(grants.use("r", clock_.now()));
  EXPECT_TRUE(grants.use("r", clock_.now()));
  EXPECT_FALSE(grants.use("r", clock_.now()));
  EXPECT_EQ(grants.size(), 0U);
}

TEST_F(ReplyGrantsTest, ExpiresAfterItsTime) {
  ReplyGrants grants = make(-1, std::chrono::seconds(10));
  grants.grant("r", clock_.now());
  clock_.advance(std::chrono::seconds(10));
  EXPECT_TRUE(grants.use("r", clock_.now()));
  clock_.advance(std::chrono::nanoseconds(1));
  EXPECT_FALSE(grants.use("r", clock_.now()));
}

TEST_F(ReplyGrantsTest, NegativeMeansNoLimit) {
  ReplyGrants grants = make(-1, std::chrono::seconds(-1));
  grants.grant("r", clock_.now());
  clock_.advance(std::chrono::hours(1000));
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(grants.use("r", clock_.now()));
}

TEST_F(ReplyGrantsTest, AGrantGivenAgainStartsAnew) {
  ReplyGrants grants = make(1, std::chrono::seconds(10));
  grants.grant("r", clock_.now());
  clock_.advance(std::chrono::seconds(9));
  grants.grant("r", clock_.now());
  clock_.advance(std::chrono::seconds(9));
  EXPECT_EQ(grants.size(), 1U);
  EXPECT_TRUE(grants.use("r", clock_.now()));
}

TEST_F(ReplyGrantsTest, IsBoundedAndDropsTheOldest) {
  ReplyGrants grants = make(1, std::chrono::minutes(2));
  for (int i = 0; i < 200000; ++i) {
    grants.grant("r" + std::to_string(i), clock_.now());
    clock_.advance(std::chrono::nanoseconds(1));
    ASSERT_LE(grants.size(), ReplyGrants::kGrantsMax);
  }
  EXPECT_FALSE(grants.use("r0", clock_.now()));
  EXPECT_TRUE(grants.use("r199999", clock_.now()));
  EXPECT_TRUE(grants.use("r160000", clock_.now()));
}

TEST_F(ReplyGrantsTest, FullOfOneInstantItStillMakesRoom) {
  ReplyGrants grants = make(1, std::chrono::minutes(2));
  for (size_t i = 0; i < ReplyGrants::kGrantsMax + 1; ++i) {
    grants.grant(std::to_string(i), clock_.now());
  }
  EXPECT_GT(grants.size(), ReplyGrants::kGrantsMax / 2);
  EXPECT_LE(grants.size(), ReplyGrants::kGrantsMax);
}

TEST_F(ReplyGrantsTest, ForgetsWhatHasExpired) {
  ReplyGrants grants = make(1, std::chrono::seconds(1));
  for (size_t i = 0; i < ReplyGrants::kPruneMin; ++i) grants.grant(std::to_string(i), clock_.now());
  clock_.advance(std::chrono::seconds(2));
  grants.grant("x", clock_.now());
  EXPECT_EQ(grants.size(), 1U);
}

}  // namespace
}  // namespace brokkr::auth
