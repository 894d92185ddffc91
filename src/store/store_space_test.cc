// A disk that fills up: publishes are refused, the rest goes on, and room is used as soon as there is
// some, whether somebody else made it or a purge did.
#include <gtest/gtest.h>

#include <deque>

#include "store/store.h"
#include "store/testing/fault_files.h"

namespace brokkr::store {
namespace {

using testing::FaultFiles;
using testing::FileCall;
using testing::ManualExecutor;

class StoreSpace : public ::testing::Test {
 protected:
  StoreSpace() {
    options_.directory = "d";
    options_.checkpoint_bytes = 128 << 10;
    options_.log_file_bytes = 64 << 10;
    options_.free_bytes_min = 128 << 10;
    open();
    StreamOptions options;
    options.account = "$G";
    options.name = "S";
    stream_ = *store_->create_stream(options);
    turn();
  }

  void open() {
    auto store = Store::open(options_, {disk_, log_executor_, background_, clock_, *log_,
                                        [this](Duration, Callback<void()> call) {
                                          timers_.push_back(std::move(call));
                                        }});
    EXPECT_TRUE(store);
    store_ = std::move(*store);
    stream_ = store_->find_stream("$G", "S");
  }
  void kill_and_open() {
    log_executor_.clear();
    background_.clear();
    timers_.clear();
    store_.reset();
    disk_.crash(1, testing::CrashKind::Process);
    open();
  }

  // All work there is, and no timer.
  void turn() {
    store_->commit();
    while (log_executor_.size() + background_.size() > 0) {
      log_executor_.run_all();
      background_.run_all();
    }
  }
  // A second passes, and another: every timer calls once each.
  void wait(int rounds) {
    for (; rounds > 0; --rounds) {
      auto now = std::move(timers_);
      timers_.clear();
      for (const auto& call : now) call();
      turn();
    }
  }
  Result<uint64_t> append() {
    NewMessage message;
    message.subject = "s";
    const std::string body(4000, 'x');
    message.body = body;
    message.timestamp_ns = ++now_;
    return stream_->append(message);
  }
  bool publish() {
    const auto seq = append();
    if (!seq) {
      EXPECT_EQ(seq.error().code, Errc::OutOfSpace);
    }
    turn();
    return static_cast<bool>(seq);
  }
  void fill() {
    int count = 0;
    while (publish()) ASSERT_LT(++count, 10'000);
  }

  FaultFiles disk_;
  ManualExecutor log_executor_;
  ManualExecutor background_;
  ManualClock clock_;
  std::unique_ptr<Log> log_ = Log::discard();
  std::deque<Callback<void()>> timers_;
  Store::Options options_;
  std::unique_ptr<Store> store_;
  Stream* stream_ = nullptr;
  int64_t now_ = 1'700'000'000'000'000'000;
};

TEST_F(StoreSpace, TakesMessagesAgainWhenSomebodyElseMadeRoom) {
  for (int cycle = 0; cycle < 5; ++cycle) {
    disk_.set_capacity(disk_.used_bytes() + (600 << 10));
    fill();
    const uint64_t last = stream_->last_seq();
    disk_.set_capacity(disk_.used_bytes());
    for (int i = 0; i < 10; ++i) {
      EXPECT_TRUE(stream_->remove(last - static_cast<uint64_t>(i), Removal::Deleted));
      wait(1);
      EXPECT_EQ(store_->durable(), store_->appended());
      EXPECT_FALSE(publish());
    }
    disk_.set_capacity(UINT64_MAX);
    wait(3);
    ASSERT_TRUE(publish()) << "cycle " << cycle;
  }
}

TEST_F(StoreSpace, APurgeMakesRoom) {
  for (int cycle = 0; cycle < 5; ++cycle) {
    disk_.set_capacity(disk_.used_bytes() + (600 << 10));
    fill();
    stream_->purge({{}, stream_->last_seq(), 0});
    turn();
    wait(6);
    ASSERT_TRUE(publish()) << "cycle " << cycle;
    EXPECT_EQ(stream_->messages(), 2u);
  }
}

// The log could go on in files that are there; what is left of the disk is for the rest.
TEST_F(StoreSpace, StopsBeforeTheLastBytes) {
  disk_.set_capacity(disk_.used_bytes() + (1 << 20));
  fill();
  const auto free = disk_.free_bytes("d");
  EXPECT_GT(*free, options_.free_bytes_min / 2);
  EXPECT_LT(*free, options_.free_bytes_min + 2 * options_.checkpoint_bytes);
}

TEST_F(StoreSpace, ALogThatCouldNotBeEmptiedIsEmptiedWithoutAnotherMessage) {
  disk_.fail_paths(FileCall::Write, "runs/");
  fill();  // beyond what the log may grow to
  disk_.heal();
  wait(4);
  EXPECT_TRUE(publish());
}

// A start reads the whole log: it must not grow by a file with every start that is killed.
TEST_F(StoreSpace, ManyKillsDoNotMakeTheLogLong) {
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(publish());
    wait(1);
    kill_and_open();
  }
  size_t files = 0;
  for (const std::string& path : disk_.paths()) files += path.ends_with(".wal") ? 1 : 0;
  EXPECT_LE(files, 10u);
  EXPECT_EQ(stream_->messages(), 40u);
}

// A disk that fails for good: whoever waits for it is told, once, and so is who comes later.
TEST_F(StoreSpace, WhoWaitsForAFailedDiskIsTold) {
  int durable = 0;
  int failed = 0;
  disk_.fail_paths(FileCall::Sync, "wal/");
  ASSERT_TRUE(append());
  store_->when_durable([&] { ++durable; }, [&] { ++failed; });
  turn();
  ASSERT_NE(store_->failure(), nullptr);
  EXPECT_EQ(durable, 0);
  EXPECT_EQ(failed, 1);
  EXPECT_FALSE(append());
  store_->when_durable([&] { ++durable; }, [&] { ++failed; });
  EXPECT_EQ(durable, 0);
  EXPECT_EQ(failed, 2);
}

}  // namespace
}  // namespace brokkr::store
