#include "jetstream/publish_headers.h"

#include <algorithm>
#include <chrono>

#include "base/bytes.h"
#include "base/clock.h"

namespace brokkr::jetstream {
namespace {

constexpr std::string_view kLine = "NATS/1.0\r\n";
constexpr std::string_view kVersion = "NATS/1.0";
constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kPrefix = "Nats-";
constexpr size_t kNameMax = 44;  // no name is longer

constexpr std::array<std::string_view, kHeaderKeys> kNames = {
    "Nats-Request-Info",
    "Nats-Msg-Id",
    "Nats-Expected-Stream",
    "Nats-Expected-Last-Sequence",
    "Nats-Expected-Last-Msg-Id",
    "Nats-Expected-Last-Subject-Sequence",
    "Nats-Expected-Last-Subject-Sequence-Subject",
    "Nats-Rollup",
    "Nats-TTL",
    "Nats-Incr",
    "Nats-Counter-Sources",
    "Nats-Batch-Id",
    "Nats-Batch-Sequence",
    "Nats-Batch-Commit",
    "Nats-Required-Api-Level",
    "Nats-Schedule",
    "Nats-Schedule-TTL",
    "Nats-Schedule-Target",
    "Nats-Schedule-Source",
    "Nats-Schedule-Rollup",
    "Nats-Schedule-Time-Zone",
    "Nats-Schedule-Next",
    "Nats-Scheduler",
    "Nats-Stream-Source",
    "Nats-Marker-Reason",
    "KV-Operation",
};

// Names by length: those of one length stand together, so that a line is compared with few.
struct NameIndex {
  std::array<uint8_t, kHeaderKeys> keys{};
  std::array<uint8_t, kNameMax + 2> begin{};  // by length; the end is the next one's begin
};
constexpr NameIndex make_name_index() {
  NameIndex index;
  size_t count = 0;
  for (size_t length = 0; length + 1 < index.begin.size(); ++length) {
    index.begin[length] = static_cast<uint8_t>(count);
    for (size_t i = 0; i < kNames.size(); ++i) {
      if (kNames[i].size() == length) index.keys[count++] = static_cast<uint8_t>(i);
    }
  }
  index.begin[index.begin.size() - 1] = static_cast<uint8_t>(count);
  return index;
}
constexpr NameIndex kIndex = make_name_index();
static_assert(kIndex.begin[kIndex.begin.size() - 1] == kHeaderKeys);

}  // namespace

std::string_view header_name(HeaderKey key) { return kNames[static_cast<size_t>(key)]; }

PublishHeaders::PublishHeaders(std::string_view block) {
  size_t at = block.find(kLineEnd);
  while (at != std::string_view::npos) {
    at += kLineEnd.size();
    const size_t end = block.find(kLineEnd, at);
    const std::string_view line = block.substr(at, end == std::string_view::npos ? end : end - at);
    at = end;
    if (line.size() < 8 || (!line.starts_with(kPrefix) && !line.starts_with("KV-"))) continue;
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos || colon + 1 >= kIndex.begin.size()) continue;
    for (size_t i = kIndex.begin[colon]; i < kIndex.begin[colon + 1]; ++i) {
      const auto key = static_cast<HeaderKey>(kIndex.keys[i]);
      if (line.substr(0, colon) != kNames[static_cast<size_t>(key)]) continue;
      note(key, line.substr(colon + 1));
      break;
    }
  }
}

void PublishHeaders::note(HeaderKey key, std::string_view value) {
  if (has(key)) return;
  value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
  present_ |= 1U << static_cast<unsigned>(key);
  values_[static_cast<size_t>(key)] = value;
}

std::string_view without_status(std::string_view block, std::string& storage) {
  if (!block.starts_with(kVersion)) return block;
  const size_t end = block.find('\r');
  if (end == std::string_view::npos || end <= kVersion.size()) return block;
  storage.assign(kVersion).append(block.substr(end));
  return storage.size() <= kLine.size() + kLineEnd.size() ? std::string_view() : storage;
}

int64_t parse_ttl(std::string_view text) {
  if (text.empty()) return 0;
  if (equals_ignore_case(text, "never")) return kTtlNever;
  Duration duration;
  if (parse_go_duration(text, duration)) {
    if (duration < std::chrono::seconds(1)) return kTtlInvalid;
    return std::chrono::duration_cast<std::chrono::seconds>(duration).count();
  }
  const auto seconds = parse_uint(text);
  if (!seconds || *seconds > static_cast<uint64_t>(INT64_MAX)) return kTtlInvalid;
  return static_cast<int64_t>(*seconds);
}

uint64_t parse_sequence(std::string_view text) {
  if (text.empty()) return UINT64_MAX;
  uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return UINT64_MAX;
    value = value * 10 + static_cast<uint64_t>(c - '0');
  }
  return value;
}

}  // namespace brokkr::jetstream
