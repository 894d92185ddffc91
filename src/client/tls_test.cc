// A client against a scripted server that does TLS.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <functional>

#include "client/connection.h"
#include "client/sync.h"
#include "io/testing/certificates.h"
#include "io/tls.h"

namespace brokkr::client {
namespace {

constexpr Duration kTlsPatience = std::chrono::seconds(5);

// A PEM file for as long as it lives.
class PemFile {
 public:
  explicit PemFile(const std::string& text) {
    char name[] = "/tmp/brokkr-pem-XXXXXX";
    const int fd = mkstemp(name);
    EXPECT_EQ(write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    close(fd);
    path_ = name;
  }
  ~PemFile() { std::remove(path_.c_str()); }
  PemFile(const PemFile&) = delete;
  PemFile& operator=(const PemFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Says INFO, shakes hands, answers PING. What it hears in plain text is kept apart.
class TlsServer final : io::TransportHandler {
 public:
  TlsServer(io::Loop& loop, const io::TlsSettings& settings)
      : loop_(loop), context_(*io::TlsContext::server(settings)) {}

  std::unique_ptr<io::Transport> accept() {
    auto [ours, theirs] = io::make_pipe(loop_);
    if (!is_first_) ours->write(info_.data(), info_.size());
    auto wrapped = io::wrap_tls_server(loop_, std::move(ours), context_);
    wrapped->start_handshake([this](const Status& done) {
      if (!done) {
        error_ = done.error().text;
        return;
      }
      if (is_first_) stream_->write(info_.data(), info_.size());
      stream_->listen(this, true, false);
    });
    stream_ = std::move(wrapped);
    return std::move(theirs);
  }

  std::string info_ = "INFO {\"headers\":true,\"tls_required\":true,\"max_payload\":100,\"proto\":1} \r\n";
  bool is_first_ = false;
  std::string error_;
  std::string received_;
  std::unique_ptr<io::TlsTransport> stream_;

 private:
  void on_readable() override {
    char buffer[65536];
    const io::IoResult result = stream_->read(buffer, sizeof buffer);
    if (result.kind == io::IoResult::Kind::WouldBlock) return;
    if (result.kind != io::IoResult::Kind::Ok) return stream_->listen(nullptr, false, false);
    received_.append(buffer, result.bytes);
    if (std::string_view(buffer, result.bytes).find("PING\r\n") != std::string_view::npos) {
      stream_->write("PONG\r\n", 6);
    }
  }
  void on_writable() override {}

  io::Loop& loop_;
  std::shared_ptr<const io::TlsContext> context_;
};

class ClientTlsTest : public ::testing::Test {
 protected:
  ClientTlsTest() : ca_(authority_.certificate()) {
    loop_ = std::move(*io::Loop::open({}, clock_));
    server_side_.certificates = {authority_.issue_server()};
    options_.tls.ca_file = ca_.path();
    options_.tls.server_name = "localhost";
  }
  // Why there is no connection, or empty.
  std::string connect(const std::function<void(TlsServer&)>& change = {}) {
    server_ = std::make_unique<TlsServer>(*loop_, server_side_);
    if (change) change(*server_);
    options_.make_transport = [this] { return server_->accept(); };
    bool is_closed = false;
    std::string error;
    Events events;
    events.closed = [&](const Error& why) {
      is_closed = true;
      error = why.text;
    };
    connection_ = std::move(
        *Connection::open({*loop_, resolver_, random_}, std::move(options_), std::move(events)));
    run_until(*loop_, kTlsPatience, [&] { return is_closed || connection_->is_connected(); });
    return connection_->is_connected() ? "" : "closed: " + error;
  }

  SystemClock clock_;
  std::unique_ptr<io::Loop> loop_;
  io::Worker resolver_{"resolver"};
  SeededRandom random_{1};
  io::TestAuthority authority_;
  PemFile ca_;
  io::TlsSettings server_side_;
  Options options_;
  std::unique_ptr<TlsServer> server_;
  std::unique_ptr<Connection> connection_;
};

TEST_F(ClientTlsTest, FollowsAServerThatRequiresTls) {
  EXPECT_EQ(connect(), "");
  EXPECT_NE(server_->received_.find("\"tls_required\":true"), std::string::npos);
}

TEST_F(ClientTlsTest, ShakesHandsFirstWhenToldTo) {
  options_.tls.handshake_first = true;
  EXPECT_EQ(connect([](TlsServer& server) { server.is_first_ = true; }), "");
}

TEST_F(ClientTlsTest, AsksForTlsWhereItIsOnlyAvailable) {
  options_.tls.is_required = true;
  EXPECT_EQ(connect([](TlsServer& server) {
              server.info_ = "INFO {\"headers\":true,\"tls_available\":true,\"max_payload\":100} \r\n";
            }),
            "");
}

TEST_F(ClientTlsTest, ServerWithoutTlsIsNotTalkedToWhenTlsIsAskedFor) {
  options_.tls.is_required = true;
  const std::string error =
      connect([](TlsServer& server) { server.info_ = "INFO {\"max_payload\":100} \r\n"; });
  EXPECT_EQ(error, "closed: in-process: secure connection not available");
  EXPECT_EQ(server_->received_, "");
}

TEST_F(ClientTlsTest, PlainTextBehindInfoIsNotBelieved) {
  // Somebody on the way adds a line of his own before the handshake.
  connect([](TlsServer& server) { server.info_ += "-ERR 'Authorization Violation'\r\n"; });
  // It is taken for the server's first TLS record, which it is not, or dropped; never obeyed.
  EXPECT_NE(connection_->last_error().code, Errc::PermissionDenied);
}

TEST_F(ClientTlsTest, ServerOfAnotherAuthorityIsRefused) {
  const io::TestAuthority other("other");
  server_side_.certificates = {other.issue_server()};
  const std::string error = connect();
  EXPECT_NE(error.find("tls: certificate verify failed"), std::string::npos) << error;
}

TEST_F(ClientTlsTest, ServerOfAnotherNameIsRefused) {
  options_.tls.server_name = "example.org";
  const std::string error = connect();
  EXPECT_NE(error.find("hostname mismatch"), std::string::npos) << error;
}

TEST_F(ClientTlsTest, ShowsItsCertificate) {
  server_side_.verify_client = true;
  server_side_.ca = ca_.path();
  const io::TlsKeyPair own = authority_.issue_client("alice");
  const PemFile certificate(own.certificate);
  const PemFile key(own.key);
  options_.tls.certificate_file = certificate.path();
  options_.tls.key_file = key.path();
  EXPECT_EQ(connect(), "");
  EXPECT_EQ(server_->stream_->facts().peer_chain.at(0).subject, "CN=alice");
}

TEST_F(ClientTlsTest, TellsWhyTheServerRefusesIt) {
  server_side_.verify_client = true;
  server_side_.ca = ca_.path();
  const std::string error = connect();
  EXPECT_NE(error.find("tls: "), std::string::npos) << error;
  EXPECT_NE(error.find("certificate required"), std::string::npos) << error;
}

TEST_F(ClientTlsTest, MissingFileIsNamed) {
  options_.tls.ca_file = "/none.pem";
  EXPECT_EQ(connect(), "closed: tls: CA file \"/none.pem\": open: No such file or directory");
}

}  // namespace
}  // namespace brokkr::client
