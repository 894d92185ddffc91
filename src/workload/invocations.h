#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "workload/control_invocations.h"
#include "workload/trace_context.h"

namespace brokkr::workload {

// The last calls of a function, for those who ask what happened. Texts are cut, so that a function's
// record has a bound. Takes memory as calls come. A value type.
class RecentInvocations {
 public:
  static constexpr size_t kDefault = 100;
  static constexpr size_t kSubjectBytesMax = 128;
  static constexpr size_t kErrorBytesMax = 256;

  explicit RecentInvocations(size_t count_max = kDefault) : count_max_(count_max) {}

  struct Entry {
    WallTime time{};  // arrival
    Duration took{};
    Duration waited{};  // of that, before an instance had it
    uint32_t payload_bytes = 0;
    uint32_t reply_bytes = 0;
    uint16_t code = 200;
    uint16_t deliveries = 0;  // of a durable trigger: which attempt it was; else 0
    TraceContext trace;       // not set: it was not part of one
    std::string subject;
    std::string error;
  };
  // Takes the entry but for its texts, which are copied into the room of the oldest.
  void add(Entry entry, std::string_view subject, std::string_view error);
  size_t size() const { return entries_.size(); }
  // Newest first, at most `limit`; `only_errors`: of those that failed.
  std::vector<InvocationRecord> list(size_t limit, bool only_errors) const;

 private:
  size_t count_max_;
  size_t next_ = 0;  // where the next goes once it is full
  std::vector<Entry> entries_;
};

}  // namespace brokkr::workload
