#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

// One stored message as bytes: the same in memory, in the log and in a run file. The format is in
// docs/store-format.md. Pure functions.
namespace brokkr::store {

// What a record says. Views into the bytes it was read from.
struct Record {
  uint64_t seq = 0;
  int64_t timestamp_ns = 0;  // since 1970 UTC
  // When the message expires, in whole seconds since 1970 UTC, reckoned from its own time rounded up;
  // 0 never by itself (max_age may still apply), kNeverExpires not even by max_age.
  uint64_t expires_at = 0;
  std::string_view subject;
  std::string_view headers;  // a whole NATS/1.0 block, or empty
  std::string_view body;

  // What this message counts against max_bytes, by nats-server's rule.
  uint64_t counted_bytes() const {
    return 30 + subject.size() + (headers.empty() ? 0 : 4 + headers.size()) + body.size();
  }
};
constexpr uint64_t kNeverExpires = UINT64_MAX;
constexpr size_t kRecordHeaderBytes = 48;
// Headers and body of one message together; nats-server's own cap.
constexpr size_t kRecordBytesMax = 64 << 20;

// Bytes the record takes, padded to 8.
size_t record_bytes(const Record&);
// Writes record_bytes() bytes to `out`.
void encode_record(const Record&, char* out);
void append_record(const Record&, std::string& out);

enum class RecordDamage : uint8_t {
  None,
  Header,   // nothing in it can be believed, its length neither
  Content,  // seq, subject, times and length are right; headers or body are not
  Cut,      // the bytes end before the record does
};
struct ParsedRecord {
  RecordDamage damage = RecordDamage::None;
  Record record;     // valid for None and, without headers and body, for Content
  size_t bytes = 0;  // to the next record; valid for None and Content
};
// `check_content` off skips the checksum over headers and body.
ParsedRecord parse_record(std::string_view bytes, bool check_content = true);
// Of a record this process has encoded itself and kept in memory: nothing is checked.
Record read_kept_record(const char* at);
size_t kept_record_bytes(const char* at);

// CRC-32C (Castagnoli), with the processor's instruction where there is one.
// The checksum of `a` then `b` is crc32c(b, crc32c(a)).
uint32_t crc32c(std::string_view bytes, uint32_t seed = 0);
// The same on a processor that has none.
uint32_t crc32c_portable(std::string_view bytes, uint32_t seed = 0);

}  // namespace brokkr::store
