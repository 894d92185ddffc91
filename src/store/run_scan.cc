#include "store/run_scan.h"

#include <algorithm>
#include <utility>

namespace brokkr::store {
namespace {

constexpr size_t kScanBytes = 1 << 20;
// A record with subject and headers, or a block of one.
constexpr size_t kPieceBytesMax = kRecordBytesMax + (1 << 20);

// A piece of the file in memory that moves forward.
class ScanWindow {
 public:
  ScanWindow(const File& file, uint64_t end) : file_(file), end_(end) {}
  // Bytes from `offset` on: as many as asked for unless the end is near.
  Result<std::string_view> view(uint64_t offset, size_t bytes) {
    bytes = static_cast<size_t>(std::min<uint64_t>(bytes, end_ - offset));
    if (offset < start_ || offset + bytes > start_ + bytes_.size()) {
      start_ = offset;
      bytes_.resize(
          static_cast<size_t>(std::min<uint64_t>(std::max(bytes, kScanBytes), end_ - offset)));
      if (const Status status = fill(); !status) return status.error();
    }
    return std::string_view(bytes_).substr(static_cast<size_t>(offset - start_));
  }

 private:
  // What the disk refuses to read counts as zeroes, page by page, unless it refuses everything.
  Status fill() {
    Result<size_t> got = file_.read_at(start_, bytes_);
    if (got) {
      bytes_.resize(*got);
      return {};
    }
    bool has_read = false;
    for (size_t at = 0; at < bytes_.size(); at += kPageBytes) {
      const std::span<char> page(&bytes_[at], std::min(kPageBytes, bytes_.size() - at));
      const Result<size_t> read = file_.read_at(start_ + at, page);
      has_read = has_read || read;
      if (!read) std::fill(page.begin(), page.end(), '\0');
    }
    return has_read ? Status() : Status(got.error());
  }

  static constexpr size_t kPageBytes = 4096;
  const File& file_;
  const uint64_t end_;
  uint64_t start_ = 0;
  std::string bytes_;
};

RunPiece::Kind piece_kind(SectionKind kind) {
  switch (kind) {
    case SectionKind::RunHead:
      return RunPiece::Kind::Head;
    case SectionKind::Block:
      return RunPiece::Kind::Block;
    case SectionKind::Footer:
      return RunPiece::Kind::Footer;
    case SectionKind::FileIndex:
      break;
  }
  return RunPiece::Kind::Index;
}

class PieceReader {
 public:
  PieceReader(const RunScan& scan, uint64_t to) : scan_(scan), window_(scan.file, to) {}

  // What starts at `offset`; of kind Gap when nothing does.
  Result<RunPiece> read_piece(uint64_t offset) {
    RunPiece piece;
    piece.kind = RunPiece::Kind::Gap;
    piece.offset = offset;
    const Result<std::string_view> view = window_.view(offset, kSectionHeaderBytes);
    if (!view) return view.error();
    if (const auto section = parse_section_header(*view, scan_.head.salt, offset)) {
      return read_section(*section, piece);
    }
    return scan_.has_bare_records ? read_record(piece) : piece;
  }

 private:
  Result<RunPiece> read_section(const SectionHeader& section, RunPiece piece) {
    const Result<std::string_view> view = window_.view(piece.offset, section.total_bytes());
    if (!view) return view.error();
    if (view->size() < section.total_bytes()) return piece;
    const size_t plain_max =
        section.kind == SectionKind::Block ? kPieceBytesMax : section.payload_bytes;
    const Status status = decode_section(view->substr(0, section.total_bytes()), scan_.head.salt,
                                         piece.offset, scan_.key, plain_max, plain_);
    piece.bytes = section.total_bytes();
    if (status) {
      piece.kind = piece_kind(section.kind);
      piece.plain = plain_;
    }
    return piece;
  }

  Result<RunPiece> read_record(RunPiece piece) {
    // Most records are in the window whole; one that is not says so by being cut.
    for (size_t bytes = 4096;; bytes = bytes * 16) {
      const Result<std::string_view> view =
          window_.view(piece.offset, std::min(bytes, kPieceBytesMax));
      if (!view) return view.error();
      piece.record = parse_record(*view, scan_.check_content);
      if (piece.record.damage == RecordDamage::Cut && view->size() >= bytes &&
          bytes < kPieceBytesMax)
        continue;
      const bool is_record =
          piece.record.damage == RecordDamage::None || piece.record.damage == RecordDamage::Content;
      if (!is_record) return piece;
      piece.kind = RunPiece::Kind::Record;
      piece.bytes = piece.record.bytes;
      piece.stored = view->substr(0, piece.record.bytes);
      return piece;
    }
  }

  const RunScan& scan_;
  ScanWindow window_;
  std::string plain_;
};

}  // namespace

void RunGatherer::limit(const RunInfo& info) {
  first_seq_ = info.first_seq;
  last_seq_ = info.last_seq == 0 ? UINT64_MAX : info.last_seq;
}

void RunGatherer::take(const RunPiece& piece) {
  switch (piece.kind) {
    case RunPiece::Kind::Gap:
      gap_bytes_ += piece.bytes;
      break;
    case RunPiece::Kind::Head:
      if (auto head = parse_run_head(piece.plain)) {
        owner_ = {head->stream, std::move(head->account), std::move(head->name), {}};
      }
      break;
    case RunPiece::Kind::Record:
      // What a damaged message counts is known all the same.
      add(parse_record(piece.stored, false).record,
          bare_position(piece.offset, record_check(piece.stored)), bare_);
      break;
    case RunPiece::Kind::Block:
      take_block(piece);
      break;
    default:
      break;
  }
}

void RunGatherer::add(const Record& record, uint64_t position, RunBuilder& builder) {
  if (record.seq >= first_seq_ && record.seq <= last_seq_) builder.add(record, position);
}

void RunGatherer::take_block(const RunPiece& piece) {
  blocked_.add_block(piece.offset, static_cast<uint32_t>(piece.bytes));
  const size_t block = blocks_++;
  size_t at = 0;
  while (at < piece.plain.size()) {
    const ParsedRecord parsed = parse_record(piece.plain.substr(at), false);
    if (parsed.damage != RecordDamage::None) {
      gap_bytes_ += piece.plain.size() - at;
      return;
    }
    add(parsed.record, block_position(block, at), blocked_);
    at += parsed.bytes;
  }
}

std::unique_ptr<RunIndex> RunGatherer::finish() {
  auto index = (blocks_ > 0 ? blocked_ : bare_).finish();
  index->owner = std::move(owner_);
  return index;
}

Status RunScan::run(uint64_t from, uint64_t to, FunctionRef<void(const RunPiece&)> visit) const {
  PieceReader scanner(*this, to);
  RunPiece gap;
  gap.kind = RunPiece::Kind::Gap;
  uint64_t at = from;
  while (at < to) {
    const Result<RunPiece> piece = scanner.read_piece(at);
    if (!piece) return piece.error();
    if (piece->bytes == 0) {
      if (gap.bytes == 0) gap.offset = at;
      const uint64_t step = std::min<uint64_t>(8, to - at);
      gap.bytes += step;
      at += step;
      continue;
    }
    if (gap.bytes > 0) visit(gap);
    gap.bytes = 0;
    visit(*piece);
    at += piece->bytes;
  }
  if (gap.bytes > 0) visit(gap);
  return {};
}

namespace {

Result<std::string> read_part(const File& file, uint64_t offset, size_t bytes) {
  std::string out(bytes, '\0');
  const Result<size_t> got = file.read_at(offset, out);
  if (!got) return got.error();
  out.resize(*got);
  return out;
}

Status read_heads(RunFileAccess& access) {
  const auto near = static_cast<size_t>(std::min<uint64_t>(access.size, kRunFileHeadBytesMax));
  const Result<std::string> front = read_part(*access.file, 0, near);
  const Result<std::string> back = read_part(*access.file, access.size - near, near);
  if (!front && !back) return front.error();
  using Head = Result<RunFileHead>;
  const Head head = front ? parse_run_file_head(*front, access.head_bytes) : Head(front.error());
  const Head tail = back ? parse_run_file_tail(*back, access.tail_bytes) : Head(back.error());
  // Either will do. The tail also knows where the index is.
  if (!head && !tail) return head.error();
  access.is_head_whole = static_cast<bool>(head);
  access.is_tail_whole =
      tail && (!head || (tail->number == head->number && tail->salt == head->salt));
  access.head = access.is_tail_whole ? *tail : *head;
  if (!access.is_head_whole) access.head_bytes = access.tail_bytes;
  if (!access.is_tail_whole) access.tail_bytes = 0;
  return {};
}

}  // namespace

Result<RunFileAccess> open_run_file(Files& files, const std::string& path, uint64_t number,
                                    Keyring* keys) {
  const auto fail = [&](Errc code, const std::string& text) {
    return Error{code, path + ": " + text};
  };
  if (!files.exists(path)) return fail(Errc::NotFound, "no such file");
  auto opened = files.open(path, OpenMode::Read);
  if (!opened) return opened.error();
  RunFileAccess access;
  access.file = std::move(*opened);
  const Result<uint64_t> size = access.file->size();
  if (!size) return size.error();
  access.size = *size;
  if (const Status status = read_heads(access); !status) {
    if (status.error().code == Errc::System) return status.error();
    return fail(status.error().code, status.error().text);
  }
  if (access.head.number != number) {
    return fail(Errc::Corrupt,
                "is run file " + std::to_string(access.head.number) + " by what it says");
  }
  if (access.head.wrapped_key.empty()) return access;
  if (keys == nullptr) return fail(Errc::PermissionDenied, "encrypted, and no key is configured");
  auto key =
      keys->open(run_key_context(access.head.number, access.head.salt), access.head.wrapped_key);
  if (!key) return fail(key.error().code, key.error().text);
  access.key = std::move(*key);
  return access;
}

Result<std::unique_ptr<RunIndex>> rebuild_run_index(const RunScan& scan, const RunInfo& info,
                                                    uint64_t& gap_bytes) {
  RunGatherer gatherer;
  gatherer.limit(info);
  const Status status = scan.run(info.offset, info.footer_offset,
                                 [&](const RunPiece& piece) { gatherer.take(piece); });
  if (!status) return status.error();
  auto index = gatherer.finish();
  index->info.file = info.file;
  index->info.offset = info.offset;
  index->info.footer_offset = info.footer_offset;
  index->info.footer_bytes = info.footer_bytes;
  index->is_rebuilt = true;
  gap_bytes = gatherer.gap_bytes();
  return index;
}

}  // namespace brokkr::store
