#include "client/service.h"

#include <gtest/gtest.h>

#include <optional>

#include "base/json.h"
#include "client/sync.h"
#include "io/transport.h"

namespace brokkr::client {
namespace {

// A connection whose far end is a string: what the service sends is read from it, what it shall
// receive is written to it.
class ServiceTest : public ::testing::Test, io::TransportHandler {
 protected:
  void SetUp() override {
    loop_ = std::move(*io::Loop::open({}, clock_));
    Options options;
    options.make_transport = [this] {
      auto [ours, theirs] = io::make_pipe(*loop_);
      far_ = std::move(ours);
      far_->listen(this, true, false);
      say("INFO {\"headers\":true} \r\nPONG\r\n");
      return std::move(theirs);
    };
    connection_ = std::move(*Connection::open({*loop_, resolver_, random_}, std::move(options)));
    ASSERT_TRUE(until([this] { return connection_->is_connected(); }));
    Service::Options service;
    service.name = "calc";
    service.version = "1.2.3";
    service.description = "adds";
    service_ = std::move(*Service::start(*connection_, random_, std::move(service)));
  }
  void TearDown() override {
    service_.reset();
    connection_.reset();
  }
  void on_readable() override {
    char buffer[65536];
    const io::IoResult result = far_->read(buffer, sizeof buffer);
    if (result.kind != io::IoResult::Kind::Ok) return far_->listen(nullptr, false, false);
    received_.append(buffer, result.bytes);
    everything_.append(buffer, result.bytes);
  }
  void on_writable() override {}
  void say(const std::string& text) { far_->write(text.data(), text.size()); }
  bool until(FunctionRef<bool()> done) { return run_until(*loop_, std::chrono::seconds(5), done); }
  bool receives(const std::string& text) {
    return until([&] { return received_.find(text) != std::string::npos; });
  }
  std::string sid_of(const std::string& subject) {
    const std::string line = "SUB " + subject + " ";
    EXPECT_TRUE(until([&] { return everything_.find(line) != std::string::npos; })) << subject;
    const size_t end = everything_.find("\r\n", everything_.find(line));
    const size_t begin = everything_.rfind(' ', end) + 1;
    return everything_.substr(begin, end - begin);
  }
  // Sends a request and returns the answer's line and payload.
  std::string ask(const std::string& subject, const std::string& payload) {
    const std::string sid = sid_of(subject);
    received_.clear();
    say("MSG " + subject + " " + sid + " reply.1 " + std::to_string(payload.size()) + "\r\n" +
        payload + "\r\n");
    EXPECT_TRUE(receives("reply.1")) << subject;
    return received_;
  }
  json::Value ask_verb(const std::string& subject) {
    const std::string sid = sid_of(subject);
    received_.clear();
    say("MSG " + subject + " " + sid + " reply.1 0\r\n\r\n");
    EXPECT_TRUE(receives("PUB reply.1 "));
    const size_t begin = received_.find('{');
    auto value = json::parse(received_.substr(begin, received_.rfind('}') - begin + 1));
    EXPECT_TRUE(value) << received_;
    return std::move(*value);
  }

  SystemClock clock_;
  SeededRandom random_{7};
  std::unique_ptr<io::Loop> loop_;
  io::Worker resolver_{"resolver"};
  std::unique_ptr<io::Transport> far_;
  std::string received_;    // since the test last cleared it
  std::string everything_;  // since the start
  std::unique_ptr<Connection> connection_;
  std::unique_ptr<Service> service_;
};

TEST_F(ServiceTest, AnswersPingInfoAndStatsUnderEveryName) {
  ASSERT_TRUE(service_->add_endpoint({"sum", "calc.sum", {}, {}, false}, [](ServiceRequest) {}));
  for (const std::string& suffix : {std::string(), std::string(".calc"), ".calc." + service_->id()}) {
    const auto ping = ask_verb("$SRV.PING" + suffix);
    EXPECT_EQ(ping.get_string("type"), "io.nats.micro.v1.ping_response");
    EXPECT_EQ(ping.get_string("id"), service_->id());
    const auto info = ask_verb("$SRV.INFO" + suffix);
    EXPECT_EQ(info.get_string("type"), "io.nats.micro.v1.info_response");
    EXPECT_EQ(info.get_string("description"), "adds");
    EXPECT_EQ(info.find("endpoints")->items().at(0).get_string("subject"), "calc.sum");
    EXPECT_EQ(info.find("endpoints")->items().at(0).get_string("queue_group"), "q");
    EXPECT_EQ(ask_verb("$SRV.STATS" + suffix).get_string("type"), "io.nats.micro.v1.stats_response");
  }
}

TEST_F(ServiceTest, RespondsAndCounts) {
  ASSERT_TRUE(service_->add_endpoint({"sum", {}, {}, {}, false}, [](ServiceRequest request) {
    ASSERT_TRUE(request.respond("re:" + std::string(request.message().payload)));
    EXPECT_FALSE(request.respond("twice"));
  }));
  EXPECT_EQ(ask("sum", "hi"), "PUB reply.1 5\r\nre:hi\r\n");
  EXPECT_EQ(service_->stats(0).requests, 1U);
  EXPECT_EQ(service_->stats(0).errors, 0U);
}

TEST_F(ServiceTest, ErrorsTravelInHeaders) {
  ASSERT_TRUE(service_->add_endpoint({"sum", {}, {}, {}, false}, [](ServiceRequest request) {
    ASSERT_TRUE(request.respond_error(400, "bad\nnumber", "{}"));
  }));
  const std::string answer = ask("sum", "x");
  EXPECT_NE(answer.find("Nats-Service-Error: bad number\r\n"), std::string::npos) << answer;
  EXPECT_NE(answer.find("Nats-Service-Error-Code: 400\r\n"), std::string::npos) << answer;
  const auto stats = ask_verb("$SRV.STATS");
  EXPECT_EQ(stats.find("endpoints")->items().at(0).get_int("num_errors"), 1);
  EXPECT_EQ(stats.find("endpoints")->items().at(0).get_string("last_error"), "400:bad number");
}

TEST_F(ServiceTest, RequestMayBeAnsweredLaterOrAfterItsService) {
  std::vector<ServiceRequest> kept;
  ASSERT_TRUE(service_->add_endpoint(
      {"sum", {}, {}, {}, false}, [&](ServiceRequest request) { kept.push_back(std::move(request)); }));
  const std::string sid = sid_of("sum");
  say("MSG sum " + sid + " r.1 0\r\n\r\nMSG sum " + sid + " r.2 0\r\n\r\n");
  ASSERT_TRUE(until([&] { return kept.size() == 2; }));
  EXPECT_TRUE(kept[1].respond("late"));
  EXPECT_TRUE(receives("PUB r.2 4\r\nlate\r\n"));
  service_.reset();
  EXPECT_EQ(kept[0].respond("too late").error().code, Errc::Closed);
}

TEST_F(ServiceTest, DoesNotPublishWhereAnswersWouldBeRequests) {
  std::vector<ServiceRequest> kept;
  ASSERT_TRUE(service_->add_endpoint(
      {"sum", {}, {}, {}, false}, [&](ServiceRequest request) { kept.push_back(std::move(request)); }));
  const std::string sid = sid_of("sum");
  say("MSG sum " + sid + " $JS.API.STREAM.PURGE.x 0\r\n\r\nMSG sum " + sid + " r.2 0\r\n\r\n");
  say("MSG $SRV.PING " + sid_of("$SRV.PING") + " $JS.API.STREAM.PURGE.x 0\r\n\r\n");
  ASSERT_TRUE(until([&] { return kept.size() == 2; }));
  for (auto& request : kept) EXPECT_TRUE(request.respond("answer"));
  EXPECT_TRUE(receives("PUB r.2 6\r\nanswer\r\n"));
  EXPECT_EQ(everything_.find("PUB $JS"), std::string::npos);
}

TEST_F(ServiceTest, RefusesBadNames) {
  const auto start = [this](const char* name, const char* version) {
    return static_cast<bool>(Service::start(*connection_, random_, {name, version, {}, {}, "q"}));
  };
  EXPECT_FALSE(start("a b", "1.0.0"));
  EXPECT_FALSE(start("", "1.0.0"));
  EXPECT_FALSE(start("a", "1.0"));
  EXPECT_FALSE(start("a", "1.0.x"));
  EXPECT_FALSE(start("a", "01.0.0"));
  EXPECT_TRUE(start("a-b_C", "1.0.0-rc.1+b5"));
  EXPECT_FALSE(service_->add_endpoint({"a.b", {}, {}, {}, false}, [](ServiceRequest) {}));
  EXPECT_FALSE(service_->add_endpoint({"a", "x..y", {}, {}, false}, [](ServiceRequest) {}));
}

}  // namespace
}  // namespace brokkr::client
