#include "workload/trigger_rights.h"

#include <gtest/gtest.h>

namespace brokkr::workload {
namespace {

class TriggerRights : public ::testing::Test {
 protected:
  bool allows(const std::string& subject) const {
    RunRequest run;
    run.trigger_subjects = {subject};
    return static_cast<bool>(check_trigger_rights(*access_, run));
  }
  bool allows(Trigger trigger) const {
    RunRequest run;
    run.triggers.push_back(std::move(trigger));
    return static_cast<bool>(check_trigger_rights(*access_, run));
  }
  static Trigger of(Trigger::Kind kind, std::string Trigger::*member, const std::string& name) {
    Trigger trigger;
    trigger.kind = kind;
    trigger.*member = name;
    return trigger;
  }

  std::shared_ptr<const Access> access_ = [] {
    NamespaceRecord beta;
    beta.ns = "beta";
    beta.subjects = {"beta.>"};
    beta.buckets = {"ledger"};
    return Access::make({"acme", ""}, {}, {beta});
  }();
};

TEST_F(TriggerRights, SubjectsAreThoseOfTheNamespace) {
  EXPECT_TRUE(allows("orders.*"));
  EXPECT_TRUE(allows("$KV.acme__state.>"));
  for (const std::string subject : {"beta.x", "beta.>", ">", "*.x", "_INBOX.x.>", "_INBOX.>", "$SRV.PING",
                                    "$KV.ledger.>", "$KV.>", "$NEX.>", "$JS.API.>"}) {
    EXPECT_FALSE(allows(subject)) << subject;
    EXPECT_FALSE(allows(of(Trigger::Kind::Subject, &Trigger::subject, subject))) << subject;
  }
}

TEST_F(TriggerRights, StreamsAndBucketsToo) {
  using Kind = Trigger::Kind;
  EXPECT_TRUE(allows(of(Kind::Stream, &Trigger::stream, "acme__S")));
  EXPECT_TRUE(allows(of(Kind::Stream, &Trigger::stream, "NEX_DLQ_acme")));
  EXPECT_FALSE(allows(of(Kind::Stream, &Trigger::stream, "NEX_DLQ_beta")));
  EXPECT_FALSE(allows(of(Kind::Stream, &Trigger::stream, "beta__S")));
  EXPECT_FALSE(allows(of(Kind::Stream, &Trigger::stream, "KV_NEX_SECRETS")));
  EXPECT_TRUE(allows(of(Kind::KeyValue, &Trigger::bucket, "state")));
  EXPECT_FALSE(allows(of(Kind::KeyValue, &Trigger::bucket, "NEX_SECRETS")));
  EXPECT_FALSE(allows(of(Kind::KeyValue, &Trigger::bucket, "beta__state")));
  EXPECT_TRUE(allows(of(Kind::Object, &Trigger::bucket, "files")));
  EXPECT_FALSE(allows(of(Kind::Object, &Trigger::bucket, "beta__files")));
  Trigger dead = of(Kind::Stream, &Trigger::stream, "acme__S");
  dead.dead_letter = "beta__S";
  EXPECT_FALSE(allows(dead));
}

}  // namespace
}  // namespace brokkr::workload
