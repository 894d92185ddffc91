#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/block_codec.h"
#include "store/files.h"

// The catalog: everything the store knows that is not message data, as it was at one position of the
// log. Written whole at every checkpoint into "<number>.catalog"; the one before is kept, so that
// damage to one costs nothing. Format: docs/store-format.md.
namespace brokkr::store {

enum class CatalogEntryKind : uint8_t { Stream = 1, Consumer = 2 };

// What the catalog holds of one stream or consumer, opaque to it.
struct CatalogEntry {
  uint32_t stream = 0;
  uint64_t id = 0;  // of a consumer within its stream; 0 for a stream
  // Position of the log the bytes stand for. As read: that of the image they come from. Frames up to
  // it are in the bytes already.
  uint64_t lsn = 0;
  std::string_view bytes;
};

struct CatalogImage {
  uint64_t number = 0;        // of the file it was read from; 0 when there was none
  std::string store_id;       // 16 bytes, drawn when the store was made
  uint64_t lsn = 0;           // replay starts after it
  uint32_t next_stream = 1;   // ids are never used again
  uint64_t next_run_file = 1;
  std::vector<CatalogEntry> streams;    // ascending by stream
  std::vector<CatalogEntry> consumers;  // ascending by stream, id
  // Keeps what the views point into alive, for whoever likes it so.
  std::vector<std::shared_ptr<const std::string>> storage;

  // As read only.
  bool is_fallback = false;   // the newest file was damaged; this is an older image, whole
  // No file was whole: these are the entries that could be read. Some may be missing, and `lsn`,
  // `next_stream` and `next_run_file` are the best that was found, which may be 0.
  bool is_salvaged = false;

  // Copies `bytes` into storage of the image and returns where they are.
  std::string_view keep(std::string bytes);
};

// Writes the image as "<directory>/<number>.catalog" (temporary file, sync, rename, sync of the
// directory), then removes the catalogs older than the one before it. Numbers ascend. Blocks; on the
// executor's thread. What only the one before needs (log from its lsn on, run files it names) must
// stay until the next image is written.
Status write_catalog(Files&, const std::string& directory, uint64_t number, const CatalogImage&,
                     Keyring* keys);

// Reads the newest image that is whole. A damaged file is moved to "<directory>/lost+found/" and
// named in `notes`; nothing is ever deleted. When every file is damaged, what can be read of each is
// put together, newer entries before older ones (`is_salvaged`). Without any file the image is empty,
// number 0.
// Fails with PermissionDenied (wrong key), Unsupported (of a newer version), System.
Result<CatalogImage> read_newest_catalog(Files&, const std::string& directory, Keyring* keys,
                                         std::vector<std::string>& notes);

// One file's bytes into an image. Corrupt with the place when anything is wrong; `image` then holds
// what could be read, and `damage` (when not null) every damaged place. `keep` owns the bytes.
Status parse_catalog(std::shared_ptr<const std::string> keep, uint64_t number, Keyring* keys,
                     CatalogImage& image, std::vector<std::string>* damage);

std::string catalog_file_name(uint64_t number);
// The number in "<16 hex digits>.catalog"; 0 for another name.
uint64_t parse_catalog_file_name(std::string_view name);

}  // namespace brokkr::store
