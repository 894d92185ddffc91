#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "store/files.h"

// A disk in memory for tests: it knows what is on stable storage and what is not, loses what is not
// when the machine "crashes", and fails when told to. Everything follows from the seeds given.
namespace brokkr::store::testing {

enum class FileCall : uint8_t {
  Open, Read, Write, Sync, FillZero, Rename, Remove, MakeDirectory, SyncDirectory, List, Lock,
};
constexpr size_t kFileCalls = 11;

// What a crash does to writes and names that were not synced.
enum class CrashKind : uint8_t {
  Process,   // nothing: the kernel goes on
  DropAll,   // all are gone
  KeepAll,   // all are there
  Random,    // each sector or page, and each name, by chance
};

struct FaultInode;

// Loop-confined. Directories are what paths say: any path may be used, parents are not asked for
// save by `list`.
class FaultFiles final : public Files {
 public:
  FaultFiles();
  ~FaultFiles() override;

  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status remove(const std::string& path) override;
  Status make_directory(const std::string& path) override;
  Status sync_directory(const std::string& path) override;
  Result<std::vector<DirectoryEntry>> list(const std::string& path) override;
  bool exists(const std::string& path) override;
  Result<uint64_t> free_bytes(const std::string& path) override;
  Result<std::unique_ptr<File>> lock(const std::string& path) override;

  // The machine stops and starts again. Open files fail from here on. Random without a kind: one
  // in four drops all, one in four keeps all.
  void crash(uint64_t seed);
  void crash(uint64_t seed, CrashKind kind);

  // The nth call of the kind from now (from 1), and `times - 1` after it, fail with this code. A
  // failed write leaves some of its bytes; a failed sync forgets that its writes must be synced, as
  // kernels do, so that a second try succeeds and keeps nothing.
  void fail_nth(FileCall kind, uint64_t n, Errc code = Errc::System, uint64_t times = 1);
  // The same for every call whose path contains `part`.
  void fail_paths(FileCall kind, std::string part, Errc code = Errc::System);
  void heal();
  // Calls of the kind whose path contains `part` (or ends with it, when that ends in `$`) do nothing
  // and say they did. For tests of tests.
  void ignore(FileCall kind, std::string part = "");
  // Only the nth call of the kind (counted from the start, from 1).
  void ignore_nth(FileCall kind, uint64_t n);
  // Bytes all files together may take.
  void set_capacity(uint64_t bytes) { capacity_ = bytes; }
  uint64_t used_bytes() const;
  uint64_t count(FileCall kind) const { return counts_[static_cast<size_t>(kind)]; }

  // Behind the back of whoever has the file open, and stable at once.
  void flip_bit(const std::string& path, uint64_t bit);
  void truncate(const std::string& path, uint64_t bytes);
  void put(const std::string& path, std::string bytes);
  std::string get(const std::string& path) const;
  // Reads that touch this range fail.
  void break_range(const std::string& path, uint64_t offset, uint64_t bytes);
  std::vector<std::string> paths() const;
  // A disk in the same state, with nothing injected.
  std::unique_ptr<FaultFiles> clone() const;

 private:
  friend class FaultFile;
  using InodePointer = std::shared_ptr<FaultInode>;
  using Names = std::map<std::string, InodePointer>;
  // One change to names that is not synced yet: `from` went away, `to` is there.
  struct NameChange {
    std::string from;
    std::string to;
    InodePointer inode;
  };
  struct Fault {
    FileCall kind;
    uint64_t first = 0;
    uint64_t end = 0;
    std::string part;
    Errc code;
  };
  // Counts the call. An error when it is to fail; `ignored` when it is to do nothing.
  std::optional<Error> enter(FileCall kind, const std::string& path, bool& ignored);
  std::optional<Error> enter(FileCall kind, const std::string& path);
  void apply_names(const std::string* folder, Random* random);
  static void apply(Names& names, const NameChange& change);

  Names names_;
  Names stable_names_;
  std::vector<NameChange> changes_;
  std::set<std::string> directories_;
  std::array<uint64_t, kFileCalls> counts_{};
  std::vector<Fault> faults_;
  std::vector<Fault> ignored_;
  uint64_t capacity_ = UINT64_MAX;
  uint64_t life_ = 0;  // crashes so far
};

// Runs work when the test says so. Loop-confined; `work` runs on the same thread.
class ManualExecutor final : public Executor {
 public:
  void run(Callback<void()> work, Callback<void()> done) override;
  // The work of the oldest job, without its completion. False when there is none.
  bool run_work();
  // The oldest completion. False when none waits.
  bool run_done();
  // Both for the oldest job.
  bool run_one();
  void run_all();
  // One step of either kind by chance; the order within each kind stays. False when none is left.
  bool step(Random& random);
  size_t size() const { return waiting_.size() + finished_.size(); }
  // As when the process is killed.
  void clear();

 private:
  struct Job {
    Callback<void()> work;
    Callback<void()> done;
  };
  std::deque<Job> waiting_;
  std::deque<Callback<void()>> finished_;
};

}  // namespace brokkr::store::testing
