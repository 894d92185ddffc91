#include "store/wal.h"

#include "store/wal_format.h"
#include "store/wal_test_fixture.h"

namespace brokkr::store {
namespace {

using testing::FileCall;

TEST(Wal, AnEmptyDirectoryIsAnEmptyLog) {
  WalBed bed;
  ASSERT_TRUE(bed.open());
  EXPECT_TRUE(bed.seen.empty());
  EXPECT_EQ(bed.recovery.last_lsn, 0u);
  EXPECT_EQ(bed.recovery.damaged, 0u);
  EXPECT_FALSE(bed.recovery.torn_tail);
  EXPECT_TRUE(bed.recovery.notes.empty());
}

TEST(Wal, FramesComeBackInOrderWithTheirNumbers) {
  WalBed bed;
  ASSERT_TRUE(bed.open());
  bed.group_note = "note";
  EXPECT_EQ(bed.publish(1), 1u);
  EXPECT_EQ(bed.wal->append(FrameType::Remove, 9, {"ab", "", "cde"}), 2u);
  bed.commit();
  EXPECT_EQ(bed.durable, 3u);  // the end of the group counts
  EXPECT_EQ(bed.publish(2, 1000), 4u);
  bed.commit();
  bed.kill();
  ASSERT_TRUE(bed.open());
  ASSERT_EQ(bed.seen.size(), 3u);
  EXPECT_EQ(bed.seen[0].lsn, 1u);
  EXPECT_EQ(bed.seen[0].stream, 7u);
  EXPECT_EQ(bed.seen[0].body, WalBed::body_of(1, 40));
  EXPECT_EQ(bed.seen[1].type, FrameType::Remove);
  EXPECT_EQ(bed.seen[1].stream, 9u);
  EXPECT_EQ(bed.seen[1].body, "abcde");
  EXPECT_EQ(bed.seen[2].body, WalBed::body_of(2, 1000));
  EXPECT_EQ(bed.notes, (std::vector<std::string>{"note", "note"}));
  EXPECT_EQ(bed.recovery.last_lsn, 5u);
  EXPECT_FALSE(bed.recovery.torn_tail);
  EXPECT_TRUE(bed.recovery.notes.empty()) << bed.recovery.notes[0];
}

TEST(Wal, ReplayStartsWhereItIsAsked) {
  WalBed bed;
  ASSERT_TRUE(bed.open());
  bed.publish_each(1, 10);
  bed.kill();
  ASSERT_TRUE(bed.open(9));
  EXPECT_EQ(bed.seqs(), WalBed::range(5, 10));
  EXPECT_EQ(bed.recovery.damaged, 0u);
}

TEST(Wal, OneGroupIsWrittenWhileTheNextGathers) {
  WalBed bed;
  ASSERT_TRUE(bed.open());
  bed.publish_each(1, 1);
  const uint64_t syncs = bed.files->count(FileCall::Sync);
  bed.publish(2);
  bed.wal->commit();
  bed.publish(3);
  bed.wal->commit();
  bed.publish(4);
  bed.wal->commit();
  EXPECT_EQ(bed.durable, 2u);
  EXPECT_TRUE(bed.executor.run_one());
  EXPECT_EQ(bed.durable, 4u);
  EXPECT_TRUE(bed.executor.run_one());
  EXPECT_EQ(bed.durable, 7u);
  EXPECT_FALSE(bed.executor.run_one());
  EXPECT_EQ(bed.files->count(FileCall::Sync) - syncs, 2u);
}

TEST(Wal, FramesThatWereNotCommittedWait) {
  WalBed bed;
  ASSERT_TRUE(bed.open());
  bed.publish_each(1, 1);
  bed.publish(2);
  bed.wal->commit();
  bed.publish(3);
  bed.executor.run_all();
  EXPECT_EQ(bed.durable, 4u);
  EXPECT_TRUE(bed.wal->has_uncommitted());
  bed.commit();
  EXPECT_EQ(bed.durable, 6u);
  EXPECT_FALSE(bed.wal->has_uncommitted());
}

TEST(Wal, GoesOnInFurtherFilesAndUsesReleasedOnesAgain) {
  WalBed bed;
  ASSERT_TRUE(bed.open());
  bed.publish_each(1, 1000, 400);
  EXPECT_GT(bed.log_files().size(), 5u);
  EXPECT_GT(bed.wal->bytes_since(0), 400'000u);
  const uint64_t bytes = bed.wal->bytes_since(1000);
  EXPECT_GT(bytes, 180'000u);
  EXPECT_LT(bytes, bed.wal->bytes_since(0) - 180'000);
  bed.wal->release_before(bed.wal->durable() + 1);
  bed.executor.run_all();
  EXPECT_EQ(bed.log_files().size(), 1u);
  const uint64_t fills = bed.files->count(FileCall::FillZero);
  bed.publish_each(1001, 1200, 400);
  EXPECT_EQ(bed.files->count(FileCall::FillZero), fills);
  bed.kill();
  ASSERT_TRUE(bed.open(2001));
  EXPECT_EQ(bed.recovery.damaged, 0u);
  EXPECT_EQ(bed.seqs(), WalBed::range(1001, 1200));
  EXPECT_TRUE(bed.recovery.notes.empty());
  // Asked for what was given up: that is missing, and said so.
  ASSERT_TRUE(bed.open(1));
  EXPECT_GT(bed.recovery.damaged, 1900u);
}

TEST(Wal, StaleFramesOfARecycledFileAreNeverTaken) {
  WalBed bed;
  ASSERT_TRUE(bed.open());
  // All frames have one size, so old frames start exactly where the latest end.
  uint64_t seq = 0;
  Lsn needed = 1;
  for (int round = 0; round < 20; ++round) {
    bed.publish_each(seq + 1, seq + 37, 800);
    seq += 37;
    needed = bed.wal->appended() - 20;
    bed.wal->release_before(needed);
    bed.executor.run_all();
    if (round % 4 != 3) continue;
    bed.kill();
    ASSERT_TRUE(bed.open(needed));
    EXPECT_EQ(bed.recovery.damaged, 0u);
    EXPECT_TRUE(bed.recovery.notes.empty()) << bed.recovery.notes[0];
    const std::vector<uint64_t> seqs = bed.seqs();
    ASSERT_FALSE(seqs.empty());
    EXPECT_EQ(seqs, WalBed::range(seqs.front(), seq));
  }
}

TEST(Wal, AnOldRecordInTheBodyOfAnotherFrameIsNotTaken) {
  WalBed bed;
  ASSERT_TRUE(bed.open());
  bed.publish_each(1, 3);
  bed.kill();
  const std::string path = bed.log_files()[0];
  std::string bytes = bed.files->get(path);
  // The third frame keeps its header and gets the first one's record, which is whole.
  const size_t record = 104;
  const size_t group = kFrameHeaderBytes + record + kFrameHeaderBytes + kGroupEndBytes;
  bytes.replace(kWalHeadBytes + 2 * group + kFrameHeaderBytes, record,
                bytes.substr(kWalHeadBytes + kFrameHeaderBytes, record));
  bed.files->put(path, bytes);
  ASSERT_TRUE(bed.open());
  EXPECT_EQ(bed.seqs(), WalBed::range(1, 2));
  EXPECT_EQ(bed.recovery.damaged, 1u);
}

TEST(Wal, AGroupLargerThanAFileGetsOneOfItsOwn) {
  WalBed bed;
  ASSERT_TRUE(bed.open());
  bed.publish_each(1, 3);
  bed.publish_each(4, 4, 300'000);
  bed.publish_each(5, 6);
  bed.kill();
  ASSERT_TRUE(bed.open());
  EXPECT_EQ(bed.seqs(), WalBed::range(1, 6));
  EXPECT_EQ(bed.recovery.damaged, 0u);
  bed.wal->release_before(bed.wal->appended() + 1);
  bed.executor.run_all();
  EXPECT_TRUE(bed.log_files().empty());
  EXPECT_LT(bed.files->used_bytes(), 300'000u);
}

TEST(Wal, SmallGroupsAreWrittenAtOnceWithoutSyncs) {
  WalBed bed;
  bed.options.sync = SyncMode::Interval;
  ASSERT_TRUE(bed.open());
  bed.publish_each(1, 1);
  const uint64_t syncs = bed.files->count(FileCall::Sync);
  bed.publish(2);
  bed.wal->commit();
  EXPECT_EQ(bed.durable, 4u);
  EXPECT_EQ(bed.files->count(FileCall::Sync), syncs);
  bed.wal->sync_now();
  bed.wal->sync_now();
  bed.executor.run_all();
  bed.wal->sync_now();
  bed.executor.run_all();
  EXPECT_EQ(bed.files->count(FileCall::Sync), syncs + 1);
}

TEST(Wal, DurableMayAppendAndCommit) {
  for (const SyncMode mode : {SyncMode::Always, SyncMode::None}) {
    testing::FaultFiles files;
    testing::ManualExecutor executor;
    const auto log = Log::discard();
    Wal::Options options{.directory = "d", .sync = mode, .file_bytes = 64 << 10};
    Wal::Recovery recovery;
    std::unique_ptr<Wal> wal;
    int left = 1000;
    Wal::Events events;
    events.durable = [&](Lsn) {
      if (--left <= 0) return;
      wal->append(FrameType::Remove, 1, {"x"});
      wal->commit();
    };
    auto visit = [](const Frame&) {};
    wal = std::move(*Wal::open(files, executor, options, 1, visit, std::move(events), *log, recovery));
    wal->append(FrameType::Remove, 1, {"x"});
    wal->commit();
    executor.run_all();
    EXPECT_EQ(left, 0);
    EXPECT_EQ(wal->durable(), 2000u);
  }
}

TEST(Wal, SaysWhenTooMuchWaits) {
  WalBed bed;
  bed.options.pending_bytes_max = 1000;
  ASSERT_TRUE(bed.open());
  bed.publish(1, 2000);
  EXPECT_TRUE(bed.wal->is_busy());
  bed.wal->commit();
  EXPECT_TRUE(bed.wal->is_busy());
  bed.executor.run_all();
  EXPECT_FALSE(bed.wal->is_busy());
  EXPECT_EQ(bed.wal->pending_bytes(), 0u);
}

TEST(Wal, ABatchWithoutItsCommitIsNotThere) {
  WalBed bed;
  ASSERT_TRUE(bed.open());
  bed.publish_each(1, 1);
  bed.wal->append(FrameType::BatchBegin, 7, {});
  bed.publish(2);
  bed.publish(3);
  bed.commit();
  bed.kill();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(bed.open());
    EXPECT_EQ(bed.seqs(), i == 0 ? WalBed::range(1, 1) : std::vector<uint64_t>({1, 2})) << i;
    EXPECT_EQ(bed.recovery.damaged, 0u);
    // Numbers go on behind the dropped ones; what follows does not commit them.
    if (i == 0) {
      EXPECT_GT(bed.publish(2), 5u);
    }
    bed.commit();
    bed.kill();
  }
}

TEST(Wal, ACommittedBatchIsThereWhole) {
  WalBed bed;
  ASSERT_TRUE(bed.open());
  bed.wal->append(FrameType::BatchBegin, 7, {});
  bed.publish(1);
  bed.commit();
  bed.publish(2);
  bed.wal->append(FrameType::BatchCommit, 7, {});
  bed.publish(3);
  bed.commit();
  bed.kill();
  ASSERT_TRUE(bed.open());
  EXPECT_EQ(bed.seqs(), WalBed::range(1, 3));
  EXPECT_EQ(bed.seen.size(), 5u);
  EXPECT_EQ(bed.notes.size(), 2u);
}

TEST(Wal, NothingIsReusedAfterATornGroup) {
  WalBed bed;
  ASSERT_TRUE(bed.open());
  bed.publish_each(1, 2);
  for (uint64_t seq = 3; seq <= 10; ++seq) bed.publish(seq, 600);
  bed.wal->commit();
  bed.executor.run_all();
  bed.kill();
  // Half of the last group is gone: its middle and its end.
  const std::string path = bed.log_files()[0];
  std::string bytes = bed.files->get(path);
  const size_t start = kWalHeadBytes + 2 * (32 + 104 + 32 + 24);
  const size_t frame = 32 + pad8(48 + 10 + 600);
  bytes.replace(start + 3 * frame, frame, std::string(frame, '\0'));
  bytes.replace(start + 8 * frame, 56, std::string(56, '\0'));
  bed.files->put(path, bytes);
  ASSERT_TRUE(bed.open());
  EXPECT_EQ(bed.seqs(), WalBed::range(1, 5));
  EXPECT_TRUE(bed.recovery.torn_tail);
  EXPECT_EQ(bed.recovery.damaged, 0u);
  EXPECT_GE(bed.publish(6), 13u);
  bed.commit();
  bed.kill();
  ASSERT_TRUE(bed.open());
  EXPECT_EQ(bed.seqs(), WalBed::range(1, 6));
  EXPECT_FALSE(bed.recovery.torn_tail);
  EXPECT_EQ(bed.recovery.damaged, 0u);
}

}  // namespace
}  // namespace brokkr::store
