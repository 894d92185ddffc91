#include "workload/nex_v1_json.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "crypto/jwt.h"

namespace brokkr::workload::v1 {
namespace {

class NexV1Json : public testing::Test {
 protected:
  std::string token(std::string_view name, int64_t now, const char* hash = "abc12345TODOmakethisreal") {
    crypto::GenericClaims claims;
    claims.sub = name;
    claims.data = std::string(R"({"hash":")") + hash + "\"}";
    return *crypto::encode_jwt(claims, issuer_, now);
  }
  // As the CLI of 0.2.7 writes it, Go's URL struct and all.
  std::string request(const std::string& jwt) {
    return R"({"argv":null,"description":"Workload published in devmode","type":"v8","location":{"Scheme":"nats","Opaque":"",)"
           R"("User":null,"Host":"NEXCLIFILES","Path":"/echojs","RawPath":"","OmitHost":false,"ForceQuery":false,"RawQuery":"",)"
           R"("Fragment":"","RawFragment":""},"essential":false,"workload_jwt":")" + jwt +
           R"(","environment":"Ym94","jsdomain":"","sender_public_key":"XS","target_node":"N","trigger_subjects":["echo"]})";
  }
  crypto::KeyPair issuer_ = crypto::KeyPair::generate(crypto::NkeyType::Account);
};

TEST_F(NexV1Json, ReadsDeployments) {
  const auto deploy = decode_deploy(request(token("echojs", 100)), {});
  ASSERT_TRUE(deploy) << deploy.error().text;
  EXPECT_EQ(deploy->request.name, "echojs");
  EXPECT_EQ(deploy->request.workload_type, "v8");
  EXPECT_EQ(deploy->request.workload_lifecycle, "function");
  EXPECT_EQ(deploy->run.uri, "nats://NEXCLIFILES/echojs");
  EXPECT_EQ(deploy->run.sealed_environment, "Ym94");
  EXPECT_EQ(deploy->run.sender_xkey, "XS");
  EXPECT_EQ(deploy->run.sha256, "") << "the placeholder is no digest";
  EXPECT_EQ(deploy->token.issuer, issuer_.public_key());
  const std::string digest(64, 'a');
  EXPECT_EQ(decode_deploy(request(token("echojs", 100, digest.c_str())), {})->run.sha256, digest);
}

TEST_F(NexV1Json, ReadsLocationsAsTextToo) {
  const std::string jwt = token("x", 1);
  const auto deploy = decode_deploy(R"({"type":"native","essential":true,"location":"nats://B/a/b","workload_jwt":")" + jwt + "\"}", {});
  ASSERT_TRUE(deploy) << deploy.error().text;
  EXPECT_EQ(deploy->run.uri, "nats://B/a/b");
  EXPECT_EQ(deploy->request.workload_lifecycle, "service");
  EXPECT_EQ(deploy->run.restart.kind, RestartPolicy::Kind::Always);
  EXPECT_FALSE(decode_deploy(R"({"type":"native","location":"x","workload_jwt":")" + jwt + "\"}", {}));
  EXPECT_FALSE(decode_deploy(R"({"type":"native","location":"nats://B/x","workload_jwt":"a.b.c"})", {}));
  EXPECT_FALSE(decode_deploy(R"({"type":"native","location":"nats://B/x"})", {}));
}

TEST_F(NexV1Json, AsksForIssuersThatCount) {
  const auto other = crypto::KeyPair::generate(crypto::NkeyType::Account);
  EXPECT_TRUE(decode_deploy(request(token("a", 1)), {issuer_.public_key()}));
  const auto refused = decode_deploy(request(token("a", 1)), {other.public_key()});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::PermissionDenied);
}

TEST_F(NexV1Json, StopsNeedATokenOfTheirOwn) {
  const Token deploy = *decode_token(token("a", 100), {});
  EXPECT_TRUE(check_stop(*decode_token(token("a", 101), {}), deploy));
  EXPECT_FALSE(check_stop(*decode_token(token("a", 100), {}), deploy)) << "captured";
  EXPECT_FALSE(check_stop(*decode_token(token("b", 101), {}), deploy));
  const auto other = crypto::KeyPair::generate(crypto::NkeyType::Account);
  crypto::GenericClaims claims;
  claims.sub = "a";
  EXPECT_FALSE(check_stop(*decode_token(*crypto::encode_jwt(claims, other, 101), {}), deploy));
  EXPECT_TRUE(decode_stop(R"({"workload_id":"w","target_node":"N","workload_jwt":")" + token("a", 1) + "\"}", {}));
  EXPECT_FALSE(decode_stop(R"({"workload_id":"w"})", {}));
}

TEST_F(NexV1Json, NodesBidWhenTheyFit) {
  NodeFacts facts;
  facts.tags = {{"nex.os", "linux"}, {"nex.arch", "amd64"}, {"zone", "a"}};
  facts.types = {"v8", "wasm"};
  const auto bids = [&](const char* text) { return is_viable(decode_auction(text), facts, true); };
  EXPECT_TRUE(bids("")) << "unparseable asks for anybody";
  EXPECT_TRUE(bids(R"({"arch":"AMD64","os":"linux","workload_types":["v8"],"tags":{"zone":"a"},"sandboxed":true})"));
  EXPECT_FALSE(bids(R"({"arch":"arm64"})"));
  EXPECT_FALSE(bids(R"({"os":"darwin"})"));
  EXPECT_FALSE(bids(R"({"workload_types":["oci"]})"));
  EXPECT_FALSE(bids(R"({"tags":{"zone":"b"}})"));
  EXPECT_FALSE(bids(R"({"sandboxed":false})"));
}

TEST_F(NexV1Json, EnvelopesAreThoseOfNex) {
  NodeFacts facts;
  facts.node_id = "N1";
  facts.nexus = "nexus";
  facts.xkey = "X1";
  WorkloadInfo& one = facts.workloads.emplace_back();
  one.summary.id = "w";
  one.summary.ns = "default";
  one.summary.name = "echo";
  one.summary.workload_type = "v8";
  one.summary.workload_state = "running";
  one.sha256 = "ab";
  EXPECT_EQ(ping_response(facts, "auction"),
            R"({"type":"io.nats.nex.v1.auction_response","data":{"node_id":"N1","nexus":"nexus","version":"","uptime":"",)"
            R"("target_xkey":"X1","tags":{},"running_machines":1}})");
  EXPECT_EQ(failure("run", "no"), R"({"type":"io.nats.nex.v1.run_response","data":"","error":"no"})");
  EXPECT_EQ(run_response("w", "A", "echo"),
            R"({"type":"io.nats.nex.v1.run_response","data":{"started":true,"id":"w","issuer":"A","name":"echo"}})");
  const auto info = json::parse(info_response(facts));
  ASSERT_TRUE(info);
  const json::Value& data = *info->find("data");
  EXPECT_EQ(data.get_string("public_xkey"), "X1");
  EXPECT_GT(data.find("memory")->get_int("total"), 0);
  const json::Value& machine = data.find("machines")->items()[0];
  EXPECT_TRUE(machine.get_bool("healthy"));
  EXPECT_EQ(machine.find("workload")->get_string("hash"), "ab");
  EXPECT_EQ(json::parse(workload_ping_response(facts))->find("data")->find("running_machines")->items()[0].get_string("type"), "v8");
}

}  // namespace
}  // namespace brokkr::workload::v1
