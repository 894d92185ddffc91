#include "workload/run_request.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace brokkr::workload {
namespace {

// Every member away from its default.
RunRequest full_request() {
  RunRequest request;
  request.artifact = std::string("\0\x7f" "ELF\xff", 6);
  request.uri = "nats://APPS/echo:1";
  request.sha256 = "ab";
  request.file_name = "echo";
  request.trigger_subjects = {"a.*"};
  Trigger stream;
  stream.kind = Trigger::Kind::Stream;
  stream.stream = "ORDERS";
  stream.subject = "orders.new";
  stream.max_deliver = 3;
  stream.backoff_ns = {1'000'000'000, 2};
  stream.ack_wait_ns = 5;
  stream.dead_letter = "DEAD";
  stream.start = "all";
  Trigger kv;
  kv.kind = Trigger::Kind::KeyValue;
  kv.bucket = "b";
  kv.key = "k.>";
  Trigger object;
  object.kind = Trigger::Kind::Object;
  object.bucket = "o";
  Trigger schedule;
  schedule.kind = Trigger::Kind::Schedule;
  schedule.schedule = "@daily";
  Trigger http;
  http.kind = Trigger::Kind::Http;
  http.path = "/orders";
  Trigger plain;
  plain.subject = "s";
  request.triggers = {stream, kv, object, schedule, http, plain};
  request.queue_group = "q";
  request.is_broadcast = true;
  request.argv = {"-a", "b c"};
  request.entrypoint = {"/bin/x"};
  request.workdir = "/w";
  request.user = "1000:1000";
  request.environment = {{"A", "1"}, {"B", "secret://b"}};
  request.sealed_environment = "Ym94";
  request.sender_xkey = "XX";
  request.volumes = {{"data", "/data"}};
  request.limits = {1, 2, 3, 4, 5, 6, 7};
  request.resources = {1, 2, 3, 4, 5};
  request.isolation = Isolation::MicroVm;
  request.grants = {true, {"p"}, {"s"}, {"b"}, {"o"}, {"t"}, {"x"}};
  request.egress = {"example.com:443"};
  request.ports = {{"0.0.0.0", 8080, 80}};
  request.restart = {RestartPolicy::Kind::OnFailure, 5, 1, 2, 3};
  request.health = {HealthCheck::Kind::Command, {"/bin/true"}, 0, "", 1, 2, 3, 4};
  request.stop_grace_ns = 9;
  request.workload_jwt = "e30.e30.x";
  return request;
}

TEST(RunRequest, KeepsEveryMember) {
  const std::string text = encode(full_request());
  const auto back = decode_run_request(text);
  ASSERT_TRUE(back) << back.error().text;
  EXPECT_EQ(encode(*back), text);
  EXPECT_EQ(back->artifact, full_request().artifact);
  ASSERT_EQ(back->triggers.size(), 6U);
  EXPECT_EQ(back->triggers[0].backoff_ns, full_request().triggers[0].backoff_ns);
  EXPECT_EQ(back->triggers[1].kind, Trigger::Kind::KeyValue);
  EXPECT_EQ(back->grants.secrets, Words{"x"});
  EXPECT_EQ(back->restart.reset_after_ns, 3);
  EXPECT_EQ(back->health.retries, 4U);
  EXPECT_EQ(back->limits.log_lines_per_second, 7U);
  EXPECT_EQ(back->resources.disk_bytes, 5U);
  EXPECT_EQ(back->ports[0].host_port, 8080);
}

TEST(RunRequest, LeavesDefaultsOut) {
  EXPECT_EQ(encode(RunRequest{}), "{}");
  RunRequest declared;
  declared.grants.is_declared = true;
  EXPECT_EQ(encode(declared), R"({"grants":{}})");
  EXPECT_TRUE(decode_run_request(R"({"grants":{}})")->grants.is_declared);
  EXPECT_FALSE(decode_run_request("{}")->grants.is_declared);
}

TEST(RunRequest, ReadsWhatNexWrites) {
  const auto run = decode_run_request(
      R"({"description":"d","environment":{"A":"b"},"argv":["x"],"uri":"file:///bin/x","expose_ports":[8080,"80:81"]})");
  ASSERT_TRUE(run) << run.error().text;
  EXPECT_EQ(run->uri, "file:///bin/x");
  EXPECT_EQ(run->environment, (Pairs{{"A", "b"}}));
  ASSERT_EQ(run->ports.size(), 2U);
  EXPECT_EQ(run->ports[0].port, 8080);
  EXPECT_EQ(run->ports[0].host_port, 8080);
  EXPECT_EQ(run->ports[1].host_port, 80);
}

TEST(RunRequest, ReadsWhatPeopleWrite) {
  const auto run = decode_run_request(R"({
    "trigger_subjects": "one",
    "triggers": ["two", {"schedule": "@every 5s"}, {"stream": "S", "backoff": ["1s", 5], "ack_wait": "1m"},
                 {"type": "object", "bucket": "o"}],
    "limits": {"wall_time": "1500ms", "heap": "64MiB", "queue": 3},
    "resources": {"memory": "1.5G", "cpu": 0.25, "io": "1MB", "disk": 7},
    "restart": "never", "stop_grace": "3s", "isolation": "none",
    "health": {"port": 80, "interval": "5s", "timeout_ns": 7},
    "ports": ["[::1]:1:2", "127.0.0.1:0:9/tcp", {"port": 5}], "egress": "example.com"})");
  ASSERT_TRUE(run) << run.error().text;
  EXPECT_EQ(run->trigger_subjects, Words{"one"});
  ASSERT_EQ(run->triggers.size(), 4U);
  EXPECT_EQ(run->triggers[0].subject, "two");
  EXPECT_EQ(run->triggers[1].kind, Trigger::Kind::Schedule);
  EXPECT_EQ(run->triggers[2].backoff_ns, (std::vector<int64_t>{1'000'000'000, 5}));
  EXPECT_EQ(run->triggers[2].ack_wait_ns, 60'000'000'000);
  EXPECT_EQ(run->triggers[3].kind, Trigger::Kind::Object);
  EXPECT_EQ(run->limits.wall_time_ms, 1500U);
  EXPECT_EQ(run->limits.heap_bytes, 64U << 20);
  EXPECT_EQ(run->limits.queue, 3U);
  EXPECT_EQ(run->resources.memory_bytes, 3ULL << 29);
  EXPECT_EQ(run->resources.cpu_millis, 250U);
  EXPECT_EQ(run->resources.io_bytes_per_second, 1U << 20);
  EXPECT_EQ(run->restart.kind, RestartPolicy::Kind::Never);
  EXPECT_EQ(run->stop_grace_ns, 3'000'000'000);
  EXPECT_EQ(run->isolation, Isolation::None);
  EXPECT_EQ(run->health.kind, HealthCheck::Kind::Tcp);
  EXPECT_EQ(run->health.timeout_ns, 7);
  ASSERT_EQ(run->ports.size(), 3U);
  EXPECT_EQ(run->ports[0].host, "::1");
  EXPECT_EQ(run->ports[1].host_port, 0);
  EXPECT_EQ(run->egress, Words{"example.com"});
}

TEST(RunRequest, NamesTheWrongMember) {
  const std::pair<const char*, const char*> cases[] = {
      {R"([])", "the request is not a JSON object"},
      {R"({"uri":1})", "\"uri\" must be a string"},
      {R"({"artifact":"!"})", "\"artifact\" is not valid base64"},
      {R"({"argv":[1]})", "\"argv\" must be an array of strings"},
      {R"({"environment":{"A":1}})", "\"environment\" must be an object of strings"},
      {R"({"triggers":{}})", "\"triggers\" must be an array"},
      {R"({"triggers":[1]})", "triggers[0] must be an object or a subject"},
      {R"({"triggers":["a",{"type":"cron"}]})", "triggers[1]: \"type\" is \"cron\", it may be subject, stream, kv, object, schedule, http"},
      {R"({"triggers":[{"type":"stream"}]})", "triggers[0]: \"stream\" is missing or empty"},
      {R"({"triggers":[{"path":"x"}]})", "triggers[0]: \"path\" must start with /"},
      {R"({"triggers":[{"stream":"S","backoff":["x"]}]})", "triggers[0]: \"backoff\" must be an array of durations such as [\"1s\", \"10s\"]"},
      {R"({"limits":{"wall_time":"x"}})", "limits: \"wall_time\" must be a duration such as \"5s\", or nanoseconds"},
      {R"({"limits":{"in_flight":-1}})", "limits: \"in_flight\" must be a whole number"},
      {R"({"resources":{"memory":"lots"}})", "resources: \"memory\" must be a number of bytes or a size such as \"64MiB\""},
      {R"({"resources":{"cpu":"x"}})", "resources: \"cpu\" must be a number of CPUs such as 0.5 or \"500m\""},
      {R"({"resources":3})", "\"resources\" must be an object"},
      {R"({"isolation":"vm"})", "\"isolation\" is \"vm\", it may be default, sandbox, microvm, none"},
      {R"({"grants":{"publish":1}})", "grants: \"publish\" must be an array of strings"},
      {R"({"ports":["x"]})", "ports[0]: port \"x\" is not of the form [[HOST:]HOST_PORT:]PORT"},
      {R"({"ports":["53/udp"]})", "ports[0]: port \"53/udp\" is not TCP, the only kind that is published"},
      {R"({"expose_ports":[70000]})", "expose_ports[0]: port \"70000\" is not of the form [[HOST:]HOST_PORT:]PORT"},
      {R"({"restart":"maybe"})", "\"restart\" is \"maybe\", it may be default, always, on-failure, never"},
      {R"({"restart":{"backoff":-1}})", "restart: \"backoff\" must be a duration such as \"5s\", or nanoseconds"},
      {R"({"health":{"type":"tcp"}})", "health: \"port\" is missing or empty"},
      {R"({"health":{"type":"service"}})", "health: \"service\" is missing or empty"},
      {R"({"stop_grace":"-1s"})", "\"stop_grace\" must be a duration such as \"5s\", or nanoseconds"},
  };
  for (const auto& [text, words] : cases) {
    const auto run = decode_run_request(text);
    ASSERT_FALSE(run) << text;
    EXPECT_EQ(run.error().text, words) << text;
  }
}

TEST(RunRequest, SchemaIsJsonAndKnowsTheMembers) {
  const auto schema = json::parse(run_request_schema());
  ASSERT_TRUE(schema) << schema.error().text;
  const json::Value* members = schema->find("properties");
  const auto written = json::parse(encode(full_request()));
  for (const auto& [name, value] : written->members()) {
    if (name.ends_with("_ns")) continue;
    EXPECT_NE(members->find(name), nullptr) << name;
  }
}

TEST(RunRequest, ReadsSizesAndCpus) {
  uint64_t bytes = 0;
  EXPECT_TRUE(parse_byte_size("1000", bytes) && bytes == 1000);
  EXPECT_TRUE(parse_byte_size(" 2 KiB ", bytes) && bytes == 2048);
  EXPECT_TRUE(parse_byte_size("0.5g", bytes) && bytes == 1U << 29);
  for (const char* wrong : {"", "MiB", "1x", "-1", "1e9", "9999999999TiB", "1..2"}) {
    EXPECT_FALSE(parse_byte_size(wrong, bytes)) << wrong;
  }
  uint32_t millis = 0;
  EXPECT_TRUE(parse_cpu("500m", millis) && millis == 500);
  EXPECT_TRUE(parse_cpu("2", millis) && millis == 2000);
  EXPECT_FALSE(parse_cpu("m", millis));
  EXPECT_FALSE(parse_cpu("-1", millis));
}

}  // namespace
}  // namespace brokkr::workload
