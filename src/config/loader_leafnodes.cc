#include <algorithm>
#include <unordered_set>

#include "base/bytes.h"
#include "config/reader.h"

// The block `leafnodes`.
namespace brokkr::config {
namespace {

void read_compression(Reader& reader, const Value& value, LinkCompression& out) {
  out = {};
  if (value.is_bool()) {
    out.mode = value.boolean ? "s2_auto" : "off";
  } else if (value.is_string()) {
    out.mode = value.text;
  } else if (value.is_map()) {
    reader.for_each_member(value, "compression", [&](const std::string& key, const Member& m) {
      if (key == "mode") {
        reader.read(m.value, key, out.mode);
        return true;
      }
      if (key != "rtt_thresholds" && key != "thresholds" && key != "rtts" && key != "rtt") {
        return false;
      }
      if (!m.value.is_array()) reader.fail_type(m.value, key, "a list of durations");
      for (const Value& item : m.value.items) {
        reader.read_duration_text(item, key, out.rtt_thresholds.emplace_back());
      }
      return true;
    });
  } else {
    return reader.fail_type(value, "compression", "a boolean, a mode or a map");
  }
  const std::string fault = normalize_compression(out);
  if (!fault.empty()) reader.fail(value.at, fault);
}

bool is_scheme(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    const char low = to_lower(c);
    return (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '-' ||
           c == '.';
  });
}

// "scheme://[user[:password]@]host[:port]", perhaps with a path. The scheme must be there: without
// it a host would be taken for one.
bool is_url(std::string_view text) {
  const size_t colon = text.find("://");
  if (colon == std::string_view::npos || !is_scheme(text.substr(0, colon))) return false;
  std::string_view rest = text.substr(colon + 3);
  rest = rest.substr(0, rest.find_first_of("/?#"));
  const size_t at = rest.rfind('@');
  if (at != std::string_view::npos) rest.remove_prefix(at + 1);
  const size_t bracket = rest.rfind(']');
  const size_t port = rest.find(':', bracket == std::string_view::npos ? 0 : bracket);
  const std::string_view host = rest.substr(0, port);
  if (host.empty() || text.find_first_of(" \t\r\n\"<>\\^`{}|") != std::string_view::npos) {
    return false;
  }
  return port == std::string_view::npos || port + 1 == rest.size() ||
         parse_uint(rest.substr(port + 1)).has_value();
}

void read_urls(Reader& reader, const Value& value, std::vector<std::string>& out) {
  std::vector<std::string> urls;
  reader.read_strings(value, "urls", urls);
  for (const std::string& url : urls) {
    const std::string text(trim(url));
    if (std::find(out.begin(), out.end(), text) != out.end()) {
      reader.warn(value.at, "Duplicate leafnode entry detected");
      continue;
    }
    if (!is_url(text)) {
      // The text may hold a password.
      reader.fail(value.at, "error parsing leafnode url, expected nats://host:port");
    }
    out.push_back(text);
  }
}

void read_denied(Reader& reader, const Value& value, const std::string& name,
                 std::vector<std::string>& out) {
  read_subjects(reader, value, name, false, out);
}

struct ProxyBlock {
  std::string url;
  std::string user;
  std::string password;
  Duration timeout{};
  std::optional<TlsOptions> tls;
};

// What is wrong with it; empty when nothing is.
std::string proxy_fault(const ProxyBlock& proxy) {
  if (proxy.url.empty()) {
    const bool is_empty = proxy.user.empty() && proxy.password.empty() && !proxy.tls &&
                          proxy.timeout == Duration::zero();
    return is_empty ? "" : "proxy URL must be specified when other proxy options are set";
  }
  const std::string scheme = proxy.url.substr(0, proxy.url.find(':'));
  if (scheme != "http" && scheme != "https") {
    return "proxy URL scheme must be http or https, got: " + scheme;
  }
  if (!is_url(proxy.url)) return "proxy URL must specify a host";
  if (proxy.tls && scheme != "https") {
    return "proxy TLS configuration requires an https proxy URL, got: " + scheme;
  }
  if (proxy.timeout < Duration::zero()) return "proxy timeout must be >= 0";
  if (proxy.user.empty() != proxy.password.empty()) {
    return "proxy username and password must both be specified or both be empty";
  }
  return {};
}

// Checked, and not used.
void read_proxy(Reader& reader, const Value& value) {
  ProxyBlock proxy;
  reader.for_each_member(value, "proxy", [&](const std::string& key, const Member& member) {
    if (key == "url") {
      reader.read(member.value, key, proxy.url);
    } else if (key == "username") {
      reader.read(member.value, key, proxy.user);
    } else if (key == "password") {
      reader.read(member.value, key, proxy.password);
    } else if (key == "timeout") {
      reader.read_duration(member.value, key, proxy.timeout);
    } else if (key == "tls") {
      read_tls(reader, member.value, proxy.tls);
    } else {
      return false;
    }
    return true;
  });
  const std::string fault = proxy_fault(proxy);
  if (!fault.empty()) reader.fail(value.at, fault);
  reader.add_later("leafnodes.remotes.proxy");
}

// Flags of a remote by their names; null when `name` is none.
bool* remote_switch(const std::string& name, LeafRemote& remote) {
  if (name == "no_randomize" || name == "dont_randomize") return &remote.no_randomize;
  if (name == "hub") return &remote.hub;
  if (name == "ws_compress" || name == "ws_compression" || name == "websocket_compress" ||
      name == "websocket_compression") {
    return &remote.ws_compression;
  }
  if (name == "ws_no_masking" || name == "websocket_no_masking") return &remote.ws_no_masking;
  if (name == "isolate_leafnode_interest" || name == "isolate") return &remote.isolate;
  if (name == "request_isolation") return &remote.request_isolation;
  if (name == "disabled") return &remote.disabled;
  if (name == "ignore_discovered_servers") return &remote.ignore_discovered_servers;
  return nullptr;
}

void read_identity(Reader& reader, const std::string& name, const Value& value,
                   LeafRemote& remote) {
  const bool is_creds = name == "creds" || name == "credentials";
  reader.read(value, name, is_creds ? remote.credentials : remote.nkey_seed);
  if (!is_creds && value.is_string() && !looks_like_user_seed(value.text)) {
    reader.fail(value.at, "Remote leafnode nkey is not a valid seed");
  } else if (!remote.credentials.empty() && !remote.nkey_seed.empty()) {
    reader.fail(value.at, "Remote leafnode can not have both creds and nkey defined");
  }
}

bool read_remote_field(Reader& reader, const std::string& name, const Value& value,
                       LeafRemote& remote) {
  if (bool* const flag = remote_switch(name, remote)) {
    reader.read(value, name, *flag);
  } else if (name == "url" || name == "urls") {
    read_urls(reader, value, remote.urls);
  } else if (name == "account" || name == "local") {
    reader.read(value, name, remote.account);
  } else if (name == "creds" || name == "credentials" || name == "nkey" || name == "seed") {
    read_identity(reader, name, value, remote);
  } else if (name == "tls") {
    read_tls(reader, value, remote.tls);
  } else if (name == "deny_imports" || name == "deny_import") {
    read_denied(reader, value, name, remote.deny_imports);
  } else if (name == "deny_exports" || name == "deny_export") {
    read_denied(reader, value, name, remote.deny_exports);
  } else if (name == "jetstream_cluster_migrate" || name == "js_cluster_migrate") {
    // There is no cluster whose leaders could move.
    if (!value.is_bool() && !value.is_map()) reader.fail_type(value, name, "a boolean or a map");
  } else if (name == "compression") {
    read_compression(reader, value, remote.compression);
  } else if (name == "first_info_timeout") {
    reader.read_duration(value, name, remote.first_info_timeout);
  } else if (name == "dial_timeout") {
    reader.read_duration(value, name, remote.dial_timeout);
  } else if (name == "proxy") {
    read_proxy(reader, value);
  } else {
    return false;
  }
  return true;
}

void read_remotes(Reader& reader, const Value& value, LeafnodeOptions& leaf) {
  if (!value.is_array()) return reader.fail_type(value, "remotes", "a list of maps");
  leaf.remotes.clear();
  for (const Value& item : value.items) {
    LeafRemote remote;
    reader.for_each_member(item, "remotes", [&](const std::string& name, const Member& member) {
      return read_remote_field(reader, name, member.value, remote);
    });
    const auto is_same = [&remote](const LeafRemote& other) {
      const auto account_of = [](const LeafRemote& one) -> std::string {
        return one.account.empty() ? "$G" : one.account;
      };
      return other.urls == remote.urls && account_of(other) == account_of(remote) &&
             other.credentials == remote.credentials && other.nkey_seed == remote.nkey_seed;
    };
    if (std::any_of(leaf.remotes.begin(), leaf.remotes.end(), is_same)) {
      reader.fail(item.at, "duplicate remote for account \"" +
                               (remote.account.empty() ? "$G" : remote.account) + "\"");
    }
    leaf.remotes.push_back(std::move(remote));
  }
}

void read_leaf_users(Reader& reader, const Value& value, std::vector<LeafUser>& out) {
  if (!value.is_array()) return reader.fail_type(value, "users", "a list of users");
  out.clear();
  for (const Value& item : value.items) {
    LeafUser user;
    reader.for_each_member(item, "users", [&](const std::string& name, const Member& member) {
      if (name == "user" || name == "username") {
        reader.read(member.value, name, user.name);
      } else if (name == "pass" || name == "password") {
        reader.read(member.value, name, user.password);
      } else if (name == "account") {
        reader.read(member.value, name, user.account);
      } else if (name == "proxy_required") {
        reader.read(member.value, name, user.proxy_required);
      } else {
        return false;
      }
      return true;
    });
    out.push_back(std::move(user));
  }
}

void check_leaf_authorization(Reader& reader, Position at, const LeafnodeOptions& leaf) {
  if (leaf.users.empty()) return;
  if (!leaf.user.empty()) {
    return reader.fail(at, "can not have a single user/pass and a users array");
  }
  if (!leaf.nkey.empty()) return reader.fail(at, "can not have a single nkey and a users array");
  std::unordered_set<std::string_view> taken;
  for (const LeafUser& user : leaf.users) {
    if (taken.insert(user.name).second) continue;
    reader.fail(at, "duplicate user \"" + user.name + "\" detected in leafnode authorization");
  }
}

void read_leaf_authorization(Reader& reader, const Value& value, LeafnodeOptions& leaf) {
  reader.for_each_member(value, "authorization", [&](const std::string& name, const Member& m) {
    if (name == "user" || name == "username") {
      reader.read(m.value, name, leaf.user);
    } else if (name == "pass" || name == "password") {
      reader.read(m.value, name, leaf.password);
    } else if (name == "nkey") {
      reader.read(m.value, name, leaf.nkey);
      if (!looks_like_nkey(leaf.nkey, 'U')) {
        reader.fail(m.value.at, "Not a valid public nkey for leafnode authorization");
      }
    } else if (name == "timeout") {
      read_auth_timeout(reader, m.value, leaf.auth_timeout);
    } else if (name == "users") {
      read_leaf_users(reader, m.value, leaf.users);
    } else if (name == "account") {
      reader.read(m.value, name, leaf.account);
    } else if (name == "proxy_required") {
      reader.read(m.value, name, leaf.proxy_required);
    } else {
      return false;
    }
    return true;
  });
  check_leaf_authorization(reader, value.at, leaf);
}

// "2.8.0" or later, as three numbers; what follows a dash or a plus does not count.
void read_min_version(Reader& reader, const Value& value, LeafnodeOptions& leaf) {
  reader.read(value, "min_version", leaf.min_version);
  if (!value.is_string()) return;
  const auto parts = split(std::string_view(leaf.min_version).substr(
                               0, leaf.min_version.find_first_of("-+")), '.');
  std::vector<uint64_t> numbers;
  for (const std::string_view part : parts) {
    const auto number = parse_uint(part);
    if (number && (part == "0" || part[0] != '0')) numbers.push_back(*number);
  }
  if (parts.size() != 3 || numbers.size() != 3) {
    reader.fail(value.at, "invalid leafnode's minimum version: invalid semver");
  } else if (numbers < std::vector<uint64_t>{2, 8, 0}) {
    reader.fail(value.at, "the minimum version should be at least 2.8.0");
  }
}

bool read_leaf_field(Reader& reader, const std::string& name, const Value& value,
                     LeafnodeOptions& leaf) {
  if (name == "listen") {
    HostPort address;
    reader.read_listen(value, name, address);
    leaf.host = address.host;
    leaf.port = address.port;
  } else if (name == "port") {
    reader.read_port(value, name, leaf.port);
  } else if (name == "host" || name == "net") {
    reader.read(value, name, leaf.host);
  } else if (name == "authorization") {
    read_leaf_authorization(reader, value, leaf);
  } else if (name == "remotes") {
    read_remotes(reader, value, leaf);
  } else if (name == "reconnect" || name == "reconnect_delay" || name == "reconnect_interval") {
    Duration delay{};
    reader.read_duration(value, name, delay);
    if (delay != Duration::zero()) leaf.reconnect = delay;
  } else if (name == "dial_timeout") {
    reader.read_duration(value, name, leaf.dial_timeout);
  } else if (name == "tls") {
    read_tls(reader, value, leaf.tls);
  } else if (name == "leafnode_advertise" || name == "advertise") {
    reader.read(value, name, leaf.advertise);
  } else if (name == "no_advertise") {
    reader.read(value, name, leaf.no_advertise);
  } else if (name == "min_version" || name == "minimum_version") {
    read_min_version(reader, value, leaf);
  } else if (name == "compression") {
    read_compression(reader, value, leaf.compression);
  } else if (name == "isolate_leafnode_interest" || name == "isolate") {
    reader.read(value, name, leaf.isolate_interest);
  } else if (name == "write_deadline") {
    Duration deadline{};
    reader.read_duration(value, name, deadline);
    leaf.write_deadline = deadline;
  } else if (name == "write_timeout") {
    WriteTimeoutPolicy policy{};
    read_write_timeout(reader, value, policy);
    leaf.write_timeout = policy;
  } else {
    return false;
  }
  return true;
}

}  // namespace

void read_leafnodes(Reader& reader, const Value& value, Options& options) {
  LeafnodeOptions leaf;
  reader.for_each_member(value, "leafnodes", [&](const std::string& name, const Member& member) {
    return read_leaf_field(reader, name, member.value, leaf);
  });
  options.leafnodes = std::move(leaf);
}

std::string normalize_compression(LinkCompression& compression) {
  const std::string word = to_lower(compression.mode);
  auto& limits = compression.rtt_thresholds;
  if (word == "on" || word == "enabled" || word == "true" || word == "auto" || word == "s2_auto") {
    compression.mode = "s2_auto";
    std::replace_if(
        limits.begin(), limits.end(), [](Duration one) { return one < Duration::zero(); },
        Duration::zero());
    Duration highest{};
    for (const Duration limit : limits) {
      if (limit != Duration::zero() && limit < highest) {
        return "RTT threshold values should be in ascending order";
      }
      highest = std::max(highest, limit);
    }
    const bool had_some = !limits.empty();
    while (!limits.empty() && limits.back() == Duration::zero())
      limits.pop_back();
    if (had_some && limits.empty()) {
      return "compression mode \"s2_auto\" requires at least one RTT threshold";
    }
    if (limits.size() > 4) {
      return "compression mode \"s2_auto\" should have no more than 4 RTT thresholds";
    }
  } else if (word == "not supported" || word == "not_supported") {
    compression.mode = "not supported";
  } else if (word == "disabled" || word == "off" || word == "false") {
    compression.mode = "off";
  } else if (word == "accept") {
    compression.mode = word;
  } else if (word == "fast" || word == "better" || word == "best") {
    compression.mode = "s2_" + word;
  } else if (word == "s2_fast" || word == "s2_better" || word == "s2_best") {
    compression.mode = word;
  } else if (!word.empty()) {
    return "unsupported compression mode \"" + compression.mode + "\"";
  }
  return {};
}

}  // namespace brokkr::config
