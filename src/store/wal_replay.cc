#include "store/wal_replay.h"

#include <algorithm>
#include <map>

#include "store/numbered_name.h"

namespace brokkr::store {
namespace {

constexpr size_t kReadChunk = 1 << 20;
constexpr size_t kReadPage = 4096;
constexpr size_t kNotesMax = 200;
constexpr Lsn kNoLimit = UINT64_MAX;

struct LogFile {
  WalFile file;
  uint64_t size = 0;
  std::shared_ptr<const FileKey> key;
  bool has_head = true;  // else the stamp was found from the frames
  Lsn limit = kNoLimit;  // the last lsn in it that counts
};

class Replayer {
 public:
  Replayer(Files& files, const Wal::Options& options, Lsn from, FunctionRef<void(const Frame&)> visit,
           Wal::Recovery& recovery)
      : files_(files), options_(options), from_(from), visit_(visit), recovery_(recovery) {}

  Result<WalReplay> run();

 private:
  Status find_files();
  Status find_file(const DirectoryEntry& entry, uint64_t number);
  Status open_keys();
  bool salvage_head(LogFile& it, std::string_view bytes);
  void choose_log();
  void drop_doubles();
  void set_limits();
  Status sync_files();
  void find_end();
  void replay_file(size_t index);
  void handle(LogFile& it, const FrameScanner::Found& found);
  void finish_file(size_t index, size_t end, std::string_view bytes);
  void lose(LogFile& it, Lsn first, Lsn end, std::string_view why);
  bool open_body(const LogFile& it, const FrameScanner::Found& found, std::string_view& body);
  void check_group(LogFile& it, const FrameHeader& header, std::string_view body);
  void deliver(const FrameHeader& header, std::string_view body);
  void hold(const FrameHeader& header, std::string_view body);
  void release_batch();
  void emit(Lsn lsn, FrameType type, uint32_t stream, std::string_view body);
  void note(std::string text) {
    if (recovery_.notes.size() < kNotesMax) recovery_.notes.push_back(std::move(text));
  }
  std::string read_damaged(LogFile& it, uint64_t bytes);

  struct Held {
    FrameHeader header;
    size_t offset = 0;
    size_t size = 0;
  };

  Files& files_;
  const Wal::Options& options_;
  const Lsn from_;
  FunctionRef<void(const Frame&)> visit_;
  Wal::Recovery& recovery_;
  WalReplay result_;
  std::vector<LogFile> logs_;
  Lsn expected_ = 0;        // the frame that comes next
  Lsn counted_ = 0;         // the last one that counts
  Lsn last_whole_ = 0;      // up to here every frame was there once
  bool is_stopped_ = false;  // the rest of the last group does not count
  // The group at hand, as far as it can be checked as a whole.
  uint32_t chain_ = 0;
  uint32_t chain_count_ = 0;
  bool is_chain_whole_ = false;
  // The batch at hand: nothing of it counts before its commit.
  Lsn batch_lsn_ = 0;
  bool has_batch_gap_ = false;
  std::vector<Held> held_;
  std::string held_bytes_;
  std::string plain_;
};

std::string quote_lsns(Lsn first, Lsn end) {
  return end - first == 1 ? "frame " + std::to_string(first)
                          : "frames " + std::to_string(first) + " to " + std::to_string(end - 1);
}

Result<WalReplay> Replayer::run() {
  if (Status found = find_files(); !found) return found.error();
  choose_log();
  drop_doubles();
  set_limits();
  if (Status opened = open_keys(); !opened) return opened.error();
  if (Status synced = sync_files(); !synced) return synced.error();
  find_end();
  for (size_t i = 0; i < logs_.size(); ++i) replay_file(i);
  // Frames of a batch that was not committed do not count, now or later.
  result_.previous_lsn = batch_lsn_ != 0 ? batch_lsn_ - 1 : counted_;
  if (batch_lsn_ != 0) {
    note("batch begun at frame " + std::to_string(batch_lsn_) + " was not committed: dropped");
    recovery_.torn_tail = true;
  }
  if (logs_.empty() && from_ > 1) note("no log file, frames from " + std::to_string(from_) + " on expected");
  if (from_ > 0) result_.previous_lsn = std::max(result_.previous_lsn, from_ - 1);
  result_.next_lsn = std::max({result_.next_lsn, result_.previous_lsn + 1, expected_});
  for (LogFile& it : logs_) result_.files.push_back(std::move(it.file));
  return std::move(result_);
}

Status Replayer::find_files() {
  Result<std::vector<DirectoryEntry>> entries = files_.list(options_.directory);
  if (!entries) return entries.error();
  for (const DirectoryEntry& entry : *entries) {
    if (entry.is_directory) continue;
    if (const uint64_t number = parse_numbered_name(entry.name, ".wal"); number != 0) {
      result_.next_number = std::max(result_.next_number, number + 1);
      if (Status found = find_file(entry, number); !found) return found;
    } else if (parse_numbered_name(entry.name, ".spare") != 0 ||
               parse_numbered_name(entry.name, ".wal.new") != 0) {
      result_.spares.push_back(entry.name);
    } else {
      note(entry.name + ": not a log file, left alone");
    }
  }
  return {};
}

Status Replayer::find_file(const DirectoryEntry& entry, uint64_t number) {
  LogFile it;
  it.file.name = entry.name;
  it.size = entry.size;
  auto opened = files_.open(options_.directory + "/" + entry.name, OpenMode::Read);
  if (!opened) return opened.error();
  const std::string bytes = read_damaged(it, std::min<uint64_t>(entry.size, kWalHeadBytes));
  const ParsedWalHead parsed = parse_wal_head(bytes);
  if (parsed.is_newer) {
    note(entry.name + ": written by a newer version, left alone");
    return {};
  }
  if (parsed.head) {
    it.file.head = *parsed.head;
    if (parsed.is_damaged) {
      note(entry.name + ": one copy of the head is damaged");
      it.file.is_damaged = true;
    }
  } else {
    it.file.head.number = number;
    if (!salvage_head(it, read_damaged(it, entry.size))) {
      note(entry.name + ": no head and no frames can be read, left alone");
      return {};
    }
    note(entry.name + ": the head is damaged, its frames were found without");
  }
  if (it.file.head.number != number) note(entry.name + ": was named " + wal_file_name(it.file.head.number));
  result_.next_number = std::max(result_.next_number, it.file.head.number + 1);
  logs_.push_back(std::move(it));
  return {};
}

Status Replayer::open_keys() {
  for (LogFile& it : logs_) {
    const WalHead& head = it.file.head;
    if (head.wrapped_key.empty()) continue;
    if (options_.keys == nullptr) {
      return Error{Errc::PermissionDenied, it.file.name + " is encrypted and no key is configured"};
    }
    auto key = options_.keys->open(wal_key_context(head), head.wrapped_key);
    if (!key) return Error{key.error().code, it.file.name + ": " + key.error().text};
    it.key = *key;
  }
  return {};
}

// Two frames in a row agree on the stamp only when it is the file's.
bool Replayer::salvage_head(LogFile& it, std::string_view bytes) {
  for (size_t at = 0; at + kFrameHeaderBytes <= bytes.size(); at += 8) {
    const std::optional<FrameStamp> stamp = guess_stamp(bytes.substr(at));
    if (!stamp) continue;
    const std::optional<FrameHeader> one = parse_frame_header(bytes.substr(at), *stamp);
    if (!one || one->frame_bytes() > bytes.size() - at) continue;
    const std::optional<FrameHeader> two =
        parse_frame_header(bytes.substr(at + one->frame_bytes()), *stamp);
    if (!two || two->lsn != one->lsn + 1 || (one->flags & kFrameEncrypted) != 0) continue;
    it.has_head = false;
    it.file.is_damaged = true;
    it.file.head.epoch = static_cast<uint64_t>(stamp->mask) << 32 | stamp->salt;
    it.file.head.first_lsn = one->lsn;
    it.file.head.previous_lsn = one->lsn - 1;
    it.file.head.file_bytes = bytes.size();
    return true;
  }
  return false;
}

// The log most files belong to; of two with as many, the one with the later file.
void Replayer::choose_log() {
  std::map<uint64_t, std::pair<size_t, uint64_t>> logs;
  for (const LogFile& it : logs_) {
    if (!it.has_head) continue;
    auto& [count, newest] = logs[it.file.head.log_id];
    ++count;
    newest = std::max(newest, it.file.head.number);
  }
  std::pair<size_t, uint64_t> best{};
  for (const auto& [id, weight] : logs) {
    if (weight < best) continue;
    best = weight;
    result_.log_id = id;
  }
  std::erase_if(logs_, [&](const LogFile& it) {
    if (!it.has_head || it.file.head.log_id == result_.log_id) return false;
    note(it.file.name + ": belongs to another log, left alone");
    return true;
  });
}

void Replayer::drop_doubles() {
  const auto is_named_right = [](const LogFile& it) {
    return it.file.name == wal_file_name(it.file.head.number);
  };
  std::sort(logs_.begin(), logs_.end(), [&](const LogFile& a, const LogFile& b) {
    if (a.file.head.number != b.file.head.number) return a.file.head.number < b.file.head.number;
    return is_named_right(a) && !is_named_right(b);
  });
  for (size_t i = 1; i < logs_.size();) {
    if (logs_[i].file.head.number != logs_[i - 1].file.head.number) {
      ++i;
      continue;
    }
    note(logs_[i].file.name + ": a second " + wal_file_name(logs_[i].file.head.number) + ", left alone");
    logs_.erase(logs_.begin() + static_cast<ptrdiff_t>(i));
  }
}

void Replayer::set_limits() {
  Lsn limit = kNoLimit;
  for (size_t i = logs_.size(); i > 0; --i) {
    WalFile& file = logs_[i - 1].file;
    logs_[i - 1].limit = limit;
    if (i < logs_.size()) file.end_lsn = logs_[i].file.head.first_lsn;
    // What a recovery gave up in a file may reach into those before.
    limit = std::min(limit, file.head.previous_lsn);
  }
}

// What is handed over below may be seen by others at once; after a killed process it may be in the
// kernel's memory only.
Status Replayer::sync_files() {
  if (logs_.empty()) return {};
  for (size_t i = 0; i < logs_.size(); ++i) {
    if (i + 1 < logs_.size() && logs_[i].file.head.synced_by_group) continue;
    auto file = files_.open(options_.directory + "/" + logs_[i].file.name, OpenMode::ReadWrite);
    if (!file) return file.error();
    if (Status synced = (*file)->sync(); !synced) return synced;
  }
  return files_.sync_directory(options_.directory);
}

// Finds the last group that was written whole, or at least has its end. A later file says itself up
// to where the earlier ones count.
void Replayer::find_end() {
  if (logs_.empty()) return;
  LogFile& it = logs_.back();
  last_whole_ = it.file.head.previous_lsn;
  const std::string bytes = read_damaged(it, it.size);
  FrameScanner scanner(bytes, frame_stamp(it.file.head.epoch), it.file.head.first_lsn, kNoLimit);
  while (const auto found = scanner.next()) {
    result_.next_lsn = found->header.lsn + 1;
    if (found->header.type == FrameType::GroupEnd && found->is_body_whole) last_whole_ = found->header.lsn;
  }
  it.file.end_lsn = std::max(result_.next_lsn, it.file.head.first_lsn);
}

void Replayer::replay_file(size_t index) {
  LogFile& it = logs_[index];
  const WalHead& head = it.file.head;
  const Lsn previous = std::min(head.previous_lsn, it.limit);
  if (expected_ == 0) {
    expected_ = std::min(std::max<Lsn>(from_, 1), previous + 1);
    counted_ = previous;
  }
  if (expected_ <= previous) lose(it, expected_, previous + 1, "missing before it");
  if (it.limit < head.first_lsn) return;
  // Groups do not reach over files.
  chain_ = chain_count_ = 0;
  is_chain_whole_ = it.has_head;
  expected_ = std::max(expected_, head.first_lsn);
  // Nothing in it is asked for.
  if (index + 1 < logs_.size() && it.limit < from_ && batch_lsn_ == 0) {
    expected_ = it.limit + 1;
    counted_ = it.limit;
    is_chain_whole_ = false;
    return;
  }
  const std::string bytes = read_damaged(it, it.size);
  FrameScanner scanner(bytes, frame_stamp(head.epoch), head.first_lsn, it.limit);
  uint64_t total = result_.bytes_up_to.empty() ? 0 : result_.bytes_up_to.back().second;
  size_t end = kWalHeadBytes;
  while (!is_stopped_) {
    const auto found = scanner.next();
    if (!found) break;
    handle(it, *found);
    total += found->header.frame_bytes();
    end = scanner.position();
    result_.bytes_up_to.emplace_back(found->header.lsn, total);
    if (result_.bytes_up_to.size() > 1 && total - result_.bytes_up_to[result_.bytes_up_to.size() - 2].second < 65536) {
      result_.bytes_up_to.erase(result_.bytes_up_to.end() - 2);
    }
  }
  finish_file(index, end, bytes);
}

void Replayer::finish_file(size_t index, size_t end, std::string_view bytes) {
  LogFile& it = logs_[index];
  if (index + 1 < logs_.size()) {
    const uint64_t next_number = logs_[index + 1].file.head.number;
    const bool is_next_there = next_number == it.file.head.number + 1;
    if (expected_ <= it.limit) {
      lose(it, expected_, it.limit + 1, is_next_there ? "cut off or damaged at its end" : "missing behind it");
    }
    return;
  }
  const size_t size = bytes.size();
  if (size < it.file.head.file_bytes) {
    note(it.file.name + ": " + std::to_string(size) + " bytes long, was " +
         std::to_string(it.file.head.file_bytes));
    recovery_.torn_tail = true;
  }
  // Frames behind the last end of a group, or the beginning of one behind the last frame.
  const bool has_rest = end + 8 <= size && load_le<uint32_t>(bytes.data() + end + 4) ==
                                               frame_stamp(it.file.head.epoch).salt;
  if (expected_ > last_whole_ + 1 || is_stopped_ || has_rest) recovery_.torn_tail = true;
}

void Replayer::handle(LogFile& it, const FrameScanner::Found& found) {
  const Lsn lsn = found.header.lsn;
  if (lsn < expected_) return;
  if (lsn > expected_) {
    if (expected_ > last_whole_) {
      is_stopped_ = true;
      return;
    }
    lose(it, expected_, lsn, "damaged before offset " + std::to_string(found.offset));
  }
  std::string_view body;
  bool is_whole = found.is_body_whole && open_body(it, found, body);
  bool is_readable = is_whole;
  if (is_whole && found.header.type == FrameType::Append) {
    const RecordDamage damage = parse_record(body).damage;
    is_whole = damage == RecordDamage::None;
    is_readable = is_whole || damage == RecordDamage::Content;
  }
  if (!is_whole && lsn > last_whole_) {
    is_stopped_ = true;
    return;
  }
  if (!is_whole) lose(it, lsn, lsn + 1, "damaged at offset " + std::to_string(found.offset));
  if (!found.is_padding_clean) note(it.file.name + ": bytes behind frame " + std::to_string(lsn) + " are not zero");
  expected_ = lsn + 1;
  counted_ = lsn;
  if (is_whole) check_group(it, found.header, body);
  if (is_readable) deliver(found.header, body);
}

// Frames that were there once and are not any more, or not whole.
void Replayer::lose(LogFile& it, Lsn first, Lsn end, std::string_view why) {
  it.file.is_damaged = true;
  is_chain_whole_ = false;
  has_batch_gap_ = true;
  counted_ = std::max(counted_, end - 1);
  expected_ = std::max(expected_, end);
  first = std::max(first, from_);
  if (first >= end) return;
  recovery_.damaged += end - first;
  note(it.file.name + ": " + quote_lsns(first, end) + " " + std::string(why));
}

bool Replayer::open_body(const LogFile& it, const FrameScanner::Found& found, std::string_view& body) {
  body = found.body;
  if ((found.header.flags & kFrameEncrypted) == 0) return true;
  if (!it.key) return false;
  plain_.clear();
  if (!decode_block(found.body, it.key.get(), found.header.lsn, UINT32_MAX, plain_)) return false;
  body = plain_;
  return true;
}

void Replayer::check_group(LogFile& it, const FrameHeader& header, std::string_view body) {
  if (header.type != FrameType::GroupEnd) {
    chain_ = chain_frame(chain_, header.raw_crc);
    ++chain_count_;
    return;
  }
  const std::optional<GroupEnd> end = parse_group_end(body);
  if (is_chain_whole_ && (!end || end->count != chain_count_ || end->chain != chain_)) {
    note(it.file.name + ": the group that ends with frame " + std::to_string(header.lsn) +
         " is not the one that was written");
    ++recovery_.damaged;
    it.file.is_damaged = true;
  }
  chain_ = 0;
  chain_count_ = 0;
  is_chain_whole_ = true;
}

void Replayer::deliver(const FrameHeader& header, std::string_view body) {
  switch (header.type) {
    case FrameType::BatchBegin:
      // Only damage can have taken the commit of the one before.
      if (batch_lsn_ != 0 && has_batch_gap_) release_batch();
      held_.clear();
      held_bytes_.clear();
      batch_lsn_ = header.lsn;
      has_batch_gap_ = false;
      return hold(header, body);
    case FrameType::BatchCommit:
      release_batch();
      return emit(header.lsn, header.type, header.stream, body);
    case FrameType::GroupEnd: {
      const std::optional<GroupEnd> end = parse_group_end(body);
      if (!end) return;
      if (batch_lsn_ != 0 && end->open_batch == 0) release_batch();
      body.remove_prefix(kGroupEndBytes);
      break;
    }
    default: break;
  }
  if (batch_lsn_ != 0) return hold(header, body);
  emit(header.lsn, header.type, header.stream, body);
}

void Replayer::hold(const FrameHeader& header, std::string_view body) {
  held_.push_back({header, held_bytes_.size(), body.size()});
  held_bytes_.append(body);
}

void Replayer::release_batch() {
  for (const Held& it : held_) {
    emit(it.header.lsn, it.header.type, it.header.stream,
         std::string_view(held_bytes_).substr(it.offset, it.size));
  }
  held_.clear();
  held_bytes_.clear();
  batch_lsn_ = 0;
}

void Replayer::emit(Lsn lsn, FrameType type, uint32_t stream, std::string_view body) {
  if (lsn < from_) return;
  ++recovery_.frames;
  visit_(Frame{lsn, type, stream, body});
}

// Pages that cannot be read are zeroes: what was in them is then found missing.
std::string Replayer::read_damaged(LogFile& it, uint64_t bytes) {
  std::string into(bytes, '\0');
  auto file = files_.open(options_.directory + "/" + it.file.name, OpenMode::Read);
  if (!file) {
    note(it.file.name + ": " + file.error().text);
    return {};
  }
  uint64_t unread = 0;
  for (uint64_t at = 0; at < bytes; at += kReadChunk) {
    const std::span<char> chunk(into.data() + at, std::min<uint64_t>(kReadChunk, bytes - at));
    if ((*file)->read_at(at, chunk)) continue;
    for (uint64_t page = 0; page < chunk.size(); page += kReadPage) {
      const std::span<char> part = chunk.subspan(page, std::min<uint64_t>(kReadPage, chunk.size() - page));
      if ((*file)->read_at(at + page, part)) continue;
      std::fill(part.begin(), part.end(), '\0');
      ++unread;
    }
  }
  if (unread > 0) {
    note(it.file.name + ": " + std::to_string(unread) + " pages cannot be read");
    it.file.is_damaged = true;
  }
  return into;
}

}  // namespace

Result<WalReplay> replay_wal(Files& files, const Wal::Options& options, Lsn from,
                             FunctionRef<void(const Frame&)> visit, Wal::Recovery& recovery) {
  return Replayer(files, options, from, visit, recovery).run();
}

}  // namespace brokkr::store
