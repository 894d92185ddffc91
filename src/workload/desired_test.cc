#include "workload/desired.h"

#include <gtest/gtest.h>

#include "workload/control_desired.h"

namespace brokkr::workload {
namespace {

DesiredWorkload make_desired() {
  DesiredWorkload workload;
  workload.id = "w1";
  workload.ns = "a";
  workload.name = "echo";
  workload.workload_type = "v8";
  workload.workload_lifecycle = "function";
  workload.tags = {{"zone", "b"}};
  workload.replicas = 3;
  workload.node = "N1";
  workload.is_removed = true;
  workload.max_unavailable = 2;
  workload.progress_deadline_ns = 5'000'000'000;
  workload.current.generation = 7;
  workload.current.issuer = "A1";
  workload.current.artifact_bytes = 12;
  workload.current.run.uri = "sha256://ab";
  workload.current.run.trigger_subjects = {"x.*"};
  workload.current.run.environment = {{"K", "\"v\"\n"}};
  workload.previous.resize(1);
  workload.previous[0].generation = 6;
  return workload;
}

TEST(Desired, WorkloadKeepsItsRevisions) {
  const auto back = decode_desired_workload(encode(make_desired()));
  ASSERT_TRUE(back) << back.error().text;
  EXPECT_EQ(back->name, "echo");
  EXPECT_EQ(back->tags, (Pairs{{"zone", "b"}}));
  EXPECT_EQ(back->replicas, 3U);
  EXPECT_EQ(back->node, "N1");
  EXPECT_TRUE(back->is_removed);
  EXPECT_EQ(back->max_unavailable, 2U);
  EXPECT_EQ(back->progress_deadline_ns, 5'000'000'000);
  EXPECT_EQ(back->current.generation, 7U);
  EXPECT_EQ(back->current.issuer, "A1");
  EXPECT_EQ(back->current.artifact_bytes, 12U);
  EXPECT_EQ(back->current.run.uri, "sha256://ab");
  EXPECT_EQ(back->current.run.environment, (Pairs{{"K", "\"v\"\n"}}));
  ASSERT_EQ(back->previous.size(), 1U);
  EXPECT_EQ(back->previous[0].generation, 6U);
}

TEST(Desired, LargeWorkloadsForgetTheirOldestRevisions) {
  DesiredWorkload workload = make_desired();
  workload.previous.clear();
  for (uint64_t i = 0; i < kRevisionsKept; ++i) {
    WorkloadRevision& revision = workload.previous.emplace_back();
    revision.generation = 100 - i;
    revision.run.environment = {{"K", std::string(200'000, 'x')}};
  }
  const std::string text = encode(workload);
  EXPECT_LT(text.size(), 1U << 20);
  const auto back = decode_desired_workload(text);
  ASSERT_TRUE(back);
  ASSERT_EQ(back->previous.size(), 4U);
  EXPECT_EQ(back->previous[0].generation, 100U);
}

TEST(Desired, LeaseKeepsWhatAJobLeft) {
  SlotLease lease;
  lease.node = "N1";
  lease.incarnation = 1ULL << 60;
  lease.generation = 4;
  lease.state = "completed";
  lease.failed_generation = 5;
  lease.exit_code = -9;
  lease.result = "42\n";
  const auto back = decode_slot_lease(encode(lease));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->incarnation, 1ULL << 60);
  EXPECT_EQ(back->state, "completed");
  EXPECT_EQ(back->failed_generation, 5U);
  EXPECT_EQ(back->exit_code, -9);
  EXPECT_EQ(back->result, "42\n");
  EXPECT_FALSE(decode_slot_lease("{}"));
}

TEST(Desired, NodeAndNamespaceAndSecretKeepTheirMembers) {
  NodeRecord node;
  node.node = "N1";
  node.beat = 3;
  node.types = {"v8", "native"};
  node.memory_bytes = 1ULL << 40;
  node.workloads_max = 9;
  const auto node_back = decode_node_record(encode(node));
  ASSERT_TRUE(node_back);
  EXPECT_EQ(node_back->types, node.types);
  EXPECT_EQ(node_back->memory_bytes, node.memory_bytes);
  EXPECT_EQ(node_back->workloads_max, 9U);

  NamespaceRecord ns;
  ns.ns = "a";
  ns.subjects = {"a.>"};
  ns.replicas_max = 5;
  const auto ns_back = decode_namespace_record(encode(ns));
  ASSERT_TRUE(ns_back);
  EXPECT_EQ(ns_back->subjects, ns.subjects);
  EXPECT_EQ(ns_back->replicas_max, 5U);

  const auto secret = decode_secret_record(encode(SecretRecord{"X1", "t", {{"X2", "box"}}}));
  ASSERT_TRUE(secret);
  EXPECT_EQ(secret->boxes, (Pairs{{"X2", "box"}}));
}

TEST(Desired, ControlBucketsAreKnown) {
  EXPECT_TRUE(is_control_bucket("NEX_SLOTS"));
  EXPECT_TRUE(is_control_bucket(artifacts_bucket("a")));
  EXPECT_FALSE(is_control_bucket("NEX"));
  EXPECT_EQ(slot_key("a", "echo", 2), "a.echo.2");
}

TEST(ControlDesired, RequestsKeepTheirMembers) {
  ApplyRequest apply;
  apply.deploy.name = "echo";
  apply.deploy.workload_type = "v8";
  apply.deploy.run_request = "{}";
  apply.replicas = 4;
  apply.node = "N1";
  apply.wait_ms = 5;
  const auto apply_back = decode_apply_request(encode(apply));
  ASSERT_TRUE(apply_back) << apply_back.error().text;
  EXPECT_EQ(apply_back->deploy.run_request, "{}");
  EXPECT_EQ(apply_back->replicas, 4U);
  EXPECT_EQ(apply_back->wait_ms, 5U);
  EXPECT_FALSE(decode_apply_request("{}"));
  EXPECT_FALSE(decode_scale_request("{}"));
  EXPECT_FALSE(decode_scale_request(R"({"replicas":100000})"));

  NamespacesRequest request;
  request.action = NamespacesRequest::Action::Set;
  request.record.ns = "a";
  request.record.memory_bytes_max = 7;
  const auto request_back = decode_namespaces_request(encode(request));
  ASSERT_TRUE(request_back);
  EXPECT_EQ(request_back->action, NamespacesRequest::Action::Set);
  EXPECT_EQ(request_back->record.memory_bytes_max, 7U);
  EXPECT_FALSE(decode_namespaces_request(R"({"action":"burn"})"));
}

TEST(ControlDesired, StatusKeepsItsSlots) {
  RolloutStatus status;
  status.name = "echo";
  status.state = "failed";
  status.message = "generation 2: boom";
  status.slots.push_back({.slot = 1, .node = "N1", .is_node_lost = true, .state = "failed",
                          .exit_code = -1});
  status.revisions.push_back({.generation = 2, .sha256 = "ab"});
  const auto back = decode_rollout_statuses(encode(std::vector<RolloutStatus>{status}));
  ASSERT_TRUE(back);
  ASSERT_EQ(back->size(), 1U);
  ASSERT_EQ((*back)[0].slots.size(), 1U);
  EXPECT_TRUE((*back)[0].slots[0].is_node_lost);
  EXPECT_EQ((*back)[0].slots[0].exit_code, -1);
  EXPECT_EQ((*back)[0].revisions[0].sha256, "ab");
}

}  // namespace
}  // namespace brokkr::workload
