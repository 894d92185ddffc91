// Goal: no bytes in a log file make replay crash, read out of bounds, or hand over what was not
// written; and the log goes on behind them.
//
// The input is a list of changes to a small good log: eight bytes each say what, where and how much.
// Invariants:
//   - opening succeeds; numbers ascend; a record that parses is one that was written, unless a change
//     has put its checksums right again
//   - what is appended afterwards comes back at the next start, behind what was there
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "store/record.h"
#include "store/testing/fault_files.h"
#include "store/wal.h"
#include "store/wal_format.h"

namespace brokkr::store {
namespace {

constexpr uint64_t kFuzzFileBytes = 8192;

std::string fuzz_body(uint64_t seq) { return "body of message " + std::to_string(seq); }

struct FuzzLog {
  testing::FaultFiles& files;
  testing::ManualExecutor executor;
  std::unique_ptr<Log> log = Log::discard();
  std::unique_ptr<Wal> wal;
  Wal::Recovery recovery;
  std::vector<uint64_t> seqs;
  bool is_forged = false;

  void open() {
    Wal::Options options;
    options.directory = "d";
    options.file_bytes = kFuzzFileBytes;
    Lsn last = 0;
    const auto visit = [&](const Frame& frame) {
      CHECK(frame.lsn > last);
      last = frame.lsn;
      if (frame.type != FrameType::Append) return;
      const ParsedRecord parsed = parse_record(frame.body);
      if (parsed.damage != RecordDamage::None) return;
      seqs.push_back(parsed.record.seq);
      CHECK(is_forged || parsed.record.body == fuzz_body(parsed.record.seq));
    };
    auto opened = Wal::open(files, executor, options, 1, visit, {}, *log, recovery);
    CHECK(static_cast<bool>(opened));
    CHECK(recovery.last_lsn >= last);
    wal = std::move(*opened);
  }
  void append(uint64_t seq) {
    Record record;
    record.seq = seq;
    record.subject = "a.b";
    const std::string body = fuzz_body(seq);
    record.body = body;
    char* at = nullptr;
    wal->append(FrameType::Append, 1, record_bytes(record), at);
    encode_record(record, at);
    wal->commit();
    executor.run_all();
  }
};

std::unique_ptr<testing::FaultFiles> make_sample() {
  auto files = std::make_unique<testing::FaultFiles>();
  FuzzLog log{*files};
  log.open();
  for (uint64_t seq = 1; seq <= 30; ++seq) log.append(seq);
  log.wal->append(FrameType::BatchBegin, 1, {});
  log.append(31);
  log.wal->append(FrameType::BatchCommit, 1, {});
  log.append(32);
  return files;
}

// Puts the checksum of the frame header at `at` right for the file it is in.
void forge_frame(std::string& bytes, size_t at) {
  if (bytes.size() < kWalHeadBytes || at + kFrameHeaderBytes > bytes.size()) return;
  const ParsedWalHead head = parse_wal_head(bytes);
  if (!head.head) return;
  const FrameStamp stamp = frame_stamp(head.head->epoch);
  store_le(bytes.data() + at + 4, stamp.salt);
  store_le(bytes.data() + at, crc32c(std::string_view(bytes).substr(at + 8, kFrameHeaderBytes - 8)) ^ stamp.mask);
}

void change(std::string& bytes, const uint8_t* what, bool& is_forged) {
  const size_t at = (load_le<uint16_t>(reinterpret_cast<const char*>(what) + 1) * size_t{1}) % (bytes.size() + 1);
  const size_t size = std::min<size_t>(load_le<uint16_t>(reinterpret_cast<const char*>(what) + 3) % 600, bytes.size() - at);
  switch (what[0] % 7) {
    case 0:
      if (size > 0) bytes[at] = static_cast<char>(bytes[at] ^ (1 << (what[5] % 8)));
      break;
    case 1: std::memset(bytes.data() + at, what[5], size); break;
    case 2: bytes.resize(at); break;
    case 3: bytes.replace(at, size, bytes.substr((at * 3) % (bytes.size() + 1), size)); break;
    case 4: bytes.insert(at & ~size_t{7}, std::string(size & ~size_t{7}, static_cast<char>(what[5]))); break;
    case 5:
      is_forged = true;
      forge_frame(bytes, at & ~size_t{7});
      break;
    default: bytes.append(size, static_cast<char>(what[5])); break;
  }
}

}  // namespace
}  // namespace brokkr::store

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace brokkr::store;
  static const std::unique_ptr<testing::FaultFiles> sample = make_sample();
  if (size > 8 * 64) return 0;
  const auto files = sample->clone();
  bool is_forged = false;
  std::vector<std::string> paths;
  for (const std::string& path : files->paths()) {
    if (path.ends_with(".wal")) paths.push_back(path);
  }
  for (; size >= 8; data += 8, size -= 8) {
    const std::string& path = paths[data[7] % paths.size()];
    std::string bytes = files->get(path);
    change(bytes, data, is_forged);
    files->put(path, bytes);
  }
  FuzzLog first{*files};
  first.is_forged = is_forged;
  first.open();
  first.append(1000);
  CHECK(first.wal->durable() == first.wal->appended());
  const std::vector<uint64_t> before = first.seqs;
  first.wal.reset();
  FuzzLog second{*files};
  second.is_forged = is_forged;
  second.open();
  CHECK(!second.seqs.empty() && second.seqs.back() == 1000);
  CHECK(is_forged || std::vector<uint64_t>(second.seqs.begin(), second.seqs.end() - 1) == before);
  return 0;
}
