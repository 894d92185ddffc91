#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "broker/server.h"
#include "io/loop.h"
#include "io/transport.h"
#include "jetstream/jetstream.h"

namespace brokkr::jetstream {

// A client of bytes on an in-process pipe. Runs the loop until what it waits for has come.
class PipeClient {
 public:
  PipeClient(io::Loop& loop, broker::Server& server) : loop_(loop), pipe_(server.connect_in_process()) {
    send("CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n");
    sync();
    received_.clear();
  }
  PipeClient& send(std::string_view text) {
    while (!text.empty()) {
      const io::IoResult wrote = pipe_->write(text.data(), text.size());
      if (wrote.kind == io::IoResult::Kind::Ok) text.remove_prefix(wrote.bytes);
      turn();
    }
    return *this;
  }
  PipeClient& publish(std::string_view subject, std::string_view reply, std::string_view body) {
    std::string line = "PUB ";
    line.append(subject).append(reply.empty() ? "" : " ").append(reply).append(" ");
    line.append(std::to_string(body.size())).append("\r\n").append(body).append("\r\n");
    return send(line);
  }
  PipeClient& publish_headers(std::string_view subject, std::string_view headers, std::string_view body) {
    std::string line = "HPUB ";
    line.append(subject).append(" ").append(std::to_string(headers.size())).append(" ");
    line.append(std::to_string(headers.size() + body.size())).append("\r\n");
    return send(line.append(headers).append(body).append("\r\n"));
  }
  // Everything that has come once all that was sent is handled.
  std::string sync() {
    send("PING\r\n");
    for (int i = 0; i < 10'000 && received_.find("PONG\r\n") == std::string::npos; ++i) turn();
    for (int i = 0; i < 4; ++i) turn();
    const size_t at = received_.find("PONG\r\n");
    if (at == std::string::npos) {
      ADD_FAILURE() << "no answer; have <" << received_ << ">";
      return {};
    }
    received_.erase(at, 6);
    // The server's own PINGs are not the test's concern.
    const size_t ping = received_.find("PING\r\n");
    if (ping != std::string::npos) received_.erase(ping, 6);
    return std::exchange(received_, {});
  }
  void turn() {
    loop_.run_once(Duration());
    char bytes[65536];
    for (;;) {
      const io::IoResult got = pipe_->read(bytes, sizeof bytes);
      if (got.kind != io::IoResult::Kind::Ok || got.bytes == 0) return;
      received_.append(bytes, got.bytes);
    }
  }

 private:
  io::Loop& loop_;
  std::unique_ptr<io::Transport> pipe_;
  std::string received_;
};

// A broker with JetStream in memory (or a directory), its clock in the test's hands.
class ConsumerFixture {
 public:
  explicit ConsumerFixture(std::string directory = {}) : directory_(std::move(directory)) {
    log_ = Log::discard();
    io::Loop::Options options;
    options.spin_max = {};  // would never end with a clock that stands still
    loop_ = std::move(*io::Loop::open(options, clock_));
    start();
  }
  ~ConsumerFixture() { stop(); }

  void start() {
    broker::Server::Options options;
    options.settings.server_id = "N";
    server_ = std::move(*broker::Server::open(std::move(options), *loop_, clock_, *log_));
    JetStream::Options js;
    js.store_directory = directory_;
    auto started = JetStream::start(*server_, *loop_, std::move(js), *log_);
    EXPECT_TRUE(started) << (started ? "" : started.error().text);
    jetstream_ = std::move(*started);
    client_ = std::make_unique<PipeClient>(*loop_, *server_);
  }
  void stop() {
    client_.reset();
    bool is_done = false;
    jetstream_->stop([&is_done] { is_done = true; });
    // What the store puts off comes only when the clock moves.
    const auto is_closed = [&, turns = 0]() mutable {
      if (++turns % 64 == 0) clock_.advance(std::chrono::milliseconds(300));
      return is_done;
    };
    EXPECT_TRUE(run_until(is_closed)) << "the store does not close";
    jetstream_.reset();
    server_.reset();
  }
  void restart() {
    stop();
    start();
  }
  // Moves the clock and lets happen what is due.
  void advance(Duration by) {
    clock_.advance(by);
    for (int i = 0; i < 4; ++i) client_->turn();
  }
  // Runs the loop until it holds, for at most half a minute of real time: disks take theirs.
  template <typename Holds>
  bool run_until(Holds holds) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!holds()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      loop_->run_once(std::chrono::milliseconds(1));
    }
    return true;
  }
  // The body of the answer to a request.
  std::string request(std::string_view subject, std::string_view body) {
    PipeClient asker(*loop_, *server_);
    asker.send("SUB answer 1\r\n").publish(subject, "answer", body);
    std::string text = asker.sync();
    if (text.empty()) run_until([&] { return !(text = asker.sync()).empty(); });
    const size_t line = text.find("\r\n");
    if (line == std::string::npos) return text;
    text.erase(0, line + 2);
    if (text.size() >= 2) text.resize(text.size() - 2);
    return text;
  }
  json::Value api(std::string_view subject, std::string_view body) {
    const std::string text = request("$JS.API." + std::string(subject), body);
    auto value = json::parse(text);
    EXPECT_TRUE(value) << text;
    return value ? *value : json::Value();
  }
  int64_t api_error_code(std::string_view subject, std::string_view body) {
    const json::Value answer = api(subject, body);
    const json::Value* error = answer.find("error");
    return error == nullptr ? 0 : error->get_int("err_code");
  }
  void add_stream(std::string_view config) {
    const auto made = json::parse(config);
    EXPECT_EQ(api_error_code("STREAM.CREATE." + std::string(made->get_string("name")), config), 0) << config;
  }
  void add_consumer(std::string_view stream, std::string_view config) {
    const auto made = json::parse(config);
    std::string subject = "CONSUMER.CREATE." + std::string(stream);
    std::string_view name = made->get_string("durable_name");
    if (name.empty()) name = made->get_string("name");
    if (!name.empty()) subject.append(".").append(name);
    const json::Value answer =
        api(subject, "{\"stream_name\":\"" + std::string(stream) + "\",\"config\":" + std::string(config) + "}");
    EXPECT_EQ(answer.find("error"), nullptr) << config;
  }
  json::Value info(std::string_view stream, std::string_view consumer) {
    return api("CONSUMER.INFO." + std::string(stream) + "." + std::string(consumer), "");
  }
  PipeClient& client() { return *client_; }
  std::unique_ptr<PipeClient> connect() { return std::make_unique<PipeClient>(*loop_, *server_); }
  ManualClock& clock() { return clock_; }
  io::Loop& loop() { return *loop_; }
  JetStream& jetstream() { return *jetstream_; }

 private:
  const std::string directory_;
  ManualClock clock_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<broker::Server> server_;
  std::unique_ptr<JetStream> jetstream_;
  std::unique_ptr<PipeClient> client_;
};

}  // namespace brokkr::jetstream
