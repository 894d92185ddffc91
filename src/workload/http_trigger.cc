#include "workload/http_trigger.h"

#include <algorithm>
#include <charconv>

#include "base/bytes.h"
#include "base/json.h"
#include "client/headers.h"
#include "workload/hops.h"

namespace brokkr::workload {
namespace {

constexpr uint32_t kHttpRunningMax = 256;
constexpr std::string_view kJson = "application/json";

// Headers of one hop of HTTP, and those the listener writes itself.
bool is_of_connection(std::string_view name) {
  constexpr std::string_view kNames[] = {"connection",        "keep-alive", "transfer-encoding",
                                         "content-length",    "upgrade",    "te",
                                         "proxy-connection",  "trailer",    "date"};
  const std::string lower = to_lower(name);
  return std::find(std::begin(kNames), std::end(kNames), lower) != std::end(kNames);
}

RouteResponse error_response(int status, std::string_view text, std::string_view stack) {
  json::Writer body;
  body.begin_object().key("error").begin_object().field("code", status).field("message", text);
  if (!stack.empty()) body.field("stack", stack);
  return {status, std::string(kJson), {}, body.end_object().end_object().take()};
}

}  // namespace

std::string headers_of(const RouteRequest& request) {
  client::HeaderWriter out;
  const std::string hops_name = to_lower(kHopsHeader);
  uint8_t hops = 0;
  for (const auto& [name, value] : request.headers) {
    // What only a node may say is not taken from outside.
    if (!is_of_connection(name) && !to_lower(name).starts_with("nats-")) out.add(name, value);
    // Whoever says that it has come far only ends sooner.
    if (to_lower(name) == hops_name) hops = std::max(hops, parse_hops(value));
  }
  if (hops > 0) out.add(kHopsHeader, std::to_string(hops));
  out.add("Nats-Brokkr-Http-Method", request.method);
  if (!request.query.empty()) out.add("Nats-Brokkr-Http-Query", request.query);
  out.add("Nats-Brokkr-Http-Remote", request.remote);
  return out.take();
}

RouteResponse make_response(const CallResult& result) {
  if (result.code != runtime::OutcomeCode::Ok) {
    return error_response(static_cast<int>(result.code), result.error, {});
  }
  RouteResponse response;
  response.body = result.payload;
  if (!result.has_reply) response.status = 204;
  if (const auto headers = client::Headers::parse(result.headers)) {
    for (const client::Header& header : *headers) {
      if (header.key == "Nats-Service-Error-Code" || header.key == "Status-Code") {
        int status = 0;
        std::from_chars(header.value.data(), header.value.data() + header.value.size(), status);
        if (status >= 200 && status <= 599) response.status = status;
      } else if (to_lower(header.key) == "content-type") {
        response.content_type = header.value;
      } else if (!is_of_connection(header.key) && !header.key.starts_with("Nats-")) {
        response.headers.emplace_back(header.key, header.value);
      }
    }
  }
  if (response.content_type.empty()) {
    const bool is_json = response.body.starts_with('{') || response.body.starts_with('[') ||
                         response.body.starts_with('"');
    response.content_type = is_json ? kJson : "application/octet-stream";
  }
  return response;
}

HttpTrigger::HttpTrigger(const Deps& deps, const Facts& facts, const Trigger& trigger,
                         HttpRoutes& routes)
    : deps_(deps), facts_(facts), trigger_(trigger), routes_(routes) {}

void HttpTrigger::start(client::DoneHandler on_live) {
  auto route = routes_.add(facts_.ns, trigger_.path, facts_.ns + "/" + facts_.name,
                           [this](RouteRequest request, RouteAnswer answer) {
                             on_request(std::move(request), std::move(answer));
                           });
  const Status status = route ? Status() : Status(route.error());
  if (route) route_ = std::move(*route);
  deps_.loop.post([on_live = std::move(on_live), status] { on_live(status); });
}

void HttpTrigger::on_request(RouteRequest request, RouteAnswer answer) {
  if (running_ >= kHttpRunningMax) {
    return answer(error_response(503, "no capacity: too many requests are waiting", {}));
  }
  ++running_;
  const std::string headers = headers_of(request);
  deps_.target.run({request.path, headers, request.body, 0},
                   [this, answer = std::move(answer),
                    alive = std::weak_ptr(alive_)](const CallResult& result) {
                     answer(make_response(result));
                     if (alive.expired() || --running_ > 0) return;
                     if (const auto done = std::move(on_drained_)) done();
                   });
}

void HttpTrigger::drain(Callback<void()> done) {
  route_.reset();
  on_drained_ = std::move(done);
  deps_.loop.post([this, alive = std::weak_ptr(alive_)] {
    if (alive.expired() || running_ > 0) return;
    if (const auto drained = std::move(on_drained_)) drained();
  });
}

}  // namespace brokkr::workload
