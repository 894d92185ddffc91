#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "runtime/host.h"

namespace brokkr::workload {

// Who makes host calls and gets their answers: an instance of a function. Loop-confined.
class HostCaller {
 public:
  virtual ~HostCaller() = default;
  virtual void reply_to_host_call(uint64_t id, const runtime::HostReply& reply) = 0;
  // What waits until its process takes it.
  virtual size_t pending_bytes() const = 0;
  // Whether a call it works on is to be answered there.
  virtual bool has_reply_subject(std::string_view subject) const = 0;
};

}  // namespace brokkr::workload
