#include "app/http_gateway.h"

#include <atomic>
#include <charconv>

namespace brokkr::app {
namespace {

// Beyond the longest wall time a function may have there is nothing to wait for.
constexpr auto kPatience = std::chrono::minutes(16);
constexpr uint32_t kGatewayThreads = 16;
constexpr uint32_t kGatewayConnectionsMax = 512;
constexpr size_t kBodyBytesMax = 1U << 20;

http::Response unavailable() {
  http::Response response;
  response.status = 503;
  response.content_type = "application/json";
  response.body = "{\"error\":{\"code\":503,\"message\":\"no capacity: the node is stopping\"}}\n";
  return response;
}

std::string joined_query(const http::Request& request) {
  std::string text;
  for (const auto& [name, value] : request.query) {
    text += (text.empty() ? "" : "&") + name;
    if (!value.empty()) text += "=" + value;
  }
  return text;
}

}  // namespace

// What a thread waits with; the loop may answer when that has given up.
struct HttpGateway::Waiting {
  bool is_answered = false;
  std::atomic<bool> is_abandoned{false};
  workload::RouteResponse response;
};

Result<std::unique_ptr<HttpGateway>> HttpGateway::open(io::Loop& loop, Log& log,
                                                       const std::string& address) {
  http::Server::Options options;
  const size_t colon = address.rfind(':');
  const std::string port = colon == std::string::npos ? address : address.substr(colon + 1);
  if (colon != std::string::npos && colon > 0) options.host = address.substr(0, colon);
  const char* end = port.data() + port.size();
  const auto read = std::from_chars(port.data(), end, options.port);
  if (read.ec != std::errc() || read.ptr != end) {
    return Error{Errc::Syntax, "--http-triggers takes [host:]port, not \"" + address + "\""};
  }
  options.name = "http-trigger";
  options.threads = kGatewayThreads;
  options.connections_max = kGatewayConnectionsMax;
  options.body_bytes_max = kBodyBytesMax;
  options.methods = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
  const std::string host = options.host;
  std::unique_ptr<HttpGateway> gateway(new HttpGateway(loop));
  auto server = http::Server::open(std::move(options), [at = gateway.get()](const http::Request& r) {
    return at->answer(r);
  });
  if (!server) return server.error();
  gateway->server_ = std::move(*server);
  const std::string where = "http://" + host + ":" + std::to_string(gateway->server_->port());
  gateway->routes_.set_listening(where);
  log.info("Serving functions with HTTP triggers on " + where);
  return gateway;
}

HttpGateway::~HttpGateway() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  server_.reset();
}

http::Response HttpGateway::answer(const http::Request& request) {
  workload::RouteRequest asked;
  asked.method = request.method;
  asked.path = request.path;
  asked.query = joined_query(request);
  asked.headers = request.headers;
  asked.body = request.body;
  asked.remote = request.remote;
  const auto waiting = std::make_shared<Waiting>();
  loop_.post([this, waiting, asked = std::move(asked)]() mutable {
    // The threads have ended before the gateway goes: whoever is not abandoned keeps it alive.
    routes_.serve(std::move(asked), [this, waiting](workload::RouteResponse response) {
      if (waiting->is_abandoned) return;
      {
        const std::lock_guard lock(mutex_);
        waiting->response = std::move(response);
        waiting->is_answered = true;
      }
      changed_.notify_all();
    });
  });
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kPatience, [&] { return waiting->is_answered || is_stopping_; });
  if (!waiting->is_answered) {
    waiting->is_abandoned = true;
    return unavailable();
  }
  http::Response response;
  response.status = waiting->response.status;
  response.body = std::move(waiting->response.body);
  response.content_type = std::move(waiting->response.content_type);
  response.headers = std::move(waiting->response.headers);
  return response;
}

}  // namespace brokkr::app
