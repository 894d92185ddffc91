#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/callback.h"
#include "base/clock.h"
#include "base/result.h"

namespace brokkr::http {

// One whole request. Everything in it lives until the handler returns.
struct Request {
  using Fields = std::vector<std::pair<std::string, std::string>>;

  std::string_view method;  // "GET"
  std::string_view path;    // decoded, begins with '/', without the query
  Fields query;             // decoded, in order; "?a" has an empty value
  Fields headers;           // as sent
  std::string_view body;
  std::string remote;  // "127.0.0.1:50312"

  // The first value of that name, or empty.
  std::string_view find_query(std::string_view name) const;
  // The same for a header, whatever the case of its name.
  std::string_view find_header(std::string_view name) const;
};

// What goes back. Content-Length, Date and Connection are added.
struct Response {
  int status = 200;
  std::string body;
  std::string content_type = "text/plain; charset=utf-8";
  std::vector<std::pair<std::string, std::string>> headers;
};

// Serves HTTP/1.1 on one address from threads of its own. The handler is called on those threads,
// several at a time when `threads` is more than one, and may block: the others go on. It must be
// Thread-safe, and so is this class.
class Server {
 public:
  struct Options {
    std::string host = "127.0.0.1";  // empty or "0.0.0.0": every interface
    uint16_t port = 0;               // 0 lets the kernel choose
    std::string name = "http";       // of the threads
    uint32_t threads = 1;
    uint32_t connections_max = 128;      // beyond it, connections are closed at once
    size_t body_bytes_max = 64 << 10;    // beyond it: 413
    size_t connection_bytes = 32 << 10;  // for the request line and headers; beyond it: 414, 431
    Duration idle_timeout = std::chrono::seconds(10);    // of a connection, in and between requests
    Duration stop_grace = std::chrono::seconds(1);       // for requests under way at the end
    std::vector<std::string> methods = {"GET", "HEAD"};  // others get 405
    // PEM text, with the whole chain; both: HTTPS of at least TLS 1.2.
    std::string tls_certificate;
    std::string tls_key;
  };
  using Handler = Callback<Response(const Request&)>;

  // Fails with System, naming the address, when it cannot be bound or the certificate is no good.
  static Result<std::unique_ptr<Server>> open(Options options, Handler handler);
  // Takes no new connections, waits `stop_grace` for the answers under way, then for the handlers
  // without end: a handler that waits for the destroying thread never ends.
  virtual ~Server() = default;
  virtual uint16_t port() const = 0;
};

}  // namespace brokkr::http
