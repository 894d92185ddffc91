#include "workload/egress.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace brokkr::workload {
namespace {

struct AddressBlock {
  unsigned char bytes[16];
  int bits;
};

// Not on the public internet (IANA's special-purpose registry), and what clouds answer metadata on.
constexpr AddressBlock kNotPublic4[] = {
    {{0}, 8},                  // this network
    {{10}, 8},                 // private
    {{100, 64}, 10},           // carrier's address translation, also a cloud's metadata
    {{127}, 8},                // loopback
    {{168, 63, 129, 16}, 32},  // a cloud's host
    {{169, 254}, 16},          // link-local, metadata
    {{172, 16}, 12},           // private
    {{192, 0, 0}, 24},         // protocol assignments
    {{192, 0, 2}, 24},         // documentation
    {{192, 88, 99}, 24},       // 6to4 relays
    {{192, 168}, 16},          // private
    {{198, 18}, 15},           // benchmarking
    {{198, 51, 100}, 24},      // documentation
    {{203, 0, 113}, 24},       // documentation
    {{224}, 3},                // multicast, reserved, broadcast
};
constexpr AddressBlock kPublic6 = {{0x20}, 3};
constexpr AddressBlock kNotPublic6[] = {
    {{0x20, 0x01, 0x00}, 23},        // protocol assignments, Teredo, ORCHID
    {{0x20, 0x01, 0x0d, 0xb8}, 32},  // documentation
    {{0x3f, 0xff, 0x00}, 20},        // documentation
};
constexpr AddressBlock kMapped = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96};
constexpr AddressBlock kTranslated = {{0x00, 0x64, 0xff, 0x9b}, 96};
constexpr AddressBlock k6to4 = {{0x20, 0x02}, 16};

bool is_within(std::string_view address, const unsigned char* network, int bits) {
  for (size_t i = 0; i < address.size() && bits > 0; ++i, bits -= 8) {
    const int mask = bits >= 8 ? 0xff : (0xff << (8 - bits)) & 0xff;
    if ((static_cast<unsigned char>(address[i]) & mask) != (network[i] & mask)) return false;
  }
  return true;
}

bool is_within(std::string_view address, const AddressBlock& block) {
  return is_within(address, block.bytes, block.bits);
}

// An IPv4 address written as IPv6 is that IPv4 address.
std::string plain_bytes(const NetAddress& address) {
  if (address.bytes.size() == 16 && is_within(address.bytes, kMapped)) {
    return address.bytes.substr(12);
  }
  return address.bytes;
}

bool is_public4(std::string_view bytes) {
  return std::none_of(std::begin(kNotPublic4), std::end(kNotPublic4),
                      [bytes](const AddressBlock& block) { return is_within(bytes, block); });
}

std::string lower_name(std::string_view host) {
  if (host.ends_with('.')) host.remove_suffix(1);
  std::string name(host);
  for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return name;
}

// Names whose last label is a number are addresses in disguise: "127.1", "0x7f000001", "2130706433".
bool is_host_name(std::string_view name) {
  if (name.empty() || name.size() > 253) return false;
  std::string_view label;
  for (std::string_view rest = name;;) {
    const size_t dot = rest.find('.');
    label = rest.substr(0, dot);
    if (label.empty() || label.size() > 63) return false;
    for (const char c : label) {
      const bool is_known = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
      if (!is_known) return false;
    }
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
  return !(label[0] >= '0' && label[0] <= '9');
}

Error bad_entry(std::string_view text, const char* what) {
  return {Errc::InvalidArgument, "egress \"" + std::string(text) + "\": " + what};
}

Result<int> parse_count(std::string_view digits, int max) {
  int value = 0;
  const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (code != std::errc() || end != digits.data() + digits.size() || value < 0 || value > max) {
    return Error{Errc::InvalidArgument, "not a number"};
  }
  return value;
}

Status parse_network(std::string_view text, std::string_view host, EgressPolicy::Entry& entry) {
  const size_t slash = host.find('/');
  auto address = NetAddress::parse(host.substr(0, slash));
  if (!address) return bad_entry(text, "not an address");
  const int bits = static_cast<int>(address->bytes.size()) * 8;
  entry.prefix = bits;
  if (slash != std::string_view::npos) {
    const auto prefix = parse_count(host.substr(slash + 1), bits);
    if (!prefix) return bad_entry(text, "the prefix is not a number of bits");
    entry.prefix = *prefix;
  }
  if (plain_bytes(*address).size() != address->bytes.size() && entry.prefix >= 96) {
    entry.prefix -= 96;
    address->bytes = plain_bytes(*address);
  }
  entry.network = std::move(*address);
  return {};
}

Result<EgressPolicy::Entry> parse_entry(std::string_view text) {
  EgressPolicy::Entry entry;
  std::string_view host = text;
  std::string_view port;
  bool has_port = false;
  if (host.starts_with('[')) {
    const size_t end = host.find(']');
    if (end == std::string_view::npos) return bad_entry(text, "no closing bracket");
    const std::string_view rest = host.substr(end + 1);
    has_port = !rest.empty();
    if (has_port && rest[0] != ':') return bad_entry(text, "no port after the bracket");
    if (has_port) port = rest.substr(1);
    host = host.substr(1, end - 1);
  } else if (const size_t colon = host.find(':');
             colon != std::string_view::npos && host.find(':', colon + 1) == std::string_view::npos) {
    has_port = true;
    port = host.substr(colon + 1);
    host = host.substr(0, colon);
  }
  if (has_port) {
    const auto number = parse_count(port, 65535);
    if (!number || *number == 0) return bad_entry(text, "the port is not between 1 and 65535");
    entry.port = static_cast<uint16_t>(*number);
  }
  if (host.find('/') != std::string_view::npos || NetAddress::parse(host)) {
    if (Status parsed = parse_network(text, host, entry); !parsed) return parsed.error();
    return entry;
  }
  entry.host = lower_name(host);
  std::string_view name = entry.host;
  if (host == "*") return entry;
  if (name.starts_with("*.")) name.remove_prefix(2);
  if (!is_host_name(name)) return bad_entry(text, "neither a host name nor an address");
  return entry;
}

bool is_name_matched(const EgressPolicy::Entry& entry, std::string_view name) {
  if (entry.host == "*") return true;
  if (entry.host.starts_with("*.")) {
    const std::string_view suffix = std::string_view(entry.host).substr(1);
    return name.size() > suffix.size() && name.ends_with(suffix);
  }
  return !entry.host.empty() && entry.host == name;
}

}  // namespace

Result<NetAddress> NetAddress::parse(std::string_view text) {
  const std::string copy(text);
  unsigned char bytes[16];
  if (inet_pton(AF_INET, copy.c_str(), bytes) == 1) {
    return NetAddress{std::string(reinterpret_cast<const char*>(bytes), 4)};
  }
  if (inet_pton(AF_INET6, copy.c_str(), bytes) == 1) {
    return NetAddress{std::string(reinterpret_cast<const char*>(bytes), 16)};
  }
  return Error{Errc::InvalidArgument, "\"" + copy + "\" is not an address"};
}

std::string NetAddress::text() const {
  char out[INET6_ADDRSTRLEN] = {};
  const int family = bytes.size() == 4 ? AF_INET : AF_INET6;
  if (bytes.size() != 4 && bytes.size() != 16) return {};
  return inet_ntop(family, bytes.data(), out, sizeof out) != nullptr ? out : "";
}

bool is_public_address(const NetAddress& address) {
  const std::string bytes = plain_bytes(address);
  if (bytes.size() == 4) return is_public4(bytes);
  if (bytes.size() != 16) return false;
  const std::string_view view = bytes;
  // These carry an IPv4 address, and a gateway takes what is sent there to it.
  if (is_within(bytes, kTranslated)) return is_public4(view.substr(12));
  if (is_within(bytes, k6to4)) return is_public4(view.substr(2, 4));
  return is_within(bytes, kPublic6) &&
         std::none_of(std::begin(kNotPublic6), std::end(kNotPublic6),
                      [&](const AddressBlock& block) { return is_within(bytes, block); });
}

Result<EgressPolicy> EgressPolicy::parse(const std::vector<std::string>& entries,
                                         bool is_public_allowed) {
  EgressPolicy policy;
  policy.is_public_allowed_ = is_public_allowed;
  for (const std::string& text : entries) {
    auto entry = parse_entry(text);
    if (!entry) return entry.error();
    policy.entries_.push_back(std::move(*entry));
  }
  return policy;
}

bool EgressPolicy::may_resolve(std::string_view host, uint16_t port) const {
  if (bound_ != nullptr && !bound_->may_resolve(host, port)) return false;
  const std::string name = lower_name(host);
  if (const auto address = NetAddress::parse(name)) return may_connect(name, *address, port);
  if (!is_host_name(name)) return false;
  if (entries_.empty()) return is_public_allowed_;
  // A name may lead into a network that is named; its address decides.
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return (entry.port == 0 || entry.port == port) &&
           (entry.prefix >= 0 || is_name_matched(entry, name));
  });
}

bool EgressPolicy::may_connect(std::string_view host, const NetAddress& address,
                               uint16_t port) const {
  if (bound_ != nullptr && !bound_->may_connect(host, address, port)) return false;
  if (is_named(host, address, port)) return true;
  if (!is_public_address(address)) return false;
  if (entries_.empty()) return is_public_allowed_;
  const std::string name = lower_name(host);
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return (entry.port == 0 || entry.port == port) && is_name_matched(entry, name);
  });
}

EgressPolicy EgressPolicy::bounded_by(const EgressPolicy& bound) const {
  EgressPolicy both = *this;
  both.bound_ = std::make_shared<const EgressPolicy>(bound);
  return both;
}

bool EgressPolicy::covers(const Entry& entry) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& own) {
    if (own.port != 0 && own.port != entry.port) return false;
    if (entry.prefix >= 0) {
      // "*" is all that is public, of networks a part that is.
      if (own.host == "*") return is_public_address(entry.network);
      return own.prefix >= 0 && own.prefix <= entry.prefix &&
             own.network.bytes.size() == entry.network.bytes.size() &&
             is_within(entry.network.bytes,
                       reinterpret_cast<const unsigned char*>(own.network.bytes.data()), own.prefix);
    }
    return own.host == entry.host || is_name_matched(own, entry.host);
  });
}

bool EgressPolicy::is_named(std::string_view host, const NetAddress& address, uint16_t port) const {
  const std::string name = lower_name(host);
  const std::string bytes = plain_bytes(address);
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    if (entry.port != 0 && entry.port != port) return false;
    if (entry.prefix >= 0) {
      return entry.network.bytes.size() == bytes.size() &&
             is_within(bytes, reinterpret_cast<const unsigned char*>(entry.network.bytes.data()),
                       entry.prefix);
    }
    // A pattern does not vouch for where its names lead.
    return !entry.host.starts_with('*') && entry.host == name;
  });
}

}  // namespace brokkr::workload
