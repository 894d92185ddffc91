#include <gtest/gtest.h>

#include "client/delivery.h"
#include "client/jetstream_test_server.h"
#include "client/ordered_consumer.h"
#include "client/pull.h"
#include "client/push_consumer.h"
#include "client/stream_publisher.h"

namespace brokkr::client {
namespace {

TEST(DeliverySubject, BothFormsAreRead) {
  const auto v1 = parse_delivery("$JS.ACK.S.C.2.10.5.1700000000000000001.7");
  ASSERT_TRUE(v1);
  EXPECT_EQ(v1->stream, "S");
  EXPECT_EQ(v1->consumer, "C");
  EXPECT_EQ(v1->delivered_count, 2U);
  EXPECT_EQ(v1->stream_seq, 10U);
  EXPECT_EQ(v1->consumer_seq, 5U);
  EXPECT_EQ(v1->num_pending, 7U);
  EXPECT_EQ(v1->time.time_since_epoch().count(), 1700000000000000001);
  EXPECT_EQ(v1->domain, "");
  const auto v2 = parse_delivery("$JS.ACK._.hash.S.C.2.10.5.1700000000000000001.7");
  ASSERT_TRUE(v2);
  EXPECT_EQ(v2->stream, "S");
  EXPECT_EQ(v2->num_pending, 7U);
  const auto domain = parse_delivery("$JS.ACK.hub.hash.S.C.1.1.1.1.0.token");
  ASSERT_TRUE(domain);
  EXPECT_EQ(domain->domain, "hub");
}

TEST(DeliverySubject, OthersAreNone) {
  for (const char* text : {"", "a.b", "$JS.ACK.S.C.1.1.1.1", "$JS.ACK.S.C.1.1.1.1.1.1",
                           "$JS.ACK.S.C.x.1.1.1.1", "$JS.FC.S.C.1.1.1.1.1"}) {
    EXPECT_FALSE(parse_delivery(text)) << text;
  }
}

TEST(PullBody, HoldsOnlyWhatIsSet) {
  EXPECT_EQ(make_pull_body({.batch = 5, .expires = {}, .no_wait = true}),
            R"({"batch":5,"no_wait":true})");
  EXPECT_EQ(make_pull_body({.batch = 1, .expires = std::chrono::seconds(1), .max_bytes = 9,
                            .idle_heartbeat = std::chrono::milliseconds(1), .group = "g",
                            .min_pending = 2, .min_ack_pending = 3, .id = "i", .priority = 4}),
            R"({"batch":1,"expires":1000000000,"max_bytes":9,"idle_heartbeat":1000000,"group":"g",)"
            R"("min_pending":2,"min_ack_pending":3,"id":"i","priority":4})");
}

class ConsumeTest : public JetStreamTest {
 protected:
  void fill(int count, size_t size = 1) {
    StreamPublisher publisher(*js_, 64);
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(wait_until([&] { return publisher.has_room(); }));
      ASSERT_TRUE(publisher.publish(subject_ + ".m", std::string(size, 'x')));
    }
    ASSERT_TRUE(wait_until([&] { return publisher.in_flight() == 0; }));
    EXPECT_FALSE(publisher.first_error());
  }
  void add_consumer(ConsumerConfig config = {}) {
    config.durable_name = "C";
    auto made = wait<ConsumerInfo>(
        [&](auto done) { js_->create_consumer(stream_, config, std::move(done)); });
    ASSERT_TRUE(made) << made.error().text;
    info_ = *made;
  }
  // What one fetch delivers, acknowledged, and how it ended.
  ApiResult<Done> fetch(const PullOptions& options, bool is_acked = true) {
    fetched_.clear();
    return wait<Done>([&](auto done) {
      auto started = Fetch::start(
          *js_, stream_, "C", options,
          [&, is_acked](const Message& message, const Delivery& delivery) {
            fetched_.push_back(delivery.stream_seq);
            reply_ = message.reply;
            if (is_acked) {
              EXPECT_TRUE(ack(session_->connection(), message.reply));
            }
          },
          std::move(done));
      ASSERT_TRUE(started) << started.error().text;
      fetch_ = std::move(*started);
    });
  }
  ConsumerInfo consumer() {
    auto info =
        wait<ConsumerInfo>([&](auto done) { js_->consumer_info(stream_, "C", std::move(done)); });
    EXPECT_TRUE(info);
    return info ? *info : ConsumerInfo{};
  }

  std::vector<uint64_t> fetched_;
  std::string reply_;
  std::unique_ptr<Fetch> fetch_;
  ConsumerInfo info_;
};

TEST_F(ConsumeTest, FetchEndsWithItsBatchOrTheServersStatus) {
  add_stream();
  add_consumer();
  fill(5);
  EXPECT_TRUE(fetch({.batch = 3}));
  EXPECT_EQ(fetched_, (std::vector<uint64_t>{1, 2, 3}));
  auto rest = fetch({.batch = 10, .expires = {}, .no_wait = true});
  ASSERT_FALSE(rest);
  EXPECT_TRUE(is_end_of_messages(rest.error())) << rest.error().text;
  EXPECT_EQ(fetched_, (std::vector<uint64_t>{4, 5}));
  auto none = fetch({.batch = 1, .expires = {}, .no_wait = true});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().http_code, 404);
  auto late = fetch({.batch = 1, .expires = std::chrono::milliseconds(50)});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().http_code, 408);
  EXPECT_EQ(late.error().text, "request timeout");
  EXPECT_EQ(consumer().num_ack_pending, 0U);
}

TEST_F(ConsumeTest, FetchTellsOfAMissingConsumer) {
  add_stream();
  auto end = fetch({.batch = 1});
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, Errc::NoResponders);
}

TEST_F(ConsumeTest, FetchStopsAtItsBytes) {
  add_stream();
  add_consumer();
  fill(5, 1000);
  auto end = fetch({.batch = 10, .max_bytes = 2500});
  ASSERT_FALSE(end);
  EXPECT_TRUE(is_end_of_messages(end.error())) << end.error().text;
  EXPECT_EQ(fetched_.size(), 2U);
}

TEST_F(ConsumeTest, FetchMissesHeartbeats) {
  add_stream();
  // Somebody who takes the pull and says nothing, where no consumer is.
  auto mute = session_->connection().subscribe("$JS.API.CONSUMER.MSG.NEXT." + stream_ + ".C",
                                               [](const Message&) {});
  ASSERT_TRUE(mute);
  const MonotonicTime start = session_->clock().now();
  auto end = fetch({.batch = 1, .idle_heartbeat = std::chrono::milliseconds(20)});
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().text, "no heartbeat received");
  EXPECT_LT(session_->clock().now() - start, std::chrono::seconds(5));
}

TEST_F(ConsumeTest, AcksOfEveryKindReachTheServer) {
  Connection& connection = session_->connection();
  add_stream();
  add_consumer();
  fill(1);
  EXPECT_TRUE(fetch({.batch = 1}, false));
  EXPECT_TRUE(nak(connection, reply_));
  EXPECT_TRUE(fetch({.batch = 1}, false));
  EXPECT_EQ(parse_delivery(reply_)->delivered_count, 2U);
  EXPECT_TRUE(ack_in_progress(connection, reply_));
  EXPECT_TRUE(nak(connection, reply_, std::chrono::milliseconds(30)));
  EXPECT_TRUE(fetch({.batch = 1}, false));
  EXPECT_EQ(parse_delivery(reply_)->delivered_count, 3U);
  EXPECT_TRUE(ack_term(connection, reply_, "broken"));
  EXPECT_TRUE(wait_until([&] { return consumer().num_ack_pending == 0; }));
  fill(1);
  EXPECT_TRUE(fetch({.batch = 1}, false));
  EXPECT_EQ(fetched_, std::vector<uint64_t>{2});
  std::optional<Status> acked;
  ack_and_wait(connection, reply_, kPatience, [&](const Status& status) { acked = status; });
  ASSERT_TRUE(wait_until([&] { return acked.has_value(); }));
  EXPECT_TRUE(*acked);
  EXPECT_EQ(consumer().num_ack_pending, 0U);
}

TEST_F(ConsumeTest, EndlessPullRefillsItself) {
  add_stream();
  add_consumer();
  fill(100);
  uint64_t count = 0;
  auto pull = PullConsumer::start(*js_, stream_, "C", {.messages_max = 10},
                                  {.on_message = [&](const Message& message, const Delivery&) {
                                    ++count;
                                    EXPECT_TRUE(ack(session_->connection(), message.reply));
                                  }});
  ASSERT_TRUE(pull);
  EXPECT_TRUE(wait_until([&] { return count == 100; }));
  fill(7);
  EXPECT_TRUE(wait_until([&] { return count == 107; })) << count;
}

TEST_F(ConsumeTest, PausedPullHoldsNoMoreThanItsBound) {
  add_stream();
  add_consumer();
  fill(100);
  uint64_t count = 0;
  auto pull = PullConsumer::start(*js_, stream_, "C", {.messages_max = 10},
                                  {.on_message = [&](const Message&, const Delivery&) { ++count; }});
  ASSERT_TRUE(pull);
  (*pull)->pause();
  ASSERT_TRUE(wait_until([&] { return consumer().num_ack_pending == 10; }));
  ASSERT_TRUE(session_->flush(kPatience));
  EXPECT_EQ(count, 0U);
  EXPECT_EQ(consumer().num_ack_pending, 10U);
  (*pull)->resume();
  EXPECT_TRUE(wait_until([&] { return count == 100; }));
}

TEST_F(ConsumeTest, PullIsBoundedInBytes) {
  add_stream();
  add_consumer();
  fill(50, 1000);
  uint64_t count = 0;
  auto pull = PullConsumer::start(*js_, stream_, "C", {.messages_max = 1000, .bytes_max = 5000},
                                  {.on_message = [&](const Message&, const Delivery&) { ++count; }});
  ASSERT_TRUE(pull);
  EXPECT_TRUE(wait_until([&] { return count == 50; })) << count;
}

TEST_F(ConsumeTest, PullEndsWithItsConsumer) {
  add_stream();
  add_consumer();
  std::optional<ApiError> end;
  auto pull = PullConsumer::start(*js_, stream_, "C", {},
                                  {.on_message = [](const Message&, const Delivery&) {},
                                   .on_end = [&](const ApiError& error) { end = error; }});
  ASSERT_TRUE(pull);
  ASSERT_TRUE(wait_until([&] { return consumer().num_waiting == 1; }));
  ASSERT_TRUE(wait<Done>([&](auto done) { js_->delete_consumer(stream_, "C", std::move(done)); }));
  ASSERT_TRUE(wait_until([&] { return end.has_value(); }));
  EXPECT_EQ(end->text, "consumer deleted");
}

TEST_F(ConsumeTest, PullMayBeDestroyedInItsHandler) {
  add_stream();
  add_consumer();
  fill(3);
  std::unique_ptr<PullConsumer> pull;
  uint64_t count = 0;
  auto started = PullConsumer::start(*js_, stream_, "C", {},
                                     {.on_message = [&](const Message&, const Delivery&) {
                                       ++count;
                                       pull.reset();
                                     }});
  ASSERT_TRUE(started);
  pull = std::move(*started);
  ASSERT_TRUE(wait_until([&] { return pull == nullptr; }));
  ASSERT_TRUE(session_->flush(kPatience));
  EXPECT_EQ(count, 1U);
}

TEST_F(ConsumeTest, PushDeliversWithFlowControl) {
  add_stream();
  ConsumerConfig config;
  config.deliver_subject = session_->connection().make_inbox();
  config.ack_policy = AckPolicy::None;
  config.flow_control = true;
  config.idle_heartbeat = std::chrono::milliseconds(200);
  add_consumer(config);
  uint64_t count = 0;
  uint64_t troubles = 0;
  auto push = PushConsumer::start(session_->connection(), info_,
                                  {.on_message = [&](const Message&, const Delivery&) { ++count; },
                                   .on_trouble = [&](const ApiError&) { ++troubles; }});
  ASSERT_TRUE(push) << push.error().text;
  fill(100, 60'000);
  EXPECT_TRUE(wait_until([&] { return count == 100; })) << count;
  EXPECT_EQ(troubles, 0U);
}

class OrderedTest : public ConsumeTest {
 protected:
  void start(OrderedOptions options = {}) {
    ordered_ = OrderedConsumer::start(
        *js_, stream_, std::move(options),
        {.on_start = [this](const ConsumerInfo& info) { pending_ = info.num_pending; },
         .on_message = [this](const Message&, const Delivery& delivery) {
           seqs_.push_back(delivery.stream_seq);
           consumer_ = delivery.consumer;
         },
         .on_trouble = [this](const ApiError& error) { troubles_.push_back(error.text); },
         .on_end = [this](const ApiError& error) { end_ = error; }});
  }
  bool wait_for_messages(size_t count) {
    return wait_until([&] { return seqs_.size() >= count; });
  }
  void expect_in_order(uint64_t count) {
    ASSERT_EQ(seqs_.size(), count);
    for (uint64_t i = 0; i < count; ++i) EXPECT_EQ(seqs_[i], i + 1);
  }

  std::unique_ptr<OrderedConsumer> ordered_;
  std::vector<uint64_t> seqs_;
  std::vector<std::string> troubles_;
  std::string consumer_;
  std::optional<uint64_t> pending_;
  std::optional<ApiError> end_;
};

TEST_F(OrderedTest, DeliversEverythingOnceInOrder) {
  add_stream();
  fill(50);
  start({.messages_max = 8});
  ASSERT_TRUE(wait_for_messages(50));
  EXPECT_EQ(pending_, 50U);
  fill(5);
  ASSERT_TRUE(wait_for_messages(55));
  expect_in_order(55);
  EXPECT_EQ(ordered_->resets(), 0U);
  ordered_.reset();
  EXPECT_TRUE(wait_until([&] {
    auto names = wait<std::vector<std::string>>(
        [&](auto done) { js_->consumer_names(stream_, std::move(done)); });
    return names && names->empty();
  }));
}

TEST_F(OrderedTest, GoesOnWhenItsConsumerIsDeleted) {
  add_stream();
  fill(5);
  start();
  ASSERT_TRUE(wait_for_messages(5));
  ASSERT_TRUE(
      wait<Done>([&](auto done) { js_->delete_consumer(stream_, consumer_, std::move(done)); }));
  ASSERT_TRUE(wait_until([&] { return ordered_->resets() == 1; }));
  fill(5);
  ASSERT_TRUE(wait_for_messages(10));
  expect_in_order(10);
}

TEST_F(OrderedTest, GoesOnAfterALostMessage) {
  add_stream();
  fill(3);
  start();
  ASSERT_TRUE(wait_for_messages(3));
  // Somebody else pulls one away.
  const std::string mine = consumer_;
  std::optional<Delivery> taken;
  auto thief = Fetch::start(*js_, stream_, mine, {.batch = 1},
                            [&](const Message&, const Delivery& delivery) { taken = delivery; },
                            [](ApiResult<Done>) {});
  ASSERT_TRUE(thief);
  // Both requests are waiting before there is anything to give.
  int64_t waiting = 0;
  for (int attempt = 0; waiting < 2 && attempt < 1000; ++attempt) {
    const auto info = wait<ConsumerInfo>([&](auto done) { js_->consumer_info(stream_, mine, std::move(done)); });
    ASSERT_TRUE(info) << info.error().text;
    waiting = static_cast<int64_t>(info->num_waiting);
  }
  ASSERT_EQ(waiting, 2);
  fill(4);
  ASSERT_TRUE(wait_for_messages(7));
  expect_in_order(7);
  EXPECT_TRUE(taken);
  EXPECT_GE(ordered_->resets(), 1U);
}

TEST_F(OrderedTest, EndsWhenThereIsNoStream) {
  start();
  ASSERT_TRUE(wait_until([&] { return end_.has_value(); }));
  EXPECT_EQ(end_->err_code, kStreamNotFoundError);
}

TEST_F(OrderedTest, EndsWithItsConnection) {
  add_stream();
  add_consumer();
  for (const bool is_destroyed : {false, true}) {
    Options options;
    options.servers = {server_->url()};
    auto connection = Connection::open(
        {loop(), session_->resolver(), session_->random()}, std::move(options));
    ASSERT_TRUE(connection);
    const JetStream own(**connection);
    int ends = 0;
    const auto count = [&](const ApiError& error) {
      EXPECT_EQ(error.code, Errc::Closed);
      ++ends;
    };
    bool has_started = false;
    auto ordered = OrderedConsumer::start(
        own, stream_, {},
        {.on_start = [&](const ConsumerInfo&) { has_started = true; },
         .on_message = [](const Message&, const Delivery&) {},
         .on_trouble = {},
         .on_end = count});
    auto pull = PullConsumer::start(
        own, stream_, "C", {},
        {.on_message = [](const Message&, const Delivery&) {}, .on_trouble = {}, .on_end = count});
    auto fetch = Fetch::start(own, stream_, "C", {.batch = 1}, [](const Message&, const Delivery&) {},
                              [&](ApiResult<Done> end) { count(end.error()); });
    ASSERT_TRUE(pull && fetch);
    ASSERT_TRUE(wait_until([&] { return has_started; }));
    is_destroyed ? connection->reset() : (*connection)->close();
    EXPECT_EQ(ends, 3);
  }
}

TEST_F(OrderedTest, GoesOnAfterTheServerRestarts) {
  StreamConfig config;
  config.name = stream_;
  config.subjects = {subject_ + ".>"};
  ASSERT_TRUE(wait<StreamInfo>([&](auto done) { js_->create_stream(config, std::move(done)); }));
  fill(5);
  start();
  ASSERT_TRUE(wait_for_messages(5));
  server_->restart();
  ASSERT_TRUE(wait_until([&] { return session_->connection().stats().reconnects == 1; }));
  fill(5);
  ASSERT_TRUE(wait_for_messages(10));
  expect_in_order(10);
}

}  // namespace
}  // namespace brokkr::client
