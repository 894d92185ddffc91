#include "store/block_codec.h"

#include "store/block_compress.h"
#include "store/block_crypto.h"
#include "store/little_endian.h"
#include "store/record.h"

// Stored form: method (1 byte: compression, cipher in the high half), three zero bytes, u32 plain
// size, the bytes, then a CRC-32C (over the nonce, head and bytes) or, encrypted, a 16-byte tag.
namespace brokkr::store {
namespace {

constexpr size_t kStoredHeadBytes = 8;
constexpr size_t kStoredCrcBytes = 4;
constexpr size_t kStoredTagBytes = 16;

uint32_t block_crc(uint64_t nonce, std::string_view bytes) {
  char seed[sizeof nonce];
  store_le(seed, nonce);
  return crc32c(bytes, crc32c(std::string_view(seed, sizeof seed)));
}

}  // namespace

void encode_block(std::string_view plain, Compression compression, const FileKey* key,
                  uint64_t nonce, std::string& out) {
  const size_t start = out.size();
  out.append(kStoredHeadBytes, '\0');
  if (compression != Compression::None && !compress(compression, plain, out))
    compression = Compression::None;
  if (compression == Compression::None) out.append(plain);
  const Cipher cipher = key == nullptr ? Cipher::None : cipher_of(*key);
  out[start] =
      static_cast<char>(static_cast<unsigned>(compression) | static_cast<unsigned>(cipher) << 4);
  store_le(&out[start + 4], static_cast<uint32_t>(plain.size()));
  if (key == nullptr) {
    char crc[kStoredCrcBytes];
    store_le(crc, block_crc(nonce, std::string_view(out).substr(start)));
    out.append(crc, sizeof crc);
    return;
  }
  char tag[kStoredTagBytes];
  const size_t body = start + kStoredHeadBytes;
  seal(*key, nonce, std::string_view(out).substr(start, kStoredHeadBytes),
       std::span<char>(&out[0] + body, out.size() - body), tag);
  out.append(tag, sizeof tag);
}

Status decode_block(std::string_view stored, const FileKey* key, uint64_t nonce, size_t plain_max,
                    std::string& plain) {
  const Error damaged{Errc::Corrupt, "block damaged"};
  const size_t end_bytes = key == nullptr ? kStoredCrcBytes : kStoredTagBytes;
  if (stored.size() < kStoredHeadBytes + end_bytes) return damaged;
  const auto method = static_cast<uint8_t>(stored[0]);
  const auto compression = static_cast<Compression>(method & 0xf);
  if (method >> 4 != static_cast<unsigned>(key == nullptr ? Cipher::None : cipher_of(*key)))
    return damaged;
  const auto plain_bytes = load_le<uint32_t>(&stored[4]);
  std::string_view body =
      stored.substr(kStoredHeadBytes, stored.size() - kStoredHeadBytes - end_bytes);
  const std::string_view end = stored.substr(stored.size() - end_bytes);
  std::string opened;
  if (key == nullptr) {
    if (load_le<uint32_t>(end.data()) !=
        block_crc(nonce, stored.substr(0, stored.size() - end_bytes)))
      return damaged;
  } else {
    opened.resize(body.size());
    if (!unseal(*key, nonce, stored.substr(0, kStoredHeadBytes), body, end, opened.data()))
      return damaged;
    body = opened;
  }
  if (plain_bytes > plain_max) {
    return Error{Errc::LimitExceeded, "block of " + std::to_string(plain_bytes) +
                                          " bytes exceeds " + std::to_string(plain_max)};
  }
  if (compression == Compression::None) {
    if (body.size() != plain_bytes) return damaged;
    if (key == nullptr) {
      plain.assign(body);
    } else {
      plain = std::move(opened);
    }
    return {};
  }
  plain.resize(plain_bytes);
  return decompress(compression, body, plain) ? Status() : damaged;
}

std::optional<std::string_view> peek_block(std::string_view stored, uint64_t nonce) {
  if (stored.size() < kStoredHeadBytes + kStoredCrcBytes || stored[0] != 0) return std::nullopt;
  const std::string_view body = stored.substr(0, stored.size() - kStoredCrcBytes);
  if (load_le<uint32_t>(&stored[body.size()]) != block_crc(nonce, body)) return std::nullopt;
  if (load_le<uint32_t>(&stored[4]) != body.size() - kStoredHeadBytes) return std::nullopt;
  return body.substr(kStoredHeadBytes);
}

}  // namespace brokkr::store
