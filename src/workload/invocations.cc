#include "workload/invocations.h"

#include <algorithm>

namespace brokkr::workload {

void RecentInvocations::add(Entry entry, std::string_view subject, std::string_view error) {
  if (count_max_ == 0) return;
  if (entries_.size() < count_max_) {
    entries_.emplace_back();
    next_ = entries_.size() - 1;
  }
  Entry& slot = entries_[next_];
  entry.subject = std::move(slot.subject);
  entry.error = std::move(slot.error);
  entry.subject = subject.substr(0, kSubjectBytesMax);
  entry.error = error.substr(0, std::min(error.find_first_of("\r\n"), kErrorBytesMax));
  slot = std::move(entry);
  next_ = (next_ + 1) % count_max_;
}

std::vector<InvocationRecord> RecentInvocations::list(size_t limit, bool only_errors) const {
  std::vector<InvocationRecord> records;
  for (size_t i = 0; i < entries_.size() && records.size() < limit; ++i) {
    const size_t at = (next_ + 2 * count_max_ - 1 - i) % count_max_;
    const Entry& entry = entries_[at];
    if (only_errors && entry.code == 200) continue;
    InvocationRecord& record = records.emplace_back();
    record.time = format_rfc3339(entry.time);
    record.subject = entry.subject;
    record.duration_ns = static_cast<uint64_t>(std::max<int64_t>(entry.took.count(), 0));
    record.waited_ns = static_cast<uint64_t>(std::max<int64_t>(entry.waited.count(), 0));
    record.code = entry.code;
    record.error = entry.error;
    record.payload_bytes = entry.payload_bytes;
    record.reply_bytes = entry.reply_bytes;
    record.deliveries = entry.deliveries;
    if (entry.trace.is_set()) record.trace_id = to_hex(entry.trace.trace_id);
  }
  return records;
}

}  // namespace brokkr::workload
