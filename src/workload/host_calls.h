#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "client/connection.h"
#include "workload/instance.h"

namespace brokkr::workload {

// Subjects a function may not be triggered by, publish to or ask: the server's own, JetStream's and
// the control plane's.
bool is_denied_subject(std::string_view subject);

// Serves what functions ask of the world, over the node's connection: messaging.publish, request and
// requestMany. Every request is answered once, within its time limit. Loop-confined.
class HostCalls {
 public:
  // Both outlive it; calls under way when it is destroyed are dropped.
  HostCalls(io::Loop& loop, client::Connection& connection);
  ~HostCalls();
  HostCalls(const HostCalls&) = delete;
  HostCalls& operator=(const HostCalls&) = delete;

  // `time_limit` bounds the call's own time-out.
  void serve(Instance& instance, const HostCallRequest& request, Duration time_limit);
  // The instance is about to be destroyed.
  void forget(Instance& instance);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace brokkr::workload
