#pragma once

// For the room's tests: a server with JetStream on a thread of its own, and clients that speak to it
// over real sockets and look at the bytes.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <filesystem>
#include <string>
#include <thread>

#include "broker/server.h"
#include "jetstream/jetstream.h"
#include "protocol/server_parser.h"

namespace brokkr::jetstream {

struct WireMessage {
  std::string subject;
  std::string sid;
  std::string reply;
  std::string headers;
  std::string body;
  bool is_there = false;
};

// A client of bytes. `kInbox` is subscribed to from the start; requests are answered there.
class WireClient {
 public:
  static constexpr int kDeadlineMs = 10'000;
  explicit WireClient(uint16_t port) {
    static std::atomic<int> clients = 0;
    inbox_ = "_T" + std::to_string(++clients) + ".";
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int one = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    send("CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\n");
    send("SUB " + inbox_ + "> inbox\r\n");
  }
  WireClient(WireClient&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)),
        inbox_(std::move(other.inbox_)),
        received_(std::move(other.received_)),
        waiting_(std::move(other.waiting_)) {}
  ~WireClient() {
    if (fd_ >= 0) close(fd_);
  }

  void send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) break;
      text.remove_prefix(static_cast<size_t>(n));
    }
  }
  // `headers` are lines: "A: b\r\nC: d\r\n".
  void publish(std::string_view subject, std::string_view body, std::string_view headers = {},
               std::string_view reply = {}) {
    std::string text;
    if (headers.empty()) {
      text.append("PUB ").append(subject).append(" ").append(reply).append(" ");
      text.append(std::to_string(body.size())).append("\r\n").append(body).append("\r\n");
    } else {
      std::string block = "NATS/1.0\r\n";
      block.append(headers).append("\r\n");
      text.append("HPUB ").append(subject).append(" ").append(reply).append(" ");
      text.append(std::to_string(block.size())).append(" ");
      text.append(std::to_string(block.size() + body.size())).append("\r\n");
      text.append(block).append(body).append("\r\n");
    }
    send(text);
  }
  void subscribe(std::string_view subject, std::string_view sid) {
    send("SUB " + std::string(subject) + " " + std::string(sid) + "\r\n");
    sync();
  }
  // A reply subject of this client's own.
  std::string inbox(std::string_view name) const { return inbox_ + std::string(name); }

  // The next message on that subject (or any, when empty), keeping the others for later. Not there
  // when none comes within `wait_ms`.
  WireMessage next(std::string_view subject = {}, int wait_ms = kDeadlineMs) {
    for (;;) {
      for (auto at = waiting_.begin(); at != waiting_.end(); ++at) {
        if (!subject.empty() && at->subject != subject) continue;
        WireMessage found = std::move(*at);
        waiting_.erase(at);
        return found;
      }
      if (!read_more(wait_ms)) return {};
    }
  }
  WireMessage ask(std::string_view subject, std::string_view body = {}, std::string_view headers = {}) {
    const std::string reply = inbox("r" + std::to_string(++requests_));
    publish(subject, body, headers, reply);
    WireMessage answer = next(reply);
    EXPECT_TRUE(answer.is_there) << "no answer to " << subject << " " << body;
    return answer;
  }
  // The PubAck's bytes.
  std::string put(std::string_view subject, std::string_view body = "x", std::string_view headers = {}) {
    return ask(subject, body, headers).body;
  }
  // Everything sent so far has been handled.
  void sync() {
    pongs_ = 0;
    send("PING\r\n");
    while (pongs_ == 0 && read_more(kDeadlineMs)) {
    }
    EXPECT_GT(pongs_, 0);
  }
  // Whether nothing is there for that subject once everything sent has been handled.
  bool has_nothing(std::string_view subject) {
    sync();
    for (const WireMessage& message : waiting_) {
      if (message.subject == subject) return false;
    }
    return true;
  }

 private:
  bool read_more(int wait_ms) {
    pollfd waiting{fd_, POLLIN, 0};
    if (poll(&waiting, 1, wait_ms) <= 0) return false;
    char bytes[65536];
    const ssize_t n = recv(fd_, bytes, sizeof bytes, 0);
    if (n <= 0) return false;
    received_.append(bytes, static_cast<size_t>(n));
    protocol::ServerCommand command;
    while (!received_.empty() &&
           parser_.next(received_, command) == protocol::ParseStatus::Command) {
      take(command);
      received_.erase(0, command.size);
    }
    return true;
  }
  void take(const protocol::ServerCommand& command) {
    if (command.verb == protocol::ServerVerb::Ping) send("PONG\r\n");
    if (command.verb == protocol::ServerVerb::Pong) ++pongs_;
    const bool has_headers = command.verb == protocol::ServerVerb::Hmsg;
    if (command.verb != protocol::ServerVerb::Msg && !has_headers) return;
    waiting_.push_back({std::string(command.subject), std::string(command.sid),
                        std::string(command.reply),
                        has_headers ? std::string(command.headers) : std::string(),
                        std::string(command.payload), true});
  }

  int fd_ = -1;
  int requests_ = 0;
  int pongs_ = 0;
  std::string inbox_;
  std::string received_;
  protocol::ServerParser parser_;
  std::deque<WireMessage> waiting_;
};

// A server with JetStream in a temporary directory.
class JetStreamTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "jetstream_test_XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    options_.store_directory = directory_ + "/js";
    options_.sync = store::SyncMode::None;
    start();
  }
  void TearDown() override {
    stop();
    std::filesystem::remove_all(directory_);
  }

  void start() {
    log_ = Log::discard();
    auto loop = io::Loop::open({}, clock_);
    ASSERT_TRUE(loop);
    loop_ = std::move(*loop);
    auto server = broker::Server::open({}, *loop_, clock_, *log_);
    ASSERT_TRUE(server);
    server_ = std::move(*server);
    auto jetstream = JetStream::start(*server_, *loop_, options_, *log_);
    ASSERT_TRUE(jetstream) << jetstream.error().text;
    jetstream_ = std::move(*jetstream);
    ASSERT_TRUE(server_->listen({"127.0.0.1", 0, ""}));
    port_ = server_->snapshot()->addresses.front().port;
    thread_ = std::thread([this] { loop_->run(); });
  }
  // As in a crash of the process: what the log has not got is gone.
  void stop() {
    if (!thread_.joinable()) return;
    loop_->stop();
    thread_.join();
    loop_->release_thread();
    jetstream_.reset();
    server_->stop();
    server_.reset();
    loop_.reset();
  }
  void restart() {
    stop();
    start();
  }

  WireClient client() { return WireClient(port_); }
  // Makes a stream of these members of a StreamConfig, beside its name.
  static std::string create(WireClient& with, const std::string& name, const std::string& members) {
    const std::string answer =
        with.ask("$JS.API.STREAM.CREATE." + name, "{\"name\":\"" + name + "\"," + members + "}").body;
    EXPECT_EQ(answer.find("\"error\""), std::string::npos) << answer;
    return answer;
  }
  static std::string update(WireClient& with, const std::string& name, const std::string& members) {
    return with.ask("$JS.API.STREAM.UPDATE." + name, "{\"name\":\"" + name + "\"," + members + "}").body;
  }
  static std::string info(WireClient& with, const std::string& name) {
    return with.ask("$JS.API.STREAM.INFO." + name).body;
  }
  // The number behind `"key":` in an answer; -1 when it is not there.
  static int64_t number(const std::string& text, const std::string& key) {
    const size_t at = text.find("\"" + key + "\":");
    return at == std::string::npos ? -1 : std::strtoll(text.c_str() + at + key.size() + 3, nullptr, 10);
  }
  // Asks until the answer's number is that, or the time is up.
  static bool wait_for(WireClient& with, const std::string& stream, const std::string& key,
                       int64_t value) {
    for (int i = 0; i < 500; ++i) {
      if (number(info(with, stream), key) == value) return true;
      with.next("_none", 20);
    }
    ADD_FAILURE() << key << " is not " << value << ": " << info(with, stream);
    return false;
  }

  SystemClock clock_;
  std::string directory_;
  JetStream::Options options_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<broker::Server> server_;
  std::unique_ptr<JetStream> jetstream_;
  std::thread thread_;
  uint16_t port_ = 0;
};

}  // namespace brokkr::jetstream
