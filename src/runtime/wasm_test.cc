#include <gtest/gtest.h>

#include "runtime/engine_test_fixture.h"

namespace brokkr::runtime::testing {
namespace {

TEST(Wasm, EchoAnswersAsTheDeckSays) {
  EXPECT_EQ(in_child([] {
    Deployed echo;
    ASSERT_EQ(echo.load_wasm(read_file(BROKKR_EXAMPLES "/echo-wasm/echo.wasm")), "");
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(brief(echo.call("hello nex!", "echowasm")), "200 hello nex!echowasm");
    }
  }), 0);
}

}  // namespace
}  // namespace brokkr::runtime::testing
