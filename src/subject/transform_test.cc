#include "subject/transform.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace brokkr::subject {
namespace {

std::string transform(std::string_view source, std::string_view destination,
                      std::string_view subject) {
  const auto made = Transform::make(source, destination);
  return made ? made->apply(subject) : "error: " + made.error().text;
}

TEST(Transform, WildcardsAreCarriedOver) {
  EXPECT_EQ(transform("a.*.*", "b.$2.$1", "a.x.y"), "b.y.x");
  EXPECT_EQ(transform("a.*.*", "b.{{wildcard(2)}}.{{ Wildcard( 1 ) }}", "a.x.y"), "b.y.x");
  EXPECT_EQ(transform("a", "b.c", "a"), "b.c");
  EXPECT_EQ(transform("a.*", "b", "a.x"), "b");
}

TEST(Transform, RestIsCarriedOver) {
  EXPECT_EQ(transform("a.>", "b.c.>", "a.x.y"), "b.c.x.y");
  EXPECT_EQ(transform("a.*.>", "b.$1.c.>", "a.x.y.z"), "b.x.c.y.z");
  EXPECT_EQ(transform("", "pre.>", "x.y"), "pre.x.y");
  EXPECT_EQ(transform(">", ">", "x.y"), "x.y");
}

TEST(Transform, OtherSubjectsAreNotTouched) {
  EXPECT_EQ(transform("a.*", "b.$1", "c.x"), "");
  EXPECT_EQ(transform("a.*", "b.$1", "a.x.y"), "");
  EXPECT_EQ(transform("a.>", "b.>", "a..y"), "");
}

TEST(Transform, DollarTokensThatAreNoNumberAreLiteral) {
  EXPECT_EQ(transform("a", "$JS.API.x", "a"), "$JS.API.x");
}

TEST(Transform, PartitionHashesTheNamedTokens) {
  EXPECT_EQ(transform("*.*", "{{partition(10,1,2)}}", "foo.bar"),
            transform("*.*.x", "{{partition(10,1,2)}}", "foo.bar.x"));
  EXPECT_EQ(transform("*", "p.{{partition(1,1)}}", "foo"), "p.0");
  // FNV-1a of "foo" is 2851307223, of "foobar" 3214735720.
  EXPECT_EQ(transform("*", "{{partition(1000,1)}}.$1", "foo"), "223.foo");
  EXPECT_EQ(transform("*.*", "{{partition(1000,1,2)}}", "foo.bar"), "720");
}

TEST(Transform, TokensAreSplit) {
  EXPECT_EQ(transform("*", "{{split(1,-)}}", "-abc-def--ghi-"), "abc.def.ghi");
  EXPECT_EQ(transform("*", "a.{{splitFromLeft(1,3)}}", "12345"), "a.123.45");
  EXPECT_EQ(transform("*", "a.{{splitFromRight(1,3)}}", "12345"), "a.12.345");
  EXPECT_EQ(transform("*", "{{splitFromLeft(1,5)}}", "12345"), "12345");
  EXPECT_EQ(transform("*", "{{splitfromright(1,9)}}", "12345"), "12345");
}

TEST(Transform, TokensAreSliced) {
  EXPECT_EQ(transform("*", "{{sliceFromLeft(1,3)}}", "1234567890"), "123.456.789.0");
  EXPECT_EQ(transform("*", "{{sliceFromRight(1,3)}}", "1234567890"), "1.234.567.890");
  EXPECT_EQ(transform("*", "{{sliceFromLeft(1,2)}}", "1234"), "12.34");
  EXPECT_EQ(transform("*", "{{sliceFromRight(1,2)}}", "1234"), "12.34");
  EXPECT_EQ(transform("*", "{{sliceFromLeft(1,9)}}", "1234"), "1234");
}

TEST(Transform, TokensAreShortened) {
  EXPECT_EQ(transform("*", "{{left(1,2)}}", "1234"), "12");
  EXPECT_EQ(transform("*", "{{right(1,3)}}", "1234"), "234");
  EXPECT_EQ(transform("*", "{{right(1,5)}}", "1234"), "1234");
}

TEST(Transform, RandomNumbersStayBelowTheirBound) {
  EXPECT_EQ(transform("a.*", "$1.{{random(1)}}", "a.b"), "b.0");
  EXPECT_EQ(transform("a", "{{random(0)}}", "a"), "0");
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i)
    seen.insert(transform("a", "{{random(3)}}", "a"));
  EXPECT_EQ(seen, (std::set<std::string>{"0", "1", "2"}));
}

TEST(Transform, BadMappingsAreRefused) {
  const char* const cases[][2] = {
      {"a..b", "x"},          {"a.*", "b.*"},           {"a.*", "b.$2"},
      {"a.*", "b.$0"},        {"a.>", "b"},             {"a", "b.>"},
      {"a.*", "b..c"},        {"a.*", ""},              {"a.>", "b.>.c"},
      {"*", "{{nope(1)}}"},   {"*", "{{wildcard}}"},    {"*", "{{wildcard(1,2)}}"},
      {"*", "{{split(1)}}"},  {"*", "{{split(1, )}}"},  {"*", "{{partition(0,1)}}"},
      {"*", "{{left(1,x)}}"}, {"*", "{{left(2,1)}}"},   {"a", "{{wildcard(1)}}"},
      {"*", "{{partition()}}"}, {"*", "{{partition(x)}}"}, {"*", "{{random()}}"},
      {"*", "{{random(x)}}"},
  };
  for (const auto& [source, destination] : cases) {
    EXPECT_FALSE(Transform::make(source, destination)) << source << " " << destination;
  }
}

}  // namespace
}  // namespace brokkr::subject
