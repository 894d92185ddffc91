#include "sandbox/image_tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/bytes.h"
#include "base/sha256.h"

namespace brokkr::sandbox::image {

// Not in the unnamed namespace: a type of the header has members of it.
struct ArchiveCloser {
  void operator()(archive* a) const { archive_read_free(a); }
};
using ArchiveHandle = std::unique_ptr<archive, ArchiveCloser>;

namespace {

constexpr size_t kPartBytes = 128 * 1024;
constexpr uint64_t kPathBytesMax = 4096;

std::string text_or_empty(const char* text) { return text == nullptr ? std::string() : text; }

TarEntry take_entry(archive_entry* from) {
  TarEntry out;
  out.path = text_or_empty(archive_entry_pathname(from));
  if (const char* target = archive_entry_hardlink(from); target != nullptr) {
    out.kind = TarEntry::Kind::HardLink;
    out.target = target;
  } else if (archive_entry_filetype(from) == AE_IFREG) {
    out.kind = TarEntry::Kind::File;
    out.size = static_cast<uint64_t>(std::max<int64_t>(0, archive_entry_size(from)));
  } else if (archive_entry_filetype(from) == AE_IFDIR) {
    out.kind = TarEntry::Kind::Folder;
  } else if (archive_entry_filetype(from) == AE_IFLNK) {
    out.kind = TarEntry::Kind::SymLink;
    out.target = text_or_empty(archive_entry_symlink(from));
  }
  out.mode = archive_entry_perm(from);
  out.uid = archive_entry_uid(from);
  out.gid = archive_entry_gid(from);
  out.modified_s = archive_entry_mtime(from);
  return out;
}

}  // namespace

// Two readers in a row: the first unpacks, the second takes the tar apart, and between them every
// byte is hashed and counted.
struct TarReader::State {
  ArchiveHandle packed;
  ArchiveHandle tar;
  std::string name;
  uint64_t bytes_left = 0;
  bool is_at_end = false;
  std::optional<Error> failure;
  Sha256 hash;
  std::vector<char> part = std::vector<char>(kPartBytes);

  Error corrupt(archive* a, const char* fallback) const {
    if (failure) return *failure;
    return Error{Errc::Corrupt, name + ": " + (archive_error_string(a) != nullptr ? archive_error_string(a) : fallback)};
  }
  // The next unpacked bytes; 0 at the end, -1 and `failure`.
  ssize_t pull() {
    if (failure) return -1;
    if (is_at_end) return 0;
    const ssize_t n = archive_read_data(packed.get(), part.data(), part.size());
    if (n < 0) {
      failure = Error{Errc::Corrupt, name + ": " + text_or_empty(archive_error_string(packed.get()))};
      return -1;
    }
    if (static_cast<uint64_t>(n) > bytes_left) {
      failure = Error{Errc::LimitExceeded, name + " unpacks to more than is allowed"};
      return -1;
    }
    bytes_left -= static_cast<uint64_t>(n);
    is_at_end = n == 0;
    hash.update({part.data(), static_cast<size_t>(n)});
    return n;
  }
  static la_ssize_t read(archive* a, void* self, const void** out) {
    auto& state = *static_cast<State*>(self);
    const ssize_t n = state.pull();
    if (n < 0) archive_set_error(a, EINVAL, "%s", "cannot unpack");
    *out = state.part.data();
    return n;
  }
};

TarReader::TarReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
TarReader::~TarReader() = default;

Result<std::unique_ptr<TarReader>> TarReader::open(int fd, uint64_t bytes_max, std::string name) {
  auto state = std::make_unique<State>();
  state->name = std::move(name);
  state->bytes_left = bytes_max;
  state->packed.reset(archive_read_new());
  state->tar.reset(archive_read_new());
  archive* const packed = state->packed.get();
  archive_read_support_filter_gzip(packed);
  archive_read_support_filter_zstd(packed);
  archive_read_support_format_raw(packed);
  archive_entry* entry = nullptr;
  if (archive_read_open_fd(packed, fd, kPartBytes) != ARCHIVE_OK ||
      archive_read_next_header(packed, &entry) != ARCHIVE_OK) {
    return state->corrupt(packed, "is empty");
  }
  // One packing and the file itself; more of them only make bombs.
  if (archive_filter_count(packed) > 2) {
    return Error{Errc::Corrupt, state->name + " is packed more than once"};
  }
  archive* const tar = state->tar.get();
  archive_read_support_format_tar(tar);
  if (archive_read_open(tar, state.get(), nullptr, State::read, nullptr) != ARCHIVE_OK) {
    return state->corrupt(tar, "is no tar");
  }
  return std::unique_ptr<TarReader>(new TarReader(std::move(state)));
}

Result<std::optional<TarEntry>> TarReader::next() {
  archive_entry* entry = nullptr;
  const int result = archive_read_next_header(state_->tar.get(), &entry);
  if (result == ARCHIVE_EOF && !state_->failure) return std::optional<TarEntry>();
  // A warning is about names that this locale cannot show; their bytes are there all the same.
  if (result != ARCHIVE_OK && result != ARCHIVE_WARN) return state_->corrupt(state_->tar.get(), "is no tar");
  TarEntry out = take_entry(entry);
  if (out.path.size() > kPathBytesMax || out.target.size() > kPathBytesMax) {
    return Error{Errc::Corrupt, state_->name + ": a path of " + std::to_string(out.path.size()) + " bytes"};
  }
  return std::optional<TarEntry>(std::move(out));
}

Status TarReader::read_data(FunctionRef<Status(std::string_view, uint64_t)> take) {
  while (true) {
    const void* bytes = nullptr;
    size_t size = 0;
    la_int64_t offset = 0;
    const int result = archive_read_data_block(state_->tar.get(), &bytes, &size, &offset);
    if (result == ARCHIVE_EOF) return {};
    if (result != ARCHIVE_OK && result != ARCHIVE_WARN) {
      return state_->corrupt(state_->tar.get(), "breaks off");
    }
    if (size == 0) continue;
    if (Status taken = take({static_cast<const char*>(bytes), size}, static_cast<uint64_t>(offset)); !taken) {
      return taken;
    }
  }
}

Result<std::string> TarReader::finish() {
  while (true) {
    const ssize_t n = state_->pull();
    if (n < 0) return *state_->failure;
    if (n == 0) break;
  }
  return "sha256:" + hex_encode(state_->hash.finish());
}

}  // namespace brokkr::sandbox::image
