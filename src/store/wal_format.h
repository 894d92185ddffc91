#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "store/little_endian.h"
#include "store/record.h"
#include "store/wal.h"

// The bytes of the log, as docs/store-format.md gives them. Pure.
namespace brokkr::store {

// The head of a log file: two equal copies, so that damage to one costs nothing.
constexpr size_t kWalHeadBytes = 4096;
constexpr size_t kWalHeadCopyBytes = kWalHeadBytes / 2;
constexpr size_t kFrameHeaderBytes = 32;

struct WalHead {
  uint64_t log_id = 0;  // the same in all files of one log
  uint64_t number = 0;  // ascends with every file begun
  // Drawn at random for every use of a file. All frames carry it, so those of an earlier use of the
  // same file, or of another one, are never taken for this one's.
  uint64_t epoch = 0;
  Lsn first_lsn = 0;
  // The last frame before this file that counts. Frames in earlier files behind it were left by a
  // crash and given up by the recovery that came before this file.
  Lsn previous_lsn = 0;
  uint64_t file_bytes = 0;
  bool synced_by_group = true;
  std::string wrapped_key;  // empty when bodies are not encrypted
};

// `out` has kWalHeadBytes.
void encode_wal_head(const WalHead&, char* out);

struct ParsedWalHead {
  std::optional<WalHead> head;
  bool is_damaged = false;  // one copy is; or both, without a head
  bool is_newer = false;    // written by a version this one does not know
};
ParsedWalHead parse_wal_head(std::string_view bytes);
// What a file key is bound to.
std::string wal_key_context(const WalHead&);

// What tells the frames of one use of a file from all others. Both halves of the epoch.
struct FrameStamp {
  uint32_t salt = 0;  // stands in every frame
  uint32_t mask = 0;  // combined with every frame's header checksum
  bool operator==(const FrameStamp&) const = default;
};
inline FrameStamp frame_stamp(uint64_t epoch) {
  return {static_cast<uint32_t>(epoch), static_cast<uint32_t>(epoch >> 32)};
}

constexpr uint8_t kFrameEncrypted = 1;

struct FrameHeader {
  Lsn lsn = 0;
  uint32_t body_bytes = 0;
  uint32_t stream = 0;
  // Of the body as stored. Of a record that is not encrypted: the record's own checksum over its
  // header, so that an older record left on the disk in its place is noticed.
  uint32_t body_crc = 0;
  FrameType type{};
  uint8_t flags = 0;
  uint32_t raw_crc = 0;  // of the header without the stamp; goes into the group's checksum

  size_t frame_bytes() const { return kFrameHeaderBytes + pad8(body_bytes); }
};

// Writes lengths, numbers and checksum; the body is behind `at` already. Returns raw_crc.
uint32_t seal_frame(char* at, const FrameHeader&, FrameStamp);
// Changes the stamp of a sealed frame.
inline void restamp_frame(char* at, FrameStamp from, FrameStamp to) {
  store_le(at, load_le<uint32_t>(at) ^ from.mask ^ to.mask);
  store_le(at + 4, to.salt);
}
// The header at the start of `bytes`, when there is a whole one with this stamp.
std::optional<FrameHeader> parse_frame_header(std::string_view bytes, FrameStamp);
// The stamp of what would be a frame if the file had that stamp; for files without a head.
std::optional<FrameStamp> guess_stamp(std::string_view bytes);
uint32_t frame_body_crc(FrameType, bool is_encrypted, std::string_view body);

// The checksum over a group's frames, in order.
inline uint32_t chain_frame(uint32_t chain, uint32_t raw_crc) {
  return (((chain << 5) | (chain >> 27)) ^ raw_crc) * 0x9e3779b1u;
}

// What stands in a group's last frame before the store's note.
struct GroupEnd {
  Lsn first_lsn = 0;
  Lsn open_batch = 0;  // of a batch that was not committed yet; 0 when none
  uint32_t count = 0;  // frames in the group besides this one
  uint32_t chain = 0;
};
constexpr size_t kGroupEndBytes = 24;
void encode_group_end(const GroupEnd&, char* out);
std::optional<GroupEnd> parse_group_end(std::string_view body);

// Encrypts every body of a group whose last frame is its GroupEnd, into `out`.
void encrypt_group(std::string_view group, const FileKey&, FrameStamp, std::string& out);
// What encryption may add to one frame.
constexpr size_t kEncryptedFrameGrowth = 64;

std::string wal_file_name(uint64_t number);
std::string spare_file_name(uint64_t number);

}  // namespace brokkr::store
