#include <curl/curl.h>

#include <memory>

#include "broker/identity/account_source.h"
#include "crypto/jwt.h"

namespace brokkr::broker {
namespace {

constexpr Duration kUsualTimeout = std::chrono::seconds(2);
constexpr long kOk = 200;

size_t take_bytes(char* data, size_t size, size_t count, void* out) {
  auto& text = *static_cast<std::string*>(out);
  if (text.size() + size * count > crypto::kTokenBytesMax) return 0;
  text.append(data, size * count);
  return size * count;
}

struct EasyDeleter {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};

// Without user and password, for the log.
std::string without_secrets(const std::string& url) {
  const size_t start = url.find("://");
  const size_t at = url.find('@');
  if (start == std::string::npos || at == std::string::npos) return url;
  return url.substr(0, start + 3) + "[REDACTED]" + url.substr(at);
}

}  // namespace

Result<std::string> fetch_url(const std::string& url, const config::ResolverOptions& options) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURL, EasyDeleter> handle(ready == CURLE_OK ? curl_easy_init() : nullptr);
  if (handle == nullptr) return Error{Errc::System, "libcurl cannot be used"};
  CURL* const h = handle.get();
  const Duration timeout = options.timeout > Duration::zero() ? options.timeout : kUsualTimeout;
  const auto milliseconds =
      static_cast<long>(std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count());
  std::string body;
  curl_easy_setopt(h, CURLOPT_URL, url.c_str());
  curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(h, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(h, CURLOPT_MAXREDIRS, 5L);
  curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, milliseconds);
  curl_easy_setopt(h, CURLOPT_USERAGENT, "brokkr");
  curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, take_bytes);
  curl_easy_setopt(h, CURLOPT_WRITEDATA, &body);
  if (options.tls) {
    if (!options.tls->ca_file.empty()) {
      curl_easy_setopt(h, CURLOPT_CAINFO, options.tls->ca_file.c_str());
    }
    if (!options.tls->cert_file.empty()) {
      curl_easy_setopt(h, CURLOPT_SSLCERT, options.tls->cert_file.c_str());
      curl_easy_setopt(h, CURLOPT_SSLKEY, options.tls->key_file.c_str());
    }
  }
  const CURLcode done = curl_easy_perform(h);
  const std::string shown = "could not fetch <\"" + without_secrets(url) + "\">: ";
  if (done != CURLE_OK) return Error{Errc::System, shown + curl_easy_strerror(done)};
  long status = 0;
  curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
  if (status != kOk) return Error{Errc::NotFound, shown + std::to_string(status)};
  return body;
}

}  // namespace brokkr::broker
