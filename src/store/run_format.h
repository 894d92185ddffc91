#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "store/block_codec.h"
#include "store/byte_reader.h"
#include "store/run.h"

// The bytes of run files (docs/store-format.md), shared by who writes, reads, searches and inspects
// them. All integers are little-endian. Pure functions.
namespace brokkr::store {

constexpr uint32_t kRunFileVersion = 1;
constexpr size_t kRunBlockBytes = 64 << 10;

// What makes one file different from every other. The salt is random, and part of every section's
// header, so that bytes of another file or place are never taken for the right ones.
struct RunFileHead {
  uint64_t number = 0;
  uint64_t salt = 0;
  std::string wrapped_key;    // empty: not encrypted
  uint64_t index_offset = 0;  // of the file index; in the tail only
};
void append_run_file_head(const RunFileHead&, std::string& out);
void append_run_file_tail(const RunFileHead&, std::string& out);
// `bytes` starts with the file. `size` gets the head's length. Corrupt, Unsupported.
Result<RunFileHead> parse_run_file_head(std::string_view bytes, size_t& size);
// `bytes` ends with the file. `size` gets the tail's length.
Result<RunFileHead> parse_run_file_tail(std::string_view bytes, size_t& size);
// More than any head or tail takes.
constexpr size_t kRunFileHeadBytesMax = 4096;
// What a wrapped key is bound to.
std::string run_key_context(uint64_t number, uint64_t salt);

// Everything but bare records is in sections: a header, a block (see block_codec.h), zeroes up to a
// multiple of 8.
enum class SectionKind : uint32_t {
  RunHead = 0x44414852,    // "RHAD"
  Block = 0x4b4c4252,      // "RBLK"
  Footer = 0x544f4652,     // "RFOT"
  FileIndex = 0x58444952,  // "RIDX"
};
constexpr size_t kSectionHeaderBytes = 32;
struct SectionHeader {
  SectionKind kind{};
  uint32_t payload_bytes = 0;
  size_t total_bytes() const { return kSectionHeaderBytes + pad8(payload_bytes); }
};
// Appends a section that starts at `offset` in the file.
void append_section(SectionKind, uint64_t salt, uint64_t offset, std::string_view plain,
                    Compression, const FileKey*, std::string& out);
std::optional<SectionHeader> parse_section_header(std::string_view bytes, uint64_t salt,
                                                  uint64_t offset);
// `section` is the whole section. Corrupt, LimitExceeded.
Status decode_section(std::string_view section, uint64_t salt, uint64_t offset, const FileKey*,
                      size_t plain_max, std::string& plain);

// What stands before a run's messages.
struct RunHead {
  uint32_t stream = 0;
  bool has_blocks = false;
  std::string account;
  std::string name;
};
void append_run_head(const RunHead&, std::string& out);
Result<RunHead> parse_run_head(std::string_view plain);

void append_footer(const RunIndex&, std::string& out);
// Safe on any bytes; takes no more memory than they are worth. Fills all but RunInfo::file and
// footer_bytes.
Status parse_footer(std::string_view plain, RunIndex& index);

struct FileIndexEntry {
  uint32_t stream = 0;
  RunInfo info;
};
void append_file_index(const std::vector<FileIndexEntry>&, std::string& out);
Result<std::vector<FileIndexEntry>> parse_file_index(std::string_view plain, uint64_t file);

// Positions of RunIndex: of bare records (place in the file / 8) << 16 | check, in blocks
// (index of the block) << 32 | place in it.
inline uint64_t bare_position(uint64_t offset, uint16_t check) {
  return offset / 8 << 16 | check;
}
inline uint64_t bare_offset(uint64_t position) {
  return position >> 16 << 3;
}
inline uint64_t block_position(size_t block, size_t offset) {
  return uint64_t{block} << 32 | offset;
}
// Sixteen bits of a record's header: tells apart records of the same sequence of different streams.
uint16_t record_check(std::string_view record);

}  // namespace brokkr::store
