#include "http/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include <gtest/gtest.h>

namespace brokkr::http {
namespace {

// A client that sends bytes and reads until the server closes.
class RawClient {
 public:
  explicit RawClient(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = htons(port);
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    timeval wait{10, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    is_connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&where), sizeof where) == 0;
  }
  ~RawClient() { close(fd_); }
  bool is_connected() const { return is_connected_; }
  void send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      text.remove_prefix(static_cast<size_t>(sent));
    }
  }
  std::string read_to_end() {
    std::string all;
    char bytes[4096];
    for (ssize_t n = 0; (n = recv(fd_, bytes, sizeof bytes, 0)) > 0;) {
      all.append(bytes, static_cast<size_t>(n));
    }
    return all;
  }

 private:
  int fd_;
  bool is_connected_ = false;
};

std::string ask(const Server& server, std::string_view request) {
  RawClient client(server.port());
  client.send(request);
  return client.read_to_end();
}

std::string get(const Server& server, const std::string& target) {
  return ask(server, "GET " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::unique_ptr<Server> open_server(Server::Options options, Server::Handler handler) {
  auto opened = Server::open(std::move(options), std::move(handler));
  EXPECT_TRUE(opened) << (opened ? "" : opened.error().text);
  return opened ? std::move(*opened) : nullptr;
}

Response echo(const Request& request) {
  Response response;
  response.body = std::string(request.method) + " " + std::string(request.path);
  for (const auto& [name, value] : request.query)
    response.body += " [" + name + "=" + value + "]";
  response.body += " " + std::string(request.body) + ".";
  return response;
}

TEST(HttpServer, ReportsTheChosenPortAndAnswers) {
  const auto server = open_server({}, echo);
  ASSERT_NE(server->port(), 0);
  const std::string reply = get(*server, "/a%20b?x=1&y=%2B+z&flag");
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 200 OK\r\n")) << reply;
  EXPECT_TRUE(contains(reply, "Content-Type: text/plain; charset=utf-8\r\n")) << reply;
  EXPECT_TRUE(reply.ends_with("\r\n\r\nGET /a b [x=1] [y=+ z] [flag=] .")) << reply;
}

TEST(HttpServer, PassesHeadersRemoteStatusAndBody) {
  Server::Options options;
  options.methods = {"POST"};
  const auto server = open_server(std::move(options), [](const Request& request) {
    Response response;
    response.status = 404;
    response.content_type = "application/json";
    response.headers.emplace_back("X-Seen", std::string(request.find_header("x-token")));
    response.body = std::string(request.body) + request.remote.substr(0, 10);
    return response;
  });
  const std::string reply =
      ask(*server,
          "POST / HTTP/1.1\r\nHost: x\r\nX-Token: abc\r\nContent-Length: 5\r\nConnection: close\r\n"
          "\r\nhello");
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 404 ")) << reply;
  EXPECT_TRUE(contains(reply, "X-Seen: abc\r\n")) << reply;
  EXPECT_TRUE(contains(reply, "Content-Type: application/json\r\n")) << reply;
  EXPECT_TRUE(reply.ends_with("hello127.0.0.1:")) << reply;
}

TEST(HttpServer, HeadHasNoBody) {
  const auto server = open_server({}, echo);
  const std::string reply =
      ask(*server, "HEAD /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(contains(reply, "Content-Length: 9\r\n")) << reply;
  EXPECT_TRUE(reply.ends_with("\r\n\r\n")) << reply;
}

TEST(HttpServer, RefusesOtherMethods) {
  const auto server = open_server({}, echo);
  const std::string reply =
      ask(*server, "DELETE /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 405 ")) << reply;
  EXPECT_TRUE(contains(reply, "Allow: GET, HEAD\r\n")) << reply;
  EXPECT_TRUE(reply.ends_with("method not allowed\n")) << reply;
}

TEST(HttpServer, RefusesABodyBeyondTheLimit) {
  Server::Options options;
  options.methods = {"POST"};
  options.body_bytes_max = 1000;
  const auto server = open_server(std::move(options), echo);
  const std::string head = "POST /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ";
  EXPECT_TRUE(
      ask(*server, head + "1000\r\n\r\n" + std::string(1000, 'b')).starts_with("HTTP/1.1 200"));
  const std::string reply = ask(*server, head + "1001\r\n\r\n" + std::string(1001, 'b'));
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 413 ")) << reply;
  EXPECT_TRUE(reply.ends_with("request body of 1001 bytes exceeds 1000\n")) << reply;
  // One that never stops is cut off without an answer.
  const std::string flood = ask(*server, head + "10000000\r\n\r\n" + std::string(10000000, 'b'));
  EXPECT_EQ(flood, "");
}

TEST(HttpServer, RefusesWhatIsNoHttp) {
  const auto server = open_server({}, echo);
  EXPECT_TRUE(ask(*server, "GET /x HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 400 "));
  const std::string huge =
      "GET /x HTTP/1.1\r\nHost: x\r\nX: " + std::string(100000, 'h') + "\r\n\r\n";
  EXPECT_FALSE(contains(ask(*server, huge), "200 OK"));
  EXPECT_TRUE(contains(get(*server, "/still-there"), "GET /still-there"));
}

TEST(HttpServer, KeepsTheConnectionForTheNextRequest) {
  const auto server = open_server({}, echo);
  const std::string reply = ask(*server,
                                "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"
                                "GET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(contains(reply, "GET /1 .HTTP/1.1 200 OK")) << reply;
  EXPECT_TRUE(reply.ends_with("GET /2 .")) << reply;
}

TEST(HttpServer, ClosesConnectionsBeyondTheLimit) {
  Server::Options options;
  options.connections_max = 1;
  const auto server = open_server(std::move(options), echo);
  RawClient first(server->port());
  first.send("GET /1 HTTP/1.1\r\nHost: x\r\n");  // accepted, still sending
  RawClient second(server->port());
  second.send("GET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  first.send("Connection: close\r\n\r\n");
  EXPECT_TRUE(contains(first.read_to_end(), "GET /1"));
  // The second was either closed or waited for the first to end; a third is served in any case.
  second.read_to_end();
  EXPECT_TRUE(contains(get(*server, "/3"), "GET /3"));
}

TEST(HttpServer, ClosesAnIdleConnection) {
  Server::Options options;
  options.idle_timeout = std::chrono::seconds(1);
  const auto server = open_server(std::move(options), echo);
  RawClient client(server->port());
  client.send("GET /half HTTP/1.1\r\n");
  EXPECT_FALSE(contains(client.read_to_end(), "200 OK"));
}

TEST(HttpServer, FinishesWhatIsUnderWayWhenDestroyed) {
  std::mutex mutex;
  std::condition_variable changed;
  bool has_begun = false;
  bool may_end = false;
  auto server = open_server({}, [&](const Request&) {
    std::unique_lock lock(mutex);
    has_begun = true;
    changed.notify_all();
    changed.wait(lock, [&] { return may_end; });
    Response response;
    response.body = "slow but whole";
    return response;
  });
  const uint16_t port = server->port();
  RawClient client(port);
  client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return has_begun; });
  }
  std::thread stopper([&] { server.reset(); });
  {
    const std::lock_guard lock(mutex);
    may_end = true;
    changed.notify_all();
  }
  EXPECT_TRUE(client.read_to_end().ends_with("slow but whole"));
  stopper.join();
  EXPECT_FALSE(RawClient(port).is_connected());
}

TEST(HttpServer, SaysWhichAddressIsTaken) {
  const auto server = open_server({}, echo);
  Server::Options options;
  options.port = server->port();
  const auto again = Server::open(std::move(options), echo);
  ASSERT_FALSE(again);
  EXPECT_TRUE(contains(again.error().text, "listen on 127.0.0.1:")) << again.error().text;
  EXPECT_TRUE(contains(again.error().text, "in use")) << again.error().text;
  Server::Options nowhere;
  nowhere.host = "no.such.host.invalid";
  EXPECT_FALSE(Server::open(std::move(nowhere), echo));
}

TEST(HttpServer, ListensOnEveryInterface) {
  Server::Options options;
  options.host = "0.0.0.0";
  const auto server = open_server(std::move(options), echo);
  EXPECT_TRUE(contains(get(*server, "/x"), "GET /x"));
}

}  // namespace
}  // namespace brokkr::http
