#include "cli/template.h"

#include <gtest/gtest.h>

namespace brokkr::cli {
namespace {

class TemplateTest : public ::testing::Test {
 protected:
  std::string render(const std::string& text) {
    auto out = template_.render(text);
    return out ? *out : "error: " + out.error().text;
  }
  SeededRandom random_{1};
  Template template_{random_};
};

TEST_F(TemplateTest, ReplacesItsNames) {
  template_.count = 7;
  template_.request = "body";
  template_.subject = "weather.london";
  template_.now = WallTime(std::chrono::seconds(1'700'000'000) + std::chrono::nanoseconds(5));
  EXPECT_EQ(render("a {{Count}} b {{ .Count }} {{Cnt}}"), "a 7 b 7 7");
  EXPECT_EQ(render("{{Unix}} {{UnixNano}}"), "1700000000 1700000000000000005");
  EXPECT_EQ(render("{{.Request}}/{{Request}}"), "body/body");
  EXPECT_EQ(render("{{1}}-{{0}}"), "london-weather");
  EXPECT_EQ(render("{{ID}}").size(), 22U);
  EXPECT_NE(render("{{ID}}"), render("{{ID}}"));
  EXPECT_EQ(render("{{TimeStamp}}").substr(0, 8), "2023-11-");
  EXPECT_TRUE(render("{{Time}}").ends_with("M"));
  EXPECT_EQ(render("no {braces} at } all }}"), "no {braces} at } all }}");
}

TEST_F(TemplateTest, RandomTextKeepsItsBounds) {
  for (int i = 0; i < 200; ++i) {
    const size_t size = render("{{ Random 3 5 }}").size();
    EXPECT_GE(size, 3U);
    EXPECT_LE(size, 5U);
  }
  EXPECT_EQ(render("{{Random(4, 4)}}").size(), 4U);
}

TEST_F(TemplateTest, MistakesAreNamed) {
  EXPECT_EQ(render("{{Nope}}"), "error: template: function \"Nope\" not defined");
  EXPECT_EQ(render("{{Count"), "error: template: unclosed \"{{\"");
  EXPECT_TRUE(render("{{Random 5 3}}").starts_with("error: template: Random"));
  EXPECT_TRUE(render("{{Random 1 99999999999}}").starts_with("error: template: Random"));
  EXPECT_TRUE(render("{{Random}}").starts_with("error: "));
}

}  // namespace
}  // namespace brokkr::cli
