#include "workload/trigger_plan.h"

#include <algorithm>
#include <charconv>

#include "base/bytes.h"
#include "base/json.h"
#include "client/headers.h"
#include "client/jetstream.h"
#include "subject/subject.h"
#include "workload/cron.h"
#include "workload/hops.h"

namespace brokkr::workload {
namespace {

using Kind = Trigger::Kind;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr uint32_t kDeliverDefault = 5;
constexpr uint32_t kDeliverMax = 1'000'000;
constexpr uint32_t kWindowMax = 512;
constexpr int64_t kAckPendingMin = 1000;
constexpr Duration kAckWaitMin = seconds(10);
constexpr Duration kBackoff[] = {seconds(1), seconds(5), seconds(15), minutes(1)};
constexpr Duration kBackoffMax = std::chrono::hours(24);
constexpr Duration kDeadLetterAge = std::chrono::hours(24 * 30);
constexpr int64_t kDeadLettersMax = 100'000;
constexpr int64_t kDeadLetterBytesMax = 64 << 20;
constexpr std::string_view kOperation = "KV-Operation";
constexpr std::string_view kOwnHeader = "Nats-Brokkr-";

Error bad_trigger(std::string text) { return {Errc::InvalidArgument, std::move(text)}; }

// "all", "new", "seq:N" or a time.
Status check_start(const std::string& start) {
  if (start.empty() || start == "all" || start == "new") return {};
  uint64_t sequence = 0;
  if (start.starts_with("seq:")) {
    const char* end = start.data() + start.size();
    const auto read = std::from_chars(start.data() + 4, end, sequence);
    if (read.ec == std::errc() && read.ptr == end && sequence > 0) return {};
  }
  WallTime time{};
  if (parse_rfc3339(start, time)) return {};
  return bad_trigger("trigger start \"" + start + "\" is not all, new, seq:N or an RFC 3339 time");
}

bool is_bucket_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '-' || c == '_';
  });
}

Status check_source(const Trigger& trigger) {
  switch (trigger.kind) {
    case Kind::Stream:
      if (!client::is_asset_name(trigger.stream)) {
        return bad_trigger("trigger stream \"" + trigger.stream + "\" is no stream's name");
      }
      if (!trigger.subject.empty() && !subject::is_valid(trigger.subject)) {
        return bad_trigger("trigger subject \"" + trigger.subject + "\" is not valid");
      }
      return {};
    case Kind::KeyValue:
      if (!trigger.key.empty() && !subject::is_valid(trigger.key)) {
        return bad_trigger("trigger key \"" + trigger.key + "\" is no pattern of keys");
      }
      [[fallthrough]];
    case Kind::Object:
      if (!is_bucket_name(trigger.bucket)) {
        return bad_trigger("trigger bucket \"" + trigger.bucket + "\" is no bucket's name");
      }
      return {};
    case Kind::Schedule: {
      const auto schedule = Schedule::parse(trigger.schedule);
      return schedule ? Status() : Status(bad_trigger(schedule.error().text));
    }
    case Kind::Http:
      if (!is_route_path(trigger.path)) {
        return bad_trigger("trigger path \"" + trigger.path + "\" is no path");
      }
      return {};
    case Kind::Subject: return {};
  }
  return {};
}

// Headers that make a server do something with the message that carries them.
bool is_command(std::string_view key) {
  return key.starts_with("Nats-") && !key.starts_with(kOwnHeader) && key != "Nats-Service-Error" &&
         key != "Nats-Service-Error-Code";
}

std::string one_line(std::string_view text) {
  std::string line(text.substr(0, std::min<size_t>(text.find_first_of("\r\n"), 512)));
  return line;
}

std::string object_name_of(std::string_view meta, bool& is_deleted) {
  const auto value = json::parse(meta);
  if (!value) return {};
  is_deleted = value->get_bool("deleted");
  return std::string(value->get_string("name"));
}

}  // namespace

Status check_trigger(const Trigger& trigger) {
  if (Status s = check_source(trigger); !s) return s;
  if (Status s = check_start(trigger.start); !s) return s;
  if (trigger.max_deliver > kDeliverMax) return bad_trigger("trigger max_deliver is too large");
  for (const int64_t pause : trigger.backoff_ns) {
    if (pause < 0 || pause > kBackoffMax.count()) {
      return bad_trigger("a trigger's backoff must be 0 to 24h");
    }
  }
  if (trigger.ack_wait_ns < 0 || trigger.ack_wait_ns > kBackoffMax.count() ||
      (trigger.ack_wait_ns > 0 && trigger.ack_wait_ns < Duration(seconds(1)).count())) {
    return bad_trigger("a trigger's ack_wait must be 1s to 24h");
  }
  if (!trigger.dead_letter.empty() && !is_bucket_name(trigger.dead_letter)) {
    return bad_trigger("dead_letter \"" + trigger.dead_letter + "\" is no stream's name");
  }
  return {};
}

std::string describe(const Trigger& trigger) {
  const auto with = [](std::string text, const std::string& more) {
    return more.empty() ? text : text + " " + more;
  };
  switch (trigger.kind) {
    case Kind::Subject: return "subject " + trigger.subject;
    case Kind::Stream: return with("stream " + trigger.stream, trigger.subject);
    case Kind::KeyValue: return with("kv " + trigger.bucket, trigger.key);
    case Kind::Object: return "object " + trigger.bucket;
    case Kind::Schedule: return "schedule " + trigger.schedule;
    case Kind::Http: return "http " + trigger.path;
  }
  return {};
}

TriggerPlan plan_trigger(const TriggerSource::Facts& facts, const Trigger& trigger) {
  TriggerPlan plan;
  const std::string index = std::to_string(facts.index);
  const bool is_schedule = trigger.kind == Kind::Schedule;
  switch (trigger.kind) {
    case Kind::KeyValue:
      plan.stream = "KV_" + trigger.bucket;
      plan.filter = "$KV." + trigger.bucket + "." + (trigger.key.empty() ? ">" : trigger.key);
      break;
    case Kind::Object:
      plan.stream = "OBJ_" + trigger.bucket;
      plan.filter = "$O." + trigger.bucket + ".M.>";
      break;
    case Kind::Schedule:
      plan.stream = "NEX_SCHEDULE_" + facts.ns;
      plan.filter = "$NEX.SCHEDULE." + facts.ns + "." + facts.name + "." + index;
      break;
    default:
      plan.stream = trigger.stream;
      plan.filter = trigger.subject;
      break;
  }
  plan.consumer = "nex-" + facts.ns + "-" + facts.name + "-" + index;
  plan.description = "trigger " + index + " of workload " + facts.ns + "/" + facts.name;
  plan.max_deliver = trigger.max_deliver != 0 ? trigger.max_deliver
                     : is_schedule            ? 1
                                              : kDeliverDefault;
  for (const int64_t pause : trigger.backoff_ns) plan.backoff.emplace_back(pause);
  if (plan.backoff.empty()) plan.backoff.assign(std::begin(kBackoff), std::end(kBackoff));
  // Long calls say that they go on; this is how long a lost node keeps its messages.
  plan.ack_wait = trigger.ack_wait_ns > 0 ? Duration(trigger.ack_wait_ns) : kAckWaitMin;
  plan.window = std::clamp<uint32_t>(facts.window, 1, kWindowMax);
  // A clock ticks again; what it ticked for is no message worth keeping.
  if (!is_schedule || !trigger.dead_letter.empty()) {
    plan.dead_letter = trigger.dead_letter.empty() ? dead_letter_stream_name(facts.ns)
                                                   : trigger.dead_letter;
    plan.dead_letter_subject = "$NEX.DLQ." + facts.ns + "." + plan.dead_letter + "." + facts.name +
                               "." + index + "." + plan.stream;
  }
  return plan;
}

client::ConsumerConfig consumer_of(const TriggerPlan& plan, const Trigger& trigger,
                                   const client::ConsumerConfig* existing, bool is_work_queue) {
  client::ConsumerConfig config;
  config.durable_name = plan.consumer;
  config.description = plan.description;
  config.filter_subject = plan.filter;
  config.ack_policy = client::AckPolicy::Explicit;
  config.ack_wait = plan.ack_wait;
  // The node counts attempts: a server that gave up would lose the message.
  config.max_deliver = -1;
  config.max_ack_pending = std::max<int64_t>(kAckPendingMin, int64_t{plan.window} * 16);
  if (existing != nullptr) {
    config.deliver_policy = existing->deliver_policy;
    config.opt_start_seq = existing->opt_start_seq;
    config.opt_start_time = existing->opt_start_time;
    config.replay_policy = existing->replay_policy;
    config.num_replicas = existing->num_replicas;
    config.mem_storage = existing->mem_storage;
    return config;
  }
  const bool takes_all = trigger.start == "all" || trigger.kind == Kind::Schedule ||
                         (trigger.start.empty() && is_work_queue);
  if (takes_all) {
    const bool is_latest = trigger.kind == Kind::KeyValue || trigger.kind == Kind::Object;
    config.deliver_policy = is_latest ? client::DeliverPolicy::LastPerSubject
                                      : client::DeliverPolicy::All;
  } else if (trigger.start.empty() || trigger.start == "new") {
    config.deliver_policy = client::DeliverPolicy::New;
  } else if (trigger.start.starts_with("seq:")) {
    config.deliver_policy = client::DeliverPolicy::ByStartSequence;
    std::from_chars(trigger.start.data() + 4, trigger.start.data() + trigger.start.size(),
                    config.opt_start_seq);
  } else {
    WallTime time{};
    parse_rfc3339(trigger.start, time);
    config.deliver_policy = client::DeliverPolicy::ByStartTime;
    config.opt_start_time = time;
  }
  return config;
}

Duration pause_after(const TriggerPlan& plan, uint64_t deliveries) {
  const uint64_t index = std::max<uint64_t>(deliveries, 1) - 1;
  return plan.backoff[std::min<uint64_t>(index, plan.backoff.size() - 1)];
}

std::string dead_letter_stream_name(std::string_view ns) { return "NEX_DLQ_" + std::string(ns); }

client::StreamConfig dead_letter_stream(std::string_view ns, const std::string& name) {
  client::StreamConfig config;
  config.name = name;
  config.description = "messages no attempt could handle";
  config.subjects = {"$NEX.DLQ." + std::string(ns) + "." + name + ".>"};
  config.max_msgs = kDeadLettersMax;
  config.max_bytes = kDeadLetterBytesMax;
  config.max_age = kDeadLetterAge;
  // When it is full, messages wait where they are rather than push out older ones.
  config.discard = client::Discard::New;
  config.metadata["io.brokkr.namespace"] = ns;
  config.allow_direct = true;
  return config;
}

TriggerMessage read_message(const Trigger& trigger, const client::Message& message,
                            const client::Delivery& delivery) {
  TriggerMessage out;
  out.subject = message.subject;
  out.headers = message.headers;
  const auto set = [&](std::string_view key, std::string_view value) {
    out.headers = client::with_header(out.headers, key, value);
  };
  switch (trigger.kind) {
    case Kind::KeyValue: {
      // $KV.<bucket>.<key>
      out.subject = message.subject.substr(std::min(message.subject.size(), 5 + trigger.bucket.size()));
      const std::string_view marker = message.header("Nats-Marker-Reason");
      if (message.header(kOperation).empty()) {
        set(kOperation, marker.empty() ? "PUT" : marker == "Remove" ? "DEL" : "PURGE");
      }
      set("Nats-Brokkr-Bucket", trigger.bucket);
      break;
    }
    case Kind::Object: {
      bool is_deleted = false;
      out.subject = object_name_of(message.payload, is_deleted);
      set("Object-Operation", is_deleted ? "DEL" : "PUT");
      set("Nats-Brokkr-Bucket", trigger.bucket);
      break;
    }
    case Kind::Schedule: out.subject = "schedule"; break;
    default: break;
  }
  set("Nats-Stream", delivery.stream);
  set("Nats-Sequence", std::to_string(delivery.stream_seq));
  set("Nats-Time-Stamp", format_rfc3339(delivery.time));
  set("Nats-Brokkr-Deliveries", std::to_string(delivery.delivered_count));
  return out;
}

std::string dead_letter_headers(const client::Message& message, const client::Delivery& delivery,
                                const Failure& failure) {
  client::HeaderWriter out;
  std::string_view message_id;
  if (const auto own = client::Headers::parse(message.headers)) {
    for (const client::Header& header : *own) {
      if (header.key == "Nats-Msg-Id") message_id = header.value;
      const bool is_of_failure = header.key.starts_with(kOwnHeader) && header.key != kHopsHeader;
      if (!is_command(header.key) && !is_of_failure) {
        out.add(header.key, header.value);
      }
    }
  }
  if (!message_id.empty()) out.add("Nats-Brokkr-Msg-Id", message_id);
  out.add("Nats-Brokkr-Workload", failure.workload);
  out.add("Nats-Brokkr-Stream", delivery.stream);
  out.add("Nats-Brokkr-Sequence", std::to_string(delivery.stream_seq));
  out.add("Nats-Brokkr-Subject", message.subject);
  out.add("Nats-Brokkr-Stored-At", format_rfc3339(delivery.time));
  out.add("Nats-Brokkr-Deliveries", std::to_string(delivery.delivered_count));
  out.add("Nats-Brokkr-Error", one_line(failure.error));
  out.add("Nats-Brokkr-Error-Code", std::to_string(failure.code));
  out.add("Nats-Brokkr-Failed-At", format_rfc3339(failure.time));
  return out.take();
}

}  // namespace brokkr::workload
