#include "crypto/user_template.h"

namespace brokkr::crypto {
namespace {

struct Case {
  std::string name = "bob";
  Texts tags = {"team:red", "team:blue", "one:1"};
  Texts account_tags = {"region:eu"};

  Result<UserPermissionLimits> expand(const Texts& allow, const Texts& deny = {}) const {
    UserPermissionLimits scope;
    scope.permissions.pub.allow = allow;
    scope.permissions.pub.deny = deny;
    return expand_user_template(scope, {name, "UABC", "acc", "AABC", tags, account_tags});
  }
  Texts allowed(const Texts& allow) const { return expand(allow)->permissions.pub.allow; }
};

TEST(UserTemplate, EachOperationHasItsValue) {
  EXPECT_EQ(Case().allowed({"a.{{name()}}", "{{subject()}}.>", "x.{{account-name()}}.{{account-subject()}}",
                            "{{ Name() }}", "plain", "{{account-tag(region)}}.*"}),
            (Texts{"a.bob", "UABC.>", "x.acc.AABC", "bob", "plain", "eu.*"}));
}

TEST(UserTemplate, TagsWithSeveralValuesMakeSeveralSubjects) {
  EXPECT_EQ(Case().allowed({"t.{{tag(team)}}.{{tag(ONE)}}"}), (Texts{"t.red.1", "t.blue.1"}));
  EXPECT_EQ(Case().allowed({"{{tag(team)}}.{{tag(team)}}"}), (Texts{"red.red", "blue.blue"}));
}

TEST(UserTemplate, UnknownTagsLeaveOutAllowedAndFailDenied) {
  EXPECT_EQ(Case().allowed({"a.{{tag(none)}}", "b"}), Texts{"b"});
  EXPECT_FALSE(Case().expand({}, {"a.{{tag(none)}}"}));
  EXPECT_FALSE(Case().expand({"{{what()}}"}));
}

TEST(UserTemplate, NothingLeftToAllowDeniesEverything) {
  const auto out = Case().expand({"a.{{tag(none)}}"});
  ASSERT_TRUE(out);
  EXPECT_TRUE(out->permissions.pub.allow.empty());
  EXPECT_EQ(out->permissions.pub.deny, Texts{">"});
}

// An identity never becomes a pattern (as in RabbitMQ's CVE-2026-44838).
TEST(UserTemplate, ValuesWithWildcardsOrBlanksAreNotSpliced) {
  for (const char* name : {"*", ">", "a.*", "a.>", "a b", "", ".", "a..b", "a\tb", "{{subject()}}>", "x*"}) {
    Case with;
    with.name = name;
    EXPECT_EQ(with.allowed({"p.{{name()}}", "q"}), Texts{"q"}) << name;
    EXPECT_FALSE(with.expand({}, {"p.{{name()}}"})) << name;
  }
}

TEST(UserTemplate, ValuesAreNotExpandedAgain) {
  Case with;
  with.name = "{{subject()}}";
  EXPECT_EQ(with.allowed({"p.{{name()}}"}), Texts{"p.{{subject()}}"});
}

TEST(UserTemplate, QueuesAndListsWithoutTemplatesAreKept) {
  EXPECT_EQ(Case().allowed({"a b c", "x"}), (Texts{"a b c", "x"}));
  EXPECT_EQ(Case().allowed({"a.{{name()}} q"}), Texts{"a.bob q"});
}

TEST(UserTemplate, TheNumberOfSubjectsIsBounded) {
  Case with;
  with.tags.clear();
  for (int i = 0; i < 65; ++i) with.tags.push_back("n:" + std::to_string(i));
  EXPECT_EQ(with.allowed({"{{tag(n)}}"}).size(), 65U);
  const auto out = with.expand({"{{tag(n)}}.{{ tag(n) }}"});
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().code, Errc::LimitExceeded);
}

}  // namespace
}  // namespace brokkr::crypto
