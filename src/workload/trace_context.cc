#include "workload/trace_context.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "protocol/headers.h"

namespace brokkr::workload {
namespace {

constexpr size_t kTraceparentBytes = 55;
constexpr size_t kTracestateBytesMax = 512;

int trace_nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// Lower-case digits only, as the standard has it.
bool read_trace_bytes(std::string_view text, std::span<uint8_t> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    const int high = trace_nibble(text[2 * i]);
    const int low = trace_nibble(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return true;
}

std::string trace_hex(std::span<const uint8_t> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

bool is_all_zero(std::span<const uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

void fill_trace_bytes(std::span<uint8_t> out, Random& random) {
  for (size_t at = 0; at < out.size(); at += 8) {
    // Zeros only would mean no id at all.
    const uint64_t bits = random.next() | 1;
    std::memcpy(out.data() + at, &bits, 8);
  }
}

}  // namespace

std::optional<TraceContext> parse_traceparent(std::string_view text) {
  if (text.size() < kTraceparentBytes || text[2] != '-' || text[35] != '-' || text[52] != '-') {
    return std::nullopt;
  }
  const bool is_later = text.substr(0, 2) != "00";
  if (text.size() > kTraceparentBytes && (!is_later || text[kTraceparentBytes] != '-')) {
    return std::nullopt;
  }
  std::array<uint8_t, 1> version{};
  std::array<uint8_t, 1> flags{};
  TraceContext context;
  if (!read_trace_bytes(text.substr(0, 2), version) || version[0] == 0xff ||
      !read_trace_bytes(text.substr(3, 32), context.trace_id) ||
      !read_trace_bytes(text.substr(36, 16), context.span_id) ||
      !read_trace_bytes(text.substr(53, 2), flags) || is_all_zero(context.trace_id) ||
      is_all_zero(context.span_id)) {
    return std::nullopt;
  }
  context.flags = flags[0] & 1;
  return context;
}

TraceContext trace_context_of(std::string_view headers) {
  // Most messages have none: one look instead of a parse.
  if (headers.find("raceparent") == std::string_view::npos) return {};
  const auto parsed = protocol::Headers::parse(headers);
  if (!parsed) return {};
  auto context = parse_traceparent(parsed->find_ignore_case(kTraceparentHeader).value_or(""));
  if (!context) return {};
  context->state = parsed->find_ignore_case(kTracestateHeader).value_or("");
  if (context->state.size() > kTracestateBytesMax) context->state.clear();
  return *context;
}

std::string format_traceparent(const TraceContext& context) {
  return "00-" + trace_hex(context.trace_id) + "-" + trace_hex(context.span_id) + "-" +
         trace_hex(std::array<uint8_t, 1>{context.flags});
}

TraceContext make_child(const TraceContext& parent, Random& random) {
  TraceContext child = parent;
  if (!parent.is_set()) {
    fill_trace_bytes(child.trace_id, random);
    child.flags = 1;
  }
  fill_trace_bytes(child.span_id, random);
  return child;
}

std::string with_trace_context(std::string_view headers, const TraceContext& context) {
  std::string block =
      protocol::with_header(headers, kTraceparentHeader, format_traceparent(context));
  if (!context.state.empty()) {
    block = protocol::with_header(block, kTracestateHeader, context.state);
  }
  return block;
}

std::string to_hex(const std::array<uint8_t, 16>& id) { return trace_hex(id); }
std::string to_hex(const std::array<uint8_t, 8>& id) { return trace_hex(id); }

}  // namespace brokkr::workload
