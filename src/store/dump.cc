// Files of a store as lines of text.
#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/bytes.h"
#include "base/clock.h"
#include "store/catalog.h"
#include "store/inspect.h"
#include "store/numbered_name.h"
#include "store/run_scan.h"
#include "store/wal_replay.h"

namespace brokkr::store {
namespace {

std::string timestamp(int64_t ns) {
  return format_rfc3339(WallTime(Duration(ns)));
}

// A subject or name on one line, whatever it holds.
std::string quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (static_cast<uint8_t>(c) >= 0x20 && c != 0x7f) {
      out.push_back(c);
    } else {
      out.append("\\x").append(hex_encode(std::string_view(&c, 1)));
    }
  }
  return out + "'";
}

std::string describe(const Record& record) {
  std::string out = "seq " + std::to_string(record.seq) + " " + timestamp(record.timestamp_ns) +
                    " " + quoted(record.subject) + " headers " +
                    std::to_string(record.headers.size()) + " body " +
                    std::to_string(record.body.size());
  if (record.expires_at == kNeverExpires) out += " never expires";
  if (record.expires_at != 0 && record.expires_at != kNeverExpires) {
    out += " expires " + timestamp(static_cast<int64_t>(record.expires_at) * 1'000'000'000);
  }
  return out;
}

std::string describe(const RunInfo& info) {
  return std::to_string(info.count) + " messages, seq " + std::to_string(info.first_seq) + " to " +
         std::to_string(info.last_seq) + ", " + std::to_string(info.bytes) + " bytes, at " +
         std::to_string(info.offset) + " footer at " + std::to_string(info.footer_offset);
}

void dump_piece(const RunPiece& piece, LineSink out) {
  const std::string at = std::to_string(piece.offset) + ": ";
  switch (piece.kind) {
    case RunPiece::Kind::Head:
      if (const auto head = parse_run_head(piece.plain)) {
        out(at + "run of stream " + std::to_string(head->stream) + " " + quoted(head->name) +
            " in account " + quoted(head->account) + (head->has_blocks ? ", in blocks" : ""));
      }
      break;
    case RunPiece::Kind::Record:
      out(at + describe(piece.record.record) +
          (piece.record.damage == RecordDamage::Content ? " DAMAGED content" : ""));
      break;
    case RunPiece::Kind::Block:
      out(at + "block of " + std::to_string(piece.plain.size()) + " bytes in " +
          std::to_string(piece.bytes));
      for (size_t place = 0; place < piece.plain.size();) {
        const ParsedRecord parsed = parse_record(piece.plain.substr(place));
        if (parsed.bytes == 0) break;
        out("  " + describe(parsed.record) +
            (parsed.damage == RecordDamage::Content ? " DAMAGED content" : ""));
        place += parsed.bytes;
      }
      break;
    case RunPiece::Kind::Footer: {
      RunIndex index;
      if (const Status status = parse_footer(piece.plain, index); !status)
        return out(at + status.error().text);
      out(at + "footer: " + describe(index.info) + ", " + std::to_string(index.names.size()) +
          " subjects, " + std::to_string(index.expiries.size()) + " expiring, " +
          std::to_string(index.ids.size()) + " ids");
      break;
    }
    case RunPiece::Kind::Index:
      out(at + "index of the file");
      break;
    case RunPiece::Kind::Gap:
      out(at + std::to_string(piece.bytes) + " bytes DAMAGED");
      break;
  }
}

Status dump_run_file(Files& files, const std::string& path, uint64_t number, Keyring* keys,
                     LineSink out) {
  const auto access = open_run_file(files, path, number, keys);
  if (!access) return access.error();
  out("run file " + std::to_string(number) + ", " + std::to_string(access->size) + " bytes" +
      (access->key != nullptr ? ", encrypted" : "") +
      (access->is_head_whole ? "" : ", head DAMAGED") +
      (access->is_tail_whole ? "" : ", tail DAMAGED or missing"));
  return access->scan(true).run(access->head_bytes, access->size - access->tail_bytes,
                                [&](const RunPiece& piece) { dump_piece(piece, out); });
}

Status dump_catalog(Files& files, const std::string& path, uint64_t number, Keyring* keys,
                    LineSink out) {
  auto bytes = read_file(files, path);
  if (!bytes) return bytes.error();
  CatalogImage image;
  std::vector<std::string> damage;
  const Status status = parse_catalog(std::make_shared<const std::string>(std::move(*bytes)),
                                      number, keys, image, &damage);
  if (!status && damage.empty()) return status;
  out("catalog " + std::to_string(number) + ", store " + hex_encode(image.store_id) +
      ", log up to " + std::to_string(image.lsn) + ", next stream " +
      std::to_string(image.next_stream) + ", next run file " + std::to_string(image.next_run_file));
  for (const CatalogEntry& it : image.streams) {
    out("stream " + std::to_string(it.stream) + ": " + std::to_string(it.bytes.size()) + " bytes");
  }
  for (const CatalogEntry& it : image.consumers) {
    out("consumer " + std::to_string(it.id) + " of stream " + std::to_string(it.stream) + ": " +
        std::to_string(it.bytes.size()) + " bytes");
  }
  for (const std::string& place : damage)
    out("DAMAGED " + place);
  return {};
}

const char* frame_name(FrameType type) {
  switch (type) {
    case FrameType::Append:
      return "append";
    case FrameType::Remove:
      return "remove";
    case FrameType::Purge:
      return "purge";
    case FrameType::Skip:
      return "skip";
    case FrameType::StreamPut:
      return "stream put";
    case FrameType::StreamDelete:
      return "stream delete";
    case FrameType::ConsumerPut:
      return "consumer put";
    case FrameType::ConsumerDelete:
      return "consumer delete";
    case FrameType::ConsumerDelta:
      return "consumer delta";
    case FrameType::BatchBegin:
      return "batch begin";
    case FrameType::BatchCommit:
      return "batch commit";
    case FrameType::Lost:
      return "lost";
    case FrameType::GroupEnd:
      return "group end";
  }
  return "unknown";
}

void dump_frame(const FrameScanner::Found& found, const FileKey* key, LineSink out) {
  std::string line = std::to_string(found.offset) + ": frame " + std::to_string(found.header.lsn) +
                     " " + frame_name(found.header.type) + " stream " +
                     std::to_string(found.header.stream) + " " +
                     std::to_string(found.header.body_bytes) + " bytes";
  std::string plain;
  std::string_view body = found.body;
  bool is_whole = found.is_body_whole;
  if (is_whole && (found.header.flags & kFrameEncrypted) != 0) {
    is_whole = key != nullptr && decode_block(found.body, key, found.header.lsn, UINT32_MAX, plain);
    body = plain;
  }
  if (!is_whole) return out(line + " DAMAGED");
  if (found.header.type == FrameType::Append) {
    const ParsedRecord parsed = parse_record(body);
    if (parsed.bytes > 0) line += ", " + describe(parsed.record);
    if (parsed.damage != RecordDamage::None) line += " DAMAGED record";
  }
  out(line);
}

Status dump_wal(Files& files, const std::string& path, Keyring* keys, LineSink out) {
  const auto bytes = read_file(files, path);
  if (!bytes) return bytes.error();
  const ParsedWalHead parsed = parse_wal_head(*bytes);
  if (!parsed.head) return Error{Errc::Corrupt, path + ": the head is damaged"};
  const WalHead& head = *parsed.head;
  out("log file " + std::to_string(head.number) + ", frames from " +
      std::to_string(head.first_lsn) + (parsed.is_damaged ? ", one copy of the head DAMAGED" : ""));
  std::shared_ptr<const FileKey> key;
  if (!head.wrapped_key.empty()) {
    if (keys == nullptr)
      return Error{Errc::PermissionDenied, path + ": encrypted, and no key is configured"};
    auto opened = keys->open(wal_key_context(head), head.wrapped_key);
    if (!opened) return opened.error();
    key = std::move(*opened);
  }
  FrameScanner scanner(*bytes, frame_stamp(head.epoch), head.first_lsn, UINT64_MAX);
  size_t end = scanner.position();
  while (const auto found = scanner.next()) {
    if (found->offset > end)
      out(std::to_string(end) + ": " + std::to_string(found->offset - end) + " bytes DAMAGED");
    dump_frame(*found, key.get(), out);
    end = scanner.position();
  }
  return {};
}

}  // namespace

Status dump_file(Files& files, const std::string& path, Keyring* keys, LineSink out) {
  const std::string name =
      path.substr(path.rfind('/') == std::string::npos ? 0 : path.rfind('/') + 1);
  if (const uint64_t number = parse_run_file_name(name); number != 0) {
    return dump_run_file(files, path, number, keys, out);
  }
  if (const uint64_t number = parse_catalog_file_name(name); number != 0) {
    return dump_catalog(files, path, number, keys, out);
  }
  if (parse_numbered_name(name, ".wal") != 0) return dump_wal(files, path, keys, out);
  return Error{Errc::InvalidArgument,
               path + ": neither a run file, a catalog nor a file of the log"};
}

}  // namespace brokkr::store
