// Clients over TLS: when INFO comes, who gets in without, and what those are told who do not.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <future>
#include <thread>

#include "auth/authenticator.h"
#include "broker/server.h"
#include "broker/tls_rules.h"
#include "io/testing/certificates.h"

namespace brokkr::broker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
constexpr int64_t kTlsClientTurns = 500;

int connect_to(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  int flags = 1;
  EXPECT_EQ(ioctl(fd, FIONBIO, &flags), 0);
  return fd;
}

// A client on a loop of its own that can change to TLS at any point.
class TlsClient final : io::TransportHandler {
 public:
  TlsClient(Clock& clock, uint16_t port, std::shared_ptr<const io::TlsContext> context)
      : loop_(std::move(*io::Loop::open({}, clock))), context_(std::move(context)) {
    stream_ = std::move(*io::adopt_socket(*loop_, connect_to(port)));
    stream_->listen(this, true, false);
  }
  // Why the handshake failed, or empty.
  std::string start_tls() {
    auto wrapped = io::wrap_tls_client(*loop_, std::move(stream_), context_, "localhost");
    io::TlsTransport* tls = wrapped.get();
    stream_ = std::move(wrapped);
    std::string error;
    bool is_done = false;
    tls->start_handshake([&](const Status& status) {
      is_done = true;
      if (!status) error = status.error().text;
    });
    turn_until([&] { return is_done; });
    if (!is_done) return "no end";
    if (error.empty()) stream_->listen(this, true, false);
    return error;
  }
  TlsClient& send(std::string_view text) {
    EXPECT_EQ(stream_->write(text.data(), text.size()).bytes, text.size());
    return *this;
  }
  // Reads until `text` has come; returns what came up to its end.
  std::string expect(std::string_view text) {
    turn_until([&] { return received_.find(text) != std::string::npos || is_closed_; });
    const size_t at = received_.find(text);
    EXPECT_NE(at, std::string::npos) << "wanted <" << text << "> but have <" << received_ << ">";
    if (at == std::string::npos) return received_;
    const std::string before = received_.substr(0, at + text.size());
    received_.erase(0, before.size());
    return before;
  }
  // Everything until the server closes.
  std::string drain() {
    turn_until([&] { return is_closed_; });
    EXPECT_TRUE(is_closed_);
    return received_;
  }
  bool has_input(Duration wait) {
    loop_->run_once(wait);
    return !received_.empty();
  }

 private:
  void on_readable() override {
    char bytes[16384];
    const io::IoResult got = stream_->read(bytes, sizeof bytes);
    received_.append(bytes, got.bytes);
    if (got.kind == io::IoResult::Kind::Closed || got.kind == io::IoResult::Kind::Failed) {
      is_closed_ = true;
      stream_->listen(nullptr, false, false);
    }
  }
  void on_writable() override {}
  void turn_until(FunctionRef<bool()> done) {
    for (int64_t i = 0; i < kTlsClientTurns && !done(); ++i) loop_->run_once(milliseconds(20));
  }
  std::unique_ptr<io::Loop> loop_;
  std::shared_ptr<const io::TlsContext> context_;
  std::unique_ptr<io::Transport> stream_;
  std::string received_;
  bool is_closed_ = false;
};

class ConnectionTlsTest : public testing::Test {
 protected:
  void SetUp() override {
    server_side_.certificates = {authority_.issue_server()};
    client_side_.ca = authority_.certificate();
    client_side_.ca_is_text = true;
  }
  void TearDown() override { stop(); }

  void start(FunctionRef<void(TlsRules&)> change = [](TlsRules&) {}, Settings settings = {}) {
    auto rules = std::make_shared<TlsRules>();
    rules->context = *io::TlsContext::server(server_side_);
    rules->verify = server_side_.verify_client;
    change(*rules);
    settings.tls = std::move(rules);
    log_ = Log::discard();
    loop_ = std::move(*io::Loop::open({}, clock_));
    Server::Options options;
    options.settings = std::move(settings);
    options.loops = 2;
    server_ = std::move(*Server::open(std::move(options), *loop_, clock_, *log_));
    ASSERT_TRUE(server_->listen({"127.0.0.1", 0, ""}));
    port_ = server_->snapshot()->addresses.front().port;
    thread_ = std::thread([this] { loop_->run(); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    loop_->stop();
    thread_.join();
    loop_->release_thread();
    server_->stop();
  }
  TlsClient client() { return TlsClient(clock_, port_, *io::TlsContext::client(client_side_)); }
  // What the server keeps of its only client's handshake.
  std::shared_ptr<const TlsFacts> facts() {
    std::shared_ptr<const TlsFacts> found;
    server_->visit_shards([&](Shard& shard) {
      for (const auto& [id, connection] : shard.connections()) found = connection->origin().tls;
    });
    return found;
  }

  SystemClock clock_;
  io::TestAuthority authority_;
  io::TlsSettings server_side_;
  io::TlsSettings client_side_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
  uint16_t port_ = 0;
};

TEST_F(ConnectionTlsTest, InfoComesInPlainTextAndCommandsEncrypted) {
  start();
  TlsClient alice = client();
  EXPECT_NE(alice.expect("\r\n").find("\"tls_required\":true"), std::string::npos);
  ASSERT_EQ(alice.start_tls(), "");
  alice.send("CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\n").expect("PONG\r\n");
  alice.send("SUB a 1\r\nPUB a 2\r\nhi\r\n").expect("MSG a 1 2\r\nhi\r\n");
  ASSERT_NE(facts(), nullptr);
  EXPECT_EQ(facts()->version, "1.3");
  EXPECT_FALSE(facts()->was_first);
}

TEST_F(ConnectionTlsTest, LargeMessagesComeThroughWhole) {
  start();
  TlsClient alice = client();
  alice.expect("\r\n");
  ASSERT_EQ(alice.start_tls(), "");
  std::string big(60'000, 'x');
  for (size_t i = 0; i < big.size(); i += 97) big[i] = static_cast<char>('a' + i % 23);
  alice.send("CONNECT {\"verbose\":false}\r\nSUB a 1\r\n");
  alice.send("PUB a 60000\r\n" + big + "\r\n").send("PING\r\n");
  EXPECT_EQ(alice.expect("PONG\r\n"), "MSG a 1 60000\r\n" + big + "\r\nPONG\r\n");
}

TEST_F(ConnectionTlsTest, PlainTextIsToldThatTlsIsRequired) {
  start();
  TlsClient alice = client();
  alice.expect("\r\n");
  alice.send("CONNECT {\"verbose\":false}\r\nPING\r\n");
  EXPECT_EQ(alice.drain(), "-ERR 'Secure Connection - TLS Required'\r\n");
}

TEST_F(ConnectionTlsTest, HandshakeHasATimeOut) {
  start([](TlsRules& rules) { rules.timeout = milliseconds(50); });
  TlsClient alice = client();
  alice.expect("\r\n");
  EXPECT_EQ(alice.drain(), "-ERR 'Secure Connection - TLS Required'\r\n");
}

TEST_F(ConnectionTlsTest, HandshakeComesFirstWhenAskedFor) {
  start([](TlsRules& rules) { rules.handshake_first = true; });
  TlsClient alice = client();
  EXPECT_FALSE(alice.has_input(milliseconds(30)));
  ASSERT_EQ(alice.start_tls(), "");
  EXPECT_NE(alice.expect("\r\n").find("\"tls_required\":true"), std::string::npos);
  alice.send("PING\r\n").expect("PONG\r\n");
  EXPECT_TRUE(facts()->was_first);
}

TEST_F(ConnectionTlsTest, HandshakeFirstFallsBackAfterAWhile) {
  start([](TlsRules& rules) {
    rules.handshake_first = true;
    rules.handshake_first_fallback = milliseconds(50);
  });
  TlsClient patient = client();
  EXPECT_NE(patient.expect("\r\n").find("\"tls_required\":true"), std::string::npos);
  ASSERT_EQ(patient.start_tls(), "");
  patient.send("PING\r\n").expect("PONG\r\n");
  EXPECT_FALSE(facts()->was_first);
}

TEST_F(ConnectionTlsTest, HandshakeWithinTheFallbackIsFirst) {
  start([](TlsRules& rules) {
    rules.handshake_first = true;
    rules.handshake_first_fallback = seconds(5);
  });
  TlsClient eager = client();
  ASSERT_EQ(eager.start_tls(), "");
  eager.expect("INFO {");
  eager.send("PING\r\n").expect("PONG\r\n");
  EXPECT_TRUE(facts()->was_first);
}

TEST_F(ConnectionTlsTest, FirstByteDecidesWhereBothAreAllowed) {
  start([](TlsRules& rules) { rules.allow_non_tls = true; });
  TlsClient plain = client();
  const std::string info = plain.expect("\r\n");
  EXPECT_NE(info.find("\"tls_available\":true"), std::string::npos) << info;
  EXPECT_EQ(info.find("\"tls_required\":true"), std::string::npos) << info;
  plain.send("CONNECT {\"verbose\":false}\r\nPING\r\n").expect("PONG\r\n");
  TlsClient encrypted = client();
  encrypted.expect("\r\n");
  ASSERT_EQ(encrypted.start_tls(), "");
  encrypted.send("PING\r\n").expect("PONG\r\n");
}

TEST_F(ConnectionTlsTest, SilentClientIsServedWithoutTlsWhereBothAreAllowed) {
  start([](TlsRules& rules) {
    rules.allow_non_tls = true;
    rules.timeout = milliseconds(30);
  });
  TlsClient slow = client();
  slow.expect("\r\n");
  EXPECT_FALSE(slow.has_input(milliseconds(100)));
  slow.send("PING\r\n").expect("PONG\r\n");
}

TEST_F(ConnectionTlsTest, CheckedCertificateIsKeptForAuthentication) {
  server_side_.verify_client = true;
  server_side_.ca = authority_.certificate();
  server_side_.ca_is_text = true;
  client_side_.certificates = {authority_.issue_client("alice")};
  start();
  TlsClient alice = client();
  EXPECT_NE(alice.expect("\r\n").find("\"tls_verify\":true"), std::string::npos);
  ASSERT_EQ(alice.start_tls(), "");
  alice.send("PING\r\n").expect("PONG\r\n");
  ASSERT_NE(facts(), nullptr);
  EXPECT_TRUE(facts()->is_verified);
  EXPECT_EQ(facts()->identity.subject, "CN=alice");
  EXPECT_EQ(facts()->peer_certificates.size(), 1U);
}

TEST_F(ConnectionTlsTest, HandshakesBeyondTheRateAreRefused) {
  start([](TlsRules& rules) { rules.rate = std::make_shared<HandshakeRate>(0); });
  TlsClient alice = client();
  alice.expect("\r\n");
  EXPECT_EQ(alice.drain(),
            "-ERR 'Connection throttling is active. Please try again later.'\r\n");
  server_->visit_shards([](Shard&) {});  // the turn that closed it is over
  EXPECT_EQ(server_->connection_count(), 0U);
}

TEST(HandshakeRate, AllowsSoManyASecond) {
  HandshakeRate rate(2);
  const MonotonicTime start(seconds(100));
  using Answer = HandshakeRate::Answer;
  EXPECT_EQ(rate.ask(start), Answer::Allowed);
  EXPECT_EQ(rate.ask(start + milliseconds(900)), Answer::Allowed);
  EXPECT_EQ(rate.ask(start + milliseconds(900)), Answer::FirstRefused);
  EXPECT_EQ(rate.ask(start + milliseconds(900)), Answer::Refused);
  EXPECT_EQ(rate.ask(start + seconds(1)), Answer::Allowed);
}

TEST_F(ConnectionTlsTest, FullServerSaysSoInPlainText) {
  Settings settings;
  settings.max_connections = 1;
  start([](TlsRules&) {}, settings);
  TlsClient first = client();
  first.expect("\r\n");
  TlsClient second = client();
  second.expect("\r\n");
  EXPECT_EQ(second.drain(), "-ERR 'maximum connections exceeded'\r\n");
}

TEST_F(ConnectionTlsTest, AuthenticationTimerStartsBehindTheHandshake) {
  Settings settings;
  settings.ping_interval = milliseconds(40);
  start([](TlsRules&) {}, settings);
  TlsClient slow = client();
  slow.expect("\r\n");
  EXPECT_FALSE(slow.has_input(milliseconds(120)));  // no PING in the middle of the handshake
  ASSERT_EQ(slow.start_tls(), "");
  slow.send("CONNECT {\"verbose\":false}\r\nPING\r\n").expect("PONG\r\n");
}

TEST_F(ConnectionTlsTest, ReloadShowsTheNewCertificate) {
  start();
  TlsClient before = client();
  before.expect("\r\n");
  ASSERT_EQ(before.start_tls(), "");
  const io::TestAuthority other("other");
  io::TlsSettings next = server_side_;
  next.certificates = {other.issue_server()};
  auto rules = std::make_shared<TlsRules>();
  rules->context = *io::TlsContext::server(next);
  std::promise<void> reloaded;
  loop_->post([&] {
    Settings settings = *server_->snapshot()->settings;
    settings.tls = rules;
    server_->reload(std::move(settings), auth::Authenticator::open_to_all());
    reloaded.set_value();
  });
  reloaded.get_future().wait();
  server_->visit_shards([](Shard&) {});
  before.send("PING\r\n").expect("PONG\r\n");
  client_side_.ca = other.certificate();
  TlsClient after = client();
  after.expect("\r\n");
  EXPECT_EQ(after.start_tls(), "");
}

}  // namespace
}  // namespace brokkr::broker
