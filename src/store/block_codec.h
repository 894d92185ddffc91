#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/random.h"
#include "base/result.h"

namespace brokkr::store {

enum class Compression : uint8_t { None = 0, Lz4 = 1, Zstd = 2 };
enum class Cipher : uint8_t { None = 0, Aes256Gcm = 1, ChaCha20Poly1305 = 2 };

// The key of one file, drawn for it alone and stored in it, wrapped. Never used for two files, so a
// nonce that is unique within the file is unique. Immutable.
class FileKey;

// Keys that wrap file keys: the current one and, after a change, the one before. Immutable;
// thread-safe.
class Keyring {
 public:
  // `key` and `previous` are what the configuration says (jetstream.key, prev_key); previous may be
  // empty. Fails with InvalidArgument on an empty key.
  static Result<std::unique_ptr<Keyring>> make(Cipher, std::string_view key, std::string_view previous);
  virtual ~Keyring() = default;
  // A fresh key and its wrapped form for the file's head. `context` (the file's identity) is bound
  // to it: a wrapped key copied into another file does not open.
  virtual std::shared_ptr<const FileKey> create(std::string_view context, std::string& wrapped) = 0;
  // Fails with PermissionDenied when neither key opens it, Corrupt when it is no wrapped key.
  virtual Result<std::shared_ptr<const FileKey>> open(std::string_view context, std::string_view wrapped) = 0;
};

// Compresses (when that saves anything) and encrypts (when `key` is not null) one block and appends
// it to `out`. `nonce` must be unique in the file.
void encode_block(std::string_view plain, Compression, const FileKey* key, uint64_t nonce, std::string& out);
// The inverse. Fails with Corrupt on any damage, LimitExceeded beyond `plain_max` bytes.
Status decode_block(std::string_view stored, const FileKey* key, uint64_t nonce, size_t plain_max,
                    std::string& plain);
// The plain bytes as they lie in `stored`, when they are neither compressed nor encrypted. Absent when
// they are, and on any damage.
std::optional<std::string_view> peek_block(std::string_view stored, uint64_t nonce);

}  // namespace brokkr::store
