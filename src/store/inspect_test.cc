#include "store/inspect.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

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
    EXPECT_TRUE(dump_file(files_, path, keys_.get(), [&](std::string_view line) { text.append(line).append("\n"); }));
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
  EXPECT_NE(run.find("run of stream 1 'S' in account 'A'"), std::string::npos) << run.substr(0, 300);
  EXPECT_NE(run.find("seq 300 "), std::string::npos);
  EXPECT_NE(dump(first_in("", ".catalog")).find("stream 1: "), std::string::npos);
  EXPECT_NE(dump(first_in("/wal", ".wal")).find(" append stream 1 "), std::string::npos);
  flip(first_in("/runs", ".run"), 5000);
  EXPECT_NE(dump(first_in("/runs", ".run")).find("DAMAGED"), std::string::npos);
}

TEST_P(InspectTest, MessagesComeFromRunsAndLogAndNothingChanges) {
  std::map<std::string, std::string> before;
  for (const auto& [name, bytes] : files_.files) before[name] = *bytes;
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
  for (const auto& [name, bytes] : files_.files) EXPECT_TRUE(before[name] == *bytes) << name;
  EXPECT_EQ(visit_messages(files_, options_.directory, keys(), "A", "T", [](const Record&) {}).error().code,
            Errc::NotFound);
}

}  // namespace
}  // namespace brokkr::store
