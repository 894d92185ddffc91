#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "io/socket.h"

namespace brokkr::broker {

// Where a hub is, and what the URL says beside it. A value type.
struct LeafUrl {
  io::Address address;
  bool is_tls = false;        // tls or wss
  bool is_websocket = false;  // ws or wss
  bool has_user = false;
  bool has_password = false;
  std::string user;
  std::string password;
  std::string path;  // as given, begins with '/' unless empty
  // "host:port".
  std::string host_and_port() const;
};

// "nats-leaf://user:pass@host:7422", also nats, tls, ws and wss, or no scheme at all. The port is 7422
// when absent, for ws 80 and for wss 443. Pure.
Result<LeafUrl> parse_leaf_url(std::string_view text);

}  // namespace brokkr::broker
