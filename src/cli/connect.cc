#include "cli/connect.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "base/bytes.h"
#include "base/json.h"
#include "cli/files.h"
#include "client/headers.h"

namespace brokkr::cli {
namespace {

constexpr const char* kLater = " comes with release 0.3";

// Where the nats CLI keeps its contexts.
std::string config_folder() {
  const char* xdg = std::getenv("XDG_CONFIG_HOME");
  if (xdg != nullptr && *xdg != '\0') return std::string(xdg) + "/nats";
  const char* home = std::getenv("HOME");
  return std::string(home == nullptr ? "" : home) + "/.config/nats";
}

// What of a context file we use: url, user, password, token, inbox_prefix and where JetStream is.
Result<json::Value> read_context(const Values& values) {
  if (values.is_on("no-context")) return json::Value();
  std::string name = values.text("context");
  const bool is_asked_for = !name.empty();
  if (!is_asked_for) {
    const auto selected = read_file(config_folder() + "/context.txt", 4096);
    if (selected) name = trim(*selected);
  }
  if (name.empty()) return json::Value();
  const std::string path =
      name.starts_with("/") ? name : config_folder() + "/context/" + name + ".json";
  const auto text = read_file(path, 1 << 20);
  if (!text) {
    if (!is_asked_for) return json::Value();
    return Error{Errc::NotFound, "unknown context \"" + name + "\""};
  }
  auto parsed = json::parse(*text);
  if (!parsed) return Error{Errc::Syntax, path + ": " + parsed.error().text};
  for (const char* member : {"creds", "nkey", "cert", "user_jwt", "nsc"}) {
    if (!parsed->get_string(member).empty()) {
      return Error{Errc::Unsupported, "context \"" + name + "\" uses " + member + ", which" + kLater};
    }
  }
  return parsed;
}

std::string first_of(const Values& values, const char* flag, std::string_view fallback) {
  return values.has(flag) ? values.text(flag) : std::string(fallback);
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
      {"tlscert", "TLS public certificate", Kind::Text, "FILE", "", "NATS_CERT"},
      {"tlskey", "TLS private key", Kind::Text, "FILE", "", "NATS_KEY"},
      {"tlsca", "TLS certificate authority chain", Kind::Text, "FILE", "", "NATS_CA"},
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

Result<client::Options> make_options(const Context& context, const Values& values) {
  for (const char* flag : {"creds", "nkey", "tlscert", "tlskey", "tlsca"}) {
    if (values.has(flag)) {
      return Error{Errc::Unsupported, std::string("--") + flag + kLater};
    }
  }
  auto stored = read_context(values);
  if (!stored) return stored.error();
  client::Options options;
  std::string url = first_of(values, "server", stored->get_string("url"));
  if (url.empty()) url = "nats://127.0.0.1:4222";
  options.servers = {url};
  options.user = first_of(values, "user", stored->get_string("user"));
  options.password = first_of(values, "password", stored->get_string("password"));
  options.token = first_of(values, "token", stored->get_string("token"));
  // A user without a password is a token, as with every NATS tool.
  if (options.password.empty() && !options.user.empty() && options.token.empty()) {
    options.token = std::move(options.user);
    options.user.clear();
  }
  options.inbox_prefix = first_of(values, "inbox-prefix", stored->get_string("inbox_prefix", "_INBOX"));
  if (options.inbox_prefix.empty()) options.inbox_prefix = "_INBOX";
  options.name = first_of(values, "connection-name", "NATS CLI Version " + context.version);
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
  auto stored = read_context(values);
  if (!stored) return stored.error();
  const std::string domain = first_of(values, "js-domain", stored->get_string("jetstream_domain"));
  const std::string prefix =
      first_of(values, "js-api-prefix", stored->get_string("jetstream_api_prefix"));
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
