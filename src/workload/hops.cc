#include "workload/hops.h"

#include <algorithm>
#include <charconv>

#include "protocol/headers.h"

namespace brokkr::workload {

uint8_t hops_of(std::string_view headers) {
  // Most messages come from elsewhere: one look instead of a parse.
  if (headers.find(kHopsHeader) == std::string_view::npos) return 0;
  const auto parsed = protocol::Headers::parse(headers);
  if (!parsed) return 0;
  const auto text = parsed->find(kHopsHeader);
  if (!text) return 0;
  return parse_hops(*text);
}

uint8_t parse_hops(std::string_view text) {
  uint8_t hops = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), hops);
  return read.ec == std::errc() ? std::min(hops, kHopsMax) : kHopsMax;
}

bool is_sending(std::string_view service, std::string_view method) {
  // A request may come to an HTTP trigger.
  if (service == "messaging" || service == "http") return true;
  constexpr std::string_view kWrites[] = {"set",    "put",   "create", "update",
                                          "delete", "purge", "write"};
  return (service == "kv" || service == "objectStore") &&
         std::any_of(std::begin(kWrites), std::end(kWrites),
                     [method](std::string_view write) { return method.starts_with(write); });
}

}  // namespace brokkr::workload
