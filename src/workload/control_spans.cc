#include "workload/control_spans.h"

#include <algorithm>

namespace brokkr::workload {

void ControlSpans::begin(const client::Message& request, std::string_view name) {
  if (request.reply.empty()) return;
  if (open_.size() >= kOpenMax) {
    // The oldest is one that was another node's to answer.
    open_.erase(std::min_element(open_.begin(), open_.end(), [](const auto& a, const auto& b) {
      return a.second.start < b.second.start;
    }));
  }
  const TraceContext caller = trace_context_of(request.headers);
  Span& span = open_[std::string(request.reply)];
  span = {};
  span.context = tracer_.start(caller);
  span.parent = caller.span_id;
  span.kind = Span::Kind::Server;
  span.name = "control " + std::string(name);
  span.start = loop_.clock().wall_now();
  span.attributes = {{"messaging.system", "nats"},
                     {"messaging.destination.name", std::string(request.subject)}};
}

void ControlSpans::end(std::string_view reply, int code, std::string_view error) {
  const auto found = open_.find(reply);
  if (found == open_.end()) return;
  Span span = std::move(found->second);
  open_.erase(found);
  span.end = loop_.clock().wall_now();
  span.attributes.emplace_back("brokkr.code", std::to_string(code));
  span.has_failed = code >= 400;
  span.error = error;
  tracer_.end(std::move(span));
}

}  // namespace brokkr::workload
