#include "workload/host_services/http_transfer.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/bytes.h"

namespace brokkr::workload {
namespace {

constexpr int kRedirectsMax = 5;
constexpr size_t kResponseHeaderBytesMax = 256U << 10;
constexpr size_t kUrlBytesMax = 32U << 10;

// The connection's own affair, or a proxy's.
constexpr std::string_view kOwnHeaders[] = {
    "connection", "content-length",      "expect",           "host",   "keep-alive",
    "te",         "proxy-authorization", "proxy-connection", "trailer", "transfer-encoding",
    "upgrade",    "http2-settings"};
constexpr std::string_view kCredentials[] = {"authorization", "cookie"};

template <size_t N>
bool is_one_of(const std::string_view (&names)[N], std::string_view name) {
  return std::any_of(names, names + N,
                     [name](std::string_view one) { return equals_ignore_case(one, name); });
}

std::string part_of(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK || text == nullptr) return {};
  std::string out(text);
  curl_free(text);
  return out;
}

NetAddress address_of(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(address);
    return {std::string(reinterpret_cast<const char*>(&in->sin_addr), 4)};
  }
  if (address->sa_family == AF_INET6) {
    const auto* in = reinterpret_cast<const sockaddr_in6*>(address);
    return {std::string(reinterpret_cast<const char*>(&in->sin6_addr), 16)};
  }
  return {};
}

// This machine's own addresses lead to it like loopback does, also those that are public.
bool is_own_address(const NetAddress& address) {
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return true;
  bool is_own = false;
  for (const ifaddrs* at = list; at != nullptr && !is_own; at = at->ifa_next) {
    is_own = at->ifa_addr != nullptr && address_of(at->ifa_addr).bytes == address.bytes;
  }
  freeifaddrs(list);
  return is_own;
}

std::string without_brackets(std::string host) {
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  return host;
}

bool is_redirect(long status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

}  // namespace

Result<ResolveEntry> parse_resolve_entry(std::string_view text) {
  const Error bad{Errc::InvalidArgument,
                  "resolve \"" + std::string(text) + "\": not HOST:PORT:ADDRESS[:PORT]"};
  const size_t first = text.find(':');
  const size_t second = first == std::string_view::npos ? first : text.find(':', first + 1);
  if (second == std::string_view::npos) return bad;
  ResolveEntry entry;
  entry.host = to_lower(text.substr(0, first));
  const auto port = parse_uint(text.substr(first + 1, second - first - 1));
  std::string_view rest = text.substr(second + 1);
  std::string_view to_port;
  std::string_view address = rest;
  if (rest.starts_with('[') && rest.find(']') != std::string_view::npos) {
    address = rest.substr(1, rest.find(']') - 1);
    to_port = rest.substr(rest.find(']') + 1);
  } else if (const size_t colon = rest.find(':'); colon != std::string_view::npos) {
    address = rest.substr(0, colon);
    to_port = rest.substr(colon);
  }
  auto parsed = NetAddress::parse(address);
  if (entry.host.empty() || !port || *port == 0 || *port > 65535 || !parsed) return bad;
  entry.port = entry.to_port = static_cast<uint16_t>(*port);
  entry.address = std::move(*parsed);
  if (to_port.empty()) return entry;
  const auto number = parse_uint(to_port.substr(1));
  if (to_port[0] != ':' || !number || *number == 0 || *number > 65535) return bad;
  entry.to_port = static_cast<uint16_t>(*number);
  return entry;
}

Transfer::Transfer(uint64_t number, HttpRequest request, MonotonicTime deadline,
                   const TransferSettings& settings)
    : number_(number), request_(std::move(request)), deadline_(deadline), settings_(settings),
      easy_(curl_easy_init()) {}

Transfer::~Transfer() {
  curl_easy_cleanup(easy_);
  curl_url_cleanup(url_);
  curl_slist_free_all(header_list_);
  curl_slist_free_all(connect_to_);
}

bool Transfer::fail(uint16_t code, std::string text) {
  response_ = {};
  response_.code = code;
  response_.error = std::move(text);
  return false;
}

const ResolveEntry* Transfer::find_resolve() const {
  for (const ResolveEntry& entry : settings_.resolve) {
    if (entry.host == host_ && entry.port == port_) return &entry;
  }
  return nullptr;
}

// Takes the URL apart: what is asked of the policy is what the library connects to.
bool Transfer::open_url() {
  const unsigned flags = CURLU_URLENCODE | CURLU_PATH_AS_IS | CURLU_NON_SUPPORT_SCHEME;
  if (url_ == nullptr) {
    url_ = curl_url();
    const bool is_plain = request_.url.size() <= kUrlBytesMax &&
                          request_.url.find('\0') == std::string::npos;
    if (!is_plain || curl_url_set(url_, CURLUPART_URL, request_.url.c_str(), flags) != CURLUE_OK) {
      return fail(400, "the URL cannot be understood");
    }
  }
  scheme_ = to_lower(part_of(url_, CURLUPART_SCHEME));
  if (scheme_ != "http" && scheme_ != "https") {
    return fail(400, "only http and https URLs can be fetched");
  }
  host_ = to_lower(without_brackets(part_of(url_, CURLUPART_HOST)));
  const auto port = parse_uint(part_of(url_, CURLUPART_PORT, CURLU_DEFAULT_PORT));
  if (host_.empty() || !port || *port == 0 || *port > 65535) return fail(400, "the URL has no host");
  port_ = static_cast<uint16_t>(*port);
  if (find_resolve() == nullptr && !request_.egress->may_resolve(host_, port_)) {
    return fail(403, "egress to " + host_ + ":" + std::to_string(port_) + " is not allowed");
  }
  return true;
}

bool Transfer::prepare(MonotonicTime now) {
  if (easy_ == nullptr) return fail(500, "the HTTP client cannot be used");
  if (!open_url()) return false;
  if (now >= deadline_) return fail(408, "timed out");
  response_.headers.clear();
  response_.body.clear();
  response_.status_text.clear();
  header_bytes_ = 0;
  set_options(now);
  set_body();
  set_headers();
  return true;
}

void Transfer::set_options(MonotonicTime now) {
  CURL* const h = easy_;
  curl_easy_reset(h);
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline_ - now).count();
  curl_easy_setopt(h, CURLOPT_PRIVATE, this);
  curl_easy_setopt(h, CURLOPT_CURLU, url_);
  curl_easy_setopt(h, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(h, CURLOPT_PROXY, "");
  curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(h, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, static_cast<long>(left));
  curl_easy_setopt(h, CURLOPT_USERAGENT, "brokkr");
  curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L);
  curl_easy_setopt(h, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (!settings_.ca_file.empty()) {
    curl_easy_setopt(h, CURLOPT_CAINFO, settings_.ca_file.c_str());
    curl_easy_setopt(h, CURLOPT_CAPATH, nullptr);
  }
  curl_easy_setopt(h, CURLOPT_ERRORBUFFER, error_);
  curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(h, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(h, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(h, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
  curl_easy_setopt(h, CURLOPT_OPENSOCKETDATA, this);
  curl_easy_setopt(h, CURLOPT_PREREQFUNCTION, on_before_request);
  curl_easy_setopt(h, CURLOPT_PREREQDATA, this);
  curl_slist_free_all(connect_to_);
  connect_to_ = nullptr;
  if (const ResolveEntry* entry = find_resolve(); entry != nullptr) {
    const std::string address = entry->address.text();
    const bool is_v6 = address.find(':') != std::string::npos;
    const std::string to = "::" + (is_v6 ? "[" + address + "]" : address) + ":" +
                           std::to_string(entry->to_port);
    connect_to_ = curl_slist_append(nullptr, to.c_str());
    curl_easy_setopt(h, CURLOPT_CONNECT_TO, connect_to_);
  }
}

void Transfer::set_body() {
  CURL* const h = easy_;
  const std::string& method = request_.method;
  if (method == "HEAD") {
    curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    return;
  }
  const bool has_body = request_.has_body || method == "POST" || method == "PUT" || method == "PATCH";
  if (!has_body) {
    curl_easy_setopt(h, CURLOPT_HTTPGET, 1L);
  } else {
    curl_easy_setopt(h, CURLOPT_POST, 1L);
    curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
    curl_easy_setopt(h, CURLOPT_POSTFIELDS, request_.body.c_str());
  }
  curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method.c_str());
}

void Transfer::set_headers() {
  curl_slist_free_all(header_list_);
  // The library's own additions are taken away.
  header_list_ = curl_slist_append(nullptr, "Expect:");
  bool has_type = false;
  for (const auto& [name, value] : request_.headers) {
    if (is_one_of(kOwnHeaders, name)) continue;
    has_type = has_type || equals_ignore_case(name, "content-type");
    // An empty header is written with a semicolon.
    const std::string line = value.empty() ? name + ";" : name + ": " + value;
    header_list_ = curl_slist_append(header_list_, line.c_str());
  }
  if (!has_type) header_list_ = curl_slist_append(header_list_, "Content-Type:");
  curl_easy_setopt(easy_, CURLOPT_HTTPHEADER, header_list_);
}

bool Transfer::is_allowed(const NetAddress& address, uint16_t port) const {
  if (const ResolveEntry* entry = find_resolve(); entry != nullptr) {
    return entry->address.bytes == address.bytes && entry->to_port == port;
  }
  const EgressPolicy& policy = *request_.egress;
  if (!policy.may_connect(host_, address, port)) return false;
  return policy.is_named(host_, address, port) || !is_own_address(address);
}

curl_socket_t Transfer::on_open_socket(void* self, curlsocktype, curl_sockaddr* address) {
  auto* transfer = static_cast<Transfer*>(self);
  uint16_t port = 0;
  if (address->family == AF_INET) {
    port = ntohs(reinterpret_cast<const sockaddr_in*>(&address->addr)->sin_port);
  } else if (address->family == AF_INET6) {
    port = ntohs(reinterpret_cast<const sockaddr_in6*>(&address->addr)->sin6_port);
  }
  if (!transfer->is_allowed(address_of(&address->addr), port)) {
    transfer->is_denied_ = true;
    return CURL_SOCKET_BAD;
  }
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

// A connection that is already there may be one that another function was allowed.
int Transfer::on_before_request(void* self, char* remote, char*, int remote_port, int) {
  auto* transfer = static_cast<Transfer*>(self);
  const auto address = NetAddress::parse(remote);
  if (address && transfer->is_allowed(*address, static_cast<uint16_t>(remote_port))) {
    transfer->is_denied_ = false;
    return CURL_PREREQFUNC_OK;
  }
  transfer->is_denied_ = true;
  return CURL_PREREQFUNC_ABORT;
}

size_t Transfer::on_body(char* data, size_t size, size_t count, void* self) {
  auto* transfer = static_cast<Transfer*>(self);
  std::string& body = transfer->response_.body;
  if (body.size() + size * count > transfer->settings_.response_bytes_max) {
    transfer->is_too_large_ = true;
    return 0;
  }
  body.append(data, size * count);
  return size * count;
}

size_t Transfer::on_header(char* data, size_t size, size_t count, void* self) {
  auto* transfer = static_cast<Transfer*>(self);
  HttpResponse& response = transfer->response_;
  std::string_view line(data, size * count);
  transfer->header_bytes_ += line.size();
  if (transfer->header_bytes_ > kResponseHeaderBytesMax) {
    transfer->is_too_large_ = true;
    return 0;
  }
  line = trim(line);
  if (line.starts_with("HTTP/")) {
    // Of several heads, such as 100 and 200, the last one counts.
    response.headers.clear();
    const size_t code = line.find(' ');
    const size_t text = code == std::string_view::npos ? code : line.find(' ', code + 1);
    response.status_text = text == std::string_view::npos ? "" : line.substr(text + 1);
  } else if (const size_t colon = line.find(':'); colon != std::string_view::npos && colon > 0) {
    response.headers.emplace_back(line.substr(0, colon), trim(line.substr(colon + 1)));
  }
  return size * count;
}

HttpResponse Transfer::failure_of(CURLcode result) const {
  HttpResponse failed;
  const std::string where = host_ + ":" + std::to_string(port_);
  const std::string text = error_[0] != '\0' ? error_ : curl_easy_strerror(result);
  if (is_too_large_) {
    failed.code = 413;
    failed.error = "the response is larger than " + format_bytes(settings_.response_bytes_max);
  } else if (is_denied_) {
    failed.code = 403;
    failed.error = "egress to " + where + " is not allowed: where it leads needs naming";
  } else if (result == CURLE_OPERATION_TIMEDOUT) {
    failed.code = 408;
    failed.error = "timed out: " + where;
  } else {
    failed.code = result == CURLE_URL_MALFORMAT ? 400 : 502;
    failed.error = text;
  }
  return failed;
}

// True when another hop follows.
bool Transfer::finish_hop(CURLcode result) {
  if (result != CURLE_OK) {
    response_ = failure_of(result);
    return false;
  }
  curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &response_.status);
  response_.url = part_of(url_, CURLUPART_URL);
  if (!is_redirect(response_.status) || request_.redirects == HttpRequest::Redirects::Manual) {
    return false;
  }
  const auto location = std::find_if(
      response_.headers.begin(), response_.headers.end(),
      [](const auto& header) { return equals_ignore_case(header.first, "location"); });
  if (location == response_.headers.end()) return false;
  if (request_.redirects == HttpRequest::Redirects::Error) {
    return fail(502, "redirected to " + location->second);
  }
  return redirect(std::string(location->second));
}

bool Transfer::redirect(std::string_view location) {
  if (++hops_ > kRedirectsMax) return fail(502, "more than 5 redirects");
  const std::string from_scheme = scheme_;
  const std::string from_host = host_;
  const uint16_t from_port = port_;
  const std::string to(location);
  // What was in the URL before counts as a credential of its origin.
  curl_url_set(url_, CURLUPART_USER, nullptr, 0);
  curl_url_set(url_, CURLUPART_PASSWORD, nullptr, 0);
  const unsigned flags = CURLU_URLENCODE | CURLU_PATH_AS_IS | CURLU_NON_SUPPORT_SCHEME;
  if (curl_url_set(url_, CURLUPART_URL, to.c_str(), flags) != CURLUE_OK) {
    return fail(502, "redirected to a URL that cannot be understood");
  }
  const long status = response_.status;
  if (!open_url()) return false;
  if (from_scheme == "https" && scheme_ == "http") {
    return fail(403, "redirected from https to http");
  }
  const bool is_post_to_get = (status == 301 || status == 302) && request_.method == "POST";
  if ((status == 303 && request_.method != "HEAD") || is_post_to_get) {
    request_.method = "GET";
    request_.body.clear();
    request_.has_body = false;
    std::erase_if(request_.headers, [](const auto& header) {
      return to_lower(header.first).starts_with("content-");
    });
  }
  if (from_scheme != scheme_ || from_host != host_ || from_port != port_) {
    std::erase_if(request_.headers,
                  [](const auto& header) { return is_one_of(kCredentials, header.first); });
  }
  response_.is_redirected = true;
  return true;
}

}  // namespace brokkr::workload
