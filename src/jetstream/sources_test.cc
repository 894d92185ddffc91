// Mirrors and sources within one server, by the same requests as from another.
#include "jetstream/wire_test.h"

namespace brokkr::jetstream {
namespace {

class SourcesTest : public JetStreamTest {
 protected:
  static void fill(WireClient& c, int from, int to) {
    for (int i = from; i <= to; ++i) c.put("o." + std::to_string(i % 3), std::to_string(i));
  }
  static WireMessage get(WireClient& c, const std::string& stream, int seq) {
    return c.ask("$JS.API.DIRECT.GET." + stream, "{\"seq\":" + std::to_string(seq) + "}");
  }
};

TEST_F(SourcesTest, MirrorKeepsSequencesTimesAndGaps) {
  WireClient c = client();
  create(c, "O", R"("subjects":["o.>"],"allow_direct":true)");
  fill(c, 1, 10);
  c.ask("$JS.API.STREAM.MSG.DELETE.O", R"({"seq":4})");
  create(c, "M", R"("mirror":{"name":"O"},"allow_direct":true)");
  EXPECT_TRUE(wait_for(c, "M", "last_seq", 10));
  EXPECT_EQ(number(info(c, "M"), "messages"), 9);
  const WireMessage here = get(c, "M", 5);
  const WireMessage there = get(c, "O", 5);
  EXPECT_EQ(here.body, "5");
  EXPECT_EQ(here.headers.substr(here.headers.find("Nats-Time-Stamp")),
            there.headers.substr(there.headers.find("Nats-Time-Stamp")));
  EXPECT_TRUE(get(c, "M", 4).headers.starts_with("NATS/1.0 404"));
  fill(c, 11, 12);
  EXPECT_TRUE(wait_for(c, "M", "last_seq", 12));
  EXPECT_NE(info(c, "M").find("\"mirror\":{\"name\":\"O\",\"lag\":0,\"active\":"), std::string::npos)
      << info(c, "M");
}

TEST_F(SourcesTest, MirrorGoesOnAfterARestart) {
  {
    WireClient c = client();
    create(c, "O", R"("subjects":["o.>"])");
    create(c, "M", R"("mirror":{"name":"O"},"allow_direct":true)");
    fill(c, 1, 5);
    EXPECT_TRUE(wait_for(c, "M", "last_seq", 5));
  }
  restart();
  WireClient c = client();
  fill(c, 6, 8);
  EXPECT_TRUE(wait_for(c, "M", "last_seq", 8));
  EXPECT_EQ(number(info(c, "M"), "messages"), 8);
}

TEST_F(SourcesTest, MirrorBecomesAStreamOfItsOwn) {
  WireClient c = client();
  create(c, "O", R"("subjects":["o.>"])");
  create(c, "M", R"("mirror":{"name":"O"})");
  fill(c, 1, 3);
  EXPECT_TRUE(wait_for(c, "M", "last_seq", 3));
  c.ask("$JS.API.STREAM.DELETE.O");
  update(c, "M", R"("subjects":["o.>"])");
  EXPECT_EQ(c.put("o.1"), R"({"stream":"M","seq":4})");
}

TEST_F(SourcesTest, SourcesSayWhereACopyCameFrom) {
  WireClient c = client();
  create(c, "O", R"("subjects":["o.>"])");
  create(c, "P", R"("subjects":["p.>"])");
  fill(c, 1, 6);
  c.put("p.x", "p", "A: b\r\n");
  create(c, "S", R"("subjects":["s"],"allow_direct":true,"sources":[)"
                 R"({"name":"O","filter_subject":"o.1"},)"
                 R"({"name":"P","subject_transforms":[{"src":"p.*","dest":"q.$1"}]}])");
  EXPECT_TRUE(wait_for(c, "S", "messages", 3));
  const WireMessage from_p = c.ask("$JS.API.DIRECT.GET.S.q.x");
  EXPECT_TRUE(from_p.headers.starts_with(
      "NATS/1.0\r\nA: b\r\nNats-Stream-Source: P 1 p.* q.$1 p.x\r\nNats-Stream: S\r\n"))
      << from_p.headers;
  EXPECT_NE(c.ask("$JS.API.DIRECT.GET.S.o.1").headers.find("Nats-Stream-Source: O 4 o.1 > o.1\r\n"),
            std::string::npos);
  c.put("s", "own");
  EXPECT_TRUE(wait_for(c, "S", "messages", 4));
}

TEST_F(SourcesTest, SourcesGoOnWhereTheyWereAfterARestart) {
  {
    WireClient c = client();
    create(c, "O", R"("subjects":["o.>"])");
    create(c, "S", R"("sources":[{"name":"O"}])");
    fill(c, 1, 5);
    EXPECT_TRUE(wait_for(c, "S", "messages", 5));
  }
  restart();
  WireClient c = client();
  fill(c, 6, 7);
  EXPECT_TRUE(wait_for(c, "S", "last_seq", 7));
}

TEST_F(SourcesTest, AMissingOriginIsNamedAndFollowedLater) {
  WireClient c = client();
  create(c, "S", R"("sources":[{"name":"O"}])");
  bool is_named = false;
  for (int i = 0; i < 200 && !is_named; ++i) {
    is_named = info(c, "S").find("\"err_code\":10059") != std::string::npos;
    c.next("_none", 20);
  }
  EXPECT_TRUE(is_named) << info(c, "S");
  create(c, "O", R"("subjects":["o.>"])");
  fill(c, 1, 2);
  EXPECT_TRUE(wait_for(c, "S", "messages", 2));
}

TEST_F(SourcesTest, ManyMessagesPassUnderFlowControl) {
  WireClient c = client();
  create(c, "O", R"("subjects":["o.>"])");
  const std::string body(1000, 'x');
  for (int i = 0; i < 20'000; ++i) c.publish("o.a", body);
  EXPECT_TRUE(wait_for(c, "O", "messages", 20'000));
  create(c, "M", R"("mirror":{"name":"O"})");
  EXPECT_TRUE(wait_for(c, "M", "messages", 20'000));
}

}  // namespace
}  // namespace brokkr::jetstream
