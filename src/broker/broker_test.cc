// The broker over real sockets, with one loop and with two. Each test speaks the wire protocol and
// asserts on the bytes a client would see.
#include <sys/socket.h>

#include "broker/broker_test_fixture.h"
#include "broker/client_info.h"
#include "broker/turn_budget.h"

namespace brokkr::broker {
namespace {

INSTANTIATE_TEST_SUITE_P(Loops, BrokerTest, testing::Values(1, 2), [](const auto& loops) {
  return std::to_string(loops.param) + "loops";
});

TEST_P(BrokerTest, InfoComesFirstWithABlankBeforeItsEnd) {
  RawClient raw(port_);
  const std::string info = raw.skip_to(" \r\n");
  EXPECT_TRUE(info.starts_with("INFO {")) << info;
  EXPECT_NE(info.find("\"max_payload\":1048576"), std::string::npos);
}

TEST_P(BrokerTest, PublishReachesEverySubscription) {
  RawClient a = client();
  RawClient b = client();
  a.send("SUB x.* 1\r\nSUB x.y 2\r\n").sync();
  b.send("SUB x.> 7\r\n").sync();
  b.send("PUB x.y reply 2\r\nhi\r\n").sync();
  const std::string got = a.sync();
  EXPECT_NE(got.find("MSG x.y 1 reply 2\r\nhi\r\n"), std::string::npos);
  EXPECT_NE(got.find("MSG x.y 2 reply 2\r\nhi\r\n"), std::string::npos);
}

TEST_P(BrokerTest, EchoOffSparesThePublisher) {
  RawClient a = client(R"({"verbose":false,"pedantic":false,"echo":false})");
  RawClient b = client();
  b.send("SUB x 1\r\n").sync();
  a.send("SUB x 1\r\nPUB x 1\r\na\r\n");
  EXPECT_EQ(a.sync(), "");
  EXPECT_EQ(b.sync(), "MSG x 1 1\r\na\r\n");
}

TEST_P(BrokerTest, VerboseAnswersOkBeforeTheMessage) {
  RawClient a = client(R"({"verbose":true,"pedantic":false})");
  a.send("SUB x 1\r\nPUB x 1\r\na\r\nUNSUB 1\r\n");
  EXPECT_EQ(a.sync(), "+OK\r\n+OK\r\nMSG x 1 1\r\na\r\n+OK\r\n");
}

TEST_P(BrokerTest, UnsubscribeMaxDeliversThatMany) {
  RawClient a = client();
  a.send("SUB x 1\r\nUNSUB 1 2\r\nPUB x 1\r\na\r\nPUB x 1\r\nb\r\nPUB x 1\r\nc\r\n");
  EXPECT_EQ(a.sync(), "MSG x 1 1\r\na\r\nMSG x 1 1\r\nb\r\n");
  a.send("SUB x 1\r\nPUB x 1\r\nd\r\n");
  EXPECT_EQ(a.sync(), "MSG x 1 1\r\nd\r\n");
}

TEST_P(BrokerTest, QueueGroupGetsEachMessageOnce) {
  std::vector<RawClient> members;
  for (int i = 0; i < 6; ++i) {
    members.push_back(client());
    members.back().send("SUB x q 1\r\n").sync();
  }
  RawClient publisher = client();
  for (int i = 0; i < 600; ++i) publisher.send("PUB x 1\r\na\r\n");
  publisher.sync();
  size_t total = 0;
  for (RawClient& member : members) {
    const size_t got = member.sync().size() / std::string_view("MSG x 1 1\r\na\r\n").size();
    EXPECT_GT(got, 40U);
    total += got;
  }
  EXPECT_EQ(total, 600U);
}

TEST_P(BrokerTest, TwoPatternsWithOneQueueNameAreOneGroup) {
  RawClient a = client();
  RawClient b = client();
  a.send("SUB x.* q 1\r\n").sync();
  b.send("SUB x.y q 1\r\n").sync();
  RawClient publisher = client();
  for (int i = 0; i < 100; ++i) publisher.send("PUB x.y 1\r\na\r\n");
  publisher.sync();
  const size_t one = std::string_view("MSG x.y 1 1\r\na\r\n").size();
  const size_t got_a = a.sync().size() / one;
  const size_t got_b = b.sync().size() / one;
  EXPECT_EQ(got_a + got_b, 100U);
  EXPECT_GT(got_a, 10U);
  EXPECT_GT(got_b, 10U);
}

TEST_P(BrokerTest, HeadersAreStrippedForClientsWithoutThem) {
  RawClient old = client();
  RawClient headers = modern();
  old.send("SUB x 1\r\n").sync();
  headers.send("SUB x 1\r\n").sync();
  headers.send("HPUB x 16 18\r\nNATS/1.0\r\nA:\r\n\r\nhi\r\n").sync();
  EXPECT_EQ(old.sync(), "MSG x 1 2\r\nhi\r\n");
}

TEST_P(BrokerTest, NoRespondersAnswersAtOnce) {
  RawClient a = modern();
  a.send("SUB in.* 9\r\nPUB nobody in.1 0\r\n\r\n");
  EXPECT_EQ(a.sync(),
            "HMSG in.1 9 38 38\r\nNATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n\r\n");
}

TEST_P(BrokerTest, NoRespondersComesAgainWhenTheResponderLeft) {
  RawClient requester = modern();
  RawClient other = modern();
  requester.send("SUB in.* 9\r\n").sync();
  for (RawClient* responder : {&other, &requester}) {
    responder->send("SUB svc 1\r\n").sync();
    responder->send("UNSUB 1\r\n").sync();
    requester.send("PUB svc in.1 0\r\n\r\n");
    EXPECT_TRUE(requester.sync().starts_with("HMSG in.1 9 "));
  }
}

TEST_P(BrokerTest, SubscriptionIsKnownEverywhereOnceItsPongIsThere) {
  std::vector<RawClient> clients;
  for (int i = 0; i < 4; ++i) clients.push_back(client());
  for (int round = 0; round < 50; ++round) {
    RawClient& subscriber = clients[static_cast<size_t>(round % 4)];
    RawClient& publisher = clients[static_cast<size_t>((round + 1) % 4)];
    const std::string subject = "s" + std::to_string(round);
    subscriber.send("SUB " + subject + " 1\r\n").sync();
    publisher.send("PUB " + subject + " 0\r\n\r\n").sync();
    EXPECT_EQ(subscriber.sync(), "MSG " + subject + " 1 0\r\n\r\n");
    subscriber.send("UNSUB 1\r\n").sync();
  }
}

TEST_P(BrokerTest, ErrorsThatCloseSayWhy) {
  const std::pair<std::string, std::string> cases[] = {
      {"NONSENSE\r\n", "-ERR 'Unknown Protocol Operation'\r\n"},
      {"PUB x 2000000\r\n", "-ERR 'Maximum Payload Violation'\r\n"},
      {"SUB " + std::string(5000, 'a') + " 1\r\n", "-ERR 'maximum control line exceeded'\r\n"},
      {"PUB x -1\r\n", ""},
      {"SUB x\r\n", ""},
  };
  for (const auto& [bytes, answer] : cases) {
    RawClient a = client();
    a.send(bytes);
    EXPECT_EQ(a.drain(), answer) << bytes.substr(0, 40);
    EXPECT_TRUE(a.expect_closed());
  }
}

TEST_P(BrokerTest, BytesMayComeOneByOne) {
  RawClient a = client();
  for (const char c : std::string("SUB x 1\r\nPUB x 5\r\nhello\r\n")) a.send({&c, 1});
  EXPECT_EQ(a.sync(), "MSG x 1 5\r\nhello\r\n");
}

TEST_P(BrokerTest, LargePayloadsArriveWhole) {
  RawClient a = client();
  RawClient b = client();
  a.send("SUB x 1\r\n").sync();
  std::string payload(1 << 20, 'p');
  for (size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<char>('a' + i % 26);
  for (int i = 0; i < 3; ++i) b.send("PUB x 1048576\r\n" + payload + "\r\n");
  for (int i = 0; i < 3; ++i) a.expect("MSG x 1 1048576\r\n" + payload + "\r\n");
}

TEST_P(BrokerTest, ManyMessagesKeepTheirOrder) {
  RawClient a = client();
  RawClient b = client();
  a.send("SUB x 1\r\n").sync();
  std::string sent;
  std::string wanted;
  for (int i = 0; i < 20000; ++i) {
    const std::string n = std::to_string(i);
    sent += "PUB x " + std::to_string(n.size()) + "\r\n" + n + "\r\n";
    wanted += "MSG x 1 " + std::to_string(n.size()) + "\r\n" + n + "\r\n";
  }
  std::thread writer([&] { b.send(sent); });
  a.expect(wanted);
  writer.join();
}

TEST_P(BrokerTest, SlowConsumerIsClosedAndOthersAreNot) {
  Settings settings;
  settings.max_pending = 4 << 20;
  start(settings);
  RawClient slow = client();
  RawClient good = client();
  slow.send("SUB x 1\r\n").sync();
  RawClient publisher = client();
  const std::string payload(100'000, 'x');
  for (int i = 0; i < 300; ++i) publisher.send("PUB x 100000\r\n" + payload + "\r\n");
  publisher.sync();
  EXPECT_EQ(stats().slow_consumers, 1U);
  EXPECT_EQ(good.sync(), "");
  EXPECT_TRUE(slow.expect_closed());
}

TEST_P(BrokerTest, WriteDeadlineClosesAReaderThatStopped) {
  Settings settings;
  settings.write_deadline = std::chrono::milliseconds(50);
  settings.max_pending = 512 << 20;
  start(settings);
  RawClient stuck = client();
  stuck.send("SUB x 1\r\n").sync();
  RawClient publisher = client();
  const std::string payload(1'000'000, 'x');
  for (int i = 0; i < 30; ++i) publisher.send("PUB x 1000000\r\n" + payload + "\r\n");
  publisher.sync();
  const MonotonicTime end = clock_.now() + std::chrono::seconds(5);
  while (stats().slow_consumers == 0 && clock_.now() < end) publisher.sync();
  EXPECT_EQ(stats().slow_consumers, 1U);
}

TEST_P(BrokerTest, ConnectionLimitTurnsNewcomersAway) {
  Settings settings;
  settings.max_connections = 1;
  start(settings);
  RawClient first = client();
  RawClient second(port_);
  second.skip_to("-ERR 'maximum connections exceeded'\r\n");
  EXPECT_TRUE(second.expect_closed());
  EXPECT_EQ(first.sync(), "");
}

TEST_P(BrokerTest, SubscriptionLimitKeepsTheConnection) {
  Settings settings;
  settings.max_subscriptions = 2;
  start(settings);
  RawClient a = client();
  a.send("SUB a 1\r\nSUB b 2\r\nSUB c 3\r\n");
  EXPECT_EQ(a.sync(), "-ERR 'maximum subscriptions exceeded'\r\n");
}

TEST_P(BrokerTest, StaleConnectionIsClosed) {
  Settings settings;
  settings.ping_interval = std::chrono::milliseconds(20);
  settings.ping_max = 2;
  start(settings);
  RawClient a = client();
  const std::string got = a.drain();
  EXPECT_NE(got.find("PING\r\nPING\r\n-ERR 'Stale Connection'\r\n"), std::string::npos) << got;
}

TEST_P(BrokerTest, LameDuckTellsClientsThenClosesThem) {
  Settings settings;
  settings.lame_duck_duration = std::chrono::milliseconds(40);
  settings.lame_duck_grace = std::chrono::milliseconds(10);
  start(settings);
  RawClient a = modern();
  RawClient b = modern();
  std::atomic<bool> done{false};
  loop_->post([&] { server_->enter_lame_duck([&] { done = true; }); });
  EXPECT_NE(a.drain().find("\"ldm\":true"), std::string::npos);
  EXPECT_NE(b.drain().find("\"ldm\":true"), std::string::npos);
  const MonotonicTime end = clock_.now() + std::chrono::seconds(5);
  while (!done && clock_.now() < end) std::this_thread::yield();
  EXPECT_TRUE(done);
}

TEST_P(BrokerTest, InProcessClientIsAClientLikeAnyOther) {
  struct Reader final : io::TransportHandler {
    void on_readable() override {
      char bytes[4096];
      const io::IoResult got = transport->read(bytes, sizeof bytes);
      if (got.kind == io::IoResult::Kind::Ok) text.append(bytes, got.bytes);
    }
    void on_writable() override {}
    std::unique_ptr<io::Transport> transport;
    std::string text;
  };
  Reader reader;
  RawClient outside = client();
  std::atomic<bool> ready{false};
  loop_->post([&] {
    reader.transport = server_->connect_in_process();
    reader.transport->listen(&reader, true, false);
    const std::string_view hello = "CONNECT {\"verbose\":false}\r\nSUB x 1\r\nPUB y 2\r\nhi\r\nPING\r\n";
    EXPECT_EQ(reader.transport->write(hello.data(), hello.size()).bytes, hello.size());
    ready = true;
  });
  outside.send("SUB y 1\r\n").sync();
  while (!ready) std::this_thread::yield();
  outside.send("PUB x 2\r\nyo\r\n").sync();
  std::string seen;
  const MonotonicTime end = clock_.now() + std::chrono::seconds(5);
  while (seen.find("yo") == std::string::npos && clock_.now() < end) {
    server_->visit_shards([&](Shard& shard) {
      if (shard.index() == 0) seen = reader.text;
    });
    outside.send("PUB x 2\r\nyo\r\n").sync();
  }
  EXPECT_NE(seen.find("MSG x 1 2\r\nyo\r\n"), std::string::npos);
  loop_->post([&] { reader.transport.reset(); });
  outside.sync();
}

TEST_P(BrokerTest, LinesLongerThanAnOutputChunkArrive) {
  Settings settings;
  settings.max_control_line = 1 << 20;
  start(settings);
  RawClient a = modern();
  RawClient b = client();
  const std::string subject(200'000, 's');
  const std::string sid(100'000, '1');
  const std::string reply(90'000, 'r');
  a.send("SUB ").send(subject).send(" ").send(sid).send("\r\n").sync();
  b.send("PUB ").send(subject).send(" ").send(reply).send(" 2\r\nhi\r\n").sync();
  EXPECT_EQ(a.sync(), "MSG " + subject + " " + sid + " " + reply + " 2\r\nhi\r\n");
  a.send("SUB ").send(reply).send(" 2\r\nPUB nobody ").send(reply).send(" 0\r\n\r\n");
  EXPECT_TRUE(a.sync().starts_with("HMSG " + reply + " 2 "));
}

TEST_P(BrokerTest, AnswersNobodyReadsAreBounded) {
  Settings settings;
  settings.max_pending = 64 << 10;
  start(settings);
  for (const std::string_view command : {"PING\r\n", "SUB a..b 1\r\n"}) {
    const uint64_t before = stats().slow_consumers;
    RawClient deaf = client();
    std::string block;
    while (block.size() < (256 << 10)) block += command;
    // Far more than the sockets' buffers hold.
    for (int i = 0; i < 400 && stats().slow_consumers == before; ++i) deaf.send(block);
    EXPECT_EQ(stats().slow_consumers, before + 1) << command;
  }
}

TEST_P(BrokerTest, RandomBytesCloseOnlyTheirSender) {
  const uint64_t seed = secure_seed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  SeededRandom random(seed);
  RawClient good = client();
  for (int i = 0; i < 50; ++i) {
    RawClient bad(port_);
    std::string bytes(1 + random.below(2000), '\0');
    for (char& c : bytes) c = static_cast<char>(random.next());
    bad.send(bytes);
  }
  EXPECT_EQ(good.sync(), "");
}

TEST(TurnBudgetTest, IsSpentByTimeNotByCount) {
  ManualClock clock;
  TurnBudget cheap(clock);
  for (int i = 0; i < 100'000; ++i) EXPECT_FALSE(cheap.is_spent());
  TurnBudget dear(clock);
  int pieces = 1;
  while (!dear.is_spent() && pieces < 100) {
    ++pieces;
    clock.advance(TurnBudget::kSpan / 2);
  }
  EXPECT_LE(pieces, 6);
}

// Keeps what is written.
class KeptLog final : public Log {
 public:
  KeptLog() { level_ = LogLevel::Trace; }
  void write(LogLevel level, std::string_view text) override {
    if (level == LogLevel::Trace) text_ += std::string(text.substr(text.find("cid:"))) + "\n";
  }
  Status reopen() override { return {}; }
  void set_level(LogLevel) override {}
  std::string text_;
};

TEST_P(BrokerTest, TraceNamesCommandsAndHidesSecrets) {
  Settings settings;
  settings.max_traced_msg_len = 4;
  auto log = std::make_unique<KeptLog>();
  KeptLog& kept = *log;
  start(settings, std::move(log));
  client(R"({"lang":"x","version":"1","verbose":false,"pass":"se\"cret","auth_token":"t"})")
      .send("SUB foo 1\r\nPUB foo 5\r\nhe\x01lo\r\nSUB a..b 2\r\n")
      .sync();
  stop();
  EXPECT_EQ(kept.text_,
            R"(cid:1 - <<- [CONNECT {"lang":"x","version":"1","verbose":false,"pass":"[REDACTED]",)"
            R"("auth_token":"[REDACTED]"}]
cid:1 - "v1:x" - "$G/user:[REDACTED]" - <<- [PING]
cid:1 - "v1:x" - "$G/user:[REDACTED]" - ->> [PONG]
cid:1 - "v1:x" - "$G/user:[REDACTED]" - <<- [SUB foo 1]
cid:1 - "v1:x" - "$G/user:[REDACTED]" - <<- [PUB foo 5]
cid:1 - "v1:x" - "$G/user:[REDACTED]" - <<- MSG_PAYLOAD: ["he\x01l..."]
cid:1 - "v1:x" - "$G/user:[REDACTED]" - ->> [MSG foo 1 5]
cid:1 - "v1:x" - "$G/user:[REDACTED]" - ->> MSG_PAYLOAD: ["he\x01l..."]
cid:1 - "v1:x" - "$G/user:[REDACTED]" - <<- [SUB a..b 2]
cid:1 - "v1:x" - "$G/user:[REDACTED]" - ->> [-ERR Invalid Subject]
cid:1 - "v1:x" - "$G/user:[REDACTED]" - <<- [PING]
cid:1 - "v1:x" - "$G/user:[REDACTED]" - ->> [PONG]
)");
}

TEST_P(BrokerTest, ServersMessagesGoOneWayAndShowAnotherSubject) {
  RawClient a = client();
  RawClient b = client();  // on the other loop when there are two
  for (RawClient* each : {&a, &b}) each->send("SUB route.me 1\r\nSUB shown.> 2\r\n").sync();
  int taken = 0;
  server_->visit_shards([&](Shard& shard) {
    if (shard.index() != 0) return;
    Account& account = shard.global_account();
    taken += shard.deliver(account, "route.me", "shown.one", "ack", "", "hi") ? 1 : 0;
    taken += shard.deliver(account, "nobody", "shown.two", "", "", "hi") ? 1 : 0;
  });
  EXPECT_EQ(taken, 1);
  for (RawClient* each : {&a, &b}) each->expect("MSG shown.one 1 ack 2\r\nhi\r\n").expect("");
  EXPECT_EQ(a.sync() + b.sync(), "");
}

class WatchTest : public BrokerTest {
 protected:
  void check_watch(const std::string& queue);
};

INSTANTIATE_TEST_SUITE_P(Loops, WatchTest, testing::Values(1, 2), [](const auto& loops) {
  return std::to_string(loops.param) + "loops";
});

void WatchTest::check_watch(const std::string& queue) {
  std::string heard;
  std::unique_ptr<InterestWatch> watch;
  const auto on_main = [&](auto what) {
    server_->visit_shards([&](Shard& shard) {
      if (shard.index() == 0) what(shard);
    });
  };
  on_main([&](Shard& shard) {
    watch = shard.watch_interest(shard.global_account(), "a.b", queue,
                                 [&](bool now) { heard += now ? '+' : '-'; });
  });
  const auto heard_now = [&] {
    std::string text;
    on_main([&](Shard&) { text = heard; });
    return text;
  };
  RawClient a = client();
  RawClient b = client();
  a.send("SUB other 1\r\nSUB a.* 2\r\nSUB a.b other 3\r\n").sync();
  EXPECT_EQ(heard_now(), "");
  b.send("SUB a.b " + queue + " 1\r\n").sync();
  a.send("SUB a.b " + queue + " 4\r\nUNSUB 3\r\n").sync();
  b.send("UNSUB 1\r\n").sync();
  EXPECT_EQ(heard_now(), "+");
  a.send("UNSUB 4\r\n").sync();
  EXPECT_EQ(heard_now(), "+-");
  on_main([&](Shard&) { watch.reset(); });
  a.send("SUB a.b " + queue + " 5\r\n").sync();
  EXPECT_EQ(heard_now(), "+-");
}

TEST_P(WatchTest, WatchTellsOfInterestThatComesAndGoes) {
  check_watch("");
}

TEST_P(WatchTest, WatchOfAGroupTellsOfThatGroup) {
  check_watch("q");
}

TEST_P(BrokerTest, OwnSubscriptionsLearnWhoAsks) {
  std::unique_ptr<InternalSubscription> subscription;
  std::string client_json;
  server_->visit_shards([&](Shard& shard) {
    if (shard.index() != 0) return;
    subscription = shard.subscribe(
        shard.global_account(), "$JS.API.>", "", [&, loop = &shard](const Message& message) {
          client_json = message.from != nullptr ? client_info(*message.from) : message.client;
          loop->publish(loop->global_account(), message.reply, "", "", "done");
        });
  });
  for (int i = 0; i < 2; ++i) {
    RawClient asker = client(R"({"verbose":false,"name":"joe","lang":"x","version":"3"})");
    asker.send("SUB in 1\r\nPUB $JS.API.INFO in 0\r\n\r\n").expect("MSG in 1 4\r\ndone\r\n");
    EXPECT_NE(client_json.find(R"("acc":"$G","name":"joe","lang":"x","ver":"3")"),
              std::string::npos) << client_json;
  }
  server_->visit_shards([&](Shard& shard) {
    if (shard.index() == 0) subscription.reset();
  });
}

}  // namespace
}  // namespace brokkr::broker
