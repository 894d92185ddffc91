#pragma once

#include <span>
#include <string_view>

#include "store/block_codec.h"

// Authenticated encryption with a file's key; the adapter of the crypto library. Thread-safe.
namespace brokkr::store {

Cipher cipher_of(const FileKey&);
// Encrypts `bytes` in place; `tag` gets 16 bytes. `context` is bound, not encrypted.
void seal(const FileKey&, uint64_t nonce, std::string_view context, std::span<char> bytes,
          char* tag);
// Writes bytes.size() bytes to `out`; false on any damage.
bool unseal(const FileKey&, uint64_t nonce, std::string_view context, std::string_view bytes,
            std::string_view tag, char* out);

}  // namespace brokkr::store
