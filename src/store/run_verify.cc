#include "store/run_verify.h"

#include <algorithm>
#include <optional>
#include <set>

#include "store/run_scan.h"

namespace brokkr::store {
namespace {

// Of a message that was erased nothing is left but zeroes.
bool has_only_zeroes(const Record& record) {
  return record.headers.empty() && !record.body.empty() &&
         record.body.find_first_not_of('\0') == std::string_view::npos;
}

// Where a footer differs from what its messages say; null when nowhere. Message ids are not
// compared: a footer leaves out old ones. Messages in `zeroes` that are not what the footer was
// written for are erased ones, counted in `erased`.
const char* difference(const RunIndex& footer, const RunIndex& found,
                       const std::set<uint64_t>& zeroes, uint64_t& erased) {
  const RunInfo& a = footer.info;
  const RunInfo& b = found.info;
  if (a.count != b.count) return "number of messages";
  if (a.first_seq != b.first_seq || a.last_seq != b.last_seq || footer.seqs != found.seqs)
    return "sequences";
  for (uint32_t i = 0; i < a.count; ++i) {
    if (footer.positions[i] != found.positions[i] && zeroes.contains(found.seq_at(i)) &&
        bare_offset(footer.positions[i]) == bare_offset(found.positions[i])) {
      ++erased;
      continue;
    }
    if (footer.positions[i] != found.positions[i]) return "positions";
    if (footer.sizes[i] != found.sizes[i]) return "sizes";
  }
  if (footer.subjects != found.subjects || footer.text != found.text) return "subjects";
  for (size_t i = 0; i < footer.names.size(); ++i) {
    if (footer.names[i].count != found.names[i].count ||
        footer.names[i].first_seq != found.names[i].first_seq ||
        footer.names[i].last_seq != found.names[i].last_seq) {
      return "subject dictionary";
    }
  }
  const auto equal_expiry = [](const auto& x, const auto& y) {
    return x.expires_at == y.expires_at && x.seq == y.seq;
  };
  if (!std::equal(footer.expiries.begin(), footer.expiries.end(), found.expiries.begin(),
                  found.expiries.end(), equal_expiry)) {
    return "expiry times";
  }
  if (a.first_ts != b.first_ts || a.last_ts != b.last_ts || footer.min_ts != found.min_ts ||
      footer.max_ts != found.max_ts) {
    return "times";
  }
  if (erased == 0 && a.bytes != b.bytes) return "bytes";
  return nullptr;
}

class RunFileVerifier {
 public:
  explicit RunFileVerifier(const RunFileAccess& access) : access_(access) {}

  Status verify() {
    report.bytes = access_.size;
    if (!access_.is_head_whole) note(0, access_.head_bytes, 0, "head of the file damaged");
    const uint64_t end = access_.size - access_.tail_bytes;
    const Status status = access_.scan(true).run(access_.head_bytes, end,
                                                 [this](const RunPiece& piece) { take(piece); });
    if (!status) return status;
    close_run(end);
    if (!has_index_) note(end, 0, 0, "file index missing");
    if (!access_.is_tail_whole) note(end, 0, 0, "tail of the file damaged or missing");
    return {};
  }

  RunFileReport report;

 private:
  void note(uint64_t offset, uint64_t bytes, uint64_t seq, std::string text) {
    report.findings.push_back({offset, bytes, stream_, seq, std::move(text)});
  }

  void take(const RunPiece& piece) {
    switch (piece.kind) {
      case RunPiece::Kind::Head:
        open_run(piece);
        break;
      case RunPiece::Kind::Record:
        take_record(piece.record, piece);
        break;
      case RunPiece::Kind::Block:
        take_block(piece);
        break;
      case RunPiece::Kind::Footer:
        take_footer(piece);
        return;
      case RunPiece::Kind::Index:
        take_index(piece);
        return;
      case RunPiece::Kind::Gap:
        note(piece.offset, piece.bytes, 0, std::to_string(piece.bytes) + " bytes damaged");
        break;
    }
    if (gatherer_) gatherer_->take(piece);
  }

  void open_run(const RunPiece& piece) {
    close_run(piece.offset);
    gatherer_.emplace();
    if (const auto head = parse_run_head(piece.plain)) stream_ = head->stream;
  }

  void close_run(uint64_t offset) {
    if (gatherer_) note(offset, 0, 0, "run without a footer");
    gatherer_.reset();
    zeroes_.clear();
    stream_ = 0;
  }

  void take_record(const ParsedRecord& parsed, const RunPiece& piece) {
    if (!gatherer_) gatherer_.emplace();
    if (parsed.damage == RecordDamage::None) {
      ++report.messages;
      if (has_only_zeroes(parsed.record)) zeroes_.insert(parsed.record.seq);
      return;
    }
    note(piece.offset, piece.bytes, parsed.record.seq,
         "content of message " + std::to_string(parsed.record.seq) + " damaged");
  }

  void take_block(const RunPiece& piece) {
    if (!gatherer_) gatherer_.emplace();
    for (size_t at = 0; at < piece.plain.size();) {
      const ParsedRecord parsed = parse_record(piece.plain.substr(at));
      if (parsed.damage != RecordDamage::None && parsed.damage != RecordDamage::Content) {
        note(piece.offset, piece.bytes, 0, "block holds what is no message");
        return;
      }
      take_record(parsed, piece);
      at += parsed.bytes;
    }
  }

  void take_footer(const RunPiece& piece) {
    RunIndex footer;
    const Status status = parse_footer(piece.plain, footer);
    if (!status) {
      note(piece.offset, piece.bytes, 0, status.error().text);
    } else {
      footer.info.footer_bytes = static_cast<uint32_t>(piece.bytes);
      infos_.push_back({footer.owner.stream, footer.info});
      if (stream_ == 0) stream_ = footer.owner.stream;
      compare(footer, piece);
    }
    ++report.runs;
    gatherer_.reset();
    zeroes_.clear();
    stream_ = 0;
  }

  void compare(const RunIndex& footer, const RunPiece& piece) {
    if (!gatherer_) return note(piece.offset, piece.bytes, 0, "footer without a run");
    const auto found = gatherer_->finish();
    uint64_t erased = 0;
    const char* const what = difference(footer, *found, zeroes_, erased);
    report.erased += erased;
    // Messages that are not there have been noted by what took their place, unless nothing did.
    for (uint32_t i = 0; i < footer.info.count && what != nullptr; ++i) {
      const uint64_t seq = footer.seq_at(i);
      const uint32_t ordinal = found->lower_bound(seq);
      if (ordinal < found->info.count && found->seq_at(ordinal) == seq) continue;
      note(piece.offset, 0, seq, "message " + std::to_string(seq) + " is missing");
    }
    if (what != nullptr)
      note(piece.offset, piece.bytes, 0, std::string("footer differs from its messages: ") + what);
  }

  void take_index(const RunPiece& piece) {
    close_run(piece.offset);
    has_index_ = true;
    const auto entries = parse_file_index(piece.plain, access_.head.number);
    const auto same = [](const FileIndexEntry& a, const FileIndexEntry& b) {
      return a.stream == b.stream && a.info.offset == b.info.offset &&
             a.info.footer_offset == b.info.footer_offset &&
             a.info.footer_bytes == b.info.footer_bytes && a.info.count == b.info.count &&
             a.info.first_seq == b.info.first_seq && a.info.last_seq == b.info.last_seq &&
             a.info.bytes == b.info.bytes;
    };
    if (!entries ||
        !std::equal(entries->begin(), entries->end(), infos_.begin(), infos_.end(), same)) {
      note(piece.offset, piece.bytes, 0, "file index differs from its runs");
    }
  }

  const RunFileAccess& access_;
  uint32_t stream_ = 0;
  std::optional<RunGatherer> gatherer_;
  std::set<uint64_t> zeroes_;
  std::vector<FileIndexEntry> infos_;
  bool has_index_ = false;
};

}  // namespace

Result<RunFileReport> verify_run_file(Files& files, const std::string& directory, uint64_t file,
                                      Keyring* keys) {
  auto access = open_run_file(files, directory + "/" + run_file_name(file), file, keys);
  if (!access) return access.error();
  RunFileVerifier verifier(*access);
  if (const Status status = verifier.verify(); !status) return status.error();
  return std::move(verifier.report);
}

}  // namespace brokkr::store
