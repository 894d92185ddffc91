// The WebSocket listener over real sockets, with one loop and with two. Clients agree on no masking, so
// that what they send can be read here.
#include <condition_variable>
#include <functional>
#include <mutex>

#include "broker/broker_test_fixture.h"
#include "broker/websocket/rules.h"

namespace brokkr::broker {
namespace {

std::string short_frame(std::string_view text) {
  return std::string("\x82") + static_cast<char>(text.size()) + std::string(text);
}

std::string upgrade_request(std::string_view path, std::string_view more = "") {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
         "Nats-No-Masking: true\r\n" + std::string(more) + "\r\n";
}

class WebSocketListenerTest : public BrokerTest {
 protected:
  void SetUp() override {
    config::WebsocketOptions options;
    options.port = -1;
    options.no_tls = true;
    options.ping_interval = std::chrono::milliseconds(50);
    auto rules = make_websocket_rules(options);
    ASSERT_TRUE(rules);
    Settings settings;
    settings.websocket = *rules;
    settings.max_connections = 3;
    settings.ping_max = 1000;  // nobody here answers
    start(std::move(settings));
    on_main([this] { ASSERT_TRUE(server_->listen_websocket({"127.0.0.1", 0, ""})); });
    door_ = server_->snapshot()->websocket_addresses.at(0).port;
  }
  // Runs `work` on the main loop and waits for it.
  void on_main(const std::function<void()>& work) {
    std::mutex mutex;
    std::condition_variable done;
    bool is_done = false;
    loop_->post([&] {
      work();
      const std::lock_guard lock(mutex);
      is_done = true;
      done.notify_one();
    });
    std::unique_lock lock(mutex);
    done.wait(lock, [&] { return is_done; });
  }
  RawClient peer(std::string_view path = "/") {
    RawClient made(door_);
    made.send(upgrade_request(path));
    made.skip_to("\r\n\r\n");
    return made;
  }
  uint16_t door_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Loops, WebSocketListenerTest, testing::Values(1, 2), [](const auto& loops) {
  return std::to_string(loops.param) + "loops";
});

TEST_P(WebSocketListenerTest, MessagesCrossBetweenTcpAndWebSocket) {
  RawClient web = peer();
  EXPECT_NE(web.skip_to("} \r\n").find("\"port\":" + std::to_string(door_)), std::string::npos);
  web.send(short_frame("CONNECT {\"verbose\":false}\r\n") + short_frame("SUB x 1\r\nPING\r\n"));
  web.skip_to("PONG\r\n");
  RawClient tcp = client();
  tcp.send("SUB y 1\r\nPUB x 2\r\nhi\r\n").sync();
  web.skip_to("MSG x 1 2\r\nhi\r\n");
  web.send(short_frame("PUB y 2\r\nho\r\n"));
  tcp.expect("MSG y 1 2\r\nho\r\n");
}

TEST_P(WebSocketListenerTest, HasAPingIntervalOfItsOwn) {
  RawClient web = peer();
  web.send(short_frame("CONNECT {\"verbose\":false}\r\n"));
  web.skip_to("PING\r\n");
}

TEST_P(WebSocketListenerTest, CountsOnlyWhoIsThroughTheDoor) {
  std::vector<RawClient> outside;
  for (int i = 0; i < 10; ++i) outside.emplace_back(door_).send("GET / HT");
  std::vector<RawClient> inside;
  for (int i = 0; i < 3; ++i) inside.push_back(peer());
  for (RawClient& each : inside) each.skip_to("} \r\n");
  RawClient refused = peer();
  refused.skip_to("-ERR 'maximum connections exceeded'\r\n");
  refused.skip_to("\x03\xf0Maximum Connections Exceeded");
  EXPECT_TRUE(refused.expect_closed());
}

TEST_P(WebSocketListenerTest, EndsWithAReason) {
  RawClient web = peer();
  web.skip_to("} \r\n");
  web.send(short_frame("NONSENSE\r\n"));
  web.skip_to("-ERR 'Unknown Protocol Operation'\r\n");
  web.skip_to("\x03\xeaProtocol Violation");
  EXPECT_TRUE(web.expect_closed());
}

TEST_P(WebSocketListenerTest, HandsLeavesToTheirAcceptor) {
  EXPECT_TRUE(peer("/leafnode").expect_closed());
  std::unique_ptr<io::Transport> leaf;
  std::optional<Origin> came;
  on_main([&] {
    server_->set_leaf_acceptor([&](std::unique_ptr<io::Transport> stream, Origin origin) {
      leaf = std::move(stream);
      came = std::move(origin);
      leaf->write("INFO {}\r\n", 9);
    });
  });
  for (int i = 0; i < 3; ++i) {  // on whichever loop it comes in
    RawClient web = peer("/leafnode");
    web.expect(short_frame("INFO {}\r\n"));
    on_main([&] {
      EXPECT_EQ(came->type, ConnectionType::LeafWebSocket);
      EXPECT_NE(came->websocket, nullptr);
      leaf.reset();
    });
    EXPECT_TRUE(web.expect_closed());
  }
  on_main([&] { server_->set_leaf_acceptor(nullptr); });
}

TEST(WebSocketRules, RefuseLineBreaksInHeadersAndOddOrigins) {
  config::WebsocketOptions options;
  options.headers["X-A"] = "b\r\nSet-Cookie: c";
  EXPECT_FALSE(make_websocket_rules(options));
  options.headers.clear();
  options.allowed_origins = {"example.com"};
  EXPECT_FALSE(make_websocket_rules(options));
  options.allowed_origins = {"https://example.com"};
  EXPECT_TRUE(make_websocket_rules(options));
}

}  // namespace
}  // namespace brokkr::broker
