#include "cli/publish_jetstream.h"

#include "base/ids.h"
#include "base/json.h"
#include "cli/columns.h"
#include "cli/connect.h"
#include "cli/terminal.h"
#include "client/headers.h"

namespace brokkr::cli {
namespace {

constexpr size_t kBatchPendingMax = 4 << 20;

// The stream's acknowledgement, or its refusal.
Result<json::Value> ack_of(const Result<client::OwnedMessage>& reply) {
  if (!reply) {
    if (reply.error().code != Errc::NoResponders) return reply.error();
    return Error{Errc::Unavailable, "nats: no responders available for request"};
  }
  auto parsed = json::parse(reply->payload);
  if (!parsed) return Error{Errc::Corrupt, "no acknowledgement of a stream: \"" + reply->payload + "\""};
  if (const json::Value* error = parsed->find("error")) {
    return Error{Errc::Unavailable, std::string(error->get_string("description")) + " (" +
                                        std::to_string(error->get_int("err_code")) + ")"};
  }
  return parsed;
}

std::string ack_details(const json::Value& ack) {
  std::string out;
  if (const auto domain = ack.get_string("domain"); !domain.empty()) {
    out += " Domain: \"" + std::string(domain) + "\"";
  }
  if (ack.get_bool("duplicate")) out += " Duplicate: true";
  if (const auto value = ack.get_string("val"); !value.empty()) out += " Counter Value: " + std::string(value);
  return out;
}

std::string batch_headers(const std::string& headers, const std::string& id, size_t sequence, bool is_last) {
  std::string block = client::with_header(headers, "Nats-Batch-Id", id);
  block = client::with_header(block, "Nats-Batch-Sequence", std::to_string(sequence));
  return is_last ? client::with_header(block, "Nats-Batch-Commit", "1") : block;
}

}  // namespace

std::vector<Flag> schedule_flags() {
  return {
      {"atomic", "Atomic batch publish to JetStream (implies --jetstream)"},
      {"schedule-after", "Schedule the message after a certain duration (implies --jetstream)", Kind::Duration, "DURATION"},
      {"schedule-at", "Schedule the message at a certain RFC3339 time (implies --jetstream)", Kind::Text, "TIME"},
      {"schedule-cron", "Cron definition for a scheduled message (implies --jetstream)", Kind::Text, "CRON"},
      {"schedule-dest", "Subject the message will publish to when the schedule fires (implies --jetstream)", Kind::Text, "SUBJECT"},
      {"schedule-every", "Schedules the message every interval (implies --jetstream)", Kind::Duration, "DURATION"},
      {"schedule-source", "Reads a specific subject when scheduling (implies --jetstream)", Kind::Text, "SUBJECT"},
      {"schedule-ttl", "How long generated messages should live in the stream", Kind::Duration, "DURATION"},
  };
}

bool has_schedule_flags(const Values& values) {
  for (const char* flag : {"schedule-after", "schedule-at", "schedule-cron", "schedule-dest", "schedule-every",
                           "schedule-source"}) {
    if (values.has(flag)) return true;
  }
  return false;
}

Result<std::string> with_schedule(const Values& values, const std::string& headers, WallTime now) {
  const auto wrong = [](const char* text) { return Error{Errc::InvalidArgument, text}; };
  if (values.text("schedule-dest").empty()) {
    return wrong("schedule destination is required when setting schedule properties");
  }
  const bool has_at = values.has("schedule-at");
  const bool has_after = values.has("schedule-after");
  const bool has_every = values.has("schedule-every");
  if (has_after && values.duration("schedule-after") <= Duration(0)) return wrong("--schedule-after must be greater than 0");
  if (has_every && values.duration("schedule-every") <= Duration(0)) return wrong("--schedule-every must be greater than 0");
  if (has_at && has_after) return wrong("--schedule-at and --schedule-after are mutually exclusive");
  if (has_every && (has_at || has_after)) {
    return wrong("--schedule-every may not be used with --schedule-at or --schedule-after");
  }
  if (values.has("schedule-cron") && (has_at || has_after || has_every)) {
    return wrong("--schedule-at, --schedule-every and --schedule-after may not be used with --schedule-cron");
  }
  std::string pattern = values.text("schedule-cron");
  if (has_at) {
    const auto time = parse_time(values.text("schedule-at"));
    if (!time) return Error{Errc::InvalidArgument, "\"" + values.text("schedule-at") + "\" is no RFC 3339 time"};
    pattern = "@at " + format_rfc3339(std::chrono::floor<std::chrono::seconds>(*time));
  } else if (has_after) {
    pattern = "@at " + format_rfc3339(std::chrono::floor<std::chrono::seconds>(now + values.duration("schedule-after")));
  } else if (has_every) {
    pattern = "@every " + format_go_duration(values.duration("schedule-every"));
  }
  std::string block = client::with_header(headers, "Nats-Schedule-Target", values.text("schedule-dest"));
  if (!pattern.empty()) block = client::with_header(block, "Nats-Schedule", pattern);
  if (values.has("schedule-ttl")) {
    block = client::with_header(block, "Nats-Schedule-TTL", format_go_duration(values.duration("schedule-ttl")));
  }
  if (values.has("schedule-source")) {
    block = client::with_header(block, "Nats-Schedule-Source", values.text("schedule-source"));
  }
  return block;
}

Status store_message(client::Session& session, const Values& values, std::string_view subject,
                     std::string_view payload, const std::string& headers) {
  auto ack = ack_of(session.request(subject, payload, values.duration("timeout"), headers));
  if (!ack) return ack.error();
  if (!values.is_on("quiet")) {
    remark("Stored in Stream: " + std::string(ack->get_string("stream")) + " Sequence: " +
           comma(ack->get_int("seq")) + ack_details(*ack));
  }
  return {};
}

Status store_batch(client::Session& session, const Values& values, const std::string& subject,
                   const std::vector<std::string>& payloads, const std::string& headers) {
  if (payloads.empty()) return Error{Errc::InvalidArgument, "no messages to publish in atomic batch"};
  const std::string id(Nuid(session.random()).next());
  const Duration timeout = values.duration("timeout");
  for (size_t i = 0; i + 1 < payloads.size(); ++i) {
    const std::string block = batch_headers(headers, id, i + 1, false);
    if (i == 0) {
      // The first one tells whether there is a stream that takes batches.
      auto reply = session.request(subject, payloads[i], timeout, block);
      if (!reply || !reply->payload.empty()) {
        if (auto ack = ack_of(reply); !ack) return ack.error();
      }
      continue;
    }
    if (Status sent = session.connection().publish(subject, payloads[i], {{}, block}); !sent) return sent;
    if (session.connection().pending_bytes() > kBatchPendingMax) {
      if (Status flushed = session.flush(timeout); !flushed) return flushed;
    }
  }
  const std::string block = batch_headers(headers, id, payloads.size(), true);
  auto ack = ack_of(session.request(subject, payloads.back(), timeout, block));
  if (!ack) return ack.error();
  if (!values.is_on("quiet")) {
    remark("Wrote batch ID: " + std::string(ack->get_string("batch")) + " Messages: " + comma(ack->get_int("count")) +
           " Sequence: " + comma(ack->get_int("seq")) + ack_details(*ack));
  }
  return {};
}

}  // namespace brokkr::cli
