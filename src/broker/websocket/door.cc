#include "broker/websocket/door.h"

#include <unistd.h>

#include <cerrno>
#include <utility>

#include "broker/connection.h"
#include "broker/server.h"
#include "broker/shard.h"
#include "broker/tls_rules.h"
#include "broker/websocket/rules.h"
#include "io/tls.h"
#include "protocol/info.h"

namespace brokkr::broker {
namespace {

// Clients pack what they have at hand into a message: this much, and what did not fit any more.
constexpr uint64_t kClientBatch = 64 << 10;

constexpr std::string_view kPlainTextAnswer =
    "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

bool is_websocket_type(ConnectionType type) {
  return type == ConnectionType::WebSocket || type == ConnectionType::LeafWebSocket;
}

http::CloseStatus status_of(CloseReason reason) {
  using http::CloseStatus;
  switch (reason) {
    case CloseReason::ClientClosed: return CloseStatus::Normal;
    case CloseReason::AuthenticationTimeout:
    case CloseReason::AuthenticationFailure:
    case CloseReason::AuthenticationExpired:
    case CloseReason::SlowConsumerPending:
    case CloseReason::SlowConsumerDeadline:
    case CloseReason::MaxControlLineExceeded:
    case CloseReason::MaxConnectionsExceeded:
    case CloseReason::AccountConnectionsExceeded:
    case CloseReason::MissingAccount: return CloseStatus::PolicyViolation;
    case CloseReason::ParseError:
    case CloseReason::ProtocolViolation:
    case CloseReason::BadClientProtocolVersion: return CloseStatus::ProtocolError;
    case CloseReason::MaxPayloadExceeded: return CloseStatus::MessageTooBig;
    case CloseReason::WriteError:
    case CloseReason::ReadError:
    case CloseReason::StaleConnection:
    case CloseReason::ServerShutdown: return CloseStatus::GoingAway;
    default: return CloseStatus::InternalError;
  }
}

}  // namespace

// A stream and how far it has come.
struct WebSocketDoor::Entering {
  std::shared_ptr<const WebSocketRules> rules;
  std::string remote;  // for the log
  std::unique_ptr<io::Transport> stream;  // until the upgrade begins
  io::TlsTransport* tls = nullptr;        // `stream`, when there is TLS
  std::unique_ptr<io::Timer> tls_timer;
  std::shared_ptr<const TlsFacts> tls_facts;
  std::unique_ptr<http::WebSocketHandshake> handshake;
};

WebSocketDoor::WebSocketDoor(Shard& shard) : shard_(shard), pool_(http::make_websocket_pool()) {}

WebSocketDoor::~WebSocketDoor() = default;

void WebSocketDoor::close() { entering_.clear(); }

void WebSocketDoor::admit(int fd) {
  auto stream = io::adopt_socket(shard_.loop(), fd);
  if (!stream) {
    shard_.log().error("accepted websocket cannot be used: " + stream.error().text);
    return;
  }
  auto entering = std::make_unique<Entering>();
  entering->rules = shard_.settings().websocket;
  if (entering->rules == nullptr) return;  // a reload has taken the listener's settings away
  const io::Peer& peer = (*stream)->peer();
  entering->remote = peer.host + ":" + std::to_string(peer.port);
  entering->stream = std::move(*stream);
  if (entering_.size() == kEnteringMax) {
    shard_.log().debug(entering_.begin()->second->remote + " - websocket handshake gives way");
    entering_.erase(entering_.begin());
  }
  const uint64_t id = next_id_++;
  const bool is_tls = entering->rules->tls != nullptr;
  entering_.emplace(id, std::move(entering));
  is_tls ? begin_handshake(id) : begin_upgrade(id);
}

void WebSocketDoor::begin_handshake(uint64_t id) {
  Entering& entering = *entering_.at(id);
  const TlsRules& rules = *entering.rules->tls;
  if (rules.rate != nullptr && rules.rate->ask(shard_.loop().now()) != HandshakeRate::Answer::Allowed) {
    entering_.erase(id);
    return;
  }
  auto wrapped = io::wrap_tls_server(shard_.loop(), std::move(entering.stream), rules.context);
  entering.tls = wrapped.get();
  entering.stream = std::move(wrapped);
  entering.tls_timer = std::make_unique<io::Timer>(shard_.loop(), [this, id] {
    on_handshake(id, Error{Errc::TimedOut, "timeout"});
  });
  entering.tls_timer->start(rules.timeout);
  entering.tls->start_handshake([this, id](const Status& done) { on_handshake(id, done); });
}

void WebSocketDoor::on_handshake(uint64_t id, const Status& done) {
  Entering& entering = *entering_.at(id);
  if (done) {
    entering.tls_facts = keep_facts(entering.tls->facts(), *entering.rules->tls, true);
    entering.tls_timer.reset();
    return begin_upgrade(id);
  }
  if (entering.tls->is_plain_text()) {
    entering.tls->inner().write(kPlainTextAnswer.data(), kPlainTextAnswer.size());
    entering.tls->inner().end_writing();
  }
  const LogLevel level = done.error().text == "EOF" ? LogLevel::Debug : LogLevel::Error;
  shard_.log().write(level, entering.remote + " - websocket: TLS handshake error: " + done.error().text);
  entering_.erase(id);
}

void WebSocketDoor::begin_upgrade(uint64_t id) {
  Entering& entering = *entering_.at(id);
  entering.handshake = http::accept_websocket(
      shard_.loop(), std::move(entering.stream), entering.rules->upgrade,
      entering.rules->handshake_timeout,
      [this, id](Result<http::AcceptedWebSocket> done) { on_upgraded(id, std::move(done)); });
}

void WebSocketDoor::on_upgraded(uint64_t id, Result<http::AcceptedWebSocket> accepted) {
  const auto found = entering_.find(id);
  const std::unique_ptr<Entering> entering = std::move(found->second);
  entering_.erase(found);
  if (accepted) return enter(std::move(*accepted), *entering);
  const Error& error = accepted.error();
  // Somebody who only looks whether the port is open is nobody that was refused.
  const bool is_refusal = error.code == Errc::InvalidArgument || error.code == Errc::TimedOut;
  shard_.log().write(is_refusal ? LogLevel::Error : LogLevel::Debug,
                     entering->remote + " - " + error.text);
}

void WebSocketDoor::enter(http::AcceptedWebSocket accepted, const Entering& entering) {
  const http::UpgradeRequest& request = accepted.request;
  auto facts = std::make_shared<WebSocketFacts>();
  facts->jwt = request.jwt_cookie;
  facts->user = request.user_cookie;
  facts->password = request.password_cookie;
  facts->token = request.token_cookie;
  facts->forwarded_for = request.forwarded_for;
  facts->is_tls = entering.rules->tls != nullptr;
  Origin origin;
  origin.tls = entering.tls_facts;
  origin.type = request.is_leaf ? ConnectionType::LeafWebSocket : ConnectionType::WebSocket;
  origin.websocket = std::move(facts);
  http::WebSocketSettings settings = http::accepted_settings(request);
  const Settings& limits = shard_.settings();
  if (request.is_leaf) {
    settings.inflated_bytes_max = limits.max_pending;
    return enter_as_leaf(std::move(accepted.inner), settings, std::move(origin));
  }
  settings.inflated_bytes_max =
      uint64_t{limits.max_payload} + limits.max_control_line + kClientBatch;
  const bool is_refused = !shard_.server().take_place();
  shard_.adopt(http::wrap_websocket(shard_.loop(), std::move(accepted.inner), pool_, settings),
               std::move(origin), is_refused);
}

// Leaves live on the main loop.
void WebSocketDoor::enter_as_leaf(std::unique_ptr<io::Transport> stream,
                                  http::WebSocketSettings settings, Origin origin) {
  Server& server = shard_.server();
  if (!server.has_leaf_acceptor()) {
    return shard_.log().error("Not configured to accept leaf node connections");
  }
  if (shard_.index() == 0) {
    return server.accept_leaf(
        http::wrap_websocket(shard_.loop(), std::move(stream), pool_, settings), std::move(origin));
  }
  // Nothing has been read behind the handshake, so the socket alone can go over. (Those with TLS have
  // begun on the main loop.)
  const int fd = dup(stream->fd());
  if (fd < 0) return shard_.log().error("a leaf cannot go to the main loop: " + system_error("dup", errno).text);
  stream.reset();
  server.post_to_shard(0, [fd, settings, origin = std::move(origin)](Shard& main) {
    auto moved = io::adopt_socket(main.loop(), fd);
    if (!moved) return main.log().error("accepted leaf cannot be used: " + moved.error().text);
    main.server().accept_leaf(http::wrap_websocket(main.loop(), std::move(*moved),
                                                   main.websocket_door().pool_, settings),
                              origin);
  });
}

Duration Connection::ping_interval() const {
  const WebSocketRules* rules = shard_.settings().websocket.get();
  const bool has_own = type() == ConnectionType::WebSocket && rules != nullptr &&
                       rules->options.ping_interval > Duration(0);
  return has_own ? rules->options.ping_interval : shard_.settings().ping_interval;
}

Duration Connection::auth_timeout() const {
  const WebSocketRules* rules = shard_.settings().websocket.get();
  const bool has_own = type() == ConnectionType::WebSocket && rules != nullptr;
  const Duration usual = shard_.settings().auth_timeout;
  return has_own ? rules->options.auth_timeout.value_or(usual) : usual;
}

void describe_websocket(const Server& server, protocol::ServerInfo& info) {
  const std::shared_ptr<const Server::Snapshot> now = server.snapshot();
  const WebSocketRules* rules = now->settings->websocket.get();
  if (rules == nullptr) return;
  const config::WebsocketOptions& options = rules->options;
  info.host = options.host.empty() ? "0.0.0.0" : options.host;
  if (!now->websocket_addresses.empty()) info.port = now->websocket_addresses.front().port;
  info.tls_required = rules->upgrade->is_tls;
  info.tls_available = rules->upgrade->is_tls;
  info.connect_urls.clear();
  if (!options.advertise.empty()) info.connect_urls = {options.advertise};
}

void set_close_frame(const Connection& connection, io::Transport& transport) {
  if (!is_websocket_type(connection.type())) return;
  static_cast<http::WebSocketTransport&>(transport).set_close(status_of(connection.close_reason()),
                                                              to_string(connection.close_reason()));
}

const std::string& websocket_error(const Connection& connection, const io::Transport& transport) {
  static const std::string none;
  if (!is_websocket_type(connection.type())) return none;
  return static_cast<const http::WebSocketTransport&>(transport).error();
}

}  // namespace brokkr::broker
