// Counters and schedules: what a publish on such a stream must be like.
#include <algorithm>
#include <map>

#include "base/bytes.h"
#include "jetstream/big_decimal.h"
#include "jetstream/ingest.h"
#include "jetstream/schedule_pattern.h"
#include "jetstream/stream.h"
#include "subject/subject.h"

namespace brokkr::jetstream {
namespace {

// {"stream":{"subject":"value"}}, in the order Go writes maps.
using CounterSources = std::map<std::string, std::map<std::string, std::string>>;

// The number in {"val":"…"}; absent when that is no such text.
std::optional<std::string> counter_value(std::string_view body) {
  auto parsed = json::parse(body);
  if (!parsed || !parsed->is_object()) return std::nullopt;
  const json::Value* value = parsed->find("val");
  if (value != nullptr && !value->is_string()) return std::nullopt;
  const std::string number = parse_decimal(value == nullptr ? "" : value->as_string());
  return number.empty() ? "0" : number;
}

bool parse_sources(std::string_view text, CounterSources& out) {
  auto parsed = json::parse(text);
  if (!parsed || !parsed->is_object()) return false;
  for (const auto& [stream, subjects] : parsed->members()) {
    if (!subjects.is_object()) return false;
    for (const auto& [subject, value] : subjects.members()) {
      if (!value.is_string()) return false;
      out[stream][subject] = value.as_string();
    }
  }
  return true;
}

std::string format_sources(const CounterSources& sources) {
  json::Writer out;
  out.begin_object();
  for (const auto& [stream, subjects] : sources) {
    out.key(stream).begin_object();
    for (const auto& [subject, value] : subjects) out.field(subject, value);
    out.end_object();
  }
  out.end_object();
  return out.take();
}

bool is_in_stream(const StreamConfig& config, std::string_view subject) {
  return std::any_of(config.subjects.begin(), config.subjects.end(), [&](const std::string& own) {
    return subject::collide(own, subject);
  });
}

}  // namespace

ApiStatus Ingest::check_increment(Incoming& in) const {
  const std::string_view increment = in.fields.get(HeaderKey::Incr);
  if (increment.empty()) return {};
  if (parse_decimal(increment).empty()) return api_error(10171);
  if (in.is_sourced) return {};
  if (!stream_.config().allow_msg_counter) return api_error(10168);
  if (!in.body.empty()) return api_error(10170);
  for (const HeaderKey key : {HeaderKey::Rollup, HeaderKey::ExpectedStream,
                              HeaderKey::ExpectedLastMsgId, HeaderKey::ExpectedLastSubjectSeqOf,
                              HeaderKey::ExpectedLastSeq, HeaderKey::ExpectedLastSubjectSeq}) {
    if (!in.fields.get(key).empty()) return api_error(10171);
  }
  return {};
}

ApiStatus Ingest::apply_counter(Incoming& in, const store::Record* before) const {
  const ApiError broken = api_error(10172);
  std::string total = "0";
  CounterSources sources;
  if (before != nullptr) {
    const auto value = counter_value(before->body);
    if (!value) return broken;
    total = *value;
    const PublishHeaders fields(before->headers);
    const std::string_view text = fields.get(HeaderKey::CounterSources);
    if (!text.empty() && !parse_sources(text, sources)) return broken;
  }
  std::string increment = parse_decimal(in.fields.get(HeaderKey::Incr));
  if (const std::string_view source = in.fields.get(HeaderKey::StreamSource); !source.empty()) {
    // A copy carries the origin's total: what counts is the difference to the one before.
    const auto value = counter_value(in.body);
    if (!value) return broken;
    const auto parts = split(source, ' ');
    const std::string subject(parts.size() >= 5 ? parts[4] : in.subject);
    std::string& known = sources[std::string(parts[0])][subject];
    const std::string previous = parse_decimal(known);
    increment = subtract_decimals(*value, previous.empty() ? "0" : previous);
    known = *value;
    set_header(in.own_headers(), header_name(HeaderKey::Incr), increment);
    in.changed_headers();
  }
  in.counter = add_decimals(total, increment);
  in.set_body("{\"val\":\"" + in.counter + "\"}");
  if (!sources.empty()) {
    set_header(in.own_headers(), header_name(HeaderKey::CounterSources), format_sources(sources));
    in.changed_headers();
  }
  return {};
}

ApiStatus Ingest::check_schedule(Incoming& in) const {
  const StreamConfig& config = stream_.config();
  const std::string_view pattern = in.fields.get(HeaderKey::Schedule);
  const bool has_zone = in.fields.has(HeaderKey::ScheduleTimeZone);
  if (!pattern.empty() || has_zone) {
    const std::string zone(in.fields.get(HeaderKey::ScheduleTimeZone));
    const SchedulePattern parsed = parse_schedule(pattern, has_zone ? &zone : nullptr,
                                                  WallTime(Duration(now_ns())),
                                                  WallTime(Duration(now_ns())));
    if (parsed.error != 0) {
      return api_error(config.allow_msg_schedules ? parsed.error : uint16_t{10188});
    }
  }
  if (!pattern.empty()) {
    if (!config.allow_msg_schedules) return api_error(10188);
    const std::string_view ttl = in.fields.get(HeaderKey::ScheduleTtl);
    if (parse_ttl(ttl) == kTtlInvalid) return api_error(10191);
    const std::string_view rollup = in.fields.get(HeaderKey::ScheduleRollup);
    if (!rollup.empty() && rollup != "sub") return api_error(10192);
    if (!ttl.empty() && !config.allow_msg_ttl) return api_error(10166);
    const std::string_view target = in.fields.get(HeaderKey::ScheduleTarget);
    if (!subject::is_valid_literal(target) || target == in.subject) return api_error(10190);
    const std::string_view source = in.fields.get(HeaderKey::ScheduleSource);
    if (!source.empty() &&
        (source == target || source == in.subject || !subject::is_valid_literal(source))) {
      return api_error(10203);
    }
    if (!is_in_stream(config, target)) return api_error(10190);
    if (!source.empty() && !is_in_stream(config, source)) return api_error(10203);
    const std::string own_rollup = to_lower(in.fields.get(HeaderKey::Rollup));
    if (own_rollup.empty()) {
      append_header(in.own_headers(), header_name(HeaderKey::Rollup), "sub");
      in.changed_headers();
    } else if (own_rollup != "sub") {
      return api_error(10192);
    }
    in.has_schedule = true;
  }
  const std::string_view scheduler = in.fields.get(HeaderKey::Scheduler);
  const std::string_view next = in.fields.get(HeaderKey::ScheduleNext);
  if (next.empty()) return scheduler.empty() ? ApiStatus() : ApiStatus(api_error(10212));
  if (next != "purge" || scheduler.empty() || scheduler == in.subject ||
      !subject::is_valid_literal(scheduler)) {
    return api_error(10212);
  }
  if (!config.allow_msg_schedules) return api_error(10188);
  auto scheduled = stream_.messages().load_last(scheduler);
  if (scheduled && PublishHeaders(scheduled->headers).get(HeaderKey::Schedule).empty()) {
    return api_error(10212);
  }
  return {};
}

}  // namespace brokkr::jetstream
