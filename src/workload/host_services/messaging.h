#pragma once

#include "client/connection.h"
#include "workload/access.h"
#include "workload/host_services/open_calls.h"

namespace brokkr::workload {

// messaging.publish, request and requestMany. Loop-confined.
class MessagingService {
 public:
  MessagingService(client::Connection& connection, std::shared_ptr<const Access> access)
      : connection_(connection), access_(std::move(access)) {}
  void set_access(std::shared_ptr<const Access> access) { access_ = std::move(access); }

  // `timeout` is of the call; `own_timeout` says whether the function named it.
  void serve(const runtime::HostCall& call, const HostCaller& caller, Duration timeout,
             bool is_own_timeout, const Answer& answer);

 private:
  void publish(const runtime::HostCall& call, const HostCaller& caller, const Answer& answer);
  void request(const runtime::HostCall& call, Duration timeout, const Answer& answer);
  void request_many(const runtime::HostCall& call, Duration timeout, bool is_own_timeout,
                    const Answer& answer);

  client::Connection& connection_;
  std::shared_ptr<const Access> access_;
};

}  // namespace brokkr::workload
