#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "base/result.h"
#include "io/loop.h"
#include "workload/trace_context.h"

namespace brokkr::workload {

// One operation of a trace, in OpenTelemetry's terms.
struct Span {
  enum class Kind : uint8_t { Internal = 1, Server = 2, Client = 3, Producer = 4, Consumer = 5 };
  TraceContext context;
  std::array<uint8_t, 8> parent{};  // zeros: a root
  Kind kind = Kind::Internal;
  std::string name;
  WallTime start{};
  WallTime end{};
  std::vector<std::pair<std::string, std::string>> attributes;
  bool has_failed = false;
  std::string error;
};

// The body of an export request, OTLP 1.x in JSON. Pure.
std::string encode_spans(const std::vector<Span>& spans,
                         const std::vector<std::pair<std::string, std::string>>& resource);

// Collects spans and sends them in batches to an OpenTelemetry collector over OTLP/HTTP, from a thread
// of its own. What the collector does not take in time is dropped and counted; nobody waits for it.
// Loop-confined.
class Tracer {
 public:
  struct Options {
    // The collector's address; "/v1/traces" is added unless the path is there already. http or https.
    std::string endpoint;
    std::vector<std::pair<std::string, std::string>> headers;   // of each request
    std::vector<std::pair<std::string, std::string>> resource;  // "service.name", …
    size_t batch_max = 512;   // spans in one request
    size_t queue_max = 8192;  // spans kept while requests are under way
    Duration flush_every = std::chrono::seconds(1);
    Duration timeout = std::chrono::seconds(10);
  };
  struct Counts {
    uint64_t exported = 0;
    uint64_t dropped = 0;
    uint64_t failed_requests = 0;
  };
  // Fails with InvalidArgument when the address is none.
  static Result<std::unique_ptr<Tracer>> open(io::Loop&, Log&, Options);
  virtual ~Tracer() = default;  // sends what it has, waiting at most a second

  // A span below `parent`, or a new root. Whether it is recorded is the parent's decision.
  virtual TraceContext start(const TraceContext& parent) = 0;
  // Takes a finished span; without effect when its context is not sampled.
  virtual void end(Span span) = 0;
  virtual Counts counts() const = 0;
};

// The options the environment has: OTEL_EXPORTER_OTLP_ENDPOINT, …_TRACES_ENDPOINT, …_HEADERS and
// OTEL_SERVICE_NAME; `endpoint`, when given, goes before them. No endpoint: no tracing.
Tracer::Options tracer_options(const std::string& endpoint);

}  // namespace brokkr::workload
