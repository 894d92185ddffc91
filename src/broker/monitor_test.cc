// The monitoring documents: first what pure functions make of plain values, then what the pages say
// of a running server, with one loop and with two.
#include "broker/monitor.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include <gtest/gtest.h>

#include "base/json.h"
#include "broker/server.h"

namespace brokkr::broker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

http::Request make_request(std::string_view path, http::Request::Fields query = {}) {
  http::Request request;
  request.method = "GET";
  request.path = path;
  request.query = std::move(query);
  return request;
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// --- parameters ------------------------------------------------------------------------------

std::string connz_error(http::Request::Fields fields) {
  const http::Request request = make_request("/connz", std::move(fields));
  QueryReader query(request);
  parse_connz_options(query);
  return query.error();
}

TEST(MonitorQuery, SaysWhatIsMalformedInTheWordsOfNatsServer) {
  EXPECT_EQ(connz_error({{"auth", "2"}}),
            R"(Error decoding boolean for 'auth': strconv.ParseBool: parsing "2": invalid syntax)");
  EXPECT_EQ(connz_error({{"offset", "x"}}),
            R"(Error decoding int for 'offset': strconv.Atoi: parsing "x": invalid syntax)");
  EXPECT_EQ(connz_error({{"limit", "99999999999999999999"}}),
            "Error decoding int for 'limit': strconv.Atoi: parsing \"99999999999999999999\": "
            "value out of range");
  EXPECT_EQ(connz_error({{"cid", "-1"}}),
            R"(Error decoding uint64 for 'cid': strconv.ParseUint: parsing "-1": invalid syntax)");
  EXPECT_EQ(connz_error({{"state", "bogus"}}), "Error decoding state for bogus");
  EXPECT_EQ(connz_error({{"sort", "CID"}}), "invalid sorting option: CID");
  EXPECT_EQ(connz_error({{"sort", "stop"}}), "sort by stop only valid on closed connections");
  EXPECT_EQ(connz_error({{"sort", "reason"}, {"state", "any"}}),
            "sort by reason only valid on closed connections");
  // The first of several counts.
  EXPECT_TRUE(connz_error({{"sort", "no"}, {"auth", "no"}}).starts_with("Error decoding boolean"));
}

TEST(MonitorQuery, TakesWhatNatsServerTakes) {
  for (const char* sort : {"", "cid", "start", "subs", "pending", "msgs_to", "msgs_from",
                           "bytes_to", "bytes_from", "last", "idle", "uptime", "rtt"}) {
    EXPECT_EQ(connz_error({{"sort", sort}}), "") << sort;
  }
  EXPECT_EQ(connz_error({{"sort", "stop"}, {"state", "CLOSED"}}), "");
  const http::Request request = make_request(
      "/connz", {{"auth", "True"}, {"subs", "DETAIL"}, {"offset", "-4"}, {"limit", "0"}});
  QueryReader query(request);
  const ConnzOptions options = parse_connz_options(query);
  EXPECT_TRUE(options.auth);
  EXPECT_TRUE(options.subscriptions_detail);
  EXPECT_EQ(options.offset, 0U);
  EXPECT_EQ(options.limit, 1024U);
}

// --- documents -------------------------------------------------------------------------------

ConnectionReport sample_connection() {
  ConnectionReport report;
  report.cid = 7;
  report.ip = "127.0.0.1";
  report.port = 4000;
  report.start = WallTime(seconds(1'000'000'000));
  report.last_activity = report.start + milliseconds(1500);
  report.round_trip = std::chrono::nanoseconds(455'123);
  report.traffic = {1, 2, 3, 4};
  report.subscription_count = 2;
  report.name = "<n>";
  report.lang = "go";
  report.user = "bob";
  report.account = "$G";
  report.subscriptions = {{"", "foo.>", "", "1", 5, 0, 7}, {"", "bar", "q", "2", 0, 9, 7}};
  return report;
}

TEST(Connz, RendersAsNatsServerDoes) {
  Connz connz;
  connz.server_id = "NID";
  connz.now = WallTime(seconds(1'000'000'100));
  connz.total = 5;
  connz.connections.push_back(sample_connection());
  ConnzOptions options;
  options.auth = true;
  options.subscriptions_detail = true;
  EXPECT_EQ(render_connz(connz, options), R"({
  "server_id": "NID",
  "now": "2001-09-09T01:48:20Z",
  "num_connections": 1,
  "total": 5,
  "offset": 0,
  "limit": 1024,
  "connections": [
    {
      "cid": 7,
      "kind": "Client",
      "type": "nats",
      "ip": "127.0.0.1",
      "port": 4000,
      "start": "2001-09-09T01:46:40Z",
      "last_activity": "2001-09-09T01:46:41.5Z",
      "rtt": "455µs",
      "uptime": "1m40s",
      "idle": "1m38s",
      "pending_bytes": 0,
      "in_msgs": 1,
      "out_msgs": 3,
      "in_bytes": 2,
      "out_bytes": 4,
      "subscriptions": 2,
      "name": "\u003cn\u003e",
      "lang": "go",
      "authorized_user": "bob",
      "subscriptions_list_detail": [
        {
          "subject": "foo.\u003e",
          "sid": "1",
          "msgs": 5,
          "cid": 7
        },
        {
          "subject": "bar",
          "qgroup": "q",
          "sid": "2",
          "msgs": 0,
          "max": 9,
          "cid": 7
        }
      ],
      "name_tag": "$G"
    }
  ]
})");
}

TEST(Connz, ClosedConnectionsStopTheirClocks) {
  Connz connz;
  connz.now = WallTime(seconds(2'000'000'000));
  ConnectionReport report = sample_connection();
  report.stop = report.start + seconds(4);
  report.reason = "Client Closed";
  report.account = "A";
  connz.connections.push_back(report);
  ConnzOptions options;
  options.auth = true;
  options.subscriptions = true;
  const std::string text = render_connz(connz, options);
  EXPECT_TRUE(
      contains(text, "\"stop\": \"2001-09-09T01:46:44Z\",\n      \"reason\": \"Client Closed\""));
  EXPECT_TRUE(contains(text, "\"uptime\": \"4s\",\n      \"idle\": \"2s\"")) << text;
  EXPECT_TRUE(contains(text, "\"account\": \"A\"")) << text;
  EXPECT_TRUE(contains(text, "\"subscriptions_list\": [\n        \"foo.\\u003e\",")) << text;
}

TEST(Connz, AnUnknownAccountGivesTheDocumentNatsServerGives) {
  Connz connz;
  connz.server_id = "NID";
  connz.is_account_known = false;
  const std::string text = render_connz(connz, {});
  EXPECT_TRUE(contains(text, "\"server_id\": \"\"")) << text;
  EXPECT_TRUE(contains(text, "\"connections\": null")) << text;
}

TEST(Connz, SortsLargestFirstButForIdsReasonsAndUptime) {
  const WallTime now{seconds(100)};
  const auto order = [&](ConnzSort sort, uint64_t offset = 0, uint64_t limit = 10) {
    std::vector<ConnectionKey> keys;
    for (uint64_t i = 1; i <= 3; ++i) {
      ConnectionReport report;
      report.cid = i;
      report.pending_bytes = i == 2 ? 9 : 1;
      report.traffic.out_msgs = i;
      report.start = WallTime(seconds(10 * (4 - static_cast<int64_t>(i))));
      report.last_activity = report.start;
      keys.push_back({i, 0, false, rank_of(sort, report, now), {}});
    }
    ConnzOptions options;
    options.sort = sort;
    options.offset = offset;
    options.limit = limit;
    std::string text;
    for (const ConnectionKey& key : select_page(std::move(keys), options)) {
      text += std::to_string(key.cid);
    }
    return text;
  };
  EXPECT_EQ(order(ConnzSort::Cid), "123");
  EXPECT_EQ(order(ConnzSort::Pending), "213");
  EXPECT_EQ(order(ConnzSort::MsgsTo), "321");
  EXPECT_EQ(order(ConnzSort::Uptime), "123");
  EXPECT_EQ(order(ConnzSort::Idle), "321");
  EXPECT_EQ(order(ConnzSort::Last), "123");
  EXPECT_EQ(order(ConnzSort::Cid, 1, 1), "2");
  EXPECT_EQ(order(ConnzSort::Cid, 7, 1), "");
}

TEST(Subsz, AddsUpTreesAndWeighsTheirFanout) {
  InterestSummary summary;
  subject::InterestTree::Stats stats;
  stats.matches = 4;
  stats.cache_hits = 1;
  stats.cache_entries = 1;
  stats.fanout_average = 3;
  stats.fanout_max = 3;
  summary.add(stats, 10);
  stats.cache_entries = 3;
  stats.fanout_average = 1;
  stats.fanout_max = 2;
  summary.add(stats, 1);
  EXPECT_EQ(summary.subscriptions, 11U);
  EXPECT_EQ(summary.fanout_max, 3U);
  EXPECT_DOUBLE_EQ(summary.fanout_average(), 1.5);
  EXPECT_DOUBLE_EQ(summary.cache_hit_rate(), 0.25);
}

TEST(Healthz, ChecksItsParametersAndTheListener) {
  EXPECT_EQ(render_healthz({}, true).body, R"({"status":"ok"})");
  EXPECT_EQ(render_healthz({}, false).status, 500);
  HealthzOptions options;
  options.stream = "S";
  EXPECT_EQ(render_healthz(options, true).status, 400);
  EXPECT_EQ(
      render_healthz(options, true).body,
      R"({"status":"error","error":"\"account\" must not be empty when checking stream health"})");
  options = {};
  options.consumer = "C";
  options.details = true;
  EXPECT_EQ(render_healthz(options, true).body,
            R"({"status":"error","errors":[{"type":"BAD_REQUEST",)"
            R"("error":"\"stream\" must not be empty when checking consumer health"}]})");
}

TEST(Metrics, NamesEachFamilyOnceAndSumsTheLoops) {
  Varz varz;
  varz.settings = std::make_shared<const Settings>();
  varz.loops.resize(2);
  varz.loops[0].stats.traffic.in_msgs = 3;
  varz.loops[1].stats.traffic.in_msgs = 4;
  varz.http_requests["/varz"] = 2;
  const std::string text = render_metrics(varz);
  EXPECT_TRUE(contains(text, "# TYPE brokkr_in_msgs_total counter\nbrokkr_in_msgs_total 7\n"));
  EXPECT_TRUE(contains(text, "brokkr_loop_in_msgs_total{loop=\"1\"} 4\n"));
  EXPECT_TRUE(contains(text, "brokkr_http_requests_total{path=\"/varz\"} 2\n"));
  std::vector<std::string> families;
  for (size_t at = 0; (at = text.find("# TYPE ", at)) != std::string::npos; at += 7) {
    families.push_back(text.substr(at + 7, text.find(' ', at + 7) - at - 7));
    EXPECT_TRUE(families.back().starts_with("brokkr_")) << families.back();
  }
  std::sort(families.begin(), families.end());
  EXPECT_EQ(std::adjacent_find(families.begin(), families.end()), families.end());
}

// --- a running server ------------------------------------------------------------------------

// A blocking client of bytes.
class PlainClient {
 public:
  PlainClient(uint16_t port, std::string_view first) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = htons(port);
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    timeval wait{10, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&where), sizeof where), 0);
    send(first);
  }
  PlainClient(const PlainClient&) = delete;
  PlainClient& operator=(const PlainClient&) = delete;
  ~PlainClient() { close(); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  void send(std::string_view text) {
    EXPECT_EQ(::send(fd_, text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  // Reads until `end` has come or the other side closed.
  std::string read_to(std::string_view end) {
    std::string all;
    char byte = 0;
    while (!all.ends_with(end) && recv(fd_, &byte, 1, 0) == 1)
      all += byte;
    return all;
  }
  void sync() {
    send("PING\r\n");
    EXPECT_TRUE(read_to("PONG\r\n").ends_with("PONG\r\n"));
  }

 private:
  int fd_;
};

class MonitorTest : public testing::TestWithParam<uint32_t> {
 protected:
  void SetUp() override { start(""); }
  void TearDown() override { stop(); }

  void start(const std::string& base_path) {
    log_ = Log::discard();
    auto loop = io::Loop::open({}, clock_);
    ASSERT_TRUE(loop);
    loop_ = std::move(*loop);
    Server::Options options;
    options.settings.server_name = "monitored";
    options.settings.tags = {"a:b"};
    options.settings.config_digest = "sha256:00";
    options.loops = GetParam();
    auto server = Server::open(std::move(options), *loop_, clock_, *log_);
    ASSERT_TRUE(server);
    server_ = std::move(*server);
    ASSERT_TRUE(server_->listen({"127.0.0.1", 0, ""}));
    auto monitor = Monitor::open({"127.0.0.1", 0, base_path}, *server_, *log_);
    ASSERT_TRUE(monitor);
    monitor_ = std::move(*monitor);
    thread_ = std::thread([this] { loop_->run(); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    loop_->stop();
    thread_.join();
    loop_->release_thread();
    monitor_.reset();
    server_->stop();
    server_.reset();
    loop_.reset();
  }
  std::unique_ptr<PlainClient> client(std::string_view commands) {
    auto made = std::make_unique<PlainClient>(
        server_->snapshot()->addresses.front().port,
        R"(CONNECT {"verbose":false,"pedantic":false,"name":"n","lang":"c","version":"1"})"
        "\r\n");
    made->send(commands);
    made->sync();
    return made;
  }
  http::Response get(std::string_view path, http::Request::Fields query = {}) {
    return monitor_->answer(make_request(path, std::move(query)));
  }
  json::Value get_json(std::string_view path, http::Request::Fields query = {}) {
    const http::Response response = get(path, std::move(query));
    EXPECT_EQ(response.status, 200) << response.body;
    EXPECT_EQ(response.content_type, "application/json");
    auto parsed = json::parse(response.body);
    EXPECT_TRUE(parsed) << response.body;
    return parsed ? *parsed : json::Value();
  }
  // A client's end is noticed by its loop in its own time.
  void wait_for_connections(uint32_t count) {
    const MonotonicTime end = clock_.now() + seconds(10);
    while (server_->connection_count() != count && clock_.now() < end)
      std::this_thread::yield();
    EXPECT_EQ(server_->connection_count(), count);
  }

  SystemClock clock_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Monitor> monitor_;
  std::thread thread_;
};

INSTANTIATE_TEST_SUITE_P(Loops, MonitorTest, testing::Values(1, 2),
                         [](const auto& test) { return std::to_string(test.param) + "loops"; });

TEST_P(MonitorTest, VarzCountsWhatClientsDid) {
  const int64_t own = get_json("/varz").get_int("subscriptions");
  const auto a = client("SUB foo 1\r\nSUB bar.* q 2\r\n");
  const auto b = client("SUB foo 1\r\nPUB foo 5\r\nhello\r\n");
  a->sync();
  const json::Value varz = get_json("/varz");
  EXPECT_EQ(varz.get_string("server_name"), "monitored");
  EXPECT_EQ(varz.get_string("version"), kServerVersion);
  EXPECT_EQ(varz.get_int("connections"), 2);
  EXPECT_EQ(varz.get_int("total_connections"), 2);
  EXPECT_EQ(varz.get_int("subscriptions"), own + 3);
  EXPECT_EQ(varz.get_int("in_msgs"), 1);
  EXPECT_EQ(varz.get_int("in_bytes"), 5);
  EXPECT_EQ(varz.get_int("out_msgs"), 2);
  EXPECT_EQ(varz.get_int("out_client_bytes"), 10);
  EXPECT_EQ(varz.get_int("http_port"), monitor_->port());
  EXPECT_GT(varz.get_int("mem"), 1 << 20);
  EXPECT_EQ(varz.get_string("config_digest"), "sha256:00");
  EXPECT_EQ(varz.find("http_req_stats")->get_int("/varz"), 2);
  EXPECT_EQ(varz.find("tags")->items().at(0).as_string(), "a:b");
}

TEST_P(MonitorTest, ConnzListsPagesAndFilters) {
  const auto a = client("SUB foo 1\r\nSUB bar q 2\r\nUNSUB 2 5\r\n");
  const auto b = client("PUB foo 1\r\nx\r\n");
  const auto c = client("SUB zip 1\r\n");
  a->sync();
  json::Value connz = get_json("/connz");
  ASSERT_EQ(connz.find("connections")->items().size(), 3U);
  const json::Value& first = connz.find("connections")->items()[0];
  EXPECT_EQ(first.get_int("cid"), 1);
  EXPECT_EQ(first.get_string("name"), "n");
  EXPECT_EQ(first.get_int("subscriptions"), 2);
  EXPECT_NE(first.get_string("rtt"), "0s");
  EXPECT_EQ(first.find("authorized_user"), nullptr);
  EXPECT_EQ(first.find("name_tag"), nullptr);
  EXPECT_EQ(first.find("subscriptions_list"), nullptr);

  connz = get_json("/connz", {{"limit", "1"}, {"offset", "1"}});
  EXPECT_EQ(connz.get_int("total"), 3);
  EXPECT_EQ(connz.get_int("num_connections"), 1);
  EXPECT_EQ(connz.find("connections")->items().at(0).get_int("cid"), 2);

  connz = get_json("/connz", {{"sort", "msgs_from"}, {"subs", "1"}, {"auth", "1"}});
  EXPECT_EQ(connz.find("connections")->items().at(0).get_int("cid"), 2);
  const json::Value& second = connz.find("connections")->items().at(1);
  EXPECT_EQ(second.find("subscriptions_list")->items().at(1).as_string(), "bar");
  EXPECT_EQ(second.get_string("name_tag"), "$G");

  connz = get_json("/connz", {{"cid", "1"}, {"subs", "detail"}});
  const json::Value& detail =
      *connz.find("connections")->items().at(0).find("subscriptions_list_detail");
  EXPECT_EQ(detail.items().at(0).get_int("msgs"), 1);
  EXPECT_EQ(detail.items().at(1).get_string("qgroup"), "q");
  EXPECT_EQ(detail.items().at(1).get_int("max"), 5);

  EXPECT_EQ(get_json("/connz", {{"user", "nobody"}}).get_int("num_connections"), 0);
  EXPECT_EQ(get_json("/connz", {{"acc", "$G"}}).get_int("num_connections"), 3);
  EXPECT_TRUE(get_json("/connz", {{"acc", "none"}}).find("connections")->is_null());
  EXPECT_EQ(get("/connz", {{"sort", "no"}}).status, 400);
}

TEST_P(MonitorTest, ConnzRemembersTheClosed) {
  const auto a = client("");
  auto b = client("SUB x 1\r\n");
  b->close();
  wait_for_connections(1);
  EXPECT_EQ(get_json("/connz").get_int("total"), 1);
  const json::Value closed = get_json("/connz", {{"state", "closed"}, {"sort", "stop"}});
  ASSERT_EQ(closed.find("connections")->items().size(), 1U);
  EXPECT_EQ(closed.find("connections")->items()[0].get_string("reason"), "Client Closed");
  EXPECT_EQ(closed.find("connections")->items()[0].get_int("cid"), 2);
  EXPECT_EQ(get_json("/connz", {{"state", "any"}}).get_int("num_connections"), 2);
  EXPECT_EQ(get_json("/connz", {{"state", "any"}, {"cid", "2"}}).get_int("num_connections"), 1);
}

TEST_P(MonitorTest, ConnzReachesBeyondOneVisit) {
  std::vector<std::unique_ptr<PlainClient>> clients;
  const size_t count = Survey::kConnectionsPerVisit + 88;
  for (size_t i = 0; i < count; ++i)
    clients.push_back(client(""));
  const json::Value connz = get_json("/connz");
  ASSERT_EQ(connz.find("connections")->items().size(), count);
  for (size_t i = 0; i < count; ++i) {
    EXPECT_EQ(connz.find("connections")->items()[i].get_int("cid"), static_cast<int64_t>(i + 1));
  }
}

TEST_P(MonitorTest, SubszListsAndTests) {
  const auto a = client("SUB foo.* 1\r\nSUB bar q 2\r\n");
  const auto b = client("SUB foo.x 1\r\nSUB foo.x 10\r\nSUB foo.x 9\r\n");
  a->sync();
  json::Value subsz = get_json("/subsz", {{"acc", "$G"}});
  EXPECT_EQ(subsz.get_int("num_subscriptions"), 5);
  EXPECT_EQ(subsz.get_int("total"), 0);
  EXPECT_EQ(subsz.find("subscriptions_list"), nullptr);
  subsz = get_json("/subscriptionsz", {{"subs", "1"}, {"test", "foo.x"}});
  EXPECT_EQ(subsz.get_int("total"), 4);
  EXPECT_EQ(subsz.find("subscriptions_list")->items().at(0).get_string("account"), "$G");
  subsz = get_json("/subsz", {{"subs", "1"}, {"acc", "$G"}, {"offset", "3"}, {"limit", "9"}});
  EXPECT_EQ(subsz.get_int("total"), 5);
  EXPECT_EQ(subsz.find("subscriptions_list")->items().size(), 2U);
  EXPECT_EQ(get_json("/subsz", {{"acc", "none"}}).get_int("num_subscriptions"), 0);
  const http::Response refused = get("/subsz", {{"test", "a..b"}});
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.body, "invalid test subject, must be valid publish subject: a..b");
}

TEST_P(MonitorTest, SubszShowsTheServersOwnSubscriptions) {
  std::vector<std::unique_ptr<InternalSubscription>> held;
  server_->visit_shards([&](Shard& shard) {
    if (shard.index() == 0) {
      held.push_back(
          shard.subscribe(shard.account("own"), "$SYS.PING", "", [](const Message&) {}));
    }
  });
  const auto a = client("");
  const json::Value subsz = get_json("/subsz", {{"subs", "1"}, {"acc", "own"}});
  EXPECT_EQ(subsz.get_int("num_subscriptions"), 1);
  ASSERT_EQ(subsz.get_int("total"), 1);
  EXPECT_EQ(subsz.find("subscriptions_list")->items()[0].get_string("subject"), "$SYS.PING");
  server_->visit_shards([&](Shard& shard) {
    if (shard.index() == 0) held.clear();
  });
}

TEST_P(MonitorTest, AccountsAreCounted) {
  const auto a = client("SUB x 1\r\nPUB x 3\r\nabc\r\n");
  const json::Value accounts = get_json("/accountz");
  ASSERT_EQ(accounts.find("accounts")->items().size(), 2U);
  EXPECT_EQ(get_json("/accountz", {{"acc", "$G"}}).find("account_detail")->get_int("subscriptions"),
            1);
  const json::Value statz = get_json("/accstatz");
  ASSERT_EQ(statz.find("account_statz")->items().size(), 1U);
  const json::Value& global = statz.find("account_statz")->items()[0];
  EXPECT_EQ(global.get_int("conns"), 1);
  EXPECT_EQ(global.find("received")->get_int("bytes"), 3);
  EXPECT_EQ(get_json("/accstatz", {{"unused", "1"}}).find("account_statz")->items().size(), 2U);
  EXPECT_EQ(get("/accountz", {{"acc", "zz"}}).body, "Account zz does not exist");
}

TEST_P(MonitorTest, FeaturesThatAreOffHaveTheirDocuments) {
  EXPECT_EQ(get_json("/routez").get_int("num_routes", -1), 0);
  EXPECT_TRUE(get_json("/gatewayz").find("inbound_gateways")->is_object());
  EXPECT_EQ(get_json("/leafz").get_int("leafnodes", -1), 0);
  EXPECT_TRUE(get_json("/jsz").get_bool("disabled"));
  EXPECT_EQ(get("/ipqueuesz").body, "{}");
  EXPECT_EQ(get("/raftz").status, 404);
  EXPECT_EQ(get("/jsz", {{"limit", "x"}}).status, 400);
}

TEST_P(MonitorTest, UnknownPathsAreNotFound) {
  EXPECT_EQ(get("/nope").status, 404);
  EXPECT_EQ(get("/varz/").status, 404);
  EXPECT_EQ(get("/nope").body, "404 page not found\n");
  EXPECT_TRUE(contains(get("/").body, "./varz"));
}

TEST_P(MonitorTest, BasePathStandsInFront) {
  stop();
  start("mon/");
  EXPECT_EQ(get("/varz").status, 404);
  EXPECT_EQ(get("/").status, 404);
  EXPECT_EQ(get("/mon/").status, 404);
  EXPECT_TRUE(contains(get("/mon").body, "./mon/varz"));
  EXPECT_EQ(get_json("/mon/varz").get_string("http_base_path"), "/mon");
}

TEST_P(MonitorTest, ServesOverHttp) {
  PlainClient browser(monitor_->port(), "GET /healthz HTTP/1.0\r\n\r\n");
  const std::string reply = browser.read_to("\"ok\"}");
  EXPECT_TRUE(contains(reply, "200 OK")) << reply;
  EXPECT_TRUE(contains(reply, "Access-Control-Allow-Origin: *\r\n")) << reply;
  EXPECT_TRUE(reply.ends_with("\r\n\r\n{\"status\":\"ok\"}")) << reply;
}

// The loop has ended with the request waiting for it, as when the process is told to stop.
TEST_P(MonitorTest, StopsWhileARequestWaitsForALoop) {
  loop_->stop();
  thread_.join();
  loop_->release_thread();
  PlainClient browser(monitor_->port(), "GET /varz HTTP/1.0\r\n\r\n");
  const MonotonicTime begin = clock_.now();
  monitor_.reset();
  EXPECT_LT(clock_.now() - begin, Survey::kWaitMax);
  // Refused, or never accepted when the stop was faster.
  EXPECT_FALSE(contains(browser.read_to("no such end"), "200 OK"));
  server_->stop();
  loop_->run_once(Duration(0));  // what was posted for the request finds nothing to do
  server_.reset();
  loop_.reset();
}

}  // namespace
}  // namespace brokkr::broker
