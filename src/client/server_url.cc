#include "client/server_url.h"

#include <optional>

#include "base/bytes.h"

namespace brokkr::client {
namespace {

constexpr uint16_t kDefaultPort = 4222;

std::optional<std::string> decode_percent(std::string_view text) {
  const auto digit = [](char c) {
    c = to_lower(c);
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size() || digit(text[i + 1]) < 0 || digit(text[i + 2]) < 0) return {};
    out += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
    i += 2;
  }
  return out;
}

Error bad_url(std::string_view text, const char* why) {
  return {Errc::InvalidArgument, "server url \"" + std::string(text) + "\": " + why};
}

}  // namespace

std::string ServerUrl::text() const {
  if (!address.path.empty()) return "unix:" + address.path;
  return (is_tls ? "tls://" : "nats://") + address.text();
}

Result<ServerUrl> parse_server_url(std::string_view text) {
  const std::string_view whole = text = trim(text);
  ServerUrl url;
  if (text.starts_with("unix:")) {
    text.remove_prefix(5);
    if (text.starts_with("//")) text.remove_prefix(2);
    if (text.empty()) return bad_url(whole, "no path");
    url.address.path = text;
    return url;
  }
  if (const size_t at = text.find("://"); at != std::string_view::npos) {
    const std::string scheme = to_lower(text.substr(0, at));
    if (scheme == "ws" || scheme == "wss") {
      return Error{Errc::Unsupported, "server url \"" + std::string(whole) + "\": " + scheme +
                                          " is for browsers here; use nats:// or tls://"};
    }
    url.is_tls = scheme == "tls";
    if (!url.is_tls && scheme != "nats" && scheme != "tcp") return bad_url(whole, "unknown scheme");
    text.remove_prefix(at + 3);
  }
  if (const size_t at = text.rfind('@'); at != std::string_view::npos) {
    const std::string_view credentials = text.substr(0, at);
    const size_t colon = credentials.find(':');
    auto user = decode_percent(credentials.substr(0, colon));
    if (!user) return bad_url(whole, "bad %-escape in the user");
    if (colon == std::string_view::npos) {
      url.token = std::move(*user);
    } else {
      auto password = decode_percent(credentials.substr(colon + 1));
      if (!password) return bad_url(whole, "bad %-escape in the password");
      url.user = std::move(*user);
      url.password = std::move(*password);
    }
    text.remove_prefix(at + 1);
  }
  text = text.substr(0, text.find('/'));
  if (text.empty() || text.front() == ':') return bad_url(whole, "no host");
  auto address = io::parse_address(text, kDefaultPort);
  if (!address) return bad_url(whole, address.error().text.c_str());
  url.address = std::move(*address);
  return url;
}

Result<std::vector<ServerUrl>> parse_server_urls(std::string_view text) {
  std::vector<ServerUrl> urls;
  for (const std::string_view part : split(text, ',')) {
    if (trim(part).empty()) continue;
    auto url = parse_server_url(part);
    if (!url) return url.error();
    urls.push_back(std::move(*url));
  }
  if (urls.empty()) return Error{Errc::InvalidArgument, "no server url"};
  return urls;
}

}  // namespace brokkr::client
