// A store in a directory: what it still knows after it was closed, killed, or damaged.
#include "store/store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "base/random.h"
#include "subject/subject.h"

namespace brokkr::store {
namespace {

class AtOnce final : public Executor {
 public:
  void run(Callback<void()> work, Callback<void()> done) override {
    work();
    done();
  }
};

class StoreTest : public ::testing::Test {
 protected:
  StoreTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "brokkr-store-XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    options_.directory = pattern;
    open();
  }
  ~StoreTest() override {
    store_.reset();
    std::filesystem::remove_all(options_.directory);
  }

  void open() {
    auto store = Store::open(options_, {posix_files(), executor_, executor_, clock_, *log_,
                                        [](Duration, const Callback<void()>&) {}});
    ASSERT_TRUE(store) << store.error().text;
    store_ = std::move(*store);
  }
  // A clean stop, or the end of the process.
  void restart(bool is_clean) {
    if (is_clean) {
      bool closed = false;
      store_->close([&] { closed = true; });
      ASSERT_TRUE(closed);
    }
    store_.reset();
    open();
  }
  Stream& make(const std::string& name, StreamLimits limits = {}) {
    StreamOptions options;
    options.account = "$G";
    options.name = name;
    options.config = "config of " + name;
    options.limits = limits;
    auto stream = store_->create_stream(options);
    EXPECT_TRUE(stream);
    return **stream;
  }
  Stream& get(const std::string& name) {
    Stream* stream = store_->find_stream("$G", name);
    EXPECT_NE(stream, nullptr);
    return *stream;
  }
  Result<uint64_t> put(Stream& stream, std::string_view subject, std::string_view body = "x") {
    NewMessage message;
    message.subject = subject;
    message.body = body;
    message.timestamp_ns = clock_.wall_now().time_since_epoch().count();
    return stream.append(message);
  }

  ManualClock clock_;
  AtOnce executor_;
  std::unique_ptr<Log> log_ = Log::discard();
  Store::Options options_;
  std::unique_ptr<Store> store_;
};

TEST_F(StoreTest, RemembersStreamsMessagesAndConsumers) {
  for (const bool is_clean : {false, true}) {
    const std::string name = is_clean ? "clean" : "killed";
    Stream& stream = make(name);
    ASSERT_TRUE(put(stream, "a.1", "one"));
    ASSERT_TRUE(put(stream, "a.2", "two"));
    ConsumerStore& consumer = stream.put_consumer("c", "consumer config", false);
    consumer.delivered(1, 1, 1, 77, true);
    stream.remove(2, Removal::Deleted);
    store_->commit();
    restart(is_clean);
    Stream& again = get(name);
    EXPECT_EQ(again.options().config, "config of " + name);
    EXPECT_EQ(again.last_seq(), 2U);
    EXPECT_EQ(again.messages(), 1U);
    EXPECT_EQ(again.load(1)->body, "one");
    EXPECT_FALSE(again.load(2));
    EXPECT_EQ(again.count_of("a.1"), 1U);
    ConsumerStore* remembered = again.find_consumer("c");
    ASSERT_NE(remembered, nullptr);
    EXPECT_EQ(remembered->config(), "consumer config");
    EXPECT_EQ(remembered->state().delivered.stream, 1U);
    EXPECT_EQ(remembered->state().pending.size(), 1U);
  }
}

TEST_F(StoreTest, ForgetsDeletedStreamsAndNeverTheirIds) {
  Stream& first = make("S");
  const uint32_t id = first.id();
  ASSERT_TRUE(put(first, "a"));
  store_->delete_stream(first);
  Stream& second = make("S");
  EXPECT_GT(second.id(), id);
  store_->commit();
  restart(false);
  EXPECT_EQ(get("S").messages(), 0U);
  restart(true);
  EXPECT_EQ(get("S").messages(), 0U);
  EXPECT_GT(get("S").id(), id);
}

TEST_F(StoreTest, ASecondStoreInTheDirectoryIsRefused) {
  auto other = Store::open(options_, {posix_files(), executor_, executor_, clock_, *log_,
                                      [](Duration, const Callback<void()>&) {}});
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, Errc::AlreadyExists);
}

TEST_F(StoreTest, MessageIdsAndExpiriesSurvive) {
  StreamLimits limits;
  limits.duplicate_window = std::chrono::minutes(2);
  for (const bool is_clean : {false, true}) {
    const std::string name = is_clean ? "clean" : "killed";
    Stream& stream = make(name, limits);
    NewMessage message;
    message.subject = "a";
    message.headers = "NATS/1.0\r\nNats-Msg-Id: one\r\n\r\n";
    message.message_id = "one";
    message.timestamp_ns = clock_.wall_now().time_since_epoch().count();
    message.expires_at = static_cast<uint64_t>(clock_.wall_now().time_since_epoch() / std::chrono::seconds(1)) + 5;
    ASSERT_TRUE(stream.append(message));
    store_->commit();
    restart(is_clean);
    Stream& again = get(name);
    EXPECT_EQ(again.find_message_id("one"), 1U);
    EXPECT_EQ(again.last_message_id(), "one");
    clock_.advance(std::chrono::seconds(6));
    again.expire(clock_.wall_now());
    EXPECT_EQ(again.messages(), 0U);
  }
}

TEST_F(StoreTest, AgreesWithAModelThroughRestarts) {
  const uint64_t seed = secure_seed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  SeededRandom random(seed);
  store_.reset();
  options_.checkpoint_bytes = 100'000;
  open();
  struct Expected {
    std::map<uint64_t, std::pair<std::string, std::string>> messages;
    uint64_t last = 0;
  };
  std::map<std::string, Expected> model;
  for (int step = 0; step < 8000; ++step) {
    const std::string name = "S" + std::to_string(random.below(3));
    Stream* stream = store_->find_stream("$G", name);
    if (stream == nullptr) {
      stream = &make(name);
      model[name] = {};
    }
    Expected& expected = model[name];
    const uint64_t dice = random.below(1000);
    if (dice < 750) {
      const std::string subject = "k." + std::to_string(random.below(30));
      const std::string body(random.below(200), static_cast<char>('a' + random.below(26)));
      auto seq = put(*stream, subject, body);
      ASSERT_TRUE(seq) << seq.error().text;
      ASSERT_EQ(*seq, expected.last + 1);
      expected.last = *seq;
      expected.messages[*seq] = {subject, body};
    } else if (dice < 980) {
      const uint64_t seq = random.below(expected.last + 2);
      ASSERT_EQ(stream->remove(seq, Removal::Deleted), expected.messages.erase(seq) > 0) << name << " " << seq;
    } else if (dice < 985) {
      const std::string subject = "k." + std::to_string(random.below(30));
      stream->purge({subject, 0, 0});
      std::erase_if(expected.messages, [&](const auto& entry) { return entry.second.first == subject; });
    } else if (dice < 988) {
      const uint64_t below = random.below(expected.last + 2);
      stream->purge({{}, std::max<uint64_t>(below, 2), 0});
      expected.messages.erase(expected.messages.begin(), expected.messages.lower_bound(std::max<uint64_t>(below, 2)));
      expected.last = std::max(expected.last, std::max<uint64_t>(below, 2) - 1);
    } else if (dice < 990) {
      stream->skip_to(expected.last + random.below(5));
      expected.last = stream->last_seq();
    } else if (dice == 990) {
      store_->delete_stream(*stream);
      model.erase(name);
    } else if (dice < 997) {
      store_->commit();
    } else {
      store_->commit();
      restart(random.below(2) == 0);
    }
    if (step % 200 != 0) continue;
    store_->commit();
    for (auto& [stream_name, wanted] : model) {
      Stream& found = get(stream_name);
      ASSERT_EQ(found.last_seq(), wanted.last);
      ASSERT_EQ(found.messages(), wanted.messages.size()) << stream_name;
      ASSERT_TRUE(found.lost().empty());
      uint64_t bytes = 0;
      std::map<std::string, uint64_t> counts;
      for (const auto& [seq, message] : wanted.messages) {
        auto record = found.load(seq);
        ASSERT_TRUE(record) << stream_name << " " << seq << ": " << record.error().text;
        ASSERT_EQ(record->subject, message.first);
        ASSERT_EQ(record->body, message.second);
        bytes += record->counted_bytes();
        ++counts[message.first];
      }
      ASSERT_EQ(found.bytes(), bytes);
      ASSERT_EQ(found.subject_count(), counts.size());
      for (const auto& [subject, count] : counts) ASSERT_EQ(found.count_of(subject), count);
    }
  }
}

// A run with gaps that lost its end, index and all: what was there is read, the rest is listed.
TEST_F(StoreTest, ACutRunFileSaysWhatIsGone) {
  Stream& made = make("S");
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(put(made, "s", std::string(200, 'x')));
  for (const uint64_t seq : {10U, 20U, 30U}) made.remove(seq, Removal::Deleted);
  Stream& behind = make("T");
  for (int i = 0; i < 60; ++i) EXPECT_TRUE(put(behind, "t", std::string(200, 'x')));
  restart(true);
  get("S").remove(40, Removal::Deleted);
  store_->commit();
  restart(true);
  store_.reset();
  for (const auto& entry : std::filesystem::directory_iterator(options_.directory + "/runs")) {
    std::filesystem::resize_file(entry.path(), 20'000);
  }
  open();
  EXPECT_EQ(get("T").load(1).error().code, Errc::NotFound);
  EXPECT_EQ(get("T").lost().size(), 60U);
  Stream& stream = get("S");
  EXPECT_FALSE(stream.load(40));
  EXPECT_TRUE(stream.load(39));
  size_t found = 0;
  for (uint64_t seq = 1; seq <= 100; ++seq) found += stream.load(seq) ? 1 : 0;
  EXPECT_GT(found, 30U);
  EXPECT_LT(found, 90U);
  for (uint64_t seq = 1; seq <= 100; ++seq) {
    const bool is_lost = std::binary_search(stream.lost().begin(), stream.lost().end(), seq);
    const bool was_removed = seq <= 40 && seq % 10 == 0;
    EXPECT_TRUE(was_removed || is_lost != static_cast<bool>(stream.load(seq))) << seq;
  }
}

}  // namespace
}  // namespace brokkr::store
