#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace brokkr::workload {

// How many functions a message has passed through: each that publishes while it handles a message
// adds one. What would come back to itself for ever ends at the limit.
constexpr std::string_view kHopsHeader = "Nats-Brokkr-Hops";
constexpr uint8_t kHopsMax = 16;

// What the header block says; 0 without the header, the limit when it says nonsense.
uint8_t hops_of(std::string_view headers);
// What one such header says: the limit when it is nonsense.
uint8_t parse_hops(std::string_view text);
// Whether a host call sends something on that may trigger a function.
bool is_sending(std::string_view service, std::string_view method);

}  // namespace brokkr::workload
