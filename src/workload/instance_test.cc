// Instances as real processes: this test program is its own zygote, with the fake engine.
#include "workload/instance.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <optional>

#include "base/log.h"
#include "workload/zygote_main.h"

namespace brokkr::workload {
namespace {

using runtime::OutcomeCode;
using std::chrono::milliseconds;

// Keeps what it hears; answers host calls when told to.
struct RecordingOwner final : InstanceOwner {
  struct Result {
    std::string reply;
    OutcomeCode code;
    std::string text;  // payload, or the error
  };
  void on_ready(Instance&) override { is_ready = true; }
  void on_load_failed(Instance&, const std::string& reason) override { load_failure = reason; }
  void on_result(Instance&, const Call& call, const CallResult& result) override {
    const bool is_ok = result.code == OutcomeCode::Ok;
    results.push_back({call.reply, result.code, std::string(is_ok ? result.payload : result.error)});
  }
  void on_host_call(Instance&, const HostCallRequest& request) override {
    host_calls.emplace_back(request.id, std::string(request.call.payload));
  }
  void on_log(Instance&, runtime::LogStream, std::string_view text) override {
    logs.emplace_back(text);
  }
  void on_dead(Instance&, const std::string& reason) override { death = reason; }

  bool is_ready = false;
  std::string load_failure;
  std::vector<Result> results;
  std::vector<std::pair<uint64_t, std::string>> host_calls;
  std::vector<std::string> logs;
  std::optional<std::string> death;
};

class InstanceTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = io::Loop::open({}, clock_);
    ASSERT_TRUE(opened);
    loop_ = std::move(*opened);
    Zygote::Options options;
    options.engine_path = BROKKR_FAKE_ENGINE;
    zygote_ = std::make_unique<Zygote>(*loop_, *log_, options, "test");
    cgroups_ = sandbox::CgroupTree::open();
    flusher_ = std::make_unique<InstanceFlusher>(*loop_);
    options_.spec.limits.wall_time = milliseconds(300);
  }
  void TearDown() override {
    instance_.reset();
    spare_.reset();
    zygote_.reset();
    flusher_.reset();
  }

  // From here on there is a process forked ahead, after each start a new one.
  void use_spare() {
    spare_ = std::make_unique<SpareInstance>(*loop_, *zygote_, *cgroups_);
    start("echo");
    ASSERT_TRUE(owner_.is_ready);
    await_spare();
  }
  void await_spare() {
    ASSERT_TRUE(run_until([&] { return spare_->is_ready(); })) << "no process was forked ahead";
  }

  void start(const char* behaviour) {
    options_.spec.artifact = behaviour;
    options_.spec.file_name = "test.js";
    instance_ = std::make_unique<Instance>(
        Instance::Deps{*loop_, *zygote_, *cgroups_, *flusher_, spare_.get()}, options_, owner_);
    run_until([&] { return owner_.is_ready || owner_.death || !owner_.load_failure.empty(); });
  }
  void call(std::string_view payload, std::string_view reply = "r") {
    instance_->call("subject", reply, {}, payload, clock_.now());
  }
  // Runs turns until `done`, at most ten seconds.
  bool run_until(FunctionRef<bool()> done) {
    const MonotonicTime end = clock_.now() + std::chrono::seconds(10);
    while (!done() && clock_.now() < end) loop_->run_once(milliseconds(10));
    return done();
  }
  void await_results(size_t count) {
    ASSERT_TRUE(run_until([&] { return owner_.results.size() >= count; }))
        << owner_.results.size() << " results; death: " << owner_.death.value_or("none");
  }
  void expect_death(OutcomeCode code, std::string_view text) {
    await_results(1);
    EXPECT_EQ(owner_.results[0].code, code);
    EXPECT_NE(owner_.results[0].text.find(text), std::string::npos) << owner_.results[0].text;
    EXPECT_TRUE(run_until([&] { return owner_.death.has_value(); }));
    EXPECT_EQ(instance_->state(), Instance::State::Dead);
  }

  SystemClock clock_;
  std::unique_ptr<Log> log_ = Log::discard();
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<Zygote> zygote_;
  std::unique_ptr<sandbox::CgroupTree> cgroups_;
  std::unique_ptr<InstanceFlusher> flusher_;
  std::unique_ptr<SpareInstance> spare_;
  Instance::Options options_;
  RecordingOwner owner_;
  std::unique_ptr<Instance> instance_;
};

TEST_F(InstanceTest, EveryCallIsAnsweredInOrder) {
  start("echo");
  std::vector<std::string> payloads;
  for (int i = 0; i < 60; ++i) payloads.push_back(std::string(static_cast<size_t>(i * 997), 'x'));
  for (size_t i = 0; i < payloads.size(); ++i) call(payloads[i], std::to_string(i));
  await_results(payloads.size());
  for (size_t i = 0; i < payloads.size(); ++i) {
    EXPECT_EQ(owner_.results[i].reply, std::to_string(i));
    EXPECT_EQ(owner_.results[i].text, payloads[i]);
  }
  EXPECT_EQ(instance_->in_flight(), 0U);
}

TEST_F(InstanceTest, APayloadOfMegabytesGoesThroughBothWays) {
  options_.spec.limits.reply_bytes_max = 8U << 20;
  start("echo");
  std::string payload(5U << 20, '\0');
  for (size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<char>(i * 7);
  call(payload);
  await_results(1);
  EXPECT_TRUE(owner_.results[0].text == payload);
}

TEST_F(InstanceTest, RoomEndsAtTheInFlightLimit) {
  options_.in_flight_max = 2;
  start("later");
  call("a");
  EXPECT_TRUE(instance_->has_room());
  call("b");
  EXPECT_FALSE(instance_->has_room());
  await_results(2);
  EXPECT_TRUE(instance_->has_room());
}

TEST_F(InstanceTest, AFailingLoadSaysWhere) {
  start("bad");
  EXPECT_EQ(owner_.load_failure, "test.js:1: bad");
  EXPECT_FALSE(owner_.is_ready);
}

TEST_F(InstanceTest, SpinningCodeIsTerminatedAndTheInstanceLivesOn) {
  start("spin");
  call("a");
  call("b");
  await_results(2);
  EXPECT_EQ(owner_.results[0].code, OutcomeCode::TimedOut);
  EXPECT_EQ(owner_.results[0].text, "terminated");
  // It has waited in line as long as a call may run.
  EXPECT_EQ(owner_.results[1].code, OutcomeCode::NoCapacity);
  EXPECT_EQ(instance_->state(), Instance::State::Ready);
}

TEST_F(InstanceTest, CodeThatCannotBeTerminatedIsKilledFromOutside) {
  start("hang");
  const MonotonicTime before = clock_.now();
  call("a");
  expect_death(OutcomeCode::TimedOut, "its process was stopped");
  EXPECT_GE(clock_.now() - before, options_.spec.limits.wall_time);
}

TEST_F(InstanceTest, CallsThatNeverSettleAreAbandoned) {
  start("never");
  call("a");
  await_results(1);
  EXPECT_EQ(owner_.results[0].text, "abandoned");
  EXPECT_EQ(instance_->state(), Instance::State::Ready);
}

TEST_F(InstanceTest, ADyingProcessAnswersEveryCall) {
  start("crash");
  call("a");
  call("b");
  await_results(2);
  for (const auto& result : owner_.results) EXPECT_EQ(result.code, OutcomeCode::Crashed);
  EXPECT_TRUE(run_until([&] { return owner_.death.has_value(); }));
}

TEST_F(InstanceTest, TheCauseOfDeathIsTold) {
  start("exit");
  call("a");
  expect_death(OutcomeCode::Crashed, "exit code 3");
}

TEST_F(InstanceTest, RunningOutOfMemoryHasItsOwnCode) {
  start("no-memory");
  call("a");
  expect_death(OutcomeCode::OutOfMemory, "out of memory");
}

class ForbiddenCallTest : public InstanceTest, public testing::WithParamInterface<const char*> {};

TEST_P(ForbiddenCallTest, EndsTheProcessAndAnswers) {
  start(GetParam());
  if ((zygote_->facts().layers & sandbox::kSeccomp) == 0) GTEST_SKIP() << "no seccomp here";
  call("a");
  expect_death(OutcomeCode::Crashed, "a call the sandbox forbids");
}
INSTANTIATE_TEST_SUITE_P(Calls, ForbiddenCallTest, testing::Values("fork", "socket", "exec", "kill"));

TEST_F(InstanceTest, OpeningAFileIsRefused) {
  start("open");
  call("a");
  await_results(1);
  EXPECT_EQ(owner_.results[0].text, "refused");
}

TEST_F(InstanceTest, AHostCallWaitsForItsOwnReplyAndLaterCallsKeepTheirOrder) {
  start("ask");
  for (const char* payload : {"1", "2", "3"}) call(payload);
  for (size_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(run_until([&] { return owner_.host_calls.size() > i; }));
    runtime::HostReply reply;
    reply.payload = "answer " + owner_.host_calls[i].second;
    instance_->reply_to_host_call(owner_.host_calls[i].first, reply);
  }
  await_results(3);
  EXPECT_EQ(owner_.results[0].text, "1=answer 1");
  EXPECT_EQ(owner_.results[1].text, "2=answer 2");
  EXPECT_EQ(owner_.results[2].text, "3=answer 3");
}

TEST_F(InstanceTest, LogsAreLimitedWhereTheyAreWritten) {
  options_.log_lines_per_second = 10;
  start("log");
  call("a");
  await_results(1);
  EXPECT_EQ(owner_.logs.size(), 10U);
}

TEST_F(InstanceTest, DrainingWaitsForCallsAndThenEnds) {
  start("later");
  call("a");
  instance_->drain();
  EXPECT_FALSE(instance_->has_room());
  EXPECT_TRUE(run_until([&] { return owner_.death.has_value(); }));
  ASSERT_EQ(owner_.results.size(), 1U);
  EXPECT_EQ(owner_.results[0].code, OutcomeCode::Ok);
}

TEST_F(InstanceTest, AZygotesDeathIsItsChildrensAndTheNextForkStartsAnother) {
  start("never");
  call("a");
  const pid_t first = zygote_->pid();
  kill(first, SIGKILL);
  expect_death(OutcomeCode::Crashed, "zygote");
  owner_ = {};
  start("echo");
  EXPECT_NE(zygote_->pid(), first);
  call("again");
  await_results(1);
  EXPECT_EQ(owner_.results[0].text, "again");
}

TEST_F(InstanceTest, AMissingEngineIsNamed) {
  Zygote::Options options;
  options.engine_path = "/no/such/engine.so";
  zygote_ = std::make_unique<Zygote>(*loop_, *log_, options, "test");
  start("echo");
  ASSERT_TRUE(owner_.death.has_value());
  EXPECT_NE(owner_.death->find("/no/such/engine.so"), std::string::npos) << *owner_.death;
}

TEST_F(InstanceTest, AProcessForkedAheadIsTakenAndReplaced) {
  use_spare();
  for (int i = 0; i < 3; ++i) {
    const pid_t spare = spare_->pid();
    owner_ = {};
    start("echo");
    ASSERT_TRUE(owner_.is_ready);
    EXPECT_EQ(instance_->pid(), spare);
    call("hello");
    await_results(1);
    EXPECT_EQ(owner_.results[0].text, "hello");
    await_spare();
    EXPECT_NE(spare_->pid(), spare);
  }
}

TEST_F(InstanceTest, AProcessForkedAheadKeepsTheLimitsAndTheFateOfOthers) {
  use_spare();
  owner_ = {};
  options_.memory_bytes_max = 64U << 20;
  start("hog");
  call("please");
  expect_death(OutcomeCode::OutOfMemory, "out of memory");
}

TEST_F(InstanceTest, AProcessForkedAheadThatDiedIsNotUsed) {
  use_spare();
  const pid_t spare = spare_->pid();
  ASSERT_EQ(kill(spare, SIGKILL), 0);
  ASSERT_TRUE(run_until([&] { return !spare_->is_ready(); }));
  owner_ = {};
  start("echo");
  ASSERT_TRUE(owner_.is_ready);
  EXPECT_NE(instance_->pid(), spare);
  await_spare();
}

TEST_F(InstanceTest, AZygoteThatDiesTakesTheProcessForkedAheadWithIt) {
  use_spare();
  ASSERT_EQ(kill(zygote_->pid(), SIGKILL), 0);
  ASSERT_TRUE(run_until([&] { return !spare_->is_ready() && owner_.death.has_value(); }));
  owner_ = {};
  start("echo");
  EXPECT_TRUE(owner_.is_ready);
}

}  // namespace
}  // namespace brokkr::workload

int main(int argc, char** argv) {
  if (const auto code = brokkr::workload::zygote_main(argc, argv)) return *code;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
