#include "store/wal_files.h"

#include <algorithm>

#include "store/numbered_name.h"

namespace brokkr::store {
namespace {

constexpr size_t kSparesWanted = 2;  // the next file and the reserve
constexpr size_t kSparesMax = 16;
// Zeroes written by one job, so that groups wait no longer for it than for one of their own.
constexpr uint64_t kFillStep = 1 << 20;

}  // namespace

struct WalFiles::Making {
  std::string name;
  std::string path;
  std::unique_ptr<File> file;
  uint64_t filled = 0;
  uint64_t file_bytes = 0;
  bool is_synced = true;
  Status status;

  // On the executor.
  void step(Files& files) {
    if (!file) {
      auto opened = files.open(path, OpenMode::Create);
      if (!opened) {
        status = opened.error();
        return;
      }
      file = std::move(*opened);
    }
    const uint64_t next = std::min(file_bytes, filled + kFillStep);
    status = file->fill_zero(next);
    // Else the first group in it would wait for all of it.
    if (status && is_synced) status = file->sync();
    if (status) {
      filled = next;
      return;
    }
    // The room it took is what the disk lacks.
    file.reset();
    static_cast<void>(files.remove(path));
  }
};

struct WalFiles::Recycling {
  std::vector<std::pair<std::string, std::string>> renames;
  std::vector<std::string> removals;
  std::vector<std::string> spares;  // names that may be used once `status` is fine
  bool has_lost_and_found = false;
  Status status;

  // On the executor. Oldest first: what a crash leaves is always a whole end of the log.
  void run(Files& files, const std::string& directory) {
    if (has_lost_and_found) status = files.make_directory(directory + "/lost+found");
    for (const auto& [from, to] : renames) {
      if (status) status = files.rename(from, to);
    }
    for (const std::string& path : removals) {
      if (status) status = files.remove(path);
    }
    if (status && has_lost_and_found) status = files.sync_directory(directory + "/lost+found");
    if (status) status = files.sync_directory(directory);
  }
};

WalFiles::WalFiles(Files& files, Executor& executor, const Wal::Options& options, Log& log,
                   Callback<void()> changed)
    : files_(files),
      executor_(executor),
      directory_(options.directory),
      file_bytes_(options.file_bytes),
      is_synced_by_group_(options.sync == SyncMode::Always),
      log_(log),
      changed_(std::move(changed)) {}

WalFiles::~WalFiles() { *is_alive_ = false; }

void WalFiles::run(Callback<void()> work, Callback<void()> done) {
  executor_.run(std::move(work), [alive = is_alive_, done = std::move(done)] {
    if (*alive) done();
  });
}

void WalFiles::adopt_spares(const std::vector<std::string>& names) {
  auto recycling = std::make_shared<Recycling>();
  for (const std::string& name : names) {
    next_spare_ = std::max(next_spare_, parse_numbered_name(name, ".spare") + 1);
    const auto file = files_.open(path(name), OpenMode::Read);
    const Result<uint64_t> size = file ? (*file)->size() : Result<uint64_t>(file.error());
    if (size && *size == file_bytes_ && spares_.size() < kSparesMax) {
      spares_.push_back(name);
    } else {
      recycling->removals.push_back(path(name));
    }
  }
  if (recycling->removals.empty()) return;
  run([this_files = &files_, directory = directory_, recycling] { recycling->run(*this_files, directory); },
      [this, recycling] { finish_recycling(recycling); });
}

std::optional<std::string> WalFiles::take_spare() {
  if (spares_.empty()) return std::nullopt;
  std::string name = std::move(spares_.front());
  spares_.pop_front();
  return path(name);
}

void WalFiles::top_up() {
  if (!is_out_of_space_ && !making_ && spares_.size() < kSparesWanted) start_making();
}

void WalFiles::retry_space() {
  if (!making_ && spares_.size() < kSparesWanted) start_making();
}

void WalFiles::start_making() {
  making_ = std::make_shared<Making>();
  making_->name = spare_file_name(next_spare_++);
  making_->path = path(making_->name);
  making_->file_bytes = file_bytes_;
  making_->is_synced = is_synced_by_group_;
  make_step();
}

void WalFiles::make_step() {
  run([files = &files_, making = making_] { making->step(*files); },
      [this, making = making_] { finish_step(making); });
}

void WalFiles::finish_step(const std::shared_ptr<Making>& making) {
  if (making->status && making->filled < making->file_bytes) return make_step();
  making_.reset();
  if (making->status) {
    spares_.push_back(making->name);
    is_out_of_space_ = false;
    top_up();
  } else {
    // Whatever it was, a later try may succeed; until then there is no further file.
    is_out_of_space_ = true;
    log_.warn("store: no further log file can be made: " + making->status.error().text);
  }
  changed_();
}

void WalFiles::release_before(Lsn lsn) {
  auto recycling = std::make_shared<Recycling>();
  size_t spares = spares_.size();
  while (!retained_.empty() && retained_.front().end_lsn <= lsn) {
    const WalFile file = std::move(retained_.front());
    retained_.pop_front();
    if (file.is_damaged) {
      // Someone may want to look at what could not be read.
      recycling->has_lost_and_found = true;
      recycling->renames.emplace_back(path(file.name), directory_ + "/lost+found/" + file.name);
    } else if (file.head.file_bytes == file_bytes_ && spares < kSparesMax) {
      recycling->spares.push_back(spare_file_name(next_spare_++));
      recycling->renames.emplace_back(path(file.name), path(recycling->spares.back()));
      ++spares;
    } else {
      recycling->removals.push_back(path(file.name));
    }
  }
  if (recycling->renames.empty() && recycling->removals.empty()) return;
  run([files = &files_, directory = directory_, recycling] { recycling->run(*files, directory); },
      [this, recycling] { finish_recycling(recycling); });
}

void WalFiles::finish_recycling(const std::shared_ptr<Recycling>& recycling) {
  if (!recycling->status) {
    log_.warn("store: log files that are no longer needed were left: " + recycling->status.error().text);
    return;
  }
  for (std::string& name : recycling->spares) spares_.push_back(std::move(name));
  if (spares_.size() >= kSparesWanted) is_out_of_space_ = false;
  changed_();
}

}  // namespace brokkr::store
