#include "store/testing/fault_files.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/check.h"

namespace brokkr::store::testing {
namespace {

constexpr size_t kSector = 512;
constexpr const char* kCallNames[kFileCalls] = {"open",   "read",   "write",         "sync",
                                                "fill",   "rename", "remove",        "mkdir",
                                                "syncdir", "list",  "lock"};

std::string folder_of_path(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

bool is_path_of(const std::string& path, std::string_view part) {
  if (part.ends_with('$')) return path.ends_with(part.substr(0, part.size() - 1));
  return path.find(part) != std::string::npos;
}

}  // namespace

struct FaultInode {
  std::string bytes;
  std::string stable;
  std::set<size_t> unsynced;  // sectors
  std::vector<std::pair<uint64_t, uint64_t>> broken;
  uint64_t life = 0;
  bool is_locked = false;

  void write(uint64_t offset, std::string_view data) {
    if (offset + data.size() > bytes.size()) bytes.resize(offset + data.size());
    std::memcpy(bytes.data() + offset, data.data(), data.size());
    if (data.empty()) return;
    for (size_t sector = offset / kSector; sector <= (offset + data.size() - 1) / kSector; ++sector) {
      unsynced.insert(sector);
    }
  }

  void keep_sector(size_t sector) {
    const size_t at = sector * kSector;
    if (at >= bytes.size()) return;
    const size_t size = std::min(kSector, bytes.size() - at);
    if (stable.size() < at + size) stable.resize(at + size);
    std::memcpy(stable.data() + at, bytes.data() + at, size);
  }

  void sync() {
    for (const size_t sector : unsynced) keep_sector(sector);
    unsynced.clear();
    if (stable.size() < bytes.size()) stable.resize(bytes.size());
    if (stable.size() > bytes.size()) stable.resize(bytes.size());
  }

  void crash(CrashKind kind, Random& random) {
    if (kind == CrashKind::KeepAll) sync();
    if (kind == CrashKind::Random) {
      const size_t unit = random.below(2) == 0 ? 1 : 8;  // sectors that are written or lost as one
      const uint64_t kept = random.below(101);
      size_t last = SIZE_MAX;
      bool keep = false;
      for (const size_t sector : unsynced) {
        if (sector / unit != last) keep = random.below(100) < kept;
        last = sector / unit;
        if (keep) keep_sector(sector);
      }
      if (random.below(2) == 0 && stable.size() < bytes.size()) stable.resize(bytes.size());
    }
    bytes = stable;
    unsynced.clear();
    is_locked = false;
  }
};

// An open file. Dies with the crash after it was opened.
class FaultFile final : public File {
 public:
  FaultFile(FaultFiles& files, std::shared_ptr<FaultInode> inode, std::string path, bool is_writable, bool is_lock)
      : files_(files),
        inode_(std::move(inode)),
        path_(std::move(path)),
        life_(files.life_),
        is_writable_(is_writable),
        is_lock_(is_lock) {}
  ~FaultFile() override {
    if (is_lock_ && is_alive()) inode_->is_locked = false;
  }
  FaultFile(const FaultFile&) = delete;
  FaultFile& operator=(const FaultFile&) = delete;

  Result<size_t> read_at(uint64_t offset, std::span<char> into) const override {
    if (auto error = enter(FileCall::Read)) return *error;
    for (const auto& [at, size] : inode_->broken) {
      if (offset < at + size && at < offset + into.size()) return failure(FileCall::Read, Errc::System);
    }
    if (offset >= inode_->bytes.size()) return size_t{0};
    const size_t size = std::min<size_t>(into.size(), inode_->bytes.size() - offset);
    if (size > 0) std::memcpy(into.data(), inode_->bytes.data() + offset, size);
    return size;
  }

  Status write_at(uint64_t offset, std::string_view bytes) override {
    bool ignored = false;
    auto error = enter(FileCall::Write, &ignored);
    if (!is_writable_) return failure(FileCall::Write, Errc::System);
    if (ignored) return {};
    if (!error) error = no_room(offset + bytes.size());
    if (!error) {
      inode_->write(offset, bytes);
      return {};
    }
    if (is_alive() && offset + bytes.size() / 2 <= inode_->bytes.size()) {
      inode_->write(offset, bytes.substr(0, bytes.size() / 2));
    }
    return *error;
  }

  Status sync() override {
    bool ignored = false;
    if (auto error = enter(FileCall::Sync, &ignored)) {
      // The sectors count as written from here on: nobody will write them again.
      inode_->unsynced.clear();
      return *error;
    }
    if (!ignored) inode_->sync();
    return {};
  }

  Status fill_zero(uint64_t bytes) override {
    bool ignored = false;
    if (auto error = enter(FileCall::FillZero, &ignored)) return *error;
    if (ignored) return {};
    if (auto error = no_room(bytes)) {
      return *error;
    }
    const uint64_t now = inode_->bytes.size();
    if (bytes > now) inode_->write(now, std::string(bytes - now, '\0'));
    return {};
  }

  void prefetch(uint64_t, uint64_t) const override {}

  Result<uint64_t> size() const override {
    if (!is_alive()) return failure(FileCall::Read, Errc::System);
    return static_cast<uint64_t>(inode_->bytes.size());
  }

 private:
  bool is_alive() const { return life_ == files_.life_; }
  Error failure(FileCall kind, Errc code) const {
    return {code, std::string(kCallNames[static_cast<size_t>(kind)]) + " " + path_ + ": injected"};
  }
  std::optional<Error> enter(FileCall kind, bool* ignored = nullptr) const {
    if (!is_alive()) return failure(kind, Errc::System);
    bool unused = false;
    return files_.enter(kind, path_, ignored == nullptr ? unused : *ignored);
  }
  std::optional<Error> no_room(uint64_t end) const {
    const uint64_t now = inode_->bytes.size();
    if (end <= now || files_.used_bytes() + (end - now) <= files_.capacity_) return std::nullopt;
    return failure(FileCall::Write, Errc::OutOfSpace);
  }

  FaultFiles& files_;
  const std::shared_ptr<FaultInode> inode_;
  const std::string path_;
  const uint64_t life_;
  const bool is_writable_;
  const bool is_lock_;
};

FaultFiles::FaultFiles() = default;
FaultFiles::~FaultFiles() = default;

std::optional<Error> FaultFiles::enter(FileCall kind, const std::string& path, bool& ignored) {
  const uint64_t n = ++counts_[static_cast<size_t>(kind)];
  const auto fits = [&](const Fault& it) {
    return it.kind == kind && n >= it.first && n < it.end && is_path_of(path, it.part);
  };
  ignored = std::any_of(ignored_.begin(), ignored_.end(), fits);
  const auto fault = std::find_if(faults_.begin(), faults_.end(), fits);
  if (fault == faults_.end()) return std::nullopt;
  return Error{fault->code, std::string(kCallNames[static_cast<size_t>(kind)]) + " " + path + ": injected"};
}

std::optional<Error> FaultFiles::enter(FileCall kind, const std::string& path) {
  bool ignored = false;
  return enter(kind, path, ignored);
}

Result<std::unique_ptr<File>> FaultFiles::open(const std::string& path, OpenMode mode) {
  if (auto error = enter(FileCall::Open, path)) return *error;
  auto found = names_.find(path);
  if (mode == OpenMode::Create) {
    if (found != names_.end()) return Error{Errc::AlreadyExists, "open " + path + ": exists"};
    found = names_.emplace(path, std::make_shared<FaultInode>()).first;
    changes_.push_back({"", path, found->second});
  } else if (found == names_.end()) {
    return Error{Errc::NotFound, "open " + path + ": does not exist"};
  }
  return std::unique_ptr<File>(
      std::make_unique<FaultFile>(*this, found->second, path, mode != OpenMode::Read, false));
}

Status FaultFiles::rename(const std::string& from, const std::string& to) {
  bool ignored = false;
  if (auto error = enter(FileCall::Rename, from, ignored)) return *error;
  if (ignored) return {};
  const auto found = names_.find(from);
  if (found == names_.end()) return Error{Errc::NotFound, "rename " + from + ": does not exist"};
  changes_.push_back({from, to, found->second});
  apply(names_, changes_.back());
  return {};
}

Status FaultFiles::remove(const std::string& path) {
  bool ignored = false;
  if (auto error = enter(FileCall::Remove, path, ignored)) return *error;
  if (ignored) return {};
  const auto found = names_.find(path);
  if (found == names_.end()) return Error{Errc::NotFound, "remove " + path + ": does not exist"};
  changes_.push_back({path, "", found->second});
  apply(names_, changes_.back());
  return {};
}

// A change that reaches the disk without one it builds on does what it still can.
void FaultFiles::apply(Names& names, const NameChange& change) {
  if (!change.from.empty()) {
    const auto found = names.find(change.from);
    if (found != names.end() && found->second == change.inode) names.erase(found);
  }
  if (!change.to.empty()) names[change.to] = change.inode;
}

Status FaultFiles::make_directory(const std::string& path) {
  if (auto error = enter(FileCall::MakeDirectory, path)) return *error;
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    directories_.insert(path.substr(0, end));
    if (end == std::string::npos) return {};
  }
}

Status FaultFiles::sync_directory(const std::string& path) {
  bool ignored = false;
  if (auto error = enter(FileCall::SyncDirectory, path, ignored)) return *error;
  if (ignored) return {};
  apply_names(&path, nullptr);
  return {};
}

// Makes changes stable: those in `folder`, or without one those that chance keeps.
void FaultFiles::apply_names(const std::string* folder, Random* random) {
  const uint64_t kept = random == nullptr ? 100 : random->below(101);
  std::vector<NameChange> rest;
  for (NameChange& change : changes_) {
    const std::string& name = change.to.empty() ? change.from : change.to;
    if (folder != nullptr && folder_of_path(name) != *folder &&
        (change.from.empty() || folder_of_path(change.from) != *folder)) {
      rest.push_back(std::move(change));
    } else if (random == nullptr || random->below(100) < kept) {
      apply(stable_names_, change);
    }
  }
  changes_ = std::move(rest);
}

Result<std::vector<DirectoryEntry>> FaultFiles::list(const std::string& path) {
  if (auto error = enter(FileCall::List, path)) return *error;
  std::vector<DirectoryEntry> entries;
  const auto add = [&](const std::string& name, bool is_directory, uint64_t size) {
    if (folder_of_path(name) == path) entries.push_back({name.substr(path.size() + 1), is_directory, size});
  };
  for (const auto& [name, inode] : names_) add(name, false, inode->bytes.size());
  for (const std::string& name : directories_) add(name, true, 0);
  if (entries.empty() && !directories_.contains(path)) {
    return Error{Errc::NotFound, "list " + path + ": does not exist"};
  }
  std::sort(entries.begin(), entries.end(),
            [](const DirectoryEntry& a, const DirectoryEntry& b) { return a.name < b.name; });
  return entries;
}

bool FaultFiles::exists(const std::string& path) { return names_.contains(path) || directories_.contains(path); }

Result<uint64_t> FaultFiles::free_bytes(const std::string&) {
  const uint64_t used = used_bytes();
  return capacity_ > used ? capacity_ - used : 0;
}

Result<std::unique_ptr<File>> FaultFiles::lock(const std::string& path) {
  if (auto error = enter(FileCall::Lock, path)) return *error;
  InodePointer& inode = names_[path + "/lock"];
  if (!inode) {
    inode = std::make_shared<FaultInode>();
    changes_.push_back({"", path + "/lock", inode});
  }
  if (inode->is_locked) return Error{Errc::AlreadyExists, path + " is in use by process 1"};
  inode->is_locked = true;
  return std::unique_ptr<File>(std::make_unique<FaultFile>(*this, inode, path + "/lock", true, true));
}

void FaultFiles::crash(uint64_t seed) {
  SeededRandom random(seed);
  constexpr CrashKind kKinds[] = {CrashKind::DropAll, CrashKind::KeepAll, CrashKind::Random, CrashKind::Random};
  const CrashKind kind = kKinds[random.below(4)];
  crash(random.next(), kind);
}

void FaultFiles::crash(uint64_t seed, CrashKind kind) {
  ++life_;
  SeededRandom random(seed);
  if (kind == CrashKind::Process) {
    for (const auto& [name, inode] : names_) inode->is_locked = false;
    return;
  }
  if (kind == CrashKind::Random) apply_names(nullptr, &random);
  if (kind == CrashKind::KeepAll) apply_names(nullptr, nullptr);
  changes_.clear();
  names_ = stable_names_;
  std::set<FaultInode*> done;
  for (const auto& [name, inode] : names_) {
    if (done.insert(inode.get()).second) inode->crash(kind, random);
  }
}

void FaultFiles::fail_nth(FileCall kind, uint64_t n, Errc code, uint64_t times) {
  const uint64_t first = count(kind) + n;
  faults_.push_back({kind, first, times > UINT64_MAX - first ? UINT64_MAX : first + times, "", code});
}

void FaultFiles::fail_paths(FileCall kind, std::string part, Errc code) {
  faults_.push_back({kind, 0, UINT64_MAX, std::move(part), code});
}

void FaultFiles::heal() { faults_.clear(); }

void FaultFiles::ignore(FileCall kind, std::string part) {
  ignored_.push_back({kind, 0, UINT64_MAX, std::move(part), Errc::System});
}

void FaultFiles::ignore_nth(FileCall kind, uint64_t n) { ignored_.push_back({kind, n, n + 1, "", Errc::System}); }

uint64_t FaultFiles::used_bytes() const {
  uint64_t used = 0;
  for (const auto& [name, inode] : names_) used += inode->bytes.size();
  return used;
}

void FaultFiles::flip_bit(const std::string& path, uint64_t bit) {
  const InodePointer& inode = names_.at(path);
  for (std::string* bytes : {&inode->bytes, &inode->stable}) {
    if (bit / 8 < bytes->size()) (*bytes)[bit / 8] = static_cast<char>((*bytes)[bit / 8] ^ (1 << (bit % 8)));
  }
}

void FaultFiles::truncate(const std::string& path, uint64_t bytes) {
  const InodePointer& inode = names_.at(path);
  inode->bytes.resize(std::min<uint64_t>(bytes, inode->bytes.size()));
  inode->stable = inode->bytes;
  inode->unsynced.clear();
}

void FaultFiles::put(const std::string& path, std::string bytes) {
  const auto inode = std::make_shared<FaultInode>();
  inode->bytes = inode->stable = std::move(bytes);
  names_[path] = stable_names_[path] = inode;
}

std::string FaultFiles::get(const std::string& path) const {
  const auto found = names_.find(path);
  return found == names_.end() ? "" : found->second->bytes;
}

void FaultFiles::break_range(const std::string& path, uint64_t offset, uint64_t bytes) {
  names_.at(path)->broken.emplace_back(offset, bytes);
}

std::vector<std::string> FaultFiles::paths() const {
  std::vector<std::string> paths;
  for (const auto& [name, inode] : names_) paths.push_back(name);
  return paths;
}

std::unique_ptr<FaultFiles> FaultFiles::clone() const {
  auto copy = std::make_unique<FaultFiles>();
  std::map<FaultInode*, InodePointer> copies;
  const auto copy_of = [&](const InodePointer& inode) {
    InodePointer& it = copies[inode.get()];
    if (!it) {
      it = std::make_shared<FaultInode>(*inode);
      it->is_locked = false;
    }
    return it;
  };
  for (const auto& [name, inode] : names_) copy->names_[name] = copy_of(inode);
  for (const auto& [name, inode] : stable_names_) copy->stable_names_[name] = copy_of(inode);
  for (const NameChange& it : changes_) copy->changes_.push_back({it.from, it.to, copy_of(it.inode)});
  copy->directories_ = directories_;
  return copy;
}

void ManualExecutor::run(Callback<void()> work, Callback<void()> done) {
  waiting_.push_back({std::move(work), std::move(done)});
}

bool ManualExecutor::run_work() {
  if (waiting_.empty()) return false;
  Job job = std::move(waiting_.front());
  waiting_.pop_front();
  if (job.work) job.work();
  finished_.push_back(std::move(job.done));
  return true;
}

bool ManualExecutor::run_done() {
  if (finished_.empty()) return false;
  const Callback<void()> done = std::move(finished_.front());
  finished_.pop_front();
  if (done) done();
  return true;
}

bool ManualExecutor::run_one() {
  if (finished_.empty() && !run_work()) return false;
  return run_done();
}

void ManualExecutor::run_all() {
  while (run_one()) {
  }
}

bool ManualExecutor::step(Random& random) {
  if (size() == 0) return false;
  const bool wants_work = finished_.empty() || (!waiting_.empty() && random.below(2) == 0);
  return wants_work ? run_work() : run_done();
}

void ManualExecutor::clear() {
  waiting_.clear();
  finished_.clear();
}

}  // namespace brokkr::store::testing
