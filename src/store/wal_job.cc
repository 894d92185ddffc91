#include "store/wal_job.h"

#include <utility>

namespace brokkr::store {

void WalJob::run(Files& files) {
  is_final = false;
  if (key && !is_encrypted) {
    std::string sealed;
    encrypt_group(bytes, *key, stamp, sealed);
    bytes = std::move(sealed);
    is_encrypted = true;
  }
  if (sync_before) {
    status = sync_before->sync();
    is_final = true;
    if (!status) return;
    sync_before.reset();
  }
  status = begin_file(files);
  if (status) status = file->write_at(offset, bytes);
  is_final = !status && status.error().code != Errc::OutOfSpace;
  if (!status) return;
  if (must_sync || !head.empty()) {
    status = file->sync();
    is_final = true;
    if (!status) return;
  }
  status = finish_file(files);
  is_final = !status && status.error().code != Errc::OutOfSpace;
}

Status WalJob::begin_file(Files& files) {
  if (head.empty()) return {};
  if (!file) {
    auto opened = spare_path.empty() ? files.open(path + ".new", OpenMode::Create)
                                     : files.open(spare_path, OpenMode::ReadWrite);
    if (!opened) return opened.error();
    if (spare_path.empty()) spare_path = path + ".new";
    file = std::move(*opened);
  }
  return file->write_at(0, head);
}

// A file gets its name once it holds a group that is on stable storage.
Status WalJob::finish_file(Files& files) {
  if (head.empty()) return {};
  if (!is_named) {
    if (Status renamed = files.rename(spare_path, path); !renamed) return renamed;
    is_named = true;
  }
  return files.sync_directory(directory);
}

}  // namespace brokkr::store
