// The system account and message tracing over real sockets, with one loop and with two.
#include "broker/broker_test_fixture.h"

#include "base/json.h"
#include "broker/message_trace.h"
#include "broker/system/encoding.h"
#include "broker/system/request.h"
#include "broker/system/system_services.h"
#include "config/options.h"

namespace brokkr::broker {
namespace {

constexpr std::string_view kBlock =
    "NATS/1.0\r\nNats-Trace-Dest: t\r\nNats-Trace-Only:  TRUE \r\nA: 1\r\nA: 2\r\nb:\r\n\r\n";

TEST(TraceWish, ReadsWhereToAndHow) {
  const TraceWish wish = read_trace_wish(kBlock);
  EXPECT_EQ(wish.destination, "t");
  EXPECT_TRUE(wish.is_only);
  EXPECT_FALSE(wish.is_external);
  EXPECT_EQ(wish.headers.at("A"), (std::vector<std::string>{"1", "2"}));
  EXPECT_FALSE(wish.headers.contains("b"));  // nothing is said there
}

TEST(TraceWish, IsThereOnlyWhenAsked) {
  EXPECT_TRUE(may_hold_trace_wish(kBlock));
  EXPECT_FALSE(may_hold_trace_wish("NATS/1.0\r\nTime: 1\r\nNats-Msg-Id: 1\r\n\r\n"));
  EXPECT_TRUE(read_trace_wish("NATS/1.0\r\nNats-Trace-Only: 1\r\n\r\n").destination.empty());
  EXPECT_TRUE(read_trace_wish("NATS/1.0\r\nNats-Trace-Dest: trace disabled\r\n\r\n").headers.empty());
  EXPECT_TRUE(read_trace_wish("").destination.empty());
  EXPECT_TRUE(read_trace_wish("NATS/1.0").destination.empty());
}

TEST(TraceWish, KnowsSampledTraceParents) {
  const auto is_external = [](std::string_view value) {
    return read_trace_wish("NATS/1.0\r\nTraceParent: " + std::string(value) + "\r\n\r\n").is_external;
  };
  EXPECT_TRUE(may_hold_trace_wish("NATS/1.0\r\nTraceParent: x\r\n\r\n"));
  EXPECT_TRUE(is_external("00-abc-def-01"));
  EXPECT_TRUE(is_external("00-abc-def-0B"));
  EXPECT_FALSE(is_external("00-abc-def-00"));
  EXPECT_FALSE(is_external("00-abc-def-1"));
  EXPECT_FALSE(is_external("00-abc-def-81"));  // no signed byte
  EXPECT_FALSE(is_external("00-abc-def-zz"));
  EXPECT_FALSE(is_external("00-abc-01"));
}

TEST(TraceWish, IsTakenOutOfWhatIsStored) {
  EXPECT_EQ(without_trace_wish("NATS/1.0\r\nA: 1\r\nNats-Trace-Dest: t\r\nB: 2\r\n\r\n"),
            "NATS/1.0\r\nA: 1\r\nB: 2\r\nNats-Trace-Dest: trace disabled\r\n\r\n");
}

TEST(SystemRequest, FiltersSayWhoIsMeant) {
  Settings settings;
  settings.server_name = "edge-1";
  settings.tags = {"az:a"};
  settings.jetstream_domain = "hub";
  const auto means = [&](std::string_view body) {
    OptionReader reader(body);
    EXPECT_FALSE(reader.has_failed()) << body;
    return is_meant(reader, settings);
  };
  EXPECT_TRUE(means(""));
  EXPECT_TRUE(means(R"({"server_name":"edge"})"));
  EXPECT_FALSE(means(R"({"server_name":"edge","exact_match":true})"));
  EXPECT_TRUE(means(R"({"server_name":"edge-1","exact_match":true,"tags":["AZ:A"]})"));
  EXPECT_FALSE(means(R"({"tags":["az:a","x"]})"));
  EXPECT_FALSE(means(R"({"cluster":"c"})"));
  EXPECT_TRUE(means(R"({"domain":"hub"})"));
  EXPECT_FALSE(means(R"({"domain":"leaf"})"));
}

TEST(SystemRequest, OptionsOfAWrongKindAreNamed) {
  EXPECT_TRUE(OptionReader("[1]").has_failed());
  EXPECT_TRUE(OptionReader("{").has_failed());
  OptionReader reader(R"({"limit":"x","Offset":3})");
  EXPECT_EQ(reader.integer("offset"), 3);  // as Go, whatever the case
  EXPECT_FALSE(reader.has_failed());
  EXPECT_EQ(reader.integer("limit"), 0);
  EXPECT_NE(reader.error().find("limit of type int"), std::string::npos) << reader.error();
}

TEST(SystemEncoding, PacksOnlyWhatIsAccepted) {
  std::string headers;
  std::string body = "{}";
  const Callback<std::string(std::string_view)> snappy = [](std::string_view plain) {
    return "s" + std::string(plain);
  };
  encode_as_accepted("", snappy, headers, body);
  EXPECT_EQ(headers + body, "{}");
  encode_as_accepted("NATS/1.0\r\naccept-encoding: br, S2\r\n\r\n", snappy, headers, body);
  EXPECT_EQ(headers, "NATS/1.0\r\nContent-Encoding: snappy\r\n\r\n");
  EXPECT_EQ(body, "s{}");
  encode_as_accepted("NATS/1.0\r\nAccept-Encoding: gzip\r\n\r\n", snappy, headers, body);
  EXPECT_EQ(headers, "NATS/1.0\r\nContent-Encoding: gzip\r\n\r\n");
  EXPECT_TRUE(body.starts_with("\x1f\x8b"));
}

class SystemTest : public BrokerTest {
 protected:
  void SetUp() override {
    config::Options options;
    for (const char* name : {"A", "SYS"}) options.accounts.emplace_back().name = name;
    for (const char* name : {"a", "p", "sys"}) {
      config::UserEntry user;
      user.name = name;
      user.password = "p";
      user.account = user.name == "sys" ? "SYS" : "A";
      if (user.name == "p") {
        user.permissions.emplace();
        user.permissions->publish.has_allow = true;
        user.permissions->publish.allow = {"ok.>", "$SYS.REQ.USER.INFO"};
      }
      options.authorization.users.push_back(user);
    }
    auto made = auth::Authenticator::make(options);
    ASSERT_TRUE(made) << made.error().text;
    Settings settings;
    settings.server_name = "s";
    settings.system_account = "SYS";
    start(settings, Log::discard(), *made);
  }
  RawClient as(const std::string& user) {
    RawClient made = client(
        R"({"verbose":false,"headers":true,"no_responders":true,"echo":true,"protocol":1,"name":"n-)" +
        user + R"(","user":")" + user + R"(","pass":"p"})");
    made.skip_to("\r\n");  // the second INFO
    return made;
  }
  // What comes back on an inbox of its own.
  static json::Value ask(RawClient& who, const std::string& subject, const std::string& body = {}) {
    who.send("SUB inbox i\r\nPUB " + subject + " inbox " + std::to_string(body.size()) + "\r\n" +
             body + "\r\n");
    who.skip_to("MSG inbox i ");
    who.skip_to("\r\n");
    auto parsed = json::parse(who.skip_to("\r\n"));
    who.send("UNSUB i\r\n").sync();
    EXPECT_TRUE(parsed);
    return parsed ? *parsed : json::Value();
  }
  std::string id() { return server_->snapshot()->settings->server_id; }
};

INSTANTIATE_TEST_SUITE_P(Loops, SystemTest, testing::Values(1, 2), [](const auto& loops) {
  return std::to_string(loops.param) + "loops";
});

TEST_P(SystemTest, AnswersWithDocumentsInAnEnvelope) {
  RawClient a = as("a");
  RawClient sys = as("sys");
  a.send("SUB foo 1\r\n").sync();
  json::Value answer = ask(sys, "$SYS.REQ.SERVER.PING.CONNZ", R"({"auth":true,"acc":"A"})");
  EXPECT_EQ(answer.find("server")->get_string("name"), "s");
  const uint64_t seq = static_cast<uint64_t>(answer.find("server")->get_int("seq"));
  const json::Value* connections = answer.find("data")->find("connections");
  ASSERT_EQ(connections->items().size(), 1U);
  EXPECT_EQ(connections->items()[0].get_string("authorized_user"), "a");
  answer = ask(sys, "$SYS.REQ.SERVER." + id() + ".VARZ");
  EXPECT_EQ(answer.find("data")->get_string("system_account"), "SYS");
  EXPECT_GT(static_cast<uint64_t>(answer.find("server")->get_int("seq")), seq);
  answer = ask(sys, "$SYS.REQ.SERVER.PING");
  EXPECT_EQ(answer.find("statsz")->get_int("connections"), 2);
  EXPECT_EQ(answer.find("statsz")->get_int("active_accounts"), 2);
  answer = ask(sys, "$SYS.REQ.ACCOUNT.A.STATZ");
  EXPECT_EQ(answer.find("data")->find("account_statz")->items()[0].get_int("conns"), 1);
  answer = ask(sys, "$SYS.REQ.SERVER.PING.CONNZ", R"({"sort":"x"})");
  EXPECT_EQ(answer.find("error")->get_int("code"), 500);
  answer = ask(sys, "$SYS.REQ.SERVER.PING.CONNZ", "{");
  EXPECT_EQ(answer.find("error")->get_int("code"), 400);
}

TEST_P(SystemTest, EveryAccountAsksAboutItselfOnly) {
  RawClient a = as("a");
  RawClient p = as("p");
  RawClient sys = as("sys");
  json::Value answer = ask(a, "$SYS.REQ.SERVER.PING.CONNZ", R"({"acc":"SYS"})");
  EXPECT_EQ(answer.find("data")->find("connections")->items().size(), 2U);
  answer = ask(a, "$SYS.REQ.ACCOUNT.PING.STATZ");
  ASSERT_EQ(answer.find("data")->find("account_statz")->items().size(), 1U);
  EXPECT_EQ(answer.find("data")->find("account_statz")->items()[0].get_string("acc"), "A");
  answer = ask(p, "$SYS.REQ.USER.INFO");
  EXPECT_EQ(answer.find("data")->get_string("user"), "p");
  const json::Value* publish = answer.find("data")->find("permissions")->find("publish");
  EXPECT_EQ(publish->find("allow")->items().size(), 2U);
  // The rest is the system account's.
  a.send("SUB inbox i\r\nPUB $SYS.REQ.SERVER.PING.VARZ inbox 0\r\n\r\n");
  EXPECT_NE(a.sync().find("503"), std::string::npos);
}

TEST_P(SystemTest, TellsWhoComesAndGoes) {
  RawClient sys = as("sys");
  sys.send("SUB $SYS.ACCOUNT.A.CONNECT 1\r\n"
           "SUB $SYS.ACCOUNT.A.DISCONNECT 2\r\nSUB $SYS.ACCOUNT.A.SERVER.CONNS 3\r\n")
      .sync();
  {
    RawClient a = as("a");
    sys.skip_to("MSG $SYS.ACCOUNT.A.CONNECT 1 ");
    sys.skip_to("io.nats.server.advisory.v1.client_connect");
    sys.skip_to(R"("acc":"A","user":"a","name":"n-a")");
    sys.skip_to("MSG $SYS.ACCOUNT.A.SERVER.CONNS 3 ");
    sys.skip_to(R"("acc":"A","name":"A","conns":1)");
  }
  sys.skip_to("MSG $SYS.ACCOUNT.A.DISCONNECT 2 ");
  sys.skip_to(R"("reason":"Client Closed")");
  sys.skip_to(R"("conns":0)");
}

TEST_P(SystemTest, TellsOfRefusedClients) {
  RawClient sys = as("sys");
  sys.send("SUB $SYS.SERVER.*.CLIENT.AUTH.ERR 1\r\n").sync();
  RawClient bad(port_);
  bad.skip_to("\r\n");
  bad.send("CONNECT {\"user\":\"a\",\"pass\":\"wrong\"}\r\nPING\r\n");
  sys.skip_to("MSG $SYS.SERVER." + id() + ".CLIENT.AUTH.ERR 1 ");
  sys.skip_to(R"("reason":"Authentication Failure")");
}

TEST_P(SystemTest, KicksAndSendsAway) {
  RawClient sys = as("sys");
  RawClient a = as("a");
  const json::Value listed = ask(sys, "$SYS.REQ.SERVER.PING.CONNZ", R"({"acc":"A"})");
  const std::string cid =
      std::to_string(listed.find("data")->find("connections")->items()[0].get_int("cid"));
  json::Value answer = ask(sys, "$SYS.REQ.SERVER." + id() + ".LDM", "{\"cid\":" + cid + "}");
  EXPECT_EQ(answer.find("error"), nullptr);
  a.skip_to(R"("ldm":true)");
  answer = ask(sys, "$SYS.REQ.SERVER." + id() + ".KICK", "{\"cid\":" + cid + "}");
  EXPECT_EQ(answer.find("error"), nullptr);
  EXPECT_TRUE(a.expect_closed());
  answer = ask(sys, "$SYS.REQ.SERVER." + id() + ".KICK", "{\"cid\":" + cid + "}");
  EXPECT_EQ(answer.find("error")->get_string("description"), "no such client or leafnode id");
}

TEST_P(SystemTest, ReloadsThroughWhoeverCan) {
  RawClient sys = as("sys");
  const std::string subject = "$SYS.REQ.SERVER." + id() + ".RELOAD";
  EXPECT_EQ(ask(sys, subject).find("error")->get_int("code"), 500);
  loop_->post([this] {
    server_->system().set_reload([] { return Status(Error{Errc::Syntax, "line 3"}); });
  });
  EXPECT_EQ(ask(sys, subject).find("error")->get_string("description"), "line 3");
}

std::string traced(const std::string& subject, const std::string& more = {}) {
  const std::string block = "NATS/1.0\r\nNats-Trace-Dest: ok.trace\r\n" + more + "\r\n";
  return "HPUB " + subject + " " + std::to_string(block.size()) + " " +
         std::to_string(block.size() + 2) + "\r\n" + block + "hi\r\n";
}

TEST_P(SystemTest, TracesTellWhoGotAMessage) {
  RawClient publisher = as("a");
  RawClient plain = as("a");
  RawClient member = as("a");
  publisher.send("SUB ok.trace t\r\n").sync();
  plain.send("SUB ok.* 1\r\n").sync();
  member.send("SUB ok.x q 2\r\n").sync();
  publisher.send(traced("ok.x"));
  publisher.skip_to("MSG ok.trace t ");
  publisher.skip_to(R"("request":{"header":{"Nats-Trace-Dest":["ok.trace"]},"msgsize":)");
  publisher.skip_to(R"("events":[{"type":"in",)");
  const std::string events = publisher.skip_to("]}\r\n");
  EXPECT_NE(events.find(R"("acc":"A","subj":"ok.x"})"), std::string::npos) << events;
  EXPECT_NE(events.find(R"("sub":"ok.*"})"), std::string::npos) << events;
  EXPECT_NE(events.find(R"("sub":"ok.x","queue":"q"})"), std::string::npos) << events;
  EXPECT_NE(plain.sync().find("hi\r\n"), std::string::npos);
  EXPECT_NE(member.sync().find("hi\r\n"), std::string::npos);
}

TEST_P(SystemTest, OnlyTracedMessagesReachNobody) {
  RawClient publisher = as("a");
  RawClient plain = as("a");
  publisher.send("SUB ok.trace t\r\n").sync();
  plain.send("SUB ok.x 1\r\n").sync();
  publisher.send(traced("ok.x", "Nats-Trace-Only: true\r\n"));
  publisher.skip_to(R"("sub":"ok.x"})");
  EXPECT_EQ(plain.sync(), "");
}

TEST_P(SystemTest, TracesGoOnlyWhereThePublisherMayWrite) {
  RawClient all = as("a");
  RawClient limited = as("p");
  all.send("SUB > 1\r\n").sync();
  const std::string block = "NATS/1.0\r\nNats-Trace-Dest: secret\r\n\r\n";
  const std::string size = std::to_string(block.size());
  limited.send("HPUB ok.x " + size + " " + size + "\r\n" + block + "\r\n");
  limited.skip_to("-ERR 'Permissions Violation for Publish to \"secret\"'\r\n");
  EXPECT_EQ(all.sync(), "");
  // Nor to what the server keeps to itself.
  const std::string reserved = "NATS/1.0\r\nNats-Trace-Dest: _GR_.x\r\n\r\n";
  const std::string reserved_size = std::to_string(reserved.size());
  all.send("HPUB ok.x " + reserved_size + " " + reserved_size + "\r\n" + reserved + "\r\n");
  all.skip_to("-ERR 'Permissions Violation for Publish to \"_GR_.x\"'\r\n");
}

}  // namespace
}  // namespace brokkr::broker
