// What a stream keeps and lets go with its consumers, over real sockets.
#include "jetstream/wire_test.h"

namespace brokkr::jetstream {
namespace {

class StreamTest : public JetStreamTest {
 protected:
  static void add_consumer(WireClient& c, const std::string& name, const std::string& members = "") {
    const std::string answer =
        c.ask("$JS.API.CONSUMER.CREATE.S." + name,
              R"({"stream_name":"S","config":{"durable_name":")" + name +
                  R"(","ack_policy":"explicit")" + members + "}}")
            .body;
    EXPECT_EQ(answer.find("\"error\""), std::string::npos) << answer;
  }
  static WireMessage fetch(WireClient& c, const std::string& consumer) {
    c.publish("$JS.API.CONSUMER.MSG.NEXT.S." + consumer, R"({"batch":1,"expires":5000000000})", "",
              c.inbox("pull"));
    for (;;) {
      WireMessage message = c.next();
      if (!message.is_there || message.sid == "inbox") return message;
    }
  }
  // Takes the next message and acknowledges it; its body.
  static std::string take(WireClient& c, const std::string& consumer) {
    const WireMessage message = fetch(c, consumer);
    EXPECT_EQ(c.ask(message.reply, "+ACK").body, "");
    return message.body;
  }
  static int64_t messages(WireClient& c) { return number(info(c, "S"), "messages"); }
};

TEST_F(StreamTest, WorkQueueForgetsWhatIsDone) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s.>"],"retention":"workqueue")");
  for (int i = 1; i <= 3; ++i) c.put("s.a", std::to_string(i));
  EXPECT_EQ(messages(c), 3);
  add_consumer(c, "C");
  EXPECT_EQ(take(c, "C"), "1");
  EXPECT_EQ(messages(c), 2);
  EXPECT_EQ(take(c, "C"), "2");
  EXPECT_EQ(number(info(c, "S"), "first_seq"), 3);
}

TEST_F(StreamTest, InterestEndsWithTheLastAcknowledgement) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s.>"],"retention":"interest")");
  add_consumer(c, "C");
  add_consumer(c, "D", R"(,"filter_subject":"s.a")");
  c.put("s.a", "1");
  c.put("s.b", "2");
  EXPECT_EQ(take(c, "C"), "1");
  EXPECT_EQ(messages(c), 2);
  EXPECT_EQ(take(c, "C"), "2");
  EXPECT_EQ(messages(c), 1);
  EXPECT_EQ(take(c, "D"), "1");
  EXPECT_EQ(messages(c), 0);
}

TEST_F(StreamTest, WhatOnlyADeletedConsumerWantedGoes) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s.>"],"retention":"interest")");
  add_consumer(c, "C", R"(,"filter_subject":"s.a")");
  add_consumer(c, "D", R"(,"filter_subject":"s.b")");
  for (int i = 0; i < 5000; ++i) c.publish(i % 2 == 0 ? "s.a" : "s.b", "x");
  EXPECT_TRUE(wait_for(c, "S", "last_seq", 5000));
  c.ask("$JS.API.CONSUMER.DELETE.S.D");
  EXPECT_TRUE(wait_for(c, "S", "messages", 2500));
}

TEST_F(StreamTest, BecomingInterestDropsWhatNobodyNeeds) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s.>"])");
  add_consumer(c, "C", R"(,"filter_subject":"s.a")");
  c.put("s.a");
  c.put("s.b");
  update(c, "S", R"("subjects":["s.>"],"retention":"interest")");
  EXPECT_TRUE(wait_for(c, "S", "messages", 1));
}

TEST_F(StreamTest, CapturesItsOwnAdvisories) {
  // What a stream says while it is at work is stored after that work.
  WireClient c = client();
  create(c, "S", R"("subjects":["s.>","$JS.EVENT.ADVISORY.CONSUMER.>"])");
  add_consumer(c, "C", R"(,"filter_subject":"s.>","max_deliver":1,"ack_wait":100000000)");
  c.put("s.a");
  EXPECT_EQ(fetch(c, "C").body, "x");
  // The consumer was created, and the message is out of deliveries.
  EXPECT_TRUE(wait_for(c, "S", "last_seq", 3));
}

TEST_F(StreamTest, AckedPublishesSurviveTheStreamsDeletion) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s"])");
  for (int i = 0; i < 100; ++i) c.publish("s", "x", "", c.inbox("acks"));
  c.ask("$JS.API.STREAM.DELETE.S");
  for (int i = 1; i <= 100; ++i) EXPECT_EQ(number(c.next(c.inbox("acks")).body, "seq"), i);
}

}  // namespace
}  // namespace brokkr::jetstream
