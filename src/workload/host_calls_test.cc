// Host calls against a JetStream server, where there is one, and a web server of the test's own.
#include "workload/host_calls.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <map>
#include <thread>

#include "client/headers.h"
#include "client/jetstream_test_server.h"
#include "workload/hops.h"
#include "workload/host_services/open_calls.h"

namespace brokkr::workload {
namespace {

using namespace std::chrono_literals;

struct Caller final : HostCaller {
  std::map<uint64_t, runtime::HostReply> replies;
  int count = 0;
  size_t untaken = 0;
  std::string reply_subject;
  void reply_to_host_call(uint64_t id, const runtime::HostReply& reply) override {
    EXPECT_FALSE(replies.contains(id)) << "answered twice";
    replies[id] = reply;
    ++count;
  }
  size_t pending_bytes() const override { return untaken; }
  bool has_reply_subject(std::string_view subject) const override { return subject == reply_subject; }
};

// Answers every connection with the same bytes; counts them.
class TinyWebServer {
 public:
  explicit TinyWebServer(std::string answer) : answer_(std::move(answer)) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(fd_, 16), 0);
    getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = std::to_string(ntohs(address.sin_port));
    thread_ = std::thread([this] { run(); });
  }
  ~TinyWebServer() {
    shutdown(fd_, SHUT_RDWR);
    thread_.join();
    close(fd_);
  }
  const std::string& port() const { return port_; }
  int connections() const { return connections_; }

 private:
  void run() {
    for (;;) {
      const int client = accept(fd_, nullptr, nullptr);
      if (client < 0) return;
      ++connections_;
      char buffer[4096];
      if (recv(client, buffer, sizeof buffer, 0) > 0 && !answer_.empty()) {
        send(client, answer_.data(), answer_.size(), MSG_NOSIGNAL);
      } else {
        while (recv(client, buffer, sizeof buffer, 0) > 0) {}
      }
      close(client);
    }
  }
  const std::string answer_;
  int fd_ = -1;
  std::string port_;
  std::thread thread_;
  std::atomic<int> connections_{0};
};

class HostCallsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    client::TestServer* server = client::TestServer::get();
    if (server == nullptr) GTEST_SKIP() << "no JetStream server on this machine";
    client::Options options;
    options.servers = {server->url()};
    auto session = client::Session::connect(std::move(options));
    ASSERT_TRUE(session) << session.error().text;
    session_ = std::move(*session);
    make({});
  }

  void make(HostServiceOptions options, std::vector<std::string> egress = {}, Grants grants = {}) {
    calls_.reset();
    options.key_value_bytes_max = options.object_store_bytes_max = 32U << 20;
    auto services = HostServices::make(session_->loop(), std::move(options));
    ASSERT_TRUE(services);
    services_ = std::move(*services);
    calls_ = std::make_unique<HostCalls>(
        HostCalls::Deps{session_->loop(), session_->connection(), *services_},
        HostCalls::Rights{Access::make({"default", "test"}, grants, {}), *EgressPolicy::parse(egress)});
  }

  struct Ask {
    std::string service, method, target, key, payload, headers;
    uint32_t max = 0;
    int64_t timeout_ms = 0;
  };
  // Starts a call; its id.
  uint64_t start(const Ask& ask) {
    HostCallRequest request;
    request.id = ++last_;
    request.call.service = ask.service;
    request.call.method = ask.method;
    request.call.target = ask.target;
    request.call.key = ask.key;
    request.call.payload = ask.payload;
    request.call.headers = ask.headers;
    request.call.replies_max = ask.max;
    request.call.timeout_ms = ask.timeout_ms;
    calls_->serve(caller_, request, 10s);
    return last_;
  }
  runtime::HostReply wait(uint64_t id) {
    EXPECT_TRUE(client::run_until(session_->loop(), 30s, [&] { return caller_.replies.contains(id); }));
    return caller_.replies[id];
  }
  runtime::HostReply call(const Ask& ask) { return wait(start(ask)); }
  // Turns for what is not to happen.
  void settle() {
    client::run_until(session_->loop(), 50ms, [] { return false; });
  }
  std::string bucket() {
    return "h" + std::to_string(getpid()) + "_" +
           ::testing::UnitTest::GetInstance()->current_test_info()->name();
  }

  std::unique_ptr<client::Session> session_;
  std::unique_ptr<HostServices> services_;
  std::unique_ptr<HostCalls> calls_;
  Caller caller_;
  uint64_t last_ = 0;
};

TEST_F(HostCallsTest, KeyValueGoesRound) {
  const std::string b = bucket();
  EXPECT_EQ(call({"kv", "get", b, "k", "", ""}).code, 404);
  EXPECT_EQ(call({"kv", "set", b, "k", std::string("v\0\xff", 3), ""}).headers,
            "NATS/1.0\r\nRevision: 1\r\n\r\n");
  const auto got = call({"kv", "get", b, "k", "", ""});
  EXPECT_EQ(got.payload, std::string("v\0\xff", 3));
  EXPECT_NE(got.headers.find("\r\nRevision: 1\r\nOperation: PUT\r\n"), std::string::npos);
  EXPECT_EQ(call({"kv", "create", b, "k", "x", ""}).code, 409);
  EXPECT_EQ(call({"kv", "update", b, "k", "x", "NATS/1.0\r\nRevision: 9\r\n\r\n"}).code, 409);
  EXPECT_EQ(call({"kv", "update", b, "k", "x", "NATS/1.0\r\nRevision: 1\r\n\r\n"}).code, 200);
  EXPECT_EQ(call({"kv", "update", b, "k", "x", ""}).code, 400);
  EXPECT_EQ(call({"kv", "keys", b, "", "", ""}).more, std::string("\1\0\0\0k", 5));
  EXPECT_EQ(call({"kv", "nonsense", b, "k", "", ""}).code, 501);
  const auto watched = [&](const std::string& headers) {
    const runtime::HostReply reply = call({"kv", "watch", b, "w.*", "", headers});
    EXPECT_EQ(reply.code, 200) << reply.error;
    std::string seen;
    for (size_t at = 0; at + 4 <= reply.more.size();) {
      const size_t size = static_cast<unsigned char>(reply.more[at]);  // short ones
      const std::string part = reply.more.substr(at + 4, size);
      seen += part.starts_with("NATS/1.0") ? "=" : part + (seen.ends_with('=') ? " " : "");
      at += 4 + size;
    }
    return std::pair(seen, reply.headers);
  };
  for (const char* value : {"1", "2"}) call({"kv", "set", b, "w.a", value, ""});
  call({"kv", "set", b, "w.b", "3", ""});
  const auto first = watched("");
  EXPECT_EQ(first.first, "w.a=2 w.b=3 ");
  call({"kv", "set", b, "w.a", "4", ""});
  EXPECT_EQ(watched(first.second).first, "w.a=4 ");
  EXPECT_EQ(watched(client::with_header(first.second, "Watch", "no-values")).first, "w.a= ");
  EXPECT_EQ(call({"kv", "watch", b, "w.*", "", "NATS/1.0\r\nWatch: nonsense\r\n\r\n"}).code, 400);
  // It waits for what comes.
  const auto open = start({"kv", "watch", b, "w.*", "", watched("").second});
  call({"kv", "delete", b, "w.b", "", ""});
  const runtime::HostReply last = wait(open);
  EXPECT_EQ(last.code, 200);
  EXPECT_NE(last.more.find("Operation: DEL"), std::string::npos);
  // Every write, deletions too, says how far the message has come that led to it.
  const std::string hops = "NATS/1.0\r\nNats-Brokkr-Hops: 3\r\n\r\n";
  const auto stored = [&] {
    const auto found = session_->request("$JS.API.STREAM.MSG.GET.KV_" + b,
                                       R"({"last_by_subj":"$KV.)" + b + R"(.h"})", 5s);
    const auto message = found ? json::parse(found->payload) : Result<json::Value>(Error{Errc::NotFound, ""});
    if (!message || message->find("message") == nullptr) return std::string();
    return base64_decode(message->find("message")->get_string("hdrs")).value_or("");
  };
  for (const char* method : {"create", "delete", "create", "purge"}) {
    EXPECT_EQ(call({"kv", method, b, "h", "", hops}).code, 200) << method;
    EXPECT_NE(stored().find("Nats-Brokkr-Hops: 3\r\n"), std::string::npos) << method << stored();
  }
  const std::string revision = call({"kv", "set", b, "h", "x", hops}).headers;
  EXPECT_EQ(call({"kv", "update", b, "h", "y", client::with_header(revision, kHopsHeader, "4")}).code, 200);
  EXPECT_NE(stored().find("Nats-Brokkr-Hops: 4\r\n"), std::string::npos);
  EXPECT_EQ(call({"nonsense", "get", b, "k", "", ""}).code, 501);
}

TEST_F(HostCallsTest, ADeletedBucketIsMadeAgain) {
  const std::string b = bucket();
  EXPECT_EQ(call({"kv", "set", b, "k", "v", ""}).code, 200);
  ASSERT_TRUE(session_->request("$JS.API.STREAM.DELETE.KV_" + b, "", 5s));
  EXPECT_EQ(call({"kv", "keys", b, "", "", ""}).code, 200);
  EXPECT_EQ(call({"kv", "set", b, "k", "v", ""}).code, 200);
  ASSERT_TRUE(session_->request("$JS.API.STREAM.DELETE.KV_" + b, "", 5s));
  EXPECT_EQ(call({"kv", "set", b, "k", "v", ""}).code, 200);
}

TEST_F(HostCallsTest, ObjectsMoveInPieces) {
  const std::string b = bucket();
  const auto handle_of = [](const runtime::HostReply& reply) {
    return reply.headers.substr(18, reply.headers.size() - 18 - 4);
  };
  const std::string writing = handle_of(call({"objectStore", "openWrite", b, "n", "", ""}));
  std::string all;
  for (int i = 0; i < 5; ++i) {
    const std::string piece(1'000'000, static_cast<char>('a' + i));
    EXPECT_EQ(call({"objectStore", "write", writing, "", piece, ""}).code, 200);
    all += piece;
  }
  EXPECT_EQ(call({"objectStore", "commit", writing, "", "", ""}).code, 200);
  EXPECT_EQ(call({"objectStore", "get", b, "n", "", ""}).code, 413);
  const std::string reading = handle_of(call({"objectStore", "openRead", b, "n", "", ""}));
  std::string got;
  for (;;) {
    const auto piece = call({"objectStore", "read", reading, "", "", ""});
    ASSERT_EQ(piece.code, 200);
    if (piece.payload.empty()) break;
    got += piece.payload;
  }
  EXPECT_EQ(got == all, true);
  EXPECT_EQ(call({"objectStore", "write", reading, "", "x", ""}).code, 400);
  EXPECT_EQ(call({"objectStore", "close", reading, "", "", ""}).code, 200);
  EXPECT_EQ(call({"objectStore", "read", reading, "", "", ""}).code, 404);
  EXPECT_EQ(call({"objectStore", "put", b, "empty", "", "NATS/1.0\r\nNats-Brokkr-Hops: 3\r\nA: b\r\n\r\n"}).code, 200);
  EXPECT_EQ(call({"objectStore", "info", b, "empty", "", ""}).payload.find("Hops"), std::string::npos);
  const auto meta = session_->request("$JS.API.STREAM.MSG.GET.OBJ_" + b,
                                      R"({"last_by_subj":"$O.)" + b + R"(.M.ZW1wdHk="})", 5s);
  ASSERT_TRUE(meta);
  const auto stored = json::parse(meta->payload);
  ASSERT_TRUE(stored && stored->find("message") != nullptr) << meta->payload;
  const auto hdrs = base64_decode(stored->find("message")->get_string("hdrs"));
  EXPECT_NE(hdrs.value_or("").find("Nats-Brokkr-Hops: 3\r\n"), std::string::npos);
  EXPECT_EQ(call({"objectStore", "get", b, "empty", "", ""}).payload, "");
  Caller stranger;
  HostCallRequest steal;
  const std::string mine = handle_of(call({"objectStore", "openRead", b, "n", "", ""}));
  steal.id = 1;
  steal.call = {"objectStore", "read", mine, "", "", "", 0, 0, 0};
  calls_->serve(stranger, steal, 1s);
  EXPECT_EQ(stranger.replies[1].code, 404) << "handles are their instance's";
}

TEST_F(HostCallsTest, WhatIsNotCommittedIsTakenBack) {
  const std::string b = bucket();
  const auto opened = call({"objectStore", "openWrite", b, "n", "", ""});
  const std::string handle = opened.headers.substr(18, opened.headers.size() - 18 - 4);
  EXPECT_EQ(call({"objectStore", "write", handle, "", std::string(500'000, 'x'), ""}).code, 200);
  calls_->forget(caller_);
  const client::JetStream js(session_->connection());
  const auto is_empty = [&] {
    const auto info = client::wait_for<client::StreamInfo>(
        session_->loop(), [&](auto done) { js.stream_info("OBJ_" + b, std::move(done)); });
    return info && info->state.messages == 0;
  };
  bool was_emptied = false;
  for (int i = 0; i < 200 && !was_emptied; ++i) was_emptied = is_empty();
  EXPECT_TRUE(was_emptied);
}

TEST_F(HostCallsTest, CallsEndWithTheirCaller) {
  const std::string b = bucket();
  for (const char* method : {"get", "keys", "set", "history"}) start({"kv", method, b, "k", "v", ""});
  for (const char* method : {"list", "openWrite", "put", "get"}) start({"objectStore", method, b, "n", "v", ""});
  start({"messaging", "request", "silent.subject", "", "", ""});
  calls_->forget(caller_);
  settle();
  EXPECT_EQ(caller_.count, 0);
  for (const char* method : {"get", "keys", "set", "history"}) start({"kv", method, b, "k", "v", ""});
  for (const char* method : {"list", "openWrite", "put", "get"}) start({"objectStore", method, b, "n", "v", ""});
  const int answered_at_once = caller_.count;
  calls_.reset();
  settle();
  EXPECT_EQ(caller_.count, answered_at_once);
}

TEST_F(HostCallsTest, EveryCallIsAnsweredInTime) {
  const auto silent = session_->connection().subscribe("silent." + bucket(), [](const client::Message&) {});
  const auto request = call({"messaging", "request", "silent." + bucket(), "", "", "", 0, 100});
  EXPECT_EQ(request.code, 408);
  const auto many = call({"messaging", "requestMany", "silent." + bucket(), "", "", "", 0, 100});
  EXPECT_EQ(many.code, 408);
  EXPECT_EQ(caller_.count, 2);
}

TEST_F(HostCallsTest, LimitsAreKept) {
  const auto silent = session_->connection().subscribe("silent." + bucket(), [](const client::Message&) {});
  for (size_t i = 0; i < OpenCalls::kCallsMax; ++i) {
    start({"messaging", "request", "silent." + bucket(), "", "", ""});
  }
  EXPECT_EQ(call({"messaging", "request", "silent." + bucket(), "", "", ""}).code, 503);
  calls_->forget(caller_);
  caller_.untaken = OpenCalls::kUnreadBytesMax + 1;
  EXPECT_EQ(call({"kv", "get", bucket(), "k", "", ""}).code, 503);
}

TEST_F(HostCallsTest, RightsAreAskedAndMayChange) {
  Grants grants;
  grants.is_declared = true;
  grants.buckets = {bucket()};
  make({}, {}, grants);
  EXPECT_EQ(call({"kv", "set", bucket(), "k", "v", ""}).code, 200);
  EXPECT_EQ(call({"kv", "set", "other", "k", "v", ""}).code, 403);
  EXPECT_EQ(call({"messaging", "publish", "anything", "", "", ""}).code, 403);
  caller_.reply_subject = "_INBOX.a.b";
  EXPECT_EQ(call({"messaging", "publish", "_INBOX.a.b", "", "", ""}).code, 200);
  start({"kv", "get", bucket(), "k", "", ""});
  grants.buckets = {"other"};
  calls_->set_rights({Access::make({"default", "test"}, grants, {}), *EgressPolicy::parse({})});
  EXPECT_EQ(call({"kv", "get", bucket(), "k", "", ""}).code, 403);
}

TEST_F(HostCallsTest, HttpGoesWhereItMay) {
  TinyWebServer web("HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX-A: b\r\n\r\nok");
  const std::string url = "http://127.0.0.1:" + web.port() + "/";
  EXPECT_EQ(call({"http", "get", url, "", "", ""}).code, 403);
  EXPECT_EQ(call({"http", "get", "http://localhost:" + web.port() + "/", "", "", ""}).code, 403);
  EXPECT_EQ(web.connections(), 0);
  make({}, {"127.0.0.1"});
  const auto got = call({"http", "get", url, "", "", ""});
  EXPECT_EQ(got.payload, "ok");
  EXPECT_EQ(got.headers, "NATS/1.0\r\nContent-Length: 2\r\nX-A: b\r\n\r\n");
  EXPECT_EQ(got.more, R"({"status":200,"statusText":"Fine","url":")" + url + R"(","redirected":false})");
  for (const char* bad : {"", "x", "file:///etc/passwd", "http://", "ftp://127.0.0.1/"}) {
    EXPECT_EQ(call({"http", "get", bad, "", "", ""}).code, 400) << bad;
  }
  EXPECT_EQ(call({"http", "connect", url, "", "", ""}).code, 501);
  EXPECT_EQ(call({"http", "get", url, "sideways", "", ""}).code, 400);
}

TEST_F(HostCallsTest, ResolveEntriesLeadThere) {
  TinyWebServer web("HTTP/1.1 204 None\r\n\r\n");
  HostServiceOptions options;
  options.resolve = {"some.test:80:127.0.0.1:" + web.port()};
  make(options);
  EXPECT_EQ(call({"http", "get", "http://some.test/", "", "", ""}).code, 200);
  EXPECT_NE(call({"http", "get", "http://some.test:81/", "", "", ""}).code, 200);
  EXPECT_EQ(web.connections(), 1);
  for (const char* bad : {"", "a:80", "a:0:127.0.0.1", "a:80:b", "a:80:127.0.0.1:x", "a:80:[::1", ":80:127.0.0.1"}) {
    options.resolve = {bad};
    EXPECT_FALSE(check(options)) << bad;
  }
  options.resolve = {"a:80:::1", "a:80:[::1]:81", "a:443:10.0.0.1"};
  EXPECT_FALSE(check(options)) << "an IPv6 address needs brackets";
  options.resolve = {"a:80:[::1]", "a:80:[::1]:81", "a:443:10.0.0.1"};
  EXPECT_TRUE(check(options));
}

TEST_F(HostCallsTest, HttpRequestsEndWithTheirCaller) {
  TinyWebServer silent("");
  make({}, {"127.0.0.1"});
  const std::string url = "http://127.0.0.1:" + silent.port() + "/";
  EXPECT_EQ(call({"http", "get", url, "", "", "", 0, 100}).code, 408);
  for (int i = 0; i < 3; ++i) start({"http", "get", url, "", "", ""});
  calls_->forget(caller_);
  for (int i = 0; i < 70; ++i) start({"http", "get", url, "", "", ""});
  EXPECT_EQ(caller_.replies[last_].code, 429);
  calls_.reset();
  services_.reset();
  settle();
}

}  // namespace
}  // namespace brokkr::workload
