#include "client/connection.h"

#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "base/bytes.h"
#include "client/sync.h"
#include "io/socket.h"
#include "io/transport.h"
#include "protocol/headers.h"

namespace brokkr::client {
namespace {

constexpr Duration kPatience = std::chrono::seconds(5);

// The far end of a pipe, scripted by the test: it collects what the client sends and says what the
// test tells it to.
class FakeServer final : io::TransportHandler {
 public:
  explicit FakeServer(io::Loop& loop) : loop_(loop) {}

  std::unique_ptr<io::Transport> accept() {
    auto [ours, theirs] = io::make_pipe(loop_);
    stream_ = std::move(ours);
    received_.clear();
    ++accepted_;
    stream_->listen(this, true, false);
    say(info_);
    return std::move(theirs);
  }
  void say(const std::string& text) {
    ASSERT_NE(stream_, nullptr);
    stream_->write(text.data(), text.size());
  }
  void hang_up() { stream_.reset(); }
  bool has(const std::string& text) const { return received_.find(text) != std::string::npos; }
  // Everything after the first `marker`, up to the next blank or line end.
  std::string word_after(const std::string& marker) const {
    const size_t at = received_.find(marker);
    if (at == std::string::npos) return {};
    const size_t begin = at + marker.size();
    return received_.substr(begin, received_.find_first_of(" \r", begin) - begin);
  }

  std::string info_ = "INFO {\"headers\":true,\"max_payload\":100,\"proto\":1} \r\n";
  bool answers_pings_ = true;
  std::string received_;
  int accepted_ = 0;

 private:
  void on_readable() override {
    char buffer[65536];
    const io::IoResult result = stream_->read(buffer, sizeof buffer);
    if (result.kind != io::IoResult::Kind::Ok) return stream_->listen(nullptr, false, false);
    const std::string text(buffer, result.bytes);
    received_ += text;
    if (!answers_pings_) return;
    for (size_t at = 0; (at = text.find("PING\r\n", at)) != std::string::npos; ++at) say("PONG\r\n");
  }
  void on_writable() override {}

  io::Loop& loop_;
  std::unique_ptr<io::Transport> stream_;
};

class ConnectionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    loop_ = std::move(*io::Loop::open({}, clock_));
    server_.emplace(*loop_);
    options_.make_transport = [this] {
      return is_refusing_ ? nullptr : server_->accept();
    };
    options_.reconnect_wait = std::chrono::milliseconds(1);
    options_.reconnect_jitter = {};
  }
  void TearDown() override {
    connection_.reset();
    server_.reset();
  }
  void open() {
    events_.connected = [this] { log_ += "connected;"; };
    events_.disconnected = [this](const Error&) { log_ += "disconnected;"; };
    events_.reconnected = [this] { log_ += "reconnected;"; };
    events_.closed = [this](const Error& error) { log_ += "closed:" + error.text + ";"; };
    events_.error = [this](const Error& error) { log_ += "error:" + error.text + ";"; };
    events_.lame_duck = [this] { log_ += "lame;"; };
    auto opened =
        Connection::open({*loop_, resolver_, random_}, std::move(options_), std::move(events_));
    ASSERT_TRUE(opened);
    connection_ = std::move(*opened);
  }
  void connect() {
    open();
    ASSERT_TRUE(until([this] { return connection_->is_connected(); }));
  }
  bool until(const std::function<bool()>& done) { return run_until(*loop_, kPatience, done); }
  void expect_received(const std::string& text) {
    EXPECT_TRUE(until([&] { return server_->has(text); })) << server_->received_;
  }
  std::unique_ptr<Subscription> subscribe(const std::string& subject,
                                          const SubscribeOptions& options = {}) {
    return std::move(*connection_->subscribe(
        subject,
        [this](const Message& message) {
          log_ += std::string(message.subject) + "=" + std::string(message.payload) + ";";
        },
        options));
  }

  SystemClock clock_;
  SeededRandom random_{42};
  std::unique_ptr<io::Loop> loop_;
  io::Worker resolver_{"resolver"};
  std::optional<FakeServer> server_;
  Options options_;
  Events events_;
  bool is_refusing_ = false;
  std::string log_;
  std::unique_ptr<Connection> connection_;
};

TEST_F(ConnectionTest, GreetsWithConnectAndPing) {
  options_.name = "n\"x";
  options_.user = "u";
  options_.password = "p";
  connect();
  EXPECT_TRUE(server_->has("CONNECT {"));
  EXPECT_TRUE(server_->has("\"user\":\"u\""));
  EXPECT_TRUE(server_->has("\"name\":\"n\\\"x\""));
  EXPECT_TRUE(server_->has("}\r\nPING\r\n"));
  EXPECT_EQ(log_, "connected;");
}

TEST_F(ConnectionTest, PublishesOfOneTurnLeaveTogether) {
  connect();
  server_->received_.clear();
  ASSERT_TRUE(connection_->publish("a", "x"));
  ASSERT_TRUE(connection_->publish("b", "yy", {"r", {}}));
  ASSERT_TRUE(connection_->publish("c", "z", {{}, "NATS/1.0\r\nA: b\r\n\r\n"}));
  EXPECT_EQ(server_->received_, "");
  expect_received("PUB a 1\r\nx\r\nPUB b r 2\r\nyy\r\nHPUB c 18 19\r\nNATS/1.0\r\nA: b\r\n\r\nz\r\n");
}

TEST_F(ConnectionTest, PublishChecksSubjectAndSize) {
  connect();
  EXPECT_EQ(connection_->publish("", "x").error().code, Errc::InvalidSubject);
  EXPECT_EQ(connection_->publish("a b", "x").error().code, Errc::InvalidSubject);
  EXPECT_EQ(connection_->publish("a\r\nb", "x").error().code, Errc::InvalidSubject);
  EXPECT_EQ(connection_->publish("a", "x", {"b c", {}}).error().code, Errc::InvalidSubject);
  EXPECT_EQ(connection_->publish("a", std::string(101, 'x')).error().code, Errc::LimitExceeded);
  EXPECT_TRUE(connection_->publish("a", std::string(100, 'x')));
}

TEST_F(ConnectionTest, PublishBeyondThePendingLimitIsRefusedThenRoomIsAnnounced) {
  options_.pending_bytes_max = 150;
  events_.drained_output = [this] { log_ += "room;"; };
  connect();
  EXPECT_TRUE(connection_->publish("a", std::string(90, 'x')));
  EXPECT_EQ(connection_->publish("a", std::string(90, 'x')).error().code, Errc::LimitExceeded);
  EXPECT_TRUE(until([this] { return log_ == "connected;room;"; })) << log_;
}

TEST_F(ConnectionTest, DeliversToTheSubscriptionOfTheSid) {
  connect();
  const auto a = subscribe("a.*");
  const auto b = subscribe("b", {"q", 0});
  expect_received("SUB a.* 1\r\nSUB b q 2\r\n");
  server_->say("MSG a.1 1 2\r\nhi\r\nMSG b 2 0\r\n\r\nMSG c 9 1\r\nx\r\n");
  EXPECT_TRUE(until([this] { return log_ == "connected;a.1=hi;b=;"; })) << log_;
  EXPECT_EQ(connection_->stats().in_messages, 3U);
}

TEST_F(ConnectionTest, MessagesMayArriveByteByByte) {
  connect();
  const auto a = subscribe("a");
  for (const char c : std::string("HMSG a 1 r 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\nMSG a 1 1\r\nx\r\n")) {
    server_->say(std::string(1, c));
    loop_->run_once(Duration(0));
  }
  EXPECT_TRUE(until([this] { return log_ == "connected;a=hi;a=x;"; })) << log_;
}

TEST_F(ConnectionTest, LargeMessageArrivesWhole) {
  connect();
  size_t size = 0;
  const auto a = connection_->subscribe("a", [&](const Message& m) { size = m.payload.size(); });
  const std::string body(3 << 20, 'y');
  server_->say("MSG a 1 " + std::to_string(body.size()) + "\r\n");
  for (size_t at = 0; at < body.size(); at += 100'000) {
    server_->say(body.substr(at, 100'000));
    loop_->run_once(Duration(0));
  }
  server_->say("\r\n");
  EXPECT_TRUE(until([&] { return size == body.size(); })) << size;
}

TEST_F(ConnectionTest, DestroyedSubscriptionHearsNothing) {
  connect();
  auto a = subscribe("a");
  a.reset();
  expect_received("SUB a 1\r\nUNSUB 1\r\n");
  server_->say("MSG a 1 1\r\nx\r\nPING\r\n");
  expect_received("PONG");
  EXPECT_EQ(log_, "connected;");
}

TEST_F(ConnectionTest, SubscriptionEndsAfterItsMaximum) {
  connect();
  const auto a = subscribe("a", {{}, 2});
  expect_received("SUB a 1\r\nUNSUB 1 2\r\n");
  server_->say("MSG a 1 1\r\n1\r\nMSG a 1 1\r\n2\r\nMSG a 1 1\r\n3\r\n");
  EXPECT_TRUE(until([&] { return !a->is_active(); }));
  EXPECT_EQ(log_, "connected;a=1;a=2;");
}

TEST_F(ConnectionTest, HandlerMayDestroyItsSubscription) {
  connect();
  std::unique_ptr<Subscription> sub;
  const std::string captured = "kept while the handler runs";
  sub = std::move(*connection_->subscribe("a", [&, captured](const Message&) {
    sub.reset();
    log_ += captured;
  }));
  server_->say("MSG a 1 1\r\n1\r\nMSG a 1 1\r\n2\r\n");
  EXPECT_TRUE(until([&] { return log_ == "connected;" + captured; })) << log_;
}

TEST_F(ConnectionTest, HandlerMayDestroyTheConnection) {
  connect();
  std::unique_ptr<Subscription> sub;
  bool is_done = false;
  sub = std::move(*connection_->subscribe("a", [&](const Message&) {
    connection_.reset();
    sub.reset();
    is_done = true;
  }));
  server_->say("MSG a 1 1\r\n1\r\nMSG a 1 1\r\n2\r\n");
  EXPECT_TRUE(until([&] { return is_done; }));
  EXPECT_EQ(log_, "connected;");
}

TEST_F(ConnectionTest, EventMayDestroyTheConnection) {
  bool is_done = false;
  Events events;
  events.connected = [&] {
    connection_.reset();
    is_done = true;
  };
  connection_ = std::move(
      *Connection::open({*loop_, resolver_, random_}, std::move(options_), std::move(events)));
  EXPECT_TRUE(until([&] { return is_done; }));
}

TEST_F(ConnectionTest, RequestsShareOneInboxAndMatchTheirReplies) {
  connect();
  std::string answers;
  const auto note = [&](const Result<Message>& reply) {
    answers += reply ? std::string(reply->payload) : reply.error().text;
  };
  ASSERT_TRUE(connection_->request("one", "1", kPatience, note));
  ASSERT_TRUE(connection_->request("two", "2", kPatience, note));
  expect_received("PUB two");
  const std::string first = server_->word_after("PUB one ");
  const std::string second = server_->word_after("PUB two ");
  EXPECT_EQ(first.substr(0, 7), "_INBOX.");
  EXPECT_TRUE(server_->has("SUB " + first.substr(0, first.rfind('.')) + ".* 1\r\n"));
  server_->say("MSG " + second + " 1 1\r\nB\r\nMSG " + first + " 1 1\r\nA\r\nMSG " + first +
               " 1 1\r\nX\r\n");
  EXPECT_TRUE(until([&] { return answers == "BA"; })) << answers;
}

TEST_F(ConnectionTest, NoRespondersEndsTheRequestAtOnce) {
  connect();
  std::optional<Errc> code;
  ASSERT_TRUE(connection_->request("one", "", std::chrono::hours(1),
                                   [&](const Result<Message>& r) { code = r.error().code; }));
  expect_received("PUB one");
  server_->say("HMSG " + server_->word_after("PUB one ") + " 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n");
  EXPECT_TRUE(until([&] { return code.has_value(); }));
  EXPECT_EQ(*code, Errc::NoResponders);
}

TEST_F(ConnectionTest, RequestTimesOut) {
  connect();
  std::string text;
  ASSERT_TRUE(connection_->request("one", "", std::chrono::milliseconds(5),
                                   [&](const Result<Message>& r) { text = r.error().text; }));
  EXPECT_TRUE(until([&] { return text == "no reply within 5ms"; })) << text;
}

TEST_F(ConnectionTest, CancelledRequestStaysSilent) {
  connect();
  bool is_called = false;
  const auto id = connection_->request("one", "", std::chrono::milliseconds(1),
                                       [&](const Result<Message>&) { is_called = true; });
  connection_->cancel(*id);
  bool is_flushed = false;
  connection_->flush(kPatience, [&](const Status&) { is_flushed = true; });
  EXPECT_TRUE(until([&] { return is_flushed; }));
  EXPECT_FALSE(is_called);
}

TEST_F(ConnectionTest, RequestManyEndsWithItsLimits) {
  connect();
  int ends = 0;
  const auto many = [&](const std::string& subject, ManyOptions options) {
    ASSERT_TRUE(connection_->request_many(
        subject, "", options,
        [this](const Message& m) { log_ += std::string(m.payload) + ","; },
        [&](const Status& status) {
          log_ += status ? "ok;" : "failed;";
          ++ends;
        }));
    expect_received("PUB " + subject + " ");
  };
  log_.clear();
  many("max", {kPatience, {}, 2, false});
  const std::string max = server_->word_after("PUB max ");
  server_->say("MSG " + max + " 1 1\r\n1\r\nMSG " + max + " 1 1\r\n2\r\nMSG " + max + " 1 1\r\n3\r\n");
  EXPECT_TRUE(until([&] { return ends == 1; }));
  many("empty", {kPatience, {}, 0, true});
  const std::string empty = server_->word_after("PUB empty ");
  server_->say("MSG " + empty + " 1 1\r\n4\r\nMSG " + empty + " 1 0\r\n\r\n");
  EXPECT_TRUE(until([&] { return ends == 2; }));
  many("stall", {kPatience, std::chrono::milliseconds(2), 0, false});
  server_->say("MSG " + server_->word_after("PUB stall ") + " 1 1\r\n5\r\n");
  EXPECT_TRUE(until([&] { return ends == 3; }));
  many("none", {std::chrono::milliseconds(2), {}, 0, false});
  EXPECT_TRUE(until([&] { return ends == 4; }));
  EXPECT_EQ(log_, "1,2,ok;4,ok;5,ok;failed;");
}

TEST_F(ConnectionTest, ReconnectsAndPutsSubscriptionsInPlace) {
  connect();
  const auto a = subscribe("a", {"q", 0});
  const auto b = subscribe("b", {{}, 3});
  expect_received("UNSUB 2 3");
  server_->say("MSG b 2 1\r\n1\r\n");
  EXPECT_TRUE(until([&] { return b->delivered_count() == 1; }));
  log_.clear();
  server_->hang_up();
  EXPECT_TRUE(until([this] { return !connection_->is_connected(); }));
  ASSERT_TRUE(connection_->publish("late", "x"));
  EXPECT_TRUE(until([this] { return log_ == "disconnected;reconnected;"; })) << log_;
  expect_received("SUB a q 1\r\nSUB b 2\r\nUNSUB 2 2\r\nPUB late 1\r\nx\r\n");
  EXPECT_EQ(connection_->stats().reconnects, 1U);
}

TEST_F(ConnectionTest, PublishesWhileDisconnectedAreBounded) {
  options_.reconnect_buffer_bytes_max = 200;
  options_.reconnect_wait = std::chrono::hours(1);
  connect();
  is_refusing_ = true;
  server_->hang_up();
  EXPECT_TRUE(until([this] { return connection_->state() == State::Waiting; }));
  EXPECT_TRUE(connection_->publish("a", std::string(100, 'x')));
  EXPECT_EQ(connection_->publish("a", std::string(100, 'x')).error().code, Errc::LimitExceeded);
}

TEST_F(ConnectionTest, GivesUpAfterItsAttempts) {
  options_.reconnect_attempts_max = 3;
  connect();
  is_refusing_ = true;
  server_->hang_up();
  EXPECT_TRUE(until([this] { return connection_->state() == State::Closed; }));
  EXPECT_EQ(log_, "connected;disconnected;closed:no in-process stream;");
}

TEST_F(ConnectionTest, FirstFailureClosesUnlessToldToRetry) {
  is_refusing_ = true;
  open();
  EXPECT_TRUE(until([this] { return connection_->state() == State::Closed; }));
  EXPECT_EQ(log_, "closed:no in-process stream;");
}

TEST_F(ConnectionTest, RetriesTheFirstConnectionWhenTold) {
  is_refusing_ = true;
  options_.retry_first_connect = true;
  open();
  EXPECT_TRUE(until([this] { return connection_->state() == State::Waiting; }));
  is_refusing_ = false;
  EXPECT_TRUE(until([this] { return connection_->is_connected(); }));
}

TEST_F(ConnectionTest, RefusedCredentialsCloseWithTheServersWords) {
  server_->answers_pings_ = false;
  open();
  expect_received("PING\r\n");
  server_->say("-ERR 'Authorization Violation'\r\n");
  EXPECT_TRUE(until([this] { return connection_->state() == State::Closed; }));
  EXPECT_EQ(connection_->last_error().code, Errc::PermissionDenied);
  EXPECT_EQ(connection_->last_error().text, "Authorization Violation");
}

TEST_F(ConnectionTest, TlsWithoutAHostNameIsRefused) {
  server_->info_ = "INFO {\"tls_required\":true} \r\n";
  open();
  EXPECT_TRUE(until([this] { return connection_->state() == State::Closed; }));
  EXPECT_EQ(connection_->last_error().text, "tls: in-process has no host name");
}

TEST_F(ConnectionTest, SilentServerTimesOut) {
  options_.connect_timeout = std::chrono::milliseconds(5);
  server_->answers_pings_ = false;
  open();
  EXPECT_TRUE(until([this] { return connection_->state() == State::Closed; }));
  EXPECT_EQ(connection_->last_error().code, Errc::TimedOut);
}

TEST_F(ConnectionTest, StaleConnectionIsLeft) {
  options_.ping_interval = std::chrono::milliseconds(2);
  connect();
  server_->answers_pings_ = false;
  EXPECT_TRUE(until([this] { return server_->accepted_ == 2; }));
  EXPECT_EQ(connection_->last_error().text, "stale connection");
}

TEST_F(ConnectionTest, PermissionErrorReachesTheSubscription) {
  connect();
  const auto a = subscribe("secret", {"q", 0});
  a->on_error([this](const Error&) { log_ += "denied;"; });
  server_->say("-ERR 'Permissions Violation for Subscription to \"secret\" using queue \"q\"'\r\n");
  EXPECT_TRUE(until([this] { return log_.find("error:") != std::string::npos; }));
  EXPECT_EQ(log_.substr(0, 23), "connected;denied;error:");
  EXPECT_TRUE(connection_->is_connected());
}

TEST_F(ConnectionTest, PermissionErrorEndsTheRequestAtOnce) {
  connect();
  std::optional<Errc> code;
  ASSERT_TRUE(connection_->request("secret", "", std::chrono::hours(1),
                                   [&](const Result<Message>& r) { code = r.error().code; }));
  expect_received("PUB secret");
  server_->say("-ERR 'Permissions Violation for Publish to \"secret\"'\r\n");
  EXPECT_TRUE(until([&] { return code.has_value(); }));
  EXPECT_EQ(*code, Errc::PermissionDenied);
}

TEST_F(ConnectionTest, LameDuckIsTold) {
  connect();
  server_->say("INFO {\"headers\":true,\"ldm\":true} \r\n");
  EXPECT_TRUE(until([this] { return log_ == "connected;lame;"; })) << log_;
}

TEST_F(ConnectionTest, DrainDeliversWhatWasOnItsWayThenCloses) {
  connect();
  auto echo = connection_->subscribe("a", [this](const Message& message) {
    ASSERT_TRUE(connection_->publish("out", message.payload));
  });
  expect_received("SUB a 1");
  server_->answers_pings_ = false;
  bool is_done = false;
  connection_->drain([&](const Status& status) { is_done = static_cast<bool>(status); });
  expect_received("UNSUB 1\r\nPING\r\n");
  server_->say("MSG a 1 1\r\nx\r\nPONG\r\n");
  expect_received("PUB out 1\r\nx\r\nPING\r\n");
  EXPECT_FALSE(is_done);
  server_->say("PONG\r\n");
  EXPECT_TRUE(until([&] { return is_done; }));
  EXPECT_EQ(connection_->state(), State::Closed);
}

TEST_F(ConnectionTest, CloseEndsRequestsAndFlushes) {
  connect();
  server_->answers_pings_ = false;
  std::string ends;
  ASSERT_TRUE(connection_->request("a", "", kPatience, [&](const Result<Message>& r) {
    ends += r.error().code == Errc::Closed ? "request;" : "?";
  }));
  connection_->flush(kPatience, [&](const Status& s) {
    ends += s.error().code == Errc::Closed ? "flush;" : "?";
  });
  connection_->close();
  EXPECT_EQ(ends, "flush;request;");
  EXPECT_EQ(connection_->publish("a", "").error().code, Errc::Closed);
}

TEST_F(ConnectionTest, FlushTimesOutAndLaterOnesStillMatchTheirPong) {
  connect();
  server_->answers_pings_ = false;
  std::string ends;
  connection_->flush(std::chrono::milliseconds(2), [&](const Status& s) { ends += s ? "ok;" : "late;"; });
  connection_->flush(kPatience, [&](const Status& s) { ends += s ? "ok;" : "late;"; });
  EXPECT_TRUE(until([&] { return ends == "late;"; }));
  server_->say("PONG\r\n");
  loop_->run_once(Duration(0));
  EXPECT_EQ(ends, "late;");
  server_->say("PONG\r\n");
  EXPECT_TRUE(until([&] { return ends == "late;ok;"; }));
}

TEST_F(ConnectionTest, GarbageIsLeftBehind) {
  connect();
  server_->say("HTTP/1.1 400 Bad Request\r\n");
  EXPECT_TRUE(until([this] { return server_->accepted_ == 2; }));
}

TEST(ConnectionOverSockets, NoServerIsAnErrorWithItsAddress) {
  Options options;
  options.servers = {"unix:/nonexistent/brokkr.sock"};
  const auto session = Session::connect(std::move(options));
  ASSERT_FALSE(session);
  EXPECT_NE(session.error().text.find("/nonexistent/brokkr.sock"), std::string::npos)
      << session.error().text;
}

}  // namespace
}  // namespace brokkr::client
