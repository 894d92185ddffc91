// What writing a run, loading its index and reading its messages costs.
#include <benchmark/benchmark.h>

#include "base/check.h"
#include "store/run.h"
#include "store/test_files.h"

namespace brokkr::store {
namespace {

constexpr uint32_t kMessages = 1'000'000;

RunInfo write_run(TestFiles& files, uint32_t subjects, Compression compression) {
  auto writer = std::move(*RunWriter::create(files, {"d", 1, nullptr, 0}));
  writer->begin_run({1, "A", "S", "config"}, compression);
  std::string record;
  for (uint32_t i = 0; i < kMessages; ++i) {
    record.clear();
    // Spread, so that neighbours differ.
    const uint32_t subject = static_cast<uint32_t>(uint64_t{i} * 2654435761U % subjects);
    const std::string name = "orders.region." + std::to_string(subject);
    append_record({i + 1, int64_t{i}, 0, name, {}, "0123456789abcdef0123456789abcdef"}, record);
    CHECK(writer->add(record));
  }
  const auto info = writer->end_run();
  CHECK(info && writer->finish());
  return *info;
}

void BM_WriteRun(benchmark::State& state) {
  for (auto _ : state) {
    TestFiles files;
    benchmark::DoNotOptimize(
        write_run(files, static_cast<uint32_t>(state.range(0)), Compression::None));
  }
  state.SetItemsProcessed(state.iterations() * kMessages);
}
BENCHMARK(BM_WriteRun)->Arg(1000)->Arg(kMessages)->Unit(benchmark::kMillisecond);

void BM_LoadIndex(benchmark::State& state) {
  TestFiles files;
  const RunInfo info = write_run(files, static_cast<uint32_t>(state.range(0)), Compression::None);
  const auto file = std::move(*RunFile::open(files, "d", 1, nullptr));
  bool damaged = false;
  for (auto _ : state)
    benchmark::DoNotOptimize(file->load_index(info, damaged));
  state.counters["footer_bytes_per_message"] = double(info.footer_bytes) / kMessages;
}
BENCHMARK(BM_LoadIndex)->Arg(1000)->Arg(kMessages)->Unit(benchmark::kMillisecond);

void BM_RebuildIndex(benchmark::State& state) {
  TestFiles files;
  RunInfo info = write_run(files, 1000, Compression::None);
  info.footer_bytes = 0;
  const auto file = std::move(*RunFile::open(files, "d", 1, nullptr));
  bool damaged = false;
  for (auto _ : state)
    benchmark::DoNotOptimize(file->load_index(info, damaged));
}
BENCHMARK(BM_RebuildIndex)->Unit(benchmark::kMillisecond);

void read_messages(benchmark::State& state, Compression compression, bool is_random) {
  TestFiles files;
  const RunInfo info = write_run(files, 1000, compression);
  const auto file = std::move(*RunFile::open(files, "d", 1, nullptr));
  bool damaged = false;
  const auto index = std::move(*file->load_index(info, damaged));
  std::shared_ptr<const std::string> block;
  uint64_t i = 0;
  for (auto _ : state) {
    const uint32_t ordinal = is_random ? static_cast<uint32_t>(i * 2654435761U % kMessages)
                                       : static_cast<uint32_t>(i % kMessages);
    ++i;
    const auto got = file->read(*index, ordinal, is_random ? nullptr : block);
    CHECK(got && got->damage == RecordDamage::None);
    block = got->block;
  }
  state.SetItemsProcessed(state.iterations());
}
void BM_ReadInOrder(benchmark::State& state) {
  read_messages(state, Compression::None, false);
}
void BM_ReadAnywhere(benchmark::State& state) {
  read_messages(state, Compression::None, true);
}
void BM_ReadInOrderLz4(benchmark::State& state) {
  read_messages(state, Compression::Lz4, false);
}
void BM_ReadAnywhereLz4(benchmark::State& state) {
  read_messages(state, Compression::Lz4, true);
}
BENCHMARK(BM_ReadInOrder);
BENCHMARK(BM_ReadAnywhere);
BENCHMARK(BM_ReadInOrderLz4);
BENCHMARK(BM_ReadAnywhereLz4);

}  // namespace
}  // namespace brokkr::store
