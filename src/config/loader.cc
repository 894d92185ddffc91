#include "config/loader.h"

#include <algorithm>
#include <span>
#include <utility>

#include "base/bytes.h"
#include "config/digest.h"
#include "config/reader.h"

namespace brokkr::config {
namespace {

constexpr int64_t kInt32Max = 2147483647;

// In nats-server an explicit 0 means "the default" for most limits and timers.
void read_limit(Reader& reader, const Value& value, std::string_view name, int64_t& out,
                int64_t min, int64_t max) {
  int64_t number = 0;
  reader.read(value, name, number, min, max);
  if (number != 0) out = number;
}

void read_timer(Reader& reader, const Value& value, std::string_view name, Duration& out) {
  Duration duration{};
  reader.read_duration(value, name, duration);
  if (duration < Duration::zero()) {
    return reader.fail(value.at, std::string(name) + ": may not be negative");
  }
  if (duration != Duration::zero()) out = duration;
}

void read_server_name(Reader& reader, const Value& value, Options& options) {
  std::string name;
  reader.read(value, "server_name", name);
  if (name.find(' ') != std::string::npos) {
    return reader.fail(value.at, "server name cannot contain spaces");
  }
  options.server_name = name;
}

void read_client_listen(Reader& reader, const Value& value, Options& options) {
  HostPort address{options.host, options.port};
  reader.read_listen(value, "listen", address);
  options.host = address.host.empty() ? Options{}.host : address.host;
  options.port = address.port == 0 ? Options{}.port : address.port;
}

void read_metadata(Reader& reader, const Value& value, Options& options) {
  reader.for_each_member(value, "server_metadata", [&](const std::string&, const Member& member) {
    std::string text;
    reader.read(member.value, "server_metadata", text);
    options.server_metadata[member.name] = std::move(text);
    return true;
  });
}

void read_lame_duck_duration(Reader& reader, const Value& value, Options& options) {
  Duration duration = options.lame_duck_duration;
  reader.read_duration_text(value, "lame_duck_duration", duration);
  if (duration < std::chrono::seconds(30)) {
    return reader.fail(value.at, "invalid lame_duck_duration of " + format_go_duration(duration) +
                                     ", minimum is 30 seconds");
  }
  options.lame_duck_duration = duration;
}

void read_lame_duck_grace_period(Reader& reader, const Value& value, Options& options) {
  Duration duration = options.lame_duck_grace_period;
  reader.read_duration_text(value, "lame_duck_grace_period", duration);
  if (duration < Duration::zero()) {
    return reader.fail(value.at, "invalid lame_duck_grace_period, needs to be positive");
  }
  options.lame_duck_grace_period = duration;
}

void read_brokkr(Reader& reader, const Value& value, Options& options) {
  reader.for_each_member(value, "brokkr", [&](const std::string& name, const Member& member) {
    if (name == "loops") {
      int64_t loops = 0;
      reader.read(member.value, name, loops, 0, 256);
      options.loops = static_cast<int>(loops);
    } else if (name == "sandbox") {
      std::string mode;
      reader.read(member.value, name, mode);
      if (mode != "required" && mode != "best-effort") {
        reader.fail(member.value.at, "sandbox must be 'required' or 'best-effort'");
      }
      options.sandbox = mode == "required" ? SandboxMode::Required : SandboxMode::BestEffort;
    } else if (name == "data_dir") {
      reader.read(member.value, name, options.data_dir);
    } else {
      return false;
    }
    return true;
  });
}

struct TopLevelKey {
  std::string_view names;  // separated by '|'
  void (*read)(Reader&, std::string_view name, const Value&, Options&);
};

#define BROKKR_KEY(names, body) \
  TopLevelKey { names, [](Reader& r, std::string_view n, const Value& v, Options& o) { \
    static_cast<void>(n); \
    static_cast<void>(o); \
    body; \
  } }

// Every key with an effect, in the order of the documentation.
constexpr TopLevelKey kKeys[] = {
    BROKKR_KEY("listen", read_client_listen(r, v, o)),
    BROKKR_KEY("port", r.read_port(v, n, o.port); if (o.port == 0) o.port = Options{}.port),
    BROKKR_KEY("host|net", r.read(v, n, o.host)),
    BROKKR_KEY("client_advertise", r.read(v, n, o.client_advertise)),
    BROKKR_KEY("server_name", read_server_name(r, v, o)),
    BROKKR_KEY("server_tags", r.read_strings(v, n, o.server_tags)),
    BROKKR_KEY("server_metadata", read_metadata(r, v, o)),
    BROKKR_KEY("http", HostPort a; r.read_listen(v, n, a); o.http_host = a.host;
               o.http_port = a.port),
    BROKKR_KEY("https", HostPort a; r.read_listen(v, n, a); o.http_host = a.host;
               o.https_port = a.port),
    BROKKR_KEY("https_port", r.read_port(v, n, o.https_port)),
    BROKKR_KEY("http_port|monitor_port", r.read_port(v, n, o.http_port)),
    BROKKR_KEY("http_base_path", r.read(v, n, o.http_base_path)),
    BROKKR_KEY("pidfile|pid_file", r.read(v, n, o.pid_file)),
    BROKKR_KEY("ports_file_dir", r.read(v, n, o.ports_file_dir)),
    BROKKR_KEY("logfile|log_file", r.read(v, n, o.log_file)),
    BROKKR_KEY("logfile_size_limit|log_size_limit",
               r.read(v, n, o.log_size_limit, 0, INT64_MAX)),
    BROKKR_KEY("logfile_max_num|log_max_num", r.read(v, n, o.log_max_files, 0, INT64_MAX)),
    BROKKR_KEY("debug", r.read(v, n, o.debug)),
    BROKKR_KEY("trace", r.read(v, n, o.trace)),
    BROKKR_KEY("trace_verbose", r.read(v, n, o.trace_verbose); r.read(v, n, o.trace)),
    BROKKR_KEY("trace_headers", r.read(v, n, o.trace_headers); r.read(v, n, o.trace)),
    BROKKR_KEY("logtime", r.read(v, n, o.logtime)),
    BROKKR_KEY("logtime_utc", r.read(v, n, o.logtime_utc)),
    BROKKR_KEY("max_traced_msg_len", r.read(v, n, o.max_traced_msg_len, 0, kInt32Max)),
    BROKKR_KEY("connect_error_reports", read_limit(r, v, n, o.connect_error_reports, 0, kInt32Max)),
    BROKKR_KEY("reconnect_error_reports",
               read_limit(r, v, n, o.reconnect_error_reports, 0, kInt32Max)),
    BROKKR_KEY("max_payload", read_limit(r, v, n, o.max_payload, -1, kInt32Max)),
    BROKKR_KEY("max_connections|max_conn", r.read(v, n, o.max_connections, -1, kInt32Max);
               if (o.max_connections == 0) o.max_connections = -1),
    BROKKR_KEY("max_subscriptions|max_subs", r.read(v, n, o.max_subscriptions, -1, kInt32Max)),
    BROKKR_KEY("max_control_line", read_limit(r, v, n, o.max_control_line, 0, kInt32Max)),
    BROKKR_KEY("max_pending", read_limit(r, v, n, o.max_pending, 0, INT64_MAX)),
    BROKKR_KEY("max_sub_tokens|max_subscription_tokens", r.read(v, n, o.max_sub_tokens, 1, 255)),
    BROKKR_KEY("max_closed_clients", read_limit(r, v, n, o.max_closed_clients, -1, kInt32Max)),
    BROKKR_KEY("ping_interval", read_timer(r, v, n, o.ping_interval)),
    BROKKR_KEY("ping_max", read_limit(r, v, n, o.ping_max, 0, kInt32Max)),
    BROKKR_KEY("write_deadline", read_timer(r, v, n, o.write_deadline)),
    BROKKR_KEY("write_timeout", read_write_timeout(r, v, o.write_timeout)),
    BROKKR_KEY("lame_duck_duration", read_lame_duck_duration(r, v, o)),
    BROKKR_KEY("lame_duck_grace_period", read_lame_duck_grace_period(r, v, o)),
    BROKKR_KEY("no_fast_producer_stall", r.read(v, n, o.no_fast_producer_stall)),
    BROKKR_KEY("no_header_support", r.read(v, n, o.no_header_support)),
    BROKKR_KEY("always_enable_nonce", r.read(v, n, o.authorization.always_enable_nonce)),
    BROKKR_KEY("no_auth_user", r.read(v, n, o.authorization.no_auth_user)),
    // Our match cache is not to be switched: nothing to warn about.
    BROKKR_KEY("disable_sublist_cache|no_sublist_cache", bool ignored = false;
               r.read(v, n, ignored)),
    BROKKR_KEY("authorization", read_authorization(r, v, o)),
    BROKKR_KEY("accounts", read_accounts(r, v, o)),
    BROKKR_KEY("mappings|maps", read_mappings(r, v, o.mappings)),
    BROKKR_KEY("operator|operators|roots|root|root_operators|root_operator",
               read_operators(r, v, o.operator_mode); o.authorization.needs_later_kind = true),
    BROKKR_KEY("trusted|trusted_keys", read_trusted_keys(r, v, o.operator_mode);
               o.authorization.needs_later_kind = true),
    BROKKR_KEY("resolver|account_resolver|accounts_resolver", read_resolver(r, v, o.operator_mode)),
    BROKKR_KEY("resolver_preload", read_resolver_preload(r, v, o.operator_mode)),
    BROKKR_KEY("resolver_tls", read_tls(r, v, o.operator_mode.resolver.tls)),
    BROKKR_KEY("resolver_pinned_accounts", o.operator_mode.resolver_pinned_accounts.clear();
               r.read_strings(v, n, o.operator_mode.resolver_pinned_accounts)),
    BROKKR_KEY("default_sentinel", r.read(v, n, o.operator_mode.default_sentinel);
               o.authorization.needs_later_kind = true),
    BROKKR_KEY("tls", read_tls(r, v, o.tls)),
    BROKKR_KEY("allow_non_tls", r.read(v, n, o.allow_non_tls)),
    BROKKR_KEY("websocket|ws", read_websocket(r, v, o)),
    BROKKR_KEY("leaf|leafnodes", read_leafnodes(r, v, o)),
    BROKKR_KEY("jetstream", read_jetstream(r, v, o)),
    BROKKR_KEY("store_dir|storedir", read_store_dir(r, v, o)),
    BROKKR_KEY("system_account|system", r.read(v, n, o.system_account)),
    BROKKR_KEY("no_system_account|no_system|no_sys_acc", r.read(v, n, o.no_system_account)),
    BROKKR_KEY("brokkr", read_brokkr(r, v, o)),
};
#undef BROKKR_KEY

const TopLevelKey* find_key(std::string_view name) {
  for (const TopLevelKey& key : kKeys) {
    for (const std::string_view one : split(key.names, '|')) {
      if (one == name) return &key;
    }
  }
  return nullptr;
}

}  // namespace

std::string Loaded::error_text() const {
  std::string text;
  for (const Diagnostic& error : errors) {
    if (!text.empty()) text += '\n';
    text += error.to_string();
  }
  return text;
}

Loaded load_options(const Document& document, Options base, Sources* sources) {
  Loaded loaded{std::move(base), {}, {}};
  Options& options = loaded.options;
  Reader reader(document, sources);
  Position accounts_at;
  reader.for_each_member(
      document.root, "the file", [&](const std::string& name, const Member& member) {
        const TopLevelKey* const key = find_key(name);
        if (key == nullptr) return check_later_key(reader, name, member.value);
        key->read(reader, name, member.value, options);
        if (name == "accounts") accounts_at = member.value.at;
        return true;
      });
  // Accounts that are broken themselves would give misleading errors of their imports.
  if (!reader.has_errors()) check_accounts(reader, accounts_at, options);
  loaded.errors = reader.take_errors();
  loaded.warnings = reader.take_warnings();
  options.later_keys = reader.take_later();
  options.config_file = document.files.empty() ? "" : document.files[0];
  options.config_digest = digest(document.root);
  return loaded;
}

Loaded load_file(const std::string& path, Sources& sources, Options base) {
  const Document document = parse_file(path, sources);
  if (document.errors.empty()) return load_options(document, std::move(base), &sources);
  // Values lost to a syntax error would give misleading errors of their own.
  return {std::move(base), document.errors, {}};
}

std::string later_keys_warning(const Options& options) {
  if (options.later_keys.empty()) return {};
  std::string text = "these settings have no effect in this release: ";
  for (size_t i = 0; i < options.later_keys.size(); ++i) {
    text += (i > 0 ? ", " : "") + options.later_keys[i];
  }
  return text;
}

void read_write_timeout(Reader& reader, const Value& value, WriteTimeoutPolicy& out) {
  std::string policy;
  reader.read(value, "write_timeout", policy);
  if (policy == "default") {
    out = WriteTimeoutPolicy::Default;
  } else if (policy == "close") {
    out = WriteTimeoutPolicy::Close;
  } else if (policy == "retry") {
    out = WriteTimeoutPolicy::Retry;
  } else if (value.is_string()) {
    reader.fail(value.at, "write_timeout must be 'default', 'close' or 'retry'");
  }
}

}  // namespace brokkr::config
