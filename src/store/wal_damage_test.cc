// Goal: damage to what is on the disk costs what it hit, is found, and nothing else.
//
// Invariants: opening never fails; no record comes back other than it was written; every record that
// was not hit comes back; what was hit is reported.
#include <cstdlib>
#include <set>

#include "store/wal_format.h"
#include "store/wal_replay.h"
#include "store/wal_test_fixture.h"

namespace brokkr::store {
namespace {

// Some hundred thousand cases more, for a build with optimisation.
bool is_exhaustive() { return std::getenv("BROKKR_EXHAUSTIVE") != nullptr; }

// A log of `count` records in groups of one to five, its bytes, and where its frames end.
struct SampleLog {
  SampleLog(uint64_t count, size_t body_bytes) {
    WalBed bed;
    bed.options.file_bytes = 8192 + count * (body_bytes + 160);
    EXPECT_TRUE(bed.open());
    bed.group_note = "seen";
    for (uint64_t seq = 1; seq <= count; ++seq) {
      bed.publish(seq, body_bytes + seq % 7);
      if (seq % 5 == seq % 3 || seq == count) bed.commit();
    }
    EXPECT_EQ(bed.log_files().size(), 1u);
    path = bed.log_files()[0];
    bytes = bed.files->get(path);
    FrameScanner scanner(bytes, frame_stamp(parse_wal_head(bytes).head->epoch), 1, UINT64_MAX);
    while (const auto found = scanner.next()) {
      if (found->header.type == FrameType::Append) ends.push_back(scanner.position());
      used = scanner.position();
    }
    EXPECT_EQ(ends.size(), count);
  }

  std::string path;
  std::string bytes;
  std::vector<size_t> ends;  // by record
  size_t used = 0;
};

TEST(WalDamage, CutAtEveryByteGivesEveryWholeFrameBefore) {
  const SampleLog sample(100, 20);
  WalBed bed;
  const size_t step = is_exhaustive() ? 1 : 5;
  for (size_t size = 0; size <= sample.used; size += step) {
    bed.files->put(sample.path, sample.bytes.substr(0, size));
    ASSERT_TRUE(bed.open()) << size;
    size_t whole = 0;
    while (whole < sample.ends.size() && sample.ends[whole] <= size) ++whole;
    if (size < kWalHeadCopyBytes) whole = 0;
    ASSERT_EQ(bed.seqs(), WalBed::range(1, whole)) << "cut at " << size;
    ASSERT_EQ(bed.recovery.damaged, 0u) << "cut at " << size;
    ASSERT_TRUE(bed.recovery.torn_tail || size < kWalHeadCopyBytes);
    ASSERT_FALSE(bed.recovery.notes.empty());
    for (const auto& it : bed.seen) {
      ASSERT_EQ(it.damage, RecordDamage::None);
      ASSERT_EQ(it.body, WalBed::body_of(it.seq, 20 + it.seq % 7));
    }
  }
}

TEST(WalDamage, EveryFlippedBitIsFoundAndCostsAtMostItsRecord) {
  const SampleLog sample(is_exhaustive() ? 270 : 60, 120);
  WalBed bed;
  const uint64_t step = is_exhaustive() ? 1 : 61;
  std::set<uint64_t> lost;
  for (uint64_t bit = 0; bit < sample.used * 8; bit += step) {
    std::string bytes = sample.bytes;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    bed.files->put(sample.path, std::move(bytes));
    ASSERT_TRUE(bed.open()) << "bit " << bit;
    ASSERT_TRUE(bed.recovery.damaged > 0 || bed.recovery.torn_tail || !bed.recovery.notes.empty())
        << "bit " << bit << " was not noticed";
    ASSERT_LE(bed.recovery.damaged, 1u) << "bit " << bit;
    uint64_t whole = 0;
    for (const auto& it : bed.seen) {
      ASSERT_TRUE(it.damage == RecordDamage::None || it.damage == RecordDamage::Content);
      if (it.damage == RecordDamage::Content) {
        EXPECT_EQ(bed.recovery.damaged, 1u);
        continue;
      }
      ASSERT_EQ(it.body, WalBed::body_of(it.seq, 120 + it.seq % 7)) << "bit " << bit;
      ++whole;
    }
    ASSERT_GE(whole + bed.recovery.damaged, sample.ends.size()) << "bit " << bit;
    if (whole < sample.ends.size()) lost.insert(whole);
  }
  EXPECT_EQ(lost, std::set<uint64_t>{sample.ends.size() - 1});
  EXPECT_TRUE(!is_exhaustive() || sample.used >= 64 << 10) << sample.used;
}

TEST(WalDamage, BlocksOfZeroesInTheMiddleAreReportedAndPassed) {
  const SampleLog sample(200, 100);
  WalBed bed;
  for (const size_t block : {size_t{512}, size_t{4096}}) {
    for (size_t at = kWalHeadBytes; at + block < sample.used - 200; at += block) {
      std::string bytes = sample.bytes;
      bytes.replace(at, block, std::string(block, '\0'));
      bed.files->put(sample.path, std::move(bytes));
      ASSERT_TRUE(bed.open());
      std::set<uint64_t> expected;
      size_t begin = kWalHeadBytes;
      for (size_t i = 0; i < sample.ends.size(); begin = sample.ends[i], ++i) {
        if (sample.ends[i] <= at || begin >= at + block) expected.insert(i + 1);
      }
      for (const auto& it : bed.seen) {
        if (it.damage == RecordDamage::None) expected.erase(it.seq);
      }
      ASSERT_TRUE(expected.empty()) << "record " << *expected.begin() << " missing, zeroes at " << at;
      ASSERT_GT(bed.recovery.damaged, 0u);
    }
  }
}

TEST(WalDamage, BothHeadsLostCostsNoRecord) {
  SampleLog sample(50, 100);
  WalBed bed;
  sample.bytes.replace(0, kWalHeadBytes, std::string(kWalHeadBytes, '\0'));
  bed.files->put(sample.path, sample.bytes);
  ASSERT_TRUE(bed.open());
  EXPECT_EQ(bed.seqs(), WalBed::range(1, 50));
  EXPECT_TRUE(bed.has_note("head is damaged"));
  bed.publish_each(51, 60);
  bed.kill();
  ASSERT_TRUE(bed.open());
  EXPECT_EQ(bed.seqs(), WalBed::range(1, 60));
}

TEST(WalDamage, PagesThatCannotBeReadCostWhatIsInThem) {
  const SampleLog sample(200, 100);
  WalBed bed;
  bed.files->put(sample.path, sample.bytes);
  bed.files->break_range(sample.path, 2 * 4096 + 100, 10);
  ASSERT_TRUE(bed.open());
  EXPECT_GT(bed.recovery.damaged, 10u);
  EXPECT_LT(bed.recovery.damaged, 40u);
  EXPECT_EQ(bed.seqs().back(), 200u);
  EXPECT_TRUE(bed.has_note("1 pages cannot be read"));
}

TEST(WalDamage, DamagedFilesAreKeptWhenTheyAreNoLongerNeeded) {
  const SampleLog sample(50, 100);
  WalBed bed;
  bed.files->put(sample.path, sample.bytes);
  bed.files->flip_bit(sample.path, (sample.ends[20] - 20) * 8);
  ASSERT_TRUE(bed.open());
  EXPECT_EQ(bed.recovery.damaged, 1u);
  bed.publish_each(51, 60);
  bed.wal->release_before(bed.wal->durable());
  bed.executor.run_all();
  EXPECT_TRUE(bed.files->exists("d/wal/lost+found/" + sample.path.substr(6)));
  EXPECT_FALSE(bed.files->exists(sample.path));
  bed.kill();
  ASSERT_TRUE(bed.open(bed.recovery.last_lsn + 1));
  EXPECT_TRUE(bed.recovery.notes.empty());
}

// A frame that is right in itself and is not the one the group was closed with.
TEST(WalDamage, AFrameThatIsNotTheGroupsIsReported) {
  SampleLog sample(10, 100);
  const FrameStamp stamp = frame_stamp(parse_wal_head(sample.bytes).head->epoch);
  const auto header = parse_frame_header(std::string_view(sample.bytes).substr(kWalHeadBytes), stamp);
  ASSERT_TRUE(header);
  FrameHeader forged = *header;
  forged.stream = 8;
  seal_frame(sample.bytes.data() + kWalHeadBytes, forged, stamp);
  WalBed bed;
  bed.files->put(sample.path, sample.bytes);
  ASSERT_TRUE(bed.open());
  EXPECT_TRUE(bed.has_note("not the one that was written"));
  EXPECT_EQ(bed.recovery.damaged, 1u);
}

// Batches: damage to the frame that commits one must not undo it.
TEST(WalDamage, ADamagedCommitLosesNothingOfItsBatch) {
  WalBed bed;
  ASSERT_TRUE(bed.open());
  bed.publish_each(1, 1);
  bed.wal->append(FrameType::BatchBegin, 7, {});
  bed.publish(2);
  bed.publish(3);
  bed.wal->append(FrameType::BatchCommit, 7, {"commit"});
  bed.commit();
  bed.kill();
  const std::string path = bed.log_files()[0];
  const size_t at = bed.files->get(path).find("commit");
  bed.files->flip_bit(path, at * 8);
  ASSERT_TRUE(bed.open());
  EXPECT_EQ(bed.seqs(), WalBed::range(1, 3));
  EXPECT_EQ(bed.recovery.damaged, 1u);
}

class WalFilesDamage : public ::testing::Test {
 protected:
  WalFilesDamage() {
    EXPECT_TRUE(bed_.open());
    bed_.publish_each(1, 600, 400);
    bed_.kill();
    files_ = bed_.log_files();
    EXPECT_GE(files_.size(), 4u);
  }
  void move(const std::string& from, const std::string& to) {
    bed_.files->put(to, bed_.files->get(from));
    EXPECT_TRUE(bed_.files->remove(from));
  }
  WalBed bed_;
  std::vector<std::string> files_;
};

TEST_F(WalFilesDamage, AMissingFileIsReportedExactly) {
  ASSERT_TRUE(bed_.open());
  EXPECT_TRUE(bed_.files->remove(files_[1]));
  const auto all = bed_.seen.size();
  ASSERT_TRUE(bed_.open());
  EXPECT_EQ(bed_.seqs().front(), 1u);
  EXPECT_EQ(bed_.seqs().back(), 600u);
  // Each record has the end of its group beside it.
  EXPECT_EQ(bed_.recovery.damaged, 2 * (all - bed_.seen.size()));
  EXPECT_TRUE(bed_.has_note("missing"));
}

TEST_F(WalFilesDamage, TheLastFileMissingLosesOnlyItsOwn) {
  EXPECT_TRUE(bed_.files->remove(files_.back()));
  ASSERT_TRUE(bed_.open());
  EXPECT_EQ(bed_.seqs(), WalBed::range(1, bed_.seqs().back()));
  EXPECT_GT(bed_.seqs().size(), 300u);
}

TEST_F(WalFilesDamage, SwappedFilesAreReadInTheirOrder) {
  const std::string one = bed_.files->get(files_[1]);
  bed_.files->put(files_[1], bed_.files->get(files_[2]));
  bed_.files->put(files_[2], one);
  ASSERT_TRUE(bed_.open());
  EXPECT_EQ(bed_.seqs(), WalBed::range(1, 600));
  EXPECT_EQ(bed_.recovery.damaged, 0u);
  EXPECT_TRUE(bed_.has_note("was named"));
  bed_.publish_each(601, 610, 400);
  bed_.wal->release_before(bed_.wal->durable());
  bed_.executor.run_all();
  bed_.kill();
  ASSERT_TRUE(bed_.open(1201));
  EXPECT_EQ(bed_.seqs(), WalBed::range(601, 610));
}

TEST_F(WalFilesDamage, ACopyIsLeftAlone) {
  bed_.files->put("d/wal/00000000000000ff.wal", bed_.files->get(files_[1]));
  ASSERT_TRUE(bed_.open());
  EXPECT_EQ(bed_.seqs(), WalBed::range(1, 600));
  EXPECT_EQ(bed_.recovery.damaged, 0u);
  EXPECT_TRUE(bed_.has_note("a second"));
  bed_.publish_each(601, 800, 400);
  bed_.kill();
  ASSERT_TRUE(bed_.open());
  EXPECT_EQ(bed_.seqs(), WalBed::range(1, 800));
}

TEST_F(WalFilesDamage, AFileOfAnotherLogIsLeftAlone) {
  WalBed other;
  ASSERT_TRUE(other.open());
  other.publish_each(1000, 1010);
  bed_.files->put("d/wal/0000000000000fff.wal", other.files->get(other.log_files()[0]));
  bed_.files->put("d/wal/notes.txt", "hello");
  ASSERT_TRUE(bed_.open());
  EXPECT_EQ(bed_.seqs(), WalBed::range(1, 600));
  EXPECT_EQ(bed_.recovery.damaged, 0u);
  EXPECT_TRUE(bed_.has_note("another log"));
  EXPECT_TRUE(bed_.has_note("notes.txt"));
  EXPECT_TRUE(bed_.files->exists("d/wal/0000000000000fff.wal"));
}

TEST_F(WalFilesDamage, ARenamedFileIsReadWhereItBelongs) {
  move(files_[2], "d/wal/00000000000000aa.wal");
  ASSERT_TRUE(bed_.open());
  EXPECT_EQ(bed_.seqs(), WalBed::range(1, 600));
  EXPECT_TRUE(bed_.has_note("was named"));
}

TEST_F(WalFilesDamage, AFileOfZeroesOrRubbishIsLeftAlone) {
  bed_.files->put(files_[1], std::string(64 << 10, '\0'));
  bed_.files->put("d/wal/00000000000000ee.wal", std::string(20'000, 'x'));
  ASSERT_TRUE(bed_.open());
  EXPECT_EQ(bed_.seqs().back(), 600u);
  EXPECT_GT(bed_.recovery.damaged, 100u);
  EXPECT_TRUE(bed_.has_note("left alone"));
  EXPECT_TRUE(bed_.files->exists(files_[1]));
}

TEST_F(WalFilesDamage, AFileThatCannotBeOpenedStopsTheStart) {
  bed_.files->fail_paths(testing::FileCall::Open, files_[1]);
  EXPECT_FALSE(bed_.open());
  bed_.files->heal();
  ASSERT_TRUE(bed_.open());
  EXPECT_EQ(bed_.seqs(), WalBed::range(1, 600));
}

TEST_F(WalFilesDamage, AFileOfALaterVersionIsLeftAlone) {
  std::string bytes = bed_.files->get(files_.back());
  for (const size_t copy : {size_t{0}, kWalHeadCopyBytes}) {
    bytes[copy + 8] = 2;
    store_le<uint32_t>(bytes.data() + copy + 12, 0);
    store_le(bytes.data() + copy + 12, crc32c({bytes.data() + copy, kWalHeadCopyBytes}));
  }
  bed_.files->put(files_.back(), bytes);
  ASSERT_TRUE(bed_.open());
  EXPECT_TRUE(bed_.has_note("newer version"));
  EXPECT_EQ(bed_.files->get(files_.back()), bytes);
}

}  // namespace
}  // namespace brokkr::store
