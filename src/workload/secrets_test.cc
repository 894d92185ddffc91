#include "workload/secrets.h"

#include <gtest/gtest.h>

#include "base/bytes.h"

namespace brokkr::workload {
namespace {

using crypto::CurveKey;

TEST(Secrets, OpenForTheirNodesOnly) {
  const CurveKey sender = CurveKey::generate();
  const CurveKey one = CurveKey::generate();
  const CurveKey two = CurveKey::generate();
  const std::string value("s3cret\0\n\xff", 9);
  const auto record = seal_secret("shop", "db", value, sender, {one.public_key(), one.public_key()}, WallTime{});
  ASSERT_TRUE(record) << record.error().text;
  EXPECT_EQ(record->boxes.size(), 1U);
  const auto opened = open_secret("shop", "db", *record, one);
  ASSERT_TRUE(opened) << opened.error().text;
  EXPECT_EQ(*opened, value);
  EXPECT_EQ(open_secret("shop", "db", *record, two).error().code, Errc::NotFound);
  // Under another name or namespace the same box is worth nothing.
  EXPECT_EQ(open_secret("shop", "other", *record, one).error().code, Errc::Corrupt);
  EXPECT_EQ(open_secret("else", "db", *record, one).error().code, Errc::Corrupt);
  SecretRecord forged = *record;
  forged.sender = two.public_key();
  EXPECT_EQ(open_secret("shop", "db", forged, one).error().code, Errc::Corrupt);
}

TEST(Secrets, NodesSealCopiesForNewOnes) {
  const CurveKey sender = CurveKey::generate();
  const CurveKey old = CurveKey::generate();
  const CurveKey fresh = CurveKey::generate();
  const auto record = seal_secret("a", "k", "v", sender, {old.public_key()}, WallTime{});
  ASSERT_TRUE(record);
  EXPECT_FALSE(reseal_secret("a", "k", *record, fresh, {fresh.public_key()}));
  const auto again = reseal_secret("a", "k", *record, old, {fresh.public_key()});
  ASSERT_TRUE(again) << again.error().text;
  EXPECT_EQ(again->updated, record->updated);
  EXPECT_EQ(*open_secret("a", "k", *again, fresh), "v");
  EXPECT_EQ(*open_secret("a", "k", *again, old), "v");
}

TEST(Secrets, RefusesBadNamesAndValues) {
  const CurveKey key = CurveKey::generate();
  for (const char* name : {"", "a.b", "a b", "*", ">", "a/b"}) {
    EXPECT_FALSE(seal_secret("a", name, "v", key, {}, WallTime{})) << name;
  }
  EXPECT_FALSE(seal_secret("a", "k", std::string(kSecretBytesMax + 1, 'x'), key, {}, WallTime{}));
  EXPECT_FALSE(seal_secret("a", "k", "v", key, {"XNOTAKEY"}, WallTime{}));
}

TEST(Secrets, EnvironmentsAreSealedForOneOrSeveral) {
  const CurveKey sender = CurveKey::generate();
  const CurveKey one = CurveKey::generate();
  const CurveKey two = CurveKey::generate();
  RunRequest run;
  run.sender_xkey = sender.public_key();
  const Pairs environment{{"A", "1"}, {"B", "x\"y"}};
  auto sealed = seal_environment(environment, sender, {one.public_key(), two.public_key()});
  ASSERT_TRUE(sealed);
  run.sealed_environment = *sealed;
  EXPECT_EQ(sealed->find("x\\\"y"), std::string::npos);
  EXPECT_EQ(*open_environment(run, one), environment);
  EXPECT_EQ(*open_environment(run, two), environment);
  EXPECT_EQ(open_environment(run, sender).error().text, "the environment is not sealed to this node");
  // As Nex seals it.
  run.sealed_environment = base64_encode(*sender.seal(R"({"A":"1"})", one.public_key()));
  EXPECT_EQ(*open_environment(run, one), (Pairs{{"A", "1"}}));
  EXPECT_FALSE(open_environment(run, two));
  run.sealed_environment.clear();
  EXPECT_TRUE(open_environment(run, two)->empty());
}

TEST(Secrets, NamesInAnEnvironment) {
  EXPECT_EQ(secret_names({{"A", "secret://x"}, {"B", "y"}, {"C", "secret://x"}, {"D", "secret://z"}}), (Words{"x", "z"}));
}

TEST(Secrets, RequestsComeBackAsSent) {
  SecretsRequest request{SecretsRequest::Action::Set, "db", {"XS", "t", {{"XA", "Ym94"}}}};
  const auto back = decode_secrets_request(encode(request));
  ASSERT_TRUE(back) << back.error().text;
  EXPECT_EQ(back->action, SecretsRequest::Action::Set);
  EXPECT_EQ(back->record.boxes, request.record.boxes);
  EXPECT_FALSE(decode_secrets_request(R"({"action":"set","name":"db"})"));
  EXPECT_FALSE(decode_secrets_request(R"({"action":"remove","name":"a.b"})"));
  EXPECT_FALSE(decode_secrets_request(R"({"action":"get","name":"a"})"));
  const auto reply = decode_secrets_reply(encode(SecretsReply{{{"db", "t", 2}}, {"XA"}}));
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->secrets[0].nodes, 2U);
  EXPECT_EQ(reply->xkeys, Words{"XA"});
}

}  // namespace
}  // namespace brokkr::workload
