#include "client/object_store.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/bytes.h"
#include "client/jetstream_test_server.h"

namespace brokkr::client {
namespace {

TEST(ObjectJson, RoundTrips) {
  const char* text =
      R"({"name":"n","description":"d","headers":{"K":["1","2"]},"metadata":{"a":"b"},)"
      R"("options":{"link":{"bucket":"B","name":"o"},"max_chunk_size":131072},"bucket":"b",)"
      R"("nuid":"N","size":5,"mtime":"0001-01-01T00:00:00Z","chunks":1,"digest":"SHA-256=x",)"
      R"("deleted":true})";
  const auto info = parse_object_info(text);
  ASSERT_TRUE(info) << info.error().text;
  EXPECT_EQ(make_object_json(*info), text);
  for (const char* bad : {"", "[]", "{", R"({"size":"x"})"}) EXPECT_FALSE(parse_object_info(bad)) << bad;
}

TEST(ObjectStoreStream, HasTheAgreedConfiguration) {
  ObjectStoreConfig config;
  config.bucket = "B";
  config.is_compressed = true;
  const auto stream = make_stream_config(config);
  ASSERT_TRUE(stream);
  json::Writer out({0, false});
  write_json(out, *stream);
  EXPECT_EQ(out.text(),
            R"({"name":"OBJ_B","subjects":["$O.B.C.>","$O.B.M.>"],"retention":"limits",)"
            R"("max_consumers":-1,"max_msgs_per_subject":-1,"max_msgs":-1,"max_bytes":-1,)"
            R"("max_age":0,"max_msg_size":-1,"storage":"file","discard":"new","num_replicas":1,)"
            R"("compression":"s2","allow_rollup_hdrs":true,"allow_direct":true})");
  config.bucket = "a.b";
  EXPECT_FALSE(make_stream_config(config));
}

class ObjectStoreTest : public JetStreamTest {
 protected:
  void open(const std::string& suffix = {}) {
    ObjectStoreConfig config;
    config.bucket = stream_ + suffix;
    config.storage = Storage::Memory;
    auto made =
        wait<ObjectStore>([&](auto done) { ObjectStore::create(*js_, config, std::move(done)); });
    ASSERT_TRUE(made) << made.error().text;
    store_.emplace(std::move(*made));
  }
  ApiResult<ObjectInfo> put(const ObjectMeta& meta, std::string bytes) {
    return wait<ObjectInfo>(
        [&](auto done) { store_->put_bytes(meta, std::move(bytes), std::move(done)); });
  }
  ApiResult<std::string> get(const std::string& name, uint64_t bytes_max = 1 << 30) {
    return wait<std::string>(
        [&](auto done) { store_->get_bytes(name, bytes_max, std::move(done)); });
  }
  ApiResult<ObjectInfo> info(const std::string& name, bool with_deleted = false) {
    return wait<ObjectInfo>(
        [&](auto done) { store_->info(name, std::move(done), with_deleted); });
  }
  uint64_t message_count() {
    auto status =
        wait<ObjectStoreStatus>([&](auto done) { store_->status(std::move(done)); });
    return status ? status->info.state.messages : 0;
  }

  std::optional<ObjectStore> store_;
};

std::string make_bytes(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 7 + i / 251);
  return bytes;
}

TEST_F(ObjectStoreTest, ComesBackAsItWas) {
  open();
  for (const size_t size : {size_t{0}, size_t{1}, size_t{131072}, size_t{131073}, size_t{9'000'000}}) {
    const std::string bytes = make_bytes(size);
    const std::string name = "object/of " + std::to_string(size);
    auto stored = put({.name = name, .description = "d", .headers = {{"K", {"v"}}}}, bytes);
    ASSERT_TRUE(stored) << stored.error().text;
    EXPECT_EQ(stored->size, size);
    EXPECT_EQ(stored->chunks, (size + 131071) / 131072);
    auto back = get(name);
    ASSERT_TRUE(back) << back.error().text;
    EXPECT_TRUE(*back == bytes);
    auto seen = info(name);
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->digest, stored->digest);
    EXPECT_EQ(seen->headers.at("K"), std::vector<std::string>{"v"});
  }
}

TEST_F(ObjectStoreTest, PutReplacesAndRemovesOldChunks) {
  open();
  ASSERT_TRUE(put({.name = "a", .max_chunk_size = 10}, make_bytes(95)));
  EXPECT_EQ(message_count(), 11U);
  ASSERT_TRUE(put({.name = "a"}, "short"));
  EXPECT_EQ(message_count(), 2U);
  EXPECT_EQ(*get("a"), "short");
}

TEST_F(ObjectStoreTest, FailedPutLeavesNothing) {
  open();
  int calls = 0;
  auto stored = wait<ObjectInfo>([&](auto done) {
    store_->put({.name = "a", .max_chunk_size = 10},
                [&](std::span<char> out) -> Result<size_t> {
                  if (++calls > 20) return Error{Errc::System, "disk is broken"};
                  std::fill(out.begin(), out.end(), 'x');
                  return out.size();
                },
                std::move(done));
  });
  ASSERT_FALSE(stored);
  EXPECT_EQ(stored.error().text, "disk is broken");
  EXPECT_EQ(message_count(), 0U);
  EXPECT_EQ(info("a").error().text, "object not found");
}

TEST_F(ObjectStoreTest, DamageIsFound) {
  open();
  auto stored = put({.name = "a", .max_chunk_size = 10}, make_bytes(100));
  ASSERT_TRUE(stored);
  ASSERT_TRUE(wait<Done>([&](auto done) {
    js_->delete_message(store_->stream(), 4, false, std::move(done));
  }));
  auto back = get("a");
  ASSERT_FALSE(back);
  EXPECT_EQ(back.error().code, Errc::Corrupt);
  ObjectInfo forged = *stored;
  forged.name = "b";
  forged.digest = "SHA-256=AAAA";
  forged.size = 90;
  ASSERT_TRUE(publish(store_->meta_subject("b"), make_object_json(forged)));
  EXPECT_EQ(get("b").error().text, "received a corrupt object, digests do not match");
  ASSERT_TRUE(wait<uint64_t>([&](auto done) {
    js_->purge_stream(store_->stream(), {store_->chunk_subject(stored->nuid)}, std::move(done));
  }));
  EXPECT_EQ(get("a").error().code, Errc::Corrupt);
}

// An API whose answers are those of a server that lags behind the stream's leader.
class LaggingApi {
 public:
  // `on_leader_asked` is given what the leader is asked and what to call to let it be asked.
  using LeaderAsked = std::function<void(std::string_view body, std::function<void()> go_on)>;
  LaggingApi(Connection& connection, LeaderAsked on_leader_asked)
      : connection_(connection), on_leader_asked_(std::move(on_leader_asked)) {
    auto subscribed = connection.subscribe("LAG.API.>", [this](const Message& m) { forward(m); });
    EXPECT_TRUE(subscribed);
    if (subscribed) subscription_ = std::move(*subscribed);
  }

  // What to do when messages are asked for, and what to call then.
  std::function<void(std::function<void()> go_on)> before_next;

 private:
  void forward(const Message& message) {
    const std::string request = std::string(message.subject.substr(8));
    PublishOptions options;
    if (request.starts_with("DIRECT.GET.")) {
      options.headers = "NATS/1.0 404 Message Not Found\r\n\r\n";
      EXPECT_TRUE(connection_.publish(message.reply, {}, options));
      return;
    }
    if (request.starts_with("STREAM.INFO.")) return tell_of_replicas(request, std::string(message.reply));
    auto go_on = [this, request, reply = std::string(message.reply), body = std::string(message.payload)] {
      PublishOptions with_reply;
      with_reply.reply = reply;
      EXPECT_TRUE(connection_.publish("$JS.API." + request, body, with_reply));
    };
    if (request.starts_with("CONSUMER.MSG.NEXT.") && before_next) return before_next(std::move(go_on));
    if (!request.starts_with("STREAM.MSG.GET.")) return go_on();
    on_leader_asked_(message.payload, std::move(go_on));
  }

  void tell_of_replicas(const std::string& request, const std::string& reply) {
    const auto on_info = [this, reply](const Result<Message>& info) {
      ASSERT_TRUE(info);
      std::string text(info->payload);
      const std::string alone = R"("num_replicas":1)";
      const size_t at = text.find(alone);
      ASSERT_NE(at, std::string::npos) << text;
      EXPECT_TRUE(connection_.publish(reply, text.replace(at, alone.size(), R"("num_replicas":3)")));
    };
    EXPECT_TRUE(connection_.request("$JS.API." + request, {}, std::chrono::seconds(5), on_info));
  }

  Connection& connection_;
  LeaderAsked on_leader_asked_;
  std::unique_ptr<Subscription> subscription_;
};

TEST_F(ObjectStoreTest, ComesWholeFromAServerThatLagsBehind) {
  open();
  auto stored = put({.name = "a", .max_chunk_size = 10}, make_bytes(30));
  ASSERT_TRUE(stored);
  const std::string bytes = make_bytes(30);
  // Of "late" the last chunk reaches this server only after the leader was asked for it.
  ObjectInfo late = *stored;
  late.name = "late";
  late.nuid = "late";
  const std::string chunks = store_->chunk_subject("late");
  ASSERT_TRUE(publish(chunks, bytes.substr(0, 10)));
  ASSERT_TRUE(publish(chunks, bytes.substr(10, 10)));
  ASSERT_TRUE(publish(store_->meta_subject("late"), make_object_json(late)));
  int asked_for_chunks = 0;
  LaggingApi api(session_->connection(), [&](std::string_view body, std::function<void()> go_on) {
    if (body.find(chunks) == std::string_view::npos || ++asked_for_chunks > 1) return go_on();
    js_->publish(chunks, bytes.substr(20, 10), {}, [go_on](const ApiResult<PubAck>& ack) {
      EXPECT_TRUE(ack);
      go_on();
    });
  });
  JetStreamOptions options;
  options.api_prefix = "LAG.API";
  const JetStream lagging(session_->connection(), options);
  auto opened = wait<ObjectStore>([&](auto done) { ObjectStore::open(lagging, store_->bucket(), std::move(done)); });
  ASSERT_TRUE(opened) << opened.error().text;
  store_.emplace(*opened);
  const auto whole = get("a");
  ASSERT_TRUE(whole) << whole.error().text;
  EXPECT_EQ(*whole, bytes);
  const auto late_whole = get("late");
  ASSERT_TRUE(late_whole) << late_whole.error().text;
  EXPECT_EQ(*late_whole, bytes);
  EXPECT_GE(asked_for_chunks, 1);
  EXPECT_EQ(get("none").error().code, Errc::NotFound);
}

TEST_F(ObjectStoreTest, EndsWhenChunksVanishAfterTheyWereCounted) {
  open();
  auto stored = put({.name = "a"}, make_bytes(30));
  ASSERT_TRUE(stored);
  LaggingApi api(session_->connection(), [](std::string_view, std::function<void()> go_on) { go_on(); });
  api.before_next = [&](std::function<void()> go_on) {
    js_->purge_stream(store_->stream(), {store_->chunk_subject(stored->nuid)},
                      [go_on](const ApiResult<uint64_t>&) { go_on(); });
  };
  JetStreamOptions options;
  options.api_prefix = "LAG.API";
  const JetStream through(session_->connection(), options);
  auto opened = wait<ObjectStore>([&](auto done) { ObjectStore::open(through, store_->bucket(), std::move(done)); });
  ASSERT_TRUE(opened) << opened.error().text;
  store_.emplace(*opened);
  EXPECT_EQ(get("a").error().text, "object \"a\" has 0 of 30 bytes");
}

TEST_F(ObjectStoreTest, GetHasALimit) {
  open();
  ASSERT_TRUE(put({.name = "a"}, make_bytes(1000)));
  EXPECT_EQ(get("a", 999).error().code, Errc::LimitExceeded);
  EXPECT_TRUE(get("a", 1000));
}

TEST_F(ObjectStoreTest, RemovedObjectsLeaveAMark) {
  open();
  ASSERT_TRUE(put({.name = "a"}, "x"));
  ASSERT_TRUE(put({.name = "b"}, "y"));
  EXPECT_TRUE(wait<Done>([&](auto done) { store_->remove("a", std::move(done)); }));
  EXPECT_EQ(get("a").error().code, Errc::NotFound);
  auto mark = info("a", true);
  ASSERT_TRUE(mark);
  EXPECT_TRUE(mark->is_deleted);
  auto list = wait<std::vector<ObjectInfo>>([&](auto done) { store_->list(std::move(done)); });
  ASSERT_TRUE(list);
  ASSERT_EQ(list->size(), 1U);
  EXPECT_EQ((*list)[0].name, "b");
  EXPECT_FALSE(wait<Done>([&](auto done) { store_->remove("a", std::move(done)); }));
}

TEST_F(ObjectStoreTest, LinksAreFollowed) {
  open("_other");
  auto target = put({.name = "a"}, "content");
  ASSERT_TRUE(target);
  open();
  ASSERT_TRUE(wait<ObjectInfo>([&](auto done) { store_->add_link("l", *target, std::move(done)); }));
  EXPECT_EQ(*get("l"), "content");
  ASSERT_TRUE(wait<ObjectInfo>(
      [&](auto done) { store_->add_bucket_link("bl", "other", std::move(done)); }));
  EXPECT_EQ(get("bl").error().code, Errc::InvalidArgument);
  ASSERT_TRUE(put({.name = "x"}, "y"));
  auto clash = wait<ObjectInfo>([&](auto done) { store_->add_link("x", *target, std::move(done)); });
  EXPECT_EQ(clash.error().code, Errc::AlreadyExists);
}

TEST_F(ObjectStoreTest, DescriptionsChangeWithoutTheBytes) {
  open();
  ASSERT_TRUE(put({.name = "a"}, "x"));
  ASSERT_TRUE(put({.name = "c"}, "z"));
  const auto rename = [&](const std::string& to) {
    return wait<Done>([&](auto done) {
      store_->update_meta("a", {.name = to, .description = "d"}, std::move(done));
    });
  };
  EXPECT_EQ(rename("c").error().code, Errc::AlreadyExists);
  auto renamed = rename("b");
  ASSERT_TRUE(renamed) << renamed.error().text;
  EXPECT_EQ(*get("b"), "x");
  EXPECT_EQ(info("b")->description, "d");
  EXPECT_EQ(get("a").error().code, Errc::NotFound);
}

TEST_F(ObjectStoreTest, WatchTellsWhatIsThereThenChanges) {
  open();
  ASSERT_TRUE(put({.name = "a"}, "x"));
  std::vector<std::string> told;
  auto watch = ObjectWatch::start(
      *store_, {},
      {.on_object = [&](const ObjectInfo& object) {
         told.push_back(object.name + (object.is_deleted ? " gone" : ""));
       },
       .on_initial_done = [&] { told.emplace_back("--"); }});
  ASSERT_TRUE(wait_until([&] { return told.size() == 2; }));
  ASSERT_TRUE(put({.name = "b"}, "y"));
  ASSERT_TRUE(wait<Done>([&](auto done) { store_->remove("a", std::move(done)); }));
  ASSERT_TRUE(wait_until([&] { return told.size() == 4; }));
  EXPECT_EQ(told, (std::vector<std::string>{"a", "--", "b", "a gone"}));
}

TEST_F(ObjectStoreTest, SealedBucketsStayAsTheyAre) {
  open();
  ASSERT_TRUE(put({.name = "a"}, "x"));
  auto sealed = wait<Done>([&](auto done) { store_->seal(std::move(done)); });
  ASSERT_TRUE(sealed) << sealed.error().text;
  EXPECT_FALSE(put({.name = "b"}, "y"));
  EXPECT_EQ(*get("a"), "x");
}

}  // namespace
}  // namespace brokkr::client
