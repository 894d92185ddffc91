#pragma once

#include "workload/host_services/http_client.h"
#include "workload/host_services/open_calls.h"

namespace brokkr::workload {

// http.<method>: target is the URL, headers the request's, payload the body, key how redirects are
// taken ("follow", the default, "manual" or "error"). The reply's payload is the body, its headers
// those of the response, and `more` a JSON object: status, statusText, url, redirected. What the server
// answers is a success of the call, whatever its status. Loop-confined.
class HttpService {
 public:
  static constexpr size_t kRequestsMax = 64;  // of one function at once

  // The client outlives it.
  HttpService(HttpClient& client, std::shared_ptr<const EgressPolicy> egress)
      : client_(client), egress_(std::move(egress)) {}
  void serve(const runtime::HostCall& call, Duration timeout, const Answer& answer);
  void set_egress(std::shared_ptr<const EgressPolicy> egress) { egress_ = std::move(egress); }

 private:
  HttpClient& client_;
  std::shared_ptr<const EgressPolicy> egress_;
  const std::shared_ptr<size_t> open_ = std::make_shared<size_t>(0);
};

}  // namespace brokkr::workload
