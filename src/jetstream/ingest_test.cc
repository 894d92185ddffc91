// Publishes to streams over real sockets: every answer's bytes.
#include "jetstream/wire_test.h"

namespace brokkr::jetstream {
namespace {

using IngestTest = JetStreamTest;

std::string error_ack(int code, int err_code, const std::string& text, const std::string& stream = "S") {
  return "{\"error\":{\"code\":" + std::to_string(code) + ",\"err_code\":" + std::to_string(err_code) +
         ",\"description\":\"" + text + "\"},\"stream\":\"" + stream + "\",\"seq\":0}";
}

TEST_F(IngestTest, PubAckHasTheseBytes) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s.>"])");
  EXPECT_EQ(c.put("s.a"), R"({"stream":"S","seq":1})");
  EXPECT_EQ(c.put("s.b", "", "Nats-Msg-Id: 1\r\n"), R"({"stream":"S","seq":2})");
  EXPECT_EQ(c.put("s.b", "", "Nats-Msg-Id: 1\r\n"), R"({"stream":"S","seq":2,"duplicate": true})");
  EXPECT_EQ(number(info(c, "S"), "messages"), 2);
}

TEST_F(IngestTest, AcksComeInOrderAlsoThoseOfErrors) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s"])");
  std::string wanted;
  for (int i = 0; i < 300; ++i) {
    const bool is_wrong = i % 7 == 3;
    c.publish("s", "x", is_wrong ? "Nats-Expected-Stream: T\r\n" : "", c.inbox("acks"));
  }
  int64_t seq = 0;
  for (int i = 0; i < 300; ++i) {
    const std::string ack = c.next(c.inbox("acks")).body;
    if (i % 7 == 3) {
      EXPECT_EQ(ack, error_ack(400, 10060, "expected stream does not match"));
    } else {
      EXPECT_EQ(number(ack, "seq"), ++seq) << ack;
    }
  }
}

TEST_F(IngestTest, ExpectationsAreChecked) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s.>"])");
  c.put("s.a", "1", "Nats-Msg-Id: m1\r\n");
  EXPECT_EQ(c.put("s.a", "2", "Nats-Expected-Last-Sequence: 5\r\n"),
            error_ack(400, 10071, "wrong last sequence: 1"));
  EXPECT_EQ(c.put("s.a", "2", "Nats-Expected-Last-Msg-Id: m0\r\n"),
            error_ack(400, 10070, "wrong last msg ID: m1"));
  EXPECT_EQ(c.put("s.a", "2", "Nats-Expected-Last-Msg-Id: m1\r\nNats-Expected-Last-Sequence: 1\r\n"),
            R"({"stream":"S","seq":2})");
  EXPECT_EQ(c.put("s.b", "1", "Nats-Expected-Last-Subject-Sequence: 0\r\n"), R"({"stream":"S","seq":3})");
  EXPECT_EQ(c.put("s.b", "1", "Nats-Expected-Last-Subject-Sequence: 0\r\n"),
            error_ack(400, 10071, "wrong last sequence: 3"));
  EXPECT_EQ(c.put("s.c", "1", "Nats-Expected-Last-Subject-Sequence: 3\r\n"
                              "Nats-Expected-Last-Subject-Sequence-Subject: s.*\r\n"),
            R"({"stream":"S","seq":4})");
  EXPECT_EQ(c.put("s.c", "1", "Nats-Expected-Last-Subject-Sequence-Subject: s.*\r\n"),
            error_ack(400, 10193, "missing sequence for expected last sequence per subject"));
}

TEST_F(IngestTest, LimitsRefuseOrReplace) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s.>"],"max_msgs":2,"discard":"new","max_msg_size":10)");
  c.put("s.a");
  c.put("s.a");
  EXPECT_EQ(c.put("s.a"), error_ack(503, 10077, "maximum messages exceeded"));
  EXPECT_EQ(c.put("s.a", "12345678901"), error_ack(400, 10054, "message size exceeds maximum allowed"));
  update(c, "S", R"("subjects":["s.>"],"max_msgs":2,"max_msg_size":10)");
  EXPECT_EQ(c.put("s.a"), R"({"stream":"S","seq":3})");
  EXPECT_EQ(number(info(c, "S"), "first_seq"), 2);
}

TEST_F(IngestTest, AFullServerRefusesUntilThereIsRoom) {
  stop();
  options_.max_storage = 2000;
  start();
  WireClient c = client();
  create(c, "S", R"("subjects":["s"])");
  const std::string body(1000, 'x');
  EXPECT_EQ(c.put("s", body), R"({"stream":"S","seq":1})");
  EXPECT_EQ(c.put("s", body), R"({"stream":"S","seq":2})");
  EXPECT_EQ(c.put("s", body), error_ack(503, 10023, "insufficient resources"));
  EXPECT_EQ(c.put("s", body, "A: b\r\n"), error_ack(503, 10023, "insufficient resources"));
  c.ask("$JS.API.STREAM.PURGE.S");
  std::string ack;
  for (int i = 0; i < 500 && !ack.starts_with("{\"stream\""); ++i) {
    c.next("_none", 5);
    ack = c.put("s", body);
  }
  EXPECT_EQ(ack, R"({"stream":"S","seq":3})");
}

TEST_F(IngestTest, DiscardNewPerSubjectRefuses) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s.>"],"max_msgs_per_subject":1,"discard":"new",)"
                 R"("discard_new_per_subject":true)");
  c.put("s.a");
  EXPECT_EQ(c.put("s.a"), error_ack(503, 10077, "maximum messages per subject exceeded"));
  EXPECT_EQ(c.put("s.b"), R"({"stream":"S","seq":2})");
}

TEST_F(IngestTest, LargeHeadersAreRefused) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s"])");
  EXPECT_EQ(c.put("s", "x", "A: " + std::string(65'600, 'b') + "\r\n"),
            error_ack(400, 10097, "header size exceeds maximum allowed of 64k"));
}

TEST_F(IngestTest, SealedAndNoAck) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s"],"no_ack":true)");
  c.publish("s", "x", "", c.inbox("none"));
  EXPECT_TRUE(wait_for(c, "S", "messages", 1));
  EXPECT_TRUE(c.has_nothing(c.inbox("none")));
  update(c, "S", R"("subjects":["s"],"sealed":true)");
  EXPECT_EQ(c.put("s"), error_ack(400, 10109, "invalid operation on sealed stream"));
}

TEST_F(IngestTest, RollupsReplaceWhatWasBefore) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s.>"],"allow_rollup_hdrs":true)");
  c.put("s.a");
  c.put("s.b");
  c.put("s.a", "n", "Nats-Rollup: SUB\r\n");
  EXPECT_EQ(number(info(c, "S"), "messages"), 2);
  EXPECT_EQ(c.put("s.a", "n", "Nats-Rollup: foo\r\n"),
            error_ack(500, 10111, "rollup value invalid: \\\"foo\\\""));
  c.put("s.c", "n", "Nats-Rollup: all\r\n");
  EXPECT_EQ(number(info(c, "S"), "messages"), 1);
  create(c, "T", R"("subjects":["t"])");
  EXPECT_EQ(c.put("t", "n", "Nats-Rollup: sub\r\n"),
            error_ack(500, 10111, "rollup not permitted", "T"));
}

TEST_F(IngestTest, TtlNeedsPermissionAndExpires) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s"])");
  EXPECT_EQ(c.put("s", "x", "Nats-TTL: 1s\r\n"), error_ack(400, 10166, "per-message TTL is disabled"));
  create(c, "T", R"("subjects":["t.>"],"allow_msg_ttl":true)");
  EXPECT_EQ(c.put("t.a", "x", "Nats-TTL: 10ms\r\n"),
            error_ack(400, 10165, "invalid per-message TTL", "T"));
  c.put("t.a", "x", "Nats-TTL: 1s\r\n");
  c.put("t.b", "x", "Nats-TTL: never\r\n");
  EXPECT_TRUE(wait_for(c, "T", "messages", 1));
  EXPECT_EQ(number(info(c, "T"), "first_seq"), 2);
}

TEST_F(IngestTest, LastMessageOfASubjectLeavesAMarker) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s.>"],"allow_direct":true,"max_age":200000000,)"
                 R"("subject_delete_marker_ttl":60000000000)");
  c.put("s.a");
  c.put("s.a");
  EXPECT_TRUE(wait_for(c, "S", "last_seq", 3));
  const WireMessage marker = c.ask("$JS.API.DIRECT.GET.S.s.a");
  EXPECT_EQ(marker.body, "");
  EXPECT_NE(marker.headers.find("NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\nNats-TTL: 1m0s\r\n"
                                "Nats-Rollup: sub\r\nNats-Stream: S\r\n"),
            std::string::npos)
      << marker.headers;
  EXPECT_EQ(number(info(c, "S"), "messages"), 1);
}

TEST_F(IngestTest, SubjectIsTransformedAndRepublished) {
  WireClient c = client();
  create(c, "S", R"("subjects":["in.*"],"subject_transform":{"src":"in.*","dest":"kept.$1"},)"
                 R"("republish":{"src":"kept.>","dest":"out.>"})");
  c.subscribe("out.>", "o");
  c.put("in.a", "one", "A: b\r\n");
  c.put("in.a", "two");
  WireMessage first = c.next("out.a");
  EXPECT_EQ(first.body, "one");
  EXPECT_TRUE(first.headers.starts_with(
      "NATS/1.0\r\nA: b\r\nNats-Stream: S\r\nNats-Subject: kept.a\r\nNats-Sequence: 1\r\n"
      "Nats-Time-Stamp: 2"))
      << first.headers;
  EXPECT_NE(first.headers.find("Nats-Last-Sequence: 0\r\n\r\n"), std::string::npos);
  WireMessage second = c.next("out.a");
  EXPECT_NE(second.headers.find("Nats-Last-Sequence: 1\r\n\r\n"), std::string::npos);
}

TEST_F(IngestTest, InterestRetentionSkipsWhatNobodyWants) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s.>"],"retention":"interest")");
  EXPECT_EQ(c.put("s.a"), R"({"stream":"S","seq":1})");
  EXPECT_EQ(c.put("s.a"), R"({"stream":"S","seq":2})");
  const std::string text = info(c, "S");
  EXPECT_EQ(number(text, "messages"), 0);
  EXPECT_EQ(number(text, "last_seq"), 2);
  EXPECT_EQ(number(text, "first_seq"), 3);
  // Its id is remembered nevertheless.
  EXPECT_EQ(c.put("s.a", "", "Nats-Msg-Id: 1\r\n"), R"({"stream":"S","seq":3})");
  EXPECT_EQ(c.put("s.a", "", "Nats-Msg-Id: 1\r\n"), R"({"stream":"S","seq":3,"duplicate": true})");
}

TEST_F(IngestTest, CountersAdd) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s.>"],"allow_msg_counter":true,"allow_direct":true)");
  EXPECT_EQ(c.put("s.a", "", "Nats-Incr: +5\r\n"), R"({"stream":"S","seq":1,"val":"5"})");
  EXPECT_EQ(c.put("s.a", "", "Nats-Incr: -7\r\n"), R"({"stream":"S","seq":2,"val":"-2"})");
  EXPECT_EQ(c.put("s.a", "", "Nats-Incr: 100000000000000000000\r\n"),
            R"({"stream":"S","seq":3,"val":"99999999999999999998"})");
  EXPECT_EQ(c.ask("$JS.API.DIRECT.GET.S.s.a").body, R"({"val":"99999999999999999998"})");
  EXPECT_EQ(c.put("s.a", "", "A: b\r\n"),
            error_ack(400, 10169, "message counter increment is missing"));
  EXPECT_EQ(c.put("s.a", "x", "Nats-Incr: 1\r\n"), error_ack(400, 10170, "message counter has payload"));
  EXPECT_EQ(c.put("s.a", "", "Nats-Incr: x\r\n"),
            error_ack(400, 10171, "message counter increment is invalid"));
  create(c, "T", R"("subjects":["t"])");
  EXPECT_EQ(c.put("t", "", "Nats-Incr: 1\r\n"),
            error_ack(400, 10168, "message counters is disabled", "T"));
}

std::string batch(int seq, const std::string& more = "") {
  return "Nats-Batch-Id: b\r\nNats-Batch-Sequence: " + std::to_string(seq) + "\r\n" + more;
}

TEST_F(IngestTest, BatchesAreStoredWhole) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s.>"],"allow_atomic":true)");
  EXPECT_EQ(c.put("s.a", "1", batch(1)), "");
  EXPECT_EQ(c.put("s.b", "2", batch(2)), "");
  EXPECT_EQ(number(info(c, "S"), "messages"), 0);
  EXPECT_EQ(c.put("s.c", "3", batch(3, "Nats-Batch-Commit: 1\r\n")),
            R"({"stream":"S","seq":3,"batch":"b","count":3})");
  EXPECT_EQ(number(info(c, "S"), "messages"), 3);
  EXPECT_EQ(c.put("s.a", "1", batch(1)), "");
  EXPECT_EQ(c.put("s.c", "", batch(2, "Nats-Batch-Commit: eob\r\n")),
            R"({"stream":"S","seq":4,"batch":"b","count":1})");
}

TEST_F(IngestTest, BatchesThatFailLeaveNothing) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s.>"],"allow_atomic":true)");
  c.subscribe("$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.S", "a");
  EXPECT_EQ(c.put("s.a", "1", batch(2)), error_ack(400, 10176, "atomic publish batch is incomplete"));
  c.put("s.a", "1", batch(1));
  EXPECT_EQ(c.put("s.a", "1", batch(3)), error_ack(400, 10176, "atomic publish batch is incomplete"));
  EXPECT_NE(c.next("$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.S").body.find("\"reason\":\"incomplete\""),
            std::string::npos);
  c.put("s.a", "1", batch(1));
  EXPECT_EQ(c.put("s.a", "2", batch(2, "Nats-Batch-Commit: 1\r\n"
                                       "Nats-Expected-Last-Subject-Sequence: 0\r\n")),
            error_ack(400, 10164, "wrong last sequence"));
  EXPECT_EQ(c.put("s.a", "2", "Nats-Batch-Id: b\r\n"),
            error_ack(400, 10175, "atomic publish sequence is missing"));
  EXPECT_EQ(number(info(c, "S"), "messages"), 0);
  create(c, "T", R"("subjects":["t"])");
  EXPECT_EQ(c.put("t", "1", batch(1)), error_ack(400, 10174, "atomic publish is disabled", "T"));
}

TEST_F(IngestTest, SchedulesPublishLater) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s.>"],"allow_msg_schedules":true,"allow_direct":true)");
  EXPECT_EQ(c.put("s.a", "x", "Nats-Schedule: @at yesterday\r\nNats-Schedule-Target: s.t\r\n"),
            error_ack(400, 10189, "message schedules pattern is invalid"));
  EXPECT_EQ(c.put("s.a", "x", "Nats-Schedule: @every 1s\r\nNats-Schedule-Target: other\r\n"),
            error_ack(400, 10190, "message schedules target is invalid"));
  EXPECT_EQ(c.put("s.a", "x", "Nats-Schedule: @at 2020-01-01T00:00:00Z\r\nNats-Schedule-Target: s.t\r\n"
                              "My: header\r\n"),
            R"({"stream":"S","seq":1})");
  EXPECT_TRUE(wait_for(c, "S", "last_seq", 2));
  const WireMessage fired = c.ask("$JS.API.DIRECT.GET.S.s.t");
  EXPECT_EQ(fired.body, "x");
  EXPECT_TRUE(fired.headers.starts_with(
      "NATS/1.0\r\nMy: header\r\nNats-Scheduler: s.a\r\nNats-Schedule-Next: purge\r\nNats-Stream: S\r\n"))
      << fired.headers;
  EXPECT_TRUE(c.ask("$JS.API.DIRECT.GET.S.s.a").headers.starts_with("NATS/1.0 404 Message Not Found"));
}

TEST_F(IngestTest, WhatWasAcknowledgedIsThereAfterARestart) {
  std::string last;
  {
    WireClient c = client();
    create(c, "S", R"("subjects":["s.>"],"allow_direct":true,"allow_atomic":true)");
    for (int i = 1; i <= 50; ++i) last = c.put("s." + std::to_string(i % 5), std::to_string(i));
    EXPECT_EQ(last, R"({"stream":"S","seq":50})");
    c.put("s.id", "x", "Nats-Msg-Id: once\r\n");
  }
  restart();
  WireClient c = client();
  EXPECT_EQ(number(info(c, "S"), "messages"), 51);
  EXPECT_EQ(c.ask("$JS.API.DIRECT.GET.S.s.0").body, "50");
  EXPECT_EQ(c.put("s.id", "x", "Nats-Msg-Id: once\r\n"), R"({"stream":"S","seq":51,"duplicate": true})");
  EXPECT_EQ(c.put("s.1"), R"({"stream":"S","seq":52})");
}

}  // namespace
}  // namespace brokkr::jetstream
