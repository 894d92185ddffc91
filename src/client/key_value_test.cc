#include "client/key_value.h"

#include <gtest/gtest.h>

#include "client/jetstream_test_server.h"

namespace brokkr::client {
namespace {

TEST(KeyNames, FollowTheRules) {
  for (const char* key : {"a", "a.b", "A-1/_=x", "a.b.c"}) EXPECT_TRUE(is_key(key)) << key;
  for (const char* key : {"", ".a", "a.", "a..b", "a b", "a*", "a.>", "ü", "a:b"}) {
    EXPECT_FALSE(is_key(key)) << key;
  }
  for (const char* pattern : {">", "a.>", "*", "a.*.b", "a"}) {
    EXPECT_TRUE(is_key_pattern(pattern)) << pattern;
  }
  for (const char* pattern : {"", ">.a", "a b", ".>", "a.>.b"}) {
    EXPECT_FALSE(is_key_pattern(pattern)) << pattern;
  }
  EXPECT_TRUE(is_bucket_name("a_B-1"));
  for (const char* name : {"", "a.b", "a/b", "a b", "a="}) EXPECT_FALSE(is_bucket_name(name)) << name;
}

TEST(KeyValueStream, HasTheAgreedConfiguration) {
  KeyValueConfig config;
  config.bucket = "B";
  config.ttl = std::chrono::seconds(60);
  config.history = 5;
  config.limit_marker_ttl = std::chrono::seconds(2);
  const auto stream = make_stream_config(config);
  ASSERT_TRUE(stream);
  json::Writer out({0, false});
  write_json(out, *stream);
  EXPECT_EQ(out.text(),
            R"({"name":"KV_B","subjects":["$KV.B.>"],"retention":"limits","max_consumers":-1,)"
            R"("max_msgs_per_subject":5,"max_msgs":-1,"max_bytes":-1,"max_age":60000000000,)"
            R"("max_msg_size":-1,"storage":"file","discard":"new","num_replicas":1,)"
            R"("duplicate_window":60000000000,"deny_delete":true,"allow_rollup_hdrs":true,)"
            R"("allow_direct":true,"allow_msg_ttl":true,"subject_delete_marker_ttl":2000000000})");
  config.history = 65;
  EXPECT_FALSE(make_stream_config(config));
}

TEST(KeyValueStream, MirrorsAndSourcesAreBuckets) {
  KeyValueConfig config;
  config.bucket = "B";
  config.mirror.emplace().name = "A";
  auto stream = make_stream_config(config);
  ASSERT_TRUE(stream);
  EXPECT_EQ(stream->mirror->name, "KV_A");
  EXPECT_TRUE(stream->mirror_direct);
  EXPECT_TRUE(stream->subjects.empty());
  config.mirror.reset();
  config.sources.resize(2);
  config.sources[0].name = "A";
  config.sources[1].name = "KV_B";
  config.sources[1].external = External{"$JS.d.API", ""};
  stream = make_stream_config(config);
  ASSERT_TRUE(stream);
  EXPECT_EQ(stream->sources[0].name, "KV_A");
  EXPECT_EQ(stream->sources[0].subject_transforms[0].src, "$KV.A.>");
  EXPECT_EQ(stream->sources[0].subject_transforms[0].dest, "$KV.B.>");
  EXPECT_TRUE(stream->sources[1].subject_transforms.empty());
}

class KeyValueTest : public JetStreamTest {
 protected:
  void open(KeyValueConfig config = {}) {
    config.bucket = stream_;
    config.storage = Storage::Memory;
    auto made =
        wait<KeyValue>([&](auto done) { KeyValue::create(*js_, config, std::move(done)); });
    ASSERT_TRUE(made) << made.error().text;
    kv_.emplace(std::move(*made));
  }
  uint64_t put(const std::string& key, std::string_view value) {
    auto done = wait<uint64_t>([&](auto handler) { kv_->put(key, value, std::move(handler)); });
    EXPECT_TRUE(done) << done.error().text;
    return done ? *done : 0;
  }
  ApiResult<KeyValueEntry> get(const std::string& key) {
    return wait<KeyValueEntry>([&](auto done) { kv_->get(key, std::move(done)); });
  }
  ApiResult<uint64_t> create(const std::string& key, std::string_view value, Duration ttl = {}) {
    return wait<uint64_t>([&](auto done) { kv_->create_key(key, value, std::move(done), ttl); });
  }
  void remove(const std::string& key) {
    EXPECT_TRUE(wait<Done>([&](auto done) { kv_->delete_key(key, std::move(done)); }));
  }
  ApiResult<std::vector<std::string>> keys(std::vector<std::string> patterns = {}) {
    return wait<std::vector<std::string>>(
        [&](auto done) { kv_->keys(std::move(done), std::move(patterns)); });
  }
  void watch(const KeyWatchOptions& options) {
    auto started = KeyWatch::start(
        *kv_, options,
        {.on_entry =
             [this](const KeyValueEntry& entry) {
               told_.push_back(std::string(to_string(entry.operation)) + " " + entry.key + "=" +
                               entry.value);
             },
         .on_initial_done = [this] { told_.emplace_back("--"); }});
    ASSERT_TRUE(started) << started.error().text;
    watch_ = std::move(*started);
  }
  void expect_told(const std::vector<std::string>& expected) {
    wait_until([&] { return told_.size() >= expected.size(); });
    EXPECT_EQ(told_, expected);
  }

  std::optional<KeyValue> kv_;
  std::unique_ptr<KeyWatch> watch_;
  std::vector<std::string> told_;
};

TEST_F(KeyValueTest, ValuesComeBackWithTheirRevision) {
  open();
  EXPECT_EQ(put("a", "1"), 1U);
  EXPECT_EQ(put("a", ""), 2U);
  auto entry = get("a");
  ASSERT_TRUE(entry) << entry.error().text;
  EXPECT_EQ(entry->value, "");
  EXPECT_EQ(entry->revision, 2U);
  EXPECT_EQ(entry->key, "a");
  EXPECT_EQ(entry->operation, KeyOperation::Put);
  EXPECT_GT(entry->created.time_since_epoch().count(), 0);
  EXPECT_EQ(get("nope").error().text, "key not found");
  EXPECT_EQ(get("bad key").error().code, Errc::InvalidArgument);
  EXPECT_EQ(get("*").error().code, Errc::InvalidArgument);
}

TEST_F(KeyValueTest, DeletedKeysAreNotFoundAndMayBeCreatedAgain) {
  open({.history = 5});
  EXPECT_TRUE(create("a", "1"));
  auto again = create("a", "2");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::AlreadyExists);
  remove("a");
  EXPECT_EQ(get("a").error().code, Errc::NotFound);
  auto made = create("a", "3");
  ASSERT_TRUE(made) << made.error().text;
  EXPECT_EQ(*made, 3U);
  EXPECT_TRUE(wait<Done>([&](auto done) { kv_->purge_key("a", std::move(done)); }));
  auto history = wait<std::vector<KeyValueEntry>>(
      [&](auto done) { kv_->history("a", std::move(done)); });
  ASSERT_TRUE(history);
  ASSERT_EQ(history->size(), 1U);
  EXPECT_EQ((*history)[0].operation, KeyOperation::Purge);
}

TEST_F(KeyValueTest, UpdateNeedsTheLastRevision) {
  open();
  const uint64_t revision = put("a", "1");
  const auto update = [&](uint64_t expected) {
    return wait<uint64_t>(
        [&](auto done) { kv_->update_key("a", "2", expected, std::move(done)); });
  };
  EXPECT_TRUE(update(revision));
  auto late = update(revision);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().err_code, kWrongLastSequenceError);
  EXPECT_FALSE(wait<Done>([&](auto done) { kv_->delete_key("a", std::move(done), revision); }));
}

TEST_F(KeyValueTest, RevisionsBelongToTheirKey) {
  open({.history = 3});
  put("a", "1");
  put("b", "2");
  const auto get_revision = [&](uint64_t revision) {
    return wait<KeyValueEntry>(
        [&](auto done) { kv_->get_revision("a", revision, std::move(done)); });
  };
  ASSERT_TRUE(get_revision(1));
  EXPECT_EQ(get_revision(1)->value, "1");
  EXPECT_EQ(get_revision(2).error().code, Errc::NotFound);
  EXPECT_EQ(get_revision(9).error().code, Errc::NotFound);
}

TEST_F(KeyValueTest, KeysAreThoseWithAValue) {
  open({.history = 3});
  EXPECT_TRUE(keys()->empty());
  for (const char* key : {"a", "b.x", "b.y", "c", "a"}) put(key, "v");
  remove("c");
  EXPECT_EQ(*keys(), (std::vector<std::string>{"b.x", "b.y", "a"}));
  EXPECT_EQ(*keys({"b.*"}), (std::vector<std::string>{"b.x", "b.y"}));
  EXPECT_EQ(*keys({"a", "b.x"}), (std::vector<std::string>{"b.x", "a"}));
  EXPECT_FALSE(keys({"a b"}));
}

TEST_F(KeyValueTest, HistoryIsWholeAndInOrder) {
  open({.history = 10});
  put("a", "1");
  put("a", "2");
  remove("a");
  put("a", "3");
  auto history =
      wait<std::vector<KeyValueEntry>>([&](auto done) { kv_->history("a", std::move(done)); });
  ASSERT_TRUE(history);
  std::string text;
  for (const KeyValueEntry& entry : *history) {
    (text += to_string(entry.operation)) += entry.value + " ";
  }
  EXPECT_EQ(text, "PUT1 PUT2 DEL PUT3 ");
  auto none =
      wait<std::vector<KeyValueEntry>>([&](auto done) { kv_->history("zz", std::move(done)); });
  EXPECT_EQ(none.error().code, Errc::NotFound);
}

TEST_F(KeyValueTest, WatchTellsWhatIsThereThenChanges) {
  open({.history = 5});
  put("a", "1");
  put("a", "2");
  put("b", "3");
  watch({});
  expect_told({"PUT a=2", "PUT b=3", "--"});
  remove("a");
  put("c", "4");
  expect_told({"PUT a=2", "PUT b=3", "--", "DEL a=", "PUT c=4"});
}

TEST_F(KeyValueTest, WatchOptionsNarrowIt) {
  open({.history = 5});
  put("a", "1");
  put("a", "2");
  put("b.x", "3");
  remove("b.x");
  watch({.patterns = {"a"}, .include_history = true});
  expect_told({"PUT a=1", "PUT a=2", "--"});
  told_.clear();
  watch({.ignore_deletes = true, .meta_only = true});
  expect_told({"PUT a=", "--"});
  told_.clear();
  watch({.resume_from_revision = 3});
  expect_told({"PUT b.x=3", "DEL b.x=", "--"});
  told_.clear();
  watch({.updates_only = true});
  expect_told({"--"});
  put("a", "9");
  expect_told({"--", "PUT a=9"});
}

TEST_F(KeyValueTest, WatchOfAnEmptyBucketIsDoneAtOnce) {
  open();
  watch({});
  expect_told({"--"});
}

TEST_F(KeyValueTest, PurgeDeletesRemovesWhatDeletedKeysLeft) {
  open({.history = 5});
  put("a", "1");
  put("a", "2");
  put("b", "3");
  remove("a");
  const auto purge = [&](Duration age) {
    return wait<uint64_t>([&](auto done) { kv_->purge_deletes(std::move(done), age); });
  };
  const auto count = [&] {
    return wait<KeyValueStatus>([&](auto done) { kv_->status(std::move(done)); })
        ->info.state.messages;
  };
  auto purged = purge(std::chrono::minutes(30));
  ASSERT_TRUE(purged) << purged.error().text;
  EXPECT_EQ(*purged, 1U);
  EXPECT_EQ(count(), 2U);
  EXPECT_TRUE(purge(Duration(-1)));
  EXPECT_EQ(count(), 1U);
}

TEST_F(KeyValueTest, KeysMayHaveATimeToLive) {
  open({.limit_marker_ttl = std::chrono::seconds(60)});
  auto made = create("a", "1", std::chrono::seconds(1));
  ASSERT_TRUE(made) << made.error().text;
  watch({.ignore_deletes = false});
  expect_told({"PUT a=1", "--", "PURGE a="});
}

TEST_F(KeyValueTest, MirrorsAreReadUnderTheirOwnName) {
  open();
  put("a", "1");
  KeyValueConfig config;
  config.bucket = stream_ + "_mirror";
  config.storage = Storage::Memory;
  config.mirror.emplace().name = stream_;
  auto made = wait<KeyValue>([&](auto done) { KeyValue::create(*js_, config, std::move(done)); });
  ASSERT_TRUE(made) << made.error().text;
  kv_.emplace(std::move(*made));
  ASSERT_TRUE(wait_until([&] { return static_cast<bool>(get("a")); }));
  put("b", "2");
  ASSERT_TRUE(wait_until([&] { return static_cast<bool>(get("b")); }));
  EXPECT_EQ(*keys(), (std::vector<std::string>{"a", "b"}));
}

TEST_F(KeyValueTest, BucketsAreListedAndDeleted) {
  open();
  auto list = wait<std::vector<KeyValueStatus>>(
      [&](auto done) { KeyValue::list_buckets(*js_, std::move(done)); });
  ASSERT_TRUE(list);
  const auto here = std::find_if(list->begin(), list->end(), [&](const KeyValueStatus& status) {
    return status.bucket() == stream_;
  });
  EXPECT_NE(here, list->end());
  const auto remove = [&] {
    return wait<Done>([&](auto done) { KeyValue::delete_bucket(*js_, stream_, std::move(done)); });
  };
  EXPECT_TRUE(remove());
  EXPECT_EQ(remove().error().text, "bucket not found");
  EXPECT_FALSE(wait<KeyValue>([&](auto done) { KeyValue::open(*js_, stream_, std::move(done)); }));
}

}  // namespace
}  // namespace brokkr::client
