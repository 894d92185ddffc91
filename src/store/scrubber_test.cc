#include "store/scrubber.h"

#include <optional>

#include <gtest/gtest.h>

#include "store/run_test_fixture.h"

namespace brokkr::store {
namespace {

class QueueExecutor final : public Executor {
 public:
  void run(Callback<void()> work, Callback<void()> done) override {
    work();
    done();
  }
};

class ScrubberTest : public testing::Test {
 protected:
  ScrubberTest() {
    info = run.write_file(some_messages(2000, 100));
    Scrubber::Options options;
    options.step_bytes = 64 << 10;
    options.bytes_per_second = 64 << 10;
    Scrubber::Events events;
    events.next = [this] { return next(); };
    events.damaged = [this](const Scrubber::Target& target, const std::vector<uint64_t>& seqs) {
      EXPECT_EQ(target.stream, 3U);
      damaged.insert(damaged.end(), seqs.begin(), seqs.end());
    };
    events.footer_damaged = [this](const Scrubber::Target&) { ++footers; };
    events.after = [this](Duration delay, Callback<void()> done) {
      waited += delay;
      later = std::move(done);
    };
    scrubber = std::make_unique<Scrubber>(executor, options, std::move(events));
    scrubber->start();
    waited = {};
  }
  std::optional<Scrubber::Target> next() {
    if (std::exchange(was_given, !was_given)) return std::nullopt;
    return Scrubber::Target{run.open(), info, 3};
  }
  void finish_round() {
    const uint64_t before = scrubber->rounds();
    for (int i = 0; i < 1000 && scrubber->rounds() == before; ++i) {
      const Callback<void()> now = std::move(later);
      now();
    }
  }

  RunFixture run;
  RunInfo info;
  QueueExecutor executor;
  bool was_given = false;
  Callback<void()> later;
  Duration waited{};
  std::vector<uint64_t> damaged;
  int footers = 0;
  std::unique_ptr<Scrubber> scrubber;
};

TEST_F(ScrubberTest, ReadsEverythingAtItsRate) {
  finish_round();
  EXPECT_TRUE(damaged.empty());
  EXPECT_EQ(scrubber->rounds(), 1U);
  EXPECT_GE(scrubber->bytes_read(), info.bytes);
  // A second for every step, and the pause at the end.
  EXPECT_GE(waited, std::chrono::hours(6) + std::chrono::seconds(info.bytes / (64 << 10)));
}

TEST_F(ScrubberTest, ReportsDamagedMessages) {
  const auto messages = some_messages(2000, 100);
  for (const size_t i : {5, 700, 1999})
    run.bytes()[run.bytes().find(RunFixture::encode(messages[i])) + 80] ^= 2;
  finish_round();
  EXPECT_EQ(damaged, (std::vector<uint64_t>{15, 710, 2009}));
  EXPECT_EQ(footers, 0);
}

TEST_F(ScrubberTest, ReportsADamagedFooter) {
  run.bytes()[info.footer_offset + 60] ^= 1;
  finish_round();
  EXPECT_TRUE(damaged.empty());
  EXPECT_EQ(footers, 1);
}

TEST_F(ScrubberTest, StopsWithItsOwner) {
  const Callback<void()> now = std::move(later);
  now();
  const Callback<void()> last = std::move(later);
  scrubber.reset();
  last();
  EXPECT_FALSE(later);
}

}  // namespace
}  // namespace brokkr::store
