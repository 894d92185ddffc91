#include "client/jetstream.h"

#include <gtest/gtest.h>

#include "client/headers.h"
#include "client/jetstream_test_server.h"

namespace brokkr::client {
namespace {

TEST(JetStreamConfigJson, StreamRoundTrips) {
  const char* text =
      R"({"name":"S","description":"d","subjects":["a","b.>"],"retention":"workqueue",)"
      R"("max_consumers":3,"max_msgs_per_subject":2,"max_msgs":10,"max_bytes":1024,)"
      R"("max_age":60000000000,"max_msg_size":100,"storage":"memory","discard":"new",)"
      R"("num_replicas":3,"no_ack":true,"duplicate_window":1000000000,)"
      R"("placement":{"cluster":"c","tags":["t"]},"mirror":{"name":"M","opt_start_seq":4,)"
      R"("external":{"api":"$JS.d.API"}},"sources":[{"name":"A",)"
      R"("opt_start_time":"2026-01-02T03:04:05Z","filter_subject":"x"},{"name":"B",)"
      R"("subject_transforms":[{"src":"a","dest":"b"}]}],"subject_transform":{"src":"p","dest":"q"},)"
      R"("republish":{"src":"r","dest":"s","headers_only":true},)"
      R"("consumer_limits":{"inactive_threshold":5,"max_ack_pending":6},"compression":"s2",)"
      R"("first_seq":7,"sealed":true,"deny_delete":true,"deny_purge":true,)"
      R"("allow_rollup_hdrs":true,"allow_direct":true,"mirror_direct":true,)"
      R"("discard_new_per_subject":true,"metadata":{"k":"v"},"allow_msg_ttl":true,)"
      R"("subject_delete_marker_ttl":1000000000,"allow_msg_counter":true,"allow_atomic":true,)"
      R"("allow_msg_schedules":true,"allow_batched":true,"persist_mode":"async"})";
  const auto config = parse_stream_config(*json::parse(text));
  ASSERT_TRUE(config) << config.error().text;
  json::Writer out({0, false});
  write_json(out, *config);
  EXPECT_EQ(out.text(), text);
}

TEST(JetStreamConfigJson, ConsumerRoundTrips) {
  const char* text =
      R"({"name":"C","durable_name":"C","description":"d","deliver_policy":"by_start_time",)"
      R"("opt_start_seq":2,"opt_start_time":"2026-01-02T03:04:05.5Z","ack_policy":"explicit",)"
      R"("ack_wait":1,"max_deliver":3,"backoff":[1,2],"filter_subject":"a",)"
      R"("filter_subjects":["b","c"],"replay_policy":"original","rate_limit_bps":8,)"
      R"("sample_freq":"50%","max_waiting":9,"max_ack_pending":10,"flow_control":true,)"
      R"("idle_heartbeat":11,"headers_only":true,"max_batch":12,"max_expires":13,"max_bytes":14,)"
      R"("deliver_subject":"x","deliver_group":"g","inactive_threshold":15,"num_replicas":0,)"
      R"("mem_storage":true,"metadata":{"k":"v"},"pause_until":"2026-01-02T03:04:05Z",)"
      R"("priority_groups":["p"],"priority_policy":"pinned_client","priority_timeout":16})";
  const auto config = parse_consumer_config(*json::parse(text));
  ASSERT_TRUE(config) << config.error().text;
  json::Writer out({0, false});
  write_json(out, *config);
  EXPECT_EQ(out.text(), text);
}

TEST(JetStreamConfigJson, WrongMembersAreNamed) {
  for (const char* text :
       {R"({"retention":"forever"})", R"({"max_msgs":"x"})", R"({"subjects":[1]})",
        R"({"sources":[{"opt_start_time":"yesterday"}]})"}) {
    EXPECT_FALSE(parse_stream_config(*json::parse(text))) << text;
  }
  const auto config = parse_consumer_config(*json::parse(R"({"ack_wait":"1s"})"));
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().text, "member \"ack_wait\" cannot be read");
}

TEST(PubAckJson, ErrorsAndStrangersAreTold) {
  const auto ack = parse_pub_ack(R"({"stream":"S","domain":"D","seq":3,"duplicate": true})");
  ASSERT_TRUE(ack);
  EXPECT_EQ(ack->seq, 3U);
  EXPECT_TRUE(ack->duplicate);
  const auto refused = parse_pub_ack(
      R"({"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 1"},"stream":"S","seq":0})");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().err_code, kWrongLastSequenceError);
  EXPECT_EQ(refused.error().http_code, 400);
  for (const char* text : {"", "hello", "{}", "[]", R"({"seq":1})"}) {
    EXPECT_FALSE(parse_pub_ack(text)) << text;
  }
}

TEST(AssetName, FollowsTheServersRule) {
  for (const char* name : {"A", "a_b-c", "Ü", "a$b"}) EXPECT_TRUE(is_asset_name(name)) << name;
  for (const char* name : {"", "a b", "a.b", "*", "a>", "a/b", "a\\b", "a\n"}) {
    EXPECT_FALSE(is_asset_name(name)) << name;
  }
}

TEST_F(JetStreamTest, StreamsAreMadeListedAndDeleted) {
  const StreamInfo made = add_stream();
  EXPECT_EQ(made.config.subjects[0], subject_ + ".>");
  EXPECT_TRUE(made.created);
  auto config = made.config;
  config.description = "changed";
  auto updated = wait<StreamInfo>([&](auto done) { js_->update_stream(config, std::move(done)); });
  ASSERT_TRUE(updated) << updated.error().text;
  EXPECT_EQ(updated->config.description, "changed");
  auto names = wait<std::vector<std::string>>(
      [&](auto done) { js_->stream_names(subject_ + ".x", std::move(done)); });
  ASSERT_TRUE(names);
  EXPECT_EQ(*names, std::vector<std::string>{stream_});
  auto list = wait<std::vector<StreamInfo>>(
      [&](auto done) { js_->list_streams(subject_ + ".x", std::move(done)); });
  ASSERT_TRUE(list);
  ASSERT_EQ(list->size(), 1U);
  EXPECT_TRUE(wait<Done>([&](auto done) { js_->delete_stream(stream_, std::move(done)); }));
  auto gone = wait<StreamInfo>([&](auto done) { js_->stream_info(stream_, std::move(done)); });
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().err_code, kStreamNotFoundError);
  EXPECT_EQ(gone.error().code, Errc::NotFound);
  EXPECT_EQ(gone.error().text, "stream not found");
}

TEST_F(JetStreamTest, AccountInfoCountsStreams) {
  add_stream();
  auto info = wait<AccountInfo>([&](auto done) { js_->account_info(std::move(done)); });
  ASSERT_TRUE(info) << info.error().text;
  EXPECT_GE(info->streams, 1);
}

TEST_F(JetStreamTest, PublishIsAcknowledgedAndDemandsAreKept) {
  add_stream();
  auto first = publish(subject_ + ".a", "one", {.msg_id = "id1"});
  ASSERT_TRUE(first) << first.error().text;
  EXPECT_EQ(first->stream, stream_);
  EXPECT_EQ(first->seq, 1U);
  auto again = publish(subject_ + ".a", "one", {.msg_id = "id1"});
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->duplicate);
  EXPECT_TRUE(publish(subject_ + ".a", "two",
                      {.expected_stream = stream_, .expected_last_seq = 1,
                       .expected_last_subject_seq = 1, .expected_last_msg_id = "id1"}));
  auto late = publish(subject_ + ".a", "x", {.expected_last_subject_seq = 0});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().err_code, kWrongLastSequenceError);
  auto nowhere = publish("nowhere." + subject_, "x");
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().code, Errc::NoResponders);
}

TEST_F(JetStreamTest, MessagesAreReadAndDeleted) {
  StreamConfig config;
  config.allow_direct = true;
  add_stream(config);
  HeaderWriter headers;
  headers.add("K", "V");
  const std::string block = headers.take();
  ASSERT_TRUE(publish(subject_ + ".a", "one", {.headers = block}));
  ASSERT_TRUE(publish(subject_ + ".b", ""));
  ASSERT_TRUE(publish(subject_ + ".a", "three"));
  const auto get = [&](const GetOptions& options, bool is_direct) {
    return wait<StoredMessage>([&](auto done) {
      is_direct ? js_->direct_get(stream_, options, std::move(done))
                : js_->get_message(stream_, options, std::move(done));
    });
  };
  for (const bool is_direct : {false, true}) {
    auto one = get({.seq = 1}, is_direct);
    ASSERT_TRUE(one) << one.error().text;
    EXPECT_EQ(one->payload, "one");
    EXPECT_EQ(one->headers, block);
    EXPECT_EQ(one->subject, subject_ + ".a");
    auto last = get({.last_by_subj = subject_ + ".a"}, is_direct);
    ASSERT_TRUE(last);
    EXPECT_EQ(last->seq, 3U);
    auto empty = get({.seq = 2}, is_direct);
    ASSERT_TRUE(empty) << empty.error().text;
    EXPECT_EQ(empty->payload, "");
    auto none = get({.seq = 9}, is_direct);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, Errc::NotFound);
  }
  ASSERT_TRUE(wait<Done>([&](auto done) { js_->delete_message(stream_, 1, false, std::move(done)); }));
  EXPECT_FALSE(get({.seq = 1}, false));
  auto purged = wait<uint64_t>(
      [&](auto done) { js_->purge_stream(stream_, {subject_ + ".a"}, std::move(done)); });
  ASSERT_TRUE(purged);
  EXPECT_EQ(*purged, 1U);
}

TEST_F(JetStreamTest, BatchesOfDirectGetsEndByThemselves) {
  StreamConfig config;
  config.allow_direct = true;
  add_stream(config);
  for (const char* name : {"a", "b", "c", "a", "b"}) {
    ASSERT_TRUE(publish(subject_ + "." + name, name == std::string("b") ? "" : "x"));
  }
  const auto get = [&](const BatchOptions& options) {
    std::vector<uint64_t> seqs;
    auto end = wait<Done>([&](auto done) {
      js_->direct_get_batch(stream_, options,
                            [&](const StoredMessage& message) { seqs.push_back(message.seq); },
                            std::move(done));
    });
    EXPECT_TRUE(end) << end.error().text;
    return seqs;
  };
  EXPECT_EQ(get({.batch = 3, .seq = 2}), (std::vector<uint64_t>{2, 3, 4}));
  EXPECT_EQ(get({.batch = 10, .seq = 1, .next_by_subj = subject_ + ".b"}),
            (std::vector<uint64_t>{2, 5}));
  EXPECT_EQ(get({.multi_last = {subject_ + ".>"}}), (std::vector<uint64_t>{3, 4, 5}));
}

TEST_F(JetStreamTest, SubjectsOfAStreamAreListed) {
  add_stream();
  for (const char* name : {"a", "b", "a"}) ASSERT_TRUE(publish(subject_ + "." + name, "x"));
  auto info = wait<StreamInfo>([&](auto done) {
    js_->stream_info(stream_, std::move(done), {.subjects_filter = ">"});
  });
  ASSERT_TRUE(info);
  EXPECT_EQ(info->state.subjects,
            (std::map<std::string, uint64_t>{{subject_ + ".a", 2}, {subject_ + ".b", 1}}));
}

TEST_F(JetStreamTest, ConsumersAreMadePausedAndDeleted) {
  add_stream();
  ConsumerConfig config;
  config.durable_name = "C";
  config.filter_subject = subject_ + ".a";
  auto made = wait<ConsumerInfo>(
      [&](auto done) { js_->create_consumer(stream_, config, std::move(done)); });
  ASSERT_TRUE(made) << made.error().text;
  EXPECT_EQ(made->name, "C");
  config.description = "other";
  auto clash = wait<ConsumerInfo>([&](auto done) {
    js_->create_consumer(stream_, config, std::move(done), CreateAction::Create);
  });
  ASSERT_FALSE(clash);
  EXPECT_EQ(clash.error().err_code, 10148);
  auto paused = wait<PauseState>([&](auto done) {
    js_->pause_consumer(stream_, "C", session_->clock().wall_now() + std::chrono::hours(1),
                        std::move(done));
  });
  ASSERT_TRUE(paused) << paused.error().text;
  EXPECT_TRUE(paused->paused);
  auto list = wait<std::vector<ConsumerInfo>>(
      [&](auto done) { js_->list_consumers(stream_, std::move(done)); });
  ASSERT_TRUE(list);
  ASSERT_EQ(list->size(), 1U);
  EXPECT_TRUE((*list)[0].paused);
  EXPECT_TRUE(wait<Done>([&](auto done) { js_->delete_consumer(stream_, "C", std::move(done)); }));
  auto names = wait<std::vector<std::string>>(
      [&](auto done) { js_->consumer_names(stream_, std::move(done)); });
  ASSERT_TRUE(names);
  EXPECT_TRUE(names->empty());
}

TEST_F(JetStreamTest, BadNamesFailAtOnce) {
  bool is_called = false;
  js_->stream_info("a.b", [&](ApiResult<StreamInfo> info) {
    is_called = true;
    EXPECT_EQ(info.error().code, Errc::InvalidArgument);
  });
  EXPECT_TRUE(is_called);
}

}  // namespace
}  // namespace brokkr::client
