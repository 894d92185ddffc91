#include <algorithm>
#include <set>

#include "base/bytes.h"
#include "config/loader.h"
#include "config/reader.h"
#include "subject/subject.h"

// What contradicts itself in the final options, in nats-server's words.
namespace brokkr::config {
namespace {

using Found = std::vector<std::string>;

void check_limits(const Options& o, Found& found) {
  if (o.lame_duck_duration > Duration::zero() && o.lame_duck_grace_period >= o.lame_duck_duration) {
    found.push_back("lame duck grace period (" + format_go_duration(o.lame_duck_grace_period) +
                    ") should be strictly lower than lame duck duration (" +
                    format_go_duration(o.lame_duck_duration) + ")");
  }
  if (o.max_payload > o.max_pending) {
    found.push_back("max_payload (" + std::to_string(o.max_payload) +
                    ") cannot be higher than max_pending (" + std::to_string(o.max_pending) + ")");
  }
  if (o.server_name.find(' ') != std::string::npos) {
    found.emplace_back("server name cannot contain spaces");
  }
  if (o.http_port != 0 && o.https_port != 0) {
    found.push_back("can't specify both HTTP (" + std::to_string(o.http_port) + ") and HTTPs (" +
                    std::to_string(o.https_port) + ") ports");
  } else if (o.https_port != 0 && !o.tls) {
    found.emplace_back("TLS cert and key required for HTTPS");
  }
}

// "host" or "host:port", an IPv6 address in brackets.
void check_advertised(const char* name, const std::string& address, Found& found) {
  const size_t bracket = address.rfind(']');
  const std::string rest = bracket == std::string::npos ? address : address.substr(bracket + 1);
  const size_t colon = rest.find(':');
  const char* why = nullptr;
  if (colon == std::string::npos) return;
  if (rest.find(':', colon + 1) != std::string::npos) {
    why = "too many colons in address";
  } else if (!parse_int(rest.substr(colon + 1))) {
    why = "invalid port";
  }
  if (why == nullptr) return;
  found.push_back("invalid " + std::string(name) + " value of " + address + ", err=address " +
                  address + ": " + why);
}

void check_jetstream(const Options& o, Found& found) {
  const std::string& domain = o.jetstream_options.domain;
  if (domain.empty()) return;
  if (domain.find_first_of(".*>") != std::string::npos) {
    found.emplace_back("invalid domain name: may not contain ., * or >");
  } else if (!subject::is_valid("$JS." + domain + ".API.>")) {
    found.push_back("invalid domain name: derived \"$JS." + domain +
                    ".API.>\" is not a valid subject");
  }
}

void check_operator_mode(const Options& o, Found& found) {
  const OperatorOptions& mode = o.operator_mode;
  if (mode.operators.empty()) {
    if (!mode.default_sentinel.empty()) {
      found.emplace_back("default sentinel requires operators and accounts");
    }
    return;
  }
  // Mappings of $G are an account too.
  if (!o.accounts.empty() || !o.mappings.empty()) {
    found.emplace_back("operators do not allow Accounts to be configured directly");
  }
  if (!o.authorization.users.empty()) {
    found.emplace_back("operators do not allow users to be configured directly");
  }
  if (!mode.trusted_keys.empty()) {
    found.emplace_back("conflicting options for 'TrustedKeys' and 'TrustedOperators'");
  }
  for (const std::string& key : mode.resolver_pinned_accounts) {
    if (looks_like_nkey(key, 'A')) continue;
    found.push_back("pinned account key \"" + key + "\" is not a valid public account nkey");
  }
  if (o.authorization.callout) {
    found.emplace_back("operators do not allow authorization callouts to be configured directly");
  }
}

void check_no_auth_user(const Options& o, const std::string& name, Found& found) {
  if (name.empty()) return;
  if (!o.operator_mode.operators.empty()) {
    found.emplace_back("no_auth_user not compatible with Trusted Operator");
    return;
  }
  const auto& users = o.authorization.users;
  const auto is_it = [&name](const UserEntry& u) { return u.name == name || u.nkey == name; };
  if (users.empty()) {
    found.push_back("no_auth_user: \"" + name + "\" present, but users/nkeys are not defined");
  } else if (std::none_of(users.begin(), users.end(), is_it)) {
    found.push_back("no_auth_user: \"" + name +
                    "\" not present as user or nkey in authorization block or account "
                    "configuration");
  }
}

void check_leaf_accounts(const Options& o, Found& found) {
  std::set<std::string_view> names = {"", "$G"};
  for (const Account& account : o.accounts)
    names.insert(account.name);
  if (o.system_account.empty() && !o.no_system_account) names.insert("$SYS");
  const auto check = [&](const std::string& name, const char* where) {
    if (names.count(name) > 0) return;
    found.push_back("cannot find local account \"" + name + "\" specified in leafnode " + where);
  };
  check(o.leafnodes.account, "authorization");
  for (const LeafUser& user : o.leafnodes.users)
    check(user.account, "authorization");
  for (const LeafRemote& remote : o.leafnodes.remotes)
    check(remote.account, "remote");
}

void check_leafnodes(const Options& o, Found& found) {
  const LeafnodeOptions& leaf = o.leafnodes;
  if (o.operator_mode.operators.empty()) {
    check_leaf_accounts(o, found);
  } else {
    if (!leaf.users.empty()) {
      found.emplace_back("operator mode does not allow specifying users in leafnode config");
    }
    const auto has_key = [](const LeafRemote& r) { return looks_like_nkey(r.account, 'A'); };
    if (!std::all_of(leaf.remotes.begin(), leaf.remotes.end(), has_key)) {
      found.emplace_back(
          "operator mode requires account nkeys in remotes. Please add an `account` key to each "
          "remote in your `leafnodes` section, to assign it to an account. Each account value "
          "should be a 56 character public key, starting with the letter 'A'");
    }
    if (leaf.port != 0 && !leaf.account.empty() && !looks_like_nkey(leaf.account, 'A')) {
      found.emplace_back("operator mode and non account nkeys are incompatible");
    }
  }
  for (const LeafRemote& remote : leaf.remotes) {
    const auto is_ws = [](const std::string& url) {
      return url.starts_with("ws://") || url.starts_with("wss://");
    };
    const auto count = std::count_if(remote.urls.begin(), remote.urls.end(), is_ws);
    if (count == 0 || static_cast<size_t>(count) == remote.urls.size()) continue;
    found.emplace_back(
        "remote leaf node configuration cannot have a mix of websocket and non-websocket urls");
  }
}

// What is wrong with an entry of allowed_origins; empty when nothing is.
std::string origin_fault(const std::string& origin) {
  const size_t start = origin.find("://");
  const std::string scheme = to_lower(origin.substr(0, start == std::string::npos ? 0 : start));
  if (scheme != "http" && scheme != "https") {
    return "unable to parse allowed origin \"" + origin +
           "\": allowed origins must be absolute URLs with http or https scheme";
  }
  std::string host = origin.substr(start + 3);
  host.erase(std::min(host.find_first_of("/?"), host.size()));
  if (host.empty()) return "unable to parse allowed origin \"" + origin + "\": host is required";
  const size_t colon = host.rfind(':');
  const bool has_port = colon != std::string::npos && host.find(']', colon) == std::string::npos;
  const auto port = has_port ? parse_uint(host.substr(colon + 1)) : 0;
  if (!port || *port > 65535) {
    return "unable to parse allowed origin: invalid port in \"" + origin + "\"";
  }
  return {};
}

void check_websocket_header(const std::string& name, Found& found) {
  static constexpr std::string_view kOurs[] = {"host", "content-length", "connection", "upgrade",
                                               "nats-no-masking"};
  const std::string key = to_lower(name);
  if (std::find(std::begin(kOurs), std::end(kOurs), key) != std::end(kOurs)) {
    found.push_back("websocket: invalid header \"" + name + "\" not allowed");
  } else if (key.starts_with("sec-websocket-")) {
    found.push_back("websocket: invalid header \"" + name +
                    "\", \"Sec-WebSocket-\" prefix not allowed");
  }
}

void check_websocket(const Options& o, Found& found) {
  const WebsocketOptions& ws = o.websocket;
  if (ws.port == 0) return;
  if (!ws.tls && !ws.no_tls) found.emplace_back("websocket requires TLS configuration");
  for (const std::string& origin : ws.allowed_origins) {
    std::string fault = origin_fault(origin);
    if (!fault.empty()) found.push_back(std::move(fault));
  }
  check_no_auth_user(o, ws.no_auth_user, found);
  if (!o.authorization.users.empty() && !ws.user.empty()) {
    found.emplace_back(
        "websocket authentication username not compatible with presence of users/nkeys");
  }
  if (!o.authorization.users.empty() && !ws.token.empty()) {
    found.emplace_back(
        "websocket authentication token not compatible with presence of users/nkeys");
  }
  if (!ws.jwt_cookie.empty() && !o.operator_mode.is_on()) {
    found.push_back(
        "trusted operators or trusted keys configuration is required for JWT authentication via "
        "cookie \"" + ws.jwt_cookie + "\"");
  }
  for (const auto& [name, value] : ws.headers)
    check_websocket_header(name, found);
}

void check_system_account(const Options& o, Found& found) {
  const std::string& name = o.system_account;
  if (name.empty() || name == "$SYS" || o.operator_mode.is_on()) return;
  const auto is_it = [&name](const Account& account) { return account.name == name; };
  if (std::none_of(o.accounts.begin(), o.accounts.end(), is_it)) {
    found.emplace_back("error resolving system account: no such account \"" + name + "\"");
  }
}

}  // namespace

std::vector<std::string> find_contradictions(const Options& options) {
  Found found;
  check_limits(options, found);
  check_advertised("ClientAdvertise", options.client_advertise, found);
  if (options.websocket.port != 0) {
    check_advertised("Websocket.Advertise", options.websocket.advertise, found);
  }
  if (options.leafnodes.port != 0) {
    check_advertised("LeafNode.Advertise", options.leafnodes.advertise, found);
  }
  check_jetstream(options, found);
  check_operator_mode(options, found);
  check_leafnodes(options, found);
  check_no_auth_user(options, options.authorization.no_auth_user, found);
  check_system_account(options, found);
  check_websocket(options, found);
  return found;
}

}  // namespace brokkr::config
