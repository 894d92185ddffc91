// Goal: no bytes make the readers of run files read out of bounds, take memory without bound, or
// stand still.
//
// The first byte chooses: a footer's plain bytes (checksums would hide them from the fuzzer), the
// other sections' plain bytes, a stored block, or a whole file.
// Invariants:
//   - what parses is written and parsed again to the same
//   - subjects are ascending and every message's is one of them; sequences ascend
//   - every message of every run found can be asked for
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "store/run_format.h"
#include "store/run_verify.h"
#include "store/test_files.h"

namespace brokkr::store {
namespace {

void check_footer(std::string_view bytes) {
  RunIndex index;
  if (!parse_footer(bytes, index)) return;
  CHECK(index.positions.size() == index.info.count && index.sizes.size() == index.info.count);
  for (const uint32_t subject : index.subjects)
    CHECK(subject < index.names.size());
  for (size_t i = 1; i < index.names.size(); ++i)
    CHECK(index.names[i - 1].text < index.names[i].text);
  for (uint32_t i = 1; i < index.info.count; ++i)
    CHECK(index.seq_at(i - 1) < index.seq_at(i));
  CHECK(index.seq_at(index.info.count - 1) == index.info.last_seq);
  std::string again;
  append_footer(index, again);
  RunIndex same;
  CHECK(parse_footer(again, same));
  CHECK(same.positions == index.positions && same.subjects == index.subjects &&
        same.text == index.text);
  CHECK(same.seqs == index.seqs && same.sizes == index.sizes &&
        same.ids.size() == index.ids.size());
}

void check_file(std::string_view bytes) {
  TestFiles files;
  files.files["d/" + run_file_name(7)] = std::make_shared<std::string>(bytes);
  const auto file = RunFile::open(files, "d", 7, nullptr);
  if (!file) return;
  const auto runs = (*file)->list_runs();
  CHECK(runs);
  for (const auto& [owner, info] : *runs) {
    bool damaged = false;
    const auto index = (*file)->load_index(info, damaged);
    CHECK(index);
    std::shared_ptr<const std::string> block;
    for (uint32_t i = 0; i < (*index)->info.count; ++i) {
      const auto got = (*file)->read(**index, i, block);
      CHECK(got);
      block = got->block;
    }
  }
  CHECK(verify_run_file(files, "d", 7, nullptr));
}

}  // namespace
}  // namespace brokkr::store

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace brokkr::store;
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      check_footer(bytes);
      break;
    case 1:
      (void)parse_file_index(bytes, 7);
      (void)parse_run_head(bytes);
      break;
    case 2: {
      std::string plain;
      if (decode_block(bytes, nullptr, 0, 1 << 20, plain)) CHECK(plain.size() <= 1 << 20);
      (void)peek_block(bytes, 0);
      break;
    }
    default:
      check_file(bytes);
      break;
  }
  return 0;
}
