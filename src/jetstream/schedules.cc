#include "jetstream/schedules.h"

#include <algorithm>
#include <vector>

#include "jetstream/jetstream.h"
#include "jetstream/publish_headers.h"
#include "jetstream/schedule_pattern.h"
#include "jetstream/stream.h"
#include "subject/subject.h"

namespace brokkr::jetstream {
namespace {

constexpr std::string_view kCrlf = "\r\n";

bool is_for_schedule_only(std::string_view line) {
  for (const std::string_view prefix : {"Nats-Schedule", "Nats-Expected-"}) {
    if (line.starts_with(prefix)) return true;
  }
  for (const HeaderKey key : {HeaderKey::MsgId, HeaderKey::Ttl, HeaderKey::Rollup}) {
    const std::string_view name = header_name(key);
    if (line.starts_with(name) && line.substr(name.size()).starts_with(':')) return true;
  }
  return false;
}

// Without what concerns the schedule, or would keep the copy out.
std::string copied_headers(std::string_view block) {
  std::string out;
  size_t at = block.find(kCrlf);
  while (at != std::string_view::npos) {
    at += kCrlf.size();
    const size_t end = block.find(kCrlf, at);
    const std::string_view line = block.substr(at, end == std::string_view::npos ? end : end - at);
    at = end;
    if (line.empty() || is_for_schedule_only(line)) continue;
    if (out.empty()) out = "NATS/1.0\r\n";
    out.append(line).append(kCrlf);
  }
  if (!out.empty()) out.append(kCrlf);
  return out;
}

SchedulePattern parse_schedule_of(const PublishHeaders& fields, WallTime from, WallTime now) {
  const std::string zone(fields.get(HeaderKey::ScheduleTimeZone));
  return parse_schedule(fields.get(HeaderKey::Schedule),
                        fields.has(HeaderKey::ScheduleTimeZone) ? &zone : nullptr, from, now);
}

}  // namespace

Schedules::Schedules(Stream& stream) : stream_(stream) { find_stored(); }

void Schedules::find_stored() {
  const store::SubjectFilter all(stream_.messages(), {});
  const WallTime now = stream_.account().jetstream().now();
  uint64_t from = stream_.messages().first_seq();
  for (;;) {
    auto message = stream_.messages().load_next(all, from);
    if (!message) break;
    from = message->seq + 1;
    const PublishHeaders fields(message->headers);
    if (fields.get(HeaderKey::Schedule).empty()) continue;
    // Counted from when it was stored, so that one that was missed fires now.
    const WallTime stored(Duration(message->timestamp_ns));
    const SchedulePattern pattern = parse_schedule_of(fields, stored, stored);
    if (pattern.error != 0) continue;
    schedules_[std::string(message->subject)] = {message->seq, std::max(pattern.next, now)};
  }
  arm();
}

void Schedules::add(uint64_t seq, std::string_view subject, std::string_view headers,
                    int64_t timestamp_ns) {
  const WallTime stored(Duration{timestamp_ns});
  const SchedulePattern pattern = parse_schedule_of(PublishHeaders(headers), stored, stored);
  if (pattern.error != 0 || !pattern.is_set) return;
  const auto found = schedules_.find(subject);
  Schedule& schedule =
      found != schedules_.end() ? found->second : schedules_[std::string(subject)];
  schedule = {seq, pattern.next};
  stream_.account().jetstream().upkeep().call_by(*this, pattern.next);
}

void Schedules::on_removed(uint64_t seq, std::string_view subject) {
  const auto found = schedules_.find(subject);
  if (found != schedules_.end() && found->second.seq == seq) schedules_.erase(found);
}

void Schedules::on_purged(std::string_view filter, uint64_t below) {
  if (!filter.empty() && subject::is_literal(filter)) {
    const auto found = schedules_.find(filter);
    if (found != schedules_.end() && found->second.seq < below) schedules_.erase(found);
    return;
  }
  std::erase_if(schedules_, [&](const auto& entry) {
    return entry.second.seq < below && (filter.empty() || subject::matches(filter, entry.first));
  });
}

void Schedules::arm() {
  if (schedules_.empty()) return;
  const auto earliest =
      std::min_element(schedules_.begin(), schedules_.end(), [](const auto& a, const auto& b) {
        return a.second.at < b.second.at;
      });
  stream_.account().jetstream().upkeep().call_at(*this, earliest->second.at);
}

void Schedules::on_due(WallTime now) {
  // In order of the stream; what is published may change the map.
  std::vector<std::pair<uint64_t, std::string>> due;
  for (const auto& [subject, schedule] : schedules_) {
    if (schedule.at <= now) due.emplace_back(schedule.seq, subject);
  }
  std::sort(due.begin(), due.end());
  for (const auto& [seq, subject] : due) {
    const auto found = schedules_.find(subject);
    if (found == schedules_.end() || found->second.seq != seq) continue;
    if (!fire(subject, found->second, now)) schedules_.erase(subject);
  }
  arm();
}

bool Schedules::fire(const std::string& subject, Schedule& schedule, WallTime now) {
  store::Stream& messages = stream_.messages();
  auto message = messages.load(schedule.seq);
  if (!message || message->subject != subject) return false;
  const PublishHeaders fields(message->headers);
  const SchedulePattern pattern = parse_schedule_of(fields, schedule.at, now);
  const std::string target(fields.get(HeaderKey::ScheduleTarget));
  if (pattern.error != 0 || !pattern.is_set || target.empty()) return false;
  const std::string ttl(fields.get(HeaderKey::ScheduleTtl));
  const std::string rollup(fields.get(HeaderKey::ScheduleRollup));
  const std::string source(fields.get(HeaderKey::ScheduleSource));
  std::string headers = copied_headers(message->headers);
  std::string body(message->body);
  if (!source.empty()) {
    if (auto last = messages.load_last(source)) {
      headers = copied_headers(last->headers);
      body = last->body;
    }
  }
  append_header(headers, header_name(HeaderKey::Scheduler), subject);
  append_header(headers, header_name(HeaderKey::ScheduleNext),
                pattern.repeats ? format_rfc3339(pattern.next) : "purge");
  if (!ttl.empty()) append_header(headers, header_name(HeaderKey::Ttl), ttl);
  if (!rollup.empty()) append_header(headers, header_name(HeaderKey::Rollup), rollup);
  // Before the publish, which purges a schedule that fires once.
  schedule.at = pattern.repeats ? pattern.next : now + std::chrono::seconds(1);
  const uint64_t seq = schedule.seq;
  (void)stream_.add_sourced(target, headers, body);
  const auto left = schedules_.find(subject);
  return left != schedules_.end() && (left->second.seq == seq || pattern.repeats);
}

}  // namespace brokkr::jetstream
