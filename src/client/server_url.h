#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "io/socket.h"

namespace brokkr::client {

// Where a server is, and the credentials its URL carries. A value type.
struct ServerUrl {
  io::Address address;
  std::string user;
  std::string password;
  std::string token;  // a user part without a password is a token, as every NATS client takes it
  bool is_tls = false;  // "tls://": nothing is sent there in plain text
  // As a URL without credentials: "nats://127.0.0.1:4222", "tls://h:4222", "unix:/run/brokkr.sock".
  std::string text() const;
};

// "nats://user:pass@host:4222", "tls://host", "host:4222", "host", "unix:/path", "nats://[::1]:4222". The port is
// 4222 when absent; %XX in credentials is decoded. Fails with Unsupported on ws and wss, with
// InvalidArgument on anything else it does not know. Pure.
Result<ServerUrl> parse_server_url(std::string_view text);
// A comma-separated list; at least one.
Result<std::vector<ServerUrl>> parse_server_urls(std::string_view text);

}  // namespace brokkr::client
