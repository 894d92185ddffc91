#include "store/inspect.h"

#include <stdlib.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/log.h"
#include "store/run.h"
#include "store/store.h"
#include "store/test_files.h"

namespace brokkr::store {
namespace {

class DirectExecutor final : public Executor {
 public:
  void run(Callback<void()> work, Callback<void()> done) override {
    work();
    done();
  }
};

// A store that was filled twice, emptied into run files once, and killed.
class InspectTest : public ::testing::TestWithParam<Cipher> {
 protected:
  InspectTest() {
    options_.directory = "d";
    options_.cipher = GetParam();
    if (GetParam() != Cipher::None) {
      options_.key = "secret";
      keys_ = std::move(*Keyring::make(GetParam(), "secret", ""));
    }
    fill();
  }

  void fill() {
    DirectExecutor executor;
    ManualClock clock;
    const auto log = Log::discard();
    auto store = std::move(*Store::open(options_, {files_, executor, executor, clock, *log,
                                                   [](Duration, const Callback<void()>&) {}}));
    StreamOptions options;
    options.account = "A";
    options.name = "S";
    Stream* const stream = *store->create_stream(options);
    add(*stream, 300);
    stream->remove(7, Removal::Deleted);
    store->commit();
    store->checkpoint([](const Status& status) { EXPECT_TRUE(status); });
    add(*stream, 100);
    store->commit();
  }
  // Starts it, adds to it, and ends it cleanly.
  void fill_again() {
    DirectExecutor executor;
    ManualClock clock;
    const auto log = Log::discard();
    files_.files.erase("d");
    auto store = std::move(*Store::open(options_, {files_, executor, executor, clock, *log,
                                                   [](Duration, const Callback<void()>&) {}}));
    add(*store->find_stream("A", "S"), 50);
    store->close([] {});
  }
  static void add(Stream& stream, int count) {
    for (int i = 0; i < count; ++i) {
      NewMessage message;
      const std::string body = "body " + std::to_string(i);
      message.subject = "a.b";
      message.body = body;
      message.timestamp_ns = 1;
      EXPECT_TRUE(stream.append(message));
    }
  }
  std::string first_in(const std::string& folder, const std::string& suffix) {
    for (const auto& [name, bytes] : files_.files) {
      if (name.starts_with("d" + folder + "/") && name.ends_with(suffix)) return name;
    }
    ADD_FAILURE() << "no " << suffix << " in " << folder;
    return {};
  }
  void flip(const std::string& path, size_t offset) { files_.files.at(path)->at(offset) ^= 1; }
  VerifyReport verify() {
    auto report = verify_store(files_, options_.directory, keys_.get());
    EXPECT_TRUE(report);
    return report ? std::move(*report) : VerifyReport();
  }
  std::string dump(const std::string& path) {
    std::string text;
    EXPECT_TRUE(dump_file(files_, path, keys_.get(),
                          [&](std::string_view line) { text.append(line).append("\n"); }));
    return text;
  }
  StoreKeys keys() const { return {options_.cipher, options_.key, {}}; }

  TestFiles files_;
  Store::Options options_;
  std::unique_ptr<Keyring> keys_;
};
INSTANTIATE_TEST_SUITE_P(Ciphers, InspectTest, testing::Values(Cipher::None, Cipher::Aes256Gcm));

TEST_P(InspectTest, AHealthyStoreVerifies) {
  const VerifyReport report = verify();
  EXPECT_TRUE(report.damage.empty()) << report.damage.front();
  EXPECT_GE(report.messages, 299U);
  EXPECT_GE(report.frames, 100U);
  EXPECT_GE(report.files, 3U);
}

TEST_P(InspectTest, DamageIsNamedWithItsPlace) {
  const std::string run = first_in("/runs", ".run");
  flip(run, 5000);
  flip(first_in("", ".catalog"), 150);
  flip(first_in("/wal", ".wal"), 4096 + 100);
  const VerifyReport report = verify();
  ASSERT_GE(report.damage.size(), 3U);
  const auto is_named = [&](const std::string& start) {
    return std::any_of(report.damage.begin(), report.damage.end(), [&](const std::string& it) {
      return it.starts_with(start) && it.find_first_of("0123456789") != std::string::npos;
    });
  };
  EXPECT_TRUE(is_named(run.substr(2) + " at "));
  EXPECT_TRUE(is_named("wal/"));
}

// The log from before the older catalog is given up, which is no damage.
TEST_P(InspectTest, AStoreThatWasEmptiedTwiceVerifies) {
  fill_again();
  fill_again();
  const VerifyReport report = verify();
  EXPECT_TRUE(report.damage.empty()) << report.damage.front();
  EXPECT_FALSE(files_.files.contains("d/wal/0000000000000001.wal"));
}

TEST_P(InspectTest, AMissingRunFileIsNoticed) {
  files_.files.erase(first_in("/runs", ".run"));
  VerifyReport report = verify();
  EXPECT_TRUE(report.damage.empty()) << report.damage.front();
  ASSERT_TRUE(verify_streams(files_, options_.directory, keys(), report));
  ASSERT_FALSE(report.damage.empty());
  EXPECT_EQ(report.damage[0], "stream A S: messages 1 to 300 are lost");
}

TEST_P(InspectTest, AWrongKeyIsSaid) {
  if (GetParam() == Cipher::None) return;
  const auto other = std::move(*Keyring::make(GetParam(), "other", ""));
  for (Keyring* keys : {static_cast<Keyring*>(nullptr), other.get()}) {
    const auto report = verify_store(files_, options_.directory, keys);
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, Errc::PermissionDenied);
  }
}

TEST_P(InspectTest, EveryFileCanBeDumped) {
  const std::string run = dump(first_in("/runs", ".run"));
  EXPECT_NE(run.find("run of stream 1 'S' in account 'A'"), std::string::npos)
      << run.substr(0, 300);
  EXPECT_NE(run.find("seq 300 "), std::string::npos);
  EXPECT_NE(dump(first_in("", ".catalog")).find("stream 1: "), std::string::npos);
  EXPECT_NE(dump(first_in("/wal", ".wal")).find(" append stream 1 "), std::string::npos);
  flip(first_in("/runs", ".run"), 5000);
  EXPECT_NE(dump(first_in("/runs", ".run")).find("DAMAGED"), std::string::npos);
}

TEST_P(InspectTest, MessagesComeFromRunsAndLogAndNothingChanges) {
  std::map<std::string, std::string> before;
  for (const auto& [name, bytes] : files_.files)
    before[name] = *bytes;
  std::vector<uint64_t> seqs;
  const auto report = visit_messages(files_, options_.directory, keys(), "A", "S",
                                     [&](const Record& it) { seqs.push_back(it.seq); });
  ASSERT_TRUE(report) << report.error().text;
  EXPECT_EQ(seqs.size(), 399U);
  EXPECT_EQ(seqs.at(6), 8U);
  EXPECT_EQ(seqs.back(), 400U);
  EXPECT_TRUE(report->lost.empty());
  size_t streams = 0;
  EXPECT_TRUE(visit_streams(files_, options_.directory, keys(), [&](Stream&) { ++streams; }));
  EXPECT_EQ(streams, 1U);
  EXPECT_EQ(files_.files.size(), before.size());
  for (const auto& [name, bytes] : files_.files)
    EXPECT_TRUE(before[name] == *bytes) << name;
  EXPECT_EQ(visit_messages(files_, options_.directory, keys(), "A", "T", [](const Record&) {})
                .error()
                .code,
            Errc::NotFound);
}

// docs/store-format.md is complete: a reader written by it finds every message a store has.
TEST(StoreFormat, AnotherProgramReadsIt) {
  if (std::system("python3 -c pass") != 0) GTEST_SKIP() << "no python3";
  std::string directory = std::filesystem::temp_directory_path() / "brokkr-format-XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  Store::Options options;
  options.directory = directory;
  DirectExecutor executor;
  ManualClock clock;
  const auto log = Log::discard();
  std::string expected;
  {
    auto store = std::move(*Store::open(options, {posix_files(), executor, executor, clock, *log,
                                                  [](Duration, const Callback<void()>&) {}}));
    std::vector<Stream*> streams;
    for (const Compression compression : {Compression::None, Compression::Lz4}) {
      StreamOptions it;
      it.account = "A";
      it.name = "S" + std::to_string(streams.size());
      it.compression = compression;
      streams.push_back(*store->create_stream(it));
    }
    for (int round = 0; round < 2; ++round) {
      for (int i = 0; i < 1200; ++i) {
        for (Stream* const stream : streams) {
          const std::string subject = "a." + std::to_string(i % 300);
          const std::string body(static_cast<size_t>(i % 400), static_cast<char>('a' + i % 3));
          NewMessage message;
          message.subject = subject;
          message.body = body;
          message.timestamp_ns = 1000 + i;
          if (i % 4 == 0) message.headers = "NATS/1.0\r\nNats-Msg-Id: x\r\n\r\n";
          if (i % 5 == 0) message.expires_at = 99'000'000'000;
          ASSERT_TRUE(stream->append(message));
        }
      }
      store->commit();
      if (round == 0) store->checkpoint([](const Status& status) { EXPECT_TRUE(status); });
    }
    for (Stream* const stream : streams) {
      for (uint64_t seq = 1; seq <= stream->last_seq(); ++seq) {
        const Record it = *stream->load(seq);
        expected += std::to_string(stream->id()) + " " + std::to_string(seq) + " " +
                    std::to_string(it.timestamp_ns) + " " + std::to_string(it.expires_at) + " " +
                    std::string(it.subject) + " " + hex_encode(it.headers) + " " +
                    hex_encode(it.body) + "\n";
      }
    }
  }
  const std::string root =
      BROKKR_SOURCE_DIR;
  const std::string command =
      "python3 " + root + "/tests/store/read_store.py " + directory + " > " + directory + "/out";
  EXPECT_EQ(std::system(command.c_str()), 0);
  const auto out = read_file(posix_files(), directory + "/out");
  ASSERT_TRUE(out);
  EXPECT_TRUE(*out == expected) << out->substr(0, 200) << "\n--- expected\n"
                                << expected.substr(0, 200);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace brokkr::store
