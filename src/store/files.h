#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/result.h"

// The only door from the store to the disk. Everything the store promises about crashes rests on
// these calls, so a test can put a disk behind them that loses, tears and corrupts.
namespace brokkr::store {

// An open file. Calls block. One thread at a time writes; reads and syncs may come from any thread
// beside it, a sync covers the writes that returned before it began.
// Errors: OutOfSpace when the disk (or quota) is full, else System with the path and the reason.
class File {
 public:
  virtual ~File() = default;
  // Fills `into` unless the file ends before; returns the bytes read.
  virtual Result<size_t> read_at(uint64_t offset, std::span<char> into) const = 0;
  // Writes all of `bytes` or fails; what a failed write left behind is undefined.
  virtual Status write_at(uint64_t offset, std::string_view bytes) = 0;
  // Returns once all written bytes and the size are on stable storage (fdatasync). After a failure
  // nothing is known about what was written before; the caller must not try again.
  virtual Status sync() = 0;
  // Extends the file to `bytes` with every added byte written as zero, so that later writes below
  // neither allocate nor change metadata. No effect on a file that is as long already.
  virtual Status fill_zero(uint64_t bytes) = 0;
  // Tells the kernel that a range will be read soon. Never blocks, never fails.
  virtual void prefetch(uint64_t offset, uint64_t bytes) const = 0;
  virtual Result<uint64_t> size() const = 0;
};

enum class OpenMode : uint8_t {
  Read,       // must exist
  ReadWrite,  // must exist
  Create,     // must not exist
};

struct DirectoryEntry {
  std::string name;
  bool is_directory = false;
  uint64_t size = 0;
};

// A file system. Paths are absolute or relative to the process. Thread-safe.
class Files {
 public:
  virtual ~Files() = default;
  virtual Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) = 0;
  // Replaces `to`. Durable only after sync_directory.
  virtual Status rename(const std::string& from, const std::string& to) = 0;
  virtual Status remove(const std::string& path) = 0;
  // Makes the directory and its parents, which are durable at once; fine when it exists.
  virtual Status make_directory(const std::string& path) = 0;
  // Makes created, renamed and removed names in it durable.
  virtual Status sync_directory(const std::string& path) = 0;
  // Sorted by name.
  virtual Result<std::vector<DirectoryEntry>> list(const std::string& path) = 0;
  virtual bool exists(const std::string& path) = 0;
  // Bytes an unprivileged writer may still take.
  virtual Result<uint64_t> free_bytes(const std::string& path) = 0;
  // Takes an exclusive lock on the directory for the life of the returned object; fails with
  // AlreadyExists when another process (or store) holds it, naming its pid if known.
  virtual Result<std::unique_ptr<File>> lock(const std::string& path) = 0;
};

// The machine's own.
Files& posix_files();

// Whole file in memory. Fails like open and read; LimitExceeded beyond `bytes_max`.
Result<std::string> read_file(Files&, const std::string& path, uint64_t bytes_max = 1ULL << 32);
// Replaces `path` atomically: temporary file beside it, sync, rename, sync of the directory.
Status write_file_atomically(Files&, const std::string& path, std::span<const std::string_view> parts);

// Where blocking work runs. `work` runs elsewhere, first in first out; then `done` runs on the
// store's thread. A test runs both when it likes.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual void run(Callback<void()> work, Callback<void()> done) = 0;
};

}  // namespace brokkr::store
