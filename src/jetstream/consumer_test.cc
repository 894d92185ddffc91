// Consumers over the wire: each test asserts on the bytes a client would see.
#include <chrono>

#include "jetstream/consumer_test_fixture.h"

namespace brokkr::jetstream {
namespace {

using namespace std::chrono_literals;

class ConsumerTest : public testing::Test, protected ConsumerFixture {
 protected:
  void SetUp() override { add_stream(R"({"name":"S","subjects":["s.>"]})"); }
  void add_messages(int count, std::string_view subject = "s.a") {
    for (int i = 1; i <= count; ++i) client().publish(subject, {}, "m" + std::to_string(i));
    client().sync();
  }
  void add_pull(std::string_view more = "") {
    add_consumer("S", R"({"durable_name":"C","ack_policy":"explicit")" + std::string(more) + "}");
  }
  std::string pull(std::string_view body) {
    client().publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "in", body);
    return client().sync();
  }
  std::string ack(uint64_t seq, std::string_view body = "", std::string_view reply = "",
                  uint64_t deliveries = 1) {
    client().publish("$JS.ACK.S.C." + std::to_string(deliveries) + "." + std::to_string(seq) + "." +
                         std::to_string(seq) + ".1.0",
                     reply, body);
    return client().sync();
  }
  int64_t field(std::string_view name) { return info("S", "C").get_int(name, -1); }
  int64_t floor_of(std::string_view which) {
    return info("S", "C").find("ack_floor")->get_int(which, -1);
  }
  std::string sub() { return client().send("SUB in 7\r\n").sync(); }
  std::string stamp() { return std::to_string(clock().wall_now().time_since_epoch().count()); }
  // "MSG" of message `seq` with that consumer sequence, deliveries and pending.
  std::string msg(uint64_t seq, uint64_t consumer_seq, uint64_t deliveries, uint64_t left,
                  const std::string& at, std::string_view subject = "s.a") {
    const std::string body = "m" + std::to_string(seq);
    return "MSG " + std::string(subject) + " 7 $JS.ACK.S.C." + std::to_string(deliveries) + "." +
           std::to_string(seq) + "." + std::to_string(consumer_seq) + "." + at + "." +
           std::to_string(left) + " " + std::to_string(body.size()) + "\r\n" + body + "\r\n";
  }
};

std::string status(std::string_view line, std::string_view more = "") {
  const std::string block = "NATS/1.0 " + std::string(line) + "\r\n" + std::string(more) + "\r\n";
  const std::string size = std::to_string(block.size());
  return "HMSG in 7 " + size + " " + size + "\r\n" + block + "\r\n";
}
std::string pending(int messages, int bytes) {
  return "Nats-Pending-Messages: " + std::to_string(messages) +
         "\r\nNats-Pending-Bytes: " + std::to_string(bytes) + "\r\n";
}

TEST_F(ConsumerTest, PullDeliversABatchWithAckSubjects) {
  add_messages(3);
  add_pull();
  sub();
  EXPECT_EQ(pull("2"), msg(1, 1, 1, 2, stamp()) + msg(2, 2, 1, 1, stamp()));
  EXPECT_EQ(field("num_ack_pending"), 2);
  EXPECT_EQ(field("num_pending"), 1);
  EXPECT_EQ(ack(1), "");
  EXPECT_EQ(floor_of("stream_seq"), 1);
  EXPECT_EQ(ack(2, "+ACK", "in"), "MSG in 7 0\r\n\r\n");
  EXPECT_EQ(field("num_ack_pending"), 0);
  EXPECT_EQ(ack(9, "", "in"), "");  // was never delivered
}

TEST_F(ConsumerTest, RequestsAreServedInTurn) {
  add_pull();
  sub();
  client().send("SUB other 8\r\n");
  pull("2");
  client().publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "other", "2").sync();
  client().publish("s.a", {}, "m1").publish("s.a", {}, "m2").publish("s.a", {}, "m3");
  const std::string got = client().sync();
  EXPECT_NE(got.find("MSG s.a 7 $JS.ACK.S.C.1.1."), std::string::npos) << got;
  EXPECT_NE(got.find("MSG s.a 8 $JS.ACK.S.C.1.2."), std::string::npos) << got;
  EXPECT_NE(got.find("MSG s.a 7 $JS.ACK.S.C.1.3."), std::string::npos) << got;
}

TEST_F(ConsumerTest, RequestsThatDoNotWaitAreAnswered) {
  add_pull();
  sub();
  EXPECT_EQ(pull(R"({"batch":5,"no_wait":true})"), status("404 No Messages"));
  add_messages(1);
  EXPECT_EQ(pull(R"({"batch":5,"no_wait":true})"), msg(1, 1, 1, 0, stamp()) + status("404 No Messages"));
}

TEST_F(ConsumerTest, RequestsExpireAndBeat) {
  add_pull();
  sub();
  EXPECT_EQ(pull(R"({"batch":5,"expires":1000000000,"idle_heartbeat":400000000})"), "");
  advance(500ms);
  EXPECT_EQ(client().sync(), status("100 Idle Heartbeat", "Nats-Last-Consumer: 0\r\nNats-Last-Stream: 0\r\n"));
  advance(600ms);
  EXPECT_EQ(client().sync(), status("408 Request Timeout", pending(5, 0)));
  EXPECT_EQ(pull(R"({"batch":5,"expires":1000,"idle_heartbeat":1000})"),
            status("400 Bad Request - heartbeat value too large"));
}

TEST_F(ConsumerTest, BytesAreLimited) {
  add_messages(3);
  add_pull();
  sub();
  const std::string got = pull(R"({"batch":10,"max_bytes":120,"expires":5000000000})");
  EXPECT_NE(got.find("409 Message Size Exceeds MaxBytes\r\nNats-Pending-Messages: 8\r\n"), std::string::npos) << got;
  EXPECT_NE(pull(R"({"batch":1,"max_bytes":1000,"expires":5000000000})").find(
                "409 Batch Completed\r\nNats-Pending-Messages: 0\r\n"),
            std::string::npos);
}

TEST_F(ConsumerTest, LimitsOfTheConsumerAreSaid) {
  add_pull(R"(,"max_batch":2,"max_expires":5000000000,"max_bytes":10,"max_waiting":1)");
  sub();
  EXPECT_EQ(pull("3"), status("409 Exceeded MaxRequestBatch of 2"));
  EXPECT_EQ(pull(R"({"expires":6000000000})"), status("409 Exceeded MaxRequestExpires of 5s"));
  EXPECT_EQ(pull(R"({"max_bytes":11})"), status("409 Exceeded MaxRequestMaxBytes of 10"));
  EXPECT_EQ(pull("1"), "");
  EXPECT_EQ(pull("1"), status("409 Exceeded MaxWaiting"));
  EXPECT_EQ(pull(R"({"expires":4000000000,"idle_heartbeat":1000000000})"), "");
}

TEST_F(ConsumerTest, DeletingTellsWhoWaits) {
  add_pull();
  sub();
  pull("1");
  EXPECT_EQ(api_error_code("CONSUMER.DELETE.S.C", ""), 0);
  EXPECT_EQ(client().sync(), status("409 Consumer Deleted"));
  EXPECT_EQ(api_error_code("CONSUMER.INFO.S.C", ""), 10014);
  EXPECT_EQ(pull("1"), status("503", "Nats-Subject: $JS.API.CONSUMER.MSG.NEXT.S.C\r\n"));
}

TEST_F(ConsumerTest, UnacknowledgedMessagesComeAgain) {
  add_messages(2);
  const std::string at = stamp();
  add_pull(R"(,"ack_wait":1000000000)");
  sub();
  pull("2");
  ack(2);
  pull("2");
  advance(1100ms);
  EXPECT_EQ(client().sync(), msg(1, 3, 2, 0, at));
  EXPECT_EQ(field("num_redelivered"), 1);
  ack(1, "+WPI", "", 2);
  advance(900ms);
  ack(1, "+WPI", "", 2);
  advance(900ms);
  EXPECT_EQ(client().sync(), "");
  advance(200ms);
  EXPECT_EQ(client().sync(), msg(1, 4, 3, 0, at));
  ack(1, "", "", 3);
  EXPECT_EQ(field("num_redelivered"), 0);
  EXPECT_EQ(floor_of("consumer_seq"), 4);
}

TEST_F(ConsumerTest, NegativeAcknowledgementsComeAtOnceOrLater) {
  add_messages(1);
  const std::string at = stamp();
  add_pull();
  sub();
  pull("3");
  EXPECT_EQ(ack(1, "-NAK"), msg(1, 2, 2, 0, at));
  EXPECT_EQ(ack(1, R"(-NAK {"delay":2000000000})"), "");
  advance(1900ms);
  EXPECT_EQ(client().sync(), "");
  advance(200ms);
  EXPECT_EQ(client().sync(), msg(1, 3, 3, 0, at));
}

// A delay takes the message off the redeliveries: it comes back behind those that still wait.
TEST_F(ConsumerTest, DelayedMessagesLoseTheirPlaceInTheQueue) {
  add_messages(3);
  const std::string at = stamp();
  add_pull();
  sub();
  pull("3");
  ack(2, "-NAK");
  ack(1, "-NAK");
  ack(2, R"(-NAK {"delay":500000000})");
  advance(600ms);
  EXPECT_EQ(pull("2"), msg(1, 4, 2, 0, at) + msg(2, 5, 2, 0, at));
}

// Nor does one keep a place that every other has left since.
TEST_F(ConsumerTest, DelayedMessagesComeBackInOrder) {
  add_messages(3);
  const std::string at = stamp();
  add_pull();
  sub();
  pull("3");
  ack(2, "-NAK");
  ack(2, R"(-NAK {"delay":500000000})");
  ack(1, R"(-NAK {"delay":500000000})");
  EXPECT_EQ(pull(R"({"batch":1,"no_wait":true})"), status("404 No Messages"));
  advance(600ms);
  EXPECT_EQ(pull("2"), msg(1, 4, 2, 0, at) + msg(2, 5, 2, 0, at));
}

// What is delivered to a subject of the API is the message, under its own subject.
TEST_F(ConsumerTest, DeliveriesAreNoRequests) {
  add_stream(R"({"name":"T","subjects":["a.b.STREAM.DELETE.S","s"]})");
  add_consumer("T", R"({"durable_name":"C","ack_policy":"explicit"})");
  add_messages(1);
  add_pull();
  client().publish("a.b.STREAM.DELETE.S", {}, "");
  client().publish("s", {}, "");
  for (const char* to : {"$JS.API.STREAM.DELETE.S", "$JS.API.CONSUMER.MSG.NEXT.S.C", "$JS.FC.S.C.x"}) {
    client().publish("$JS.API.CONSUMER.MSG.NEXT.T.C", to, R"({"batch":1,"no_wait":true})");
    client().publish("$JS.API.CONSUMER.MSG.NEXT.S.C", to, R"({"batch":1,"no_wait":true})");
    client().sync();
  }
  EXPECT_EQ(api("STREAM.INFO.S", "").find("error"), nullptr);
  EXPECT_EQ(field("num_waiting"), 0);
  EXPECT_EQ(info("T", "C").get_int("num_ack_pending", -1), 2);
}

TEST_F(ConsumerTest, BackoffLastsLongerEachTime) {
  add_messages(1);
  add_pull(R"(,"max_deliver":3,"backoff":[1000000000,3000000000])");
  client().send("SUB $JS.EVENT.ADVISORY.> 9\r\n");
  sub();
  pull("5");
  advance(1100ms);
  EXPECT_NE(client().sync().find("C.2.1.2."), std::string::npos);
  advance(2900ms);
  EXPECT_EQ(client().sync(), "");
  advance(200ms);
  EXPECT_NE(client().sync().find("C.3.1.3."), std::string::npos);
  advance(3100ms);
  const std::string got = client().sync();
  EXPECT_NE(got.find("MAX_DELIVERIES.S.C"), std::string::npos) << got;
  EXPECT_NE(got.find("\"stream_seq\":1,\"deliveries\":3"), std::string::npos) << got;
  EXPECT_EQ(field("num_ack_pending"), 0);
  EXPECT_EQ(field("num_redelivered"), 1);
}

TEST_F(ConsumerTest, TermEndsDeliveryWithAReason) {
  add_messages(1);
  add_pull();
  client().send("SUB $JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.> 9\r\n");
  sub();
  pull("1");
  EXPECT_NE(ack(1, "+TERM too ugly").find("\"deliveries\":1,\"reason\":\"too ugly\"}"), std::string::npos);
  EXPECT_EQ(field("num_ack_pending"), 0);
}

TEST_F(ConsumerTest, NextAcknowledgesAndAsks) {
  add_messages(2);
  add_pull();
  sub();
  pull("1");
  EXPECT_EQ(ack(1, "+NXT", "in"), msg(2, 2, 1, 0, stamp()));
  EXPECT_EQ(field("num_ack_pending"), 1);
}

TEST_F(ConsumerTest, AckAllTakesEverythingBefore) {
  add_messages(3);
  add_consumer("S", R"({"durable_name":"C","ack_policy":"all"})");
  sub();
  pull("3");
  ack(2);
  EXPECT_EQ(field("num_ack_pending"), 1);
  EXPECT_EQ(floor_of("stream_seq"), 2);
}

TEST_F(ConsumerTest, MaxAckPendingHoldsBackUntilAcknowledged) {
  add_messages(3);
  add_pull(R"(,"max_ack_pending":2)");
  sub();
  EXPECT_EQ(pull("5"), msg(1, 1, 1, 2, stamp()) + msg(2, 2, 1, 1, stamp()));
  EXPECT_EQ(ack(1), msg(3, 3, 1, 0, stamp()));
}

TEST_F(ConsumerTest, DeletedMessagesAreTerminated) {
  add_messages(2);
  add_pull();
  client().send("SUB $JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.> 9\r\n");
  sub();
  pull("1");
  EXPECT_EQ(api_error_code("STREAM.MSG.DELETE.S", R"({"seq":1})"), 0);
  EXPECT_NE(client().sync().find("Unacknowledged message was deleted"), std::string::npos);
  EXPECT_EQ(field("num_ack_pending"), 0);
  EXPECT_EQ(api_error_code("STREAM.MSG.DELETE.S", R"({"seq":2})"), 0);
  EXPECT_EQ(field("num_pending"), 0);
}

TEST_F(ConsumerTest, PurgeMovesTheConsumerOn) {
  add_messages(5);
  add_pull();
  sub();
  pull("2");
  EXPECT_EQ(api_error_code("STREAM.PURGE.S", ""), 0);
  EXPECT_EQ(field("num_ack_pending"), 0);
  EXPECT_EQ(field("num_pending"), 0);
  EXPECT_EQ(floor_of("stream_seq"), 5);
}

TEST_F(ConsumerTest, FiltersChoose) {
  add_messages(2, "s.a");
  add_messages(2, "s.b");
  add_consumer("S", R"({"durable_name":"C","ack_policy":"explicit","filter_subject":"s.b"})");
  sub();
  EXPECT_EQ(field("num_pending"), 2);
  EXPECT_NE(pull("1").find("MSG s.b 7 $JS.ACK.S.C.1.3.1."), std::string::npos);
  EXPECT_EQ(field("num_pending"), 1);
}

TEST_F(ConsumerTest, DeliverPoliciesChooseTheStart) {
  add_messages(2, "s.a");
  const std::string middle = format_rfc3339(clock().wall_now() + 1s);
  advance(2s);
  add_messages(2, "s.b");
  const auto pending_with = [&](std::string_view config) {
    const json::Value made = api("CONSUMER.CREATE.S", R"({"stream_name":"S","config":{"ack_policy":"explicit",)" + std::string(config) + "}}");
    return made.get_int("num_pending", -1);
  };
  EXPECT_EQ(pending_with(R"("deliver_policy":"all")"), 4);
  EXPECT_EQ(pending_with(R"("deliver_policy":"last")"), 1);
  EXPECT_EQ(pending_with(R"("deliver_policy":"new")"), 0);
  EXPECT_EQ(pending_with(R"("deliver_policy":"by_start_sequence","opt_start_seq":3)"), 2);
  EXPECT_EQ(pending_with(R"("deliver_policy":"by_start_time","opt_start_time":")" + middle + "\""), 2);
  EXPECT_EQ(pending_with(R"("deliver_policy":"last_per_subject","filter_subject":"s.>")"), 2);
}

TEST_F(ConsumerTest, LastPerSubjectGoesOnWithWhatIsNew) {
  add_messages(2, "s.a");
  add_messages(2, "s.b");
  add_consumer("S", R"({"durable_name":"C","ack_policy":"explicit","deliver_policy":"last_per_subject","filter_subject":"s.>"})");
  sub();
  const std::string first = pull("3");
  EXPECT_NE(first.find("C.1.2.1."), std::string::npos) << first;
  EXPECT_NE(first.find("C.1.4.2." + stamp() + ".0"), std::string::npos) << first;
  client().publish("s.a", {}, "new");
  EXPECT_NE(client().sync().find("C.1.5.3."), std::string::npos);
}

TEST_F(ConsumerTest, HeadersOnlySaysTheSize) {
  client().publish("s.a", {}, "hello");
  add_pull(R"(,"headers_only":true)");
  sub();
  EXPECT_NE(pull("1").find("NATS/1.0\r\nNats-Msg-Size: 5\r\n\r\n"), std::string::npos);
}

TEST_F(ConsumerTest, PushDeliversWhileSomebodySubscribes) {
  add_messages(1);
  add_consumer("S", R"({"durable_name":"C","ack_policy":"explicit","deliver_subject":"in"})");
  EXPECT_EQ(client().sync(), "");
  EXPECT_EQ(sub(), msg(1, 1, 1, 0, stamp()));
  EXPECT_TRUE(info("S", "C").get_bool("push_bound"));
  EXPECT_EQ(pull("1"), status("409 Consumer is push based"));
  client().send("UNSUB 7\r\n").sync();
  EXPECT_FALSE(info("S", "C").get_bool("push_bound"));
}

TEST_F(ConsumerTest, FlowControlStopsAtTheWindow) {
  add_consumer("S", R"({"durable_name":"C","ack_policy":"none","deliver_subject":"in","flow_control":true,"idle_heartbeat":1000000000})");
  sub();
  const std::string body(200'000, 'x');
  for (int i = 0; i < 20; ++i) client().publish("s.a", {}, body);
  const std::string got = client().sync();
  const size_t at = got.find("$JS.FC.S.C.");
  ASSERT_NE(at, std::string::npos);
  const std::string name = got.substr(at, 15);
  size_t count = 0;
  for (size_t i = got.find("MSG s.a"); i != std::string::npos; i = got.find("MSG s.a", i + 1)) ++count;
  EXPECT_EQ(count, 11U);
  advance(1100ms);
  EXPECT_NE(client().sync().find("Nats-Consumer-Stalled: " + name), std::string::npos);
  client().publish(name, {}, "");
  EXPECT_NE(client().sync().find("$JS.ACK.S.C.1.20.20."), std::string::npos);
}

TEST_F(ConsumerTest, WorkQueueRemovesWhatIsAcknowledged) {
  add_stream(R"({"name":"Q","subjects":["q"],"retention":"workqueue"})");
  add_consumer("Q", R"({"durable_name":"C","ack_policy":"explicit"})");
  client().publish("q", {}, "a").publish("q", {}, "b");
  client().send("SUB in 7\r\n").publish("$JS.API.CONSUMER.MSG.NEXT.Q.C", "in", "1").sync();
  client().publish("$JS.ACK.Q.C.1.1.1.1.0", {}, "").sync();
  const json::Value answer = api("STREAM.INFO.Q", "");
  EXPECT_EQ(answer.find("state")->get_int("messages"), 1);
  EXPECT_EQ(api_error_code("CONSUMER.CREATE.Q.D", R"({"stream_name":"Q","config":{"durable_name":"D","ack_policy":"explicit"}})"), 10099);
}

TEST_F(ConsumerTest, PauseHoldsBackAndEnds) {
  add_messages(1);
  add_pull();
  sub();
  const std::string until = format_rfc3339(clock().wall_now() + 5s);
  const json::Value answer = api("CONSUMER.PAUSE.S.C", R"({"pause_until":")" + until + "\"}");
  EXPECT_TRUE(answer.get_bool("paused"));
  EXPECT_EQ(answer.get_int("pause_remaining"), 5'000'000'000);
  EXPECT_EQ(pull("1"), "");
  advance(5100ms);
  EXPECT_NE(client().sync().find("C.1.1.1."), std::string::npos);
}

TEST_F(ConsumerTest, PinnedClientsKeepTheirPin) {
  add_messages(2);
  add_pull(R"(,"priority_groups":["g"],"priority_policy":"pinned_client")");
  sub();
  const std::string got = pull(R"({"batch":1,"group":"g","expires":5000000000})");
  const size_t at = got.find("Nats-Pin-Id: ");
  ASSERT_NE(at, std::string::npos) << got;
  const std::string id = got.substr(at + 13, 22);
  EXPECT_EQ(pull(R"({"batch":1,"group":"g","expires":5000000000})"), "");
  EXPECT_EQ(pull(R"({"batch":1,"group":"g","id":"x","expires":5000000000})"), status("423 Nats-Pin-Id mismatch"));
  EXPECT_NE(pull(R"({"batch":1,"group":"g","expires":5000000000,"id":")" + id + "\"}").find("C.1.2.2."), std::string::npos);
  EXPECT_EQ(pull(R"({"batch":1,"expires":5000000000})"), status("400 Bad Request - Priority Group missing"));
}

TEST_F(ConsumerTest, EphemeralsEndWhenNobodyAsks) {
  add_consumer("S", R"({"name":"C","ack_policy":"none"})");
  EXPECT_EQ(field("num_waiting"), 0);
  advance(7s);
  EXPECT_EQ(api_error_code("CONSUMER.INFO.S.C", ""), 10014);
}

TEST_F(ConsumerTest, ResetStartsAgain) {
  add_messages(3);
  add_pull();
  sub();
  pull("3");
  ack(1);
  const json::Value answer = api("CONSUMER.RESET.S.C", "");
  EXPECT_EQ(answer.get_int("reset_seq"), 2);
  EXPECT_EQ(answer.get_int("num_pending"), 2);
  EXPECT_NE(pull("1").find("C.1.2.1."), std::string::npos);
}

}  // namespace
}  // namespace brokkr::jetstream
