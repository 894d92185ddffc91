#include "store/run_format.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace brokkr::store {
namespace {

constexpr std::string_view kRunHeadMagic(
    "\x89"
    "BRKRUN\n",
    8);
constexpr std::string_view kRunTailMagic(
    "\x89"
    "BRKEND\n",
    8);
constexpr size_t kRunHeadFixedBytes = 48;
constexpr size_t kRunHeadEndBytes = 16;  // checksum, length again, magic's last half again
constexpr std::string_view kRunHeadEnd("\nNURKRB\x89", 8);

void pad_to_8(size_t from, std::string& out) {
  out.append((8 - (out.size() - from) % 8) % 8, '\0');
}

void append_file_head(std::string_view magic, const RunFileHead& head, std::string& out) {
  const size_t start = out.size();
  const auto total =
      static_cast<uint32_t>(kRunHeadFixedBytes + pad8(head.wrapped_key.size()) + kRunHeadEndBytes);
  out.append(magic);
  append_int(kRunFileVersion, out);
  append_int(total, out);
  append_int(head.number, out);
  append_int(head.salt, out);
  append_int(head.index_offset, out);
  append_int(static_cast<uint32_t>(head.wrapped_key.size()), out);
  append_int(uint32_t{0}, out);
  out.append(head.wrapped_key);
  pad_to_8(start, out);
  append_int(crc32c(std::string_view(out).substr(start)), out);
  append_int(total, out);
  out.append(kRunHeadEnd);
}

Result<RunFileHead> parse_file_head(std::string_view magic, std::string_view bytes) {
  const Error damaged{Errc::Corrupt, "head damaged"};
  if (bytes.size() < kRunHeadFixedBytes + kRunHeadEndBytes) return damaged;
  const size_t end = bytes.size() - kRunHeadEndBytes;
  if (bytes.substr(0, 8) != magic || bytes.substr(end + 8) != kRunHeadEnd) return damaged;
  if (load_le<uint32_t>(&bytes[end]) != crc32c(bytes.substr(0, end)) ||
      load_le<uint32_t>(&bytes[end + 4]) != bytes.size()) {
    return damaged;
  }
  if (const auto version = load_le<uint32_t>(&bytes[8]); version != kRunFileVersion) {
    return Error{Errc::Unsupported, "run file of version " + std::to_string(version)};
  }
  RunFileHead head;
  head.number = load_le<uint64_t>(&bytes[16]);
  head.salt = load_le<uint64_t>(&bytes[24]);
  head.index_offset = load_le<uint64_t>(&bytes[32]);
  const auto wrapped = load_le<uint32_t>(&bytes[40]);
  if (wrapped > end - kRunHeadFixedBytes) return damaged;
  head.wrapped_key = bytes.substr(kRunHeadFixedBytes, wrapped);
  return head;
}

// The longest common beginning, 255 at most so that little bytes never unfold to much text.
size_t shared_prefix(std::string_view a, std::string_view b) {
  const size_t limit = std::min({a.size(), b.size(), size_t{255}});
  size_t count = 0;
  while (count < limit && a[count] == b[count])
    ++count;
  return count;
}

constexpr uint32_t kFooterDense = 1;
constexpr uint32_t kFooterBlocks = 2;

uint32_t subject_width(size_t names) {
  if (names <= 1) return 0;
  if (names <= 1U << 8) return 1;
  if (names <= 1U << 16) return 2;
  return names <= 1U << 24 ? 3 : 4;
}

// What the fixed part of a footer says beside what goes to RunInfo.
struct FooterCounts {
  uint32_t flags = 0;
  uint32_t names = 0;
  uint32_t expiries = 0;
  uint32_t ids = 0;
  uint32_t blocks = 0;
  uint32_t account_bytes = 0;
  uint32_t name_bytes = 0;
  uint32_t config_bytes = 0;
  uint64_t text_bytes = 0;
};

void append_run_info(const RunInfo& info, std::string& out) {
  append_int(info.offset, out);
  append_int(info.footer_offset, out);
  append_int(info.footer_bytes, out);
  append_int(info.count, out);
  append_int(info.first_seq, out);
  append_int(info.last_seq, out);
  append_int(info.bytes, out);
  append_int(info.first_ts, out);
  append_int(info.last_ts, out);
  append_int(info.min_expires_at, out);
}
constexpr size_t kInfoBytes = 72;

void take_run_info(ByteReader& reader, RunInfo& info) {
  info.offset = reader.take<uint64_t>();
  info.footer_offset = reader.take<uint64_t>();
  info.footer_bytes = reader.take<uint32_t>();
  info.count = reader.take<uint32_t>();
  info.first_seq = reader.take<uint64_t>();
  info.last_seq = reader.take<uint64_t>();
  info.bytes = reader.take<uint64_t>();
  info.first_ts = reader.take<int64_t>();
  info.last_ts = reader.take<int64_t>();
  info.min_expires_at = reader.take<uint64_t>();
}

Error bad_footer(const char* what) {
  return Error{Errc::Corrupt, std::string("footer: ") + what};
}

Status take_seqs(ByteReader& reader, RunIndex& index) {
  const RunInfo& info = index.info;
  index.seqs.resize(info.count);
  uint64_t seq = info.first_seq;
  for (uint32_t i = 0; i < info.count; ++i) {
    if (i > 0) {
      const uint64_t gap = reader.varint();
      if (gap >= info.last_seq - seq) return bad_footer("sequences");
      seq += gap + 1;
    }
    index.seqs[i] = seq;
  }
  return seq == info.last_seq ? Status() : bad_footer("sequences");
}

Status take_bare_positions(ByteReader& reader, RunIndex& index) {
  const RunInfo& info = index.info;
  index.positions.resize(info.count);
  uint64_t offset = info.offset;
  for (uint64_t& position : index.positions) {
    const uint64_t step = reader.varint();
    if (step == 0 || step >= (info.footer_offset - offset) / 8) return bad_footer("positions");
    offset += step * 8;
    position = bare_position(offset, 0);
  }
  const std::string_view checks = reader.text(size_t{info.count} * 2);
  if (!reader.ok()) return bad_footer("cut");
  for (uint32_t i = 0; i < info.count; ++i)
    index.positions[i] |= load_le<uint16_t>(&checks[size_t{i} * 2]);
  return {};
}

Status take_block_positions(ByteReader& reader, RunIndex& index, uint32_t blocks) {
  const RunInfo& info = index.info;
  index.positions.resize(info.count);
  index.blocks.resize(blocks);
  uint64_t offset = info.offset;
  uint32_t ordinal = 0;
  for (uint32_t i = 0; i < blocks; ++i) {
    const uint64_t gap = reader.varint();
    const uint64_t size = reader.varint();
    const uint64_t count = reader.varint();
    const uint64_t room = (info.footer_offset - offset) / 8;
    if (gap > room || size > room - gap || size > UINT32_MAX / 8) return bad_footer("blocks");
    offset += gap * 8;
    index.blocks[i] = {offset, static_cast<uint32_t>(size * 8)};
    offset += size * 8;
    if (count > info.count - ordinal) return bad_footer("blocks");
    uint64_t place = 0;
    for (uint64_t k = 0; k < count; ++k) {
      if (k > 0) place += reader.varint() * 8;
      if (place > kRecordBytesMax * 2) return bad_footer("positions");
      index.positions[ordinal++] = block_position(i, place);
    }
  }
  return ordinal == info.count ? Status() : bad_footer("blocks");
}

template <size_t width>
uint32_t load_subjects(const char* from, uint32_t limit, std::vector<uint32_t>& out) {
  uint32_t largest = 0;
  for (uint32_t& subject : out) {
    uint32_t value = 0;
    std::memcpy(&value, from, width);
    from += width;
    largest = std::max(largest, value);
    subject = value;
  }
  return largest < limit ? 1 : 0;
}

Status take_subjects(ByteReader& reader, uint32_t names, RunIndex& index) {
  index.subjects.resize(index.info.count);
  const size_t width = subject_width(names);
  const std::string_view bytes = reader.text(width * index.info.count);
  if (!reader.ok()) return bad_footer("cut");
  bool fits = names > 0;
  switch (width) {
    case 0:
      break;
    case 1:
      fits = load_subjects<1>(bytes.data(), names, index.subjects) != 0;
      break;
    case 2:
      fits = load_subjects<2>(bytes.data(), names, index.subjects) != 0;
      break;
    case 3:
      fits = load_subjects<3>(bytes.data(), names, index.subjects) != 0;
      break;
    default:
      fits = load_subjects<4>(bytes.data(), names, index.subjects) != 0;
      break;
  }
  return fits ? Status() : bad_footer("subjects");
}

Status take_names(ByteReader& reader, const FooterCounts& counts, RunIndex& index) {
  const RunInfo& info = index.info;
  index.names.resize(counts.names);
  index.text.resize(counts.text_bytes);
  char* const text = index.text.data();
  size_t used = 0;
  std::string_view before;
  for (RunIndex::Subject& name : index.names) {
    const size_t shared = reader.take<uint8_t>();
    const uint64_t rest = reader.varint();
    const std::string_view suffix = reader.text(rest);
    name.count = static_cast<uint32_t>(reader.varint());
    name.first_seq = info.first_seq + reader.varint();
    name.last_seq = name.first_seq + reader.varint();
    const size_t size = shared + suffix.size();
    if (!reader.ok() || shared > before.size() || size > counts.text_bytes - used) {
      return bad_footer("subject dictionary");
    }
    if (shared > 0) std::memcpy(text + used, before.data(), shared);
    if (!suffix.empty()) std::memcpy(text + used + shared, suffix.data(), suffix.size());
    name.text = std::string_view(text + used, size);
    if (&name != index.names.data() && name.text <= before) return bad_footer("order of subjects");
    before = name.text;
    used += size;
  }
  return used == counts.text_bytes ? Status() : bad_footer("subject dictionary");
}

void take_expiries(ByteReader& reader, uint32_t count, RunIndex& index) {
  index.expiries.resize(count);
  uint64_t at = 0;
  for (RunIndex::Expiry& expiry : index.expiries) {
    at += reader.varint();
    expiry = {at, index.info.first_seq + reader.varint()};
  }
}

void take_ids(ByteReader& reader, uint32_t count, RunIndex& index) {
  index.ids.resize(count);
  uint64_t seq = index.info.first_seq;
  for (RunIndex::MessageId& id : index.ids) {
    id.hash[0] = reader.take<uint64_t>();
    id.hash[1] = reader.take<uint64_t>();
    seq += reader.varint();
    id.seq = seq;
  }
}

void append_positions(const RunIndex& index, std::string& out) {
  if (index.blocks.empty()) {
    uint64_t before = index.info.offset;
    for (const uint64_t position : index.positions) {
      append_varint((bare_offset(position) - before) / 8, out);
      before = bare_offset(position);
    }
    for (const uint64_t position : index.positions)
      append_int(static_cast<uint16_t>(position), out);
    return;
  }
  uint64_t end = index.info.offset;
  size_t ordinal = 0;
  for (size_t i = 0; i < index.blocks.size(); ++i) {
    const RunIndex::Block& block = index.blocks[i];
    append_varint((block.offset - end) / 8, out);
    append_varint(block.bytes / 8, out);
    end = block.offset + block.bytes;
    size_t last = ordinal;
    while (last < index.positions.size() && index.positions[last] >> 32 == i)
      ++last;
    append_varint(last - ordinal, out);
    for (size_t k = ordinal + 1; k < last; ++k) {
      append_varint((index.positions[k] - index.positions[k - 1]) / 8, out);
    }
    ordinal = last;
  }
}

void append_dictionary(const RunIndex& index, std::string& out) {
  std::string_view before;
  for (const RunIndex::Subject& name : index.names) {
    const size_t shared = shared_prefix(before, name.text);
    append_int(static_cast<uint8_t>(shared), out);
    append_varint(name.text.size() - shared, out);
    out.append(name.text.substr(shared));
    append_varint(name.count, out);
    append_varint(name.first_seq - index.info.first_seq, out);
    append_varint(name.last_seq - name.first_seq, out);
    before = name.text;
  }
}

// Whether so many things can be in the bytes at all; before memory is taken for them.
bool is_plausible(const FooterCounts& counts, const RunInfo& info, size_t bytes) {
  const uint64_t count = info.count;
  return info.last_seq >= info.first_seq && count <= info.last_seq - info.first_seq + 1 &&
         count > 0 && info.footer_offset >= info.offset && count * 2 <= bytes &&
         uint64_t{counts.names} * 5 <= bytes && uint64_t{counts.expiries} * 2 <= bytes &&
         uint64_t{counts.ids} * 17 <= bytes && uint64_t{counts.blocks} * 3 <= bytes &&
         counts.text_bytes <= bytes + uint64_t{counts.names} * 255;
}

}  // namespace

void append_run_file_head(const RunFileHead& head, std::string& out) {
  append_file_head(kRunHeadMagic, head, out);
}
void append_run_file_tail(const RunFileHead& head, std::string& out) {
  append_file_head(kRunTailMagic, head, out);
}

Result<RunFileHead> parse_run_file_head(std::string_view bytes, size_t& size) {
  if (bytes.size() < kRunHeadFixedBytes) return Error{Errc::Corrupt, "head cut off"};
  size = load_le<uint32_t>(&bytes[12]);
  if (size > bytes.size()) return Error{Errc::Corrupt, "head damaged"};
  return parse_file_head(kRunHeadMagic, bytes.substr(0, size));
}

Result<RunFileHead> parse_run_file_tail(std::string_view bytes, size_t& size) {
  if (bytes.size() < kRunHeadFixedBytes) return Error{Errc::Corrupt, "tail cut off"};
  size = load_le<uint32_t>(&bytes[bytes.size() - 12]);
  if (size > bytes.size()) return Error{Errc::Corrupt, "tail damaged"};
  return parse_file_head(kRunTailMagic, bytes.substr(bytes.size() - size));
}

std::string run_key_context(uint64_t number, uint64_t salt) {
  return "run " + std::to_string(number) + " " + std::to_string(salt);
}

void append_section(SectionKind kind, uint64_t salt, uint64_t offset, std::string_view plain,
                    Compression compression, const FileKey* key, std::string& out) {
  const size_t start = out.size();
  out.append(kSectionHeaderBytes, '\0');
  encode_block(plain, compression, key, salt ^ offset, out);
  const size_t payload = out.size() - start - kSectionHeaderBytes;
  CHECK(payload <= UINT32_MAX);
  pad_to_8(start, out);
  std::string header;
  append_int(static_cast<uint32_t>(kind), header);
  append_int(static_cast<uint32_t>(payload), header);
  append_int(salt, header);
  append_int(offset, header);
  append_int(uint32_t{0}, header);
  append_int(crc32c(header), header);
  std::memcpy(&out[start], header.data(), header.size());
}

std::optional<SectionHeader> parse_section_header(std::string_view bytes, uint64_t salt,
                                                  uint64_t offset) {
  if (bytes.size() < kSectionHeaderBytes) return std::nullopt;
  SectionHeader header;
  header.kind = static_cast<SectionKind>(load_le<uint32_t>(bytes.data()));
  switch (header.kind) {
    case SectionKind::RunHead:
    case SectionKind::Block:
    case SectionKind::Footer:
    case SectionKind::FileIndex:
      break;
    default:
      return std::nullopt;
  }
  header.payload_bytes = load_le<uint32_t>(&bytes[4]);
  if (load_le<uint64_t>(&bytes[8]) != salt || load_le<uint64_t>(&bytes[16]) != offset ||
      load_le<uint32_t>(&bytes[24]) != 0 ||
      load_le<uint32_t>(&bytes[28]) != crc32c(bytes.substr(0, 28))) {
    return std::nullopt;
  }
  return header;
}

Status decode_section(std::string_view section, uint64_t salt, uint64_t offset, const FileKey* key,
                      size_t plain_max, std::string& plain) {
  const auto header = parse_section_header(section, salt, offset);
  if (!header || header->total_bytes() > section.size()) {
    return Error{Errc::Corrupt, "section at " + std::to_string(offset) + " damaged"};
  }
  const size_t end = kSectionHeaderBytes + header->payload_bytes;
  if (section.substr(end, header->total_bytes() - end).find_first_not_of('\0') !=
      std::string_view::npos) {
    return Error{Errc::Corrupt, "section at " + std::to_string(offset) + ": bytes behind its end"};
  }
  return decode_block(section.substr(kSectionHeaderBytes, header->payload_bytes), key,
                      salt ^ offset, plain_max, plain);
}

uint16_t record_check(std::string_view record) {
  const uint32_t crc = crc32c(record.substr(0, kRecordHeaderBytes));
  return static_cast<uint16_t>(crc ^ crc >> 16);
}

void append_run_head(const RunHead& head, std::string& out) {
  append_int(head.stream, out);
  append_int(uint32_t{head.has_blocks}, out);
  append_int(static_cast<uint32_t>(head.account.size()), out);
  append_int(static_cast<uint32_t>(head.name.size()), out);
  out.append(head.account).append(head.name);
}

Result<RunHead> parse_run_head(std::string_view plain) {
  ByteReader reader(plain);
  RunHead head;
  head.stream = reader.take<uint32_t>();
  head.has_blocks = reader.take<uint32_t>() != 0;
  const auto account_bytes = reader.take<uint32_t>();
  const auto name_bytes = reader.take<uint32_t>();
  head.account = reader.text(account_bytes);
  head.name = reader.text(name_bytes);
  if (!reader.ok()) return Error{Errc::Corrupt, "run head cut off"};
  return head;
}

void append_footer(const RunIndex& index, std::string& out) {
  const bool is_dense = index.seqs.empty();
  append_int((is_dense ? kFooterDense : 0) | (index.blocks.empty() ? 0 : kFooterBlocks), out);
  append_int(index.owner.stream, out);
  append_run_info(index.info, out);
  append_int(index.min_ts, out);
  append_int(index.max_ts, out);
  for (const size_t count : {index.names.size(), index.expiries.size(), index.ids.size(),
                             index.blocks.size(), index.owner.account.size(),
                             index.owner.name.size(), index.owner.config.size(), size_t{0}}) {
    append_int(static_cast<uint32_t>(count), out);
  }
  uint64_t text_bytes = 0;
  for (const RunIndex::Subject& name : index.names)
    text_bytes += name.text.size();
  append_int(text_bytes, out);
  out.append(index.owner.account).append(index.owner.name).append(index.owner.config);
  for (size_t i = 1; i < index.seqs.size(); ++i)
    append_varint(index.seqs[i] - index.seqs[i - 1] - 1, out);
  append_positions(index, out);
  for (const uint32_t size : index.sizes)
    append_varint(size, out);
  const size_t width = subject_width(index.names.size());
  if (width > 0) {
    for (const uint32_t subject : index.subjects) {
      out.append(std::string_view(reinterpret_cast<const char*>(&subject), width));
    }
  }
  append_dictionary(index, out);
  uint64_t time = 0;
  for (const RunIndex::Expiry& expiry : index.expiries) {
    append_varint(expiry.expires_at - time, out);
    append_varint(expiry.seq - index.info.first_seq, out);
    time = expiry.expires_at;
  }
  uint64_t seq = index.info.first_seq;
  for (const RunIndex::MessageId& id : index.ids) {
    append_int(id.hash[0], out);
    append_int(id.hash[1], out);
    append_varint(id.seq - seq, out);
    seq = id.seq;
  }
}

Status parse_footer(std::string_view plain, RunIndex& index) {
  ByteReader reader(plain);
  FooterCounts counts;
  counts.flags = reader.take<uint32_t>();
  index.owner.stream = reader.take<uint32_t>();
  take_run_info(reader, index.info);
  index.min_ts = reader.take<int64_t>();
  index.max_ts = reader.take<int64_t>();
  for (uint32_t* count : {&counts.names, &counts.expiries, &counts.ids, &counts.blocks,
                          &counts.account_bytes, &counts.name_bytes, &counts.config_bytes}) {
    *count = reader.take<uint32_t>();
  }
  (void)reader.take<uint32_t>();
  counts.text_bytes = reader.take<uint64_t>();
  index.owner.account = reader.text(counts.account_bytes);
  index.owner.name = reader.text(counts.name_bytes);
  index.owner.config = reader.text(counts.config_bytes);
  if (!reader.ok() || !is_plausible(counts, index.info, plain.size())) return bad_footer("counts");
  index.seqs.clear();
  if ((counts.flags & kFooterDense) == 0) {
    if (const Status status = take_seqs(reader, index); !status) return status;
  } else if (index.info.last_seq - index.info.first_seq + 1 != index.info.count) {
    return bad_footer("sequences");
  }
  index.blocks.clear();
  const Status positions = (counts.flags & kFooterBlocks) == 0
                               ? take_bare_positions(reader, index)
                               : take_block_positions(reader, index, counts.blocks);
  if (!positions) return positions;
  index.sizes.resize(index.info.count);
  for (uint32_t& size : index.sizes)
    size = static_cast<uint32_t>(reader.varint());
  if (const Status status = take_subjects(reader, counts.names, index); !status) return status;
  if (const Status status = take_names(reader, counts, index); !status) return status;
  take_expiries(reader, counts.expiries, index);
  take_ids(reader, counts.ids, index);
  return reader.ok() && reader.left() == 0 ? Status() : bad_footer("length");
}

void append_file_index(const std::vector<FileIndexEntry>& entries, std::string& out) {
  append_int(static_cast<uint32_t>(entries.size()), out);
  for (const FileIndexEntry& entry : entries) {
    append_int(entry.stream, out);
    append_run_info(entry.info, out);
  }
}

Result<std::vector<FileIndexEntry>> parse_file_index(std::string_view plain, uint64_t file) {
  ByteReader reader(plain);
  const auto count = reader.take<uint32_t>();
  if (reader.left() != uint64_t{count} * (4 + kInfoBytes))
    return Error{Errc::Corrupt, "file index: length"};
  std::vector<FileIndexEntry> entries(count);
  for (FileIndexEntry& entry : entries) {
    entry.stream = reader.take<uint32_t>();
    take_run_info(reader, entry.info);
    entry.info.file = file;
  }
  return entries;
}

}  // namespace brokkr::store
