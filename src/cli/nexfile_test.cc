#include "cli/nexfile.h"

#include <gtest/gtest.h>

namespace brokkr::cli {
namespace {

TEST(Nexfile, ReadsThoseOfNex) {
  const auto file = parse_nexfile(R"(# a service of Nex 0.4.1
name: tester
description: a native service
type: native
lifecycle: service
tags:
  zone: east
  rack: 7
start_request:
  uri: file:///usr/local/bin/tester
  argv: [--port, 8080]
  environment:
    PORT: 8080
    ON: yes
  expose_ports: [8080]
)", "Nexfile");
  ASSERT_TRUE(file) << file.error().text;
  ASSERT_EQ(file->workloads.size(), 1U);
  const NexfileWorkload& one = file->workloads[0];
  EXPECT_EQ(one.name, "tester");
  EXPECT_EQ(one.lifecycle, "service");
  EXPECT_EQ(one.tags, (workload::Pairs{{"zone", "east"}, {"rack", "7"}}));
  EXPECT_EQ(one.run.uri, "file:///usr/local/bin/tester");
  EXPECT_EQ(one.run.argv, (workload::Words{"--port", "8080"}));
  EXPECT_EQ(one.run.environment, (workload::Pairs{{"PORT", "8080"}, {"ON", "yes"}}));
  ASSERT_EQ(one.run.ports.size(), 1U);
  EXPECT_FALSE(one.has_replicas);
}

TEST(Nexfile, ReadsJson) {
  const auto file = parse_nexfile("{\n\t\"name\": \"a\",\n\t\"type\": \"native\",\n"
                                  "\t\"start_request\": {\"uri\": \"nats://B/x:1\", \"argv\": [\"1\"]}\n}\n", "f");
  ASSERT_TRUE(file) << file.error().text;
  EXPECT_EQ(file->workloads[0].run.uri, "nats://B/x:1");
  const auto list = parse_nexfile(R"([{"name":"a","uri":"x.js"},{"name":"b","uri":"y.wasm"}])", "f");
  ASSERT_TRUE(list) << list.error().text;
  EXPECT_EQ(list->workloads.size(), 2U);
  EXPECT_EQ(list->workloads[1].file, "y.wasm");
}

TEST(Nexfile, ReadsOurMembersInSeveralDocuments) {
  const auto file = parse_nexfile(R"(
name: jokes
namespace: fun
file: ./jokes.js
replicas: 3
memory: 64MiB
cpu: 0.5
env: [A=1, B=two=2]
secrets: [api-key]
placement: {node: n1, tags: {zone: a}}
max_unavailable: 2
progress_deadline: 30s
trigger_subjects: [jokes]
triggers:
  - {schedule: "@every 5s"}
---
name: web
start_request:
  uri: docker://registry.example/web:1
  ports: ["8080:80"]
  health: {port: 80, interval: 2s}
secrets: {TOKEN: web-token}
...
)", "Nexfile");
  ASSERT_TRUE(file) << file.error().text;
  ASSERT_EQ(file->workloads.size(), 2U);
  const NexfileWorkload& jokes = file->workloads[0];
  EXPECT_EQ(jokes.ns, "fun");
  EXPECT_EQ(jokes.file, "./jokes.js");
  EXPECT_EQ(jokes.replicas, 3U);
  EXPECT_EQ(jokes.run.resources.memory_bytes, 64U << 20);
  EXPECT_EQ(jokes.run.resources.cpu_millis, 500U);
  EXPECT_EQ(jokes.run.environment, (workload::Pairs{{"A", "1"}, {"B", "two=2"}, {"API_KEY", "secret://api-key"}}));
  EXPECT_EQ(jokes.node, "n1");
  EXPECT_EQ(jokes.tags, (workload::Pairs{{"zone", "a"}}));
  EXPECT_EQ(jokes.progress_deadline_ns, 30'000'000'000);
  EXPECT_EQ(jokes.run.triggers.size(), 1U);
  EXPECT_EQ(file->workloads[1].run.environment, (workload::Pairs{{"TOKEN", "secret://web-token"}}));
  EXPECT_EQ(file->workloads[1].run.uri, "docker://registry.example/web:1");
  EXPECT_EQ(file->workloads[1].run.health.interval_ns, 2'000'000'000);
}

TEST(Nexfile, SaysWhereTheMistakeIs) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "Nexfile: there is no workload in it"},
      {"a: b: c\n", "Nexfile:1:5: illegal map value"},
      {"name: a\nreplica: 3\n", "Nexfile:2:1: no member is called \"replica\", did you mean \"replicas\"?"},
      {"type: v8\n", "Nexfile:1:1: \"name\" is missing or empty"},
      {"name: a\nreplicas: many\n", "Nexfile:2:11: \"replicas\" must be a whole number"},
      {"name: a\nname: b\n", "Nexfile:2:1: \"name\" is there twice"},
      {"name: a\nstart_request:\n  url: x\n", "Nexfile:3:3: \"start_request\" has no member \"url\", did you mean \"uri\"?"},
      {"name: a\nstart_request:\n  limits:\n    wall_time: soon\n",
       "Nexfile:4:16: limits: \"wall_time\" must be a duration such as \"5s\", or nanoseconds"},
      {"name: a\ntriggers:\n  - subject: x\n  - type: cron\n",
       "Nexfile:4:11: triggers[1]: \"type\" is \"cron\", it may be subject, stream, kv, object, schedule, http"},
      {"name: a\nmemory: lots\n", "Nexfile:2:9: \"memory\" must be a size such as \"64MiB\""},
      {"name: a\nenv: [x]\n", "Nexfile:2:7: \"env\" must have key=value here"},
      {"name: a\nuri: x\nstart_request: {uri: y}\n", "Nexfile:3:17: \"uri\" is there twice"},
      {"name: a\n---\nname: a\n", "Nexfile:3: workload \"a\" is there twice"},
      {"- 1\n", "Nexfile:1:3: a Nexfile's document must be names with values"},
  };
  for (const auto& [text, words] : cases) {
    const auto file = parse_nexfile(text, "Nexfile");
    ASSERT_FALSE(file) << text;
    EXPECT_EQ(file.error().text, words) << text;
  }
}

TEST(Nexfile, RefusesAliasesThatGrowWithoutEnd) {
  std::string text = "name: a\nargv: [x]\nlimits: &a0 [1,1,1,1,1,1,1,1,1,1]\n";
  text = "name: a\nvolumes:\n  a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    text += "  a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before;
    for (int j = 0; j < 9; ++j) text += "," + before;
    text += "]\n";
  }
  const auto file = parse_nexfile(text, "Nexfile");
  ASSERT_FALSE(file);
  EXPECT_NE(file.error().text.find("too deep or too large"), std::string::npos) << file.error().text;
}

TEST(Nexfile, RemarksWhatItReadsOver) {
  const auto file = parse_nexfile("name: a\nstart_request:\n  uri: file:///x\n  stdin: y\n", "Nexfile");
  ASSERT_TRUE(file);
  EXPECT_EQ(file->remarks, std::vector<std::string>{"4:3: \"stdin\" is read over"});
}

}  // namespace
}  // namespace brokkr::cli
