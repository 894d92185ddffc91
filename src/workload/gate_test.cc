#include "workload/gate.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>

#include "base/bytes.h"
#include "client/jetstream_test_server.h"
#include "crypto/nkey.h"
#include "protocol/info.h"

namespace brokkr::workload {
namespace {

constexpr Duration kPatience = std::chrono::seconds(10);

// The program's end of a connection to the gate, by hand.
class Program {
 public:
  Program(io::Loop& loop, Gate& gate) : loop_(loop) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    fd_ = ends[0];
    gate.accept(ends[1]);
  }
  ~Program() { close(fd_); }
  Program(const Program&) = delete;

  void say(std::string_view text) {
    client::run_until(loop_, kPatience, [&] {
      const ssize_t sent = send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent > 0) text.remove_prefix(static_cast<size_t>(sent));
      return text.empty() || (sent < 0 && errno != EAGAIN);
    });
  }
  // Waits for `text` in what has not been expected yet.
  bool hears(std::string_view text) {
    size_t at = std::string::npos;
    client::run_until(loop_, kPatience, [&] {
      receive();
      at = heard_.find(text);
      return at != std::string::npos || is_closed_;
    });
    if (at == std::string::npos) return false;
    heard_.erase(0, at + text.size());
    return true;
  }
  // What comes before the answer to a PING, without it.
  std::string settle() {
    say("PING\r\n");
    std::string before;
    client::run_until(loop_, kPatience, [&] {
      receive();
      const size_t at = heard_.find("PONG\r\n");
      if (at == std::string::npos) return is_closed_;
      before = heard_.substr(0, at);
      heard_.erase(0, at + 6);
      return true;
    });
    return before;
  }
  bool is_hung_up() {
    return client::run_until(loop_, kPatience, [&] {
      receive();
      return is_closed_;
    });
  }
  void connect(std::string_view more = {}) {
    say("CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,"
        "\"protocol\":1" + std::string(more) + "}\r\n");
    EXPECT_NE(settle().find("INFO {"), std::string::npos);
  }
  std::string heard() const { return heard_; }

 private:
  void receive() {
    char bytes[65536];
    ssize_t got = 0;
    while ((got = recv(fd_, bytes, sizeof bytes, 0)) > 0) heard_.append(bytes, static_cast<size_t>(got));
    if (got == 0 || (got < 0 && errno != EAGAIN)) is_closed_ = true;
  }

  io::Loop& loop_;
  int fd_ = -1;
  std::string heard_;
  bool is_closed_ = false;
};

NamespaceRecord beta() {
  NamespaceRecord record;
  record.ns = "beta";
  record.subjects = {"beta.>"};
  return record;
}

class GateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server_ = client::TestServer::get();
    if (server_ == nullptr) GTEST_SKIP() << "no nats-server on PATH";
    client::Options options;
    options.servers = {server_->url()};
    auto session = client::Session::connect(std::move(options));
    ASSERT_TRUE(session) << session.error().text;
    session_ = std::move(*session);
    make_gate({});
  }
  void make_gate(Gate::Options options) {
    gate_.reset();
    options.upstream.servers = {server_->url()};
    options.upstream.reconnect_wait = std::chrono::milliseconds(10);
    options.upstream.reconnect_jitter = {};
    if (options.access == nullptr) options.access = Access::make({"acme", "it"}, {}, {beta()});
    gate_ = Gate::make({loop(), session_->resolver(), session_->random(), *log_}, std::move(options));
  }
  io::Loop& loop() { return session_->loop(); }
  client::Connection& outside() { return session_->connection(); }

  client::TestServer* server_ = nullptr;
  std::unique_ptr<client::Session> session_;
  std::unique_ptr<Log> log_ = Log::discard();
  std::unique_ptr<Gate> gate_;
};

TEST_F(GateTest, AsksOnlyItsOwnProgram) {
  Program program(loop(), *gate_);
  program.connect();
  EXPECT_FALSE(gate_->ask("$SRV.PING.shop", [] {}));
  // Another replica would answer at once.
  auto other = outside().subscribe("$SRV.PING.shop", [&](const client::Message& message) {
    EXPECT_TRUE(outside().publish(message.reply, "me too"));
  });
  ASSERT_TRUE(other);
  program.say("SUB $SRV.PING.shop 7\r\n");
  program.settle();
  int answers = 0;
  EXPECT_TRUE(gate_->ask("$SRV.PING.shop", [&] { ++answers; }));
  ASSERT_TRUE(program.hears("MSG $SRV.PING.shop 7 _INBOX."));
  program.settle();
  EXPECT_EQ(answers, 0);
  EXPECT_TRUE(gate_->ask("$SRV.PING.shop", [&] { ++answers; }));
  ASSERT_TRUE(program.hears("MSG $SRV.PING.shop 7 "));
  ASSERT_TRUE(program.hears("_INBOX."));
  std::string reply = "_INBOX." + program.heard().substr(0, program.heard().find(' '));
  ASSERT_TRUE(program.hears("\r\n"));
  program.say("PUB " + reply + " 2\r\nok\r\n");
  program.settle();
  EXPECT_EQ(answers, 1);
}

TEST_F(GateTest, PassesMessagesBothWays) {
  Program program(loop(), *gate_);
  program.connect();
  program.say("SUB orders.* 7\r\nPUB orders.new r 5\r\nhello\r\nHPUB orders.old 17 19\r\nNATS/1.0\r\nA:b\r\n\r\nhi\r\n");
  EXPECT_EQ(program.settle(),
            "MSG orders.new 7 r 5\r\nhello\r\nHMSG orders.old 7 17 19\r\nNATS/1.0\r\nA:b\r\n\r\nhi\r\n");
  EXPECT_EQ(gate_->counters().in_msgs, 2U);
  EXPECT_EQ(gate_->counters().out_bytes, 24U);
  EXPECT_EQ(gate_->counters().connections, 1U);
}

TEST_F(GateTest, ServesCommandsWithoutConnectVerbosely) {
  Program program(loop(), *gate_);
  program.say("SUB a 1\r\nPUB a 1\r\nx\r\n");
  EXPECT_NE(program.settle().find("+OK\r\n+OK\r\nMSG a 1 1\r\nx\r\n"), std::string::npos);
}

TEST_F(GateTest, RefusesInTheServersWords) {
  Program program(loop(), *gate_);
  program.connect();
  program.say("PUB beta.x 1\r\nx\r\nSUB beta.> 1\r\nSUB > q 2\r\nSUB a..b 3\r\nPUB a $JS.API.STREAM.CREATE.x 0\r\n\r\n"
              "PUB $JS.API.STREAM.DELETE.ORDERS _INBOX.q.1 0\r\n\r\nSUB x _sys_ 4\r\n");
  EXPECT_EQ(program.settle(),
            "-ERR 'Permissions Violation for Publish to \"beta.x\"'\r\n"
            "-ERR 'Permissions Violation for Subscription to \"beta.>\"'\r\n"
            "-ERR 'Permissions Violation for Subscription to \">\" using queue \"q\"'\r\n"
            "-ERR 'Invalid Subject'\r\n"
            "-ERR 'Permissions Violation for Publish with Reply of \"$JS.API.STREAM.CREATE.x\"'\r\n"
            "-ERR 'Permissions Violation for Publish to \"$JS.API.STREAM.DELETE.ORDERS\"'\r\n"
            "-ERR 'Permissions Violation for Subscription to \"x\" using queue \"_sys_\"'\r\n");
  EXPECT_EQ(gate_->counters().violations, 6U);
}

TEST_F(GateTest, InboxesAreKeptApart) {
  Program program(loop(), *gate_);
  program.connect();
  std::string reply;
  auto service = outside().subscribe("svc", [&](const client::Message& message) {
    reply = message.reply;
    EXPECT_TRUE(outside().publish(message.reply, "answer"));
  });
  ASSERT_TRUE(session_->flush(kPatience));
  program.say("SUB _INBOX.me.* 1\r\nSUB _INBOX.> 2\r\nPUB svc _INBOX.me.1 0\r\n\r\n");
  EXPECT_TRUE(program.hears("MSG _INBOX.me.1 "));
  EXPECT_TRUE(reply.starts_with("_INBOX.") && reply.ends_with(".me.1") && reply != "_INBOX.me.1") << reply;
  program.settle();
  // Nothing of others, not even when their inbox is known.
  ASSERT_TRUE(outside().publish("_INBOX.other.1", "secret"));
  ASSERT_TRUE(session_->flush(kPatience));
  EXPECT_EQ(program.settle(), "");
}

TEST_F(GateTest, AnswersWhatItWasAsked) {
  Program program(loop(), *gate_);
  program.connect();
  program.say("SUB work 1\r\n");
  program.settle();
  std::string answer;
  auto asked = outside().request("work", "?", kPatience, [&](const Result<client::Message>& result) {
    answer = result ? std::string(result->payload) : result.error().text;
  });
  ASSERT_TRUE(asked);
  ASSERT_TRUE(program.hears("MSG work 1 _INBOX."));
  program.settle();
  program.say("PUB _INBOX.not.asked 0\r\n\r\n");
  EXPECT_EQ(program.settle(), "-ERR 'Permissions Violation for Publish to \"_INBOX.not.asked\"'\r\n");
  EXPECT_EQ(answer, "");
}

TEST_F(GateTest, RepliesReachWhoAsked) {
  Program program(loop(), *gate_);
  program.connect();
  program.say("SUB work 1\r\n");
  program.settle();
  std::string answer;
  auto asked = outside().request("work", "?", kPatience, [&](const Result<client::Message>& result) {
    answer = result ? std::string(result->payload) : result.error().text;
  });
  ASSERT_TRUE(asked);
  ASSERT_TRUE(program.hears("MSG work 1 "));
  const std::string heard = program.settle();
  Program other(loop(), *gate_);  // of the same workload
  other.connect();
  other.say("PUB " + heard.substr(0, heard.find(' ')) + " 3\r\nyes\r\n");
  EXPECT_TRUE(client::run_until(loop(), kPatience, [&] { return !answer.empty(); }));
  EXPECT_EQ(answer, "yes");
}

TEST_F(GateTest, NobodySpeaksThroughAService) {
  Program program(loop(), *gate_);
  program.connect();
  program.say("SUB work 1\r\n");
  program.settle();
  for (const std::string reply : {"beta.x", "$JS.API.STREAM.DELETE.x", "$NEX.SVC.beta.control.x"}) {
    ASSERT_TRUE(outside().publish("work", "", {.reply = reply}));
    ASSERT_TRUE(program.hears("MSG work 1 " + reply));
    program.settle();
    program.say("PUB " + reply + " 0\r\n\r\n");
    EXPECT_EQ(program.settle(), "-ERR 'Permissions Violation for Publish to \"" + reply + "\"'\r\n");
  }
}

TEST_F(GateTest, SaysWhenNobodyResponds) {
  Program program(loop(), *gate_);
  program.connect();
  program.say("SUB _INBOX.a 1\r\nPUB nobody _INBOX.a 0\r\n\r\n");
  EXPECT_TRUE(program.hears("HMSG _INBOX.a 1 "));
  EXPECT_TRUE(program.hears("NATS/1.0 503\r\n"));
  Program old(loop(), *gate_);
  old.say("CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB _INBOX.b 1\r\nPUB nobody _INBOX.b 0\r\n\r\n");
  EXPECT_EQ(old.settle().find("503"), std::string::npos);
}

TEST_F(GateTest, CountsTheMessagesOfASubscription) {
  Program program(loop(), *gate_);
  program.connect();
  program.say("SUB a 1\r\nUNSUB 1 2\r\nPUB a 1\r\n1\r\nPUB a 1\r\n2\r\nPUB a 1\r\n3\r\n");
  EXPECT_EQ(program.settle(), "MSG a 1 1\r\n1\r\nMSG a 1 1\r\n2\r\n");
  program.say("SUB a 1\r\nSUB b 1\r\nPUB b 0\r\n\r\nPUB a 0\r\n\r\nUNSUB 1\r\nPUB a 0\r\n\r\nUNSUB 9\r\n");
  EXPECT_EQ(program.settle(), "MSG a 1 0\r\n\r\n");
}

TEST_F(GateTest, ClosesForTheServersReasons) {
  const auto reason = [&](std::string_view text) {
    Program program(loop(), *gate_);
    program.connect();
    program.say(text);
    EXPECT_TRUE(program.is_hung_up()) << text;
    return program.heard();
  };
  EXPECT_EQ(reason("GET / HTTP/1.1\r\n\r\n"), "-ERR 'Unknown Protocol Operation'\r\n");
  EXPECT_EQ(reason("PUB a 99999999\r\n"), "-ERR 'Maximum Payload Violation'\r\n");
  EXPECT_EQ(reason("SUB " + std::string(5000, 'a') + " 1\r\n"), "-ERR 'maximum control line exceeded'\r\n");
  EXPECT_EQ(reason("PUB a\r\n"), "");
  EXPECT_EQ(reason("CONNECT {\"protocol\":7}\r\n"), "-ERR 'invalid client protocol'\r\n");
  EXPECT_EQ(reason("CONNECT {\"account\":\"x\"}\r\n"), "-ERR 'Authorization Violation'\r\n");
  EXPECT_EQ(reason("CONNECT {\"headers\":false,\"no_responders\":true}\r\n"),
            "-ERR 'no responders requires headers support'\r\n");
}

TEST_F(GateTest, AsksForTheToken) {
  Gate::Options options;
  options.token = "s3cret";
  make_gate(std::move(options));
  Program wrong(loop(), *gate_);
  wrong.say("CONNECT {\"auth_token\":\"s3creT\"}\r\n");
  EXPECT_TRUE(wrong.hears("-ERR 'Authorization Violation'\r\n"));
  EXPECT_TRUE(wrong.is_hung_up());
  Program none(loop(), *gate_);
  none.say("PING\r\n");
  EXPECT_TRUE(none.hears("-ERR 'Authorization Violation'\r\n"));
  Program right(loop(), *gate_);
  right.connect(",\"auth_token\":\"s3cret\"");
  EXPECT_EQ(right.settle(), "");
  Program with_user(loop(), *gate_);
  with_user.connect(",\"user\":\"it\",\"pass\":\"s3cret\"");
}

TEST_F(GateTest, ChecksASignature) {
  const auto key = crypto::KeyPair::generate(crypto::NkeyType::User);
  const auto other = crypto::KeyPair::generate(crypto::NkeyType::User);
  Gate::Options options;
  options.user_nkey = key.public_key();
  make_gate(std::move(options));
  const auto try_key = [&](const crypto::KeyPair& with, const std::string& claimed) {
    Program program(loop(), *gate_);
    EXPECT_TRUE(program.hears("\"nonce\":\""));
    EXPECT_TRUE(client::run_until(loop(), kPatience, [&] { return !program.heard().empty(); }));
    const std::string nonce = program.heard().substr(0, program.heard().find('"'));
    program.say("CONNECT {\"verbose\":false,\"nkey\":\"" + claimed + "\",\"sig\":\"" +
                base64url_encode(with.sign(nonce)) + "\"}\r\n");
    program.settle();
    return program.heard().find("Authorization Violation") == std::string::npos;
  };
  EXPECT_TRUE(try_key(key, key.public_key()));
  EXPECT_FALSE(try_key(other, key.public_key()));
  EXPECT_FALSE(try_key(other, other.public_key()));
  Program without(loop(), *gate_);  // the channel is proof enough
  without.connect();
}

TEST_F(GateTest, RefusesMoreConnections) {
  Gate::Options options;
  options.connections_max = 1;
  make_gate(std::move(options));
  Program one(loop(), *gate_);
  one.connect();
  Program two(loop(), *gate_);
  EXPECT_TRUE(two.is_hung_up());
  EXPECT_EQ(two.heard(), "-ERR 'maximum connections exceeded'\r\n");
}

TEST_F(GateTest, EndsSlowConsumers) {
  Gate::Options options;
  options.pending_bytes_max = 1U << 20;
  make_gate(std::move(options));
  Program program(loop(), *gate_);
  program.connect();
  program.say("SUB flood 1\r\n");
  program.settle();
  const std::string block(100'000, 'x');
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(outside().publish("flood", block));
  ASSERT_TRUE(session_->flush(kPatience));
  EXPECT_TRUE(client::run_until(loop(), kPatience, [&] { return gate_->counters().connections == 0; }));
}

TEST_F(GateTest, TakesBackWhatIsNoLongerAllowed) {
  Program program(loop(), *gate_);
  program.connect();
  program.say("SUB gamma.x 1\r\nSUB own 2\r\nPUB gamma.x 0\r\n\r\n");
  EXPECT_EQ(program.settle(), "MSG gamma.x 1 0\r\n\r\n");
  NamespaceRecord gamma;
  gamma.ns = "gamma";
  gamma.subjects = {"gamma.>"};
  gate_->set_access(Access::make({"acme", "it"}, {}, {gamma}));
  program.say("PUB gamma.x 0\r\n\r\n");
  EXPECT_EQ(program.settle(),
            "-ERR 'Permissions Violation for Subscription to \"gamma.x\"'\r\n"
            "-ERR 'Permissions Violation for Publish to \"gamma.x\"'\r\n");
  ASSERT_TRUE(outside().publish("gamma.x", ""));
  ASSERT_TRUE(session_->flush(kPatience));
  EXPECT_EQ(program.settle(), "");
}

TEST_F(GateTest, HoldsJetStreamRequestsAgainstTheirBodies) {
  Program program(loop(), *gate_);
  program.connect();
  const auto ask = [&](const std::string& request, const std::string& body) {
    program.say("PUB $JS.API." + request + " _INBOX.r " + std::to_string(body.size()) + "\r\n" + body + "\r\n");
    EXPECT_TRUE(program.hears("MSG _INBOX.r 1 "));
    EXPECT_TRUE(program.hears("{"));
    return program.settle();
  };
  program.say("SUB _INBOX.r 1\r\n");
  EXPECT_NE(ask("STREAM.CREATE.acme__S", R"({"name":"acme__S","subjects":["acme.s"],"storage":"memory"})")
                .find("\"did_create\":true"), std::string::npos);
  EXPECT_NE(ask("STREAM.UPDATE.acme__S", R"({"name":"acme__S","subjects":["beta.s"]})")
                .find("permissions violation: stream subject \\\"beta.s\\\""), std::string::npos);
  EXPECT_NE(ask("STREAM.INFO.BETA", "").find("\"code\":403"), std::string::npos);
  const std::string names = ask("STREAM.NAMES", "");
  EXPECT_NE(names.find("[\"acme__S\"]"), std::string::npos) << names;
  EXPECT_NE(ask("INFO", "").find("account_info_response"), std::string::npos);
  EXPECT_NE(ask("STREAM.DELETE.acme__S", "").find("\"success\":true"), std::string::npos);
}

TEST_F(GateTest, ListsOnlyWhatMayBeUsed) {
  Program program(loop(), *gate_);
  program.connect();
  program.say("SUB _INBOX.r 1\r\n");
  const auto create = [&](const std::string& name) {
    const std::string body = R"({"name":")" + name + R"(","subjects":["s.)" + name + R"("],"storage":"memory"})";
    EXPECT_TRUE(session_->request("$JS.API.STREAM.CREATE." + name, body, kPatience));
  };
  for (const char* name : {"acme__A", "BETA", "KV_acme__k", "KV_beta__k", "beta__B"}) create(name);
  program.say("PUB $JS.API.STREAM.LIST _INBOX.r 0\r\n\r\n");
  EXPECT_TRUE(program.hears("\"total\":2,\"offset\":0,\"limit\":256"));
  EXPECT_TRUE(program.hears("\"name\":\"acme__A\""));
  EXPECT_EQ(program.settle().find("BETA"), std::string::npos);
  program.say("PUB $JS.API.STREAM.NAMES _INBOX.r 14\r\n{\"offset\":1}  \r\n");
  EXPECT_TRUE(program.hears("\"total\":2,\"offset\":1,\"limit\":1024,\"streams\":[\"acme__A\"]"));
  for (const char* name : {"acme__A", "BETA", "KV_acme__k", "KV_beta__k", "beta__B"}) {
    EXPECT_TRUE(session_->request(std::string("$JS.API.STREAM.DELETE.") + name, "", kPatience));
  }
}

TEST_F(GateTest, KeepsProgramsOverALostServer) {
  Program program(loop(), *gate_);
  program.connect();
  program.say("SUB a 1\r\n");
  program.settle();
  server_->restart();
  EXPECT_EQ(program.settle().find("-ERR"), std::string::npos);
  program.say("PUB a 5\r\nagain\r\n");
  EXPECT_TRUE(program.hears("MSG a 1 5\r\nagain\r\n"));
}

TEST_F(GateTest, HoldsBackWhoPublishesFasterThanTheServerTakes) {
  Program program(loop(), *gate_);
  program.connect();
  uint64_t received = 0;
  auto subscription = outside().subscribe("bulk", [&](const client::Message& m) { received += m.payload.size(); });
  ASSERT_TRUE(session_->flush(kPatience));
  const std::string message = "PUB bulk 200000\r\n" + std::string(200'000, 'y') + "\r\n";
  for (int i = 0; i < 100; ++i) program.say(message);
  EXPECT_TRUE(client::run_until(loop(), kPatience, [&] { return received == 20'000'000; }));
}

TEST_F(GateTest, TakesOutHeadersByWhichServersSpeak) {
  Program program(loop(), *gate_);
  program.connect();
  const std::string block = "NATS/1.0\r\nA: b\r\nnats-trace-dest: beta.x\r\nNats-Request-Info: {}\r\n\r\n";
  program.say("SUB own 1\r\nHPUB own " + std::to_string(block.size()) + " " +
              std::to_string(block.size()) + "\r\n" + block + "\r\n");
  EXPECT_EQ(program.settle(), "HMSG own 1 18 18\r\nNATS/1.0\r\nA: b\r\n\r\n\r\n");
}

TEST_F(GateTest, HoldsBackFloodsOfWhatCostsNothingToSay) {
  Program program(loop(), *gate_);
  program.connect();
  std::string flood;
  for (int i = 0; i < 5000; ++i) flood += "SUB a 1\r\nUNSUB 1\r\nPING\r\n";
  program.say(flood);
  for (int i = 0; i < 5000; ++i) ASSERT_TRUE(program.hears("PONG\r\n")) << i;
  program.say("SUB _INBOX.r 1\r\n");
  for (int i = 0; i < 50; ++i) program.say("PUB $JS.API.STREAM.NAMES _INBOX.r 0\r\n\r\n");
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(program.hears("MSG _INBOX.r 1 ")) << i;
}

// Whatever a program sends, the gate neither falls nor lets the next one down.
TEST_F(GateTest, OutlivesGarbage) {
  const uint64_t seed = secure_seed();
  SCOPED_TRACE(seed);
  SeededRandom random(seed);
  const std::string pieces[] = {"PUB ", "SUB ", "HPUB ", "UNSUB ", "CONNECT {\"verbose\":false}\r\n", "PING\r\n",
                                "PONG\r\n", "a.b ", "> ", "_INBOX.x ", "$JS.API.STREAM.CREATE.acme__S ", "1", "\r\n",
                                " 4 10\r\n", "NATS/1.0\r\n\r\n", "{\"name\":", "\"", "5\r\nhello\r\n", "-ERR 'x'\r\n",
                                "INFO {}\r\n", "\n", "$JS.API.STREAM.NAMES _INBOX.x 0\r\n\r\n", "999999999"};
  for (int round = 0; round < 200; ++round) {
    Program program(loop(), *gate_);
    std::string text;
    for (uint64_t i = random.below(30); i > 0; --i) {
      if (random.below(8) == 0) {
        text += static_cast<char>(random.below(256));
      } else {
        text += pieces[random.below(std::size(pieces))];
      }
    }
    program.say(text);
    if (random.below(4) == 0) loop().run_once(Duration(0));
  }
  EXPECT_TRUE(client::run_until(loop(), kPatience, [&] { return gate_->counters().connections == 0; }));
  Program program(loop(), *gate_);
  program.connect();
}

}  // namespace
}  // namespace brokkr::workload
