#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "auth/authenticator.h"

namespace brokkr::broker {

// How a stream came in.
enum class ConnectionType : uint8_t { Tcp, InProcess, WebSocket, Leaf, LeafWebSocket };
// The names of `allowed_connection_types`.
constexpr std::string_view connection_type_name(ConnectionType type) {
  switch (type) {
    case ConnectionType::Tcp: return "STANDARD";
    case ConnectionType::InProcess: return "IN_PROCESS";
    case ConnectionType::WebSocket: return "WEBSOCKET";
    case ConnectionType::Leaf: return "LEAFNODE";
    case ConnectionType::LeafWebSocket: return "LEAFNODE_WS";
  }
  return "";
}

// What monitoring pages and events call the type of a client.
constexpr std::string_view client_type_name(ConnectionType type) {
  return type == ConnectionType::WebSocket ? "websocket" : "nats";
}

// What a finished TLS handshake told. Immutable.
struct TlsFacts {
  struct Certificate {
    std::string subject;      // RFC 2253
    std::string spki_sha256;  // lower-case hex
    std::string cert_sha256;
  };
  std::string version;  // "1.3"
  std::string cipher;   // the name Go gives it
  bool was_first = false;  // before INFO
  std::vector<Certificate> peer_certificates;
  auth::TlsIdentity identity;  // only when `is_verified`
  bool is_verified = false;    // the peer's certificate was asked for and checked
};

// What the HTTP request that opened a WebSocket told. Immutable.
struct WebSocketFacts {
  // From the cookies the configuration names; empty when absent.
  std::string jwt;
  std::string user;
  std::string password;
  std::string token;
  std::string forwarded_for;  // the client's address as a proxy gives it; empty without one
  std::string origin;
  bool is_tls = false;
};

// How a connection came in and what was learned of its other side on the way.
struct Origin {
  ConnectionType type = ConnectionType::Tcp;
  std::shared_ptr<const TlsFacts> tls;              // null: no TLS, or none yet
  std::shared_ptr<const WebSocketFacts> websocket;  // null: none
};

}  // namespace brokkr::broker
