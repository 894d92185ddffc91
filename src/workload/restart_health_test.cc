// When programs are started again, what counts as ill, and how output becomes lines. Time is held by hand.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "io/loop.h"
#include "workload/health_monitor.h"
#include "workload/line_splitter.h"
#include "workload/restart_backoff.h"

namespace brokkr::workload {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

RestartPolicy policy_of(RestartPolicy::Kind kind, uint32_t attempts_max = 0) {
  RestartPolicy policy;
  policy.kind = kind;
  policy.attempts_max = attempts_max;
  return policy;
}

TEST(RestartBackoff, DoublesUpToTheLongestAndResets) {
  SeededRandom random(1);
  RestartBackoff backoff(RestartBackoff::choose({}, false));
  Duration expected = milliseconds(100);
  for (int i = 0; i < 15; ++i) {
    const auto pause = backoff.next(i % 2 == 0, milliseconds(5), random);
    ASSERT_TRUE(pause);
    EXPECT_GE(*pause, expected) << i;
    EXPECT_LE(*pause, expected + expected / 4 + Duration(1)) << i;
    expected = std::min<Duration>(expected * 2, seconds(30));
  }
  EXPECT_EQ(expected, seconds(30));
  const auto after_long_run = backoff.next(false, seconds(60), random);
  ASSERT_TRUE(after_long_run);
  EXPECT_LE(*after_long_run, milliseconds(126));
}

TEST(RestartBackoff, ChanceSpreadsThePauses) {
  SeededRandom random(7);
  RestartBackoff a(RestartBackoff::choose({}, false));
  RestartBackoff b(RestartBackoff::choose({}, false));
  EXPECT_NE(*a.next(false, {}, random), *b.next(false, {}, random));
}

TEST(RestartBackoff, KeepsToThePolicy) {
  SeededRandom random(1);
  using Kind = RestartPolicy::Kind;
  EXPECT_FALSE(RestartBackoff(RestartBackoff::choose({}, true)).next(false, {}, random));
  EXPECT_FALSE(RestartBackoff(RestartBackoff::choose(policy_of(Kind::Never), false)).next(false, {}, random));
  RestartBackoff on_failure(RestartBackoff::choose(policy_of(Kind::OnFailure), false));
  EXPECT_TRUE(on_failure.next(false, {}, random));
  EXPECT_FALSE(on_failure.next(true, {}, random));
  RestartBackoff three(RestartBackoff::choose(policy_of(Kind::Default, 3), true));
  EXPECT_TRUE(three.next(false, {}, random));
  EXPECT_TRUE(three.next(false, {}, random));
  EXPECT_FALSE(three.next(false, {}, random));
}

TEST(LineSplitter, CutsAndJoins) {
  LineSplitter splitter;
  std::vector<std::string> lines;
  const auto keep = [&](std::string_view line) { lines.emplace_back(line); };
  splitter.add("one\ntw", keep);
  splitter.add("o\r\n\nthr", keep);
  EXPECT_EQ(lines, (std::vector<std::string>{"one", "two", ""}));
  splitter.finish(keep);
  EXPECT_EQ(lines.back(), "thr");
  splitter.finish(keep);
  EXPECT_EQ(lines.size(), 4U);
}

TEST(LineSplitter, BoundsALineWithoutEnd) {
  LineSplitter splitter;
  std::vector<std::string> lines;
  const auto keep = [&](std::string_view line) { lines.emplace_back(line); };
  const std::string chunk(5000, 'x');
  for (int i = 0; i < 10; ++i) splitter.add(chunk, keep);
  splitter.finish(keep);
  size_t total = 0;
  for (const std::string& line : lines) {
    EXPECT_LE(line.size(), LineSplitter::kLineBytesMax);
    total += line.size();
  }
  EXPECT_EQ(total, 50'000U);
  lines.clear();
  std::string two_lines(LineSplitter::kLineBytesMax, 'y');
  splitter.add(two_lines.append("\nz\n"), keep);
  EXPECT_EQ(lines.size(), 2U);
}

class HealthMonitorTest : public testing::Test {
 protected:
  void SetUp() override { loop_ = std::move(*io::Loop::open({}, clock_)); }
  void start(const HealthMonitor::Options& options) {
    monitor_ = std::make_unique<HealthMonitor>(
        *loop_, options,
        [this](HealthMonitor::Answer answer) {
          ++asked_;
          answer_ = std::move(answer);
        },
        [this](bool is_healthy, const std::string& why) {
          changes_.push_back(is_healthy ? "healthy" : why);
        });
    turn({});
  }
  void turn(Duration by) {
    clock_.advance(by);
    loop_->run_once(Duration::zero());
    loop_->run_once(Duration::zero());
  }
  ManualClock clock_;
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<HealthMonitor> monitor_;
  HealthMonitor::Answer answer_;
  int asked_ = 0;
  std::vector<std::string> changes_;
};

TEST_F(HealthMonitorTest, IsHealthyWithTheFirstGoodAnswerAndIllAfterRetries) {
  start({.interval = seconds(1), .timeout = seconds(1), .start_period = {}, .retries = 2});
  ASSERT_EQ(asked_, 1);
  answer_(true, "");
  EXPECT_EQ(changes_, (std::vector<std::string>{"healthy"}));
  turn(seconds(1));
  answer_(false, "broken");
  EXPECT_TRUE(monitor_->is_healthy()) << "one bad answer is none";
  turn(seconds(1));
  answer_(false, "broken");
  EXPECT_EQ(changes_.back(), "broken");
  EXPECT_FALSE(monitor_->is_healthy());
  turn(seconds(1));
  answer_(true, "");
  EXPECT_EQ(changes_.size(), 3U);
}

TEST_F(HealthMonitorTest, NoAnswerIsABadOneAndALateOneIsIgnored) {
  start({.interval = seconds(10), .timeout = seconds(1), .start_period = {}, .retries = 1});
  HealthMonitor::Answer late = std::move(answer_);
  turn(seconds(1));
  ASSERT_EQ(changes_.size(), 1U);
  EXPECT_NE(changes_[0].find("no answer within 1s"), std::string::npos);
  late(true, "");
  EXPECT_EQ(changes_.size(), 1U);
}

TEST_F(HealthMonitorTest, BadAnswersDoNotCountInTheStartPeriod) {
  start({.interval = seconds(10), .timeout = seconds(1), .start_period = seconds(5), .retries = 1});
  for (int i = 0; i < 9; ++i) {
    answer_(false, "not yet");
    turn(milliseconds(500));
    ASSERT_EQ(asked_, i + 2) << "asked often until it is healthy";
  }
  EXPECT_TRUE(changes_.empty());
  turn(milliseconds(600));
  answer_(false, "still not");
  EXPECT_EQ(changes_, (std::vector<std::string>{"still not"}));
}

TEST_F(HealthMonitorTest, AnAnswerAfterItHasGoneIsHarmless) {
  start({});
  HealthMonitor::Answer late = std::move(answer_);
  monitor_.reset();
  late(true, "");
  EXPECT_TRUE(changes_.empty());
}

}  // namespace
}  // namespace brokkr::workload
