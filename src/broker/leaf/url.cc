#include "broker/leaf/url.h"

#include <algorithm>

#include "base/bytes.h"

namespace brokkr::broker {
namespace {

constexpr uint16_t kLeafPort = 7422;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = to_lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

std::string without_percent(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
    if (low < 0) {
      out += text[i];
      continue;
    }
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

}  // namespace

std::string LeafUrl::host_and_port() const {
  const bool is_v6 = address.host.find(':') != std::string::npos;
  return (is_v6 ? "[" + address.host + "]" : address.host) + ":" + std::to_string(address.port);
}

Result<LeafUrl> parse_leaf_url(std::string_view text) {
  LeafUrl url;
  uint16_t port = kLeafPort;
  std::string_view rest = trim(text);
  if (const size_t at = rest.find("://"); at != std::string_view::npos) {
    const std::string scheme = to_lower(rest.substr(0, at));
    rest.remove_prefix(at + 3);
    url.is_websocket = scheme == "ws" || scheme == "wss";
    url.is_tls = scheme == "tls" || scheme == "wss";
    if (!url.is_websocket && scheme != "nats-leaf" && scheme != "nats" && scheme != "tls" &&
        scheme != "leaf") {
      return Error{Errc::InvalidArgument, "leaf remote has a URL of the unknown scheme " + scheme};
    }
    if (url.is_websocket) port = url.is_tls ? uint16_t{443} : uint16_t{80};
  }
  if (const size_t slash = rest.find('/'); slash != std::string_view::npos) {
    url.path = rest.substr(slash);
    rest = rest.substr(0, slash);
  }
  if (const size_t at = rest.rfind('@'); at != std::string_view::npos) {
    const std::string_view user = rest.substr(0, at);
    const size_t colon = user.find(':');
    url.has_user = true;
    url.has_password = colon != std::string_view::npos;
    url.user = without_percent(user.substr(0, colon));
    if (url.has_password) url.password = without_percent(user.substr(colon + 1));
    rest.remove_prefix(at + 1);
  }
  auto address = io::parse_address(rest, port);
  if (!address) return address.error();
  if (address->host.empty() && address->path.empty()) {
    return Error{Errc::InvalidArgument, "leaf remote has a URL without a host"};
  }
  url.address = std::move(*address);
  return url;
}

}  // namespace brokkr::broker
