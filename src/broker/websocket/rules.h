#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "config/options_listeners.h"
#include "http/websocket_upgrade.h"

namespace brokkr::broker {

struct TlsRules;

// How the WebSocket listener treats those who come. Immutable; a reload makes another, for
// connections to come.
struct WebSocketRules {
  config::WebsocketOptions options;
  std::shared_ptr<const http::UpgradeRules> upgrade;
  std::shared_ptr<const TlsRules> tls;  // null: none
  Duration handshake_timeout = std::chrono::seconds(2);
};

// Loads the certificates too. Fails with InvalidArgument, in nats-server's words.
Result<std::shared_ptr<const WebSocketRules>> make_websocket_rules(
    const config::WebsocketOptions& options);

}  // namespace brokkr::broker
