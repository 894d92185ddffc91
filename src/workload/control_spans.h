#pragma once

#include <map>
#include <string>
#include <string_view>

#include "client/message.h"
#include "io/loop.h"
#include "workload/tracer.h"

namespace brokkr::workload {

// Spans of control requests, from a request's arrival to its answer; those nobody here answers are
// forgotten. Loop-confined.
class ControlSpans {
 public:
  // Both outlive it.
  ControlSpans(io::Loop& loop, Tracer& tracer) : loop_(loop), tracer_(tracer) {}

  void begin(const client::Message& request, std::string_view name);
  void end(std::string_view reply, int code, std::string_view error);

 private:
  static constexpr size_t kOpenMax = 256;
  io::Loop& loop_;
  Tracer& tracer_;
  std::map<std::string, Span, std::less<>> open_;  // by reply subject
};

}  // namespace brokkr::workload
