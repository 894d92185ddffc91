#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/callback.h"
#include "base/log.h"
#include "base/result.h"
#include "broker/monitor/pages.h"
#include "http/server.h"

namespace brokkr::broker {

class Server;

// The monitoring pages of nats-server over HTTP, and /metrics for Prometheus. Requests are answered
// on the HTTP server's threads from what Pages finds. Thread-safe; destroy it
// before the server stops, on any thread: loops need not run for that.
class Monitor {
 public:
  struct Options {
    std::string host;       // empty: every interface
    uint16_t port = 0;      // 0 lets the kernel choose
    std::string base_path;  // "/mon" puts /varz at /mon/varz
    // PEM text; both: HTTPS.
    std::string tls_certificate;
    std::string tls_key;
    // What /metrics says besides, in the same format. Called on the monitor's threads.
    Callback<std::string()> more_metrics;
  };
  // Fails with System when the address cannot be bound. Logs the line harnesses look for. `server`
  // and `log` outlive the monitor.
  static Result<std::unique_ptr<Monitor>> open(Options options, Server& server, Log& log);
  ~Monitor();
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

  uint16_t port() const { return http_->port(); }
  bool is_https() const { return !options_.tls_certificate.empty(); }
  const Options& options() const { return options_; }
  // What a request is answered with; never on a thread that runs a loop of the server.
  http::Response answer(const http::Request& request);

 private:
  using Answer = http::Response (Monitor::*)(QueryReader&);
  struct Endpoint;
  static const Endpoint* find_endpoint(std::string_view name);

  Monitor(Options options, Server& server, Log& log);
  void count(const char* name);
  void publish_address();

  http::Response index(QueryReader&);
  http::Response varz(QueryReader&);
  http::Response connz(QueryReader&);
  http::Response subsz(QueryReader&);
  http::Response accountz(QueryReader&);
  http::Response accstatz(QueryReader&);
  http::Response routez(QueryReader&);
  http::Response gatewayz(QueryReader&);
  http::Response leafz(QueryReader&);
  http::Response jsz(QueryReader&);
  http::Response healthz(QueryReader&);
  http::Response ipqueuesz(QueryReader&);
  http::Response raftz(QueryReader&);
  http::Response metrics(QueryReader&);
  http::Response stacksz(QueryReader&);
  http::Response debug_vars(QueryReader&);

  const Options options_;
  Server& server_;
  Log& log_;
  Pages pages_;
  std::unique_ptr<http::Server> http_;  // ends first
};

}  // namespace brokkr::broker
