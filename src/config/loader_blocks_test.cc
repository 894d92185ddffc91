#include <gtest/gtest.h>

#include <map>

#include "config/flags.h"
#include "config/loader.h"
#include "config/testdata_files.h"

// The blocks that are made of many settings: tls, websocket, leafnodes, accounts, operator mode.
namespace brokkr::config {
namespace {

class MapSources final : public Sources {
 public:
  explicit MapSources(std::map<std::string, std::string> files = {}) : files_(std::move(files)) {}
  Result<std::string> read_file(const std::string& path) override {
    const auto found = files_.find(path);
    if (found == files_.end()) return Error{Errc::NotFound, "no such file"};
    return found->second;
  }
  std::optional<std::string> environment(const std::string&) override { return std::nullopt; }

 private:
  std::map<std::string, std::string> files_;
};

Loaded load(const std::string& text, std::map<std::string, std::string> files = {}) {
  MapSources sources(std::move(files));
  const Document document = parse_text(text, "t.conf", sources);
  for (const Diagnostic& error : document.errors)
    ADD_FAILURE() << error.to_string();
  return load_options(document, {}, &sources);
}

Options load_good(const std::string& text, std::map<std::string, std::string> files = {}) {
  Loaded loaded = load(text, std::move(files));
  EXPECT_EQ(loaded.error_text(), "") << text;
  return loaded.options;
}

std::string error_of(const std::string& text) {
  return load(text).error_text();
}

Options load_testdata(const std::string& name) {
  SystemSources sources;
  const Loaded loaded = load_file(testdata::folder() + "/" + name + ".conf", sources);
  EXPECT_EQ(loaded.error_text(), "");
  return loaded.options;
}

constexpr char kPem[] = "-----BEGIN CERTIFICATE-----\n";
const std::map<std::string, std::string> kPemFiles = {
    {"/c.pem", kPem}, {"/k.pem", kPem}, {"/ca.pem", kPem}, {"/text", "hello"}};

TEST(LoadTls, EverySettingArrives) {
  const Options o = load_good(
      "tls { cert_file: /c.pem, key_file: /k.pem, ca_file: /ca.pem, verify_and_map: true,\n"
      "timeout: 0.5, handshake_first: \"300ms\", min_version: \"1.3\", insecure: true,\n"
      "cipher_suites: [TLS_AES_128_GCM_SHA256], curve_preferences: [X25519, CurveP256],\n"
      "pinned_certs: [\"" + std::string(64, 'B') + "\", \"" + std::string(64, 'a') + "\"],\n"
      "connection_rate_limit: 7 }\nallow_non_tls: true",
      kPemFiles);
  TlsOptions wanted;
  wanted.cert_file = "/c.pem";
  wanted.key_file = "/k.pem";
  wanted.ca_file = "/ca.pem";
  wanted.verify = true;
  wanted.verify_and_map = true;
  wanted.timeout = std::chrono::milliseconds(500);
  wanted.handshake_first = true;
  wanted.handshake_first_fallback = std::chrono::milliseconds(300);
  wanted.min_version = TlsVersion::V1_3;
  wanted.insecure = true;
  wanted.cipher_suites = {"TLS_AES_128_GCM_SHA256"};
  wanted.curve_preferences = {"X25519", "CurveP256"};
  wanted.pinned_certs = {std::string(64, 'a'), std::string(64, 'b')};
  wanted.connection_rate_limit = 7;
  EXPECT_EQ(o.tls, wanted);
  EXPECT_TRUE(o.allow_non_tls);
}

TEST(LoadTls, HandshakeFirstInItsForms) {
  const auto fallback = [](const std::string& value) {
    const TlsOptions tls = *load_good("tls { handshake_first: " + value + " }").tls;
    return std::pair(tls.handshake_first, tls.handshake_first_fallback);
  };
  EXPECT_EQ(fallback("true"), std::pair(true, Duration::zero()));
  EXPECT_EQ(fallback("\"off\""), std::pair(false, Duration::zero()));
  EXPECT_EQ(fallback("auto"), std::pair(true, Duration(std::chrono::milliseconds(50))));
  EXPECT_EQ(fallback("\"2s\""), std::pair(true, Duration(std::chrono::seconds(2))));
}

TEST(LoadTls, FilesThatCannotServeAreNamed) {
  const auto errors = [](const std::string& text) { return load(text, kPemFiles).error_text(); };
  EXPECT_EQ(errors("tls {\n cert_file: /x.pem, key_file: /k.pem }"),
            "t.conf:2:2: cert_file: /x.pem: no such file");
  EXPECT_EQ(errors("tls { ca_file: /text }"), "t.conf:1:7: ca_file: /text: no PEM data");
  EXPECT_EQ(errors("tls { cert_file: /c.pem }"),
            "t.conf:1:1: missing 'key_file' in TLS configuration");
  EXPECT_EQ(errors("tls { certs: [ {cert_file: /c.pem, key_file: /nope} ] }"),
            "t.conf:1:36: key_file: /nope: no such file");
}

TEST(LoadTls, FlagsChangeSingleFieldsOfTheFilesBlock) {
  MapSources sources({{"/f.conf", "tls { cert_file: /c.pem, key_file: /k.pem, verify: true,\n"
                                  "cipher_suites: [TLS_AES_128_GCM_SHA256] }"},
                      {"/c.pem", kPem}, {"/k.pem", kPem}});
  const auto with = [&](std::vector<std::string> args) {
    return load_with_flags(*parse_flags(args), sources);
  };
  const Loaded both = with({"-c", "/f.conf", "--tlscert=/other.pem", "--tlskey", "/other.key"});
  EXPECT_EQ(both.error_text(), "");
  EXPECT_EQ(both.options.tls->cert_file, "/other.pem");
  EXPECT_EQ(both.options.tls->key_file, "/other.key");
  EXPECT_TRUE(both.options.tls->verify);
  EXPECT_EQ(both.options.tls->cipher_suites, std::vector<std::string>{"TLS_AES_128_GCM_SHA256"});
  EXPECT_FALSE(with({"-c", "/f.conf", "--tls=false", "--tlsverify"}).options.tls.has_value());
  EXPECT_EQ(with({"--tls"}).error_text(),
            "command line: TLS Server certificate must be present and valid");
  EXPECT_EQ(with({"--tlscert", "/c.pem"}).error_text(),
            "command line: TLS Server private key must be present and valid");
}

TEST(LoadWebsocket, EverySettingArrives) {
  const WebsocketOptions ws = load_testdata("websocket").websocket;
  WebsocketOptions wanted;
  wanted.host = "127.0.0.1";
  wanted.port = 9222;
  wanted.advertise = "ws.example.com:443";
  wanted.no_tls = true;
  wanted.same_origin = true;
  wanted.allowed_origins = {"http://a.example.com", "https://b.example.com:8443"};
  wanted.handshake_timeout = std::chrono::seconds(3);
  wanted.compression = true;
  wanted.ping_interval = std::chrono::seconds(20);
  wanted.headers = {{"Strict-Transport-Security", "max-age=63072000"}, {"X-Served-By", "nats"}};
  wanted.user = "web";
  wanted.password = "s3cret";
  wanted.auth_timeout = std::chrono::milliseconds(1500);
  wanted.no_auth_user = "anybody";
  wanted.jwt_cookie = "jwt";
  wanted.user_cookie = "user";
  wanted.pass_cookie = "pass";
  wanted.token_cookie = "token";
  EXPECT_EQ(ws, wanted);
}

TEST(LoadLeafnodes, EverySettingArrives) {
  const LeafnodeOptions leaf = load_testdata("leafnodes").leafnodes;
  EXPECT_EQ(leaf.host, "127.0.0.1");
  EXPECT_EQ(leaf.port, 7422);
  EXPECT_EQ(leaf.advertise, "leaf.example.com:7422");
  EXPECT_TRUE(leaf.no_advertise);
  EXPECT_EQ(leaf.min_version, "2.10.0");
  EXPECT_TRUE(leaf.isolate_interest);
  EXPECT_EQ(leaf.compression.mode, "s2_auto");
  EXPECT_EQ(leaf.compression.rtt_thresholds,
            (std::vector<Duration>{std::chrono::milliseconds(10), std::chrono::milliseconds(30)}));
  EXPECT_EQ(leaf.reconnect, std::chrono::seconds(2));
  EXPECT_EQ(leaf.dial_timeout, std::chrono::seconds(3));
  EXPECT_EQ(leaf.write_deadline, Duration(std::chrono::seconds(4)));
  EXPECT_EQ(leaf.write_timeout, WriteTimeoutPolicy::Retry);
  EXPECT_TRUE(leaf.has_own_authorization());
  ASSERT_EQ(leaf.users.size(), 2U);
  EXPECT_EQ(leaf.users[1].account, "EDGE");
  EXPECT_EQ(leaf.auth_timeout, Duration(std::chrono::seconds(5)));
  ASSERT_EQ(leaf.remotes.size(), 2U);
  const LeafRemote& hub = leaf.remotes[0];
  EXPECT_EQ(hub.urls, (std::vector<std::string>{"nats-leaf://u:p@hub-1:7422", "nats://hub-2:7422"}));
  EXPECT_EQ(hub.account, "EDGE");
  EXPECT_EQ(hub.credentials, "/etc/nats/edge.creds");
  EXPECT_TRUE(hub.hub);
  EXPECT_EQ(hub.deny_imports, (std::vector<std::string>{"local.>", "debug"}));
  EXPECT_EQ(hub.deny_exports, std::vector<std::string>{"secret.>"});
  EXPECT_EQ(hub.compression.mode, "off");
  EXPECT_EQ(hub.first_info_timeout, std::chrono::seconds(2));
  EXPECT_EQ(hub.dial_timeout, std::chrono::seconds(5));
  EXPECT_TRUE(hub.no_randomize && hub.disabled && hub.isolate && hub.request_isolation);
  EXPECT_TRUE(hub.ignore_discovered_servers);
  const LeafRemote& web = leaf.remotes[1];
  EXPECT_TRUE(web.ws_compression && web.ws_no_masking && web.tls->handshake_first);
}

TEST(LoadAccounts, ExportsImportsAndMappings) {
  const Options o = load_testdata("routes");
  std::map<std::string, Account> accounts;
  for (const Account& account : o.accounts)
    accounts[account.name] = account;
  const Account& shop = accounts["SHOP"];
  ASSERT_EQ(shop.stream_exports.size(), 2U);
  EXPECT_EQ(shop.stream_exports[0], (StreamExport{"prices.>", {}, 0}));
  EXPECT_EQ(shop.stream_exports[1], (StreamExport{"news.*", {"CUSTOMER"}, 0}));
  ASSERT_EQ(shop.service_exports.size(), 2U);
  const ServiceExport& order = shop.service_exports[0];
  EXPECT_EQ(order.subject, "order.*");
  EXPECT_EQ(order.account_token_position, 2U);
  EXPECT_EQ(order.response_type, ResponseType::Streamed);
  EXPECT_EQ(order.response_threshold, std::chrono::seconds(10));
  const ServiceExport& stock = shop.service_exports[1];
  EXPECT_EQ(stock.latency, (ServiceLatency{"latency.stock", 25}));
  EXPECT_TRUE(stock.allow_trace);
  EXPECT_EQ(shop.trace_destination, "trace.shop");
  EXPECT_EQ(shop.trace_sampling, 10);
  ASSERT_EQ(shop.mappings.size(), 1U);
  EXPECT_EQ(shop.mappings[0].source, "old.*");
  EXPECT_EQ(shop.mappings[0].destinations,
            (std::vector<SubjectMapping::Destination>{{"new.$1", 60, ""}, {"beta.$1", 40, "EAST"}}));
  const Account& customer = accounts["CUSTOMER"];
  ASSERT_EQ(customer.stream_imports.size(), 2U);
  EXPECT_EQ(customer.stream_imports[0], (StreamImport{"SHOP", "prices.>", "shop", "", true}));
  EXPECT_EQ(customer.stream_imports[1], (StreamImport{"SHOP", "news.*", "", "shop.news.$1", false}));
  ASSERT_EQ(customer.service_imports.size(), 2U);
  EXPECT_EQ(customer.service_imports[0],
            (ServiceImport{"SHOP", "order.CUSTOMER", "order", true}));
  EXPECT_EQ(customer.service_imports[1], (ServiceImport{"SHOP", "stock", "stock", false}));
  ASSERT_EQ(o.mappings.size(), 1U);
  EXPECT_EQ(o.mappings[0].destinations,
            (std::vector<SubjectMapping::Destination>{{"b", 100, ""}}));
}

TEST(LoadAccounts, NothingIsImportedWithoutAnExport) {
  EXPECT_EQ(error_of("accounts { A { exports: [{stream: a}] }\n"
                     "B { imports: [{service: {account: A, subject: a}}] } }"),
            "t.conf:1:1: Error adding service import \"a\": service import not authorized");
  EXPECT_EQ(error_of("accounts { B { imports: [{stream: {account: A, subject: a}}] } }"),
            "t.conf:1:1: \"A\" account not defined for stream import");
}

TEST(LoadAccounts, ImportsMayNotComeBack) {
  EXPECT_EQ(error_of("accounts { A { exports: [{service: q}], imports: [{service: {account: B,\n"
                     "subject: q}}] }\n"
                     "B { exports: [{service: q}], imports: [{service: {account: A, subject: q}}] }\n"
                     "}"),
            "t.conf:1:1: Error adding service import \"q\": import forms a cycle");
}

constexpr char kJwt[] = "eyJ0eXAi.eyJqdGki.c2ln";

TEST(LoadOperatorMode, JwtsAreReadFromFilesOrTheText) {
  const std::string decorated =
      std::string("-----BEGIN NATS OPERATOR JWT-----\n") + kJwt + "\n------END ...------\n";
  const Options o = load_good(
      std::string("operator: [\"/op.jwt\", \"/nsc.jwt\", ") + kJwt + "]\nresolver: MEMORY\n" +
          "resolver_preload { ABC: " + kJwt + " }\nsystem_account: S\ndefault_sentinel: x",
      {{"/op.jwt", std::string(kJwt) + "\n"}, {"/nsc.jwt", decorated}});
  EXPECT_EQ(o.operator_mode.operators, (std::vector<std::string>{kJwt, kJwt, kJwt}));
  EXPECT_TRUE(o.operator_mode.is_on());
  EXPECT_EQ(o.operator_mode.resolver.kind, ResolverOptions::Kind::Memory);
  EXPECT_EQ(o.operator_mode.resolver_preload.at("ABC"), kJwt);
  EXPECT_EQ(o.operator_mode.default_sentinel, "x");
  EXPECT_EQ(error_of("operator: /missing.jwt"),
            "t.conf:1:1: error parsing operator JWT: /missing.jwt: no such file");
}

TEST(LoadOperatorMode, ResolversInTheirForms) {
  const auto resolver = [](const std::string& value) {
    return load_good("resolver: " + value).operator_mode.resolver;
  };
  EXPECT_EQ(resolver("URL(\"https://h/jwt/\")").url, "https://h/jwt/");
  EXPECT_EQ(resolver("URL(https://h/jwt/)").kind, ResolverOptions::Kind::Url);
  const ResolverOptions full = resolver(
      "{ type: full, dir: /d, allow_delete: true, hard_delete: true, interval: '5m', limit: 9,\n"
      "timeout: '1s' }");
  EXPECT_EQ(full.kind, ResolverOptions::Kind::Full);
  EXPECT_EQ(full.dir, "/d");
  EXPECT_TRUE(full.allow_delete && full.hard_delete);
  EXPECT_EQ(full.sync_interval, std::chrono::minutes(5));
  EXPECT_EQ(full.limit, 9);
  EXPECT_EQ(full.timeout, std::chrono::seconds(1));
  EXPECT_EQ(resolver("{ type: cache, dir: /d, ttl: '1h' }").ttl, std::chrono::hours(1));
}

TEST(LoadCallout, EverySettingArrives) {
  const std::string account = "ABJHLOVMPA4CI6R5KLNGOB4GSLNIY7IOUPAJC4YFNDLQVIOBYQGUWVLA";
  const std::string xkey = "X" + account.substr(1);
  const Options o = load_good("accounts { AUTH { users: [{user: a, password: b}] }, B { } }\n"
                              "authorization { auth_callout { issuer: " + account +
                              ", account: AUTH,\nauth_users: [a], xkey: " + xkey +
                              ", allowed_accounts: [B] } }");
  EXPECT_EQ(o.authorization.callout,
            (AuthCallout{account, "AUTH", {"a"}, xkey, {"B"}}));
}

TEST(FindContradictions, OfTheBlocks) {
  const auto found = [](const std::string& text) {
    const auto all = find_contradictions(load_good(text));
    return all.size() == 1 ? all[0] : std::to_string(all.size());
  };
  EXPECT_EQ(found("websocket { port: -1 }"), "websocket requires TLS configuration");
  EXPECT_EQ(found("websocket { port: -1, no_tls: true }"), "0");
  EXPECT_EQ(found("leafnodes { remotes: [{url: \"nats://a:1\", account: X}] }"),
            "cannot find local account \"X\" specified in leafnode remote");
  EXPECT_EQ(found("https: 8443"), "TLS cert and key required for HTTPS");
  EXPECT_EQ(found(std::string("operator: ") + kJwt + "\nresolver: MEM\naccounts { A { } }"),
            "operators do not allow Accounts to be configured directly");
  EXPECT_EQ(found("system_account: X"),
            "error resolving system account: no such account \"X\"");
}

}  // namespace
}  // namespace brokkr::config
