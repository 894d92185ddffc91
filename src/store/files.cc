#include "store/files.h"

#include "base/check.h"

namespace brokkr::store {
namespace {

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Status write_parts(Files& files, const std::string& path, std::span<const std::string_view> parts) {
  Result<std::unique_ptr<File>> file = files.open(path, OpenMode::Create);
  if (!file) return file.error();
  uint64_t at = 0;
  for (const std::string_view part : parts) {
    if (Status written = (*file)->write_at(at, part); !written) return written;
    at += part.size();
  }
  return (*file)->sync();
}

}  // namespace

Result<std::string> read_file(Files& files, const std::string& path, uint64_t bytes_max) {
  Result<std::unique_ptr<File>> file = files.open(path, OpenMode::Read);
  if (!file) return file.error();
  const Result<uint64_t> size = (*file)->size();
  if (!size) return size.error();
  if (*size > bytes_max) {
    return Error{Errc::LimitExceeded, path + ": " + std::to_string(*size) + " bytes, the limit is " +
                                          std::to_string(bytes_max)};
  }
  std::string bytes(*size, '\0');
  const Result<size_t> read = (*file)->read_at(0, bytes);
  if (!read) return read.error();
  bytes.resize(*read);
  return bytes;
}

Status write_file_atomically(Files& files, const std::string& path,
                             std::span<const std::string_view> parts) {
  const std::string temporary = path + ".tmp";
  // One is left when the process was killed in here.
  if (files.exists(temporary)) {
    if (Status removed = files.remove(temporary); !removed) return removed;
  }
  Status status = write_parts(files, temporary, parts);
  if (status) status = files.rename(temporary, path);
  if (!status) {
    // The room it takes matters when the disk is full; a failure changes nothing.
    static_cast<void>(files.remove(temporary));
    return status;
  }
  return files.sync_directory(folder_of(path));
}

}  // namespace brokkr::store
