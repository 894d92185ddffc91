#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "protocol/header_edit.h"

// The headers that mean something to a stream, found in one pass over a block. Pure, apart from what
// an object holds.
namespace brokkr::jetstream {

enum class HeaderKey : uint8_t {
  ClientInfo,                // Nats-Request-Info
  MsgId,                     // Nats-Msg-Id
  ExpectedStream,            // Nats-Expected-Stream
  ExpectedLastSeq,           // Nats-Expected-Last-Sequence
  ExpectedLastMsgId,         // Nats-Expected-Last-Msg-Id
  ExpectedLastSubjectSeq,    // Nats-Expected-Last-Subject-Sequence
  ExpectedLastSubjectSeqOf,  // Nats-Expected-Last-Subject-Sequence-Subject
  Rollup,                    // Nats-Rollup
  Ttl,                       // Nats-TTL
  Incr,                      // Nats-Incr
  CounterSources,            // Nats-Counter-Sources
  BatchId,                   // Nats-Batch-Id
  BatchSequence,             // Nats-Batch-Sequence
  BatchCommit,               // Nats-Batch-Commit
  RequiredApiLevel,          // Nats-Required-Api-Level
  Schedule,                  // Nats-Schedule
  ScheduleTtl,               // Nats-Schedule-TTL
  ScheduleTarget,            // Nats-Schedule-Target
  ScheduleSource,            // Nats-Schedule-Source
  ScheduleRollup,            // Nats-Schedule-Rollup
  ScheduleTimeZone,          // Nats-Schedule-Time-Zone
  ScheduleNext,              // Nats-Schedule-Next
  Scheduler,                 // Nats-Scheduler
  StreamSource,              // Nats-Stream-Source
  MarkerReason,              // Nats-Marker-Reason
  KvOperation,               // KV-Operation
};
constexpr size_t kHeaderKeys = 26;
std::string_view header_name(HeaderKey key);

// Views into the block, which outlives it. Of a key that is there several times, the first.
class PublishHeaders {
 public:
  PublishHeaders() = default;
  explicit PublishHeaders(std::string_view block);
  bool has(HeaderKey key) const { return (present_ >> static_cast<unsigned>(key) & 1) != 0; }
  // Empty when absent.
  std::string_view get(HeaderKey key) const {
    return has(key) ? values_[static_cast<size_t>(key)] : std::string_view();
  }
  bool is_empty() const { return present_ == 0; }

 private:
  void note(HeaderKey key, std::string_view value);
  uint32_t present_ = 0;
  std::array<std::string_view, kHeaderKeys> values_;  // valid where `present_` says so
};

// "NATS/1.0 503 text" becomes "NATS/1.0"; a block of nothing else becomes empty.
std::string_view without_status(std::string_view block, std::string& storage);
using protocol::append_header;
using protocol::remove_header;
using protocol::set_header;

// A message's time to live: whole seconds, 0 for none.
constexpr int64_t kTtlNever = -1;
constexpr int64_t kTtlInvalid = -2;
int64_t parse_ttl(std::string_view text);
// Digits only, and as Go's int64 turned unsigned wraps; anything else is UINT64_MAX.
uint64_t parse_sequence(std::string_view text);

}  // namespace brokkr::jetstream
