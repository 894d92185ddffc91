// Goal: whatever the machine does to writes that were not synced, and whichever call fails, what was
// reported durable is there afterwards.
//
// A run appends records at random, in groups of random size, with jobs finishing at random times,
// releases what it no longer needs, and crashes. Invariants after each start: every record that was
// durable, or seen by an earlier start, is there as it was and in order; no position seen is given
// again; nothing but what was appended comes back; what is reported damaged was never durable.
#include <cstdlib>
#include <map>
#include <set>

#include "store/wal_test_fixture.h"

namespace brokkr::store {
namespace {

using testing::CrashKind;
using testing::FileCall;

class CrashRun {
 public:
  CrashRun(uint64_t seed, SyncMode mode) : random_(seed), mode_(mode) {
    bed.options.sync = mode;
    bed.options.file_bytes = 32 << 10;
  }

  // Appends and commits at random; completions come when they like.
  void work(int steps) {
    for (int i = 0; i < steps; ++i) {
      switch (random_.below(6)) {
        case 0:
        case 1:
        case 2: append(); break;
        case 3: bed.wal->commit(); break;
        case 4: bed.executor.step(random_); break;
        default: occasionally(); break;
      }
      note_durable();
    }
  }

  void append() {
    const uint64_t seq = next_seq_++;
    const size_t bytes = random_.below(20) == 0 ? random_.below(9000) : random_.below(300);
    const Lsn lsn = bed.publish(seq, bytes);
    // What nobody has seen may be given again.
    ASSERT_GT(lsn, required_);
    written_[lsn] = {seq, bytes};
    dropped_.erase(lsn);
    broken_.erase(lsn);
  }

  void occasionally() {
    if (random_.below(10) != 0) return;
    if (mode_ == SyncMode::Interval) {
      bed.wal->sync_now();
    } else if (bed.durable > 40) {
      from_ = std::max(from_, bed.durable - random_.below(40));
      bed.wal->release_before(from_);
    }
  }

  void note_durable() {
    if (mode_ == SyncMode::Always) required_ = std::max(required_, bed.durable);
  }

  // What replay gave against what was appended.
  void check_start() {
    std::set<Lsn> seen;
    Lsn last = 0;
    for (const auto& it : bed.seen) {
      ASSERT_GT(it.lsn, last);
      last = it.lsn;
      if (it.type != FrameType::Append) continue;
      seen.insert(it.lsn);
      ASSERT_TRUE(written_.contains(it.lsn)) << "lsn " << it.lsn << " was never written";
      const auto& [seq, bytes] = written_[it.lsn];
      ASSERT_EQ(it.seq, seq);
      // A body that is damaged was never durable.
      if (it.damage == RecordDamage::Content && it.lsn > required_) broken_.insert(it.lsn);
      if (broken_.contains(it.lsn)) continue;
      ASSERT_EQ(it.damage, RecordDamage::None);
      ASSERT_EQ(it.body, WalBed::body_of(seq, bytes));
    }
    for (const auto& [lsn, record] : written_) {
      if (lsn < from_ || lsn > required_) continue;
      ASSERT_TRUE(seen.contains(lsn) || dropped_.contains(lsn)) << "lsn " << lsn << " is lost";
    }
    // What was not there is gone for good; what was seen must stay.
    for (const auto& [lsn, record] : written_) {
      if (!seen.contains(lsn)) dropped_.insert(lsn);
    }
    ASSERT_GE(bed.recovery.last_lsn, required_);
    required_ = bed.recovery.last_lsn;
  }

  void start() {
    const Status opened = bed.open(from_);
    ASSERT_TRUE(opened) << opened.error().text;
    check_start();
  }

  WalBed bed;
  SeededRandom& random() { return random_; }
  Lsn required_ = 0;

 private:
  SeededRandom random_;
  SyncMode mode_;
  uint64_t next_seq_ = 1;
  Lsn from_ = 1;
  std::set<Lsn> dropped_;
  std::set<Lsn> broken_;
  std::map<Lsn, std::pair<uint64_t, size_t>> written_;
};

TEST(WalCrash, LostUnsyncedWritesLoseNothingDurable) {
  const uint64_t seeds = std::getenv("BROKKR_EXHAUSTIVE") != nullptr ? 3000 : 300;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    CrashRun run(seed, SyncMode::Always);
    for (int life = 0; life < 4; ++life) {
      ASSERT_NO_FATAL_FAILURE(run.start());
      EXPECT_TRUE(run.bed.failures.empty());
      run.work(150);
      run.bed.lose_power(run.random().next());
      if (HasFatalFailure()) return;
    }
  }
}

TEST(WalCrash, KilledProcessesLoseNothingWritten) {
  for (const SyncMode mode : {SyncMode::Always, SyncMode::Interval, SyncMode::None}) {
    for (uint64_t seed = 1; seed <= 30; ++seed) {
      SCOPED_TRACE("seed " + std::to_string(seed));
      CrashRun run(seed, mode);
      for (int life = 0; life < 4; ++life) {
        ASSERT_NO_FATAL_FAILURE(run.start());
        run.work(150);
        run.required_ = std::max(run.required_, run.bed.durable);
        run.bed.kill();
      }
    }
  }
}

// Replay hands over what is in the kernel's memory only; a loss of power after it must not take it.
TEST(WalCrash, WhatAStartHasSeenStays) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    CrashRun run(seed, SyncMode::Always);
    ASSERT_NO_FATAL_FAILURE(run.start());
    run.work(200);
    run.bed.executor.run_work();
    run.bed.kill();
    ASSERT_NO_FATAL_FAILURE(run.start());
    run.bed.executor.clear();
    run.bed.wal.reset();
    run.bed.files->crash(seed, CrashKind::DropAll);
    ASSERT_NO_FATAL_FAILURE(run.start());
  }
}

TEST(WalCrash, IntervalModeLosesOnlyWhatWasNotSyncedYet) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    CrashRun run(seed, SyncMode::Interval);
    for (int life = 0; life < 3; ++life) {
      ASSERT_NO_FATAL_FAILURE(run.start());
      run.work(200);
      const Lsn synced = run.bed.durable;
      run.bed.executor.run_all();
      run.bed.wal->sync_now();
      run.bed.executor.run_all();
      run.required_ = std::max(run.required_, synced);
      run.work(50);
      run.bed.lose_power(run.random().next());
    }
  }
}

// Every call of every kind fails once, in turn.
TEST(WalCrash, AFailedCallNeverCostsWhatWasDurable) {
  constexpr FileCall kKinds[] = {FileCall::Open,   FileCall::Read,   FileCall::Write, FileCall::Sync,
                                 FileCall::Rename, FileCall::Remove, FileCall::FillZero, FileCall::SyncDirectory,
                                 FileCall::List};
  int stopped = 0;
  for (const FileCall kind : kKinds) {
    for (uint64_t n = 1; n <= 40; ++n) {
      SCOPED_TRACE("kind " + std::to_string(static_cast<int>(kind)) + " call " + std::to_string(n));
      CrashRun run(n, SyncMode::Always);
      run.bed.files->fail_nth(kind, n);
      if (run.bed.open(1)) {
        run.work(300);
        if (run.bed.wal->failure() != nullptr) {
          ++stopped;
          ASSERT_EQ(run.bed.failures.size(), 1u);
          const Lsn durable = run.bed.durable;
          run.bed.publish(100'000);
          run.bed.commit();
          ASSERT_EQ(run.bed.durable, durable);
          run.bed.wal->retry_space();
          run.bed.executor.run_all();
          ASSERT_EQ(run.bed.durable, durable);
        }
      }
      run.bed.files->heal();
      run.bed.failures.clear();
      run.bed.lose_power(n);
      ASSERT_NO_FATAL_FAILURE(run.start());
    }
  }
  EXPECT_GT(stopped, 40);
}

TEST(WalCrash, AFailedSyncIsNeverTriedAgain) {
  WalBed bed;
  ASSERT_TRUE(bed.open());
  bed.publish_each(1, 3);
  bed.publish(4);
  bed.files->fail_nth(FileCall::Sync, 1);
  bed.commit();
  EXPECT_EQ(bed.durable, 6u);
  ASSERT_EQ(bed.failures.size(), 1u);
  const uint64_t syncs = bed.files->count(FileCall::Sync);
  bed.publish_each(5, 8);
  bed.wal->sync_now();
  bed.wal->retry_space();
  bed.executor.run_all();
  EXPECT_EQ(bed.files->count(FileCall::Sync), syncs);
  EXPECT_EQ(bed.durable, 6u);
  EXPECT_FALSE(bed.wal->has_uncommitted());
  EXPECT_NE(bed.wal->failure(), nullptr);
}

TEST(WalCrash, AFullDiskKeepsTheReserveAndHeals) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    WalBed bed;
    bed.options.file_bytes = 32 << 10;
    ASSERT_TRUE(bed.open());
    bed.publish_each(1, 5);
    uint64_t seq = 5;
    Lsn needed = 1;
    for (int cycle = 0; cycle < 20; ++cycle) {
      bed.files->set_capacity(bed.files->used_bytes() + (seed << 10));
      while (!bed.wal->is_full()) {
        ASSERT_LT(seq, 20'000u);
        bed.publish_each(seq + 1, seq + 1, 500);
        ++seq;
      }
      // Deletes still get through.
      for (int i = 0; i < 200; ++i) {
        bed.wal->append(FrameType::Remove, 7, {"12345678"});
        bed.commit();
      }
      ASSERT_EQ(bed.durable, bed.wal->appended());
      bed.wal->retry_space();
      bed.executor.run_all();
      ASSERT_TRUE(bed.wal->is_full());
      if (cycle % 2 == 0) {
        bed.files->set_capacity(UINT64_MAX);
        bed.wal->retry_space();
      } else {
        needed = bed.wal->durable() - 10;
        bed.wal->release_before(needed);
      }
      bed.executor.run_all();
      ASSERT_FALSE(bed.wal->is_full()) << "cycle " << cycle;
      bed.files->set_capacity(UINT64_MAX);
    }
    const Lsn durable = bed.durable;
    bed.lose_power(seed);
    ASSERT_TRUE(bed.open(needed));
    EXPECT_EQ(bed.recovery.last_lsn, durable);
    EXPECT_EQ(bed.recovery.damaged, 0u);
  }
}

TEST(WalCrash, GroupsWaitWhileNothingCanBeWrittenAndLoseNothing) {
  WalBed bed;
  bed.files->set_capacity(0);
  ASSERT_TRUE(bed.open());
  bed.publish_each(1, 10);
  EXPECT_TRUE(bed.wal->is_full());
  EXPECT_EQ(bed.durable, 0u);
  EXPECT_TRUE(bed.failures.empty());
  bed.files->set_capacity(UINT64_MAX);
  bed.wal->retry_space();
  bed.executor.run_all();
  EXPECT_FALSE(bed.wal->is_full());
  EXPECT_EQ(bed.durable, bed.wal->appended());
  // A disk that has no room for what was already filled (thin provisioning).
  bed.files->fail_nth(FileCall::Write, 1, Errc::OutOfSpace, 3);
  bed.publish_each(11, 20);
  EXPECT_TRUE(bed.wal->is_full());
  for (int i = 0; i < 3; ++i) {
    bed.wal->retry_space();
    bed.executor.run_all();
  }
  EXPECT_FALSE(bed.wal->is_full());
  EXPECT_EQ(bed.durable, bed.wal->appended());
  bed.publish_each(21, 21, 500'000);
  bed.files->set_capacity(bed.files->used_bytes() + 1000);
  bed.publish_each(22, 22, 500'000);
  EXPECT_TRUE(bed.wal->is_full());
  bed.files->set_capacity(UINT64_MAX);
  bed.wal->retry_space();
  bed.executor.run_all();
  EXPECT_EQ(bed.durable, bed.wal->appended());
  bed.lose_power(1);
  ASSERT_TRUE(bed.open());
  EXPECT_EQ(bed.seqs(), WalBed::range(1, 22));
  EXPECT_TRUE(bed.failures.empty());
}

}  // namespace
}  // namespace brokkr::store
