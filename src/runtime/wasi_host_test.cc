#include "runtime/wasi_host.h"

#include <gtest/gtest.h>

#include <vector>

namespace brokkr::runtime {
namespace {

struct FixedWorld final : WasiWorld {
  uint64_t slept_ns = 0;
  bool is_stopped = false;
  uint64_t monotonic_ns() override { return 1000; }
  uint64_t realtime_ns() override { return 5000; }
  void fill_random(std::span<uint8_t> out) override { std::fill(out.begin(), out.end(), 7); }
  bool sleep_ns(uint64_t ns) override {
    slept_ns = ns;
    return !is_stopped;
  }
};

constexpr uint16_t kOk = 0, kBadf = 8, kFault = 21, kFbig = 22, kInval = 28, kNosys = 52, kSpipe = 70;

struct WasiHostTest : ::testing::Test {
  FixedWorld world;
  WasiHost host{world};
  std::vector<uint8_t> memory = std::vector<uint8_t>(1024);

  void SetUp() override { host.begin("the.subject", "0123456789", 100); }

  uint16_t call(std::string_view name, std::vector<uint64_t> words) {
    for (size_t i = 0; i < wasi_functions().size(); ++i) {
      if (wasi_functions()[i].name != name) continue;
      EXPECT_EQ(words.size(), wasi_functions()[i].parameters.size()) << name;
      return host.call(i, WasiMemory(memory), words);
    }
    ADD_FAILURE() << "no " << name;
    return 999;
  }
  void put(uint64_t at, uint32_t value) { ASSERT_TRUE(WasiMemory(memory).store(at, value)); }
  uint32_t word(uint64_t at) {
    uint32_t value = 0;
    EXPECT_TRUE(WasiMemory(memory).load(at, value));
    return value;
  }
  std::string text(uint64_t at, size_t size) {
    return {reinterpret_cast<char*>(memory.data()) + at, size};
  }
};

TEST_F(WasiHostTest, ArgumentsAreTheNameAndTheSubject) {
  EXPECT_EQ(call("args_sizes_get", {0, 4}), kOk);
  EXPECT_EQ(word(0), 2U);
  EXPECT_EQ(word(4), 12U + 12U);
  EXPECT_EQ(call("args_get", {0, 100}), kOk);
  EXPECT_EQ(text(100, 24), std::string("nexfunction\0the.subject\0", 24));
  EXPECT_EQ(word(4), 112U);
  EXPECT_EQ(call("args_get", {0, 1010}), kFault);
  EXPECT_EQ(call("args_get", {1022, 100}), kFault);
}

TEST_F(WasiHostTest, EnvironmentIsPassed) {
  host.set_environment({{"A", "1"}, {"B", ""}});
  EXPECT_EQ(call("environ_sizes_get", {0, 4}), kOk);
  EXPECT_EQ(word(0), 2U);
  EXPECT_EQ(word(4), 7U);
  EXPECT_EQ(call("environ_get", {0, 100}), kOk);
  EXPECT_EQ(text(100, 7), std::string("A=1\0B=\0", 7));
}

TEST_F(WasiHostTest, ReadsScatterTheInputUntilItsEnd) {
  put(0, 100), put(4, 4), put(8, 200), put(12, 100);
  EXPECT_EQ(call("fd_read", {0, 0, 2, 50}), kOk);
  EXPECT_EQ(word(50), 10U);
  EXPECT_EQ(text(100, 4) + text(200, 6), "0123456789");
  EXPECT_EQ(call("fd_read", {0, 0, 2, 50}), kOk);
  EXPECT_EQ(word(50), 0U);
  EXPECT_EQ(call("fd_read", {1, 0, 2, 50}), kBadf);
}

TEST_F(WasiHostTest, WritesGatherIntoTheReplyAndTheLog) {
  memcpy(memory.data() + 100, "abc\ndef", 7);
  put(0, 100), put(4, 4), put(8, 104), put(12, 3);
  EXPECT_EQ(call("fd_write", {1, 0, 2, 50}), kOk);
  EXPECT_EQ(call("fd_write", {1, 0, 1, 50}), kOk);
  EXPECT_EQ(host.output(), "abc\ndefabc\n");
  EXPECT_EQ(call("fd_write", {2, 0, 2, 50}), kOk);
  EXPECT_EQ(host.take_log(false), "abc");
  EXPECT_EQ(host.take_log(false), "");
  EXPECT_EQ(host.take_log(true), "def");
  EXPECT_EQ(host.log_tail(), "abc\ndef");
  EXPECT_EQ(call("fd_write", {0, 0, 1, 50}), kBadf);
}

TEST_F(WasiHostTest, NoAddressReachesOutside) {
  put(0, 0xffffffff), put(4, 0xffffffff), put(8, 1020), put(12, 8), put(16, 1024), put(20, 0);
  for (const char* name : {"fd_read", "fd_write"}) {
    const uint64_t fd = std::string_view(name) == "fd_write" ? 1 : 0;
    EXPECT_EQ(call(name, {fd, 0, 1, 50}), kFault);
    EXPECT_EQ(call(name, {fd, 8, 1, 50}), kFault);
    EXPECT_EQ(call(name, {fd, 16, 1, 50}), kOk) << "an empty buffer at the very end";
    EXPECT_EQ(call(name, {fd, 0, 0xffffffff, 50}), kFault);
    EXPECT_EQ(call(name, {fd, 0xfffffff8, 2, 50}), kFault);
    EXPECT_EQ(call(name, {fd, 16, 1, 1021}), kFault);
  }
  EXPECT_EQ(call("random_get", {1000, 25}), kFault);
  EXPECT_EQ(call("random_get", {0xffffffff, 0xffffffff}), kFault);
  EXPECT_EQ(call("random_get", {1000, 24}), kOk);
  EXPECT_EQ(call("clock_time_get", {0, 0, 1017}), kFault);
  EXPECT_EQ(call("fd_fdstat_get", {1, 1001}), kFault);
  memory.clear();
  EXPECT_EQ(call("fd_fdstat_get", {1, 0}), kFault);
  EXPECT_EQ(call("random_get", {0, 0}), kOk);
}

TEST_F(WasiHostTest, OutputBeyondTheLimitEndsTheProgram) {
  put(0, 100), put(4, 100);
  EXPECT_EQ(call("fd_write", {1, 0, 1, 50}), kOk);
  put(4, 1);
  EXPECT_EQ(call("fd_write", {1, 0, 1, 50}), kFbig);
  EXPECT_TRUE(host.is_output_exceeded() && host.has_ended());
  EXPECT_EQ(host.output().size(), 100U);
}

TEST_F(WasiHostTest, ClocksExitAndClosedStreams) {
  EXPECT_EQ(call("clock_time_get", {0, 0, 8}), kOk);
  EXPECT_EQ(word(8), 5000U);
  EXPECT_EQ(call("clock_time_get", {1, 0, 8}), kOk);
  EXPECT_EQ(word(8), 1000U);
  EXPECT_EQ(call("clock_time_get", {9, 0, 8}), kInval);
  EXPECT_EQ(call("fd_close", {1}), kOk);
  EXPECT_EQ(call("fd_close", {1}), kBadf);
  EXPECT_EQ(call("fd_write", {1, 0, 0, 8}), kBadf);
  EXPECT_EQ(call("fd_seek", {0, 0, 0, 8}), kSpipe);
  EXPECT_EQ(call("proc_exit", {3}), kOk);
  EXPECT_TRUE(host.has_exited());
  EXPECT_EQ(host.exit_code(), 3U);
}

TEST_F(WasiHostTest, ThereIsNoFileSystem) {
  EXPECT_EQ(call("fd_prestat_get", {3, 0}), kBadf);
  EXPECT_EQ(call("path_open", {3, 0, 0, 1, 0, 0, 0, 0, 8}), kBadf);
  EXPECT_EQ(call("fd_read", {3, 0, 0, 8}), kBadf);
  EXPECT_EQ(call("sock_accept", {3, 0, 8}), kBadf);
  EXPECT_EQ(call("proc_raise", {9}), kNosys);
}

TEST_F(WasiHostTest, PollWaitsForTheEarliestClockOnly) {
  EXPECT_EQ(call("poll_oneoff", {0, 512, 0, 600}), kInval);
  put(0, 77), put(24, 400);                  // a clock, 400 ns from now
  put(48, 78), put(64, 1), put(72, 1300), put(88, 1);  // monotonic, absolute: 300 ns from now
  EXPECT_EQ(call("poll_oneoff", {0, 512, 2, 600}), kOk);
  EXPECT_EQ(world.slept_ns, 300U);
  EXPECT_EQ(word(600), 1U);
  EXPECT_EQ(word(512), 78U);
  world.slept_ns = 0;
  memory[48 + 8] = 1;  // now a read of stdin, which is always ready
  put(64, 0);
  EXPECT_EQ(call("poll_oneoff", {0, 512, 2, 600}), kOk);
  EXPECT_EQ(world.slept_ns, 0U);
  EXPECT_EQ(word(512 + 16), 10U);
  EXPECT_EQ(call("poll_oneoff", {0, 1000, 2, 600}), kFault);
}

TEST_F(WasiHostTest, AFloodOfLogIsBounded) {
  put(0, 0), put(4, 1024);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(call("fd_write", {2, 0, 1, 50}), kOk);
  EXPECT_LE(host.take_log(true).size(), 80000U);
  EXPECT_EQ(host.log_tail().size(), 2048U);
}

}  // namespace
}  // namespace brokkr::runtime
