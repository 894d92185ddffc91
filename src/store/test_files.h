#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "store/files.h"

// Files in memory for tests that change bytes behind the store's back.
namespace brokkr::store {

class TestFiles final : public Files {
 public:
  using Bytes = std::shared_ptr<std::string>;

  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override {
    if (mode == OpenMode::Create) {
      if (files.contains(path)) return Error{Errc::AlreadyExists, path};
      files[path] = std::make_shared<std::string>();
    }
    if (!files.contains(path)) return Error{Errc::NotFound, path};
    return std::unique_ptr<File>(std::make_unique<TestFile>(files[path]));
  }
  Status rename(const std::string& from, const std::string& to) override {
    if (!files.contains(from)) return Error{Errc::NotFound, from};
    files[to] = std::exchange(files[from], nullptr);
    files.erase(from);
    return {};
  }
  Status remove(const std::string& path) override {
    return files.erase(path) > 0 ? Status() : Status(Error{Errc::NotFound, path});
  }
  Status make_directory(const std::string&) override { return {}; }
  Status sync_directory(const std::string&) override { return {}; }
  Result<std::vector<DirectoryEntry>> list(const std::string& path) override {
    std::vector<DirectoryEntry> out;
    for (const auto& [name, bytes] : files) {
      if (name.starts_with(path + "/") && name.find('/', path.size() + 1) == std::string::npos) {
        out.push_back({name.substr(path.size() + 1), false, bytes->size()});
      }
    }
    return out;
  }
  bool exists(const std::string& path) override { return files.contains(path); }
  Result<uint64_t> free_bytes(const std::string&) override { return uint64_t{1} << 40; }
  Result<std::unique_ptr<File>> lock(const std::string& path) override {
    return open(path, OpenMode::Create);
  }

  std::map<std::string, Bytes> files;

 private:
  class TestFile final : public File {
   public:
    explicit TestFile(Bytes bytes) : bytes_(std::move(bytes)) {}
    Result<size_t> read_at(uint64_t offset, std::span<char> into) const override {
      if (offset >= bytes_->size()) return size_t{0};
      const size_t count = std::min<size_t>(into.size(), bytes_->size() - offset);
      std::memcpy(into.data(), bytes_->data() + offset, count);
      return count;
    }
    Status write_at(uint64_t offset, std::string_view bytes) override {
      if (bytes_->size() < offset + bytes.size()) bytes_->resize(offset + bytes.size());
      std::memcpy(bytes_->data() + offset, bytes.data(), bytes.size());
      return {};
    }
    Status sync() override { return {}; }
    Status fill_zero(uint64_t bytes) override {
      bytes_->assign(bytes, '\0');
      return {};
    }
    void prefetch(uint64_t, uint64_t) const override {}
    Result<uint64_t> size() const override { return uint64_t{bytes_->size()}; }

   private:
    Bytes bytes_;
  };
};

}  // namespace brokkr::store
