#include "workload/control.h"

#include <gtest/gtest.h>

#include "workload/kept_log.h"

namespace brokkr::workload {
namespace {

TEST(Control, SubjectsAreThoseOfTheNodeService) {
  EXPECT_EQ(control_subject("system", "PING"), "$NEX.SVC.system.control.PING");
  EXPECT_EQ(control_subject("a", "UNDEPLOY", "w1"), "$NEX.SVC.a.control.UNDEPLOY.w1");
  EXPECT_EQ(log_subject("a", "w1", "stdout"), "$NEX.FEED.a.logs.w1.stdout");
  EXPECT_EQ(event_subject("system", "NODESTARTED"), "$NEX.FEED.system.events.NODESTARTED");
}

TEST(Control, RunRequestKeepsEveryByteOfTheArtifact) {
  RunRequest request;
  for (int c = 0; c < 256; ++c) request.artifact.push_back(static_cast<char>(c));
  request.trigger_subjects = {"a.*", "b"};
  request.environment = {{"K", "v\n"}};
  request.limits.wall_time_ms = 1500;
  const auto back = decode_run_request(encode(request));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->artifact, request.artifact);
  EXPECT_EQ(back->trigger_subjects, request.trigger_subjects);
  EXPECT_EQ(back->environment, request.environment);
  EXPECT_EQ(back->limits.wall_time_ms, 1500U);
}

TEST(Control, LogKeepsItsLines) {
  const WorkloadLog log{"id", "echo", {{"t1", "stdout", "a\n\"b\""}, {"t2", "stderr", ""}}};
  const auto back = decode_workload_log(encode(log));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->name, "echo");
  ASSERT_EQ(back->entries.size(), 2U);
  EXPECT_EQ(back->entries[0].text, "a\n\"b\"");
  EXPECT_EQ(back->entries[1].stream, "stderr");
  EXPECT_FALSE(decode_workload_log(R"({"id":"x","entries":[1]})"));
  EXPECT_FALSE(decode_workload_log(R"({"id":"x","entries":{}})"));
}

TEST(KeptLog, ForgetsTheOldestBeyondItsBounds) {
  KeptLog log;
  for (size_t i = 0; i < KeptLog::kEntriesMax + 5; ++i) log.add({{}, true, std::to_string(i)});
  ASSERT_EQ(log.entries().size(), KeptLog::kEntriesMax);
  EXPECT_EQ(log.entries().front().text, "5");
  log.add({{}, false, std::string(KeptLog::kBytesMax - 1, 'x')});
  ASSERT_EQ(log.entries().size(), 1U);
  EXPECT_FALSE(log.entries().front().is_stdout);
}

TEST(Control, DeployRequestKeepsItsInnerJson) {
  DeployRequest request;
  request.name = "echo";
  request.ns = "default";
  request.workload_type = "v8";
  request.run_request = R"({"artifact":"AA=="})";
  request.tags = {{"zone", "a"}};
  const auto back = decode_deploy_request(encode(request));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->run_request, request.run_request);
  EXPECT_EQ(back->tags, request.tags);
}

TEST(Control, MistakesNameTheMember) {
  const struct {
    const char* text;
    const char* wanted;
  } cases[] = {
      {R"({"workload_type":"v8","run_request":"{}"})", "\"name\" is missing"},
      {R"({"name":7})", "\"name\" must be a string"},
      {R"({"name":"a","workload_type":"v8","run_request":"{}","tags":{"a":1}})",
       "\"tags\" must be an object of strings"},
      {"[]", "not a JSON object"},
  };
  for (const auto& c : cases) {
    const auto result = decode_deploy_request(c.text);
    ASSERT_FALSE(result) << c.text;
    EXPECT_NE(result.error().text.find(c.wanted), std::string::npos) << result.error().text;
  }
  const auto artifact = decode_run_request(R"({"artifact":"*"})");
  ASSERT_FALSE(artifact);
  EXPECT_NE(artifact.error().text.find("base64"), std::string::npos);
  const auto limits = decode_run_request(R"({"limits":{"in_flight":-1}})");
  ASSERT_FALSE(limits);
  EXPECT_NE(limits.error().text.find("in_flight"), std::string::npos);
}

TEST(Control, RepliesComeBackAsSent) {
  WorkloadInfo info;
  info.summary.id = "w1";
  info.summary.metadata = {{"a", "b"}};
  info.calls = 7;
  info.limits.heap_bytes = 1 << 20;
  info.program.isolation = "sandbox";
  info.program.monitor = "qemu, emulated";
  info.program.exit_code = -1;
  info.program.ports = {"127.0.0.1:8080:80"};
  const auto back = decode_workload_info(encode(info));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->program.isolation, "sandbox");
  EXPECT_EQ(back->program.monitor, "qemu, emulated");
  EXPECT_EQ(back->program.exit_code, -1);
  EXPECT_EQ(back->program.ports, info.program.ports);
  EXPECT_EQ(back->summary.id, "w1");
  EXPECT_EQ(back->calls, 7U);
  EXPECT_EQ(back->limits.heap_bytes, 1U << 20);

  NodeInfo node;
  node.node_id = "N1";
  node.agents.push_back({"a1", "v8", "v8", "", {"function"}, "running", 3, "0.1"});
  node.sandbox_missing = {"cgroup memory"};
  node.microvm = {{"/dev/kvm", "optional", "no /dev/kvm"}};
  const auto node_back = decode_node_info(encode(node));
  ASSERT_TRUE(node_back);
  ASSERT_EQ(node_back->agents.size(), 1U);
  EXPECT_EQ(node_back->agents[0].workload_count, 3U);
  EXPECT_EQ(node_back->sandbox_missing, node.sandbox_missing);
  ASSERT_EQ(node_back->microvm.size(), 1U);
  EXPECT_EQ(node_back->microvm[0].state, "optional");
  EXPECT_EQ(node_back->microvm[0].details, "no /dev/kvm");

  const auto summaries = decode_workload_summaries(encode(std::vector{info.summary}));
  ASSERT_TRUE(summaries);
  EXPECT_EQ(summaries->at(0).metadata, info.summary.metadata);
}

}  // namespace
}  // namespace brokkr::workload
