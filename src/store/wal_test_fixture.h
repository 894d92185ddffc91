#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "store/record.h"
#include "store/testing/fault_files.h"
#include "store/wal.h"

namespace brokkr::store {

// A log on a disk in memory, and what replay said of it.
struct WalBed {
  struct Seen {
    Lsn lsn = 0;
    FrameType type{};
    uint32_t stream = 0;
    uint64_t seq = 0;  // of a record
    RecordDamage damage = RecordDamage::None;
    std::string body;  // of a record or a frame
  };

  explicit WalBed(std::unique_ptr<testing::FaultFiles> disk = std::make_unique<testing::FaultFiles>())
      : files(std::move(disk)) {
    options.directory = "d/wal";
    options.file_bytes = 64 << 10;
  }

  Status open(Lsn from = 1) {
    seen.clear();
    notes.clear();
    recovery = {};
    executor.clear();
    wal.reset();
    durable = 0;
    Wal::Events events;
    events.durable = [this](Lsn lsn) { durable = lsn; };
    events.closing_group = [this](std::string& note) { note = group_note; };
    events.failed = [this](const Error& error) { failures.push_back(error.text); };
    auto visit = [this](const Frame& frame) { remember(frame); };
    auto opened = Wal::open(*files, executor, options, from, visit, std::move(events), *log, recovery);
    if (!opened) return opened.error();
    wal = std::move(*opened);
    return {};
  }

  void remember(const Frame& frame) {
    Seen it{frame.lsn, frame.type, frame.stream, 0, RecordDamage::None, std::string(frame.body)};
    if (frame.type == FrameType::Append) {
      const ParsedRecord parsed = parse_record(frame.body);
      it.seq = parsed.record.seq;
      it.damage = parsed.damage;
      it.body = parsed.record.body;
    }
    if (frame.type == FrameType::GroupEnd) notes.push_back(it.body);
    if (frame.type != FrameType::GroupEnd) seen.push_back(std::move(it));
  }

  // A message whose body follows from its sequence.
  static std::string body_of(uint64_t seq, size_t bytes) {
    std::string body = "message " + std::to_string(seq) + " ";
    while (body.size() < bytes) body += static_cast<char>('a' + (seq + body.size()) % 26);
    body.resize(bytes);
    return body;
  }
  Lsn publish(uint64_t seq, size_t bytes = 40) {
    Record record;
    record.seq = seq;
    record.timestamp_ns = static_cast<int64_t>(seq) * 1000;
    record.subject = "orders.new";
    const std::string body = body_of(seq, bytes);
    record.body = body;
    char* at = nullptr;
    const Lsn lsn = wal->append(FrameType::Append, 7, record_bytes(record), at);
    encode_record(record, at);
    return lsn;
  }
  void commit() {
    wal->commit();
    executor.run_all();
  }
  // Each message in a group of its own.
  void publish_each(uint64_t first, uint64_t last, size_t bytes = 40) {
    for (uint64_t seq = first; seq <= last; ++seq) {
      publish(seq, bytes);
      commit();
    }
  }
  // Stops without a word; the disk stays as it is.
  void kill() {
    executor.clear();
    wal.reset();
    files->crash(0, testing::CrashKind::Process);
  }
  void lose_power(uint64_t seed) {
    executor.clear();
    wal.reset();
    files->crash(seed);
  }

  std::vector<uint64_t> seqs() const {
    std::vector<uint64_t> out;
    for (const Seen& it : seen) {
      if (it.type == FrameType::Append) out.push_back(it.seq);
    }
    return out;
  }
  static std::vector<uint64_t> range(uint64_t first, uint64_t last) {
    std::vector<uint64_t> out;
    for (uint64_t seq = first; seq <= last; ++seq) out.push_back(seq);
    return out;
  }
  std::vector<std::string> log_files() const {
    std::vector<std::string> out;
    for (const std::string& path : files->paths()) {
      if (path.ends_with(".wal")) out.push_back(path);
    }
    return out;
  }
  bool has_note(std::string_view part) const {
    for (const std::string& note : recovery.notes) {
      if (note.find(part) != std::string::npos) return true;
    }
    return false;
  }

  std::unique_ptr<testing::FaultFiles> files;
  testing::ManualExecutor executor;
  std::unique_ptr<Log> log = Log::discard();
  Wal::Options options;
  Wal::Recovery recovery;
  std::unique_ptr<Wal> wal;
  std::string group_note;
  Lsn durable = 0;
  std::vector<std::string> failures;
  std::vector<Seen> seen;
  std::vector<std::string> notes;
};

}  // namespace brokkr::store
