#include "workload/host_calls.h"

#include <algorithm>

#include "subject/subject.h"
#include "workload/host_services/http.h"
#include "workload/host_services/key_value.h"
#include "workload/host_services/messaging.h"
#include "workload/host_services/object_store.h"

namespace brokkr::workload {
namespace {

constexpr std::string_view kDenied[] = {"$SYS.>", "$JS.>", "$NEX.>"};
// By when a service must have answered beyond the time-out it was given.
constexpr auto kOverdue = std::chrono::milliseconds(100);

}  // namespace

bool is_denied_subject(std::string_view subject) {
  return std::any_of(std::begin(kDenied), std::end(kDenied), [subject](std::string_view denied) {
    return subject::collide(denied, subject);
  });
}

struct HostCalls::State {
  State(const Deps& deps, const client::JetStream& js, Rights rights)
      : messaging(deps.connection, rights.access),
        key_value(js, rights.access, deps.services.options()),
        object_store(deps.loop, js, rights.access, deps.services.options()),
        http(deps.services.http(),
             std::make_shared<const EgressPolicy>(std::move(rights.egress))),
        calls(std::make_shared<OpenCalls>(deps.loop)) {}

  MessagingService messaging;
  KeyValueService key_value;
  ObjectStoreService object_store;
  HttpService http;
  const std::shared_ptr<OpenCalls> calls;  // goes first and cancels what the services do
};

HostCalls::HostCalls(const Deps& deps, Rights rights)
    : state_(std::make_unique<State>(deps, client::JetStream(deps.connection), std::move(rights))) {}

HostCalls::~HostCalls() = default;

void HostCalls::forget(HostCaller& caller) {
  state_->calls->forget(caller);
  state_->object_store.forget(caller);
}

void HostCalls::set_rights(Rights rights) {
  state_->messaging.set_access(rights.access);
  state_->key_value.set_access(rights.access);
  state_->object_store.set_access(rights.access);
  state_->http.set_egress(std::make_shared<const EgressPolicy>(std::move(rights.egress)));
}

void HostCalls::serve(HostCaller& caller, const HostCallRequest& request, Duration time_limit) {
  const runtime::HostCall& call = request.call;
  // Leaves the function a moment to make something of the failure.
  Duration timeout = time_limit * 9 / 10;
  if (call.timeout_ms > 0) {
    const int64_t limit_ms = std::chrono::ceil<std::chrono::milliseconds>(time_limit).count();
    timeout = std::chrono::milliseconds(std::min(call.timeout_ms, limit_ms));
  }
  const size_t bytes = call.payload.size() + call.headers.size() + call.target.size() + call.key.size();
  const Answer answer = state_->calls->open(caller, request.id, bytes, timeout + kOverdue);
  if (!answer.is_open()) return;
  if (call.service == "messaging") {
    return state_->messaging.serve(call, caller, timeout, call.timeout_ms > 0, answer);
  }
  if (call.service == "kv") return state_->key_value.serve(call, answer);
  if (call.service == "objectStore") return state_->object_store.serve(call, caller, answer);
  if (call.service == "http") return state_->http.serve(call, timeout, answer);
  answer.fail(501, "no host service " + std::string(call.service.substr(0, 32)));
}

}  // namespace brokkr::workload
