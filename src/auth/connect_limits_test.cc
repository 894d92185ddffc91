#include "auth/connect_limits.h"

#include <gtest/gtest.h>

namespace brokkr::auth {
namespace {

TEST(Networks, HoldAddresses) {
  EXPECT_TRUE(is_in_networks("1.2.3.4", {}));
  EXPECT_TRUE(is_in_networks("10.1.2.3", {"192.168.0.0/16", "10.0.0.0/8"}));
  EXPECT_FALSE(is_in_networks("11.1.2.3", {"10.0.0.0/8"}));
  EXPECT_TRUE(is_in_networks("10.1.2.3", {"10.1.2.3/32"}));
  EXPECT_FALSE(is_in_networks("10.1.2.2", {"10.1.2.3/32"}));
  EXPECT_TRUE(is_in_networks("10.1.2.3", {"0.0.0.0/0"}));
  EXPECT_TRUE(is_in_networks("fe80::1", {"fe80::/10"}));
  EXPECT_FALSE(is_in_networks("fe80::1", {"0.0.0.0/0"}));
  EXPECT_TRUE(is_in_networks("::ffff:10.0.0.1", {"10.0.0.0/8"}));
}

TEST(Networks, WhatCannotBeReadHoldsNothing) {
  for (const char* network : {"", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/x", "x/8", "::/129"}) {
    EXPECT_FALSE(is_in_networks("10.0.0.1", {network})) << network;
  }
  EXPECT_FALSE(is_in_networks("", {"0.0.0.0/0"}));
  EXPECT_FALSE(is_in_networks("host", {"0.0.0.0/0"}));
}

class ConnectTimes : public testing::Test {
 protected:
  // 2027-01-15, at that time in UTC.
  static WallTime at(int hour, int minute) {
    return WallTime(std::chrono::seconds(1'799'971'200 + hour * 3600 + minute * 60));
  }
  // Minutes left; -1 when it is not allowed, 0 for no end.
  static int64_t left(const std::vector<crypto::TimeRange>& ranges, int hour, int minute,
                      const std::string& zone = "UTC") {
    const ConnectTime time = check_connect_time(ranges, zone, at(hour, minute));
    if (!time.is_allowed) return -1;
    if (!time.until) return 0;
    return std::chrono::duration_cast<std::chrono::minutes>(*time.until - at(hour, minute)).count();
  }
};

TEST_F(ConnectTimes, Ranges) {
  EXPECT_EQ(left({}, 3, 0), 0);
  EXPECT_EQ(left({{"08:00:00", "09:00:00"}}, 8, 30), 30);
  EXPECT_EQ(left({{"08:00:00", "09:00:00"}}, 9, 0), -1);
  EXPECT_EQ(left({{"08:00:00", "09:00:00"}}, 7, 59), -1);
  EXPECT_EQ(left({{"08:00:00", "09:00:00"}, {"08:15:00", "10:00:00"}}, 8, 30), 90);
}

TEST_F(ConnectTimes, AcrossMidnight) {
  const std::vector<crypto::TimeRange> night = {{"22:00:00", "06:00:00"}};
  EXPECT_EQ(left(night, 23, 30), 390);
  EXPECT_EQ(left(night, 5, 0), 60);
  EXPECT_EQ(left(night, 12, 0), -1);
}

TEST_F(ConnectTimes, InTheirZone) {
  EXPECT_EQ(left({{"08:00:00", "09:00:00"}}, 7, 30, "Europe/Berlin"), 30);
  EXPECT_EQ(left({{"08:00:00", "09:00:00"}}, 8, 30, "Europe/Berlin"), -1);
}

TEST_F(ConnectTimes, WhatCannotBeReadIsNoTime) {
  EXPECT_EQ(left({{"08:00:00", "09:00:00"}}, 8, 30, "No/Where"), -1);
  EXPECT_EQ(left({{"08:00:00", "09:00:00"}}, 8, 30, "../../etc/passwd"), -1);
  EXPECT_EQ(left({{"8", "09:00:00"}}, 8, 30), -1);
  EXPECT_EQ(left({{"08:00:00", "25:00:00"}}, 8, 30), -1);
}

}  // namespace
}  // namespace brokkr::auth
