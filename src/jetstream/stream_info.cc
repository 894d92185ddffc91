#include <algorithm>

#include "jetstream/account.h"
#include "jetstream/jetstream.h"
#include "jetstream/stream_json.h"
#include "jetstream/stream_rules.h"

namespace brokkr::jetstream {
namespace {

constexpr const char* kZeroTime = "0001-01-01T00:00:00Z";
// Of sequences that are no more a StreamInfo lists this many.
constexpr size_t kDeletedMax = 1'000'000;

std::string time_text(int64_t timestamp_ns) {
  return timestamp_ns == 0 ? kZeroTime : format_rfc3339(WallTime(Duration(timestamp_ns)));
}

void write_deleted(json::Writer& out, store::Stream& messages) {
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  messages.deleted_ranges(kDeletedMax, ranges);
  if (ranges.empty()) return;
  out.key("deleted").begin_array();
  size_t left = kDeletedMax;
  for (const auto& [from, to] : ranges) {
    for (uint64_t seq = from; seq <= to && left > 0; ++seq, --left) out.number(seq);
  }
  out.end_array();
}

void write_lost(json::Writer& out, const store::Stream& messages) {
  if (messages.lost().empty()) return;
  out.key("lost").begin_object().key("msgs").begin_array();
  for (const uint64_t seq : messages.lost()) out.number(seq);
  out.end_array().field("bytes", 0).end_object();
}

void write_subjects(json::Writer& out, store::Stream& messages, const StreamInfoOptions& options) {
  size_t index = 0;
  bool is_begun = false;
  const size_t end = options.subjects_offset + kSubjectDetailsMax;
  messages.visit_subjects(options.subjects_filter, [&](std::string_view subject, uint64_t count) {
    const size_t at = index++;
    if (at < options.subjects_offset || at >= end) return;
    if (!is_begun) out.key("subjects").begin_object();
    is_begun = true;
    out.field(subject, count);
  });
  if (is_begun) out.end_object();
}

// Those that copy the stream into another are not shown.
uint64_t count_shown(Stream& stream) {
  uint64_t count = 0;
  for (const auto& [name, consumer] : stream.consumers()) count += consumer->config().direct ? 0 : 1;
  return count;
}

}  // namespace

void write_stream_state(json::Writer& out, Stream& stream, const StreamInfoOptions& options) {
  store::Stream& messages = stream.messages();
  const store::StreamState state = messages.state();
  // One that never had a message has no first sequence, unless it was given one.
  const bool is_fresh =
      state.last.seq == 0 && stream.config().first_seq != 1 && !stream.was_purged();
  out.begin_object();
  out.field("messages", state.messages).field("bytes", state.bytes);
  out.field("first_seq", is_fresh ? 0 : state.first.seq);
  out.field("first_ts", time_text(state.messages == 0 ? 0 : state.first.timestamp_ns));
  out.field("last_seq", state.last.seq).field("last_ts", time_text(state.last.timestamp_ns));
  if (state.subjects != 0) out.field("num_subjects", state.subjects);
  if (!options.subjects_filter.empty()) write_subjects(out, messages, options);
  if (state.deleted != 0) out.field("num_deleted", state.deleted);
  if (options.with_deleted) write_deleted(out, messages);
  write_lost(out, messages);
  out.field("consumer_count", options.with_consumers ? count_shown(stream) : uint64_t{0});
  out.end_object();
}

void write_stream_info(json::Writer& out, Stream& stream, const StreamInfoOptions& options) {
  JetStream& jetstream = stream.account().jetstream();
  out.key("config");
  if (options.with_versions) {
    StreamConfig shown = stream.config();
    shown.metadata = with_server_versions(std::move(shown.metadata));
    write_stream_config(out, shown);
  } else {
    write_stream_config(out, stream.config());
  }
  out.field("created", format_rfc3339(stream.created()));
  out.key("state");
  write_stream_state(out, stream, options);
  const std::string& domain = jetstream.options().domain;
  if (options.with_domain && !domain.empty()) out.field("domain", domain);
  if (options.with_leader) {
    out.key("cluster").begin_object();
    out.field("leader", jetstream.server().snapshot()->settings->server_name);
    out.end_object();
  }
  stream.write_sources(out);
  out.field("ts", format_rfc3339(jetstream.now()));
}

}  // namespace brokkr::jetstream
