// Goal: every kind of sync, rename and directory sync of the whole store (log, run files, catalog) is
// needed, and its loss is noticed: from some moment on each is left out, and what was durable must then
// be gone, changed or reported damaged after some loss of power. From a moment on and not once: of
// catalogs there are always two, and the log reaches back to the older one, so a single slip there
// harms nothing by design.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <map>

#include "store/store.h"
#include "store/testing/fault_files.h"

namespace brokkr::store {
namespace {

using testing::CrashKind;
using testing::FaultFiles;
using testing::FileCall;
using testing::ManualExecutor;

// A call and the paths it is left out for; `$` is the end of the path.
struct Site {
  FileCall kind;
  const char* part;
  const char* name;
};
constexpr Site kSites[] = {
    {FileCall::Sync, "root/wal/", "sync of log files"},
    {FileCall::Sync, "root/runs/", "sync of run files"},
    {FileCall::Sync, ".catalog", "sync of catalogs"},
    {FileCall::Rename, "root/wal/", "rename of log files"},
    {FileCall::Rename, "root/runs/", "rename of run files"},
    {FileCall::Rename, ".catalog", "rename of catalogs"},
    {FileCall::SyncDirectory, "root/wal$", "sync of the log's directory"},
    {FileCall::SyncDirectory, "root/runs$", "sync of the run files' directory"},
    {FileCall::SyncDirectory, "root$", "sync of the catalogs' directory"},
};
constexpr const char* kStoreStreams[] = {"A", "B", "C"};

// Counts what there is to complain of.
class CountingLog final : public Log {
 public:
  void write(LogLevel level, std::string_view) override { complaints += level <= LogLevel::Warn ? 1 : 0; }
  Status reopen() override { return {}; }
  void set_level(LogLevel) override {}
  int complaints = 0;
};

// A store with what it promised: per stream the bodies by sequence.
class MutantBed {
 public:
  using Promise = std::map<std::string, std::map<uint64_t, std::string>>;

  explicit MutantBed(std::unique_ptr<FaultFiles> files) : disk(std::move(files)) {
    options_.directory = "root";
    options_.checkpoint_bytes = 10 << 10;
    options_.log_file_bytes = 16 << 10;
  }
  ~MutantBed() { kill(); }

  bool open() {
    auto store = Store::open(options_, {*disk, log_executor_, background_, clock_, log,
                                        [](Duration, const Callback<void()>&) {}});
    if (!store) return false;
    store_ = std::move(*store);
    return true;
  }
  void kill() {
    log_executor_.clear();
    background_.clear();
    store_.reset();
  }
  Stream* stream(const std::string& name) { return store_->find_stream("$G", name); }
  Stream& make(const std::string& name) {
    StreamOptions options;
    options.account = "$G";
    options.name = name;
    options.compression = name == "B" ? Compression::Lz4 : Compression::None;
    return **store_->create_stream(options);
  }
  void publish(const std::string& name, size_t bytes) {
    NewMessage message;
    message.subject = "s";
    const std::string body = name + std::to_string(++now_) + std::string(bytes, 'x');
    message.body = body;
    message.timestamp_ns = now_;
    const auto seq = stream(name)->append(message);
    if (seq) promised[name][*seq] = body;
  }
  Store& store() { return *store_; }
  bool step() {
    if (log_executor_.run_one()) return true;
    return background_.run_one();
  }
  bool is_idle() const { return log_executor_.size() + background_.size() == 0; }
  bool keeps(const Promise& promise) {
    for (const auto& [name, messages] : promise) {
      Stream* const found = stream(name);
      if (found == nullptr || !found->lost().empty() || found->messages() != messages.size()) return false;
      for (const auto& [seq, body] : messages) {
        const auto record = found->load(seq);
        if (!record || record->body != body) return false;
      }
    }
    return true;
  }

  std::unique_ptr<FaultFiles> disk;
  Promise promised;
  CountingLog log;

 private:
  ManualExecutor log_executor_;
  ManualExecutor background_;
  ManualClock clock_;
  Store::Options options_;
  std::unique_ptr<Store> store_;
  int64_t now_ = 1'700'000'000'000'000'000;
};

// After the loss of all that is not on stable storage, or of some of it.
bool is_kept(MutantBed& bed) {
  for (const auto& [seed, kind] : {std::pair(1, CrashKind::DropAll), std::pair(2, CrashKind::Random)}) {
    MutantBed after(bed.disk->clone());
    after.disk->crash(static_cast<uint64_t>(seed), kind);
    if (!after.open() || !after.keeps(bed.promised) || after.log.complaints > 0) return false;
  }
  return true;
}

// False as soon as a loss of power would break a promise. `on_step` is called before every step.
bool run_store(MutantBed& bed, const std::function<void(int)>& on_step) {
  int step = 0;
  const auto settle = [&] {
    bed.store().commit();
    while (!bed.is_idle()) {
      on_step(++step);
      bed.step();
      // Between any two jobs the power may fail; only what was durable before counts.
      if (bed.store().durable() == bed.store().appended() && !is_kept(bed)) return false;
    }
    return bed.store().durable() == bed.store().appended();
  };
  if (!bed.open()) return false;
  for (const char* name : kStoreStreams) bed.make(name);
  for (int round = 1; round <= 60; ++round) {
    const std::string name = kStoreStreams[round % 3];
    bed.publish(name, 900);
    bed.publish(name, 500);
    if (round % 10 == 5) {
      auto& messages = bed.promised[name];
      const uint64_t seq = messages.begin()->first;
      if (bed.stream(name)->remove(seq, Removal::Deleted)) messages.erase(seq);
    }
    if (round == 30) {
      bed.promised["A"].clear();
      bed.stream("A")->purge({});
    }
    if (!settle()) return false;
    if (round != 45) continue;
    bed.kill();
    if (!bed.open() || !bed.keeps(bed.promised) || !settle()) return false;
  }
  return true;
}

// BROKKR_EXHAUSTIVE=1 begins at many moments.
TEST(StoreMutants, LeavingOutASyncOrARenameIsNoticed) {
  MutantBed sound(std::make_unique<FaultFiles>());
  int steps = 0;
  ASSERT_TRUE(run_store(sound, [&](int step) { steps = step; }));
  EXPECT_EQ(sound.log.complaints, 0);
  const int moments = std::getenv("BROKKR_EXHAUSTIVE") != nullptr ? 30 : 3;
  int tried = 0;
  int caught = 0;
  for (const Site& site : kSites) {
    for (int moment = 0; moment < moments; ++moment) {
      // Each occurs again after two thirds of the run.
      const int first = 1 + steps * 2 / 3 * moment / moments;
      MutantBed bed(std::make_unique<FaultFiles>());
      const bool is_missed = run_store(bed, [&](int step) {
        if (step == first) bed.disk->ignore(site.kind, site.part);
      });
      ++tried;
      caught += is_missed ? 0 : 1;
      EXPECT_FALSE(is_missed && moments == 3) << site.name << " left out from step " << first << " of " << steps;
      if (is_missed) std::printf("missed: %s from step %d of %d\n", site.name, first, steps);
    }
  }
  std::printf("%d of %d mutants caught\n", caught, tried);
  EXPECT_GE(caught * 100, tried * 95);
}

}  // namespace
}  // namespace brokkr::store
