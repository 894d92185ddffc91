#include "subject/interest_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <set>

#include "subject/subject.h"

namespace brokkr::subject {
namespace {

struct NamedSubscriber : Subscriber {
  explicit NamedSubscriber(std::string text) : name(std::move(text)) {}
  std::string name;
};

class InterestTreeTest : public testing::Test {
 protected:
  ~InterestTreeTest() override {
    for (const auto& subscriber : subscribers_) {
      if (subscriber->is_added()) tree_.remove(*subscriber);
    }
  }

  NamedSubscriber& subscribe(std::string_view pattern, std::string_view queue = {},
                             std::string name = {}) {
    if (name.empty()) name = pattern;
    subscribers_.push_back(std::make_unique<NamedSubscriber>(std::move(name)));
    tree_.add(pattern, queue, *subscribers_.back());
    return *subscribers_.back();
  }

  // Sorted: "a.b *.b q(x,y)".
  std::string match(std::string_view literal) {
    std::vector<std::string> found;
    for (const Interest* interest : tree_.match(literal)) {
      for (const Subscriber* subscriber : interest->subscribers()) found.push_back(name(*subscriber));
      for (auto* group = interest->first_group(); group != nullptr; group = group->next()) {
        std::vector<std::string> members;
        for (const Subscriber* member : group->members()) members.push_back(name(*member));
        std::sort(members.begin(), members.end());
        std::string text(group->name());
        text += "(";
        for (const std::string& member : members) text += member + ",";
        text.back() = ')';
        found.push_back(text);
      }
    }
    std::sort(found.begin(), found.end());
    std::string text;
    for (const std::string& it : found) text += (text.empty() ? "" : " ") + it;
    return text;
  }

  static const std::string& name(const Subscriber& it) {
    return static_cast<const NamedSubscriber&>(it).name;
  }

  InterestTree tree_;
  std::vector<std::unique_ptr<NamedSubscriber>> subscribers_;
};

TEST_F(InterestTreeTest, LiteralsAndWildcardsMatch) {
  for (const char* pattern : {"a.b", "a.*", "*.b", "a.>", ">", "*", "a.b.c", "a.*.c", "b"}) {
    subscribe(pattern);
  }
  EXPECT_EQ(match("a.b"), "*.b > a.* a.> a.b");
  EXPECT_EQ(match("a"), "* >");
  EXPECT_EQ(match("b"), "* > b");
  EXPECT_EQ(match("a.x.c"), "> a.*.c a.>");
  EXPECT_EQ(match("a.b.c"), "> a.*.c a.> a.b.c");
  EXPECT_EQ(match("x.y.z"), ">");
}

TEST_F(InterestTreeTest, SubjectWithEmptyTokenMatchesNothing) {
  for (const char* pattern : {">", "a.>", "*.*", "a.*.b"}) subscribe(pattern);
  for (const char* subject : {"", ".", "a.", ".a", "a..b", "a.b."}) EXPECT_EQ(match(subject), "");
}

TEST_F(InterestTreeTest, ManyTokensNeedNoStack) {
  std::string stars = "*";
  std::string mixed = "a";
  std::string subject = "a";
  for (int i = 0; i < 150'000; ++i) {
    stars += ".*";
    mixed += i % 2 == 0 ? ".*" : ".a";
    subject += ".a";
  }
  subscribe(stars, "", "stars");
  subscribe(mixed, "", "mixed");
  subscribe(mixed + ".x", "", "longer");
  EXPECT_EQ(match(subject), "mixed stars");
}

TEST_F(InterestTreeTest, WildcardInPublishedSubjectIsAnOrdinaryToken) {
  for (const char* pattern : {"a.*", "a.b", "a.>", "foo*"}) subscribe(pattern);
  EXPECT_EQ(match("a.*"), "a.* a.>");
  EXPECT_EQ(match("a.>"), "a.* a.>");
  EXPECT_EQ(match("foo*"), "foo*");
}

TEST_F(InterestTreeTest, QueueGroupsAreByPatternAndName) {
  subscribe("a.b", "q", "1");
  subscribe("a.b", "q", "2");
  subscribe("a.b", "r", "3");
  subscribe("a.*", "q", "4");
  subscribe("a.b", "", "5");
  EXPECT_EQ(match("a.b"), "5 q(1,2) q(4) r(3)");
}

TEST_F(InterestTreeTest, RemovedSubscriberIsGone) {
  auto& literal = subscribe("a.b");
  auto& star = subscribe("a.*");
  auto& rest = subscribe("a.>");
  auto& member = subscribe("a.b", "q", "m");
  EXPECT_EQ(match("a.b"), "a.* a.> a.b q(m)");
  tree_.remove(star);
  EXPECT_EQ(match("a.b"), "a.> a.b q(m)");
  tree_.remove(literal);
  EXPECT_EQ(match("a.b"), "a.> q(m)");
  tree_.remove(member);
  EXPECT_EQ(match("a.b"), "a.>");
  tree_.remove(rest);
  EXPECT_EQ(match("a.b"), "");
  EXPECT_TRUE(tree_.empty());
  EXPECT_EQ(tree_.stats().interests, 0u);
}

TEST_F(InterestTreeTest, RemovalFromTheMiddleKeepsTheOthers) {
  std::vector<NamedSubscriber*> all;
  for (char c = 'a'; c <= 'j'; ++c) all.push_back(&subscribe("s", "", std::string(1, c)));
  for (const size_t i : {3u, 0u, 9u}) tree_.remove(*all[i]);
  EXPECT_EQ(match("s"), "b c e f g h i");
}

TEST_F(InterestTreeTest, SubscriberKnowsItsPatternAndQueue) {
  auto& member = subscribe("a.*", "workers", "m");
  EXPECT_EQ(member.pattern(), "a.*");
  EXPECT_EQ(member.queue(), "workers");
  EXPECT_EQ(subscribe("b").queue(), "");
}

TEST_F(InterestTreeTest, SecondMatchComesFromTheCache) {
  subscribe("a.*");
  EXPECT_EQ(match("a.b"), "a.*");
  EXPECT_EQ(match("a.b"), "a.*");
  EXPECT_EQ(tree_.stats().cache_hits, 1u);
  EXPECT_EQ(tree_.stats().matches, 2u);
  EXPECT_EQ(tree_.stats().cache_entries, 1u);
}

TEST_F(InterestTreeTest, SubscriberOfKnownPatternKeepsTheCache) {
  subscribe("a.*", "", "1");
  match("a.b");
  auto& second = subscribe("a.*", "", "2");
  subscribe("a.*", "q", "3");
  EXPECT_EQ(match("a.b"), "1 2 q(3)");
  tree_.remove(second);
  EXPECT_EQ(match("a.b"), "1 q(3)");
  EXPECT_EQ(tree_.stats().cache_hits, 2u);
}

TEST_F(InterestTreeTest, LiteralChangeDropsOnlyItsSubject) {
  subscribe(">");
  match("a.b");
  match("a.c");
  auto& literal = subscribe("a.b");
  EXPECT_EQ(match("a.b"), "> a.b");
  EXPECT_EQ(tree_.stats().cache_hits, 0u);
  EXPECT_EQ(match("a.c"), ">");
  EXPECT_EQ(tree_.stats().cache_hits, 1u);
  tree_.remove(literal);
  EXPECT_EQ(match("a.b"), ">");
}

TEST_F(InterestTreeTest, WildcardChangeDropsOnlyItsFirstToken) {
  subscribe(">");
  match("orders.new");
  match("events.new");
  subscribe("orders.*");
  EXPECT_EQ(match("orders.new"), "> orders.*");
  EXPECT_EQ(match("events.new"), ">");
  EXPECT_EQ(tree_.stats().cache_hits, 1u);
  subscribe("*.new");
  EXPECT_EQ(match("events.new"), "*.new >");
  EXPECT_EQ(tree_.stats().cache_hits, 1u);
}

TEST_F(InterestTreeTest, NoInterestIsCachedToo) {
  subscribe("a.*");
  EXPECT_FALSE(tree_.has_interest("b.c"));
  EXPECT_FALSE(tree_.has_interest("b.c"));
  EXPECT_EQ(tree_.stats().cache_hits, 1u);
  subscribe("b.*");
  EXPECT_TRUE(tree_.has_interest("b.c"));
}

TEST_F(InterestTreeTest, ManyPatternsOnOneSubjectAreAllFound) {
  std::string subject = "t";
  size_t expected = 0;
  for (int depth = 0; depth < 20; ++depth) {
    subscribe(subject + ".>");
    subject += ".t";
    ++expected;
  }
  EXPECT_EQ(tree_.match(subject).size(), expected);
  EXPECT_EQ(tree_.match(subject).size(), expected);
  EXPECT_EQ(tree_.stats().cache_hits, 1u);
}

TEST_F(InterestTreeTest, NestedMatchLeavesTheOuterAlone) {
  subscribe("a.*");
  const Match outer = tree_.match("a.b");
  for (int i = 0; i < 10000; ++i) tree_.match("a." + std::to_string(i));
  ASSERT_EQ(outer.size(), 1u);
  EXPECT_EQ((*outer.begin())->pattern(), "a.*");
}

TEST_F(InterestTreeTest, CacheIsBounded) {
  subscribe(">");
  for (int i = 0; i < 50000; ++i) tree_.match("s." + std::to_string(i));
  EXPECT_GT(tree_.stats().cache_entries, 2000u);
  EXPECT_LE(tree_.stats().cache_entries, 4096u);
  EXPECT_EQ(tree_.stats().fanout_max, 1u);
  EXPECT_EQ(tree_.stats().fanout_average, 1.0);
}

TEST_F(InterestTreeTest, ForEachVisitsEveryPattern) {
  const std::set<std::string> patterns = {"a", "a.b", "*", ">", "*.*.c", "*.*", "a.*.>", "a.*.c.*"};
  for (const std::string& pattern : patterns) subscribe(pattern);
  std::set<std::string> seen;
  tree_.for_each([&](const Interest& it) { EXPECT_TRUE(seen.emplace(it.pattern()).second); });
  EXPECT_EQ(seen, patterns);
  for (const std::string& pattern : patterns) {
    ASSERT_NE(tree_.find(pattern), nullptr) << pattern;
    EXPECT_EQ(tree_.find(pattern)->pattern(), pattern);
  }
  for (const char* other : {"b", "*.a", "a.>", "*.*.*", "a.*"}) EXPECT_EQ(tree_.find(other), nullptr);
}

TEST_F(InterestTreeTest, VeryDeepSubjectMatches) {
  std::string pattern = "*", subject = "x";
  for (int i = 0; i < 2000; ++i) {
    pattern += ".*";
    subject += ".x";
  }
  subscribe(pattern, "", "deep");
  EXPECT_EQ(match(subject), "deep");
  EXPECT_EQ(match(subject + ".x"), "");
}

// Against the plain definition, with subscriptions coming and going and the cache in play.
TEST_F(InterestTreeTest, AgreesWithMatchingOneByOne) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto make = [&](bool is_pattern) {
    std::string text;
    for (size_t i = 1 + random() % 4; i > 0; --i) {
      if (!text.empty()) text += '.';
      const auto pick = random() % 10;
      if (is_pattern && pick == 0 && i == 1) {
        text += '>';
      } else if (is_pattern && pick <= 2) {
        text += '*';
      } else {
        text += static_cast<char>('a' + random() % 3);
      }
    }
    return text;
  };
  std::vector<NamedSubscriber*> live;
  for (int round = 0; round < 20000; ++round) {
    if (live.size() < 60 && random() % 3 == 0) {
      live.push_back(&subscribe(make(true)));
    } else if (!live.empty() && random() % 4 == 0) {
      const size_t i = random() % live.size();
      tree_.remove(*live[i]);
      live[i] = live.back();
      live.pop_back();
    }
    const std::string literal = make(false);
    std::multiset<std::string> want, have;
    for (const auto* it : live) {
      if (matches(it->name, literal)) want.insert(it->name);
    }
    for (const Interest* interest : tree_.match(literal)) {
      for (const Subscriber* it : interest->subscribers()) have.insert(name(*it));
    }
    ASSERT_EQ(have, want) << literal << " in round " << round;
  }
}

}  // namespace
}  // namespace brokkr::subject
