#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/clock.h"
#include "base/result.h"
#include "io/transport.h"

namespace brokkr::client {

// TLS towards the servers. It is used when this asks for it, when a URL does ("tls://"), or when the
// server requires it. Files are read at each attempt, on the loop.
struct TlsOptions {
  bool is_required = false;
  bool handshake_first = false;  // before INFO, for servers that are set up so
  std::string certificate_file;  // ours, for servers that check their clients
  std::string key_file;
  std::string ca_file;      // whom we trust; empty: the authorities of the machine
  std::string server_name;  // must be in the server's certificate; empty: the URL's host
  bool insecure = false;    // the server's certificate is not checked
};

// How to connect and behave; the defaults are those of the official clients.
struct Options {
  std::vector<std::string> servers = {"nats://127.0.0.1:4222"};
  // When set, each attempt takes its stream from here instead of dialling `servers`: the in-process
  // way to a broker on the same loop. A null transport counts as a failed attempt.
  Callback<std::unique_ptr<io::Transport>()> make_transport;

  std::string name;
  std::string user;
  std::string password;
  std::string token;
  TlsOptions tls;
  // Proof of identity by key; the first of these that is set counts. Files are read at each attempt,
  // on the loop. `sign` gives the 64 raw bytes for a nonce, and may give none with a bearer token.
  std::string credentials_file;  // token and seed, as nsc writes them
  std::string nkey_seed_file;    // the seed of a user the server knows by its public key
  std::string jwt;
  std::string nkey;  // public key
  Callback<Result<std::string>(std::string_view nonce)> sign;
  bool echo = true;
  bool verbose = false;
  bool pedantic = false;
  std::string inbox_prefix = "_INBOX";

  Duration connect_timeout = std::chrono::seconds(2);
  Duration ping_interval = std::chrono::minutes(2);
  int pings_outstanding_max = 2;
  Duration drain_timeout = std::chrono::seconds(30);

  bool allow_reconnect = true;
  // Goes on trying when the first connection fails, as after a lost one.
  bool retry_first_connect = false;
  int reconnect_attempts_max = 60;  // in a row, per server; negative means for ever
  Duration reconnect_wait = std::chrono::milliseconds(100);  // doubles with each round of failures
  Duration reconnect_wait_max = std::chrono::seconds(5);
  Duration reconnect_jitter = std::chrono::milliseconds(100);
  bool randomize_servers = true;
  bool ignore_discovered_servers = false;

  // Bytes of publishes kept while there is no connection; what exceeds them is refused.
  size_t reconnect_buffer_bytes_max = 8 << 20;
  // Bytes waiting to be sent on a live connection; what exceeds them is refused.
  size_t pending_bytes_max = 64 << 20;
};

// What happens to a connection. Every callback is optional and runs on the loop; each may destroy
// the connection.
struct Events {
  Callback<void()> connected;                    // the first time
  Callback<void(const Error&)> disconnected;     // lost; reconnecting follows, or closed
  Callback<void()> reconnected;                  // subscriptions are in place again
  Callback<void(const Error&)> closed;           // for good; Errc::Closed when it was asked for
  Callback<void(const Error&)> error;            // -ERR that does not close, such as a permission
  Callback<void()> lame_duck;                    // the server is about to shut down
  Callback<void()> drained_output;               // a publish was refused, now there is room again
};

struct PublishOptions {
  std::string_view reply;
  std::string_view headers;  // a block made by protocol::HeaderWriter
};

struct SubscribeOptions {
  std::string_view queue;
  uint64_t messages_max = 0;  // ends by itself after so many; 0 means never
};

}  // namespace brokkr::client
