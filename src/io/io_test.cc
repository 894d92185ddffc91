#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "io/loop.h"
#include "io/signals.h"
#include "io/socket.h"
#include "io/transport.h"
#include "io/worker.h"

namespace brokkr::io {
namespace {

using std::chrono::milliseconds;

class LoopTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = Loop::open({}, clock_);
    ASSERT_TRUE(opened);
    loop_ = std::move(*opened);
  }
  // Runs turns until `done` or five seconds have gone.
  bool run_until(FunctionRef<bool()> done) {
    const MonotonicTime end = clock_.now() + std::chrono::seconds(5);
    while (!done() && clock_.now() < end) loop_->run_once(milliseconds(10));
    return done();
  }
  SystemClock clock_;
  std::unique_ptr<Loop> loop_;
};

struct Reader final : TransportHandler {
  explicit Reader(Transport& t) : transport(t) { transport.listen(this, true, false); }
  void on_readable() override {
    char bytes[4096];
    const IoResult result = transport.read(bytes, sizeof bytes);
    if (result.kind == IoResult::Kind::Ok) text.append(bytes, result.bytes);
    if (result.kind == IoResult::Kind::Closed) {
      is_closed = true;
      transport.listen(nullptr, false, false);
    }
  }
  void on_writable() override { ++writable; }
  Transport& transport;
  std::string text;
  bool is_closed = false;
  int writable = 0;
};

TEST_F(LoopTest, TimersFireInOrderOfDeadline) {
  std::string order;
  Timer b(*loop_, [&] { order += 'b'; });
  Timer a(*loop_, [&] { order += 'a'; });
  Timer never(*loop_, [&] { order += 'x'; });
  b.start(milliseconds(2));
  a.start(milliseconds(1));
  never.start(milliseconds(1));
  never.stop();
  EXPECT_TRUE(run_until([&] { return order.size() == 2; }));
  EXPECT_EQ(order, "ab");
}

TEST_F(LoopTest, ManyTimersKeepHeapOrder) {
  std::vector<std::unique_ptr<Timer>> timers;
  std::vector<int> fired;
  for (int i = 0; i < 200; ++i) {
    timers.push_back(std::make_unique<Timer>(*loop_, [&fired, i] { fired.push_back(i); }));
  }
  const MonotonicTime start = clock_.now();
  for (int i = 0; i < 200; ++i) {
    timers[static_cast<size_t>(i * 77 % 200)]->start_at(start + std::chrono::microseconds(i * 77 % 200));
  }
  for (int i = 0; i < 200; i += 3) timers[static_cast<size_t>(i)].reset();
  EXPECT_TRUE(run_until([&] { return fired.size() == 133; }));
  EXPECT_TRUE(std::is_sorted(fired.begin(), fired.end()));
}

TEST_F(LoopTest, TimerMayDestroyItselfInItsCallback) {
  std::unique_ptr<Timer> timer;
  bool fired = false;
  timer = std::make_unique<Timer>(*loop_, [&] {
    fired = true;
    timer.reset();
  });
  timer->start(milliseconds(0));
  EXPECT_TRUE(run_until([&] { return fired; }));
}

TEST_F(LoopTest, PostedCallbacksRunOnTheLoopInOrder) {
  std::vector<int> seen;
  std::thread poster([&] {
    for (int i = 0; i < 1000; ++i) loop_->post([&seen, i] { seen.push_back(i); });
  });
  EXPECT_TRUE(run_until([&] { return seen.size() == 1000; }));
  poster.join();
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST_F(LoopTest, HooksRunInPhaseOrderAndKeepTheLoopAwake) {
  struct Hook final : TurnHook {
    Hook(std::string& o, char n) : order(o), name(n) {}
    bool has_work() const override { return work > 0; }
    void on_turn_end() override {
      --work;
      order += name;
    }
    std::string& order;
    char name;
    int work = 2;
  };
  std::string order;
  Hook send(order, 's');
  Hook append(order, 'a');
  loop_->add_hook(Phase::Send, send);
  loop_->add_hook(Phase::Append, append);
  EXPECT_TRUE(run_until([&] { return order.size() == 4; }));
  EXPECT_EQ(order, "asas");
  loop_->remove_hook(send);
  loop_->remove_hook(append);
}

TEST_F(LoopTest, TaskCancelsItselfWhenDestroyed) {
  struct Count final : Task {
    explicit Count(int& r) : runs(r) {}
    void run() override { ++runs; }
    int& runs;
  };
  int runs = 0;
  Count kept(runs);
  {
    Count dropped(runs);
    loop_->schedule(dropped);
    loop_->schedule(kept);
  }
  loop_->run_once(milliseconds(0));
  EXPECT_EQ(runs, 1);
}

TEST_F(LoopTest, PipeCarriesBytesBothWaysAndCloses) {
  auto [left, right] = make_pipe(*loop_, 16);
  Reader reader(*right);
  EXPECT_EQ(left->write("hello", 5).bytes, 5U);
  EXPECT_TRUE(run_until([&] { return reader.text == "hello"; }));
  left.reset();
  EXPECT_TRUE(run_until([&] { return reader.is_closed; }));
  EXPECT_EQ(right->write("x", 1).kind, IoResult::Kind::Closed);
}

TEST_F(LoopTest, FullPipeAnswersWouldBlockAndWakesTheWriter) {
  auto [left, right] = make_pipe(*loop_, 8);
  Reader writer(*left);
  EXPECT_EQ(left->write("0123456789", 10).bytes, 8U);
  EXPECT_EQ(left->write("8", 1).kind, IoResult::Kind::WouldBlock);
  left->listen(&writer, true, true);
  loop_->run_once(milliseconds(0));
  EXPECT_EQ(writer.writable, 0);
  char bytes[16];
  EXPECT_EQ(right->read(bytes, sizeof bytes).bytes, 8U);
  loop_->run_once(milliseconds(0));
  EXPECT_GE(writer.writable, 1);
}

TEST_F(LoopTest, ListenerAndConnectorMeet) {
  Worker resolver("resolve");
  std::unique_ptr<Transport> server;
  auto listener = Listener::open(*loop_, {"127.0.0.1", 0, ""}, [&](int fd) {
    server = std::move(*adopt_socket(*loop_, fd));
  });
  ASSERT_TRUE(listener);
  std::unique_ptr<Transport> client;
  auto connector = Connector::start(*loop_, resolver, (*listener)->address(), std::chrono::seconds(5),
                                    [&](auto result) {
                                      ASSERT_TRUE(result);
                                      client = std::move(*result);
                                    });
  ASSERT_TRUE(run_until([&] { return server && client; }));
  Reader reader(*server);
  client->write("ping", 4);
  EXPECT_TRUE(run_until([&] { return reader.text == "ping"; }));
  client.reset();
  EXPECT_TRUE(run_until([&] { return reader.is_closed; }));
}

TEST_F(LoopTest, WildcardListenerShowsIpv4ClientsAsSuch) {
  Worker resolver("resolve");
  std::unique_ptr<Transport> server;
  auto listener = Listener::open(*loop_, {"", 0, ""}, [&](int fd) {
    server = std::move(*adopt_socket(*loop_, fd));
  });
  ASSERT_TRUE(listener);
  const Address target{"127.0.0.1", (*listener)->address().port, ""};
  std::unique_ptr<Transport> client;
  auto connector = Connector::start(*loop_, resolver, target, std::chrono::seconds(5),
                                    [&](auto result) { client = std::move(*result); });
  ASSERT_TRUE(run_until([&] { return server && client; }));
  EXPECT_EQ(server->peer().host, "127.0.0.1");
}

TEST_F(LoopTest, ConnectorReportsRefusal) {
  Worker resolver("resolve");
  Address closed;
  {
    auto listener = Listener::open(*loop_, {"127.0.0.1", 0, ""}, [](int fd) { close(fd); });
    closed = (*listener)->address();
  }
  std::string error;
  auto connector = Connector::start(*loop_, resolver, closed, std::chrono::seconds(5),
                                    [&](auto result) { error = result.error().text; });
  ASSERT_TRUE(run_until([&] { return !error.empty(); }));
  EXPECT_NE(error.find("Connection refused"), std::string::npos) << error;
}

TEST_F(LoopTest, WorkerRunsFirstInFirstOut) {
  Worker worker("test");
  std::vector<int> done;
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(worker.run(*loop_, [] {}, [&done, i] { done.push_back(i); }));
  }
  EXPECT_TRUE(run_until([&] { return done.size() == 100; }));
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
}

TEST_F(LoopTest, FullWorkerQueueRefuses) {
  Worker worker("test");
  worker.set_queue_max(0);
  EXPECT_FALSE(worker.run(*loop_, [] {}, [] {}));
}

TEST_F(LoopTest, SignalsArriveOnTheLoop) {
  int seen = 0;
  auto signals = Signals::open(*loop_, {SIGUSR1}, [&](int number) { seen = number; });
  ASSERT_TRUE(signals);
  kill(getpid(), SIGUSR1);
  EXPECT_TRUE(run_until([&] { return seen == SIGUSR1; }));
}

TEST(Address, ParsesEveryForm) {
  const auto check = [](std::string_view text, std::string_view host, int port) {
    const auto address = parse_address(text, 4222);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->host, host) << text;
    EXPECT_EQ(address->port, port) << text;
  };
  check("localhost", "localhost", 4222);
  check("localhost:1", "localhost", 1);
  check(":1", "", 1);
  check("[::1]:7", "::1", 7);
  check("::1", "::1", 4222);
  for (const char* bad : {"a:b", "a:70000", "[::1", "unix:"}) EXPECT_FALSE(parse_address(bad, 1)) << bad;
}

}  // namespace
}  // namespace brokkr::io
