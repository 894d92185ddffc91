#include "workload/inner_names.h"

#include <gtest/gtest.h>

namespace brokkr::workload {
namespace {

class InnerNamesTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = io::Loop::open({}, clock_);
    ASSERT_TRUE(opened);
    loop_ = std::move(*opened);
    const auto policy = EgressPolicy::parse({"*.example.com:443"}, false);
    ASSERT_TRUE(policy);
    names_ = std::make_unique<InnerNames>(
        *loop_, [policy = *policy](std::string_view name) { return policy.may_resolve(name, 443); },
        std::map<std::string, std::string>{{"db.internal", "192.168.127.2"}});
  }

  static std::string query(std::string_view name, char type = 1) {
    std::string bytes("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", 12);
    while (!name.empty()) {
      const std::string_view label = name.substr(0, name.find('.'));
      bytes += static_cast<char>(label.size());
      bytes += label;
      name.remove_prefix(std::min(name.size(), label.size() + 1));
    }
    return bytes + std::string{0, 0, type, 0, 1};
  }
  // The address in the answer, "none" without one, "unknown" for no such name.
  std::string ask(std::string_view name, char type = 1) {
    const std::string asked = query(name, type);
    const std::string reply = names_->answer(asked);
    EXPECT_GE(reply.size(), asked.size());
    EXPECT_EQ(reply.substr(0, 2), asked.substr(0, 2));
    EXPECT_EQ(reply.substr(12, asked.size() - 12), asked.substr(12));
    if ((reply[3] & 0x0f) == 3) return "unknown";
    if (reply[7] == 0) return "none";
    return NetAddress{reply.substr(reply.size() - 4)}.text();
  }

  SystemClock clock_;
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<InnerNames> names_;
};

TEST_F(InnerNamesTest, EachAllowedNameHasAnAddressOfItsOwn) {
  EXPECT_EQ(ask("a.example.com"), "198.18.0.1");
  EXPECT_EQ(ask("b.c.Example.COM"), "198.18.0.2");
  EXPECT_EQ(ask("A.example.com"), "198.18.0.1");
  EXPECT_EQ(names_->find(*NetAddress::parse("198.18.0.2")), "b.c.example.com");
  EXPECT_EQ(names_->find(*NetAddress::parse("198.18.0.3")), std::nullopt);
  EXPECT_EQ(names_->find(*NetAddress::parse("10.0.0.1")), std::nullopt);
  EXPECT_EQ(ask("db.internal"), "192.168.127.2");
  // There is one, of another family.
  EXPECT_EQ(ask("a.example.com", 28), "none");
}

TEST_F(InnerNamesTest, OthersAreNotKnown) {
  EXPECT_EQ(ask("example.com"), "unknown");
  EXPECT_EQ(ask("a.example.org"), "unknown");
  EXPECT_EQ(ask("a.example.com.evil.org"), "unknown");
}

TEST_F(InnerNamesTest, TheOldestNameIsForgotten) {
  for (size_t i = 0; i <= InnerNames::kNamesMax; ++i) ask("n" + std::to_string(i) + ".example.com");
  EXPECT_EQ(names_->find(*NetAddress::parse("198.18.0.1")),
            "n" + std::to_string(InnerNames::kNamesMax) + ".example.com");
  EXPECT_EQ(ask("n0.example.com"), "198.18.0.2");
}

TEST_F(InnerNamesTest, NonsenseGetsNoAnswer) {
  const std::string good = query("a.example.com");
  for (size_t size = 0; size < good.size(); ++size) EXPECT_EQ(names_->answer(good.substr(0, size)), "");
  std::string bad = good;
  bad[2] = static_cast<char>(0x81);  // an answer
  EXPECT_EQ(names_->answer(bad), "");
  bad = good;
  bad[12] = static_cast<char>(0xc0);  // a pointer
  EXPECT_EQ(names_->answer(bad), "");
  bad = good;
  bad[5] = 2;
  EXPECT_EQ(names_->answer(bad), "");
}

}  // namespace
}  // namespace brokkr::workload
