#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/callback.h"
#include "base/result.h"

// Reading tar files, plain or packed with gzip or zstd. The adapter of libarchive.
namespace brokkr::sandbox::image {

struct TarEntry {
  enum class Kind : uint8_t { File, Folder, SymLink, HardLink, Other };
  Kind kind = Kind::Other;
  std::string path;    // as it is written there
  std::string target;  // of links
  uint32_t mode = 0;   // permission bits, with setuid and the like
  int64_t uid = 0;
  int64_t gid = 0;
  int64_t modified_s = 0;
  uint64_t size = 0;  // of a file, holes included
};

// One pass over a tar file. Errors: Corrupt for what is no tar or breaks off, LimitExceeded for more
// than `bytes_max` unpacked. Blocking; for a worker thread.
class TarReader {
 public:
  // Reads from `fd`, which stays the caller's.
  static Result<std::unique_ptr<TarReader>> open(int fd, uint64_t bytes_max, std::string name);
  ~TarReader();
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;

  // Absent at the end.
  Result<std::optional<TarEntry>> next();
  // Hands out the blocks of the current file with their place; holes are left out.
  Status read_data(FunctionRef<Status(std::string_view bytes, uint64_t offset)> take);
  // Reads on to the end of the stream; the digest ("sha256:…") of all that was unpacked: the diff id.
  Result<std::string> finish();

 private:
  struct State;
  explicit TarReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace brokkr::sandbox::image
