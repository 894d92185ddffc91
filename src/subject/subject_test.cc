#include "subject/subject.h"

#include <gtest/gtest.h>

#include <random>

namespace brokkr::subject {
namespace {

TEST(Subject, ValidSubscriptionsAreAccepted) {
  for (const char* text : {"a", "a.b", "*", ">", "a.*", "a.>", "*.*.>", "foo*", "foo>.bar", "$SYS.>",
                           "a.*b.c", "\xc3\xa9t\xc3\xa9"}) {
    EXPECT_TRUE(is_valid(text)) << text;
  }
}

TEST(Subject, EmptyTokensAreInvalid) {
  for (const char* text : {"", ".", ".a", "a.", "a..b", "a.>.", ".>"}) {
    EXPECT_FALSE(is_valid(text)) << text;
  }
}

TEST(Subject, BlanksAreInvalid) {
  for (const char* text : {" ", "a b", "a.\tb", "a\r", "a\n.b", "a\f"}) {
    EXPECT_FALSE(is_valid(text)) << text;
    EXPECT_FALSE(is_valid_literal(text)) << text;
  }
}

TEST(Subject, RestWildcardMustBeLast) {
  for (const char* text : {">.a", "a.>.b", ">.>"}) EXPECT_FALSE(is_valid(text)) << text;
}

TEST(Subject, WildcardsCountOnlyAsWholeTokens) {
  for (const char* text : {"foo*", "*a", "a.b>", "a.**", "a.>>.b"}) {
    EXPECT_TRUE(is_literal(text)) << text;
    EXPECT_TRUE(is_valid_literal(text)) << text;
  }
  for (const char* text : {"*", ">", "a.*", "*.a", "a.*.b", "a.>"}) {
    EXPECT_FALSE(is_literal(text)) << text;
    EXPECT_FALSE(is_valid_literal(text)) << text;
  }
}

TEST(Subject, TokensAreWalkedInOrder) {
  std::string seen;
  for (const std::string_view token : Tokens("a.bb..c.")) seen.append(token).append("|");
  EXPECT_EQ(seen, "a|bb||c||");
  EXPECT_EQ(token_count("a.bb..c."), 5u);
  EXPECT_EQ(token_count(""), 0u);
  EXPECT_EQ(token_at("a.bb.c", 1), "bb");
  EXPECT_EQ(token_at("a.bb.c", 3), "");
}

struct MatchCase {
  const char* pattern;
  const char* literal;
  bool is_match;
};

TEST(Subject, PatternsMatch) {
  for (const MatchCase& it : {MatchCase{"a.b", "a.b", true}, {"a.b", "a.c", false},
                              {"a.b", "a", false}, {"a", "a.b", false}, {"*", "a", true},
                              {"*", "a.b", false}, {"a.*", "a.b", true}, {"a.*", "a", false},
                              {"a.*.c", "a.x.c", true}, {">", "a", true}, {">", "a.b.c", true},
                              {"a.>", "a", false}, {"a.>", "a.b.c", true}, {"foo*", "foobar", false},
                              {"foo*", "foo*", true}, {"a.*", "a.*", true}, {"a.b", "A.b", false}}) {
    EXPECT_EQ(matches(it.pattern, it.literal), it.is_match) << it.pattern << " " << it.literal;
  }
}

TEST(Subject, EmptyTokenInLiteralMatchesNothing) {
  for (const char* literal : {"", "a.", ".a", "a..b"}) {
    for (const char* pattern : {">", "*", "*.*", "a.>", "*.>", "a.*.b"}) {
      EXPECT_FALSE(matches(pattern, literal)) << pattern << " " << literal;
    }
  }
}

TEST(Subject, SubsetsAreFound) {
  for (const MatchCase& it :
       {MatchCase{"a.b", "a.b", true}, {"a.b", "a.*", true}, {"a.*", "a.b", false},
        {"a.*", "a.>", true}, {"a.>", "a.*", false}, {"a.>", ">", true}, {">", ">", true},
        {">", "*", false}, {"a.b.c", "a.>", true}, {"a", "a.>", false}, {"*.b", "*.*", true},
        {"*.b", "a.*", false}}) {
    EXPECT_EQ(is_subset(it.pattern, it.literal), it.is_match) << it.pattern << " " << it.literal;
  }
}

TEST(Subject, CollisionsAreFound) {
  for (const MatchCase& it : {MatchCase{"a.*", "*.b", true}, {"a.b", "a.c", false},
                              {"a.>", "a.b.c", true}, {"a.>", "a", false}, {">", "x", true},
                              {"*.*", "a.>", true}, {"*", "a.b", false}, {"a.*.c", "a.b.*", true}}) {
    EXPECT_EQ(collide(it.pattern, it.literal), it.is_match) << it.pattern << " " << it.literal;
    EXPECT_EQ(collide(it.literal, it.pattern), it.is_match) << it.pattern << " " << it.literal;
  }
}

// Over all short subjects of two letters: is_subset and collide agree with what matches says.
TEST(Subject, SetOperationsAgreeWithMatching) {
  std::vector<std::string> literals, patterns;
  const auto build = [](auto&& self, const std::vector<std::string>& alphabet, std::string prefix,
                        int depth, std::vector<std::string>& out) -> void {
    for (const std::string& token : alphabet) {
      const std::string text = prefix.empty() ? token : prefix + "." + token;
      out.push_back(text);
      if (depth > 1 && token != ">") self(self, alphabet, text, depth - 1, out);
    }
  };
  build(build, {"a", "b"}, "", 4, literals);
  build(build, {"a", "b", "*", ">"}, "", 3, patterns);
  for (const std::string& a : patterns) {
    for (const std::string& b : patterns) {
      bool every = true, some = false;
      for (const std::string& literal : literals) {
        const bool in_a = matches(a, literal), in_b = matches(b, literal);
        every = every && (!in_a || in_b);
        some = some || (in_a && in_b);
      }
      // A "*" stands for more tokens than the two letters here; a pattern of both letters alone
      // would still not cover it, and none of these patterns is such a union.
      ASSERT_EQ(is_subset(a, b), every) << a << " in " << b;
      ASSERT_EQ(collide(a, b), some) << a << " with " << b;
    }
  }
}

}  // namespace
}  // namespace brokkr::subject
