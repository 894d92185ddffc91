#include "config/parser.h"

#include <map>

#include <gtest/gtest.h>

#include "config/digest.h"
#include "config/testdata_files.h"

namespace brokkr::config {
namespace {

class FakeSources final : public Sources {
 public:
  Result<std::string> read_file(const std::string& path) override {
    const auto found = files.find(path);
    if (found == files.end()) return Error{Errc::NotFound, "no such file"};
    return found->second;
  }
  std::optional<std::string> environment(const std::string& name) override {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  }
  std::map<std::string, std::string> files;
  std::map<std::string, std::string> variables;
};

class ParserTest : public testing::Test {
 protected:
  // The values as JSON, or the errors one per line.
  std::string read(const std::string& text) {
    const Document document = parse_text(text, "t.conf", sources_);
    std::string out;
    for (const Diagnostic& error : document.errors)
      out += error.to_string() + "\n";
    if (!out.empty()) return out;
    out = to_json(document.root);
    out.pop_back();
    return out;
  }
  FakeSources sources_;
};

TEST(Corpus, DigestsEqualThoseOfNatsServer) {
  const auto names = testdata::names_with(".digest");
  ASSERT_GE(names.size(), 50U);
  SystemSources sources;
  for (const std::string& name : names) {
    const std::string path = testdata::folder() + "/" + name;
    const Document document = parse_file(path + ".conf", sources);
    for (const Diagnostic& error : document.errors)
      ADD_FAILURE() << error.to_string();
    EXPECT_EQ(digest(document.root) + "\n", testdata::read_text(path + ".digest")) << name;
  }
}

TEST_F(ParserTest, BooleanWordsAreCaseInsensitiveAndBare) {
  EXPECT_EQ(read("a: yEs, b: OFF, c: 'on', d: truely"),
            R"({"a":true,"b":false,"c":"on","d":"truely"})");
}

TEST_F(ParserTest, UnitsArePowersOf1000Or1024) {
  EXPECT_EQ(read("a 1k\nb 1kb\nc 1Ki\nd -2MiB"), R"({"a":1000,"b":1024,"c":1024,"d":-2097152})");
}

TEST_F(ParserTest, ArraysMayEndDirectlyAfterAnInteger) {
  EXPECT_EQ(read("a: [1,2], b: [-3,[4]]"), R"({"a":[1,2],"b":[-3,[4]]})");
}

TEST_F(ParserTest, PositionsAreThoseOfTheKeys) {
  const Document document = parse_text("\n a: 1\n  b {\n c: [\n 2 ] }", "t.conf", sources_);
  ASSERT_TRUE(document.errors.empty());
  const Value* const c = document.root.find("b")->find("c");
  EXPECT_EQ(c->at.line, 4U);
  EXPECT_EQ(c->at.column, 2U);
  EXPECT_EQ(c->items[0].at.line, 5U);
  EXPECT_EQ(document.root.find("a")->at.column, 2U);
}

TEST_F(ParserTest, VariablesAreFoundFromTheInsideOut) {
  EXPECT_EQ(read("a 1\nm { a 2\n x $a\n n { y $a } }\nz $a"),
            R"({"a":1,"m":{"a":2,"n":{"y":2},"x":2},"z":1})");
}

TEST_F(ParserTest, VariablesMustBeDefinedBeforeTheirUse) {
  EXPECT_EQ(read("x $a\na 1"),
            "t.conf:1:3: variable reference for 'a' on line 1 can not be found\n");
}

TEST_F(ParserTest, VariablesOfClosedMapsAreNotSeen) {
  EXPECT_EQ(read("m { a 1 }\nx $a"),
            "t.conf:2:3: variable reference for 'a' on line 2 can not be found\n");
}

TEST_F(ParserTest, EnvironmentTextIsParsedAsAValue) {
  sources_.variables = {{"N", "5"}, {"L", "[a, b]"}, {"Q", "\"x y\""}, {"M", "{k: 1k}"}, {"E", ""}};
  EXPECT_EQ(read("a $N\nb $L\nc $Q\nd $M\ne $E"),
            R"({"a":5,"b":["a","b"],"c":"x y","d":{"k":1000},"e":""})");
}

TEST_F(ParserTest, EnvironmentMayReferToEnvironmentButNotInACircle) {
  sources_.variables = {{"A", "$B"}, {"B", "7"}, {"C", "$D"}, {"D", "$C"}};
  EXPECT_EQ(read("a $A"), R"({"a":7})");
  EXPECT_NE(read("a $C").find("variable reference cycle for 'C'"), std::string::npos);
}

TEST_F(ParserTest, UsedVariablesAreMarked) {
  const Document document = parse_text("a 1\nb 2\nc $a", "t.conf", sources_);
  EXPECT_TRUE(document.root.find("a")->is_used_variable);
  EXPECT_FALSE(document.root.find("b")->is_used_variable);
}

TEST_F(ParserTest, BcryptHashesNeedNoQuotes) {
  EXPECT_EQ(read("a $2a$10$abc\nb $2y$10$abc"), R"({"a":"$2a$10$abc","b":"$2y$10$abc"})");
}

TEST_F(ParserTest, IncludesAreMergedRelativeToTheirFile) {
  sources_.files = {{"./d/one.conf", "include two.conf\nx 1"}, {"./d/two.conf", "y [z]"}};
  EXPECT_EQ(read("include \"d/one.conf\"\nm { include 'd/two.conf' }\nv $x"),
            R"({"m":{"y":["z"]},"v":1,"x":1,"y":["z"]})");
}

TEST_F(ParserTest, ErrorsInIncludesNameTheirFile) {
  sources_.files = {{"./one.conf", "a 1\nb [ ,"}};
  EXPECT_EQ(read("include one.conf"),
            "./one.conf:2:5: unexpected ',', expected a value of the array\n");
}

TEST_F(ParserTest, IncludeOfItselfIsAnError) {
  sources_.files = {{"./one.conf", "include one.conf"}};
  EXPECT_EQ(read("include one.conf"),
            "./one.conf:1:9: include 'one.conf': the file includes itself\n");
}

TEST_F(ParserTest, IncludesCannotMultiplyWithoutEnd) {
  // Every file is found in a folder of its own, so none includes itself.
  class Everywhere final : public Sources {
   public:
    Result<std::string> read_file(const std::string&) override {
      ++reads;
      return std::string("include a/b\ninclude c/d");
    }
    std::optional<std::string> environment(const std::string&) override { return std::nullopt; }
    size_t reads = 0;
  } everywhere;
  const Document document = parse_text("include a/b", "t.conf", everywhere);
  ASSERT_FALSE(document.errors.empty());
  EXPECT_NE(document.errors[0].reason.find("too many includes"), std::string::npos);
  EXPECT_LT(everywhere.reads, 5000U);
}

TEST_F(ParserTest, EveryErrorIsReportedInOneRun) {
  EXPECT_EQ(read("a = \nb 1 2\nm {\n x = .5\n y: ,\n z 99999999999999999999\n}\nc $none\nd 1"),
            "t.conf:1:5: expected the value of 'a', found the end of the line\n"
            "t.conf:2:5: unexpected '2' after the value of 'b', a value ends with its line, ',' or "
            "';' (quote text that holds blanks or starts with a number)\n"
            "t.conf:4:6: a number starts with a digit, not '.'\n"
            "t.conf:5:5: key 'y' has no value\n"
            "t.conf:6:4: the integer 99999999999999999999 is out of range\n"
            "t.conf:8:3: variable reference for 'none' on line 8 can not be found\n");
}

TEST_F(ParserTest, ErrorsAreLimitedInNumber) {
  std::string text;
  for (int i = 0; i < 1000; ++i)
    text += "a = \n";
  EXPECT_EQ(parse_text(text, "t.conf", sources_).errors.size(), kErrorsMax);
}

TEST_F(ParserTest, NestingIsLimited) {
  for (const std::string open : {"a [", "a {b ", "{"}) {
    std::string text = "x ";
    for (int i = 0; i < 300; ++i)
      text += open == "a [" ? "[" : open == "{" ? "{" : "{b ";
    if (open == "{") text = text.substr(2);
    EXPECT_NE(read(text).find("nested deeper than 200 levels"), std::string::npos) << open;
  }
}

TEST_F(ParserTest, VariablesCannotBlowAFileUp) {
  std::string text = "a0 [x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string use = "$a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + " [" + use;
    for (int k = 0; k < 7; ++k)
      text += ", " + use;
    text += "]\n";
  }
  EXPECT_NE(read(text).find("makes the configuration too large"), std::string::npos);
}

TEST_F(ParserTest, VariablesCannotNestWithoutEnd) {
  std::string text = "a [x]\n";
  for (int i = 0; i < 300; ++i)
    text += "a [$a]\n";
  EXPECT_NE(read(text).find("makes the configuration too large"), std::string::npos);
}

TEST_F(ParserTest, AFileWithoutValuesIsAnError) {
  sources_.files = {{"/e.conf", "# nothing\n"}};
  const Document document = parse_file("/e.conf", sources_);
  ASSERT_EQ(document.errors.size(), 1U);
  EXPECT_EQ(document.errors[0].to_string(), "/e.conf: config has no values or is empty");
}

TEST_F(ParserTest, AMissingFileIsAnError) {
  SystemSources sources;
  const Document document = parse_file("/nonexistent/x.conf", sources);
  ASSERT_EQ(document.errors.size(), 1U);
  EXPECT_EQ(document.errors[0].to_string(),
            "/nonexistent/x.conf: cannot open: No such file or directory");
}

TEST(ToJson, NumbersLookLikeGos) {
  const auto json = [](double number) {
    Value value;
    value.kind = Value::Kind::Float;
    value.number = number;
    return to_json(value);
  };
  EXPECT_EQ(json(2.0), "2\n");
  EXPECT_EQ(json(-0.0), "-0\n");
  EXPECT_EQ(json(0.000001), "0.000001\n");
  EXPECT_EQ(json(0.0000001), "1e-7\n");
  EXPECT_EQ(json(1e20), "100000000000000000000\n");
  EXPECT_EQ(json(1e21), "1e+21\n");
  EXPECT_EQ(json(92233720368547758070.0), "92233720368547760000\n");
  EXPECT_EQ(json(1234.5678), "1234.5678\n");
}

}  // namespace
}  // namespace brokkr::config
