#include "store/wal_format.h"

#include <cstring>

#include "base/check.h"
#include "store/numbered_name.h"

namespace brokkr::store {
namespace {

constexpr std::string_view kWalMagic = "BRKRLOG\n";
constexpr uint32_t kWalVersion = 1;
constexpr uint32_t kSyncedByGroup = 1;
// Offsets in a copy of the head.
constexpr size_t kVersionAt = 8;
constexpr size_t kCopyCrcAt = 12;  // over the copy with these four bytes zero
constexpr size_t kLogIdAt = 16;
constexpr size_t kNumberAt = 24;
constexpr size_t kEpochAt = 32;
constexpr size_t kFirstLsnAt = 40;
constexpr size_t kPreviousLsnAt = 48;
constexpr size_t kFileBytesAt = 56;
constexpr size_t kFlagsAt = 64;
constexpr size_t kKeySizeAt = 68;
constexpr size_t kKeyAt = 72;

uint32_t head_copy_crc(std::string_view copy) {
  const char zero[4] = {};
  const uint32_t crc = crc32c(copy.substr(0, kCopyCrcAt));
  return crc32c(copy.substr(kCopyCrcAt + 4), crc32c({zero, 4}, crc));
}

std::optional<WalHead> parse_head_copy(std::string_view copy) {
  if (copy.size() < kWalHeadCopyBytes || !copy.starts_with(kWalMagic) ||
      load_le<uint32_t>(copy.data() + kVersionAt) != kWalVersion ||
      head_copy_crc(copy) != load_le<uint32_t>(copy.data() + kCopyCrcAt)) {
    return std::nullopt;
  }
  const char* const at = copy.data();
  const size_t key_size = load_le<uint32_t>(at + kKeySizeAt);
  if (key_size > kWalHeadCopyBytes - kKeyAt) return std::nullopt;
  WalHead head;
  head.log_id = load_le<uint64_t>(at + kLogIdAt);
  head.number = load_le<uint64_t>(at + kNumberAt);
  head.epoch = load_le<uint64_t>(at + kEpochAt);
  head.first_lsn = load_le<uint64_t>(at + kFirstLsnAt);
  head.previous_lsn = load_le<uint64_t>(at + kPreviousLsnAt);
  head.file_bytes = load_le<uint64_t>(at + kFileBytesAt);
  head.synced_by_group = (load_le<uint32_t>(at + kFlagsAt) & kSyncedByGroup) != 0;
  head.wrapped_key = copy.substr(kKeyAt, key_size);
  return head;
}

bool is_newer_copy(std::string_view copy) {
  return copy.size() >= kWalHeadCopyBytes && copy.starts_with(kWalMagic) &&
         load_le<uint32_t>(copy.data() + kVersionAt) > kWalVersion &&
         head_copy_crc(copy) == load_le<uint32_t>(copy.data() + kCopyCrcAt);
}

bool is_frame_type(uint8_t type) {
  return (type >= static_cast<uint8_t>(FrameType::Append) && type <= static_cast<uint8_t>(FrameType::Lost)) ||
         type == static_cast<uint8_t>(FrameType::GroupEnd);
}

}  // namespace

void encode_wal_head(const WalHead& head, char* out) {
  CHECK(head.wrapped_key.size() <= kWalHeadCopyBytes - kKeyAt);
  std::memset(out, 0, kWalHeadBytes);
  std::memcpy(out, kWalMagic.data(), kWalMagic.size());
  store_le(out + kVersionAt, kWalVersion);
  store_le(out + kLogIdAt, head.log_id);
  store_le(out + kNumberAt, head.number);
  store_le(out + kEpochAt, head.epoch);
  store_le(out + kFirstLsnAt, head.first_lsn);
  store_le(out + kPreviousLsnAt, head.previous_lsn);
  store_le(out + kFileBytesAt, head.file_bytes);
  store_le(out + kFlagsAt, head.synced_by_group ? kSyncedByGroup : 0u);
  store_le(out + kKeySizeAt, static_cast<uint32_t>(head.wrapped_key.size()));
  std::memcpy(out + kKeyAt, head.wrapped_key.data(), head.wrapped_key.size());
  store_le(out + kCopyCrcAt, head_copy_crc({out, kWalHeadCopyBytes}));
  std::memcpy(out + kWalHeadCopyBytes, out, kWalHeadCopyBytes);
}

ParsedWalHead parse_wal_head(std::string_view bytes) {
  ParsedWalHead parsed;
  const std::string_view first = bytes.substr(0, kWalHeadCopyBytes);
  const std::string_view second = bytes.substr(first.size(), kWalHeadCopyBytes);
  parsed.head = parse_head_copy(first);
  parsed.is_damaged = !parsed.head || first != second;
  if (!parsed.head) parsed.head = parse_head_copy(second);
  parsed.is_newer = !parsed.head && (is_newer_copy(first) || is_newer_copy(second));
  return parsed;
}

std::string wal_key_context(const WalHead& head) {
  std::string context(24, '\0');
  store_le(context.data(), head.log_id);
  store_le(context.data() + 8, head.number);
  store_le(context.data() + 16, head.epoch);
  return context;
}

uint32_t seal_frame(char* at, const FrameHeader& header, FrameStamp stamp) {
  store_le(at + 4, stamp.salt);
  store_le(at + 8, header.lsn);
  store_le(at + 16, header.body_bytes);
  store_le(at + 20, header.stream);
  store_le(at + 24, header.body_crc);
  store_le(at + 28, static_cast<uint32_t>(header.type) | static_cast<uint32_t>(header.flags) << 8);
  const uint32_t raw = crc32c({at + 8, kFrameHeaderBytes - 8});
  store_le(at, raw ^ stamp.mask);
  return raw;
}

std::optional<FrameHeader> parse_frame_header(std::string_view bytes, FrameStamp stamp) {
  if (bytes.size() < kFrameHeaderBytes) return std::nullopt;
  const char* const at = bytes.data();
  if (load_le<uint32_t>(at + 4) != stamp.salt) return std::nullopt;
  const uint32_t kind = load_le<uint32_t>(at + 28);
  const auto type = static_cast<uint8_t>(kind);
  if (!is_frame_type(type) || (kind >> 9) != 0) return std::nullopt;
  FrameHeader header;
  header.raw_crc = load_le<uint32_t>(at) ^ stamp.mask;
  if (crc32c(bytes.substr(8, kFrameHeaderBytes - 8)) != header.raw_crc) return std::nullopt;
  header.lsn = load_le<uint64_t>(at + 8);
  header.body_bytes = load_le<uint32_t>(at + 16);
  header.stream = load_le<uint32_t>(at + 20);
  header.body_crc = load_le<uint32_t>(at + 24);
  header.type = static_cast<FrameType>(type);
  header.flags = static_cast<uint8_t>(kind >> 8);
  return header;
}

std::optional<FrameStamp> guess_stamp(std::string_view bytes) {
  if (bytes.size() < kFrameHeaderBytes) return std::nullopt;
  const char* const at = bytes.data();
  const uint32_t kind = load_le<uint32_t>(at + 28);
  if (!is_frame_type(static_cast<uint8_t>(kind)) || (kind >> 9) != 0) return std::nullopt;
  return FrameStamp{load_le<uint32_t>(at + 4),
                    load_le<uint32_t>(at) ^ crc32c(bytes.substr(8, kFrameHeaderBytes - 8))};
}

uint32_t frame_body_crc(FrameType type, bool is_encrypted, std::string_view body) {
  if (type == FrameType::Append && !is_encrypted && body.size() >= sizeof(uint32_t)) {
    return load_le<uint32_t>(body.data());
  }
  return crc32c(body);
}

void encode_group_end(const GroupEnd& end, char* out) {
  store_le(out, end.first_lsn);
  store_le(out + 8, end.open_batch);
  store_le(out + 16, end.count);
  store_le(out + 20, end.chain);
}

std::optional<GroupEnd> parse_group_end(std::string_view body) {
  if (body.size() < kGroupEndBytes) return std::nullopt;
  const char* const at = body.data();
  return GroupEnd{load_le<uint64_t>(at), load_le<uint64_t>(at + 8), load_le<uint32_t>(at + 16),
                  load_le<uint32_t>(at + 20)};
}

void encrypt_group(std::string_view group, const FileKey& key, FrameStamp stamp, std::string& out) {
  uint32_t chain = 0;
  std::string plain;
  while (!group.empty()) {
    FrameHeader header;
    header.lsn = load_le<uint64_t>(group.data() + 8);
    header.body_bytes = load_le<uint32_t>(group.data() + 16);
    header.stream = load_le<uint32_t>(group.data() + 20);
    header.type = static_cast<FrameType>(group[28]);
    plain = group.substr(kFrameHeaderBytes, header.body_bytes);
    group.remove_prefix(header.frame_bytes());
    // The checksum over the group is that of the frames as stored.
    if (header.type == FrameType::GroupEnd) store_le(plain.data() + 20, chain);
    const size_t at = out.size();
    out.resize(at + kFrameHeaderBytes);
    encode_block(plain, Compression::None, &key, header.lsn, out);
    header.body_bytes = static_cast<uint32_t>(out.size() - at - kFrameHeaderBytes);
    CHECK(header.body_bytes <= plain.size() + kEncryptedFrameGrowth - 8);
    header.flags = kFrameEncrypted;
    header.body_crc = crc32c(std::string_view(out).substr(at + kFrameHeaderBytes));
    out.resize(at + header.frame_bytes());
    chain = chain_frame(chain, seal_frame(out.data() + at, header, stamp));
  }
}

std::string wal_file_name(uint64_t number) { return numbered_name(number, ".wal"); }
std::string spare_file_name(uint64_t number) { return numbered_name(number, ".spare"); }

}  // namespace brokkr::store
