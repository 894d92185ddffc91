#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "broker/jetstream_report.h"
#include "broker/monitor/connz.h"
#include "broker/monitor/documents.h"
#include "broker/monitor/subsz.h"
#include "broker/settings.h"

// What requests to the system account bring: which servers are meant, and the options of the
// monitoring documents as JSON names them. Pure.
namespace brokkr::broker {

// Reads members of a JSON object; what is of a wrong kind is remembered, in Go's words.
class OptionReader {
 public:
  // Text that is no JSON object fails at once; empty text is an empty object.
  explicit OptionReader(std::string_view body);
  bool boolean(std::string_view name);
  int64_t integer(std::string_view name);
  uint64_t unsigned_integer(std::string_view name) {
    return static_cast<uint64_t>(std::max<int64_t>(integer(name), 0));
  }
  std::string text(std::string_view name);
  std::vector<std::string> texts(std::string_view name);

  bool has_failed() const { return !error_.empty(); }
  const std::string& error() const { return error_; }

 private:
  const json::Value* find(std::string_view name) const;
  void fail(std::string_view got, std::string_view name, std::string_view wanted);

  json::Value object_;
  std::string error_;
};

// Whether the filters server_name, cluster, host, tags, domain and exact_match mean this server.
bool is_meant(OptionReader& reader, const Settings& settings);

// Fails when the sorting order cannot be had.
Result<ConnzOptions> read_connz_options(OptionReader& reader);
SubszOptions read_subsz_options(OptionReader& reader);
JszOptions read_jsz_options(OptionReader& reader);
HealthzOptions read_healthz_options(OptionReader& reader);

}  // namespace brokkr::broker
