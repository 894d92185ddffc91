#include "broker/websocket/rules.h"

#include <utility>

#include "broker/tls_rules.h"

namespace brokkr::broker {

Result<std::shared_ptr<const WebSocketRules>> make_websocket_rules(
    const config::WebsocketOptions& options) {
  auto upgrade = std::make_shared<http::UpgradeRules>();
  upgrade->compression = options.compression;
  upgrade->is_tls = options.tls.has_value();
  upgrade->same_origin = options.same_origin;
  for (const std::string& text : options.allowed_origins) {
    auto origin = http::parse_allowed_origin(text);
    if (!origin) return origin.error();
    upgrade->allowed_origins.push_back(std::move(*origin));
  }
  upgrade->jwt_cookie = options.jwt_cookie;
  upgrade->user_cookie = options.user_cookie;
  upgrade->password_cookie = options.pass_cookie;
  upgrade->token_cookie = options.token_cookie;
  for (const auto& [name, value] : options.headers) {
    // Whoever writes the configuration may not end the head early, not even by mistake.
    if ((name + value).find_first_of("\r\n") != std::string::npos) {
      return Error{Errc::InvalidArgument, "websocket: header \"" + name + "\" holds a line break"};
    }
    upgrade->extra_headers.append(name).append(": ").append(value).append("\r\n");
  }
  auto rules = std::make_shared<WebSocketRules>();
  if (options.tls) {
    auto tls = make_tls_rules(*options.tls);
    if (!tls) return Error{tls.error().code, "websocket: " + tls.error().text};
    rules->tls = std::move(*tls);
  }
  rules->options = options;
  rules->upgrade = std::move(upgrade);
  if (options.handshake_timeout > Duration(0)) rules->handshake_timeout = options.handshake_timeout;
  return std::shared_ptr<const WebSocketRules>(std::move(rules));
}

}  // namespace brokkr::broker
