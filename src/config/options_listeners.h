#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "config/options_auth.h"
#include "config/options_tls.h"

namespace brokkr::config {

// The block `websocket`. Port 0: no such listener; -1: any free port.
struct WebsocketOptions {
  std::string host;  // empty: 0.0.0.0
  int port = 0;
  std::string advertise;
  bool no_tls = false;  // without it a listener needs `tls`; ignored when `tls` is there
  std::optional<TlsOptions> tls;
  bool same_origin = false;
  std::vector<std::string> allowed_origins;
  Duration handshake_timeout{};  // zero: 2 s
  bool compression = false;
  Duration ping_interval{};  // zero: the server's
  std::map<std::string, std::string> headers;  // of the answer to the upgrade

  // `authorization` of its own, instead of the server's, when one of user and token is set.
  std::string user;
  std::string password;
  std::string token;
  std::optional<Duration> auth_timeout;
  std::string no_auth_user;

  // Names of the cookies that stand for fields missing in CONNECT.
  std::string jwt_cookie;
  std::string user_cookie;
  std::string pass_cookie;
  std::string token_cookie;

  bool has_own_authorization() const { return !user.empty() || !token.empty(); }
  bool operator==(const WebsocketOptions&) const = default;
};

// What to do when one flush takes longer than write_deadline.
enum class WriteTimeoutPolicy : uint8_t { Default, Close, Retry };

// How a link is compressed.
struct LinkCompression {
  // "" (not said), "off", "accept", "s2_fast", "s2_better", "s2_best", "s2_auto" or
  // "not supported".
  std::string mode;
  std::vector<Duration> rtt_thresholds;  // of s2_auto; empty: 10, 50 and 100 ms
  bool operator==(const LinkCompression&) const = default;
};

// Another server's leaf port that this server connects to.
struct LeafRemote {
  std::vector<std::string> urls;  // nats-leaf, nats, tls, ws or wss; may hold user:password@
  std::string account;            // local; empty: $G
  std::string credentials;        // file; at most one of it and nkey_seed
  std::string nkey_seed;          // the seed itself, "SU..."
  std::optional<TlsOptions> tls;
  bool hub = false;
  std::vector<std::string> deny_imports;
  std::vector<std::string> deny_exports;
  LinkCompression compression;
  Duration first_info_timeout{};  // zero: 1 s
  Duration dial_timeout{};        // zero: that of LeafnodeOptions, else 1 s
  bool ws_compression = false;
  bool ws_no_masking = false;
  bool no_randomize = false;
  bool disabled = false;
  bool isolate = false;            // what other leaves want is not told to it
  bool request_isolation = false;  // ask the other side to do so
  bool ignore_discovered_servers = false;
  bool operator==(const LeafRemote&) const = default;
};

// A user of the leaf port alone.
struct LeafUser {
  std::string name;
  std::string password;
  std::string account;  // empty: $G
  bool proxy_required = false;
  bool operator==(const LeafUser&) const = default;
};

// The block `leafnodes`. Port 0: no such listener; -1: any free port.
struct LeafnodeOptions {
  std::string host;  // empty: 0.0.0.0
  int port = 0;
  std::string advertise;
  bool no_advertise = false;
  std::optional<TlsOptions> tls;
  std::string min_version;  // "2.8.0"; empty: any
  bool isolate_interest = false;
  LinkCompression compression;
  Duration reconnect = std::chrono::seconds(1);
  Duration dial_timeout{};  // zero: 1 s
  std::optional<Duration> write_deadline;  // absent: the server's
  std::optional<WriteTimeoutPolicy> write_timeout;

  // `authorization` of its own, instead of the server's, when has_own_authorization().
  std::string user;
  std::string password;
  std::string nkey;
  std::string account;  // of `user` or `nkey`
  std::vector<LeafUser> users;
  std::optional<Duration> auth_timeout;
  bool proxy_required = false;

  std::vector<LeafRemote> remotes;

  bool has_own_authorization() const {
    return !user.empty() || !nkey.empty() || !users.empty() || !account.empty();
  }
  bool operator==(const LeafnodeOptions&) const = default;
};

}  // namespace brokkr::config
