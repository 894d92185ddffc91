#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "client/jetstream.h"
#include "client/jetstream_sync.h"
#include "client/sync.h"

// A JetStream server for the tests of one program: the one JETSTREAM_SERVER names, with its
// arguments ("brokkr serve"), or the nats-server on PATH. Tests skip themselves without one.
namespace brokkr::client {

inline std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* path = std::getenv("PATH");
  for (const std::string_view folder : split(path == nullptr ? "" : path, ':')) {
    const std::string file = std::string(folder) + "/" + name;
    if (access(file.c_str(), X_OK) == 0) return file;
  }
  return {};
}

class TestServer {
 public:
  // The program's one server; null when there is none on this machine.
  static TestServer* get() {
    static TestServer server;
    return server.port_ != 0 ? &server : nullptr;
  }
  std::string url() const { return "nats://127.0.0.1:" + std::to_string(port_); }

  // Kills it and starts it again on the same port and folder.
  void restart() {
    stop();
    start();
  }

 private:
  TestServer() {
    const char* chosen = std::getenv("JETSTREAM_SERVER");
    for (const std::string_view word : split(chosen == nullptr ? "nats-server" : chosen, ' ')) {
      words_.emplace_back(word);
    }
    words_[0] = find_program(words_[0]);
    if (words_[0].empty()) return;
    char folder[] = "/tmp/brokkr_jetstream_XXXXXX";
    if (mkdtemp(folder) == nullptr) return;
    folder_ = folder;
    port_ = free_port();
    for (const std::string& word : {std::string("-js"), std::string("-sd"), folder_,
                                    std::string("-a"), std::string("127.0.0.1"), std::string("-p"),
                                    std::to_string(port_)}) {
      words_.push_back(word);
    }
    start();
  }
  ~TestServer() {
    stop();
    std::error_code ignored;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
  }

  static int free_port() {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    bind(fd, reinterpret_cast<sockaddr*>(&address), size);
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    close(fd);
    return ntohs(address.sin_port);
  }

  void start() {
    std::vector<char*> argv;
    for (std::string& word : words_) argv.push_back(word.data());
    argv.push_back(nullptr);
    child_ = fork();
    if (child_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (freopen("/dev/null", "w", stderr) == nullptr) _exit(126);
      execv(argv[0], argv.data());
      _exit(127);
    }
    // Ready once JetStream answers.
    for (int attempt = 0; attempt < 200; ++attempt) {
      Options options;
      options.servers = {url()};
      if (auto session = Session::connect(std::move(options))) {
        const JetStream js((*session)->connection());
        const auto info = wait_for<AccountInfo>((*session)->loop(), [&](auto done) {
          js.account_info(std::move(done));
        });
        if (info) return;
      }
      usleep(20'000);
    }
    port_ = 0;
  }

  void stop() {
    if (child_ <= 0) return;
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    child_ = -1;
  }

  std::vector<std::string> words_;
  std::string folder_;
  int port_ = 0;
  pid_t child_ = -1;
};

// A connection to it and shortcuts that wait.
class JetStreamTest : public ::testing::Test {
 protected:
  static constexpr Duration kPatience = std::chrono::seconds(10);

  void SetUp() override {
    server_ = TestServer::get();
    if (server_ == nullptr) {
      GTEST_SKIP() << "no JetStream server: put nats-server on PATH or set JETSTREAM_SERVER";
    }
    Options options;
    options.servers = {server_->url()};
    options.reconnect_wait = std::chrono::milliseconds(10);
    options.reconnect_jitter = {};
    options.reconnect_attempts_max = -1;
    auto session = Session::connect(std::move(options));
    ASSERT_TRUE(session) << session.error().text;
    session_ = std::move(*session);
    js_.emplace(session_->connection());
    // A name per test keeps them apart on the one server.
    stream_ = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    subject_ = "t." + stream_;
  }

  io::Loop& loop() { return session_->loop(); }
  bool wait_until(FunctionRef<bool()> done) { return run_until(loop(), kPatience, done); }

  template <typename T>
  ApiResult<T> wait(FunctionRef<void(ApiHandler<T>)> start) {
    return wait_for<T>(loop(), start);
  }

  StreamInfo add_stream(StreamConfig config = {}) {
    config.name = stream_;
    if (config.subjects.empty()) config.subjects = {subject_ + ".>"};
    config.storage = Storage::Memory;
    auto info = wait<StreamInfo>([&](auto done) { js_->create_stream(config, std::move(done)); });
    EXPECT_TRUE(info) << info.error().text;
    return info ? *info : StreamInfo{};
  }

  ApiResult<PubAck> publish(const std::string& subject, std::string_view payload,
                            const StreamPublishOptions& options = {}) {
    return wait<PubAck>(
        [&](auto done) { js_->publish(subject, payload, options, std::move(done)); });
  }

  TestServer* server_ = nullptr;
  std::unique_ptr<Session> session_;
  std::optional<JetStream> js_;
  std::string stream_;
  std::string subject_;
};

}  // namespace brokkr::client
