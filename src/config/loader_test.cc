#include "config/loader.h"

#include <gtest/gtest.h>

#include "config/testdata_files.h"

namespace brokkr::config {
namespace {

// No files, no environment.
class NoSources final : public Sources {
 public:
  Result<std::string> read_file(const std::string&) override {
    return Error{Errc::NotFound, "no such file"};
  }
  std::optional<std::string> environment(const std::string&) override { return std::nullopt; }
};

Loaded load(const std::string& text) {
  NoSources sources;
  const Document document = parse_text(text, "t.conf", sources);
  for (const Diagnostic& error : document.errors)
    ADD_FAILURE() << error.to_string();
  return load_options(document);
}

Options load_good(const std::string& text) {
  Loaded loaded = load(text);
  EXPECT_EQ(loaded.error_text(), "") << text;
  return loaded.options;
}

TEST(Corpus, GoodFilesLoadAndBadOnesGiveTheirErrors) {
  SystemSources sources;
  for (const std::string& name : testdata::names_with(".digest")) {
    const Loaded loaded = load_file(testdata::folder() + "/" + name + ".conf", sources);
    EXPECT_EQ(loaded.error_text(), "") << name;
    EXPECT_EQ(loaded.options.config_digest + "\n",
              testdata::read_text(testdata::folder() + "/" + name + ".digest"));
  }
  const auto bad = testdata::names_with(".errors");
  EXPECT_GE(bad.size(), 50U);
  for (const std::string& name : bad) {
    const Loaded loaded = load_file(testdata::folder() + "/" + name + ".conf", sources);
    std::string text;
    for (Diagnostic error : loaded.errors) {
      EXPECT_TRUE(error.file.starts_with(testdata::folder() + "/"));
      error.file.erase(0, testdata::folder().size() + 1);
      text += error.to_string() + "\n";
    }
    EXPECT_EQ(text, testdata::read_text(testdata::folder() + "/" + name + ".errors"));
  }
}

TEST(Corpus, EveryFileHasAnExpectation) {
  for (const std::string& name : testdata::names_with(".conf")) {
    const std::string path = testdata::folder() + "/" + name;
    EXPECT_NE(testdata::read_text(path + ".digest") + testdata::read_text(path + ".errors"), "")
        << name;
  }
}

TEST(LoadOptions, DefaultsAreThoseOfNatsServer) {
  const Options o;
  EXPECT_EQ(o.host, "0.0.0.0");
  EXPECT_EQ(o.port, 4222);
  EXPECT_EQ(o.max_payload, 1048576);
  EXPECT_EQ(o.max_control_line, 4096);
  EXPECT_EQ(o.max_pending, 64 << 20);
  EXPECT_EQ(o.max_connections, 65536);
  EXPECT_EQ(o.ping_interval, std::chrono::minutes(2));
  EXPECT_EQ(o.ping_max, 2);
  EXPECT_EQ(o.write_deadline, std::chrono::seconds(10));
  EXPECT_EQ(o.lame_duck_duration, std::chrono::minutes(2));
  EXPECT_EQ(o.lame_duck_grace_period, std::chrono::seconds(10));
  EXPECT_EQ(o.max_closed_clients, 10000);
}

TEST(LoadOptions, AllSettingsOfTheCorpusFileArrive) {
  SystemSources sources;
  const Options o = load_file(testdata::folder() + "/options_all.conf", sources).options;
  EXPECT_EQ(o.host, "127.0.0.1");
  EXPECT_EQ(o.port, 4233);
  EXPECT_EQ(o.server_tags, (std::vector<std::string>{"zone:a", "disk:ssd"}));
  EXPECT_EQ(o.server_metadata.at("rack id"), "12");
  EXPECT_EQ(o.client_advertise, "nats.example.com:4222");
  EXPECT_EQ(o.http_port, 8222);
  EXPECT_EQ(o.http_base_path, "/nats");
  EXPECT_EQ(o.pid_file, "/tmp/nats.pid");
  EXPECT_EQ(o.log_file, "/tmp/nats.log");
  EXPECT_EQ(o.log_size_limit, 1 << 30);
  EXPECT_EQ(o.log_max_files, 5);
  EXPECT_TRUE(o.debug);
  EXPECT_FALSE(o.trace);
  EXPECT_EQ(o.max_traced_msg_len, 1024);
  EXPECT_EQ(o.max_payload, 2 << 20);
  EXPECT_EQ(o.max_connections, 10000);
  EXPECT_EQ(o.max_subscriptions, 1000);
  EXPECT_EQ(o.max_control_line, 4096);
  EXPECT_EQ(o.max_pending, 32 << 20);
  EXPECT_EQ(o.max_sub_tokens, 16);
  EXPECT_EQ(o.max_closed_clients, 100);
  EXPECT_EQ(o.ping_interval, std::chrono::seconds(30));
  EXPECT_EQ(o.ping_max, 3);
  EXPECT_EQ(o.write_deadline, std::chrono::seconds(5));
  EXPECT_EQ(o.write_timeout, WriteTimeoutPolicy::Close);
  EXPECT_EQ(o.lame_duck_duration, std::chrono::minutes(1));
  EXPECT_EQ(o.lame_duck_grace_period, std::chrono::seconds(5));
  EXPECT_TRUE(o.no_fast_producer_stall);
  EXPECT_EQ(o.connect_error_reports, 10);
  EXPECT_EQ(o.reconnect_error_reports, 2);
  EXPECT_TRUE(o.later_keys.empty());
}

TEST(LoadOptions, ListenTakesAPortOrAnAddress) {
  const auto listen = [](const std::string& value) {
    const Options o = load_good("listen: " + value);
    return o.host + " " + std::to_string(o.port);
  };
  EXPECT_EQ(listen("4333"), "0.0.0.0 4333");
  EXPECT_EQ(listen("\":4333\""), "0.0.0.0 4333");
  EXPECT_EQ(listen("-1"), "0.0.0.0 -1");
  EXPECT_EQ(listen("localhost:-1"), "localhost -1");
  EXPECT_EQ(listen("\"[::1]:5000\""), "::1 5000");
  EXPECT_EQ(listen("0"), "0.0.0.0 4222");
}

TEST(LoadOptions, KeysAreMatchedInAnyCaseAndTheLastOneWins) {
  EXPECT_EQ(load_good("PORT: 1\nPort: 2").port, 2);
  EXPECT_EQ(load_good("pidFile: a").pid_file, "a");
}

TEST(LoadOptions, ZeroMeansTheDefault) {
  const Options o = load_good("max_payload 0\nping_max 0\nmax_pending 0\nwrite_deadline '0s'");
  EXPECT_EQ(o.max_payload, 1 << 20);
  EXPECT_EQ(o.ping_max, 2);
  EXPECT_EQ(o.max_pending, 64 << 20);
  EXPECT_EQ(o.write_deadline, std::chrono::seconds(10));
  EXPECT_EQ(load_good("max_connections 0").max_connections, -1);
}

TEST(LoadOptions, BareSecondsAreReadWithAWarning) {
  const Loaded loaded = load("ping_interval: 30");
  EXPECT_EQ(loaded.options.ping_interval, std::chrono::seconds(30));
  ASSERT_EQ(loaded.warnings.size(), 1U);
  EXPECT_EQ(loaded.warnings[0].to_string(),
            "t.conf:1:1: ping_interval should be converted to a duration, 30 is read as seconds");
}

TEST(LoadOptions, UsedVariablesAreNotUnknownFields) {
  EXPECT_EQ(load_good("p: 4333\nport: $p").port, 4333);
  EXPECT_EQ(load("p: 4333\nport: 1").error_text(), "t.conf:1:1: unknown field \"p\"");
}

TEST(LoadOptions, KeysOfLaterFeaturesAreNamedOnce) {
  const Options o = load_good(
      "gateway { name: g }\nwebsocket { port: -1, no_tls: true }\ncluster { name: c }\n"
      "jetstream: enabled\nauthorization { users: [{nkey: "
      "UCNGL4W5QX66CFX6A6DCBVDH5VOHMI7B2UZZU7TXAUQQSI2JPHULCKBR}] }");
  EXPECT_EQ(later_keys_warning(o),
            "these settings have no effect in this release: cluster, gateway");
  EXPECT_TRUE(o.jetstream);
  EXPECT_EQ(later_keys_warning(Options{}), "");
}

TEST(LoadOptions, JetStreamInAllItsForms) {
  EXPECT_TRUE(load_good("jetstream: enabled").jetstream);
  EXPECT_FALSE(load_good("jetstream: disabled").jetstream);
  EXPECT_FALSE(load_good("jetstream { enabled: false }").jetstream);
  const Options o = load_good(
      "jetstream { store_dir: /srv/js, max_mem: 64M, max_file: \"1GB\", domain: hub, strict: false,\n"
      "sync_interval: 5s, key: k, prev_key: p, cipher: AES, request_queue_limit: 7,\n"
      "limits { max_ack_pending: 9, max_request_batch: 8, duplicate_window: \"1m\", max_ha_assets: 3 },\n"
      "unique_tag: x }");
  EXPECT_TRUE(o.jetstream);
  EXPECT_EQ(o.store_dir, "/srv/js");
  JetStreamOptions wanted;
  wanted.max_memory = 64 * 1000 * 1000;
  wanted.max_storage = 1 << 30;
  wanted.domain = "hub";
  wanted.strict = false;
  wanted.sync_interval = std::chrono::seconds(5);
  wanted.key = "k";
  wanted.previous_key = "p";
  wanted.cipher = "aes";
  wanted.request_queue_limit = 7;
  wanted.max_ack_pending = 9;
  wanted.max_request_batch = 8;
  wanted.duplicate_window = std::chrono::minutes(1);
  EXPECT_EQ(o.jetstream_options, wanted);
  EXPECT_EQ(later_keys_warning(o),
            "these settings have no effect in this release: jetstream.limits.max_ha_assets, "
            "jetstream.unique_tag");
  EXPECT_EQ(load_good("jetstream { sync_interval: always }").jetstream_options.sync_interval,
            Duration::zero());
  EXPECT_NE(load("jetstream { max_mem: lots }").error_text(), "");
  EXPECT_NE(load("jetstream { cipher: rot13 }").error_text(), "");
}

TEST(LoadOptions, AccountsHaveLimitsOfJetStream) {
  const Options o = load_good(
      "accounts { A { jetstream: enabled }, B { jetstream: disabled }, C { jetstream {\n"
      "max_mem: 1K, max_store: 2K, max_streams: 3, max_consumers: 4, max_bytes_required: true,\n"
      "mem_max_stream_bytes: 5, store_max_stream_bytes: 6, max_ack_pending: 7 } } }");
  ASSERT_EQ(o.accounts.size(), 3U);
  EXPECT_EQ(o.accounts[0].jetstream, AccountJetStream{});
  EXPECT_FALSE(o.accounts[1].jetstream.has_value());
  EXPECT_EQ(o.accounts[2].jetstream, (AccountJetStream{1000, 2000, 3, 4, 7, 5, 6, true}));
}

TEST(LoadOptions, PermissionsInAllTheirForms) {
  SystemSources sources;
  const Options o = load_file(testdata::folder() + "/users_permissions.conf", sources).options;
  ASSERT_EQ(o.authorization.users.size(), 4U);
  const UserEntry& joe = o.authorization.users[0];
  EXPECT_EQ(joe.permissions->publish.allow, std::vector<std::string>{">"});
  const UserEntry& bob = o.authorization.users[2];
  EXPECT_EQ(bob.password, "abcdefghijklmnopqrstuvwxyz0123456789");
  EXPECT_EQ(bob.allowed_connection_types, (std::vector<std::string>{"STANDARD", "WEBSOCKET"}));
  EXPECT_EQ(bob.permissions->subscribe.allow,
            (std::vector<std::string>{"req.foo", "req.* workers", "q.> grp.*"}));
  EXPECT_EQ(bob.permissions->subscribe.deny, std::vector<std::string>{"req.secret"});
  EXPECT_TRUE(bob.permissions->allow_responses);
  EXPECT_EQ(bob.permissions->responses_max, 5);
  EXPECT_EQ(bob.permissions->responses_ttl, std::chrono::minutes(1));
  EXPECT_TRUE(bob.permissions->publish.has_allow);
  EXPECT_TRUE(bob.permissions->publish.allow.empty());
  const UserEntry& sue = o.authorization.users[3];
  EXPECT_EQ(sue.permissions, o.authorization.default_permissions);
  EXPECT_EQ(*o.authorization.timeout, std::chrono::milliseconds(1500));
  EXPECT_EQ(o.authorization.no_auth_user, "sue");
}

TEST(LoadOptions, AccountsBringUsersAndLimits) {
  SystemSources sources;
  const Options o = load_file(testdata::folder() + "/accounts.conf", sources).options;
  ASSERT_EQ(o.accounts.size(), 2U);
  EXPECT_EQ(o.accounts[0].name, "A");
  EXPECT_EQ(o.accounts[0].max_connections, 10);
  EXPECT_EQ(o.accounts[0].max_payload, 1 << 20);
  ASSERT_EQ(o.authorization.users.size(), 2U);
  EXPECT_EQ(o.authorization.users[1].account, "B");
  EXPECT_EQ(o.authorization.users[1].permissions->publish.deny, std::vector<std::string>{"x.>"});
}

TEST(LoadOptions, AuthenticationOfALaterReleaseIsRemembered) {
  EXPECT_TRUE(load_good("operator: \"/x.jwt\"").authorization.needs_later_kind);
  EXPECT_TRUE(load_good("authorization { auth_callout { issuer: "
                        "ABJHLOVMPA4CI6R5KLNGOB4GSLNIY7IOUPAJC4YFNDLQVIOBYQGUWVLA, "
                        "auth_users: [a] } }")
                  .authorization.needs_later_kind);
  EXPECT_FALSE(load_good("port: 1").authorization.needs_later_kind);
}

TEST(LoadOptions, OurOwnBlock) {
  const Options o = load_good("brokkr { loops: 2, sandbox: required, data_dir: '/d' }");
  EXPECT_EQ(o.loops, 2);
  EXPECT_EQ(o.sandbox, SandboxMode::Required);
  EXPECT_EQ(o.data_dir, "/d");
}

TEST(FindContradictions, NamesEachOne) {
  EXPECT_TRUE(find_contradictions(Options{}).empty());
  Options o;
  o.max_payload = 10;
  o.max_pending = 5;
  o.lame_duck_grace_period = o.lame_duck_duration;
  o.authorization.no_auth_user = "x";
  EXPECT_EQ(find_contradictions(o),
            (std::vector<std::string>{
                "lame duck grace period (2m0s) should be strictly lower than lame duck duration "
                "(2m0s)",
                "max_payload (10) cannot be higher than max_pending (5)",
                "no_auth_user: \"x\" present, but users/nkeys are not defined"}));
  o = load_good("authorization { users: [{user: a, password: b}] }\nno_auth_user: x");
  ASSERT_EQ(find_contradictions(o).size(), 1U);
  EXPECT_EQ(find_contradictions(o)[0],
            "no_auth_user: \"x\" not present as user or nkey in authorization block or account "
            "configuration");
}

}  // namespace
}  // namespace brokkr::config
