#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/callback.h"
#include "base/log.h"
#include "store/files.h"
#include "store/wal_replay.h"

namespace brokkr::store {

// The files of a log besides the one being written: spares, made of zeroes ahead of need or got back
// from the log, and files that still hold frames which are needed. One spare is the reserve for a
// full disk. Store's thread only; the disk is touched on the executor.
class WalFiles {
 public:
  // `changed` is called when a spare was added or none could be made.
  WalFiles(Files&, Executor&, const Wal::Options&, Log&, Callback<void()> changed);
  ~WalFiles();

  // Spares found when the log was opened; those of another size are removed.
  void adopt_spares(const std::vector<std::string>& names);
  // Adds files that hold frames, in the order of their frames.
  void retain(WalFile file) { retained_.push_back(std::move(file)); }
  // Makes spares in the background until there are enough.
  void top_up();
  // Tries again after the disk was full.
  void retry_space();
  // The path of a file to write over; absent when there is none at hand.
  std::optional<std::string> take_spare();
  // No room for another spare.
  bool is_out_of_space() const { return is_out_of_space_; }
  size_t spare_count() const { return spares_.size(); }
  // Gets back files wholly before `lsn`.
  void release_before(Lsn lsn);
  std::string path(const std::string& name) const { return directory_ + "/" + name; }

 private:
  struct Making;  // a spare being filled
  struct Recycling;
  void start_making();
  void make_step();
  void finish_step(const std::shared_ptr<Making>& making);
  void finish_recycling(const std::shared_ptr<Recycling>& recycling);
  void run(Callback<void()> work, Callback<void()> done);

  Files& files_;
  Executor& executor_;
  const std::string directory_;
  const uint64_t file_bytes_;
  const bool is_synced_by_group_;
  Log& log_;
  Callback<void()> changed_;
  std::deque<std::string> spares_;  // names
  std::deque<WalFile> retained_;
  std::shared_ptr<Making> making_;
  uint64_t next_spare_ = 1;
  bool is_out_of_space_ = false;
  std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);
};

}  // namespace brokkr::store
