#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/random.h"

namespace brokkr::workload {

constexpr std::string_view kTraceparentHeader = "traceparent";
constexpr std::string_view kTracestateHeader = "tracestate";

// Where in a distributed trace something happens: W3C trace context, level 1. A value type.
struct TraceContext {
  std::array<uint8_t, 16> trace_id{};
  std::array<uint8_t, 8> span_id{};
  uint8_t flags = 0;   // bit 0: sampled
  std::string state;   // of `tracestate`, passed on unread

  bool is_set() const { return trace_id != std::array<uint8_t, 16>(); }
  bool is_sampled() const { return (flags & 1) != 0; }
};

// "00-<32 hex>-<16 hex>-<2 hex>"; of later versions what this one knows. Absent on anything else and
// on ids of zeros only.
std::optional<TraceContext> parse_traceparent(std::string_view text);
// What a message's or request's header block says; not set when it says nothing or nonsense.
TraceContext trace_context_of(std::string_view headers);
std::string format_traceparent(const TraceContext&);
// A span below `parent`, or a sampled root when that is not set.
TraceContext make_child(const TraceContext& parent, Random&);
// The header block with this context in place of what it had.
std::string with_trace_context(std::string_view headers, const TraceContext&);

std::string to_hex(const std::array<uint8_t, 16>&);
std::string to_hex(const std::array<uint8_t, 8>&);

}  // namespace brokkr::workload
