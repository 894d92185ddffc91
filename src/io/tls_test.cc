#include "io/tls.h"

#include <gtest/gtest.h>

#include "io/testing/certificates.h"
#include "io/tls_names.h"

namespace brokkr::io {
namespace {

using std::chrono::milliseconds;
using Kind = IoResult::Kind;

// One side of a TLS connection and what became of it.
struct Side final : TransportHandler {
  void take(std::unique_ptr<TlsTransport> stream) {
    tls = std::move(stream);
    tls->start_handshake([this](const Status& status) {
      is_done = true;
      if (!status) error = status.error().text;
    });
    tls->listen(this, true, false);
  }
  void on_readable() override {
    std::string bytes(read_max, '\0');
    const IoResult got = tls->read(bytes.data(), bytes.size());
    last = got.kind;
    ++reads;
    text.append(bytes, 0, got.bytes);
    if (got.kind == Kind::Closed || got.kind == Kind::Failed) tls->listen(nullptr, false, false);
    update();
  }
  void on_writable() override { update(); }
  void send(std::string bytes) {
    output += bytes;
    update();
  }
  void update() {
    while (!output.empty()) {
      const IoResult put = tls->write(output.data(), output.size());
      output.erase(0, put.bytes);
      if (put.kind != Kind::Ok) break;
    }
    if (last != Kind::Closed && last != Kind::Failed) tls->listen(this, true, !output.empty());
  }
  std::unique_ptr<TlsTransport> tls;
  bool is_done = false;
  std::string error;
  std::string text;
  std::string output;
  size_t read_max = 4096;
  int reads = 0;
  Kind last = Kind::Ok;
};

class TlsTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = Loop::open({}, clock_);
    ASSERT_TRUE(opened);
    loop_ = std::move(*opened);
    server_rules_.certificates = {authority_.issue_server()};
    client_rules_.ca = authority_.certificate();
    client_rules_.ca_is_text = true;
  }
  bool run_until(FunctionRef<bool()> done) {
    const MonotonicTime end = clock_.now() + std::chrono::seconds(10);
    while (!done() && clock_.now() < end) loop_->run_once(milliseconds(10));
    return done();
  }
  void verify_clients() {
    server_rules_.verify_client = true;
    server_rules_.ca = authority_.certificate();
    server_rules_.ca_is_text = true;
  }
  void connect(const std::string& name = "localhost", size_t pipe_bytes = 64 << 10) {
    auto server = TlsContext::server(server_rules_);
    auto client = TlsContext::client(client_rules_);
    ASSERT_TRUE(server) << server.error().text;
    ASSERT_TRUE(client) << client.error().text;
    auto [left, right] = make_pipe(*loop_, pipe_bytes);
    server_.take(wrap_tls_server(*loop_, std::move(left), *server));
    client_.take(wrap_tls_client(*loop_, std::move(right), *client, name));
  }
  bool shake_hands() {
    return run_until([this] { return server_.is_done && client_.is_done; }) &&
           server_.error.empty() && client_.error.empty();
  }
  SystemClock clock_;
  std::unique_ptr<Loop> loop_;
  TestAuthority authority_;
  TlsSettings server_rules_;
  TlsSettings client_rules_;
  Side server_;
  Side client_;
};

TEST_F(TlsTest, CarriesBytesBothWaysAndTellsVersionAndCipher) {
  connect();
  ASSERT_TRUE(shake_hands()) << server_.error << client_.error;
  server_.send("INFO");
  client_.send("CONNECT");
  EXPECT_TRUE(run_until([&] { return server_.text == "CONNECT" && client_.text == "INFO"; }));
  EXPECT_EQ(server_.tls->facts().version, "1.3");
  EXPECT_EQ(server_.tls->facts().cipher, "TLS_AES_128_GCM_SHA256");
  EXPECT_TRUE(server_.tls->facts().peer_chain.empty());
  EXPECT_TRUE(client_.tls->facts().is_verified);
  EXPECT_EQ(client_.tls->facts().peer_chain.at(0).subject, "CN=localhost");
}

TEST_F(TlsTest, LargeTransfersThroughANarrowPipeArriveWhole) {
  connect("localhost", 1000);
  ASSERT_TRUE(shake_hands()) << server_.error << client_.error;
  std::string big(3 << 20, '\0');
  for (size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>(i * 2654435761U >> 13);
  server_.read_max = 100000;
  client_.read_max = 77;
  client_.send(big);
  server_.send(big.substr(0, 300000));
  EXPECT_TRUE(run_until([&] { return server_.text.size() == big.size() && client_.text.size() == 300000; }));
  EXPECT_TRUE(server_.text == big);
  EXPECT_TRUE(client_.text == big.substr(0, 300000));
}

TEST_F(TlsTest, DataRightBehindTheHandshakeIsAnnounced) {
  connect();
  // The client's last flight and this leave together, before the server has looked.
  ASSERT_TRUE(run_until([&] { return client_.is_done; }));
  client_.send("early");
  EXPECT_TRUE(run_until([&] { return server_.text == "early"; }));
}

TEST_F(TlsTest, InputLeftByAShortReadIsAnnouncedAgain) {
  connect();
  ASSERT_TRUE(shake_hands());
  server_.read_max = 1;
  client_.send("0123456789");
  EXPECT_TRUE(run_until([&] { return server_.text == "0123456789"; }));
  const int reads = server_.reads;
  loop_->run_once(milliseconds(1));
  loop_->run_once(milliseconds(1));
  EXPECT_LE(server_.reads, reads + 1);  // and then there is quiet
}

TEST_F(TlsTest, BytesReadBeforehandCount) {
  auto server = TlsContext::server(server_rules_);
  auto client = TlsContext::client(client_rules_);
  auto [left, right] = make_pipe(*loop_, 64 << 10);
  client_.take(wrap_tls_client(*loop_, std::move(right), *client, "localhost"));
  char early[4];
  size_t n = 0;
  ASSERT_TRUE(run_until([&, &inner = *left] {
    if (n == 0) n = inner.read(early, 4).bytes;
    return n == 4;
  }));
  server_.take(wrap_tls_server(*loop_, std::move(left), *server, {early, n}));
  EXPECT_TRUE(shake_hands()) << server_.error << client_.error;
}

TEST_F(TlsTest, CloseIsSeenByTheOtherSide) {
  connect();
  ASSERT_TRUE(shake_hands());
  client_.send("last words");
  client_.tls->end_writing();
  client_.tls.reset();
  EXPECT_TRUE(run_until([&] { return server_.last == Kind::Closed; }));
  EXPECT_EQ(server_.text, "last words");
}

TEST_F(TlsTest, CloseWithoutNoticeIsAnEndToo) {
  auto server = TlsContext::server(server_rules_);
  auto client = TlsContext::client(client_rules_);
  auto [left, server_far] = make_pipe(*loop_, 64 << 10);
  auto [right, client_far] = make_pipe(*loop_, 64 << 10);
  server_.take(wrap_tls_server(*loop_, std::move(left), *server));
  client_.take(wrap_tls_client(*loop_, std::move(right), *client, "localhost"));
  ASSERT_TRUE(run_until([&, &a = *server_far, &b = *client_far] {
    char bytes[4096];
    a.write(bytes, b.read(bytes, sizeof bytes).bytes);
    b.write(bytes, a.read(bytes, sizeof bytes).bytes);
    return server_.is_done && client_.is_done;
  }));
  server_far.reset();
  EXPECT_TRUE(run_until([&] { return server_.last == Kind::Closed; }));
}

TEST_F(TlsTest, PlainTextIsToldApartAtTheFirstByte) {
  auto server = TlsContext::server(server_rules_);
  auto [left, right] = make_pipe(*loop_, 64 << 10);
  server_.take(wrap_tls_server(*loop_, std::move(left), *server));
  EXPECT_EQ(right->write("C", 1).bytes, 1U);
  ASSERT_TRUE(run_until([&] { return server_.is_done; }));
  EXPECT_TRUE(server_.tls->is_plain_text());
  EXPECT_EQ(server_.error, "first record does not look like a TLS handshake");
  EXPECT_EQ(server_.tls->inner().write("-ERR", 4).bytes, 4U);
  char answer[8];
  EXPECT_EQ(right->read(answer, sizeof answer).bytes, 4U);
}

TEST_F(TlsTest, HopelessBeginningsAreRefused) {
  const auto bytes = [](std::initializer_list<int> list) {
    std::string text;
    for (const int byte : list) text += static_cast<char>(byte);
    return text;
  };
  const std::pair<std::string, std::string> cases[] = {
      {bytes({0x16, 3, 1, 1, 0, 1, 0, 0x80, 0}), "ClientHello of 32768 bytes exceeds 16384"},
      {bytes({0x16, 3, 1, 1, 0, 2, 0, 0, 9}), "first record is no ClientHello"},
      {bytes({0x16, 9, 9, 1, 0, 1, 0, 0, 9}), "first record is no ClientHello"},
      {bytes({0x16, 3, 1, 0, 1, 1, 0, 0, 9}), "first record is no ClientHello"},
  };
  for (const auto& [sent, expected] : cases) {
    auto server = TlsContext::server(server_rules_);
    auto [left, right] = make_pipe(*loop_, 64 << 10);
    Side side;
    side.take(wrap_tls_server(*loop_, std::move(left), *server));
    right->write(sent.data(), sent.size());
    ASSERT_TRUE(run_until([&] { return side.is_done; })) << expected;
    EXPECT_EQ(side.error, expected);
  }
}

TEST_F(TlsTest, StreamThatEndsInTheHandshakeFails) {
  for (const size_t kept : {0U, 1U, 8U, 20U}) {
    auto server = TlsContext::server(server_rules_);
    auto client = TlsContext::client(client_rules_);
    auto [left, right] = make_pipe(*loop_, 64 << 10);
    auto [far_left, far_right] = make_pipe(*loop_, 64 << 10);
    Side side;
    Side peer;
    side.take(wrap_tls_server(*loop_, std::move(left), *server));
    peer.take(wrap_tls_client(*loop_, std::move(far_left), *client, "localhost"));
    std::string hello(4096, '\0');
    size_t n = 0;
    ASSERT_TRUE(run_until([&, &far = *far_right] {
      if (n == 0) n = far.read(hello.data(), hello.size()).bytes;
      return n > 0;
    }));
    right->write(hello.data(), kept);
    right.reset();
    ASSERT_TRUE(run_until([&] { return side.is_done; }));
    EXPECT_EQ(side.error, "EOF") << kept;
  }
}

TEST_F(TlsTest, GarbageInTheOpenStreamFailsTheRead) {
  connect();
  ASSERT_TRUE(shake_hands());
  const std::string garbage(100, '\x17');
  client_.tls->inner().write(garbage.data(), garbage.size());
  ASSERT_TRUE(run_until([&] { return server_.last == Kind::Failed; }));
  EXPECT_FALSE(server_.tls->failure().empty());
}

TEST_F(TlsTest, ServerOfAnotherNameIsRefused) {
  connect("example.org");
  ASSERT_TRUE(run_until([&] { return client_.is_done && server_.is_done; }));
  EXPECT_NE(client_.error.find("hostname mismatch (CN=localhost SHA-256: "), std::string::npos)
      << client_.error;
  EXPECT_NE(server_.error.find("alert"), std::string::npos) << server_.error;
}

TEST_F(TlsTest, ServerIsKnownByItsAddressToo) {
  connect("127.0.0.1");
  EXPECT_TRUE(shake_hands()) << client_.error;
}

TEST_F(TlsTest, UnknownAuthorityIsRefusedUnlessInsecure) {
  const TestAuthority other("other");
  client_rules_.ca = other.certificate();
  connect();
  ASSERT_TRUE(run_until([&] { return client_.is_done && server_.is_done; }));
  EXPECT_NE(client_.error.find("certificate verify failed"), std::string::npos) << client_.error;

  server_ = Side();
  client_ = Side();
  client_rules_.insecure = true;
  connect("example.org");
  EXPECT_TRUE(shake_hands()) << client_.error;
  EXPECT_FALSE(client_.tls->facts().is_verified);
}

TEST_F(TlsTest, CertificateItselfMayBeTrusted) {
  client_rules_.ca = server_rules_.certificates[0].certificate;
  connect();
  EXPECT_TRUE(shake_hands()) << client_.error;
}

TEST_F(TlsTest, ExpiredCertificateIsRefused) {
  TestCertificate old;
  old.alt_names = {"DNS:localhost"};
  old.valid_days = -1;
  server_rules_.certificates = {authority_.issue(old)};
  connect();
  ASSERT_TRUE(run_until([&] { return client_.is_done; }));
  EXPECT_NE(client_.error.find("expired"), std::string::npos) << client_.error;
}

TEST_F(TlsTest, ClientsMustShowACertificateWhenVerified) {
  verify_clients();
  connect();
  ASSERT_TRUE(run_until([&] { return server_.is_done; }));
  EXPECT_NE(server_.error.find("peer did not return a certificate"), std::string::npos)
      << server_.error;
}

TEST_F(TlsTest, ClientOfAnotherAuthorityIsRefused) {
  verify_clients();
  const TestAuthority other("other");
  client_rules_.certificates = {other.issue_client("mallory")};
  connect();
  ASSERT_TRUE(run_until([&] { return server_.is_done; }));
  EXPECT_NE(server_.error.find("certificate verify failed"), std::string::npos) << server_.error;
  EXPECT_NE(server_.error.find("CN=mallory SHA-256: "), std::string::npos) << server_.error;
}

TEST_F(TlsTest, ClientCertificateIsDescribed) {
  verify_clients();
  TestCertificate wanted;
  wanted.subject = {{"C", "SE"}, {"O", "Brokkr, Inc"}, {"OU", "Forge"}, {"CN", "Sindri Þ"}};
  wanted.alt_names = {"email:sindri@example.org", "DNS:forge.example.org", "URI:spiffe://forge/sindri"};
  client_rules_.certificates = {authority_.issue(wanted)};
  connect();
  ASSERT_TRUE(shake_hands()) << server_.error << client_.error;
  ASSERT_TRUE(server_.tls->facts().is_verified);
  const TlsCertificate& seen = server_.tls->facts().peer_chain.at(0);
  EXPECT_EQ(seen.subject, "CN=Sindri Þ,OU=Forge,O=Brokkr\\, Inc,C=SE");
  EXPECT_EQ(seen.emails, std::vector<std::string>{"sindri@example.org"});
  EXPECT_EQ(seen.dns_names, std::vector<std::string>{"forge.example.org"});
  EXPECT_EQ(seen.uris, std::vector<std::string>{"spiffe://forge/sindri"});
  EXPECT_EQ(seen.spki_sha256.size(), 64U);
}

TEST_F(TlsTest, OnlyPinnedCertificatesPass) {
  verify_clients();
  client_rules_.certificates = {authority_.issue_client("alice")};
  connect();
  ASSERT_TRUE(shake_hands());
  const std::string pin = server_.tls->facts().peer_chain.at(0).spki_sha256;
  server_ = Side();
  client_ = Side();
  server_rules_.pinned_certs = {std::string(64, 'a'), pin};
  connect();
  EXPECT_TRUE(shake_hands()) << server_.error;
  server_ = Side();
  client_ = Side();
  server_rules_.pinned_certs = {std::string(64, 'a')};
  connect();
  ASSERT_TRUE(run_until([&] { return server_.is_done; }));
  EXPECT_EQ(server_.error, "certificate not pinned");
}

TEST_F(TlsTest, CertificateIsChosenByName) {
  const auto named = [&](const std::string& name, bool is_rsa) {
    TestCertificate wanted;
    wanted.subject = {{"CN", name + (is_rsa ? " rsa" : " ec")}};
    wanted.alt_names = {"DNS:" + name};
    wanted.is_rsa = is_rsa;
    return authority_.issue(wanted);
  };
  server_rules_.certificates = {named("one.test", false), named("two.test", false),
                                named("two.test", true)};
  const auto shown_to = [&](const std::string& name) {
    server_ = Side();
    client_ = Side();
    connect(name);
    if (!shake_hands()) return client_.error;
    return client_.tls->facts().peer_chain.at(0).subject;
  };
  EXPECT_EQ(shown_to("one.test"), "CN=one.test ec");
  EXPECT_EQ(shown_to("two.test"), "CN=two.test ec");
  client_rules_.insecure = true;
  EXPECT_EQ(shown_to("three.test"), "CN=one.test ec");
}

TEST_F(TlsTest, RulesThatCannotBeMetAreNamed) {
  const TestAuthority other("other");
  const auto reason = [&](FunctionRef<void(TlsSettings&)> change) {
    TlsSettings rules = server_rules_;
    change(rules);
    const auto context = TlsContext::server(rules);
    return context ? std::string("accepted") : context.error().text;
  };
  EXPECT_EQ(reason([](TlsSettings& r) { r.certificates.clear(); }),
            "a TLS server needs a certificate and its key");
  EXPECT_EQ(reason([](TlsSettings& r) { r.certificates = {{"/none.pem", "/none.key"}}; }),
            "certificate file \"/none.pem\": open: No such file or directory");
  EXPECT_NE(reason([](TlsSettings& r) { r.certificates[0].key = "x"; }).find("key file: no private key"),
            std::string::npos);
  EXPECT_NE(reason([&](TlsSettings& r) { r.certificates[0].key = other.issue_server().key; })
                .find("does not belong to certificate"),
            std::string::npos);
  EXPECT_EQ(reason([](TlsSettings& r) { r.min_version = "1.1"; }),
            "TLS version \"1.1\" is not supported, 1.2 and 1.3 are");
  EXPECT_EQ(reason([](TlsSettings& r) { r.cipher_suites = {"TLS_NONE"}; }),
            "cipher suite \"TLS_NONE\" is not supported");
  EXPECT_EQ(reason([](TlsSettings& r) { r.curves = {"Curve1"}; }), "curve \"Curve1\" is not supported");
  EXPECT_EQ(reason([](TlsSettings& r) { r.verify_client = true, r.ca = "/none.pem"; }),
            "CA file \"/none.pem\": open: No such file or directory");
  EXPECT_EQ(reason([](TlsSettings&) {}), "accepted");
}

TEST(TlsNames, TakesGoAndOpensslNames) {
  const auto lists = cipher_lists({"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
                                   "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_AES_256_GCM_SHA384"});
  ASSERT_TRUE(lists) << lists.error().text;
  EXPECT_EQ(lists->tls12,
            "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-CHACHA20-POLY1305");
  EXPECT_EQ(lists->tls13, "TLS_AES_256_GCM_SHA384");
  EXPECT_EQ(*group_list({"X25519MLKEM768", "CurveP256", "X25519", "P-384"}), "P-256:X25519:P-384");
}

}  // namespace
}  // namespace brokkr::io
