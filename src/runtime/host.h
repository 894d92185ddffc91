#pragma once

#include <cstdint>
#include <string>
#include <string_view>

// What a function may ask of the world. Engines call it, workload implements it: in an instance
// process every call is a frame on the socket pair the process was born with.
namespace brokkr::runtime {

enum class LogStream : uint8_t { Stdout, Stderr };

// What one request may carry in all its fields together; engines refuse more with 413.
constexpr size_t kHostCallBytesMax = 8U << 20;

// One request for a host service. `service` and `method` are the field's own words:
// messaging.publish|request|requestMany, kv.*, objectStore.*, http.<method>. What each takes and gives is
// said where the node serves it, in workload/host_services/.
struct HostCall {
  std::string_view service;
  std::string_view method;
  std::string_view target;   // subject, bucket or URL
  std::string_view key;      // key or object name; of a publish its reply subject; or empty
  std::string_view headers;  // raw NATS/1.0 header block, or empty
  std::string_view payload;
  int64_t timeout_ms = 0;    // 0 means the function's own deadline
  uint32_t replies_max = 0;  // requestMany: 0 means until the timeout or an empty reply
  uint64_t invocation = 0;   // the Invocation it is made for; 0 when the engine cannot tell

  size_t bytes() const {
    return service.size() + method.size() + target.size() + key.size() + headers.size() +
           payload.size();
  }
};

struct HostReply {
  uint16_t code = 200;      // 200 ok; else an HTTP-like code: 404, 408 timed out, 501, 503 no responders
  std::string error;        // when code is not 200
  std::string headers;      // raw NATS/1.0 header block, or empty
  std::string payload;      // requestMany: the first reply's; the others are in `more`
  std::string more;         // lists: byte strings, each behind its length (u32 little endian)
};

// Confined to the instance's thread.
class Host {
 public:
  virtual ~Host() = default;
  // A line or several of console output, without the last newline; cut and rate limited by the
  // node.
  virtual void log(LogStream, std::string_view text) = 0;
  // Blocks until the reply is there; used by the synchronous API.
  virtual HostReply call(const HostCall&) = 0;
  // Starts a call; the reply arrives at Function::complete_call under the id returned.
  virtual uint64_t start_call(const HostCall&) = 0;
};

}  // namespace brokkr::runtime
