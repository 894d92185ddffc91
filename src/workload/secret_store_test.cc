#include "workload/secret_store.h"

#include <gtest/gtest.h>

#include <optional>

#include "workload/deploy_guard.h"

namespace brokkr::workload {
namespace {

using crypto::CurveKey;

// One bucket of secrets and the nodes that see it, on a clock that moves only when told.
class SecretNodes : public testing::Test {
 protected:
  struct Member {
    CurveKey key = CurveKey::generate();
    std::unique_ptr<SecretStore> store;
  };

  Member& add() {
    Member& node = *members_.emplace_back(std::make_unique<Member>());
    SecretStore::Deps deps{*loop_, random_, *log_, node.key,
                           [this](const std::string& key, const std::string& value, uint64_t revision, SecretStore::Written done) {
                             put(key, value, revision, done);
                           },
                           [this](const std::string& key, uint64_t revision, SecretStore::Written done) {
                             if (bucket_[key].second != revision) return done(Error{Errc::AlreadyExists, "wrong revision"});
                             bucket_.erase(key);
                             for (auto& one : members_) one->store->on_secret_gone(key);
                             done({});
                           }};
    node.store = std::make_unique<SecretStore>(std::move(deps));
    for (const auto& [key, entry] : bucket_) node.store->on_secret(key, entry.first, entry.second);
    node.store->on_ready(true);
    for (size_t i = 0; i < members_.size(); ++i) {
      for (auto& one : members_) one->store->on_node(std::to_string(i), members_[i]->key.public_key());
    }
    return node;
  }

  void put(const std::string& key, const std::string& value, uint64_t revision, SecretStore::Written& done) {
    auto& entry = bucket_[key];
    if (entry.second != revision) return done(Error{Errc::AlreadyExists, "wrong revision"});
    entry = {value, ++sequence_};
    for (auto& one : members_) one->store->on_secret(key, value, sequence_);
    done({});
  }

  void pass(Duration time) {
    clock_.advance(time);
    loop_->run_once(Duration::zero());
    loop_->run_once(Duration::zero());
  }

  Result<SecretsReply> answer(Member& node, SecretsRequest request) {
    std::optional<Result<SecretsReply>> reply;
    node.store->answer("shop", std::move(request), [&](Result<SecretsReply> r) { reply.emplace(std::move(r)); });
    return reply ? *reply : Result<SecretsReply>(Error{Errc::TimedOut, "no answer"});
  }

  void set(Member& node, const std::string& name, std::string_view value) {
    const CurveKey sender = CurveKey::generate();
    auto record = seal_secret("shop", name, value, sender, answer(node, {})->xkeys, WallTime{});
    ASSERT_TRUE(record);
    auto reply = answer(node, {SecretsRequest::Action::Set, name, *record});
    ASSERT_TRUE(reply) << reply.error().text;
  }

  std::optional<Result<Pairs>> result_;
  void resolve(Member& node, std::string_view ns, Pairs environment) {
    result_.reset();
    RunRequest run;
    run.environment = std::move(environment);
    node.store->resolve(ns, run, [this](Result<Pairs> r) { result_.emplace(std::move(r)); });
  }

  ManualClock clock_;
  std::unique_ptr<io::Loop> loop_ = std::move(*io::Loop::open({.spin_max = {}}, clock_));
  SeededRandom random_{7};
  std::unique_ptr<Log> log_ = Log::discard();
  std::map<std::string, std::pair<std::string, uint64_t>> bucket_;
  uint64_t sequence_ = 0;
  std::vector<std::unique_ptr<Member>> members_;
};

TEST_F(SecretNodes, ResolveNamesInEnvironments) {
  Member& one = add();
  set(one, "db", "s3cret");
  resolve(one, "shop", {{"A", "plain"}, {"DB", "secret://db"}});
  ASSERT_TRUE(result_ && *result_);
  EXPECT_EQ(**result_, (Pairs{{"A", "plain"}, {"DB", "s3cret"}}));
  resolve(one, "shop", {{"DB", "secret://nope"}});
  EXPECT_EQ(result_->error().text, "secret \"nope\" of namespace \"shop\" does not exist");
  // Another namespace has its own.
  resolve(one, "else", {{"DB", "secret://db"}});
  EXPECT_FALSE(*result_);
  // The bucket does not know the value.
  for (const auto& [key, entry] : bucket_) EXPECT_EQ(entry.first.find("s3cret"), std::string::npos);
  const auto listed = answer(one, {});
  EXPECT_EQ(encode(*listed).find("s3cret"), std::string::npos);
  EXPECT_EQ(listed->secrets.size(), 1U);
}

TEST_F(SecretNodes, SealCopiesForThoseThatJoin) {
  Member& one = add();
  set(one, "db", "first");
  Member& two = add();
  resolve(two, "shop", {{"DB", "secret://db"}});
  EXPECT_FALSE(result_) << "there is no box yet, but one will come";
  pass(std::chrono::seconds(2));
  ASSERT_TRUE(result_ && *result_) << (result_ ? result_->error().text : "nothing came");
  EXPECT_EQ(**result_, (Pairs{{"DB", "first"}}));
  // The first node goes; a third one gets its copy from the second.
  members_.front()->store->on_node_gone("1");
  set(two, "db", "second");
  Member& three = add();
  pass(std::chrono::seconds(2));
  resolve(three, "shop", {{"DB", "secret://db"}});
  ASSERT_TRUE(result_ && *result_);
  EXPECT_EQ((**result_)[0].second, "second");
}

TEST_F(SecretNodes, DoNotWaitForEver) {
  add();
  Member& two = add();
  const CurveKey sender = CurveKey::generate();
  const CurveKey stranger = CurveKey::generate();
  auto record = seal_secret("shop", "db", "x", sender, {stranger.public_key()}, WallTime{});
  SecretStore::Written ignore = [](const Status&) {};
  put("shop.db", encode(*record), 0, ignore);
  resolve(two, "shop", {{"DB", "secret://db"}});
  EXPECT_FALSE(result_);
  pass(std::chrono::seconds(11));
  ASSERT_TRUE(result_);
  EXPECT_EQ(result_->error().text, "secret \"db\" is not sealed to this node");
}

TEST_F(SecretNodes, RefuseBoxesTheyCannotOpen) {
  Member& one = add();
  const CurveKey sender = CurveKey::generate();
  auto other = seal_secret("else", "db", "x", sender, {one.key.public_key()}, WallTime{});
  EXPECT_FALSE(answer(one, {SecretsRequest::Action::Set, "db", *other}));
  EXPECT_FALSE(answer(one, {SecretsRequest::Action::Remove, "db", {}}));
  set(one, "db", "x");
  const auto removed = answer(one, {SecretsRequest::Action::Remove, "db", {}});
  ASSERT_TRUE(removed);
  EXPECT_TRUE(removed->secrets.empty());
}

TEST_F(SecretNodes, NeedJetStream) {
  Member& one = add();
  one.store->on_ready(false);
  EXPECT_EQ(answer(one, {}).error().text, "secrets need JetStream, the server has none");
  resolve(one, "shop", {{"DB", "secret://db"}});
  EXPECT_FALSE(*result_);
}

TEST(DeployGuard, AsksForSignaturesAndTakesThemOnce) {
  const auto issuer = crypto::KeyPair::generate(crypto::NkeyType::Account);
  const auto other = crypto::KeyPair::generate(crypto::NkeyType::Account);
  const WallTime now{std::chrono::hours(24 * 365 * 50)};
  DeployRequest request;
  request.ns = "shop";
  request.name = "echo";
  request.workload_type = "v8";
  RunRequest run;
  run.artifact = "() => 1";
  std::string text;
  const auto check = [&](DeployGuard& guard, const Words& issuers, const DeployGuard::KeepToken& keep = {}) {
    text = "none";
    guard.check("shop", issuers, request, run, now, keep, [&](Result<std::string> r) { text = r ? "by " + *r : r.error().text; });
    return text;
  };
  DeployGuard open{{}};
  EXPECT_EQ(check(open, {}), "by ");
  EXPECT_EQ(check(open, {issuer.public_key()}), "signature: the deployment is not signed");
  DeployGuard closed{{issuer.public_key()}};
  EXPECT_EQ(check(closed, {}), "signature: the deployment is not signed");
  run.workload_jwt = *sign_deploy(request, run, issuer, now, kSignatureLifetime, "1");
  EXPECT_EQ(check(closed, {other.public_key()}), "signature: issuer " + issuer.public_key() + " is not allowed here");
  EXPECT_EQ(check(closed, {}), "by " + issuer.public_key());
  EXPECT_EQ(check(closed, {}), "signature: the token was used before");
  // On another node, where the bucket knows of it.
  DeployGuard second{{issuer.public_key()}};
  EXPECT_EQ(check(second, {}, [](const std::string& key, Callback<void(const Status&)> done) {
              EXPECT_TRUE(key.starts_with("shop."));
              done(Error{Errc::AlreadyExists, "key exists"});
            }), "signature: the token was used before");
  DeployGuard wrong{{other.public_key()}};
  EXPECT_EQ(check(wrong, {}), "signature: issuer " + issuer.public_key() + " is not allowed on this node");
}

}  // namespace
}  // namespace brokkr::workload
