// Goal: every sync, rename and directory sync the log makes is needed, and its loss is noticed: each
// is left out in turn, and what was durable or seen must then be gone after some loss of power.
// Making spares of zeroes or of released files is not counted: it makes groups faster, not safer.
#include <functional>

#include "store/wal_test_fixture.h"

namespace brokkr::store {
namespace {

using testing::CrashKind;
using testing::FaultFiles;
using testing::FileCall;

constexpr FileCall kMutated[] = {FileCall::Sync, FileCall::Rename, FileCall::SyncDirectory};

struct Mutant {
  FileCall kind;
  uint64_t n;
};

// True when everything up to `last` is there after all that is not on stable storage is gone.
bool survives(const WalBed& bed, uint64_t first, uint64_t last, Lsn from) {
  WalBed after(bed.files->clone());
  after.options = bed.options;
  after.files->crash(1, CrashKind::DropAll);
  if (!after.open(from)) return false;
  const std::vector<uint64_t> seqs = after.seqs();
  return after.recovery.notes.empty() && seqs.size() >= last - first + 1 && seqs.front() == first &&
         seqs[last - first] == last;
}

// What is done between two looks at the disk. `on_job` is called around every job.
using OnJob = std::function<void(const std::function<void()>&)>;

bool run_scenario(WalBed& bed, const OnJob& on_job) {
  bed.options.file_bytes = 16 << 10;
  bool is_opened = false;
  on_job([&] { is_opened = static_cast<bool>(bed.open()); });
  if (!is_opened) return false;
  const auto settle = [&] {
    while (bed.executor.size() > 0) on_job([&] { bed.executor.run_one(); });
  };
  settle();
  uint64_t first = 1;
  Lsn from = 1;
  for (uint64_t seq = 1; seq <= 60; ++seq) {
    bed.publish(seq, 700);
    bed.wal->commit();
    settle();
    if (bed.durable < 2 * seq || !survives(bed, first, seq, from)) return false;
    if (seq != 40) continue;
    // Files come back and are used again.
    from = 2 * 35 + 1;
    first = 36;
    bed.wal->release_before(from);
    settle();
    if (!survives(bed, first, seq, from)) return false;
  }
  return true;
}

std::vector<Mutant> find_mutants(int& benign) {
  WalBed bed;
  std::vector<Mutant> mutants;
  const bool is_sound = run_scenario(bed, [&](const std::function<void()>& job) {
    uint64_t before[testing::kFileCalls];
    for (size_t i = 0; i < testing::kFileCalls; ++i) before[i] = bed.files->count(static_cast<FileCall>(i));
    job();
    const auto has_done = [&](FileCall kind) { return bed.files->count(kind) != before[static_cast<size_t>(kind)]; };
    const bool is_housekeeping =
        has_done(FileCall::FillZero) || (has_done(FileCall::Rename) && !has_done(FileCall::Write));
    for (const FileCall kind : kMutated) {
      for (uint64_t n = before[static_cast<size_t>(kind)] + 1; n <= bed.files->count(kind); ++n) {
        if (is_housekeeping) {
          ++benign;
        } else {
          mutants.push_back({kind, n});
        }
      }
    }
  });
  EXPECT_TRUE(is_sound);
  return mutants;
}

TEST(WalMutants, LeavingOutASyncOrARenameIsNoticed) {
  int benign = 0;
  const std::vector<Mutant> mutants = find_mutants(benign);
  EXPECT_GT(mutants.size(), 60u);
  size_t caught = 0;
  std::string missed;
  for (const Mutant& mutant : mutants) {
    WalBed bed;
    bed.files->ignore_nth(mutant.kind, mutant.n);
    if (run_scenario(bed, [](const std::function<void()>& job) { job(); })) {
      missed += " " + std::to_string(static_cast<int>(mutant.kind)) + "/" + std::to_string(mutant.n);
    } else {
      ++caught;
    }
  }
  RecordProperty("mutants", static_cast<int>(mutants.size()));
  RecordProperty("caught", static_cast<int>(caught));
  EXPECT_GE(caught * 100, mutants.size() * 95) << caught << " of " << mutants.size() << ", missed:" << missed;
}

// What a start hands over may be in the kernel's memory only; both ways it can get there.
TEST(WalMutants, AStartSyncsWhatItHandsOver) {
  for (const bool is_mutant : {false, true}) {
    WalBed bed;
    bed.options.sync = SyncMode::None;
    ASSERT_TRUE(bed.open());
    bed.publish_each(1, 20);
    bed.kill();
    if (is_mutant) bed.files->ignore(FileCall::Sync);
    ASSERT_TRUE(bed.open());
    EXPECT_EQ(bed.seqs(), WalBed::range(1, 20));
    EXPECT_EQ(survives(bed, 1, 20, 1), !is_mutant);
  }
}

TEST(WalMutants, AStartSyncsTheNamesOfWhatItHandsOver) {
  for (const bool is_mutant : {false, true}) {
    WalBed bed;
    ASSERT_TRUE(bed.open());
    bed.executor.run_all();
    bed.files->fail_nth(FileCall::SyncDirectory, 1);
    bed.publish_each(1, 1);
    EXPECT_EQ(bed.failures.size(), 1u);
    bed.kill();
    bed.files->heal();
    if (is_mutant) bed.files->ignore(FileCall::SyncDirectory);
    ASSERT_TRUE(bed.open());
    EXPECT_EQ(bed.seqs(), WalBed::range(1, 1));
    EXPECT_EQ(survives(bed, 1, 1, 1), !is_mutant);
  }
}

}  // namespace
}  // namespace brokkr::store
