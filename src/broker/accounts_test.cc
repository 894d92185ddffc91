// Messages between accounts over real sockets, with one loop and with two.
#include "broker/broker_test_fixture.h"

#include <future>

#include "broker/service_replies.h"
#include "config/options.h"

namespace brokkr::broker {
namespace {

config::UserEntry user_of(const std::string& account, const std::string& name) {
  config::UserEntry user;
  user.name = name;
  user.password = "p";
  user.account = account;
  return user;
}

class AccountsTest : public BrokerTest {
 protected:
  // A with user "a" exports, B with user "b" and C with user "c" may import.
  void SetUp() override {
    for (const char* name : {"A", "B", "C"}) {
      options_.accounts.emplace_back().name = name;
      const std::string user(1, static_cast<char>(name[0] + 32));
      options_.authorization.users.push_back(user_of(name, user));
    }
  }
  config::Account& a() { return options_.accounts[0]; }
  config::Account& b() { return options_.accounts[1]; }
  config::Account& c() { return options_.accounts[2]; }

  void open() {
    auto made = auth::Authenticator::make(options_);
    ASSERT_TRUE(made) << made.error().text;
    start({}, Log::discard(), *made);
  }
  void reload() {
    auto made = auth::Authenticator::make(options_);
    ASSERT_TRUE(made) << made.error().text;
    // A reload belongs to the main loop.
    std::promise<void> done;
    loop_->post([&] {
      server_->reload(*server_->snapshot()->settings, *made);
      done.set_value();
    });
    done.get_future().wait();
    server_->visit_shards([](Shard&) {});
  }
  RawClient as(const std::string& user) {
    return client(R"({"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"user":")" +
                  user + R"(","pass":"p"})");
  }
  static config::ServiceExport service(const std::string& subject) {
    config::ServiceExport out;
    out.subject = subject;
    return out;
  }
  static config::StreamExport stream(const std::string& subject) {
    config::StreamExport out;
    out.subject = subject;
    return out;
  }
  static config::ServiceImport import_service(const std::string& subject, const std::string& to = {},
                                              const std::string& from = "A") {
    config::ServiceImport out;
    out.account = from;
    out.subject = subject;
    out.to = to;
    return out;
  }
  static config::StreamImport import_stream(const std::string& subject, const std::string& prefix,
                                            const std::string& to = {}) {
    config::StreamImport out;
    out.account = "A";
    out.subject = subject;
    out.prefix = prefix;
    out.to = to;
    return out;
  }
  config::Options options_;
};

INSTANTIATE_TEST_SUITE_P(Loops, AccountsTest, testing::Values(1, 2), [](const auto& loops) {
  return std::to_string(loops.param) + "loops";
});

TEST_P(AccountsTest, SeeNothingOfEachOther) {
  open();
  RawClient in_a = as("a");
  RawClient in_b = as("b");
  in_a.send("SUB > 1\r\n").sync();
  in_b.send("PUB x 2\r\nhi\r\n").sync();
  EXPECT_EQ(in_a.sync(), "");
}

TEST_P(AccountsTest, AnImportedStreamAppearsUnderItsPrefix) {
  a().stream_exports.push_back(stream("news.>"));
  b().stream_imports.push_back(import_stream("news.>", "from.a"));
  open();
  RawClient in_a = as("a");
  RawClient in_b = as("b");
  RawClient in_c = as("c");
  in_b.send("SUB from.a.news.sport 1\r\nSUB from.*.news.* 2\r\nSUB news.sport 3\r\n").sync();
  in_c.send("SUB > 1\r\n").sync();
  in_a.send("PUB news.sport r 4\r\ngoal\r\nPUB other 1\r\nx\r\n").sync();
  in_a.sync();
  const std::string got = in_b.sync();
  EXPECT_NE(got.find("MSG from.a.news.sport 1 r 4\r\ngoal\r\n"), std::string::npos) << got;
  EXPECT_NE(got.find("MSG from.a.news.sport 2 r 4\r\ngoal\r\n"), std::string::npos) << got;
  EXPECT_EQ(got.find(" 3 "), std::string::npos) << got;
  EXPECT_EQ(in_c.sync(), "");
}

TEST_P(AccountsTest, AnImportedStreamMayBeRenamed) {
  a().stream_exports.push_back(stream("t.*.*"));
  b().stream_imports.push_back(import_stream("t.*.*", "", "x.$2.$1"));
  open();
  RawClient in_a = as("a");
  RawClient in_b = as("b");
  in_b.send("SUB x.two.* 1\r\n").sync();
  in_a.send("PUB t.one.two 1\r\n1\r\nPUB t.one.three 1\r\n2\r\n").sync();
  in_a.sync();
  EXPECT_EQ(in_b.sync(), "MSG x.two.one 1 1\r\n1\r\n");
}

TEST_P(AccountsTest, AnImportedStreamStopsWithItsSubscription) {
  a().stream_exports.push_back(stream("s"));
  b().stream_imports.push_back(import_stream("s", ""));
  open();
  RawClient in_a = as("a");
  RawClient in_b = as("b");
  in_b.send("SUB s 1\r\nUNSUB 1 2\r\n").sync();
  in_a.send("PUB s 1\r\n1\r\nPUB s 1\r\n2\r\nPUB s 1\r\n3\r\n").sync();
  in_a.sync();
  EXPECT_EQ(in_b.sync(), "MSG s 1 1\r\n1\r\nMSG s 1 1\r\n2\r\n");
}

TEST_P(AccountsTest, ARequestReachesTheServiceAndItsAnswerComesBack) {
  a().service_exports.push_back(service("help.*"));
  b().service_imports.push_back(import_service("help.*", "ask.*"));
  open();
  RawClient server = as("a");
  RawClient requester = as("b");
  server.send("SUB help.* 9\r\n").sync();
  requester.send("SUB inbox 1\r\n").sync();
  requester.send("PUB ask.me inbox 2\r\nhi\r\n").sync();
  const std::string request = server.sync();
  ASSERT_TRUE(request.starts_with("HMSG help.me 9 _R_.")) << request;
  EXPECT_NE(request.find("Nats-Request-Info: {\"acc\":\"B\""), std::string::npos) << request;
  const size_t at = request.find("_R_.");
  const std::string reply = request.substr(at, request.find(' ', at) - at);
  server.send("PUB " + reply + " 5\r\nthere\r\nPUB " + reply + " 5\r\nagain\r\n").sync();
  server.sync();
  EXPECT_EQ(requester.sync(), "MSG inbox 1 5\r\nthere\r\n");
}

TEST_P(AccountsTest, AStreamedResponseHasManyAnswers) {
  a().service_exports.push_back(service("many"));
  a().service_exports.back().response_type = config::ResponseType::Streamed;
  b().service_imports.push_back(import_service("many"));
  open();
  RawClient server = as("a");
  RawClient requester = as("b");
  server.send("SUB many 9\r\n").sync();
  requester.send("SUB inbox 1\r\nPUB many inbox 0\r\n\r\n").sync();
  const std::string request = server.sync();
  const size_t at = request.find("_R_.");
  ASSERT_NE(at, std::string::npos) << request;
  const std::string reply = request.substr(at, request.find(' ', at) - at);
  server.send("PUB " + reply + " 1\r\n1\r\nPUB " + reply + " 1\r\n2\r\n").sync();
  server.sync();
  EXPECT_EQ(requester.sync(), "MSG inbox 1 1\r\n1\r\nMSG inbox 1 1\r\n2\r\n");
}

TEST_P(AccountsTest, AServiceThatNobodyServesIsToldAtOnce) {
  a().service_exports.push_back(service("help"));
  b().service_imports.push_back(import_service("help"));
  open();
  RawClient requester = as("b");
  requester.send("SUB inbox 1\r\nPUB help inbox 0\r\n\r\n");
  EXPECT_NE(requester.sync().find("NATS/1.0 503\r\n"), std::string::npos);
}

TEST_P(AccountsTest, ARequestBeyondTheAnswersThatAreAwaitedIsToldAtOnce) {
  a().service_exports.push_back(service("help"));
  b().service_imports.push_back(import_service("help"));
  open();
  RawClient server = as("a");
  RawClient requester = as("b");
  server.send("SUB help 9\r\n").sync();
  requester.send("SUB inbox 1\r\n").sync();
  // In parts, so that a slow build answers each in time.
  constexpr size_t kParts = 64;
  std::string requests;
  for (size_t i = 0; i < ServiceReplies::kPendingMax / kParts; ++i) requests += "PUB help inbox 0\r\n\r\n";
  for (size_t part = 0; part < kParts; ++part) ASSERT_EQ(requester.send(requests).sync(), "");
  requester.send("PUB help inbox 0\r\n\r\n");
  EXPECT_NE(requester.sync().find("NATS/1.0 503\r\n"), std::string::npos);
}

TEST_P(AccountsTest, WhoAsksCannotSayThatItIsSomebodyElse) {
  a().service_exports.push_back(service("help"));
  b().service_imports.push_back(import_service("help"));
  open();
  RawClient server = as("a");
  RawClient requester = as("b");
  server.send("SUB help 9\r\n").sync();
  const std::string headers = "NATS/1.0\r\nNats-Request-Info: {\"acc\":\"ROOT\"}\r\nnats-request-info: z\r\n\r\n";
  const std::string size = std::to_string(headers.size());
  requester.send("SUB inbox 1\r\nHPUB help inbox " + size + " " + size + "\r\n" + headers + "\r\n").sync();
  const std::string request = server.sync();
  EXPECT_NE(request.find("{\"acc\":\"B\""), std::string::npos) << request;
  EXPECT_EQ(request.find("ROOT"), std::string::npos) << request;
  EXPECT_EQ(request.find("nats-request-info: z"), std::string::npos) << request;
}

TEST_P(AccountsTest, RequestsPassThroughAnAccountThatExportsWhatItImports) {
  a().service_exports.push_back(service("deep"));
  b().service_imports.push_back(import_service("deep", "middle"));
  b().service_exports.push_back(service("middle"));
  c().service_imports.push_back(import_service("middle", "top", "B"));
  open();
  RawClient server = as("a");
  RawClient requester = as("c");
  server.send("SUB deep 9\r\n").sync();
  requester.send("SUB inbox 1\r\nPUB top inbox 1\r\n?\r\n").sync();
  const std::string request = server.sync();
  const size_t at = request.find("_R_.");
  ASSERT_NE(at, std::string::npos) << request;
  const std::string reply = request.substr(at, request.find(' ', at) - at);
  server.send("PUB " + reply + " 2\r\nok\r\n").sync();
  server.sync();
  EXPECT_EQ(requester.sync(), "MSG inbox 1 2\r\nok\r\n");
}

TEST_P(AccountsTest, ImportsThatAreNotExportedAreRefused) {
  a().service_exports.push_back(service("help"));
  a().service_exports.back().accounts = {"C"};
  b().service_imports.push_back(import_service("help"));
  EXPECT_EQ(auth::Authenticator::make(options_).error().text,
            "account \"B\": service import of \"help\" from account \"A\" is not exported to it");
  b().service_imports.clear();
  c().service_imports.push_back(import_service("help"));
  EXPECT_TRUE(auth::Authenticator::make(options_));
  c().service_imports.push_back(import_service("other"));
  EXPECT_FALSE(auth::Authenticator::make(options_));
}

TEST_P(AccountsTest, ImportsThatLeadBackAreRefused) {  // advisories 2020-28466, 2022-42709
  a().service_exports.push_back(service("x"));
  b().service_exports.push_back(service("x"));
  b().service_imports.push_back(import_service("x"));
  a().service_imports.push_back(import_service("x", "x", "B"));
  const auto made = auth::Authenticator::make(options_);
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().text.find("forms a cycle"), std::string::npos) << made.error().text;
}

TEST_P(AccountsTest, SubjectsAreMappedOnTheWayIn) {
  a().mappings.push_back({"order.*", {{"shop.$1.order", 100, ""}}});
  a().mappings.push_back({"half", {{"half.a", 50, ""}, {"half.b", 50, ""}}});
  open();
  RawClient in_a = as("a");
  in_a.send("SUB shop.> 1\r\nSUB order.* 2\r\n").sync();
  in_a.send("PUB order.7 1\r\nx\r\n");
  EXPECT_EQ(in_a.sync(), "MSG shop.7.order 1 1\r\nx\r\n");
  in_a.send("SUB half.a 3\r\nSUB half.b 4\r\n").sync();
  std::string many;
  for (int i = 0; i < 400; ++i) many += "PUB half 0\r\n\r\n";
  const std::string got = in_a.send(many).sync();
  size_t to_a = 0;
  for (size_t at = 0; (at = got.find("MSG half.a ", at)) != std::string::npos; ++at) ++to_a;
  EXPECT_GT(to_a, 120u);
  EXPECT_LT(to_a, 280u);
}

TEST_P(AccountsTest, HaveAsManyConnectionsAsTheyMay) {
  b().max_connections = 1;
  open();
  RawClient in_a = as("a");
  RawClient in_b = as("b");
  {
    RawClient more(port_);
    more.skip_to("\r\n");
    more.send("CONNECT {\"verbose\":false,\"user\":\"b\",\"pass\":\"p\"}\r\nPING\r\n");
    EXPECT_EQ(more.drain(), "-ERR 'maximum account active connections exceeded'\r\n");
  }
  as("a").sync();
}

TEST_P(AccountsTest, HaveAsManySubscriptionsAsTheyMay) {
  b().max_subscriptions = 2;
  b().max_payload = 3;
  open();
  RawClient one = as("b");
  RawClient two = as("b");
  one.send("SUB x 1\r\n").sync();
  two.send("SUB x 1\r\n").sync();
  EXPECT_EQ(two.send("SUB x 2\r\n").sync(), "-ERR 'maximum subscriptions exceeded'\r\n");
  one.send("UNSUB 1\r\n").sync();
  EXPECT_EQ(two.send("SUB x 2\r\n").sync(), "");
  two.send("PUB x 4\r\nlong\r\n");
  EXPECT_EQ(two.drain(), "-ERR 'Maximum Payload Violation'\r\n");
}

TEST_P(AccountsTest, AReloadChangesImportsOfThoseWhoAreThere) {
  a().stream_exports.push_back(stream("s"));
  open();
  RawClient in_a = as("a");
  RawClient in_b = as("b");
  in_b.send("SUB s 1\r\n").sync();
  in_a.send("PUB s 1\r\n1\r\n").sync();
  EXPECT_EQ(in_b.sync(), "");
  b().stream_imports.push_back(import_stream("s", ""));
  reload();
  // A PONG behind a SUB says that the other loops know all interest of this one, the imports too.
  in_b.send("SUB after 2\r\n").sync();
  in_a.send("PUB s 1\r\n2\r\n").sync();
  in_a.sync();
  EXPECT_EQ(in_b.sync(), "MSG s 1 1\r\n2\r\n");
  b().stream_imports.clear();
  reload();
  in_a.send("PUB s 1\r\n3\r\n").sync();
  in_a.sync();
  EXPECT_EQ(in_b.sync(), "");
}

}  // namespace
}  // namespace brokkr::broker
