#include "store/record.h"

#include <cstring>

#include "base/check.h"
#include "store/little_endian.h"

namespace brokkr::store {
namespace {

// Where the numbers of the header are. The first checksum covers everything behind itself up to the
// end of the subject, and so the second one too.
constexpr size_t kHeadCrcAt = 0;
constexpr size_t kSizeAt = 4;
constexpr size_t kHeadersSizeAt = 8;
constexpr size_t kContentCrcAt = 12;
constexpr size_t kSeqAt = 16;
constexpr size_t kTimestampAt = 24;
constexpr size_t kExpiresAt = 32;
constexpr size_t kSubjectSizeAt = 40;
constexpr size_t kFormatAt = 44;
constexpr uint32_t kRecordFormat = 1;

size_t unpadded_bytes(const Record& record) {
  return kRecordHeaderBytes + record.subject.size() + record.headers.size() + record.body.size();
}

char* put(char* to, std::string_view bytes) {
  if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
  return to + bytes.size();
}

}  // namespace

size_t record_bytes(const Record& record) { return pad8(unpadded_bytes(record)); }

void encode_record(const Record& record, char* out) {
  const size_t size = unpadded_bytes(record);
  DCHECK(size <= UINT32_MAX);
  // Zeroes the padding; what is not padding is written over.
  store_le<uint64_t>(out + pad8(size) - 8, 0);
  store_le(out + kSizeAt, static_cast<uint32_t>(size));
  store_le(out + kHeadersSizeAt, static_cast<uint32_t>(record.headers.size()));
  store_le(out + kSeqAt, record.seq);
  store_le(out + kTimestampAt, record.timestamp_ns);
  store_le(out + kExpiresAt, record.expires_at);
  store_le(out + kSubjectSizeAt, static_cast<uint32_t>(record.subject.size()));
  store_le(out + kFormatAt, kRecordFormat);
  char* const content = put(out + kRecordHeaderBytes, record.subject);
  char* const end = put(put(content, record.headers), record.body);
  store_le(out + kContentCrcAt, crc32c({content, static_cast<size_t>(end - content)}));
  store_le(out + kHeadCrcAt, crc32c({out + kSizeAt, static_cast<size_t>(content - out) - kSizeAt}));
}

void append_record(const Record& record, std::string& out) {
  const size_t at = out.size();
  out.resize(at + record_bytes(record));
  encode_record(record, out.data() + at);
}

ParsedRecord parse_record(std::string_view bytes, bool check_content) {
  ParsedRecord parsed;
  const auto damaged = [&](RecordDamage damage) {
    parsed.damage = damage;
    return parsed;
  };
  if (bytes.size() < kRecordHeaderBytes) return damaged(RecordDamage::Cut);
  const char* const head = bytes.data();
  const size_t size = load_le<uint32_t>(head + kSizeAt);
  const size_t headers_size = load_le<uint32_t>(head + kHeadersSizeAt);
  const size_t subject_size = load_le<uint32_t>(head + kSubjectSizeAt);
  if (load_le<uint32_t>(head + kFormatAt) != kRecordFormat ||
      kRecordHeaderBytes + subject_size + headers_size > size) {
    return damaged(RecordDamage::Header);
  }
  const size_t head_size = kRecordHeaderBytes + subject_size;
  if (bytes.size() < head_size) return damaged(RecordDamage::Cut);
  if (crc32c(bytes.substr(kSizeAt, head_size - kSizeAt)) != load_le<uint32_t>(head + kHeadCrcAt)) {
    return damaged(RecordDamage::Header);
  }
  if (bytes.size() < pad8(size)) return damaged(RecordDamage::Cut);
  parsed.bytes = pad8(size);
  Record& record = parsed.record;
  record.seq = load_le<uint64_t>(head + kSeqAt);
  record.timestamp_ns = load_le<int64_t>(head + kTimestampAt);
  record.expires_at = load_le<uint64_t>(head + kExpiresAt);
  record.subject = bytes.substr(kRecordHeaderBytes, subject_size);
  const std::string_view content = bytes.substr(head_size, size - head_size);
  if (check_content) {
    const std::string_view padding = bytes.substr(size, parsed.bytes - size);
    if (crc32c(content) != load_le<uint32_t>(head + kContentCrcAt) ||
        padding.find_first_not_of('\0') != std::string_view::npos) {
      return damaged(RecordDamage::Content);
    }
  }
  record.headers = content.substr(0, headers_size);
  record.body = content.substr(headers_size);
  return parsed;
}

size_t kept_record_bytes(const char* at) { return pad8(load_le<uint32_t>(at + kSizeAt)); }

Record read_kept_record(const char* at) {
  const size_t size = load_le<uint32_t>(at + kSizeAt);
  const size_t headers_size = load_le<uint32_t>(at + kHeadersSizeAt);
  const size_t head_size = kRecordHeaderBytes + load_le<uint32_t>(at + kSubjectSizeAt);
  Record record;
  record.seq = load_le<uint64_t>(at + kSeqAt);
  record.timestamp_ns = load_le<int64_t>(at + kTimestampAt);
  record.expires_at = load_le<uint64_t>(at + kExpiresAt);
  record.subject = {at + kRecordHeaderBytes, head_size - kRecordHeaderBytes};
  record.headers = {at + head_size, headers_size};
  record.body = {at + head_size + headers_size, size - head_size - headers_size};
  return record;
}

}  // namespace brokkr::store
