#include <gtest/gtest.h>

#include "runtime/engine_test_fixture.h"

namespace brokkr::runtime::testing {
namespace {

// Builds WebAssembly binaries by hand: enough of the format for a command of one function.
std::string size_of(std::string_view bytes) {
  std::string out;
  size_t n = bytes.size();
  do {
    out += static_cast<char>((n & 0x7f) | (n > 0x7f ? 0x80 : 0));
    n >>= 7;
  } while (n > 0);
  return out;
}
std::string sized(std::string_view bytes) { return size_of(bytes) + std::string(bytes); }
std::string section(char id, const std::string& body) { return id + sized(body); }

struct Module {
  std::string code = "\x0b";                 // instructions of _start, with the final end
  std::string imports;                       // import entries, of function type 1 (i32) -> ()
  int import_count = 0;
  std::string memory = std::string("\x00\x01", 2);  // limits: 1 page
  std::string start_name = "_start";
  std::string memory_name = "memory";

  void import(std::string_view from, std::string_view name) {
    imports += sized(from) + sized(name) + std::string("\x00\x01", 2);
    ++import_count;
  }
  std::string binary() const {
    const auto count = static_cast<char>(import_count);
    std::string out("\0asm\1\0\0\0", 8);
    out += section(1, std::string("\x02\x60\x00\x00\x60\x01\x7f\x00", 8));  // ()->(), (i32)->()
    if (import_count > 0) out += section(2, count + imports);
    out += section(3, std::string("\x01\x00", 2));
    out += section(5, "\x01" + memory);
    out += section(7, "\x02" + sized(memory_name) + std::string("\x02\x00", 2) + sized(start_name) +
                          std::string(1, '\0') + count);
    out += section(10, "\x01" + sized(std::string(1, '\0') + code));
    return out;
  }
};

std::string echo_wasm() { return read_file(BROKKR_EXAMPLES "/echo-wasm/echo.wasm"); }

TEST(Wasm, EchoAnswersAsTheDeckSays) {
  EXPECT_EQ(in_child([] {
    Deployed echo;
    ASSERT_EQ(echo.load_wasm(echo_wasm()), "");
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(brief(echo.call("hello nex!", "echowasm")), "200 hello nex!echowasm");
    }
    EXPECT_EQ(echo.sink.deliveries, 3);
  }), 0);
}

#ifdef BROKKR_BUILT_ECHO_WASM
TEST(Wasm, EchoBuiltFromItsSourceAnswersAlike) {
  EXPECT_EQ(in_child([] {
    Deployed echo;
    ASSERT_EQ(echo.load_wasm(read_file(BROKKR_BUILT_ECHO_WASM)), "");
    EXPECT_EQ(brief(echo.call("hello nex!", "echowasm")), "200 hello nex!echowasm");
  }), 0);
}
#endif

TEST(Wasm, BytesAreExactUpToTheLimit) {
  EXPECT_EQ(in_child([] {
    Deployed echo;
    echo.spec.limits.reply_bytes_max = 600000;
    ASSERT_EQ(echo.load_wasm(echo_wasm()), "");
    std::string all;
    for (int i = 0; i < 500000; ++i) all += static_cast<char>(i * 7);
    EXPECT_EQ(echo.call(all, "s").payload, all + "s");
    all.append(100000, 'x');
    EXPECT_EQ(brief(echo.call(all, "s")), "413 the reply exceeds the limit of 600000");
    EXPECT_EQ(brief(echo.call("again", "s")), "200 agains");
  }), 0);
}

TEST(Wasm, ThousandsOfCallsStayInBounds) {
  EXPECT_EQ(in_child([] {
    Deployed echo;
    ASSERT_EQ(echo.load_wasm(echo_wasm()), "");
    for (int i = 0; i < 3000; ++i) ASSERT_EQ(brief(echo.call("x", "y")), "200 xy");
    EXPECT_LT(std::stol(read_file("/proc/self/statm").substr(read_file("/proc/self/statm").find(' ') + 1)), 40000);
  }), 0);
}

TEST(Wasm, LoadSaysWhatIsWrong) {
  const auto load = [](const std::string& binary) {
    Deployed wasm;
    return wasm.load_wasm(binary);
  };
  EXPECT_EQ(in_child([&] {
    EXPECT_EQ(load("(s, p) => p"), "test.wasm: is not WebAssembly: it starts with 28732c20, not 0061736d");
    EXPECT_EQ(load(""), "test.wasm: is not WebAssembly: it starts with , not 0061736d");
    EXPECT_NE(load(std::string("\0asm\x0d\0\1\0", 8)).find("is a WebAssembly component"), std::string::npos);
    EXPECT_EQ(load(echo_wasm().substr(0, 200)).substr(0, 48), "test.wasm: CompileError: WasmModuleObject::Compi");
    Module stranger;
    stranger.import("env", "launch");
    EXPECT_EQ(load(stranger.binary()), "test.wasm: imports env.launch, which is not provided");
    Module old;
    old.import("wasi_unstable", "proc_exit");
    EXPECT_NE(load(old.binary()).find("rebuild for wasi_snapshot_preview1"), std::string::npos);
    Module reactor;
    reactor.start_name = "_initialize";
    EXPECT_NE(load(reactor.binary()).find("exports no function _start"), std::string::npos);
    Module hidden;
    hidden.memory_name = "mem";
    EXPECT_EQ(load(hidden.binary()), "test.wasm: exports no memory named memory");
    Module huge;
    huge.memory = std::string("\x00\x80\x80\x01", 4);  // 16,384 pages: 1 GiB
    EXPECT_NE(load(huge.binary()).find("memory"), std::string::npos);
  }), 0);
}

TEST(Wasm, ExitCodesAndTrapsAreFailures) {
  EXPECT_EQ(in_child([] {
    Deployed exits;
    Module module;
    module.import("wasi_snapshot_preview1", "proc_exit");
    module.code = std::string("\x41\x07\x10\x00\x0b", 5);  // proc_exit(7)
    ASSERT_EQ(exits.load_wasm(module.binary()), "");
    EXPECT_EQ(brief(exits.call()), "500 exited with code 7");
  }), 0);
  EXPECT_EQ(in_child([] {
    Deployed exits;
    Module module;
    module.import("wasi_snapshot_preview1", "proc_exit");
    module.code = std::string("\x41\x00\x10\x00\x00\x0b", 6);  // proc_exit(0), unreachable
    ASSERT_EQ(exits.load_wasm(module.binary()), "");
    EXPECT_EQ(brief(exits.call()), "200 ");
  }), 0);
  EXPECT_EQ(in_child([] {
    Deployed traps;
    Module module;
    module.code = std::string("\x00\x0b", 2);  // unreachable
    ASSERT_EQ(traps.load_wasm(module.binary()), "");
    const Outcome outcome = traps.call();
    EXPECT_EQ(brief(outcome), "500 RuntimeError: unreachable");
    EXPECT_NE(outcome.stack.find("wasm"), std::string::npos);
  }), 0);
}

TEST(Wasm, EndlessLoopIsStopped) {
  EXPECT_EQ(in_child([] {
    Deployed loops;
    Module module;
    module.code = std::string("\x03\x40\x0c\x00\x0b\x0b", 6);  // loop br 0 end
    ASSERT_EQ(loops.load_wasm(module.binary()), "");
    EXPECT_EQ(brief(loops.call_watched()), "504 timed out: the limit is 5s");
    EXPECT_EQ(brief(loops.call_watched()), "504 timed out: the limit is 5s");
  }), 0);
}

TEST(Wasm, DeepRecursionIsAFailure) {
  EXPECT_EQ(in_child([] {
    Deployed recurses;
    Module module;
    module.code = std::string("\x10\x00\x0b", 3);  // _start calls itself
    ASSERT_EQ(recurses.load_wasm(module.binary()), "");
    EXPECT_EQ(brief(recurses.call()), "500 RangeError: Maximum call stack size exceeded");
  }), 0);
}

TEST(Wasm, GrowthEndsAtTheMemoryLimit) {
  EXPECT_EQ(in_child([] {
    Deployed grows;
    Module module;
    // memory.grow(16000) is -1, so that adding one gives 0: else unreachable.
    module.code = std::string("\x41\x80\xfd\x00\x40\x00\x41\x01\x6a\x04\x40\x00\x0b\x0b", 14);
    ASSERT_EQ(grows.load_wasm(module.binary()), "");
    EXPECT_EQ(brief(grows.call()), "200 ");
  }), 0);
}

}  // namespace
}  // namespace brokkr::runtime::testing
