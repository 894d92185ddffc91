#pragma once

#include <memory>

#include "workload/host_services/http_client.h"
#include "workload/host_services/options.h"

namespace brokkr::workload {

// What the functions of a node share for their host services. Loop-confined.
class HostServices {
 public:
  // Fails with InvalidArgument on options that cannot be.
  static Result<std::unique_ptr<HostServices>> make(io::Loop& loop, HostServiceOptions options) {
    std::unique_ptr<HostServices> services(new HostServices(std::move(options)));
    auto http = HttpClient::make(loop, services->options_);
    if (!http) return http.error();
    services->http_ = std::move(*http);
    return services;
  }
  const HostServiceOptions& options() const { return options_; }
  HttpClient& http() { return *http_; }

 private:
  explicit HostServices(HostServiceOptions options) : options_(std::move(options)) {}
  const HostServiceOptions options_;
  std::unique_ptr<HttpClient> http_;
};

}  // namespace brokkr::workload
