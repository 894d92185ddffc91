#include "runtime/host_imports.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "runtime/test_support.h"

namespace brokkr::runtime {
namespace {

// A program's memory with texts laid out in it.
struct Program {
  testing::FakeHost host;
  HostImports imports{host};
  std::vector<uint8_t> memory = std::vector<uint8_t>(65536);
  size_t used = 1024;

  Program() { imports.begin(7); }
  // Address and size of a text in memory.
  std::pair<uint64_t, uint64_t> text(std::string_view bytes) {
    std::copy(bytes.begin(), bytes.end(), memory.begin() + static_cast<std::ptrdiff_t>(used));
    const uint64_t at = used;
    used += bytes.size();
    return {at, bytes.size()};
  }
  static size_t index_of(std::string_view name) {
    const auto all = host_imports();
    const auto found = std::find_if(all.begin(), all.end(), [&](const HostImport& i) { return i.name == name; });
    EXPECT_NE(found, all.end()) << name;
    return static_cast<size_t>(found - all.begin());
  }
  int64_t call(std::string_view name, std::vector<uint64_t> words) {
    const size_t index = index_of(name);
    EXPECT_EQ(words.size(), host_imports()[index].parameter_count()) << name;
    return imports.call(index, WasiMemory(memory), words);
  }
  std::string part(uint64_t number) {
    const int64_t size = call("result_size", {number});
    const int64_t read = call("result_read", {number, 0, 0, static_cast<uint64_t>(size)});
    return {reinterpret_cast<const char*>(memory.data()), static_cast<size_t>(read)};
  }
};

TEST(HostImports, CallsCarryWhatTheProgramNames) {
  Program p;
  p.host.answer.payload = std::string("v\0\xff", 3);
  p.host.answer.headers = "NATS/1.0\r\nRevision: 12345678901\r\n\r\n";
  const auto [bucket, bucket_size] = p.text("b");
  const auto [key, key_size] = p.text("some.key");
  const auto [value, value_size] = p.text("value");
  EXPECT_EQ(p.call("kv_get", {bucket, bucket_size, key, key_size}), 3);
  EXPECT_EQ(p.part(0), std::string("v\0\xff", 3));
  EXPECT_EQ(p.call("result_revision", {}), 12345678901);
  EXPECT_EQ(p.call("kv_update", {bucket, bucket_size, key, key_size, value, value_size, 42}), 0);
  EXPECT_EQ(p.host.last_headers, "NATS/1.0\r\nRevision: 42\r\n\r\n");
  const std::vector<std::string> expected = {"kv.get b some.key ", "kv.update b some.key value"};
  EXPECT_EQ(p.host.calls, expected);
  EXPECT_EQ(p.host.invocations.at(0), 7U);
}

TEST(HostImports, ResultsAreReadInPieces) {
  Program p;
  p.host.answer.payload = "0123456789";
  EXPECT_EQ(p.call("object_read", {5}), 10);
  EXPECT_EQ(p.host.calls.at(0), "objectStore.read 5  ");
  EXPECT_EQ(p.call("result_read", {0, 4, 100, 3}), 3);
  EXPECT_EQ(std::string(p.memory.begin() + 100, p.memory.begin() + 103), "456");
  EXPECT_EQ(p.call("result_read", {0, 8, 100, 50}), 2);
  EXPECT_EQ(p.call("result_read", {0, 10, 100, 50}), 0);
  EXPECT_EQ(p.call("result_read", {0, 0xffffffff, 100, 50}), 0);
  EXPECT_EQ(p.call("result_read", {9, 0, 100, 50}), 0);
}

TEST(HostImports, FailuresAreCodesWithATextBehindThem) {
  Program p;
  p.host.answer.code = 404;
  p.host.answer.error = "key not found";
  EXPECT_EQ(p.call("kv_get", {0, 1, 0, 1}), -404);
  EXPECT_EQ(p.part(3), "key not found");
  p.imports.begin(0);
  EXPECT_EQ(p.call("kv_get", {0, 1, 0, 1}), -503);
  EXPECT_EQ(p.part(0), "");
}

TEST(HostImports, EveryKindOfResult) {
  Program p;
  const auto record = [](std::string_view text) {
    return std::string(1, static_cast<char>(text.size())) + std::string(3, '\0') + std::string(text);
  };
  p.host.answer.more = record("a") + record("bc");
  EXPECT_EQ(p.call("kv_keys", {0, 1, 0, 0, 9}), 2);
  EXPECT_EQ(p.host.last_replies_max, 9U);
  EXPECT_EQ(p.part(2), record("a") + record("bc"));
  p.host.answer.payload = "first";
  EXPECT_EQ(p.call("request_many", {0, 1, 0, 0, 0, 0, 250, 0}), 3);
  EXPECT_EQ(p.host.last_timeout_ms, 250);
  EXPECT_EQ(p.part(2), record("first") + record("a") + record("bc"));
  p.host.answer.headers = "NATS/1.0\r\nHandle: 31\r\n\r\n";
  EXPECT_EQ(p.call("object_open_write", {0, 1, 0, 1}), 31);
  p.host.answer.more = R"({"status":418})";
  const auto [method, method_size] = p.text("get");
  EXPECT_EQ(p.call("http", {method, method_size, 0, 1, 0, 0, 0, 0, 0xffffffff}), 418);
  EXPECT_EQ(p.host.calls.back().substr(0, 9), "http.get ");
  EXPECT_EQ(p.host.last_timeout_ms, 0) << "a negative time-out is none";
  p.host.answer = {408, "timed out", {}, {}, {}};
  EXPECT_EQ(p.call("request_many", {0, 1, 0, 0, 0, 0, 250, 0}), 0);
}

TEST(HostImports, RangesOutsideTheMemoryAreRefused) {
  for (const auto& [address, size] : std::initializer_list<std::pair<uint64_t, uint64_t>>{
           {65536, 1}, {0, 65537}, {65535, 2}, {0xffffffff, 0xffffffff}, {0xffffffff, 1}, {1, 0xffffffff}}) {
    Program p;
    EXPECT_EQ(p.call("kv_get", {address, size, 0, 1}), -400);
    EXPECT_EQ(p.call("kv_get", {0, 1, address, size}), -400);
    EXPECT_EQ(p.call("publish", {0, 1, 0, 0, 0, 0, address, size}), -400);
    EXPECT_EQ(p.call("result_read", {0, 0, address, size}), -400);
    EXPECT_TRUE(p.host.calls.empty());
  }
}

TEST(HostImports, TooMuchIsRefused) {
  Program p;
  p.memory.resize(16U << 20);
  EXPECT_EQ(p.call("kv_put", {0, 1, 0, 1, 0, 9U << 20}), -413);
  EXPECT_TRUE(p.host.calls.empty());
  EXPECT_EQ(p.call("kv_put", {0, 1, 0, 1, 0, 7U << 20}), 0);
}

// Whatever a program passes, nothing is read or written outside its memory: the sanitizers see it.
TEST(HostImports, AnyArgumentsAreSafe) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  Program p;
  p.host.answer.payload = std::string(5000, 'x');
  p.host.answer.more = "\xff\xff\xff\xff broken";
  for (int i = 0; i < 20'000; ++i) {
    const size_t index = random() % host_imports().size();
    std::vector<uint64_t> words;
    for (size_t n = 0; n < host_imports()[index].parameter_count(); ++n) {
      words.push_back(random() % 3 == 0 ? random() : random() % 70'000);
    }
    p.host.calls.clear();
    p.host.invocations.clear();
    p.imports.call(index, WasiMemory(p.memory), words);
  }
}

}  // namespace
}  // namespace brokkr::runtime
