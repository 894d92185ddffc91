// Services and jobs over a program that is played: starts, ends, restarts, health, stop. Time is held by
// hand.
#include "workload/program_workload.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <optional>

namespace brokkr::workload {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct PlayedGate final : Gate {
  explicit PlayedGate(int& count) : accepted(count) {}
  void accept(int fd) override {
    ++accepted;
    close(fd);
  }
  void set_access(std::shared_ptr<const Access>) override {}
  Counters counters() const override { return {}; }
  Status ask(std::string_view, Callback<void()>) override { return {}; }
  int& accepted;
};

// What the test holds of the program that runs at the moment.
struct Stage {
  sandbox::ProgramSpec spec;
  sandbox::ProgramEvents events;
  std::vector<Duration> stops;
  Callback<void(Result<int>)> connecting;
  Callback<void(int, std::string)> executing;
  int starts = 0;
  int alive = 0;
};

struct PlayedProgram final : sandbox::Program {
  explicit PlayedProgram(Stage& s) : stage(s) { ++stage.alive; }
  ~PlayedProgram() override { --stage.alive; }
  pid_t pid() const override { return 4711; }
  void stop(Duration grace) override { stage.stops.push_back(grace); }
  void signal(int) override {}
  void connect(uint16_t, Callback<void(Result<int>)> handler) override {
    stage.connecting = std::move(handler);
  }
  void execute(std::vector<std::string>, Duration,
               Callback<void(int, std::string)> handler) override {
    stage.executing = std::move(handler);
  }
  sandbox::ProgramUsage usage() const override { return {}; }
  uint32_t layers() const override { return 0; }
  Stage& stage;
};

class ProgramWorkloadTest : public testing::Test {
 protected:
  void SetUp() override {
    loop_ = std::move(*io::Loop::open({}, clock_));
    ports_ = std::make_unique<PortTable>(*loop_);
    client::Options options;
    options.make_transport = [] { return std::unique_ptr<io::Transport>(); };
    options.retry_first_connect = true;
    connection_ = std::move(*client::Connection::open({*loop_, resolver_, random_}, std::move(options)));
    identity_.id = "w1";
    identity_.ns = "shop";
    identity_.name = "orders";
    identity_.workload_type = "native";
    identity_.workload_lifecycle = "service";
  }
  void TearDown() override {
    workload_.reset();
    connection_.reset();
    ports_.reset();
  }

  Status make() {
    ProgramWorkload::Options options;
    auto plan = plan_program(identity_, run_, {"/bin/true", {}}, {});
    if (!plan) return plan.error();
    options.plan = std::move(*plan);
    options.identity = identity_;
    options.start = [this](sandbox::ProgramSpec spec, sandbox::ProgramEvents events)
        -> Result<std::unique_ptr<sandbox::Program>> {
      if (refusal_) return *refusal_;
      ++stage_.starts;
      stage_.spec = std::move(spec);
      stage_.events = std::move(events);
      return std::unique_ptr<sandbox::Program>(std::make_unique<PlayedProgram>(stage_));
    };
    if (is_image_) {
      options.prepare = [this](ProgramWorkload::Prepared done) { prepared_ = std::move(done); };
    }
    options.make_gate = [this](Gate::Options gate) {
      gate_ = std::move(gate);
      return std::make_unique<PlayedGate>(accepted_);
    };
    WorkloadEvents events;
    events.health = [this](bool is_healthy) { health_.push_back(is_healthy); };
    events.ended = [this](int code, const std::string& error) { ended_ = {code, error}; };
    auto made = ProgramWorkload::make(
        {*loop_, resolver_, random_, *log_, *connection_, *ports_}, std::move(options),
        std::move(events), [this](const Status& status) {
          live_ = status ? "live" : status.error().text;
        });
    if (!made) return made.error();
    workload_ = std::move(*made);
    return {};
  }
  void start() {
    const Status made = make();
    ASSERT_TRUE(made) << made.error().text;
    stage_.events.on_started(4711, 0);
  }
  void end(int code, const std::string& reason = "", bool is_memory_kill = false) {
    stage_.events.on_exit({false, code}, is_memory_kill, reason);
    turn({});
  }
  void turn(Duration by) {
    clock_.advance(by);
    for (int i = 0; i < 3; ++i) loop_->run_once(Duration::zero());
  }
  bool has_line(std::string_view part) const {
    for (const LogEntry& entry : workload_->log().entries) {
      if (entry.text.find(part) != std::string::npos) return true;
    }
    return false;
  }
  std::string variable(const std::string& name) const {
    for (const std::string& text : stage_.spec.environment) {
      if (text.starts_with(name + "=")) return text.substr(name.size() + 1);
    }
    return "absent";
  }

  ManualClock clock_;
  SeededRandom random_{42};
  io::Worker resolver_{"resolver"};
  const std::unique_ptr<Log> log_ = Log::discard();
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<PortTable> ports_;
  std::unique_ptr<client::Connection> connection_;
  WorkloadIdentity identity_;
  RunRequest run_;
  Stage stage_;
  std::optional<Error> refusal_;
  bool is_image_ = false;
  ProgramWorkload::Prepared prepared_;
  Gate::Options gate_;
  int accepted_ = 0;
  std::string live_;
  std::vector<bool> health_;
  std::optional<std::pair<int, std::string>> ended_;
  std::unique_ptr<ProgramWorkload> workload_;
};

TEST_F(ProgramWorkloadTest, IsLiveWhenItRunsAndSpeaksToTheBroker) {
  start();
  EXPECT_EQ(live_, "live");
  EXPECT_TRUE(workload_->is_healthy());
  EXPECT_EQ(variable("NATS_URL"), "nats://192.168.127.1:4222");
  EXPECT_EQ(variable("NEX_WORKLOAD_NAMESPACE"), "shop");
  EXPECT_TRUE(variable("NEX_WORKLOAD_NATS_NKEY").starts_with("SU"));
  EXPECT_TRUE(gate_.user_nkey.starts_with("U"));
  EXPECT_TRUE(gate_.token.empty()) << "its own network is proof enough";
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  stage_.events.on_connection(0, pair[0]);
  EXPECT_EQ(accepted_, 1);
  stage_.events.on_connection(9, pair[1]);
  EXPECT_EQ(accepted_, 1) << "an unknown listener is closed";
  EXPECT_EQ(workload_->info().program.pid, 4711U);
}

TEST_F(ProgramWorkloadTest, StartsAgainWithGrowingPausesAndNewKeys) {
  start();
  const std::string key = variable("NEX_WORKLOAD_NATS_NKEY");
  for (int i = 1; i <= 4; ++i) {
    end(3);
    EXPECT_FALSE(workload_->is_healthy());
    EXPECT_EQ(workload_->summary().workload_state, "error");
    EXPECT_EQ(stage_.alive, 0);
    turn(milliseconds(100) * (1 << (i - 1)) - milliseconds(1));
    EXPECT_EQ(stage_.starts, i) << "not before the pause is over";
    turn(milliseconds(100) * (1 << (i - 1)));
    ASSERT_EQ(stage_.starts, i + 1);
    stage_.events.on_started(4711, 0);
  }
  EXPECT_NE(variable("NEX_WORKLOAD_NATS_NKEY"), key);
  EXPECT_EQ(workload_->info().restarts, 4U);
  EXPECT_EQ(workload_->info().program.exit_code, 3);
  EXPECT_TRUE(has_line("exit code 3, starts again in"));
  // A long run ends the row.
  turn(seconds(61));
  end(3);
  turn(milliseconds(130));
  EXPECT_EQ(stage_.starts, 6);
}

TEST_F(ProgramWorkloadTest, AJobRunsOnceAndTellsItsExitCode) {
  identity_.workload_lifecycle = "job";
  start();
  stage_.events.on_output(sandbox::OutputStream::Stdout, "no end of line");
  end(7);
  ASSERT_TRUE(ended_);
  EXPECT_EQ(ended_->first, 7);
  EXPECT_EQ(ended_->second, "exit code 7");
  EXPECT_EQ(workload_->state(), Workload::State::Stopped);
  EXPECT_EQ(workload_->summary().workload_state, "error");
  EXPECT_TRUE(has_line("no end of line"));
  turn(seconds(100));
  EXPECT_EQ(stage_.starts, 1);
}

TEST_F(ProgramWorkloadTest, AJobThatSucceedsHasNoError) {
  identity_.workload_lifecycle = "job";
  start();
  end(0);
  ASSERT_TRUE(ended_);
  EXPECT_EQ(ended_->first, 0);
  EXPECT_EQ(ended_->second, "");
  EXPECT_EQ(workload_->summary().workload_state, "stopped");
}

TEST_F(ProgramWorkloadTest, GivesUpAfterItsAttempts) {
  run_.restart.kind = RestartPolicy::Kind::OnFailure;
  run_.restart.attempts_max = 2;
  start();
  end(1);
  turn(seconds(1));
  ASSERT_EQ(stage_.starts, 2);
  stage_.events.on_started(4711, 0);
  end(1);
  ASSERT_TRUE(ended_);
  EXPECT_EQ(ended_->first, 1);
}

TEST_F(ProgramWorkloadTest, AProgramThatCannotBeStartedIsAFailedDeployment) {
  ASSERT_TRUE(make());
  end(127, "exec format error");
  EXPECT_NE(live_.find("not started: exec format error"), std::string::npos) << live_;
  EXPECT_EQ(workload_->state(), Workload::State::Stopped);
  turn(seconds(100));
  EXPECT_EQ(stage_.starts, 1);
}

TEST_F(ProgramWorkloadTest, AStartThatIsRefusedLaterIsTriedAgain) {
  start();
  refusal_ = Error{Errc::System, "no memory"};
  end(1);
  turn(milliseconds(200));
  EXPECT_TRUE(has_line("not started: no memory"));
  refusal_.reset();
  turn(seconds(1));
  EXPECT_EQ(stage_.starts, 2);
}

TEST_F(ProgramWorkloadTest, WaitsForItsImage) {
  is_image_ = true;
  ASSERT_TRUE(make());
  EXPECT_EQ(stage_.starts, 0);
  EXPECT_EQ(workload_->summary().workload_state, "starting");
  ProgramSource source;
  source.image.config.command = {"/bin/serve"};
  prepared_(plan_program(identity_, run_, source, {}), "abc");
  ASSERT_EQ(stage_.starts, 1);
  EXPECT_EQ(stage_.spec.arguments, Words{"/bin/serve"});
  stage_.events.on_started(1, 0);
  EXPECT_EQ(live_, "live");
  EXPECT_EQ(workload_->info().sha256, "abc");
}

TEST_F(ProgramWorkloadTest, AnImageThatIsNotThereIsAFailedDeployment) {
  is_image_ = true;
  ASSERT_TRUE(make());
  prepared_(Error{Errc::NotFound, "no such image"}, "");
  turn({});
  EXPECT_EQ(live_, "no such image");
  EXPECT_EQ(workload_->state(), Workload::State::Stopped);
}

TEST_F(ProgramWorkloadTest, AnImageThatComesTooLateIsNotStarted) {
  is_image_ = true;
  ASSERT_TRUE(make());
  bool is_stopped = false;
  workload_->stop({}, [&] { is_stopped = true; });
  turn({});
  EXPECT_TRUE(is_stopped);
  ProgramSource source;
  source.image.config.command = {"/bin/serve"};
  prepared_(plan_program(identity_, run_, source, {}), "abc");
  EXPECT_EQ(stage_.starts, 0);
  const auto late = std::move(prepared_);
  workload_.reset();
  late(Error{Errc::NotFound, "gone"}, "");
}

TEST_F(ProgramWorkloadTest, SaysThatMemoryWasTheReason) {
  run_.resources.memory_bytes = 32U << 20;
  start();
  stage_.events.on_exit({true, 9}, true, "");
  turn({});
  EXPECT_TRUE(has_line("killed for its memory: more than 32 MiB"));
  EXPECT_EQ(workload_->info().program.memory_kills, 1U);
  EXPECT_EQ(workload_->info().program.exit_code, 137);
}

TEST_F(ProgramWorkloadTest, StopsWithGraceAndCallsBackOnce) {
  run_.stop_grace_ns = 3'000'000'000;
  start();
  int stopped = 0;
  workload_->stop({}, [&] { ++stopped; });
  EXPECT_EQ(workload_->state(), Workload::State::Stopping);
  ASSERT_EQ(stage_.stops.size(), 1U);
  EXPECT_EQ(stage_.stops[0], seconds(3));
  end(0);
  EXPECT_EQ(stopped, 1);
  EXPECT_EQ(workload_->state(), Workload::State::Stopped);
  turn(seconds(100));
  EXPECT_EQ(stopped, 1);
  EXPECT_EQ(stage_.starts, 1);
  EXPECT_FALSE(ended_) << "it was stopped, it has not ended";
}

TEST_F(ProgramWorkloadTest, AProgramThatDoesNotEndIsThrownAway) {
  start();
  bool is_stopped = false;
  workload_->stop(seconds(1), [&] { is_stopped = true; });
  turn(seconds(1));
  EXPECT_FALSE(is_stopped);
  turn(seconds(2));
  EXPECT_TRUE(is_stopped);
  EXPECT_EQ(stage_.alive, 0);
}

TEST_F(ProgramWorkloadTest, StopsBetweenTwoRuns) {
  start();
  end(1);
  bool is_stopped = false;
  workload_->stop({}, [&] { is_stopped = true; });
  turn({});
  EXPECT_TRUE(is_stopped);
  turn(seconds(60));
  EXPECT_EQ(stage_.starts, 1);
}

class ProgramHealthTest : public ProgramWorkloadTest {
 protected:
  void SetUp() override {
    ProgramWorkloadTest::SetUp();
    run_.health.kind = HealthCheck::Kind::Command;
    run_.health.command = {"/check"};
    run_.health.retries = 2;
    run_.health.interval_ns = 1'000'000'000;
  }
  void answer(int code) {
    ASSERT_TRUE(stage_.executing);
    const auto handler = std::move(stage_.executing);
    handler(code, "why");
    turn({});
  }
};

TEST_F(ProgramHealthTest, IsLiveOnceHealthyAndStartedAgainWhenIll) {
  start();
  turn({});
  EXPECT_EQ(live_, "") << "not before it is healthy";
  EXPECT_EQ(workload_->summary().workload_state, "starting");
  answer(0);
  EXPECT_EQ(live_, "live");
  EXPECT_EQ(health_, std::vector<bool>{true});
  turn(seconds(1));
  answer(1);
  EXPECT_TRUE(workload_->is_healthy());
  turn(seconds(1));
  answer(1);
  EXPECT_EQ(health_, (std::vector<bool>{true, false}));
  ASSERT_EQ(stage_.stops.size(), 1U);
  end(0);
  EXPECT_TRUE(has_line("unhealthy: exit code 1: why, starts again in"));
  turn(seconds(1));
  ASSERT_EQ(stage_.starts, 2);
  stage_.events.on_started(4711, 0);
  turn({});
  answer(0);
  EXPECT_EQ(health_, (std::vector<bool>{true, false, true}));
}

TEST_F(ProgramHealthTest, OneThatIsNeverHealthyIsAFailedDeployment) {
  start();
  turn({});
  answer(1);
  turn(seconds(1));
  answer(1);
  ASSERT_EQ(stage_.stops.size(), 1U);
  end(0);
  EXPECT_NE(live_.find("unhealthy"), std::string::npos) << live_;
  EXPECT_EQ(workload_->state(), Workload::State::Stopped);
}

TEST_F(ProgramHealthTest, ALateAnswerOfAnEarlierRunIsNone) {
  start();
  turn({});
  const auto late = std::move(stage_.executing);
  end(1);
  late(0, "");
  EXPECT_NE(live_, "live");
}

TEST_F(ProgramWorkloadTest, PublishedPortsLeadInside) {
  run_.ports = {{"127.0.0.1", 0, 80}};
  start();
  const auto ports = workload_->info().program.ports;
  ASSERT_EQ(ports.size(), 1U);
  const auto address = io::parse_address(ports[0].substr(0, ports[0].rfind(':')), 0);
  ASSERT_TRUE(address);
  std::unique_ptr<io::Transport> outer;
  const auto connector = io::Connector::start(
      *loop_, resolver_, *address, seconds(5),
      [&](Result<std::unique_ptr<io::Transport>> got) { outer = std::move(*got); });
  SystemClock real;
  const MonotonicTime end = real.now() + seconds(10);
  while (!stage_.connecting && real.now() < end) loop_->run_once(milliseconds(1));
  ASSERT_TRUE(stage_.connecting);
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
  stage_.connecting(pair[0]);
  ASSERT_EQ(write(pair[1], "hello", 5), 5);
  char buffer[16];
  io::IoResult got;
  while (got.kind != io::IoResult::Kind::Ok || got.bytes == 0) {
    ASSERT_LT(real.now(), end);
    loop_->run_once(milliseconds(1));
    if (outer) got = outer->read(buffer, sizeof buffer);
  }
  EXPECT_EQ(std::string(buffer, got.bytes), "hello");
  close(pair[1]);
}

TEST_F(ProgramWorkloadTest, WithoutASandboxTheGateIsAPortWithAToken) {
  run_.isolation = Isolation::None;
  start();
  const std::string url = variable("NATS_URL");
  EXPECT_TRUE(url.starts_with("nats://" + gate_.token + "@127.0.0.1:")) << url;
  EXPECT_GE(gate_.token.size(), 32U);
  EXPECT_EQ(workload_->info().program.isolation, "none");
  EXPECT_TRUE(stage_.spec.listeners.empty());
}

}  // namespace
}  // namespace brokkr::workload
