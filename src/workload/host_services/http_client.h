#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/callback.h"
#include "base/clock.h"
#include "base/result.h"
#include "io/loop.h"
#include "workload/egress.h"
#include "workload/host_services/options.h"

namespace brokkr::workload {

// Fails with InvalidArgument when a `resolve` entry is wrong. Pure.
Status check(const HostServiceOptions& options);

struct HttpRequest {
  enum class Redirects : uint8_t { Follow, Manual, Error };
  std::string method = "GET";
  std::string url;
  // Names and values; those that are the connection's own affair (Host, Content-Length, …) are left
  // out.
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  bool has_body = false;
  Redirects redirects = Redirects::Follow;
  Duration timeout = std::chrono::seconds(5);
  std::shared_ptr<const EgressPolicy> egress;
};

struct HttpResponse {
  uint16_t code = 200;  // of the call, see open_calls.h; `error` says why it is not 200
  std::string error;
  long status = 0;
  std::string status_text;
  std::string url;      // after redirects
  bool is_redirected = false;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

// Requests to web servers, on a thread of its own that starts with the first one. http and https only;
// TLS is always verified; no proxy, cookies, user files or environment. Whether an address may be
// connected to is decided by the request's policy after its name was resolved, for each connection,
// one kept from an earlier request included. At most five redirects, each checked like the first, never
// from https to http, and to another origin without the credentials. Loop-confined.
class HttpClient {
 public:
  using Handler = Callback<void(HttpResponse)>;
  static constexpr size_t kRequestsMax = 512;

  // The loop outlives it. Fails as `check` does.
  static Result<std::unique_ptr<HttpClient>> make(io::Loop& loop, const HostServiceOptions& options);
  // Drops what is under way; no callbacks.
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // `handler` is called once, never from within, unless the request is cancelled. The number is 0 when
  // too many are under way; then it is not called.
  uint64_t start(HttpRequest request, Handler handler);
  void cancel(uint64_t number);

 private:
  struct Impl;
  explicit HttpClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace brokkr::workload
