// From a request and its artifact to what is started.
#include "workload/program_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace brokkr::workload {
namespace {

WorkloadIdentity service_identity() {
  WorkloadIdentity identity;
  identity.id = "w1";
  identity.ns = "shop";
  identity.name = "orders";
  identity.workload_type = "native";
  identity.workload_lifecycle = "service";
  return identity;
}

template <typename F>
std::string refusal(F&& change) {
  RunRequest run;
  change(run);
  const auto plan = plan_program(service_identity(), run, {"/bin/true", {}}, {});
  return plan ? "accepted" : plan.error().text;
}

TEST(ProgramPlan, FillsInDefaults) {
  RunRequest run;
  run.argv = {"-v"};
  ProgramDefaults defaults;
  defaults.data_folder = "/data";
  run.volumes = {{"db", "/var/db"}, {"shown", "/var/shown:ro"}};
  const auto plan = plan_program(service_identity(), run, {"/cache/abc", {}}, defaults);
  ASSERT_TRUE(plan) << plan.error().text;
  EXPECT_EQ(plan->spec.arguments, (Words{"orders", "-v"}));
  EXPECT_EQ(plan->spec.executable, "/cache/abc");
  EXPECT_EQ(plan->spec.limits.memory_bytes, 512U << 20);
  ASSERT_EQ(plan->spec.listeners.size(), 1U);
  EXPECT_EQ(plan->spec.listeners[0].address, "192.168.127.1");
  EXPECT_EQ(plan->spec.listeners[0].port, 4222);
  ASSERT_EQ(plan->spec.binds.size(), 2U);
  EXPECT_EQ(plan->spec.binds[0].source, "/data/volumes/shop/orders/db");
  EXPECT_TRUE(plan->spec.binds[0].is_writable);
  EXPECT_EQ(plan->spec.binds[1].target, "/var/shown");
  EXPECT_FALSE(plan->spec.binds[1].is_writable);
  EXPECT_EQ(plan->stop_grace, std::chrono::seconds(10));
  EXPECT_EQ(plan->restart.kind, RestartPolicy::Kind::Always);
  EXPECT_EQ(plan->isolation, Isolation::Sandbox);
}

TEST(ProgramPlan, AnImagesWishesAndTheirOverrides) {
  ProgramSource source;
  source.image.config.entrypoint = {"/entry"};
  source.image.config.command = {"serve", "--fast"};
  source.image.config.user = "app";
  source.image.config.working_folder = "/srv";
  source.image.config.environment = {"PATH=/image/bin", "NATS_URL=nats://elsewhere", "A=1", "bad"};
  source.image.lower = {"/layers/2", "/layers/1"};
  auto plan = plan_program(service_identity(), {}, source, {});
  ASSERT_TRUE(plan) << plan.error().text;
  EXPECT_EQ(plan->spec.arguments, (Words{"/entry", "serve", "--fast"}));
  EXPECT_EQ(plan->spec.user, "app");
  EXPECT_EQ(plan->spec.working_folder, "/srv");
  EXPECT_EQ(plan->spec.lower, source.image.lower);
  RunRequest run;
  run.argv = {"help"};
  run.user = "1000";
  run.workdir = "/tmp";
  run.environment = {{"A", "2"}};
  plan = plan_program(service_identity(), run, source, {});
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->spec.arguments, (Words{"/entry", "help"}));
  EXPECT_EQ(plan->spec.user, "1000");
  const Pairs ours = {{"NATS_URL", "nats://192.168.127.1:4222"}};
  const auto variables = merge_environment({&plan->environment, &ours, &plan->declared});
  const auto has = [&](const char* text) {
    return std::count(variables.begin(), variables.end(), text) == 1;
  };
  EXPECT_TRUE(has("PATH=/image/bin"));
  EXPECT_TRUE(has("NATS_URL=nats://192.168.127.1:4222")) << "ours is stronger than the image's";
  EXPECT_TRUE(has("A=2"));
  run.entrypoint = {"/other"};
  run.argv.clear();
  plan = plan_program(service_identity(), run, source, {});
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->spec.arguments, (Words{"/other"})) << "another entry point has no command";
  source.image.config.entrypoint.clear();
  source.image.config.command.clear();
  EXPECT_FALSE(plan_program(service_identity(), {}, source, {}));
}

TEST(ProgramPlan, GivesEachHostAnAddress) {
  RunRequest run;
  run.egress = {"api.example.com", "db.example.com:5432", "db.example.com:5433", "10.1.2.3:9000",
                "api.example.com:443"};
  const auto plan = plan_program(service_identity(), run, {"/bin/true", {}}, {});
  ASSERT_TRUE(plan) << plan.error().text;
  const auto& listeners = plan->spec.listeners;
  ASSERT_EQ(listeners.size(), 6U);
  ASSERT_EQ(plan->egress.size(), 5U);
  EXPECT_EQ(listeners[1].port, 80);
  EXPECT_EQ(listeners[2].port, 443);
  EXPECT_EQ(listeners[1].address, listeners[2].address);
  EXPECT_EQ(listeners[1].host_name, "api.example.com");
  EXPECT_EQ(listeners[3].address, listeners[4].address);
  EXPECT_NE(listeners[3].address, listeners[1].address);
  EXPECT_EQ(listeners[5].address, "10.1.2.3");
  EXPECT_EQ(plan->egress[4].host, "10.1.2.3");
  EXPECT_EQ(plan->egress[4].port, 9000);
  EXPECT_FALSE(plan->policy.may_connect("other.example.com", *NetAddress::parse("93.184.216.34"), 80));
}

TEST(ProgramPlan, PatternsAndNetworksLeadToListenersForAnyAddress) {
  RunRequest run;
  run.egress = {"*.example.com:443", "10.1.0.0/16:5432", "[2001:db8::/32]:443", "api.example.org:443",
                "[2001:db8:1::1]:9000"};
  const auto plan = plan_program(service_identity(), run, {"/bin/true", {}}, {});
  ASSERT_TRUE(plan) << plan.error().text;
  EXPECT_EQ(plan->spec.networks, (Words{"198.18.0.0/16", "10.1.0.0/16", "2001:db8::/32"}));
  Words at;
  for (const auto& listener : plan->spec.listeners) {
    at.push_back(listener.address + " " + std::to_string(listener.port));
  }
  EXPECT_EQ(at, (Words{"192.168.127.1 4222", "0.0.0.0 443", "0.0.0.0 5432", ":: 443", "192.168.127.2 443",
                       "2001:db8:1::1 9000", "192.168.127.1 53"}));
  EXPECT_EQ(plan->names_listener, 6U);
  EXPECT_TRUE(plan->spec.listeners[6].is_datagram);
  EXPECT_EQ(plan->egress[0].host, "");
  EXPECT_EQ(plan->egress[3].host, "api.example.org");
  EXPECT_EQ(plan->egress_ranges, (Words{"*.example.com:443", "10.1.0.0/16:5432", "[2001:db8::/32]:443"}));
}

TEST(ProgramPlan, WithoutEgressNothingIsAllowed) {
  const auto plan = plan_program(service_identity(), {}, {"/bin/true", {}}, {});
  ASSERT_TRUE(plan);
  EXPECT_FALSE(plan->policy.may_connect("93.184.216.34", *NetAddress::parse("93.184.216.34"), 80));
}

TEST(ProgramPlan, NamesMistakes) {
  const auto says = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos ? testing::AssertionSuccess()
                                                : testing::AssertionFailure() << text;
  };
  for (const char* entry : {"*.example.com", "10.0.0.0/8", "[2001:db8::1]:80"}) {
    const auto in_a_machine = [entry](auto& r) {
      r.egress = {entry};
      r.isolation = Isolation::MicroVm;
    };
    EXPECT_TRUE(says(refusal(in_a_machine), "a microVM needs")) << entry;
  }
  const auto same_port = [](auto& r) {
    r.egress = {"*.example.com"};
    r.ports = {{.host = "", .host_port = 8080, .port = 80}};
  };
  EXPECT_TRUE(says(refusal(same_port), "takes port 80"));
  EXPECT_TRUE(says(refusal([](auto& r) { r.egress = {"[fe80::1]:80"}; }), "nothing can be connected"));
  EXPECT_TRUE(says(refusal([](auto& r) { r.egress = {"192.168.127.1:4222"}; }), "the sandbox itself uses"));
  EXPECT_TRUE(says(refusal([](auto& r) { r.environment = {{"A=B", "c"}}; }), "A=B"));
  EXPECT_TRUE(says(refusal([](auto& r) { r.volumes = {{"../x", "/a"}}; }), "../x"));
  EXPECT_TRUE(says(refusal([](auto& r) { r.volumes = {{"x", "/a/../b"}}; }), "no absolute path"));
  EXPECT_TRUE(says(refusal([](auto& r) { r.volumes = {{"x", "/a/..:ro"}}; }), "no absolute path"));
  const auto unconfined = [](auto& r) {
    r.volumes = {{"x", "/a"}};
    r.isolation = Isolation::None;
  };
  EXPECT_TRUE(says(refusal(unconfined), "sandbox"));
  EXPECT_TRUE(says(refusal([](auto& r) { r.entrypoint = {"/x"}; }), "images only"));
  EXPECT_TRUE(says(refusal([](auto& r) { r.resources.memory_bytes = 5; }), "1 MiB"));
  EXPECT_TRUE(says(refusal([](auto& r) { r.ports = {{"127.0.0.1", 80, 0}}; }), "port inside"));
  HealthCheck check;
  check.kind = HealthCheck::Kind::Command;
  EXPECT_TRUE(says(refusal([&](auto& r) { r.health = check; }), "no command"));
  check.kind = HealthCheck::Kind::Service;
  check.service = "a.*";
  EXPECT_TRUE(says(refusal([&](auto& r) { r.health = check; }), "a.*"));
  WorkloadIdentity identity = service_identity();
  identity.workload_lifecycle = "function";
  EXPECT_FALSE(plan_program(identity, {}, {"/bin/true", {}}, {}));
}

}  // namespace
}  // namespace brokkr::workload
