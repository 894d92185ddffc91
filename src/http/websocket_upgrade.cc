#include "http/websocket_upgrade.h"

#include <arpa/inet.h>

#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/bytes.h"

namespace brokkr::http {
namespace {

constexpr std::string_view kKeySuffix = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
constexpr std::string_view kDeflate = "permessage-deflate";
constexpr std::string_view kDeflateOffer =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
constexpr size_t kKeyBytes = 16;
constexpr size_t kKeyTextBytes = 24;

std::string_view trim_blanks_of(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

std::string_view status_text(int status) {
  switch (status) {
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 431: return "Request Header Fields Too Large";
    default: return "HTTP Version Not Supported";
  }
}

std::string make_refusal(int status) {
  const std::string text(status_text(status));
  return "HTTP/1.1 " + std::to_string(status) + " " + text +
         "\r\nContent-Type: text/plain; charset=utf-8\r\nSec-Websocket-Version: 13\r\n"
         "X-Content-Type-Options: nosniff\r\nContent-Length: " +
         std::to_string(text.size() + 1) + "\r\nConnection: close\r\n\r\n" + text + "\n";
}

// A host with its port, the scheme's own when there is none. Absent when it is neither.
std::optional<std::pair<std::string, std::string>> split_host_port(std::string_view text,
                                                                   bool is_tls) {
  std::string_view host = text;
  std::string_view port = is_tls ? "443" : "80";
  const size_t bracket = text.starts_with('[') ? text.find(']') : 0;
  if (bracket == std::string_view::npos) return {};
  const size_t colon = text.find(':', bracket);
  if (colon != std::string_view::npos) {
    if (text.find(':', colon + 1) != std::string_view::npos) return {};
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    if (bracket > 0 && colon != bracket + 1) return {};
    if (bracket > 0) host = text.substr(1, bracket - 1);
  }
  return std::pair(to_lower(host), std::string(port));
}

// The parts of an absolute URL that make up an origin.
std::optional<Origin> parse_origin(std::string_view text) {
  const size_t scheme_end = text.find("://");
  if (scheme_end == std::string_view::npos || scheme_end == 0) return {};
  Origin origin;
  origin.scheme = to_lower(text.substr(0, scheme_end));
  std::string_view authority = text.substr(scheme_end + 3);
  authority = authority.substr(0, authority.find_first_of("/?#"));
  if (const size_t at = authority.rfind('@'); at != std::string_view::npos) {
    authority.remove_prefix(at + 1);
  }
  if (authority.empty()) return {};
  auto where = split_host_port(authority, origin.scheme == "https");
  if (!where) return {};
  origin.host = std::move(where->first);
  origin.port = std::move(where->second);
  return origin;
}

bool is_address(const std::string& text) {
  std::array<unsigned char, sizeof(in6_addr)> parsed{};
  return inet_pton(AF_INET, text.c_str(), parsed.data()) == 1 ||
         inet_pton(AF_INET6, text.c_str(), parsed.data()) == 1;
}

bool is_key(std::string_view text) {
  // The decoder takes more alphabets and lengths than a key may have.
  if (text.size() != kKeyTextBytes || !text.ends_with("==")) return false;
  if (text.find_first_of("-_") != std::string_view::npos) return false;
  const auto decoded = base64_decode(text);
  return decoded && decoded->size() == kKeyBytes;
}

// Whether one of the comma-separated extensions is permessage-deflate, with all of `parameters`.
bool has_deflate(const Head& head, const std::vector<std::string_view>& parameters) {
  for (const Head::Field& field : head.fields) {
    if (!equals_ignore_case(field.name, "Sec-WebSocket-Extensions")) continue;
    for (const std::string_view extension : split(field.value, ',')) {
      const std::vector<std::string_view> parts = split(extension, ';');
      const auto has = [&](std::string_view wanted) {
        return std::any_of(parts.begin(), parts.end(), [&](std::string_view part) {
          return equals_ignore_case(trim_blanks_of(part), wanted);
        });
      };
      if (has(kDeflate) && std::all_of(parameters.begin(), parameters.end(), has)) return true;
    }
  }
  return false;
}

}  // namespace

Result<Origin> parse_allowed_origin(std::string_view text) {
  const auto fail = [&](std::string_view what) {
    return Error{Errc::InvalidArgument,
                 "unable to parse allowed origin \"" + std::string(text) + "\": " + std::string(what)};
  };
  const size_t scheme_end = text.find("://");
  const std::string scheme = to_lower(text.substr(0, std::min(scheme_end, text.size())));
  if (scheme_end == std::string_view::npos || (scheme != "http" && scheme != "https")) {
    return fail("allowed origins must be absolute URLs with http or https scheme");
  }
  auto origin = parse_origin(text);
  if (!origin) return fail("host is required");
  return *std::move(origin);
}

std::string make_accept_key(std::string_view key) {
  std::string text(key);
  text += kKeySuffix;
  std::array<unsigned char, SHA_DIGEST_LENGTH> digest{};
  SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return base64_encode({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

// --- the server's side -----------------------------------------------------------------------

UpgradeReader::Outcome UpgradeReader::next(std::string_view input) {
  switch (reader_.next(input)) {
    case HeadReader::Outcome::Partial: return Outcome::Partial;
    case HeadReader::Outcome::TooLarge: return refuse(431, "request too large");
    case HeadReader::Outcome::Malformed: return refuse(400, std::string(reader_.error()));
    case HeadReader::Outcome::Complete: break;
  }
  const Outcome outcome = decide();
  if (outcome == Outcome::Accepted && !input.empty()) {
    // A client cannot know yet that it may speak.
    answer_.clear();
    reason_ = "client sent data before handshake is complete";
    return Outcome::Refused;
  }
  return outcome;
}

UpgradeReader::Outcome UpgradeReader::refuse(int status, std::string reason) {
  answer_ = make_refusal(status);
  reason_ = std::move(reason);
  return Outcome::Refused;
}

UpgradeReader::Outcome UpgradeReader::decide() {
  const Head& head = reader_.head();
  const std::vector<std::string_view> line = split(head.start_line, ' ');
  if (line.size() != 3 || !line[2].starts_with("HTTP/") || !line[1].starts_with('/')) {
    return refuse(400, "malformed request line");
  }
  if (line[2] != "HTTP/1.1") return refuse(505, "unsupported HTTP version");
  const std::string_view path = line[1].substr(0, line[1].find('?'));
  request_.is_leaf = path.ends_with("/leafnode");
  if (path.ends_with("/mqtt")) return refuse(404, "mqtt websocket endpoint not enabled");
  if (line[0] != "GET") return refuse(405, "request method must be GET");
  const std::string* host = head.find("Host");
  if (host == nullptr || host->empty()) return refuse(400, "'Host' missing in request");
  if (head.count("Host") > 1) return refuse(400, "too many Host headers");
  const std::string* body = head.find("Content-Length");
  if ((body != nullptr && *body != "0") || head.find("Transfer-Encoding") != nullptr) {
    return refuse(400, "request has a body");
  }
  if (!head.has_token("Upgrade", "websocket")) {
    return refuse(400, "invalid value for header 'Upgrade'");
  }
  if (!head.has_token("Connection", "Upgrade")) {
    return refuse(400, "invalid value for header 'Connection'");
  }
  const std::string* key = head.find("Sec-WebSocket-Key");
  if (key == nullptr || key->empty()) return refuse(400, "key missing");
  if (!is_key(*key)) return refuse(400, "invalid websocket key");
  if (!head.has_token("Sec-WebSocket-Version", "13")) return refuse(400, "invalid version");
  if (std::string wrong = check_origin(); !wrong.empty()) {
    return refuse(403, "origin not allowed: " + wrong);
  }
  request_.compression = rules_.compression && has_deflate(head, {});
  const std::string* no_masking = head.find("Nats-No-Masking");
  request_.no_masking = no_masking != nullptr && *no_masking == "true";
  note_client();
  answer_ = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Accept: " + make_accept_key(*key) + "\r\n";
  if (request_.compression) {
    answer_.append("Sec-WebSocket-Extensions: ").append(kDeflateOffer).append("\r\n");
  }
  if (request_.no_masking) answer_ += "Nats-No-Masking: true\r\n";
  answer_.append(rules_.extra_headers).append("\r\n");
  return Outcome::Accepted;
}

// Why a page of that origin may not come in; empty when it may. Without an origin no browser is
// speaking, and anybody else could claim any.
std::string UpgradeReader::check_origin() const {
  if (!rules_.same_origin && rules_.allowed_origins.empty()) return {};
  const Head& head = reader_.head();
  const std::string* text = head.find("Origin");
  if (text == nullptr || text->empty()) text = head.find("Sec-WebSocket-Origin");
  if (text == nullptr || text->empty()) return {};
  const auto origin = parse_origin(*text);
  if (!origin) return "parse \"" + *text + "\": invalid URI for request";
  if (rules_.same_origin) {
    const auto host = split_host_port(*head.find("Host"), rules_.is_tls);
    const std::string_view scheme = rules_.is_tls ? "https" : "http";
    if (!host || origin->host != host->first || origin->port != host->second ||
        origin->scheme != scheme) {
      return "not same origin";
    }
  }
  if (rules_.allowed_origins.empty()) return {};
  for (const Origin& allowed : rules_.allowed_origins) {
    if (allowed.host == origin->host && allowed.port == origin->port &&
        allowed.scheme == origin->scheme) {
      return {};
    }
  }
  return "not in the allowed list";
}

// What the request tells about who sent it.
void UpgradeReader::note_client() {
  const Head& head = reader_.head();
  const std::string* forwarded = head.find("X-Forwarded-For");
  if (forwarded != nullptr && is_address(*forwarded)) request_.forwarded_for = *forwarded;
  if (request_.is_leaf) return;
  if (const std::string* agent = head.find("User-Agent"); agent != nullptr) {
    request_.is_browser = agent->starts_with("Mozilla/");
    const bool is_safari = agent->find("Version/") != std::string::npos &&
                           agent->find("Safari/") != std::string::npos;
    request_.fragments_compressed = !is_safari;
  }
  for (const Head::Field& field : head.fields) {
    if (equals_ignore_case(field.name, "Cookie")) take_cookies(field.value);
  }
}

void UpgradeReader::take_cookies(std::string_view field) {
  const std::pair<const std::string*, std::string*> wanted[] = {
      {&rules_.jwt_cookie, &request_.jwt_cookie},
      {&rules_.user_cookie, &request_.user_cookie},
      {&rules_.password_cookie, &request_.password_cookie},
      {&rules_.token_cookie, &request_.token_cookie},
  };
  for (const std::string_view part : split(field, ';')) {
    const std::string_view cookie = trim_blanks_of(part);
    const size_t equals = cookie.find('=');
    const std::string_view name = cookie.substr(0, std::min(equals, cookie.size()));
    if (equals == std::string_view::npos || name.empty()) continue;
    std::string_view value = cookie.substr(equals + 1);
    if (value.size() > 1 && value.starts_with('"') && value.ends_with('"')) {
      value = value.substr(1, value.size() - 2);
    }
    if (value.find_first_of("\"\\") != std::string_view::npos) continue;
    const auto match = std::find_if(std::begin(wanted), std::end(wanted),
                                    [&](const auto& pair) { return *pair.first == name; });
    if (match != std::end(wanted)) *match->second = value;
  }
}

// --- the client's side -----------------------------------------------------------------------

std::string make_upgrade_request(const UpgradeOffer& offer, std::string_view key) {
  std::string text = "GET " + offer.path + " HTTP/1.1\r\nHost: " + offer.host +
                     "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ";
  text.append(key).append("\r\nSec-WebSocket-Version: 13\r\n");
  if (offer.compression) {
    text.append("Sec-WebSocket-Extensions: ").append(kDeflateOffer).append("\r\n");
  }
  if (offer.no_masking) text += "Nats-No-Masking: true\r\n";
  for (const Head::Field& field : offer.headers) {
    text.append(field.name).append(": ").append(field.value).append("\r\n");
  }
  return text.append("\r\n");
}

Result<UpgradeAgreement> check_upgrade_answer(const Head& answer, const UpgradeOffer& offer,
                                              std::string_view key) {
  const auto fail = [](std::string text) {
    return Error{Errc::Unavailable, "websocket handshake: " + std::move(text)};
  };
  if (!answer.start_line.starts_with("HTTP/1.1 101")) {
    return fail("the server answered \"" + answer.start_line + "\"");
  }
  const std::string* accept = answer.find("Sec-WebSocket-Accept");
  if (!answer.has_token("Upgrade", "websocket") || !answer.has_token("Connection", "Upgrade") ||
      accept == nullptr || *accept != make_accept_key(key)) {
    return fail("the server's answer is no upgrade to WebSocket");
  }
  UpgradeAgreement agreement;
  agreement.compression = has_deflate(answer, {});
  if (agreement.compression && !offer.compression) return fail("compression was not asked for");
  if (agreement.compression &&
      !has_deflate(answer, {"server_no_context_takeover", "client_no_context_takeover"})) {
    return fail("compression with context takeover is not supported");
  }
  const std::string* no_masking = answer.find("Nats-No-Masking");
  agreement.no_masking = offer.no_masking && no_masking != nullptr && *no_masking == "true";
  return agreement;
}

}  // namespace brokkr::http
