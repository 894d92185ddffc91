#pragma once

#include <string>
#include <string_view>

#include "protocol/header_edit.h"

namespace brokkr::workload {

// A workload's headers without those that only servers write and the one that has servers tell of the
// message's way on any subject, with the rights of the node.
inline std::string outgoing_headers(std::string_view block) {
  std::string headers(block);
  if (headers.empty()) return headers;
  protocol::remove_header_any_case(headers, "Nats-Request-Info");
  protocol::remove_header_any_case(headers, "Nats-Trace-Dest");
  return headers;
}

}  // namespace brokkr::workload
