#pragma once

#include <cstddef>
#include <deque>
#include <string>

#include "base/clock.h"

namespace brokkr::workload {

// The last things a function wrote, for those who ask afterwards. A value type.
class KeptLog {
 public:
  struct Entry {
    WallTime time;
    bool is_stdout;
    std::string text;
  };
  static constexpr size_t kEntriesMax = 1000;
  // With JSON's escapes well within the smallest usual message limit.
  static constexpr size_t kBytesMax = 64U << 10;

  void add(Entry entry) {
    bytes_ += entry.text.size();
    entries_.push_back(std::move(entry));
    while (entries_.size() > kEntriesMax || bytes_ > kBytesMax) {
      bytes_ -= entries_.front().text.size();
      entries_.pop_front();
    }
  }
  const std::deque<Entry>& entries() const { return entries_; }

 private:
  std::deque<Entry> entries_;
  size_t bytes_ = 0;
};

}  // namespace brokkr::workload
