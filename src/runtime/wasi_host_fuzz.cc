// Goal: no sequence of WASI calls with any arguments on any memory touches a byte outside it.
// Input: memory size u16, its first bytes as given, then records of function index u8 and nine
// words of 4 bytes. Invariants: output within its limit, log pieces bounded, errno known.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "runtime/wasi_host.h"

namespace {

struct StillWorld final : brokkr::runtime::WasiWorld {
  uint64_t monotonic_ns() override { return 1000; }
  uint64_t realtime_ns() override { return 2000; }
  void fill_random(std::span<uint8_t> out) override {
    if (!out.empty()) std::memset(out.data(), 7, out.size());
  }
  bool sleep_ns(uint64_t ns) override { return ns % 2 == 0; }
};

constexpr uint64_t kOutputMax = 4096;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace brokkr::runtime;
  if (size < 4) return 0;
  const size_t memory_size = static_cast<size_t>(data[0]) | static_cast<size_t>(data[1]) << 8;
  const size_t given = std::min<size_t>({data[2] * 4U, memory_size, size - 3});
  // Exactly as large as claimed, so that the sanitizer sees the first byte outside.
  std::vector<uint8_t> memory(memory_size);
  if (given > 0) std::memcpy(memory.data(), data + 3, given);
  data += 3 + given;
  size -= 3 + given;

  StillWorld world;
  WasiHost host(world);
  host.set_environment({{"NAME", "value"}, {"EMPTY", ""}});
  host.begin("a.subject", "the input of the program", kOutputMax);
  constexpr size_t kRecordBytes = 1 + 4 * kWasiParametersMax;
  while (size >= kRecordBytes) {
    const size_t index = data[0] % wasi_functions().size();
    uint64_t words[kWasiParametersMax];
    for (size_t i = 0; i < kWasiParametersMax; ++i) {
      uint32_t word = 0;
      std::memcpy(&word, data + 1 + 4 * i, 4);
      words[i] = word;
    }
    const uint16_t result = host.call(index, WasiMemory(memory),
                                      {words, wasi_functions()[index].parameters.size()});
    if (result > 76 || host.output().size() > kOutputMax) abort();
    if (host.take_log(data[0] >= 200).size() > 16384 * 8 || host.log_tail().size() > 2048) abort();
    data += kRecordBytes;
    size -= kRecordBytes;
  }
  return 0;
}
