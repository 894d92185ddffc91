#include "store/overlay_files.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace brokkr::store {

// A file's bytes: those of the file below, until the first change copies them.
struct OverlayFiles::Content {
  std::unique_ptr<File> below;
  std::string bytes;

  Status own() {
    if (below == nullptr) return {};
    const Result<uint64_t> size = below->size();
    if (!size) return size.error();
    bytes.resize(*size);
    const Result<size_t> got = below->read_at(0, bytes);
    if (!got) return got.error();
    bytes.resize(*got);
    below.reset();
    return {};
  }
};

class OverlayFiles::OverlayFile final : public File {
 public:
  explicit OverlayFile(std::shared_ptr<Content> content) : content_(std::move(content)) {}
  Result<size_t> read_at(uint64_t offset, std::span<char> into) const override {
    if (content_->below != nullptr) return content_->below->read_at(offset, into);
    const std::string& bytes = content_->bytes;
    if (offset >= bytes.size()) return size_t{0};
    const size_t count = std::min(into.size(), bytes.size() - static_cast<size_t>(offset));
    std::memcpy(into.data(), bytes.data() + offset, count);
    return count;
  }
  Status write_at(uint64_t offset, std::string_view bytes) override {
    if (Status status = content_->own(); !status) return status;
    std::string& target = content_->bytes;
    if (target.size() < offset + bytes.size()) target.resize(offset + bytes.size());
    if (!bytes.empty()) std::memcpy(target.data() + offset, bytes.data(), bytes.size());
    return {};
  }
  Status sync() override { return {}; }
  Status fill_zero(uint64_t bytes) override {
    content_->below.reset();
    content_->bytes.assign(bytes, '\0');
    return {};
  }
  void prefetch(uint64_t offset, uint64_t bytes) const override {
    if (content_->below != nullptr) content_->below->prefetch(offset, bytes);
  }
  Result<uint64_t> size() const override {
    return content_->below != nullptr ? content_->below->size()
                                      : Result<uint64_t>(uint64_t{content_->bytes.size()});
  }

 private:
  std::shared_ptr<Content> content_;
};

Result<std::shared_ptr<OverlayFiles::Content>> OverlayFiles::find(const std::string& path) {
  const auto found = entries_.find(path);
  if (found != entries_.end()) {
    if (found->second == nullptr) return Error{Errc::NotFound, path + ": no such file"};
    return found->second;
  }
  auto file = below_.open(path, OpenMode::Read);
  if (!file) return file.error();
  auto content = std::make_shared<Content>();
  content->below = std::move(*file);
  return content;
}

Result<std::unique_ptr<File>> OverlayFiles::open(const std::string& path, OpenMode mode) {
  if (mode == OpenMode::Create) {
    if (exists(path)) return Error{Errc::AlreadyExists, path + ": exists"};
    entries_[path] = std::make_shared<Content>();
  }
  auto content = find(path);
  if (!content) return content.error();
  if (mode != OpenMode::Read) entries_[path] = *content;
  return std::unique_ptr<File>(std::make_unique<OverlayFile>(std::move(*content)));
}

Status OverlayFiles::rename(const std::string& from, const std::string& to) {
  auto content = find(from);
  if (!content) return content.error();
  entries_[to] = std::move(*content);
  entries_[from] = nullptr;
  return {};
}

Status OverlayFiles::remove(const std::string& path) {
  if (!exists(path)) return Error{Errc::NotFound, path + ": no such file"};
  entries_[path] = nullptr;
  return {};
}

Status OverlayFiles::make_directory(const std::string& path) {
  directories_.push_back(path);
  return {};
}

Status OverlayFiles::sync_directory(const std::string&) {
  return {};
}

Result<std::vector<DirectoryEntry>> OverlayFiles::list(const std::string& path) {
  std::map<std::string, DirectoryEntry> out;
  auto below = below_.list(path);
  const bool is_made =
      std::find(directories_.begin(), directories_.end(), path) != directories_.end();
  if (!below && !is_made) return below.error();
  if (below) {
    for (DirectoryEntry& entry : *below)
      out.emplace(entry.name, std::move(entry));
  }
  const std::string start = path + "/";
  for (const auto& [name, content] : entries_) {
    if (!name.starts_with(start) || name.find('/', start.size()) != std::string::npos) continue;
    const std::string rest = name.substr(start.size());
    out.erase(rest);
    if (content == nullptr) continue;
    const Result<uint64_t> size = OverlayFile(content).size();
    out[rest] = {rest, false, size ? *size : 0};
  }
  std::vector<DirectoryEntry> entries;
  for (auto& [name, entry] : out)
    entries.push_back(std::move(entry));
  return entries;
}

bool OverlayFiles::exists(const std::string& path) {
  const auto found = entries_.find(path);
  return found != entries_.end() ? found->second != nullptr : below_.exists(path);
}

Result<uint64_t> OverlayFiles::free_bytes(const std::string&) {
  return uint64_t{1} << 40;
}

Result<std::unique_ptr<File>> OverlayFiles::lock(const std::string&) {
  return std::unique_ptr<File>(std::make_unique<OverlayFile>(std::make_shared<Content>()));
}

}  // namespace brokkr::store
