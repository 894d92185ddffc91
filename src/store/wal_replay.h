#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/result.h"
#include "store/files.h"
#include "store/wal.h"
#include "store/wal_format.h"

// Reading a log directory back: which files belong to it, in which order, and what of their frames
// counts. On the store's thread, before anything is written.
namespace brokkr::store {

// A log file that holds frames of the log.
struct WalFile {
  std::string name;
  WalHead head;
  Lsn end_lsn = 0;          // behind its last frame
  bool is_damaged = false;  // kept in lost+found when the log no longer needs it
};

struct WalReplay {
  std::vector<WalFile> files;       // in the order of their frames
  std::vector<std::string> spares;  // whole files to be used again
  uint64_t log_id = 0;              // 0 when there is no file
  uint64_t next_number = 1;
  Lsn previous_lsn = 0;  // the last frame that counts
  Lsn next_lsn = 1;      // behind everything seen, whether it counts or not
  // Bytes of frames up to an lsn, ascending.
  std::vector<std::pair<Lsn, uint64_t>> bytes_up_to;
};

// Calls `visit` for every frame from `from` on that counts. Fails when the directory cannot be read
// or a file's key cannot be opened; damage is no failure.
Result<WalReplay> replay_wal(Files&, const Wal::Options&, Lsn from, FunctionRef<void(const Frame&)> visit,
                             Wal::Recovery&);

// Walks over the frames in one file's bytes. Where the frames break off it searches on, at every
// multiple of eight, for the next frame with this file's stamp whose number fits.
class FrameScanner {
 public:
  struct Found {
    FrameHeader header;
    std::string_view body;  // as stored; short when the file ends in it
    size_t offset = 0;
    bool is_body_whole = false;
    bool is_padding_clean = true;
  };
  // `first` is the lowest lsn that may be there, or 0 when it is unknown; `last` the highest.
  FrameScanner(std::string_view file, FrameStamp stamp, Lsn first, Lsn last)
      : file_(file), stamp_(stamp), next_(first), last_(last) {}
  std::optional<Found> next();
  size_t position() const { return at_; }  // behind the frame found last

 private:
  std::optional<FrameHeader> header_at(size_t at) const;

  const std::string_view file_;
  const FrameStamp stamp_;
  Lsn next_;
  const Lsn last_;
  size_t at_ = kWalHeadBytes;
};

}  // namespace brokkr::store
