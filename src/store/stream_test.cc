#include "store/stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/random.h"
#include "store/store.h"
#include "subject/subject.h"

namespace brokkr::store {
namespace {

// Runs everything at once; a store in memory only needs none of it.
class InlineExecutor final : public Executor {
 public:
  void run(Callback<void()> work, Callback<void()> done) override {
    work();
    done();
  }
};

class StreamTest : public ::testing::Test {
 protected:
  StreamTest() {
    auto log = Log::open({});
    EXPECT_TRUE(log);
    log_ = std::move(*log);
    auto store = Store::open({}, {posix_files(), executor_, executor_, clock_, *log_,
                                  [](Duration, const Callback<void()>&) {}});
    EXPECT_TRUE(store);
    store_ = std::move(*store);
  }

  Stream& make(StreamLimits limits, Storage storage = Storage::File) {
    StreamOptions options;
    options.account = "$G";
    options.name = "S";
    options.storage = storage;
    options.limits = limits;
    auto stream = store_->create_stream(options);
    EXPECT_TRUE(stream);
    return **stream;
  }

  Result<uint64_t> put(Stream& stream, std::string_view subject, std::string_view body = "x") {
    NewMessage message;
    message.subject = subject;
    message.body = body;
    message.timestamp_ns = clock_.wall_now().time_since_epoch().count();
    return stream.append(message);
  }

  ManualClock clock_;
  InlineExecutor executor_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<Store> store_;
};

TEST_F(StreamTest, KeepsTheNewestOfASubject) {
  StreamLimits limits;
  limits.max_msgs_per_subject = 1;
  Stream& stream = make(limits);
  EXPECT_EQ(*put(stream, "a", "1"), 1U);
  EXPECT_EQ(*put(stream, "b", "2"), 2U);
  EXPECT_EQ(*put(stream, "a", "3"), 3U);
  EXPECT_EQ(stream.messages(), 2U);
  EXPECT_EQ(stream.first_seq(), 2U);
  EXPECT_EQ(stream.load_last("a")->body, "3");
  EXPECT_FALSE(stream.load(1));
  EXPECT_EQ(stream.count_of("a"), 1U);
}

TEST_F(StreamTest, RefusesWhatDoesNotFitWhenNewIsDiscarded) {
  StreamLimits limits;
  limits.max_msgs = 2;
  limits.discard_new = true;
  Stream& stream = make(limits);
  EXPECT_TRUE(put(stream, "a"));
  EXPECT_TRUE(put(stream, "a"));
  auto refused = put(stream, "a");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().text, "maximum messages exceeded");
  EXPECT_EQ(stream.last_seq(), 2U);
}

TEST_F(StreamTest, ExpiresByAgeAndByItsOwnTime) {
  StreamLimits limits;
  limits.max_age = std::chrono::seconds(10);
  Stream& stream = make(limits);
  ASSERT_TRUE(put(stream, "a"));
  NewMessage message;
  message.subject = "b";
  message.timestamp_ns = clock_.wall_now().time_since_epoch().count();
  message.expires_at = static_cast<uint64_t>(clock_.wall_now().time_since_epoch() / std::chrono::seconds(1)) + 3;
  ASSERT_TRUE(stream.append(message));
  message.subject = "c";
  message.expires_at = kNeverExpires;
  ASSERT_TRUE(stream.append(message));
  clock_.advance(std::chrono::seconds(4));
  auto next = stream.expire(clock_.wall_now());
  ASSERT_TRUE(next);
  EXPECT_EQ(stream.messages(), 2U);
  EXPECT_FALSE(stream.load(2));
  clock_.advance(std::chrono::seconds(7));
  next = stream.expire(clock_.wall_now());
  EXPECT_EQ(stream.messages(), 1U);
  EXPECT_EQ(stream.first_seq(), 3U);
  EXPECT_FALSE(next);
}

TEST_F(StreamTest, RemembersMessageIdsForTheWindow) {
  StreamLimits limits;
  limits.duplicate_window = std::chrono::seconds(8);
  Stream& stream = make(limits);
  NewMessage message;
  message.subject = "a";
  message.message_id = "one";
  message.timestamp_ns = clock_.wall_now().time_since_epoch().count();
  ASSERT_TRUE(stream.append(message));
  EXPECT_EQ(stream.find_message_id("one"), 1U);
  EXPECT_FALSE(stream.find_message_id("two"));
  clock_.advance(std::chrono::seconds(9));
  EXPECT_FALSE(stream.find_message_id("one"));
}

TEST_F(StreamTest, PurgesByFilterSequenceAndCount) {
  Stream& stream = make({});
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(put(stream, i % 2 == 0 ? "even" : "odd"));
  EXPECT_EQ(stream.purge({"odd", 6, 0}), 2U);   // 2, 4
  EXPECT_EQ(stream.purge({"even", 0, 2}), 3U);  // 1, 3, 5
  EXPECT_EQ(stream.first_seq(), 6U);
  EXPECT_EQ(stream.purge({}), 5U);
  EXPECT_EQ(stream.first_seq(), 11U);
  EXPECT_EQ(stream.state().messages, 0U);
}

TEST_F(StreamTest, ExpiresMessagesWithinTheSecond) {
  Stream& stream = make({});
  NewMessage message;
  message.subject = "a";
  message.timestamp_ns = 10'400'000'000;
  message.expires_at = 12;  // a second later, in whole seconds
  ASSERT_TRUE(stream.append(message));
  const WallTime due(Duration(11'400'000'000));
  EXPECT_EQ(stream.expire(due - Duration(1)), due);
  EXPECT_EQ(stream.state().messages, 1U);
  EXPECT_EQ(stream.expire(due), std::nullopt);
  EXPECT_EQ(stream.state().messages, 0U);
}

TEST_F(StreamTest, PurgesAllButTheNewestWithoutCountingGaps) {
  Stream& stream = make({});
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(put(stream, "s"));
  for (const uint64_t seq : {2, 5}) ASSERT_TRUE(stream.remove(seq, Removal::Limit));
  EXPECT_EQ(stream.purge({{}, 0, 2}), 1U);  // 1
  EXPECT_EQ(stream.first_seq(), 3U);
  EXPECT_EQ(stream.state().messages, 2U);
}

// A stream against the plainest model there is.
struct Model {
  struct Message {
    std::string subject;
    std::string body;
  };
  std::map<uint64_t, Message> messages;
  uint64_t last = 0;
};

void compare(Stream& stream, const Model& model, Random& random) {
  ASSERT_EQ(stream.messages(), model.messages.size());
  ASSERT_EQ(stream.last_seq(), model.last);
  ASSERT_EQ(stream.first_seq(), model.messages.empty() ? model.last + 1 : model.messages.begin()->first);
  const std::string patterns[] = {"k.1", "k.*", "k.5", ">", "x.*", "k.2.a", "*.3"};
  for (const std::string& pattern : patterns) {
    const SubjectFilter filter(stream, {pattern});
    const uint64_t from = random.below(model.last + 2);
    uint64_t next = 0;
    uint64_t count = 0;
    uint64_t last = 0;
    for (const auto& [seq, message] : model.messages) {
      if (!subject::matches(pattern, message.subject)) continue;
      last = seq;
      if (seq < from) continue;
      if (next == 0) next = seq;
      ++count;
    }
    ASSERT_EQ(stream.next_seq(filter, from), next) << pattern << " from " << from;
    ASSERT_EQ(stream.count(filter, from), count) << pattern << " from " << from;
    ASSERT_EQ(stream.last_seq_of(pattern), last) << pattern;
  }
  const uint64_t seq = random.below(model.last + 2);
  const auto expected = model.messages.find(seq);
  auto loaded = stream.load(seq);
  ASSERT_EQ(static_cast<bool>(loaded), expected != model.messages.end());
  if (loaded) {
    ASSERT_EQ(loaded->subject, expected->second.subject);
    ASSERT_EQ(loaded->body, expected->second.body);
  }
}

TEST_F(StreamTest, AgreesWithAModel) {
  const uint64_t seed = secure_seed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  SeededRandom random(seed);
  for (const Storage storage : {Storage::File, Storage::Memory}) {
    Stream& stream = make({}, storage);
    Model model;
    for (int step = 0; step < 6000; ++step) {
      const uint64_t dice = random.below(100);
      if (dice < 70) {
        const std::string subject = random.below(20) == 0 ? "k.2.a" : "k." + std::to_string(random.below(8));
        const std::string body(random.below(300), static_cast<char>('a' + random.below(26)));
        const auto seq = put(stream, subject, body);
        ASSERT_TRUE(seq);
        model.last = *seq;
        model.messages[*seq] = {subject, body};
      } else if (dice < 98) {
        const uint64_t seq = random.below(model.last + 2);
        ASSERT_EQ(stream.remove(seq, Removal::Deleted), model.messages.erase(seq) > 0);
      } else if (dice < 99) {
        const uint64_t to = model.last + random.below(3000);
        stream.skip_to(to);
        model.last = std::max(model.last, to);
      } else if (random.below(40) == 0) {
        stream.purge({"k.3", 0, 0});
        std::erase_if(model.messages, [](const auto& entry) { return entry.second.subject == "k.3"; });
      }
      if (step % 100 == 0) {
        compare(stream, model, random);
        if (HasFatalFailure()) return;
      }
    }
    store_->delete_stream(stream);
  }
}

}  // namespace
}  // namespace brokkr::store
