#pragma once

#include <memory>
#include <string>

#include "workload/http_routes.h"
#include "workload/trigger.h"

namespace brokkr::workload {

// Runs a function for each HTTP request to its path: the body is the payload, the path the subject, the
// request's headers are headers, with method, query and the caller's address beside them as
// Nats-Brokkr-Http-Method, -Query and -Remote. The function's reply goes back with its headers; a header
// Status-Code, as Response sets it, is the status. Failures are answered with their code and the same
// body a requester gets. Loop-confined.
class HttpTrigger final : public TriggerSource {
 public:
  HttpTrigger(const Deps&, const Facts&, const Trigger&, HttpRoutes& routes);

  void start(client::DoneHandler on_live) override;
  void drain(Callback<void()> done) override;

 private:
  void on_request(RouteRequest, RouteAnswer);

  const Deps deps_;
  const Facts facts_;
  const Trigger trigger_;
  HttpRoutes& routes_;
  std::unique_ptr<HttpRoutes::Route> route_;
  uint32_t running_ = 0;
  Callback<void()> on_drained_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// How a result looks to an HTTP client. Pure.
RouteResponse make_response(const CallResult&);
// The header block a function sees for a request. Pure.
std::string headers_of(const RouteRequest&);

}  // namespace brokkr::workload
