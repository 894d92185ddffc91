#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "auth/authenticator.h"
#include "broker/server.h"

namespace brokkr::broker {

inline constexpr int kDeadlineMs = 10'000;

// A client of bytes: sends text, expects text.
class RawClient {
 public:
  RawClient() = default;
  explicit RawClient(uint16_t port) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int one = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  RawClient(RawClient&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)),
        is_closed_(other.is_closed_),
        received_(std::move(other.received_)) {}
  ~RawClient() {
    if (fd_ >= 0) close(fd_);
  }

  RawClient& send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) break;
      text.remove_prefix(static_cast<size_t>(n));
    }
    return *this;
  }
  // Reads until `text` has come; what came before it is dropped and returned.
  std::string skip_to(std::string_view text) {
    for (;;) {
      const size_t at = received_.find(text);
      if (at != std::string::npos) {
        std::string before = received_.substr(0, at);
        received_.erase(0, at + text.size());
        return before;
      }
      if (!read_more()) break;
    }
    ADD_FAILURE() << "wanted <" << text << "> but have <" << received_ << ">";
    return received_;
  }
  // The very next bytes are `text`.
  RawClient& expect(std::string_view text) {
    while (received_.size() < text.size() && read_more()) {
    }
    EXPECT_EQ(received_.substr(0, text.size()), text);
    received_.erase(0, text.size());
    return *this;
  }
  // Everything up to now has been handled; what came meanwhile is returned, but for the PING that a
  // server sends to each client some seconds old.
  std::string sync() {
    constexpr std::string_view kPing = "PING\r\n";
    send(kPing);
    std::string before = skip_to("PONG\r\n");
    if (const size_t at = before.find(kPing); at != std::string::npos) before.erase(at, kPing.size());
    return before;
  }
  bool expect_closed() {
    while (read_more()) {
    }
    return is_closed_;
  }
  std::string drain() {
    while (read_more()) {
    }
    return received_;
  }
  int fd() const { return fd_; }

 private:
  bool read_more() {
    pollfd waiting{fd_, POLLIN, 0};
    if (poll(&waiting, 1, kDeadlineMs) <= 0) return false;
    char bytes[65536];
    const ssize_t n = recv(fd_, bytes, sizeof bytes, 0);
    if (n <= 0) {
      is_closed_ = true;
      return false;
    }
    received_.append(bytes, static_cast<size_t>(n));
    return true;
  }
  int fd_ = -1;
  bool is_closed_ = false;
  std::string received_;
};

// A server with as many loops as the parameter says, on a free port.
class BrokerTest : public testing::TestWithParam<uint32_t> {
 protected:
  void SetUp() override { start({}); }
  void TearDown() override { stop(); }

  void start(Settings settings, std::unique_ptr<Log> log = Log::discard(),
             std::shared_ptr<const auth::Authenticator> authenticator = nullptr) {
    stop();
    log_ = std::move(log);
    auto loop = io::Loop::open({}, clock_);
    ASSERT_TRUE(loop);
    loop_ = std::move(*loop);
    Server::Options options;
    options.settings = std::move(settings);
    options.authenticator = std::move(authenticator);
    options.loops = GetParam();
    auto server = Server::open(std::move(options), *loop_, clock_, *log_);
    ASSERT_TRUE(server);
    server_ = std::move(*server);
    ASSERT_TRUE(server_->listen({"127.0.0.1", 0, ""}));
    port_ = server_->snapshot()->addresses.front().port;
    thread_ = std::thread([this] { loop_->run(); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    loop_->stop();
    thread_.join();
    loop_->release_thread();
    server_->stop();
    server_.reset();
    loop_.reset();
  }
  // A connected client with the given CONNECT; INFO is behind it.
  RawClient client(std::string_view connect = R"({"verbose":false,"pedantic":false})") {
    RawClient made(port_);
    made.skip_to("\r\n");
    made.send("CONNECT ").send(connect).send("\r\n");
    made.sync();
    return made;
  }
  RawClient modern() {
    RawClient made = client(
        R"({"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1})");
    made.skip_to("\r\n");  // the second INFO
    return made;
  }
  ShardStats stats() {
    ShardStats sum;
    server_->visit_shards([&](Shard& shard) {
      sum.slow_consumers += shard.stats().slow_consumers;
      sum.stalled_clients += shard.stats().stalled_clients;
      sum.traffic.in_msgs += shard.stats().traffic.in_msgs;
      sum.traffic.out_msgs += shard.stats().traffic.out_msgs;
    });
    return sum;
  }

  SystemClock clock_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
  uint16_t port_ = 0;
};

}  // namespace brokkr::broker
