#include "cli/connect.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/bytes.h"
#include "cli/files.h"
#include "client/headers.h"
#include "crypto/creds.h"
#include "crypto/nkey.h"

namespace brokkr::cli {
namespace {

// What the flags say over what the context says.
struct FlagOfSetting {
  const char* flag;
  std::string ContextSettings::* member;
};
constexpr FlagOfSetting kFlagsOfSettings[] = {
    {"server", &ContextSettings::url},
    {"creds", &ContextSettings::creds},
    {"nkey", &ContextSettings::nkey},
    {"jwt", &ContextSettings::user_jwt},
    {"seed", &ContextSettings::user_seed},
    {"tlscert", &ContextSettings::cert},
    {"tlskey", &ContextSettings::key},
    {"tlsca", &ContextSettings::ca},
    {"token", &ContextSettings::token},
    {"socks-proxy", &ContextSettings::socks_proxy},
    {"inbox-prefix", &ContextSettings::inbox_prefix},
    {"js-domain", &ContextSettings::jetstream_domain},
    {"js-api-prefix", &ContextSettings::jetstream_api_prefix},
    {"js-event-prefix", &ContextSettings::jetstream_event_prefix},
    {"colors", &ContextSettings::color_scheme},
};

// A secret that stands for itself unless it is a reference.
Result<std::string> read_literal(const std::string& text) {
  const std::string_view scheme = reference_scheme(text);
  const bool is_reference = !scheme.empty() && (scheme != "file" || text.starts_with("file://"));
  if (!is_reference) return text;
  auto bytes = resolve_reference(text);
  if (!bytes) return bytes.error();
  return std::string(trim(*bytes));
}

void sign_with(client::Options& options, crypto::KeyPair key) {
  options.sign = [key = std::make_shared<crypto::KeyPair>(std::move(key))](std::string_view nonce) {
    return Result<std::string>(key->sign(nonce));
  };
}

Status check_file(const std::string& path) {
  if (is_file(path)) return {};
  return Error{Errc::NotFound, "nats: open " + path + ": no such file or directory"};
}

Status use_creds(const std::string& reference, client::Options& options) {
  if (reference_scheme(reference) == "file") {
    options.credentials_file = reference_path(reference);
    return check_file(options.credentials_file);
  }
  const auto text = resolve_reference(reference);
  if (!text) return Error{text.error().code, "creds: " + text.error().text};
  auto creds = crypto::parse_creds(*text);
  if (!creds) return Error{creds.error().code, "creds: " + creds.error().text};
  options.jwt = std::move(creds->jwt);
  sign_with(options, std::move(creds->key));
  return {};
}

Status use_nkey(const std::string& reference, client::Options& options) {
  if (reference_scheme(reference) == "file") {
    options.nkey_seed_file = reference_path(reference);
    return check_file(options.nkey_seed_file);
  }
  const auto text = resolve_reference(reference);
  if (!text) return Error{text.error().code, "nkey: " + text.error().text};
  auto key = crypto::parse_seed_file(*text);
  if (!key) return Error{key.error().code, "nkey: " + key.error().text};
  options.nkey = key->public_key();
  sign_with(options, std::move(*key));
  return {};
}

Status use_token_and_seed(const ContextSettings& settings, client::Options& options) {
  auto token = read_literal(settings.user_jwt);
  if (!token) return Error{token.error().code, "user_jwt: " + token.error().text};
  options.jwt = std::move(*token);
  if (settings.user_seed.empty()) return {};  // a bearer token
  const auto seed = read_literal(settings.user_seed);
  if (!seed) return Error{seed.error().code, "user_seed: " + seed.error().text};
  auto key = crypto::KeyPair::from_seed(*seed);
  if (!key) return Error{key.error().code, "user_seed: " + key.error().text};
  sign_with(options, std::move(*key));
  return {};
}

// One kind of credentials, the first that is there.
Status use_credentials(const ContextSettings& settings, client::Options& options) {
  if (!settings.token.empty()) {
    auto token = read_literal(settings.token);
    if (!token) return Error{token.error().code, "token: " + token.error().text};
    options.token = std::move(*token);
  }
  if (!settings.user.empty()) {
    auto password = read_literal(settings.password);
    if (!password) return Error{password.error().code, "password: " + password.error().text};
    options.user = settings.user;
    options.password = std::move(*password);
    // A user without a password is a token, as with every NATS tool.
    if (options.password.empty() && options.token.empty()) options.token = std::exchange(options.user, {});
    return {};
  }
  if (!settings.creds.empty()) return use_creds(settings.creds, options);
  if (!settings.nkey.empty()) return use_nkey(settings.nkey, options);
  if (!settings.user_jwt.empty()) return use_token_and_seed(settings, options);
  if (!settings.nsc.empty()) return use_creds("nsc://" + settings.nsc, options);
  return {};
}

void use_tls(const ContextSettings& settings, client::TlsOptions& tls) {
  if (!settings.cert.empty() && !settings.key.empty()) {
    tls.certificate_file = reference_path(settings.cert);
    tls.key_file = reference_path(settings.key);
  }
  if (!settings.ca.empty()) tls.ca_file = reference_path(settings.ca);
  tls.handshake_first = settings.tls_first;
  tls.is_required = tls.handshake_first || !tls.certificate_file.empty() || !tls.ca_file.empty();
}

}  // namespace

std::vector<Flag> connection_flags() {
  return {
      {"server,s", "NATS server urls", Kind::Text, "URL", "", "NATS_URL"},
      {"user", "Username or Token", Kind::Text, "USER", "", "NATS_USER"},
      {"password", "Password", Kind::Text, "PASSWORD", "", "NATS_PASSWORD"},
      {"token", "Token", Kind::Text, "TOKEN", "", "NATS_TOKEN"},
      {"connection-name", "Nickname to use for the underlying NATS Connection", Kind::Text, "NAME"},
      {"creds", "User credentials", Kind::Text, "LOCATION", "", "NATS_CREDS"},
      {"nkey", "User NKEY", Kind::Text, "LOCATION", "", "NATS_NKEY"},
      {"jwt", "User JWT", Kind::Text, "LOCATION", "", "NATS_JWT"},
      {"seed", "User seed", Kind::Text, "LOCATION", "", "NATS_SEED"},
      {"tlscert", "TLS public certificate", Kind::Text, "FILE", "", "NATS_CERT"},
      {"tlskey", "TLS private key", Kind::Text, "FILE", "", "NATS_KEY"},
      {"tlsca", "TLS certificate authority chain", Kind::Text, "FILE", "", "NATS_CA"},
      {"tlsfirst", "Perform TLS handshake before expecting the server greeting"},
      {"socks-proxy", "SOCKS5 proxy for connecting to NATS server", Kind::Text, "PROXY", "", "NATS_SOCKS_PROXY", false, true},
      {"timeout", "Time to wait on responses from NATS", Kind::Duration, "", "5s", "NATS_TIMEOUT"},
      {"inbox-prefix", "Custom inbox prefix to use for inboxes", Kind::Text, "PREFIX"},
      {"context", "Configuration context", Kind::Text, "NAME", "", "NATS_CONTEXT"},
      {"no-context", "Disable the selected context"},
      {"js-domain,domain", "JetStream domain to access", Kind::Text, "DOMAIN"},
      {"js-api-prefix", "Subject prefix for access to JetStream API", Kind::Text, "PREFIX"},
      {"js-event-prefix", "Subject prefix for access to JetStream Advisories", Kind::Text, "PREFIX", "", "", false, true},
      {"colors", "Sets a color scheme to use", Kind::Text, "SCHEME", "", "NATS_COLOR", false, true},
      {"trace", "Trace API interactions", Kind::Bool, "", "", "", false, true},
      {"version", "Show application version"},
  };
}

Result<ContextSettings> connection_settings(const Values& values) {
  auto settings = load_context(values.is_on("no-context") ? "" : values.text("context"), !values.is_on("no-context"));
  if (!settings) return settings;
  apply_connection_flags(values, *settings);
  return settings;
}

void apply_connection_flags(const Values& values, ContextSettings& settings) {
  for (const FlagOfSetting& it : kFlagsOfSettings) {
    const std::string text = values.text(it.flag);
    if (!text.empty()) settings.*it.member = text;
  }
  if (values.is_on("tlsfirst")) settings.tls_first = true;
  const std::string user = values.text("user");
  const std::string password = values.text("password");
  if (!user.empty() && password.empty()) {
    settings.token = user;
  } else {
    if (!user.empty()) settings.user = user;
    if (!password.empty()) settings.password = password;
  }
}

Result<client::Options> make_options(const Context& context, const Values& values) {
  const auto settings = connection_settings(values);
  if (!settings) return settings.error();
  return make_options(context, values, *settings);
}

Result<client::Options> make_options(const Context& context, const Values& values,
                                     const ContextSettings& settings) {
  if (!settings.socks_proxy.empty()) return Error{Errc::Unsupported, "--socks-proxy is not supported"};
  client::Options options;
  options.servers = {settings.url.empty() ? "nats://127.0.0.1:4222" : settings.url};
  if (Status used = use_credentials(settings, options); !used) return used.error();
  use_tls(settings, options.tls);
  options.inbox_prefix = settings.inbox_prefix.empty() ? "_INBOX" : settings.inbox_prefix;
  options.name = values.has("connection-name") ? values.text("connection-name") : "NATS CLI Version " + context.version;
  options.connect_timeout = std::max<Duration>(values.duration("timeout"), std::chrono::milliseconds(1));
  options.reconnect_attempts_max = -1;
  return options;
}

Result<std::unique_ptr<client::Session>> connect(const Context& context, const Values& values,
                                                 uint64_t* errors) {
  auto options = make_options(context, values);
  if (!options) return options.error();
  client::Events events;
  events.disconnected = [](const Error& error) {
    std::fprintf(stderr, "Disconnected due to: %s, will attempt reconnect\n", error.text.c_str());
  };
  events.reconnected = [] { std::fputs("Reconnected\n", stderr); };
  events.error = [errors](const Error& error) {
    if (errors != nullptr) ++*errors;
    std::fprintf(stderr, "Unexpected NATS error: nats: %s\n", error.text.c_str());
  };
  auto session = client::Session::connect(std::move(*options), std::move(events));
  if (!session && (session.error().code == Errc::System || session.error().code == Errc::TimedOut ||
                   session.error().code == Errc::Closed)) {
    return Error{session.error().code,
                 "nats: no servers available for connection: " + session.error().text};
  }
  if (!session) return session.error();
  return session;
}

Result<std::string> jetstream_prefix(const Values& values) {
  const auto settings = connection_settings(values);
  if (!settings) return settings.error();
  const std::string& domain = settings->jetstream_domain;
  const std::string& prefix = settings->jetstream_api_prefix;
  if (!domain.empty() && !prefix.empty()) {
    return Error{Errc::InvalidArgument, "--js-domain and --js-api-prefix are mutually exclusive"};
  }
  if (!prefix.empty()) return prefix.ends_with('.') ? prefix.substr(0, prefix.size() - 1) : prefix;
  return domain.empty() ? std::string("$JS.API") : "$JS." + domain + ".API";
}

Result<std::string> make_headers(const std::vector<std::string>& flags) {
  if (flags.empty()) return std::string();
  client::HeaderWriter writer;
  for (const std::string& flag : flags) {
    const size_t colon = flag.find(':');
    if (colon == std::string::npos ||
        !writer.add(trim(flag.substr(0, colon)), trim(flag.substr(colon + 1)))) {
      return Error{Errc::InvalidArgument, "invalid header \"" + flag + "\", should be K:V"};
    }
  }
  return writer.take();
}

}  // namespace brokkr::cli
