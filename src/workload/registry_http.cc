#include "workload/registry_http.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <optional>
#include <tuple>

#include "base/bytes.h"
#include "workload/egress.h"

namespace brokkr::workload {
namespace {

constexpr long kDownloadConnectSeconds = 15;
constexpr long kDownloadStallSeconds = 30;
constexpr long kDownloadStallBytes = 1024;
constexpr long kDownloadRedirectsMax = 5;
constexpr uint64_t kDownloadErrorBodyMax = 64 * 1024;
constexpr long kDownloadOk = 200;
constexpr size_t kHeaderBytesMax = 64 * 1024;

struct DownloadListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

NetAddress download_address_of(const sockaddr* from) {
  if (from->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(from);
    return {std::string(reinterpret_cast<const char*>(&v4->sin_addr), 4)};
  }
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(from);
  return {std::string(reinterpret_cast<const char*>(&v6->sin6_addr), 16)};
}

bool is_loopback_address(const NetAddress& address) {
  if (address.bytes.size() == 4) return address.bytes[0] == 127;
  return address.bytes == std::string(15, '\0') + '\1';
}

}  // namespace

struct Downloader::State {
  Options options;
  struct HandleDeleter {
    void operator()(CURL* used) const { curl_easy_cleanup(used); }
  };
  std::unique_ptr<CURL, HandleDeleter> handle;
  // Of the request at hand.
  DownloadReply reply;
  const Sink* sink = nullptr;
  uint64_t body_max = 0;
  size_t header_bytes = 0;
  std::optional<Error> failure;

  static size_t on_body(char* data, size_t size, size_t count, void* self) {
    return static_cast<State*>(self)->take_body({data, size * count}) ? size * count : 0;
  }
  bool take_body(std::string_view bytes) {
    long status = 0;
    curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &status);
    if (status == kDownloadOk && sink != nullptr) {
      if (Status taken = (*sink)(bytes); !taken) failure = taken.error();
      return !failure;
    }
    const uint64_t room = status == kDownloadOk ? body_max : kDownloadErrorBodyMax;
    if (reply.body.size() + bytes.size() > room) {
      if (status != kDownloadOk) return true;  // an error page's rest
      failure = Error{Errc::LimitExceeded, "the answer is larger than " + std::to_string(room) + " bytes"};
      return false;
    }
    reply.body.append(bytes);
    return true;
  }
  static size_t on_header(char* data, size_t size, size_t count, void* self) {
    static_cast<State*>(self)->take_header({data, size * count});
    return size * count;
  }
  void take_header(std::string_view line) {
    header_bytes += line.size();
    if (header_bytes > kHeaderBytesMax) return;
    if (line.starts_with("HTTP/")) {  // after a redirect another answer begins
      reply = {};
      return;
    }
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return;
    const std::string_view name = line.substr(0, colon);
    const std::string value(trim(line.substr(colon + 1)));
    if (equals_ignore_case(name, "www-authenticate")) reply.challenges.push_back(value);
    if (equals_ignore_case(name, "docker-content-digest")) reply.content_digest = value;
  }
  static curl_socket_t on_socket(void* self, curlsocktype, curl_sockaddr* to) {
    auto& state = *static_cast<State*>(self);
    const bool is_internet = to->family == AF_INET || to->family == AF_INET6;
    const NetAddress address = is_internet ? download_address_of(&to->addr) : NetAddress();
    const bool may = is_internet && (state.options.is_plain ? is_loopback_address(address)
                                                            : state.options.allows_private || is_public_address(address));
    if (!may) {
      state.failure = Error{Errc::PermissionDenied, "address " + address.text() + " may not be used for images"};
      return CURL_SOCKET_BAD;
    }
    state.failure.reset();  // of an address tried before
    return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
  }
  static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    const auto* cancelled = static_cast<State*>(self)->options.is_cancelled;
    return cancelled != nullptr && cancelled->load() ? 1 : 0;
  }
  void prepare();
};

void Downloader::State::prepare() {
  CURL* const h = handle.get();
  curl_easy_reset(h);
  const char* schemes = options.is_plain ? "http" : "https";
  curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, schemes);
  curl_easy_setopt(h, CURLOPT_REDIR_PROTOCOLS_STR, schemes);
  curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(h, CURLOPT_MAXREDIRS, kDownloadRedirectsMax);
  curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT, kDownloadConnectSeconds);
  curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, kDownloadStallBytes);
  curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, kDownloadStallSeconds);
  curl_easy_setopt(h, CURLOPT_USERAGENT, "brokkr");
  curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(h, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(h, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(h, CURLOPT_OPENSOCKETFUNCTION, on_socket);
  curl_easy_setopt(h, CURLOPT_OPENSOCKETDATA, this);
  curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(h, CURLOPT_XFERINFODATA, this);
  if (!options.ca_file.empty()) curl_easy_setopt(h, CURLOPT_CAINFO, options.ca_file.c_str());
}

Downloader::Downloader(Options options) : state_(std::make_unique<State>()) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  state_->options = std::move(options);
  if (ready == CURLE_OK) state_->handle.reset(curl_easy_init());
}

Downloader::~Downloader() = default;

Result<DownloadReply> Downloader::get(const std::string& url, const std::vector<std::string>& headers,
                                      uint64_t body_max, const Sink* sink) {
  State& state = *state_;
  if (state.handle == nullptr) return Error{Errc::System, "libcurl cannot be used"};
  state.reply = {};
  state.sink = sink;
  state.body_max = body_max;
  state.header_bytes = 0;
  state.failure.reset();
  state.prepare();
  CURL* const h = state.handle.get();
  std::unique_ptr<curl_slist, DownloadListDeleter> list;
  for (const std::string& header : headers) {
    curl_slist* longer = curl_slist_append(list.get(), header.c_str());
    if (longer == nullptr) return Error{Errc::System, "no memory"};
    std::ignore = list.release();
    list.reset(longer);
  }
  curl_easy_setopt(h, CURLOPT_HTTPHEADER, list.get());
  curl_easy_setopt(h, CURLOPT_URL, url.c_str());
  const CURLcode done = curl_easy_perform(h);
  if (done == CURLE_OK) {
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &state.reply.status);
    return std::move(state.reply);
  }
  if (state.failure) return *state.failure;
  const std::string shown = url.substr(0, url.find('?')) + ": " + curl_easy_strerror(done);
  switch (done) {
    case CURLE_ABORTED_BY_CALLBACK: return Error{Errc::Closed, "cancelled"};
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_UNSUPPORTED_PROTOCOL: return Error{Errc::PermissionDenied, shown};
    case CURLE_URL_MALFORMAT: return Error{Errc::InvalidArgument, shown};
    default: return Error{Errc::Unavailable, shown};
  }
}

}  // namespace brokkr::workload
