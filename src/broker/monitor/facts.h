#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "broker/monitor/varz.h"

namespace brokkr::broker {

// What the monitoring pages tell of themselves and of the process, kept by the server so that every
// way to ask for them tells the same. Thread-safe under `mutex`.
struct MonitorFacts {
  explicit MonitorFacts(MonotonicTime now) : meter(now) {}
  std::mutex mutex;
  ProcessMeter meter;
  std::map<std::string, uint64_t> requests;  // by endpoint
  // Where the pages are; port 0 while they are nowhere.
  std::string http_host;
  uint16_t http_port = 0;
  uint16_t https_port = 0;
  std::string base_path;
};

}  // namespace brokkr::broker
