#pragma once

#include <cstddef>
#include <string_view>

#include "base/json.h"
#include "jetstream/go_json.h"
#include "jetstream/stream_config.h"

namespace brokkr::jetstream {

class Stream;

// One member of a stream's configuration; false when there is none of that name.
bool read_stream_config_member(JsonMember& member, StreamConfig& out);

// What a StreamInfo shows beyond the common.
struct StreamInfoOptions {
  bool with_versions = true;  // the metadata that tells of this server
  bool with_domain = true;
  bool with_leader = false;
  bool with_deleted = false;
  bool with_consumers = true;  // else it says there are none
  // Subjects to count, and where in their sorted list to begin. Empty: not listed.
  std::string_view subjects_filter;
  size_t subjects_offset = 0;
};
constexpr size_t kSubjectDetailsMax = 100'000;

// The members of a StreamInfo.
void write_stream_info(json::Writer& out, Stream& stream, const StreamInfoOptions& options);
// The `state` object.
void write_stream_state(json::Writer& out, Stream& stream, const StreamInfoOptions& options);

}  // namespace brokkr::jetstream
