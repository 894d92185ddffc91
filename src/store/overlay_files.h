#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "store/files.h"

namespace brokkr::store {

// Another file system with every change kept in memory: what is written, renamed or removed here
// stays as it is there. For looking into a store, recovery and all, without touching it. Locks are
// granted at once. One thread.
class OverlayFiles final : public Files {
 public:
  explicit OverlayFiles(Files& below) : below_(below) {}

  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status remove(const std::string& path) override;
  Status make_directory(const std::string& path) override;
  Status sync_directory(const std::string& path) override;
  Result<std::vector<DirectoryEntry>> list(const std::string& path) override;
  bool exists(const std::string& path) override;
  Result<uint64_t> free_bytes(const std::string& path) override;
  Result<std::unique_ptr<File>> lock(const std::string& path) override;

 private:
  struct Content;
  // Null: removed. Absent: as below.
  using Entries = std::map<std::string, std::shared_ptr<Content>>;
  class OverlayFile;
  // The path's content, from below if it must be; an error when there is none.
  Result<std::shared_ptr<Content>> find(const std::string& path);

  Files& below_;
  Entries entries_;
  std::vector<std::string> directories_;
};

}  // namespace brokkr::store
