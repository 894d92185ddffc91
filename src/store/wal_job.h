#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "store/files.h"
#include "store/wal_format.h"

namespace brokkr::store {

// One group on its way to the disk. Owns all it needs: the log may be gone before it has run.
struct WalJob {
  std::shared_ptr<File> file;  // null until a file that is begun has been opened
  uint64_t offset = 0;
  std::string bytes;
  Lsn last_lsn = 0;
  bool must_sync = false;
  std::shared_ptr<const FileKey> key;
  bool is_encrypted = false;
  FrameStamp stamp;
  // The file before, whose writes must not be lost while those of this one are kept.
  std::shared_ptr<File> sync_before;
  // For a group that begins a file.
  std::string head;  // empty when it does not
  std::string spare_path;  // empty when the file has to be made, just as large as the group
  std::string path;
  std::string directory;
  bool is_named = false;

  Status status;
  bool is_final = false;  // nothing is known about the file after this failure

  void run(Files& files);

 private:
  Status begin_file(Files& files);
  Status finish_file(Files& files);
};

}  // namespace brokkr::store
