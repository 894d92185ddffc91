#include <gtest/gtest.h>

#include "runtime/engine_test_fixture.h"

namespace brokkr::runtime::testing {
namespace {

TEST(Engine, NamesItsVersion) {
  EXPECT_EQ(warm_engine().version().substr(0, 3), "V8 ");
}

TEST(JavaScript, EchoAnswersAsTheDeckSays) {
  EXPECT_EQ(in_child([] {
    Deployed echo;
    ASSERT_EQ(echo.load(read_file(BROKKR_EXAMPLES "/echo.js"), "echo.js"), "");
    EXPECT_EQ(brief(echo.call("hello nex!", "echo")),
              R"(200 {"triggered_on":"echo","payload":"hello nex!"})");
    EXPECT_EQ(echo.host.out, "echo\n");
  }), 0);
}

}  // namespace
}  // namespace brokkr::runtime::testing
