#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "client/connection.h"
#include "workload/access.h"
#include "workload/egress.h"
#include "workload/host_services/services.h"
#include "workload/instance.h"

namespace brokkr::workload {

// Subjects a function may not be triggered by, publish to or ask: the server's own, JetStream's and
// the control plane's.
bool is_denied_subject(std::string_view subject);

// Serves what one function asks of the world, over the node's connection: messaging, kv, objectStore and
// http, each in its file in host_services/. Every request is answered once, within its time limit.
// Loop-confined.
class HostCalls {
 public:
  // The loop, the connection and the services outlive it; calls under way when it is destroyed are
  // dropped.
  struct Deps {
    io::Loop& loop;
    client::Connection& connection;
    HostServices& services;
  };
  struct Rights {
    std::shared_ptr<const Access> access;
    EgressPolicy egress;
  };
  HostCalls(const Deps&, Rights rights);
  ~HostCalls();
  HostCalls(const HostCalls&) = delete;
  HostCalls& operator=(const HostCalls&) = delete;

  // `time_limit` bounds the call's own time-out.
  void serve(HostCaller& caller, const HostCallRequest& request, Duration time_limit);
  // The caller is about to be destroyed.
  void forget(HostCaller& caller);
  // For calls from here on. Buckets being opened under the rights of before are given up: those calls
  // time out.
  void set_rights(Rights rights);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace brokkr::workload
