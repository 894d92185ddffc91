#include <algorithm>
#include <cstring>
#include <utility>

#include "store/run.h"
#include "store/run_format.h"
#include "store/run_scan.h"

namespace brokkr::store {
namespace {

// A block handed to the caller begins with whose bytes they are: the file's salt and their offset.
constexpr size_t kBlockHeadBytes = 16;
// The first read of a message takes little; who reads on gets more.
constexpr size_t kWindowBytesMin = 8 << 10;
constexpr size_t kWindowBytesMax = 128 << 10;
constexpr size_t kBlockPlainMax = kRecordBytesMax + (1 << 20);

using Block = std::shared_ptr<const std::string>;

class OpenRunFile final : public RunFile {
 public:
  OpenRunFile(Files& files, std::string path, RunFileAccess access)
      : files_(files), path_(std::move(path)), access_(std::move(access)) {}

  Result<std::unique_ptr<RunIndex>> load_index(const RunInfo& info, bool& damaged) override;
  Result<ReadRecord> read(const RunIndex& index, uint32_t ordinal, const Block& block) override;
  Status erase(const RunIndex& index, uint32_t ordinal) override;
  Result<std::vector<std::pair<RunOwner, RunInfo>>> list_runs() override;
  uint64_t size() const override { return size_; }

 private:
  // One run as found by searching.
  struct Span {
    uint64_t begin = 0;
    uint64_t end = 0;
    std::unique_ptr<RunIndex> footer;
  };

  RunScan scan() const { return access_.scan(false); }
  Result<std::string> read_bytes(uint64_t offset, uint64_t bytes) const;
  // Absent when damaged.
  std::unique_ptr<RunIndex> read_footer(const RunInfo& info) const;
  Result<std::vector<FileIndexEntry>> read_file_index() const;
  Result<std::vector<Span>> search() const;
  Result<std::vector<std::pair<RunOwner, RunInfo>>> list_by_search() const;

  bool covers(const Block& block, uint64_t offset, uint64_t end) const;
  size_t window_bytes(const Block& block, uint64_t offset, uint64_t limit) const;
  Result<ReadRecord> read_bare(const RunIndex& index, uint32_t ordinal, const Block& block) const;
  Result<ReadRecord> read_blocked(const RunIndex& index, uint32_t ordinal,
                                  const Block& block) const;
  Result<Block> load_block(const RunIndex::Block& place) const;

  Files& files_;
  const std::string path_;
  const RunFileAccess access_;
  const File* const file_ = access_.file.get();
  const RunFileHead& head_ = access_.head;
  const FileKey* const key_ = access_.key.get();
  const uint64_t number_ = access_.head.number;
  const uint64_t size_ = access_.size;
};

uint64_t block_offset(const std::string& block) {
  return load_le<uint64_t>(&block[8]);
}

std::shared_ptr<std::string> make_block(uint64_t salt, uint64_t offset, size_t bytes) {
  auto block = std::make_shared<std::string>();
  block->reserve(kBlockHeadBytes + bytes);
  append_int(salt, *block);
  append_int(offset, *block);
  return block;
}

ReadRecord unreadable(const RunIndex& index, uint32_t ordinal, RecordDamage damage) {
  ReadRecord out;
  out.damage = damage;
  out.record.seq = index.seq_at(ordinal);
  return out;
}

// What `bytes` say, provided they are the message the index means.
ReadRecord checked(const RunIndex& index, uint32_t ordinal, std::string_view bytes, Block block) {
  const ParsedRecord parsed = parse_record(bytes);
  const bool is_whole =
      parsed.damage == RecordDamage::None || parsed.damage == RecordDamage::Content;
  if (!is_whole) return unreadable(index, ordinal, parsed.damage);
  if (parsed.record.seq != index.seq_at(ordinal))
    return unreadable(index, ordinal, RecordDamage::Header);
  return {parsed.damage, parsed.record, std::move(block)};
}

Result<std::string> OpenRunFile::read_bytes(uint64_t offset, uint64_t bytes) const {
  std::string out;
  if (offset >= size_) return out;
  out.resize(static_cast<size_t>(std::min(bytes, size_ - offset)));
  const Result<size_t> got = file_->read_at(offset, out);
  if (!got) return got.error();
  out.resize(*got);
  return out;
}

std::unique_ptr<RunIndex> OpenRunFile::read_footer(const RunInfo& info) const {
  if (info.footer_bytes == 0) return nullptr;
  const Result<std::string> section = read_bytes(info.footer_offset, info.footer_bytes);
  if (!section) return nullptr;
  const auto header = parse_section_header(*section, head_.salt, info.footer_offset);
  if (!header || header->kind != SectionKind::Footer) return nullptr;
  std::string plain;
  if (!decode_section(*section, head_.salt, info.footer_offset, key_, section->size(), plain))
    return nullptr;
  auto index = std::make_unique<RunIndex>();
  if (!parse_footer(plain, *index)) return nullptr;
  if (index->info.offset != info.offset || index->info.footer_offset != info.footer_offset)
    return nullptr;
  index->info.file = number_;
  index->info.footer_bytes = info.footer_bytes;
  return index;
}

Result<std::unique_ptr<RunIndex>> OpenRunFile::load_index(const RunInfo& info, bool& damaged) {
  damaged = false;
  if (auto index = read_footer(info)) return index;
  RunInfo place = info;
  place.footer_offset = std::min(info.footer_offset, size_);
  uint64_t gap_bytes = 0;
  auto index = rebuild_run_index(scan(), place, gap_bytes);
  if (!index) return index.error();
  damaged = gap_bytes > 0 || ((*index)->info.count != info.count && info.count != 0);
  return index;
}

bool OpenRunFile::covers(const Block& block, uint64_t offset, uint64_t end) const {
  return block != nullptr && block->size() >= kBlockHeadBytes &&
         load_le<uint64_t>(block->data()) == head_.salt && block_offset(*block) <= offset &&
         end - block_offset(*block) <= block->size() - kBlockHeadBytes;
}

// How much to read at once at `offset`: more when the caller comes from just before it.
size_t OpenRunFile::window_bytes(const Block& block, uint64_t offset, uint64_t limit) const {
  size_t bytes = kWindowBytesMin;
  if (block != nullptr && block->size() >= kBlockHeadBytes &&
      load_le<uint64_t>(block->data()) == head_.salt) {
    const size_t before = block->size() - kBlockHeadBytes;
    const uint64_t end = block_offset(*block) + before;
    if (offset >= block_offset(*block) && offset <= end + before) {
      bytes = std::clamp(before * 4, kWindowBytesMin, kWindowBytesMax);
      file_->prefetch(offset + bytes, kWindowBytesMax);
    }
  }
  return static_cast<size_t>(std::min<uint64_t>(bytes, limit - offset));
}

Result<ReadRecord> OpenRunFile::read_bare(const RunIndex& index, uint32_t ordinal,
                                          const Block& block) const {
  const uint64_t position = index.positions[ordinal];
  const uint64_t offset = bare_offset(position);
  const uint64_t limit = std::min(index.info.footer_offset, size_);
  uint64_t end =
      ordinal + 1 < index.positions.size() ? bare_offset(index.positions[ordinal + 1]) : limit;
  end = std::min({end, limit, offset + kBlockPlainMax});
  if (offset >= end) return unreadable(index, ordinal, RecordDamage::Cut);
  Block bytes = block;
  if (!covers(block, offset, end)) {
    const size_t wanted =
        std::max(static_cast<size_t>(end - offset), window_bytes(block, offset, limit));
    auto fresh = make_block(head_.salt, offset, wanted);
    fresh->resize(kBlockHeadBytes + wanted);
    const Result<size_t> got =
        file_->read_at(offset, std::span<char>(&(*fresh)[kBlockHeadBytes], wanted));
    if (!got) return got.error();
    fresh->resize(kBlockHeadBytes + *got);
    bytes = std::move(fresh);
  }
  const auto at = static_cast<size_t>(offset - block_offset(*bytes)) + kBlockHeadBytes;
  const std::string_view record =
      std::string_view(*bytes).substr(at, static_cast<size_t>(end - offset));
  if (record.size() >= kRecordHeaderBytes &&
      record_check(record) != static_cast<uint16_t>(position)) {
    return unreadable(index, ordinal, RecordDamage::Header);
  }
  return checked(index, ordinal, record, std::move(bytes));
}

Result<Block> OpenRunFile::load_block(const RunIndex::Block& place) const {
  const Result<std::string> section = read_bytes(place.offset, place.bytes);
  if (!section) return section.error();
  std::string plain;
  const Status status =
      decode_section(*section, head_.salt, place.offset, key_, kBlockPlainMax, plain);
  if (!status) return Block();
  auto block = make_block(head_.salt, place.offset, plain.size());
  block->append(plain);
  return Block(std::move(block));
}

Result<ReadRecord> OpenRunFile::read_blocked(const RunIndex& index, uint32_t ordinal,
                                             const Block& block) const {
  const uint64_t position = index.positions[ordinal];
  const size_t number = position >> 32;
  if (number >= index.blocks.size()) return unreadable(index, ordinal, RecordDamage::Header);
  const RunIndex::Block& place = index.blocks[number];
  Block bytes = block;
  if (!covers(block, place.offset, place.offset) || block_offset(*block) != place.offset) {
    Result<Block> loaded = load_block(place);
    if (!loaded) return loaded.error();
    if (*loaded == nullptr) return unreadable(index, ordinal, RecordDamage::Header);
    bytes = std::move(*loaded);
    if (number + 1 < index.blocks.size() && block != nullptr) {
      file_->prefetch(index.blocks[number + 1].offset, kWindowBytesMax);
    }
  }
  const size_t at = kBlockHeadBytes + static_cast<uint32_t>(position);
  if (at >= bytes->size()) return unreadable(index, ordinal, RecordDamage::Cut);
  return checked(index, ordinal, std::string_view(*bytes).substr(at), bytes);
}

Result<ReadRecord> OpenRunFile::read(const RunIndex& index, uint32_t ordinal, const Block& block) {
  return index.blocks.empty() ? read_bare(index, ordinal, block)
                              : read_blocked(index, ordinal, block);
}

Status OpenRunFile::erase(const RunIndex& index, uint32_t ordinal) {
  if (!index.blocks.empty())
    return Error{Errc::Unsupported, path_ + ": blocks cannot be changed in place"};
  const Result<ReadRecord> old = read_bare(index, ordinal, nullptr);
  if (!old) return old.error();
  const bool is_whole = old->damage == RecordDamage::None;
  if (!is_whole)
    return Error{Errc::Corrupt,
                 path_ + ": message " + std::to_string(old->record.seq) + " damaged"};
  const std::string zeroes(old->record.headers.size() + old->record.body.size(), '\0');
  Record blank = old->record;
  blank.headers = {};
  blank.body = zeroes;
  std::string bytes;
  append_record(blank, bytes);
  auto file = files_.open(path_, OpenMode::ReadWrite);
  if (!file) return file.error();
  if (Status status = (*file)->write_at(bare_offset(index.positions[ordinal]), bytes); !status)
    return status;
  return (*file)->sync();
}

Result<std::vector<FileIndexEntry>> OpenRunFile::read_file_index() const {
  const Error absent{Errc::Corrupt, "no file index"};
  if (head_.index_offset == 0 || head_.index_offset >= size_) return absent;
  const Result<std::string> section = read_bytes(head_.index_offset, size_ - head_.index_offset);
  if (!section) return section.error();
  const auto header = parse_section_header(*section, head_.salt, head_.index_offset);
  if (!header || header->kind != SectionKind::FileIndex) return absent;
  std::string plain;
  const Status status =
      decode_section(*section, head_.salt, head_.index_offset, key_, section->size(), plain);
  if (!status) return status.error();
  return parse_file_index(plain, number_);
}

// Where runs begin and end, by their heads and footers.
Result<std::vector<OpenRunFile::Span>> OpenRunFile::search() const {
  std::vector<Span> spans;
  bool is_open = false;
  const auto visit = [&](const RunPiece& piece) {
    const bool is_message =
        piece.kind == RunPiece::Kind::Record || piece.kind == RunPiece::Kind::Block;
    if (piece.kind == RunPiece::Kind::Head || (is_message && !is_open)) {
      if (is_open) spans.back().end = piece.offset;
      spans.push_back({piece.offset, size_, nullptr});
      is_open = true;
    } else if (piece.kind == RunPiece::Kind::Footer) {
      auto footer = std::make_unique<RunIndex>();
      const bool is_good = static_cast<bool>(parse_footer(piece.plain, *footer));
      if (is_good && !is_open) spans.push_back({footer->info.offset, piece.offset, nullptr});
      if (is_open || is_good) {
        spans.back().end = piece.offset;
        if (is_good) {
          footer->info.file = number_;
          footer->info.footer_bytes = static_cast<uint32_t>(piece.bytes);
          spans.back().footer = std::move(footer);
        }
      }
      is_open = false;
    } else if (piece.kind == RunPiece::Kind::Index) {
      if (is_open) spans.back().end = piece.offset;
      is_open = false;
    }
  };
  const Status status = scan().run(access_.head_bytes, size_, visit);
  if (!status) return status.error();
  return spans;
}

Result<std::vector<std::pair<RunOwner, RunInfo>>> OpenRunFile::list_by_search() const {
  Result<std::vector<Span>> spans = search();
  if (!spans) return spans.error();
  std::vector<std::pair<RunOwner, RunInfo>> out;
  for (Span& span : *spans) {
    if (span.footer != nullptr) {
      out.emplace_back(std::move(span.footer->owner), span.footer->info);
      continue;
    }
    RunInfo info;
    info.file = number_;
    info.offset = span.begin;
    info.footer_offset = span.end;
    uint64_t gap_bytes = 0;
    const auto index = rebuild_run_index(scan(), info, gap_bytes);
    if (!index) return index.error();
    if ((*index)->info.count > 0) out.emplace_back(std::move((*index)->owner), (*index)->info);
  }
  return out;
}

Result<std::vector<std::pair<RunOwner, RunInfo>>> OpenRunFile::list_runs() {
  const auto entries = read_file_index();
  if (!entries) return list_by_search();
  std::vector<std::pair<RunOwner, RunInfo>> out;
  for (const FileIndexEntry& entry : *entries) {
    if (auto footer = read_footer(entry.info)) {
      out.emplace_back(std::move(footer->owner), entry.info);
      continue;
    }
    RunOwner owner;
    owner.stream = entry.stream;
    const auto take_head = [&](const RunPiece& piece) {
      if (piece.kind != RunPiece::Kind::Head) return;
      if (auto head = parse_run_head(piece.plain)) {
        owner = {head->stream, std::move(head->account), std::move(head->name), {}};
      }
    };
    const uint64_t end = std::min<uint64_t>(size_, entry.info.offset + kRunFileHeadBytesMax);
    if (const Status status = scan().run(entry.info.offset, end, take_head); !status)
      return status.error();
    out.emplace_back(std::move(owner), entry.info);
  }
  return out;
}

}  // namespace

Result<std::shared_ptr<RunFile>> RunFile::open(Files& files, const std::string& directory,
                                               uint64_t file, Keyring* keys) {
  const std::string path = directory + "/" + run_file_name(file);
  auto access = open_run_file(files, path, file, keys);
  if (!access) return access.error();
  return std::shared_ptr<RunFile>(std::make_shared<OpenRunFile>(files, path, std::move(*access)));
}

}  // namespace brokkr::store
