#include "config/reload.h"

#include <algorithm>
#include <string_view>
#include <type_traits>

namespace brokkr::config {
namespace {

// Values as Go prints them.
std::string shown(const std::string& text) {
  return text;
}
std::string shown(bool truth) {
  return truth ? "true" : "false";
}
template <typename Number>
  requires std::is_arithmetic_v<Number>
std::string shown(Number number) {
  return std::to_string(number);
}
std::string shown(Duration duration) {
  return format_go_duration(duration);
}
std::string shown(const std::vector<std::string>& texts) {
  std::string list = "[";
  for (const std::string& text : texts)
    list += (list.size() > 1 ? " " : "") + text;
  return list + "]";
}
std::string shown(const std::map<std::string, std::string>& texts) {
  std::string list = "map[";
  for (const auto& [name, text] : texts)
    list += (list.size() > 4 ? " " : "") + name + ":" + text;
  return list + "]";
}
std::string shown(SandboxMode mode) {
  return mode == SandboxMode::Required ? "required" : "best-effort";
}
std::string shown(WriteTimeoutPolicy policy) {
  if (policy == WriteTimeoutPolicy::Default) return {};
  return policy == WriteTimeoutPolicy::Close ? "close" : "retry";
}

// What is not to be read in a log.
struct Secret {
  const std::string& text;
  bool operator==(const Secret& other) const { return text == other.text; }
};
std::string shown(const Secret& secret) {
  return secret.text.empty() ? "" : "[REDACTED]";
}

std::string number_of(size_t count, const char* what) {
  return std::to_string(count) + " " + what;
}

Duration tls_timeout(const std::optional<TlsOptions>& tls) {
  return tls.value_or(TlsOptions{}).timeout;
}

// Collects the differences of one block whose fields have Go's names.
class BlockComparison {
 public:
  template <typename T>
  void fixed(std::string_view name, const T& before, const T& after) {
    if (before == after || !fault_.empty()) return;
    fault_ = "field \"" + std::string(name) + "\": old=" + shown(before) + ", new=" + shown(after);
  }
  void fail(std::string fault) {
    if (fault_.empty()) fault_ = std::move(fault);
  }
  // The first one; empty without any.
  std::string take() { return std::move(fault_); }

 private:
  std::string fault_;
};

std::string websocket_fault(const WebsocketOptions& b, const WebsocketOptions& a) {
  BlockComparison c;
  c.fixed("Host", b.host, a.host);
  // -1 keeps the port that was found.
  if (a.port != -1 || b.port == 0) c.fixed("Port", b.port, a.port);
  c.fixed("Advertise", b.advertise, a.advertise);
  c.fixed("NoAuthUser", b.no_auth_user, a.no_auth_user);
  c.fixed("JWTCookie", b.jwt_cookie, a.jwt_cookie);
  c.fixed("UsernameCookie", b.user_cookie, a.user_cookie);
  c.fixed("PasswordCookie", b.pass_cookie, a.pass_cookie);
  c.fixed("TokenCookie", b.token_cookie, a.token_cookie);
  c.fixed("Username", b.user, a.user);
  c.fixed("Password", Secret{b.password}, Secret{a.password});
  c.fixed("Token", Secret{b.token}, Secret{a.token});
  c.fixed("AuthTimeout", b.auth_timeout.value_or(Duration{}), a.auth_timeout.value_or(Duration{}));
  c.fixed("NoTLS", b.no_tls, a.no_tls);
  c.fixed("TLS", b.tls.has_value(), a.tls.has_value());
  const TlsOptions before_tls = b.tls.value_or(TlsOptions{});
  const TlsOptions after_tls = a.tls.value_or(TlsOptions{});
  c.fixed("TLSMap", before_tls.verify_and_map, after_tls.verify_and_map);
  c.fixed("TLSPinnedCerts", before_tls.pinned_certs, after_tls.pinned_certs);
  c.fixed("SameOrigin", b.same_origin, a.same_origin);
  auto before_origins = b.allowed_origins;
  auto after_origins = a.allowed_origins;
  std::sort(before_origins.begin(), before_origins.end());
  std::sort(after_origins.begin(), after_origins.end());
  c.fixed("AllowedOrigins", before_origins, after_origins);
  c.fixed("Compression", b.compression, a.compression);
  c.fixed("HandshakeTimeout", b.handshake_timeout, a.handshake_timeout);
  c.fixed("PingInterval", b.ping_interval, a.ping_interval);
  c.fixed("Headers", b.headers, a.headers);
  return c.take();
}

std::string account_of(const LeafRemote& remote) {
  return remote.account.empty() ? "$G" : remote.account;
}

bool is_same_remote(const LeafRemote& one, const LeafRemote& other) {
  return one.urls == other.urls && account_of(one) == account_of(other) &&
         one.credentials == other.credentials && one.nkey_seed == other.nkey_seed;
}

std::string without_password(const std::string& url) {
  const size_t start = url.find("://");
  const size_t at = url.rfind('@');
  if (start == std::string::npos || at == std::string::npos || at < start) return url;
  const size_t colon = url.find(':', start + 3);
  if (colon == std::string::npos || colon > at) return url;
  return url.substr(0, colon + 1) + "xxxxx" + url.substr(at);
}

// How a remote is named in messages.
std::string title_of(const LeafRemote& remote) {
  std::string text = "urls=[";
  for (const std::string& url : remote.urls)
    text += (text.ends_with('[') ? "\"" : " \"") + without_password(url) + "\"";
  text += "], account=\"" + account_of(remote) + "\"";
  if (!remote.credentials.empty()) return text + ", credentials=\"" + remote.credentials + "\"";
  if (!remote.nkey_seed.empty()) text += ", nkey=\"[REDACTED]\"";
  return text;
}

std::string remote_fault(const LeafRemote& b, const LeafRemote& a) {
  BlockComparison c;
  c.fixed("NoRandomize", b.no_randomize, a.no_randomize);
  c.fixed("TLSTimeout", tls_timeout(b.tls), tls_timeout(a.tls));
  c.fixed("Hub", b.hub, a.hub);
  c.fixed("DenyImports", b.deny_imports, a.deny_imports);
  c.fixed("DenyExports", b.deny_exports, a.deny_exports);
  c.fixed("FirstInfoTimeout", b.first_info_timeout, a.first_info_timeout);
  c.fixed("DialTimeout", b.dial_timeout, a.dial_timeout);
  c.fixed("Websocket.Compression", b.ws_compression, a.ws_compression);
  c.fixed("Websocket.NoMasking", b.ws_no_masking, a.ws_no_masking);
  c.fixed("LocalIsolation", b.isolate, a.isolate);
  c.fixed("RequestIsolation", b.request_isolation, a.request_isolation);
  c.fixed("IgnoreDiscoveredServers", b.ignore_discovered_servers, a.ignore_discovered_servers);
  std::string fault = c.take();
  return fault.empty() ? fault : "remote " + title_of(a) + ": " + fault;
}

bool have_same_users(std::vector<LeafUser> one, std::vector<LeafUser> other) {
  const auto by_name = [](const LeafUser& a, const LeafUser& b) { return a.name < b.name; };
  std::sort(one.begin(), one.end(), by_name);
  std::sort(other.begin(), other.end(), by_name);
  return one == other;
}

std::string leafnodes_fault(const LeafnodeOptions& b, const LeafnodeOptions& a) {
  BlockComparison c;
  if (!have_same_users(b.users, a.users)) {
    c.fail("field \"Users\": old=" + number_of(b.users.size(), "users") + ", new=" +
           number_of(a.users.size(), "users"));
  }
  c.fixed("Host", b.host, a.host);
  if (a.port != -1 || b.port == 0) c.fixed("Port", b.port, a.port);
  c.fixed("Username", b.user, a.user);
  c.fixed("Password", Secret{b.password}, Secret{a.password});
  c.fixed("ProxyRequired", b.proxy_required, a.proxy_required);
  c.fixed("Nkey", b.nkey, a.nkey);
  c.fixed("Account", b.account, a.account);
  c.fixed("AuthTimeout", b.auth_timeout.value_or(Duration{}), a.auth_timeout.value_or(Duration{}));
  c.fixed("TLS", b.tls.has_value(), a.tls.has_value());
  c.fixed("TLSTimeout", tls_timeout(b.tls), tls_timeout(a.tls));
  const TlsOptions before_tls = b.tls.value_or(TlsOptions{});
  const TlsOptions after_tls = a.tls.value_or(TlsOptions{});
  c.fixed("TLSMap", before_tls.verify_and_map, after_tls.verify_and_map);
  c.fixed("TLSPinnedCerts", before_tls.pinned_certs, after_tls.pinned_certs);
  c.fixed("Advertise", b.advertise, a.advertise);
  c.fixed("NoAdvertise", b.no_advertise, a.no_advertise);
  c.fixed("ReconnectInterval", b.reconnect, a.reconnect);
  c.fixed("WriteDeadline", b.write_deadline.value_or(Duration{}),
          a.write_deadline.value_or(Duration{}));
  c.fixed("WriteTimeout", b.write_timeout.value_or(WriteTimeoutPolicy::Default),
          a.write_timeout.value_or(WriteTimeoutPolicy::Default));
  c.fixed("MinVersion", b.min_version, a.min_version);
  c.fixed("IsolateLeafnodeInterest", b.isolate_interest, a.isolate_interest);
  c.fixed("DialTimeout", b.dial_timeout, a.dial_timeout);
  for (const LeafRemote& after : a.remotes) {
    for (const LeafRemote& before : b.remotes) {
      if (is_same_remote(before, after)) c.fail(remote_fault(before, after));
    }
  }
  return c.take();
}

class Comparison {
 public:
  Comparison(const Options& before, const Options& after) : before_(before), after_(after) {}

  Difference run() {
    compare_identity();
    compare_authorization();
    compare_monitoring_and_limits();
    compare_jetstream();
    compare_links();
    compare_files_and_tls();
    compare_operator_mode();
    compare_own();
    return std::move(difference_);
  }

 private:
  template <typename T>
  void hot(std::string_view name, T Options::*field) {
    if (before_.*field != after_.*field) difference_.hot.emplace_back(name);
  }

  template <typename T>
  void fixed(std::string_view name, const T& before, const T& after) {
    if (before == after) return;
    fail(name, shown(before), shown(after));
  }

  template <typename T>
  void fixed(std::string_view name, T Options::*field) {
    fixed(name, before_.*field, after_.*field);
  }

  void fail(std::string_view name, const std::string& before, const std::string& after) {
    difference_.errors.push_back("config reload not supported for " + std::string(name) +
                                 ": old=" + before + ", new=" + after);
  }

  void fail_block(std::string_view name, const std::string& fault) {
    if (fault.empty()) return;
    difference_.errors.push_back("config reload not supported for " + std::string(name) + ": " +
                                 fault);
  }

  void compare_identity() {
    fixed("ServerName", &Options::server_name);
    fixed("Host", &Options::host);
    // -1 keeps the port that was found.
    if (after_.port != -1) fixed("Port", &Options::port);
    hot("client_advertise", &Options::client_advertise);
    hot("server_tags", &Options::server_tags);
    hot("server_metadata", &Options::server_metadata);
    hot("debug", &Options::debug);
    hot("trace", &Options::trace);
    hot("trace_verbose", &Options::trace_verbose);
    hot("trace_headers", &Options::trace_headers);
    hot("logtime", &Options::logtime);
    hot("logtime_utc", &Options::logtime_utc);
    hot("max_traced_msg_len", &Options::max_traced_msg_len);
    hot("connect_error_reports", &Options::connect_error_reports);
    hot("reconnect_error_reports", &Options::reconnect_error_reports);
    fixed("NoHeaderSupport", &Options::no_header_support);
  }

  // Losing no_auth_user together with the user it names is fine.
  void compare_no_auth_user() {
    const std::string& before = before_.authorization.no_auth_user;
    const std::string& after = after_.authorization.no_auth_user;
    const auto& users = after_.authorization.users;
    const bool is_left = std::any_of(users.begin(), users.end(), [&](const UserEntry& user) {
      return user.name == before;
    });
    if (after.empty() && !is_left) return;
    fixed("NoAuthUser", before, after);
  }

  void compare_authorization() {
    hot("authorization", &Options::authorization);
    hot("accounts", &Options::accounts);
    hot("mappings", &Options::mappings);
    compare_no_auth_user();
    if (before_.system_account != "$SYS" || !after_.system_account.empty()) {
      fixed("SystemAccount", &Options::system_account);
    }
    fixed("NoSystemAccount", &Options::no_system_account);
    fixed("ProxyRequired", before_.authorization.proxy_required,
          after_.authorization.proxy_required);
    const auto title = [](const std::optional<AuthCallout>& callout) -> std::string {
      return callout ? "issuer " + callout->issuer : "<nil>";
    };
    if (before_.authorization.callout != after_.authorization.callout) {
      fail("AuthCallout", title(before_.authorization.callout),
           title(after_.authorization.callout));
    }
  }

  void compare_monitoring_and_limits() {
    hot("max_connections", &Options::max_connections);
    fixed("MaxSubs", &Options::max_subscriptions);
    fixed("MaxSubTokens", &Options::max_sub_tokens);
    hot("ping_interval", &Options::ping_interval);
    hot("ping_max", &Options::ping_max);
    const auto monitor_host = [](const Options& o) {
      return o.http_host.empty() ? o.host : o.http_host;
    };
    fixed("HTTPHost", monitor_host(before_), monitor_host(after_));
    fixed("HTTPPort", &Options::http_port);
    fixed("HTTPBasePath", &Options::http_base_path);
    fixed("HTTPSPort", &Options::https_port);
    hot("max_control_line", &Options::max_control_line);
    hot("max_payload", &Options::max_payload);
    fixed("MaxPending", &Options::max_pending);
    hot("no_fast_producer_stall", &Options::no_fast_producer_stall);
    hot("write_deadline", &Options::write_deadline);
    fixed("WriteTimeout", &Options::write_timeout);
    fixed("MaxClosedClients", &Options::max_closed_clients);
    fixed("LameDuckDuration", &Options::lame_duck_duration);
    fixed("LameDuckGracePeriod", &Options::lame_duck_grace_period);
  }

  // nats-server can switch JetStream on and off, raise its limits and change those of requests;
  // here that takes a new start.
  void compare_jetstream() {
    const JetStreamOptions& b = before_.jetstream_options;
    const JetStreamOptions& a = after_.jetstream_options;
    fixed("JetStream", &Options::jetstream);
    fixed("NoJetStreamStrict", !b.strict, !a.strict);
    fixed("JetStreamMaxMemory", b.max_memory, a.max_memory);
    fixed("JetStreamMaxStore", b.max_storage, a.max_storage);
    fixed("JetStreamDomain", b.domain, a.domain);
    fixed("JetStreamKey", Secret{b.key}, Secret{a.key});
    fixed("JetStreamOldKey", Secret{b.previous_key}, Secret{a.previous_key});
    fixed("JetStreamCipher", b.cipher, a.cipher);
    const auto limits = [](const JetStreamOptions& o) {
      return std::vector<std::string>{shown(o.max_request_batch), shown(o.max_ack_pending),
                                      shown(o.duplicate_window)};
    };
    fixed("JetStreamLimits", limits(b), limits(a));
    fixed("JetStreamRequestQueueLimit", b.request_queue_limit, a.request_queue_limit);
    if (before_.store_dir != after_.store_dir) {
      difference_.errors.emplace_back("config reload not supported for jetstream storage directory");
    }
    fixed("SyncInterval", b.sync_interval, a.sync_interval);
  }

  void compare_links() {
    fail_block("LeafNode", leafnodes_fault(before_.leafnodes, after_.leafnodes));
    hot("leafnodes", &Options::leafnodes);
    fail_block("Websocket", websocket_fault(before_.websocket, after_.websocket));
    hot("websocket", &Options::websocket);
  }

  void compare_files_and_tls() {
    hot("pid_file", &Options::pid_file);
    hot("ports_file_dir", &Options::ports_file_dir);
    hot("log_file", &Options::log_file);
    fixed("LogSizeLimit", &Options::log_size_limit);
    fixed("LogMaxFiles", &Options::log_max_files);
    hot("tls", &Options::tls);
    const TlsOptions before = before_.tls.value_or(TlsOptions{});
    const TlsOptions after = after_.tls.value_or(TlsOptions{});
    fixed("TLSMap", before.verify_and_map, after.verify_and_map);
    fixed("TLSRateLimit", before.connection_rate_limit, after.connection_rate_limit);
    fixed("AllowNonTLS", &Options::allow_non_tls);
  }

  void compare_operator_mode() {
    const OperatorOptions& b = before_.operator_mode;
    const OperatorOptions& a = after_.operator_mode;
    fixed("TrustedKeys", b.trusted_keys, a.trusted_keys);
    if (b.operators != a.operators) {
      fail("TrustedOperators", number_of(b.operators.size(), "operators"),
           number_of(a.operators.size(), "operators"));
    }
    const auto has_resolver = [](const OperatorOptions& o) {
      return o.resolver.kind != ResolverOptions::Kind::None;
    };
    if (has_resolver(b) != has_resolver(a)) {
      difference_.errors.emplace_back(
          "config reload does not support moving to or from an account resolver");
    }
    hot("operator_mode", &Options::operator_mode);
  }

  void compare_own() {
    fixed("loops", &Options::loops);
    fixed("sandbox", &Options::sandbox);
    fixed("data_dir", &Options::data_dir);
    hot("later_keys", &Options::later_keys);
  }

  const Options& before_;
  const Options& after_;
  Difference difference_;
};

}  // namespace

Difference compare(const Options& before, const Options& after) {
  return Comparison(before, after).run();
}

}  // namespace brokkr::config
