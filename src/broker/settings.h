#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace brokkr::broker {

struct TlsRules;
struct WebSocketRules;

// What clients are told the server is: a release of nats-server whose client protocol ours equals.
// Clients switch features on by it.
constexpr const char* kServerVersion = "2.12.3";

// nats-server's name for the account of the server's own subjects where none is configured.
constexpr std::string_view kSystemAccount = "$SYS";

// The settings connections look at, with nats-server's names and defaults. One snapshot is shared by
// all loops; a reload swaps in another. Immutable.
struct Settings {
  std::string server_id;    // 56 characters, begins with N
  std::string server_name;  // the id when not configured
  std::string host = "127.0.0.1";
  uint16_t port = 4222;     // 0 lets the kernel choose
  std::string client_advertise;
  std::string config_digest;  // "sha256:…" of the configuration file; empty without one
  std::vector<std::string> tags;
  std::vector<std::pair<std::string, std::string>> metadata;

  uint32_t max_control_line = 4096;
  uint32_t max_payload = 1 << 20;
  uint64_t max_pending = 64 << 20;  // bytes queued for one client
  uint32_t max_connections = 65536;
  uint32_t max_subscriptions = 0;   // per connection; 0 means no limit
  uint32_t max_sub_tokens = 0;
  uint32_t max_closed_clients = 10000;
  Duration ping_interval = std::chrono::minutes(2);
  uint32_t ping_max = 2;
  Duration write_deadline = std::chrono::seconds(10);
  Duration auth_timeout = std::chrono::seconds(2);
  Duration lame_duck_duration = std::chrono::minutes(2);
  Duration lame_duck_grace = std::chrono::seconds(10);
  bool headers = true;
  bool trace_headers = false;       // the trace shows header blocks instead of payloads
  uint32_t max_traced_msg_len = 0;  // 0 means no limit
  bool no_fast_producer_stall = false;
  std::shared_ptr<const TlsRules> tls;  // of the client port; null: none
  std::shared_ptr<const WebSocketRules> websocket;  // null: no such listener
  int jetstream_api_level = 0;   // 0: there is no JetStream
  std::string jetstream_domain;
  std::string system_account{kSystemAccount};
  std::string leafnodes_shown = "{}";  // what /varz shows of them, as JSON
};

}  // namespace brokkr::broker
