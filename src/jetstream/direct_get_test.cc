// Direct gets over real sockets.
#include "jetstream/wire_test.h"

namespace brokkr::jetstream {
namespace {

class DirectGetTest : public JetStreamTest {
 protected:
  static constexpr const char* kGet = "$JS.API.DIRECT.GET.S";
  void fill(WireClient& c, const std::string& members = "") {
    create(c, "S", R"("subjects":["s.>"],"allow_direct":true)" + members);
    c.put("s.a", "1");
    c.put("s.b", "2", "A: b\r\n");
    c.put("s.a", "3");
    c.put("s.c", "4");
  }
  static std::string status(WireClient& c, std::string_view body, std::string_view subject = kGet) {
    const std::string headers = c.ask(subject, body).headers;
    return headers.substr(0, headers.find("\r\n"));
  }
  // What a request for several brings: bodies, then the headers of the end.
  static std::string batch(WireClient& c, const std::string& body) {
    c.publish(kGet, body, "", c.inbox("batch"));
    std::string out;
    for (;;) {
      const WireMessage message = c.next(c.inbox("batch"));
      if (!message.is_there) return out + "nothing more";
      if (message.headers.starts_with("NATS/1.0 ")) {
        std::string end = message.headers.substr(9);
        for (char& at : end) at = at == '\r' ? '|' : at;
        std::erase(end, '\n');
        return out + end;
      }
      out += message.body + " ";
    }
  }
};

TEST_F(DirectGetTest, ShowsAMessageWithWhereItIs) {
  WireClient c = client();
  fill(c);
  const WireMessage plain = c.ask(kGet, R"({"seq":1})");
  EXPECT_EQ(plain.body, "1");
  EXPECT_TRUE(plain.headers.starts_with("NATS/1.0\r\nNats-Stream: S\r\nNats-Subject: s.a\r\n"
                                        "Nats-Sequence: 1\r\nNats-Time-Stamp: 2"));
  EXPECT_TRUE(c.ask(kGet, R"({"last_by_subj":"s.b"})").headers.starts_with(
      "NATS/1.0\r\nA: b\r\nNats-Stream: S\r\n"));
  EXPECT_EQ(c.ask(kGet, R"({"seq":2,"no_hdr":true})").headers, "");
  EXPECT_EQ(c.ask("$JS.API.DIRECT.GET.S.s.a").body, "3");
  EXPECT_EQ(c.ask(kGet, R"({"next_by_subj":"s.a","seq":2})").body, "3");
  EXPECT_EQ(c.ask(kGet, R"({"start_time":"2020-01-01T00:00:00Z"})").body, "1");
}

TEST_F(DirectGetTest, SaysWhatIsWrong) {
  WireClient c = client();
  fill(c);
  EXPECT_EQ(status(c, R"({"seq":9})"), "NATS/1.0 404 Message Not Found");
  EXPECT_EQ(status(c, ""), "NATS/1.0 408 Empty Request");
  EXPECT_EQ(status(c, "{}"), "NATS/1.0 408 Empty Request");
  EXPECT_EQ(status(c, "{"), "NATS/1.0 408 Malformed Request");
  EXPECT_EQ(status(c, R"({"seq":"1"})"), "NATS/1.0 408 Malformed Request");
  EXPECT_EQ(status(c, R"({"seq":1,"last_by_subj":"s.a"})"), "NATS/1.0 408 Bad Request");
  EXPECT_EQ(status(c, R"({"last_by_subj":"s.a","batch":2})"), "NATS/1.0 408 Bad Request");
  EXPECT_EQ(status(c, R"({"seq":1})", "$JS.API.DIRECT.GET.S.s.a"), "NATS/1.0 408 Bad Request");
  EXPECT_EQ(status(c, "", "$JS.API.DIRECT.GET.S.s.z"), "NATS/1.0 404 Message Not Found");
  EXPECT_EQ(c.ask(kGet, R"({"seq":1})", "Nats-Required-Api-Level: 99\r\n").headers,
            "NATS/1.0 412 Required Api Level\r\n\r\n");
  EXPECT_EQ(status(c, R"({"multi_last":["x"]})"), "NATS/1.0 404 No Results");
}

TEST_F(DirectGetTest, BatchesEndWithTheirCounts) {
  WireClient c = client();
  fill(c);
  EXPECT_EQ(batch(c, R"({"seq":1,"batch":2})"),
            "1 2 204 EOB|Nats-Num-Pending: 2|Nats-Last-Sequence: 2||");
  EXPECT_EQ(batch(c, R"({"next_by_subj":"s.a","seq":1,"batch":9})"),
            "1 3 204 EOB|Nats-Num-Pending: 0|Nats-Last-Sequence: 3||");
  EXPECT_EQ(batch(c, R"({"seq":1,"batch":9,"max_bytes":1})"),
            "1 204 EOB|Nats-Num-Pending: 3|Nats-Last-Sequence: 1||");
  EXPECT_EQ(batch(c, R"({"multi_last":["s.a","s.b"]})"),
            "2 3 204 EOB|Nats-Num-Pending: 0|Nats-Last-Sequence: 3|Nats-UpTo-Sequence: 4||");
  EXPECT_EQ(batch(c, R"({"multi_last":["s.>"],"up_to_seq":2})"),
            "1 2 204 EOB|Nats-Num-Pending: 0|Nats-Last-Sequence: 2|Nats-UpTo-Sequence: 2||");
  EXPECT_EQ(batch(c, R"({"multi_last":["s.>"],"batch":1})"),
            "2 204 EOB|Nats-Num-Pending: 2|Nats-Last-Sequence: 2|Nats-UpTo-Sequence: 4||");
}

TEST_F(DirectGetTest, LongBatchesArePacedAndComplete) {
  WireClient c = client();
  create(c, "S", R"("subjects":["s.>"],"allow_direct":true)");
  for (int i = 0; i < 2000; ++i) c.publish("s." + std::to_string(i), "x");
  EXPECT_TRUE(wait_for(c, "S", "messages", 2000));
  const std::string all = batch(c, R"({"seq":1,"batch":5000})");
  EXPECT_EQ(std::count(all.begin(), all.end(), 'x'), 2000);
  EXPECT_TRUE(all.ends_with("204 EOB|Nats-Num-Pending: 0|Nats-Last-Sequence: 2000||"));
  EXPECT_EQ(status(c, R"({"multi_last":["s.*"]})"), "NATS/1.0 413 Too Many Results");
}

TEST_F(DirectGetTest, FollowsTheConfiguration) {
  WireClient c = client();
  fill(c);
  update(c, "S", R"("subjects":["s.>"])");
  EXPECT_TRUE(c.ask(kGet, R"({"seq":1})").headers.starts_with("NATS/1.0 503"));
}

}  // namespace
}  // namespace brokkr::jetstream
