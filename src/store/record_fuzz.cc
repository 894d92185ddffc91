// Goal: no bytes make the record reader read out of bounds or believe what it should not.
//
// Invariants:
//   - views lie inside the input; `bytes` is a multiple of 8 and not more than there is
//   - a record that parses is encoded again to the very same bytes
//   - skipping the content's checksum never changes what the header says
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "store/record.h"

namespace brokkr::store {
namespace {

void check_view(std::string_view view, std::string_view whole) {
  CHECK(view.empty() ||
        (view.data() >= whole.data() && view.data() + view.size() <= whole.data() + whole.size()));
}

void check_parsed(std::string_view bytes) {
  const ParsedRecord parsed = parse_record(bytes);
  const ParsedRecord quick = parse_record(bytes, false);
  if (parsed.damage == RecordDamage::None || parsed.damage == RecordDamage::Content) {
    CHECK(parsed.bytes % 8 == 0 && parsed.bytes <= bytes.size());
    CHECK(quick.damage == RecordDamage::None && quick.record.seq == parsed.record.seq);
    CHECK(quick.record.subject == parsed.record.subject);
    for (const auto view : {quick.record.subject, quick.record.headers, quick.record.body}) {
      check_view(view, bytes);
    }
  } else {
    CHECK(quick.damage == parsed.damage);
  }
  if (parsed.damage != RecordDamage::None) return;
  std::string again;
  append_record(parsed.record, again);
  CHECK(again == bytes.substr(0, parsed.bytes));
}

}  // namespace
}  // namespace brokkr::store

// With the first byte's lowest bit set the checksums of the input are put right first, so that the
// fuzzer gets behind them.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace brokkr::store;
  if (size == 0) return 0;
  std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if ((data[0] & 1) != 0 && bytes.size() >= kRecordHeaderBytes) {
    uint32_t subject_size = 0;
    __builtin_memcpy(&subject_size, bytes.data() + 40, 4);
    const size_t end = std::min<size_t>(bytes.size(), kRecordHeaderBytes + size_t{subject_size});
    const uint32_t crc = crc32c(std::string_view(bytes).substr(4, end - 4));
    __builtin_memcpy(bytes.data(), &crc, 4);
  }
  check_parsed(bytes);
  return 0;
}
