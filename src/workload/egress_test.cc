#include "workload/egress.h"

#include <gtest/gtest.h>

#include "workload/namespace_egress.h"

namespace brokkr::workload {
namespace {

NetAddress address_of(std::string_view text) {
  auto parsed = NetAddress::parse(text);
  EXPECT_TRUE(parsed) << text;
  return parsed ? *parsed : NetAddress{};
}

EgressPolicy policy_of(std::vector<std::string> entries, bool is_public_allowed = true) {
  auto parsed = EgressPolicy::parse(entries, is_public_allowed);
  EXPECT_TRUE(parsed) << (parsed ? "" : parsed.error().text);
  return parsed ? *parsed : EgressPolicy();
}

TEST(Egress, TellsPublicAddresses) {
  for (const char* text :
       {"8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.1", "192.167.1.1", "223.255.255.255",
        "100.63.255.255", "100.128.0.0", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8",
        "64:ff9b::808:808", "2002:808:808::1", "11.0.0.0", "126.255.255.255", "128.0.0.1"}) {
    EXPECT_TRUE(is_public_address(address_of(text))) << text;
  }
}

TEST(Egress, TellsAddressesThatAreNotPublic) {
  for (const char* text :
       {"127.0.0.1",       "127.255.255.254", "0.0.0.0",           "0.1.2.3",
        "10.0.0.1",        "10.255.255.255",  "100.64.0.1",        "100.100.100.200",
        "169.254.169.254", "169.254.0.1",     "172.16.0.1",        "172.31.255.255",
        "192.168.0.1",     "192.168.127.1",   "192.0.0.192",       "192.0.2.1",
        "192.88.99.1",     "198.18.0.1",      "198.19.255.255",    "198.51.100.1",
        "203.0.113.1",     "224.0.0.1",       "239.1.1.1",         "240.0.0.1",
        "255.255.255.255", "168.63.129.16",   "::",                "::1",
        "::127.0.0.1",     "fe80::1",         "fc00::1",           "fd00:ec2::254",
        "fec0::1",         "ff02::1",         "::ffff:127.0.0.1",  "::ffff:169.254.169.254",
        "::ffff:10.0.0.1", "::ffff:0.0.0.0",  "64:ff9b::7f00:1",   "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",    "2002:7f00:1::",   "2002:a9fe:a9fe::1", "2001::1",
        "2001:db8::1",     "3fff::1",         "100::1",            "5f00::1"}) {
    EXPECT_FALSE(is_public_address(address_of(text))) << text;
  }
  EXPECT_FALSE(is_public_address(NetAddress{}));
  EXPECT_FALSE(is_public_address(NetAddress{"abc"}));
}

TEST(Egress, ReadsOnlyPlainAddresses) {
  for (const char* text : {"", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "1.2.3.4.", "1.2.3",
                           "::g", "[::1]", "fe80::1%eth0", "1.2.3.4/8"}) {
    EXPECT_FALSE(NetAddress::parse(text)) << text;
  }
  EXPECT_EQ(address_of("::FFFF:1.2.3.4").bytes.size(), 16U);
  EXPECT_EQ(address_of("fd00:0:0::1").text(), "fd00::1");
}

TEST(Egress, WithoutEntriesAllowsPublicAddressesOnly) {
  const EgressPolicy policy = policy_of({});
  EXPECT_TRUE(policy.may_resolve("example.com", 443));
  EXPECT_TRUE(policy.may_connect("example.com", address_of("8.8.8.8"), 443));
  EXPECT_FALSE(policy.may_connect("example.com", address_of("10.0.0.1"), 443));
  EXPECT_FALSE(policy.may_connect("localhost", address_of("127.0.0.1"), 8222));
  EXPECT_FALSE(policy.may_resolve("127.0.0.1", 80));
  for (const char* disguise : {"127.1", "0x7f000001", "2130706433", "0177.0.0.1", "0x7f.1", "1"}) {
    EXPECT_FALSE(policy.may_resolve(disguise, 80)) << disguise;
  }
}

TEST(Egress, WithoutEntriesProgramsMayNothing) {
  const EgressPolicy policy = policy_of({}, false);
  EXPECT_FALSE(policy.may_resolve("example.com", 443));
  EXPECT_FALSE(policy.may_connect("example.com", address_of("8.8.8.8"), 443));
}

TEST(Egress, WithEntriesAllowsOnlyWhatTheyName) {
  const EgressPolicy policy = policy_of({"API.example.com:443", "10.1.0.0/16:5432"});
  EXPECT_TRUE(policy.may_resolve("api.Example.com.", 443));
  EXPECT_TRUE(policy.may_connect("api.example.com", address_of("8.8.8.8"), 443));
  EXPECT_FALSE(policy.may_connect("api.example.com", address_of("8.8.8.8"), 80));
  EXPECT_FALSE(policy.may_resolve("example.com", 443));
  EXPECT_FALSE(policy.may_connect("other.com", address_of("8.8.8.8"), 443));
  EXPECT_TRUE(policy.may_connect("db", address_of("10.1.2.3"), 5432));
  EXPECT_TRUE(policy.may_connect("db", address_of("::ffff:10.1.2.3"), 5432));
  EXPECT_FALSE(policy.may_connect("db", address_of("10.2.0.1"), 5432));
  EXPECT_FALSE(policy.may_connect("db", address_of("10.1.2.3"), 80));
}

TEST(Egress, PrivateAddressesNeedNaming) {
  EXPECT_TRUE(policy_of({"localhost"}).may_connect("localhost", address_of("127.0.0.1"), 80));
  EXPECT_FALSE(policy_of({"*.example.com"})
                   .may_connect("a.example.com", address_of("169.254.169.254"), 80));
  EXPECT_TRUE(policy_of({"*.example.com", "10.0.0.0/8"})
                  .may_connect("a.example.com", address_of("10.0.0.1"), 80));
  EXPECT_FALSE(policy_of({"*"}).may_connect("a", address_of("::1"), 80));
  EXPECT_TRUE(policy_of({"*:443"}).may_connect("a", address_of("8.8.8.8"), 443));
  EXPECT_FALSE(policy_of({"*:443"}).may_connect("a", address_of("8.8.8.8"), 80));
  EXPECT_TRUE(policy_of({"[::1]:80"}).may_connect("::1", address_of("::1"), 80));
  EXPECT_TRUE(policy_of({"::1"}).may_connect("::1", address_of("::1"), 8080));
  EXPECT_FALSE(policy_of({"127.0.0.1"}).may_connect("127.0.0.2", address_of("127.0.0.2"), 80));
}

TEST(Egress, WildcardsStandForNamesBelow) {
  const EgressPolicy policy = policy_of({"*.example.com"});
  EXPECT_TRUE(policy.may_resolve("a.b.example.com", 443));
  EXPECT_FALSE(policy.may_resolve("example.com", 443));
  EXPECT_FALSE(policy.may_resolve("badexample.com", 443));
  EXPECT_FALSE(policy.may_resolve("example.com.evil.org", 443));
}

TEST(Egress, ABoundHoldsToo) {
  const EgressPolicy bound = policy_of({"*.example.com:443", "10.1.0.0/16"}, false);
  const EgressPolicy open = policy_of({}).bounded_by(bound);
  EXPECT_TRUE(open.may_resolve("a.example.com", 443));
  EXPECT_TRUE(open.may_connect("a.example.com", address_of("8.8.8.8"), 443));
  EXPECT_FALSE(open.may_connect("a.example.com", address_of("8.8.8.8"), 80));
  EXPECT_FALSE(open.may_connect("other.com", address_of("8.8.8.8"), 443));
  EXPECT_FALSE(open.may_connect("x", address_of("10.1.0.1"), 443)) << "it names no private address itself";
  const EgressPolicy named = policy_of({"a.example.com", "10.0.0.0/8"}).bounded_by(bound);
  EXPECT_FALSE(named.may_connect("a.example.com", address_of("127.0.0.1"), 443));
  EXPECT_TRUE(named.may_connect("x", address_of("10.1.0.1"), 80));
  EXPECT_FALSE(named.may_connect("x", address_of("10.2.0.1"), 80));
  const auto covers = [&](const char* text) { return bound.covers(policy_of({text}).entries()[0]); };
  EXPECT_TRUE(covers("a.example.com:443"));
  EXPECT_TRUE(covers("*.b.example.com:443"));
  EXPECT_TRUE(covers("*.example.com:443"));
  EXPECT_TRUE(covers("10.1.2.0/24:5432"));
  for (const char* text : {"a.example.com", "a.example.com:80", "example.com:443", "*", "*:443", "10.0.0.0/8", "10.2.0.1"}) {
    EXPECT_FALSE(covers(text)) << text;
  }
}

TEST(Egress, ANamespacesRecordIsTheBound) {
  NamespaceRecord record;
  record.ns = "team";
  record.egress = {"api.example.com"};
  EXPECT_TRUE(check_declared_egress({"api.example.com:443"}, "team", {record}));
  EXPECT_TRUE(check_declared_egress({"any.org"}, "other", {record}));
  const Status refused = check_declared_egress({"api.example.com", "any.org"}, "team", {record});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::PermissionDenied);
  EXPECT_NE(refused.error().text.find("any.org"), std::string::npos);
  const EgressPolicy policy = within_namespace(policy_of({}), "team", {record});
  EXPECT_TRUE(policy.may_connect("api.example.com", address_of("8.8.8.8"), 1));
  EXPECT_FALSE(policy.may_connect("any.org", address_of("8.8.8.8"), 1));
  record.egress = {"not an entry"};
  EXPECT_FALSE(within_namespace(policy_of({}), "team", {record}).may_resolve("any.org", 1));
}

TEST(Egress, NamesTheEntryThatIsWrong) {
  for (const char* text : {"", ":80", "a:0", "a:65536", "a:b", "a b", "10.0.0.0/33", "10.0.0/8", "[::1",
                           "[::1]80", "fd00::/129", "http://a", "127.1", "2130706433", "a..b", "*.",
                           "a*b", "**", "10.0.0.0/-1"}) {
    const auto parsed = EgressPolicy::parse({"ok.example", text});
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, Errc::InvalidArgument);
    EXPECT_NE(parsed.error().text.find("\"" + std::string(text) + "\""), std::string::npos);
  }
}

}  // namespace
}  // namespace brokkr::workload
