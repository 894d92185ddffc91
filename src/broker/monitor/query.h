#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "http/server.h"

namespace brokkr::broker {

// Reads the parameters of a monitoring request. An absent or empty one is false, 0 or "". The first
// that is malformed is remembered, in nats-server's words. Loop-confined.
class QueryReader {
 public:
  explicit QueryReader(const http::Request& request) : request_(request) {}

  bool boolean(std::string_view name);
  int64_t integer(std::string_view name);
  uint64_t unsigned_integer(std::string_view name);
  std::string text(std::string_view name) const { return std::string(request_.find_query(name)); }
  void fail(std::string text);

  bool has_failed() const { return !error_.empty(); }
  const std::string& error() const { return error_; }

 private:
  void fail_decoding(std::string_view type, std::string_view name, std::string_view function,
                     std::string_view value, std::string_view reason);

  const http::Request& request_;
  std::string error_;
};

}  // namespace brokkr::broker
