#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

// INVOCATIONS.<workload id or name> of the control API, ours: the last calls of a function on each
// node that runs it. Node and command line share this. Pure.
namespace brokkr::workload {

struct InvocationsRequest {
  uint32_t limit = 100;
  bool errors = false;  // only those that failed
};

struct InvocationRecord {
  std::string time;  // RFC 3339, when the message arrived
  std::string subject;
  uint64_t duration_ns = 0;  // until the answer, waiting included
  uint64_t waited_ns = 0;    // of that, before an instance had it
  uint32_t code = 200;       // as in Nats-Service-Error-Code
  std::string error;         // one line
  uint64_t payload_bytes = 0;
  uint64_t reply_bytes = 0;
  uint32_t deliveries = 0;   // of a durable trigger: which attempt it was
  std::string trace_id;      // 32 hex digits, or empty
};

struct InvocationsReply {
  std::string id;
  std::string name;
  std::string node_id;
  uint32_t slot = 0;  // which replica; a node may run several
  std::vector<InvocationRecord> invocations;  // newest first
};

std::string encode(const InvocationsRequest&);
std::string encode(const InvocationsReply&);
// Fail with Syntax or InvalidArgument as the other decoders of the control API.
Result<InvocationsRequest> decode_invocations_request(std::string_view);
Result<InvocationsReply> decode_invocations_reply(std::string_view);

}  // namespace brokkr::workload
