#include "workload/api_body.h"

#include <algorithm>
#include <span>

#include "base/bytes.h"
#include "base/json.h"
#include "subject/subject.h"

namespace brokkr::workload {
namespace {

using Names = std::span<const std::string_view>;

constexpr std::string_view kApi = "$JS.API.";
constexpr std::string_view kNamespaceKey = "io.brokkr.namespace";

constexpr std::string_view kStreamMembers[] = {
    "name", "description", "subjects", "retention", "max_consumers", "max_msgs", "max_bytes",
    "max_age", "max_msgs_per_subject", "max_msg_size", "discard", "discard_new_per_subject",
    "storage", "num_replicas", "no_ack", "template_owner", "duplicate_window", "placement", "mirror",
    "sources", "compression", "first_seq", "subject_transform", "republish", "allow_direct",
    "mirror_direct", "sealed", "deny_delete", "deny_purge", "allow_rollup_hdrs", "consumer_limits",
    "metadata", "allow_msg_ttl", "subject_delete_marker_ttl", "allow_msg_counter", "allow_atomic",
    "allow_msg_schedules", "persist_mode", "allow_batched", "pedantic"};
constexpr std::string_view kSourceMembers[] = {"name", "opt_start_seq", "opt_start_time",
                                               "filter_subject", "subject_transforms"};
constexpr std::string_view kConsumerMembers[] = {
    "durable_name", "name", "description", "deliver_policy", "opt_start_seq", "opt_start_time",
    "ack_policy", "ack_wait", "max_deliver", "backoff", "filter_subject", "filter_subjects",
    "replay_policy", "rate_limit_bps", "sample_freq", "max_waiting", "max_ack_pending",
    "flow_control", "headers_only", "max_batch", "max_expires", "max_bytes", "deliver_subject",
    "deliver_group", "idle_heartbeat", "inactive_threshold", "num_replicas", "mem_storage",
    "metadata", "pause_until", "priority_groups", "priority_policy", "priority_timeout"};
constexpr std::string_view kTransformMembers[] = {"src", "dest"};
constexpr std::string_view kRepublishMembers[] = {"src", "dest", "headers_only"};
constexpr std::string_view kRequestMembers[] = {"stream_name", "config", "action", "pedantic"};
constexpr std::string_view kSnapshotMembers[] = {"deliver_subject", "no_consumers", "chunk_size",
                                                 "window_size", "jsck"};

Error denied(std::string text) { return {Errc::PermissionDenied, std::move(text)}; }
std::string quote(std::string_view text) { return "\"" + std::string(text) + "\""; }

// A server may read a member whose name differs in capitals or comes twice otherwise than we do: only
// known names pass, and each once.
Status check_members(const json::Value& object, Names known, std::string_view what) {
  if (!object.is_object()) return Error{Errc::Syntax, std::string(what) + " is not an object"};
  const auto& members = object.members();
  for (size_t i = 0; i < members.size(); ++i) {
    const std::string& name = members[i].first;
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return Error{Errc::Syntax, "json: unknown field " + quote(name)};
    }
    for (size_t j = 0; j < i; ++j) {
      if (members[j].first == name) return Error{Errc::Syntax, quote(name) + " comes twice"};
    }
  }
  return {};
}

// Null when absent or null.
const json::Value* member(const json::Value& object, std::string_view name) {
  const json::Value* found = object.find(name);
  return found == nullptr || found->is_null() ? nullptr : found;
}

// Every subject a transform's destination may come to: "$1" and its kin stand for one token, other
// functions for any number.
std::string pattern_of(std::string_view destination) {
  std::string pattern;
  for (const std::string_view token : split(destination, '.')) {
    if (!pattern.empty()) pattern += '.';
    if (token.find("{{") != std::string_view::npos || token.find("}}") != std::string_view::npos) {
      return pattern + ">";
    }
    pattern += token.starts_with('$') && token.size() > 1 && token[1] >= '0' && token[1] <= '9'
                   ? std::string_view("*")
                   : token;
  }
  return pattern;
}

// Where the server itself publishes on the workload's behalf, with content the workload chooses: never
// to what is read as a request.
bool may_be_sent_to(const Access& access, std::string_view pattern) {
  return !pattern.empty() && pattern[0] != '$' && access.may_publish(pattern);
}

class BodyCheck {
 public:
  BodyCheck(const Access& access, const Inboxes& inboxes) : access_(access), inboxes_(inboxes) {}

  Status stream(const json::Value& config, std::string_view name) {
    if (Status known = check_members(config, kStreamMembers, "the stream"); !known) return known;
    if (config.get_string("name") != name) {
      return Error{Errc::Syntax, "stream name in subject does not match request"};
    }
    const json::Value* subjects = member(config, "subjects");
    const json::Value* mirror = member(config, "mirror");
    const json::Value* sources = member(config, "sources");
    const bool has_subjects = subjects != nullptr && !subjects->items().empty();
    if (!has_subjects && mirror == nullptr && sources == nullptr && !access_.may_subscribe(name)) {
      return denied("stream subject " + quote(name));
    }
    if (has_subjects) {
      for (const json::Value& subject : subjects->items()) {
        if (!subject.is_string()) return Error{Errc::Syntax, "a stream subject is not a string"};
        if (!access_.may_subscribe(subject.as_string()) || is_shared(subject.as_string())) {
          return denied("stream subject " + quote(subject.as_string()));
        }
      }
    } else if (subjects != nullptr && !subjects->is_array()) {
      return Error{Errc::Syntax, "the stream's subjects are not a list"};
    }
    if (mirror != nullptr) {
      if (Status allowed = source(*mirror); !allowed) return allowed;
    }
    if (sources != nullptr) {
      if (!sources->is_array()) return Error{Errc::Syntax, "the stream's sources are not a list"};
      for (const json::Value& one : sources->items()) {
        if (Status allowed = source(one); !allowed) return allowed;
      }
    }
    if (const json::Value* transform = member(config, "subject_transform")) {
      if (Status known = check_members(*transform, kTransformMembers, "subject_transform"); !known) {
        return known;
      }
    }
    if (Status allowed = republish(member(config, "republish")); !allowed) return allowed;
    return metadata(member(config, "metadata"));
  }

  Status consumer(const json::Value& request, std::string_view stream) {
    if (Status known = check_members(request, kRequestMembers, "the request"); !known) return known;
    if (request.get_string("stream_name", stream) != stream) {
      return Error{Errc::Syntax, "stream name in subject does not match request"};
    }
    const json::Value* config = member(request, "config");
    if (config == nullptr) return {};
    if (Status known = check_members(*config, kConsumerMembers, "the consumer"); !known) return known;
    if (Status allowed = metadata(member(*config, "metadata")); !allowed) return allowed;
    return deliver_to(member(*config, "deliver_subject"));
  }

  Status snapshot(const json::Value& request) {
    if (Status known = check_members(request, kSnapshotMembers, "the request"); !known) return known;
    return deliver_to(member(request, "deliver_subject"));
  }

  // The member that is written with another text, and that text.
  const json::Value* replaced() const { return replaced_; }
  const std::string& replacement() const { return replacement_; }

 private:
  // Subjects every namespace has a part in: a stream there would collect everybody's.
  static bool is_shared(std::string_view subject) {
    return subject.starts_with("_INBOX.") || subject.starts_with("$SRV.");
  }

  Status source(const json::Value& config) {
    // Of another account or with a consumer of its own: not for workloads.
    if (Status known = check_members(config, kSourceMembers, "the source"); !known) return known;
    const std::string_view name = config.get_string("name");
    if (!access_.may_read_stream(name)) return denied("source stream " + quote(name));
    return {};
  }

  Status republish(const json::Value* config) {
    if (config == nullptr) return {};
    if (Status known = check_members(*config, kRepublishMembers, "republish"); !known) {
      return known;
    }
    const std::string_view destination = config->get_string("dest");
    if (!may_be_sent_to(access_, pattern_of(destination))) {
      return denied("republish to " + quote(destination));
    }
    return {};
  }

  Status metadata(const json::Value* pairs) {
    if (pairs == nullptr) return {};
    if (!pairs->is_object()) return Error{Errc::Syntax, "metadata is not an object"};
    for (const auto& [key, value] : pairs->members()) {
      if (to_lower(key) == kNamespaceKey && value.as_string() != access_.names().ns) {
        return denied("metadata of namespace " + quote(value.as_string()));
      }
    }
    return {};
  }

  Status deliver_to(const json::Value* subject) {
    if (subject == nullptr) return {};
    const std::string_view text = subject->as_string();
    if (!subject->is_string() || !(text.empty() || subject::is_valid_literal(text))) {
      return Error{Errc::Syntax, "the deliver subject is not a subject"};
    }
    if (text.empty()) return {};
    if (Inboxes::is_inbox(text)) {
      replaced_ = subject;
      replacement_ = inboxes_.to_server(text);
      return {};
    }
    if (!may_be_sent_to(access_, text)) return denied("deliver subject " + quote(text));
    return {};
  }

  const Access& access_;
  const Inboxes& inboxes_;
  const json::Value* replaced_ = nullptr;
  std::string replacement_;
};

void write_with(json::Writer& out, const json::Value& value, const BodyCheck& check) {
  if (&value == check.replaced()) {
    out.string(check.replacement());
  } else if (value.is_object()) {
    out.begin_object();
    for (const auto& [key, item] : value.members()) {
      out.key(key);
      write_with(out, item, check);
    }
    out.end_object();
  } else if (value.is_array()) {
    out.begin_array();
    for (const json::Value& item : value.items()) write_with(out, item, check);
    out.end_array();
  } else {
    out.value(value);
  }
}

enum class ApiBodyKind { None, Stream, Consumer, Snapshot };

ApiBodyKind kind_of(std::string_view subject) {
  if (!subject.starts_with(kApi)) return ApiBodyKind::None;
  const std::string_view rest = subject.substr(kApi.size());
  if (rest.starts_with("STREAM.CREATE.") || rest.starts_with("STREAM.UPDATE.")) {
    return ApiBodyKind::Stream;
  }
  if (rest.starts_with("CONSUMER.CREATE.") || rest.starts_with("CONSUMER.DURABLE.")) {
    return ApiBodyKind::Consumer;
  }
  return rest.starts_with("STREAM.SNAPSHOT.") ? ApiBodyKind::Snapshot : ApiBodyKind::None;
}

}  // namespace

bool has_api_body(std::string_view subject) { return kind_of(subject) != ApiBodyKind::None; }

Result<std::string> check_api_body(const Access& access, const Inboxes& inboxes,
                                   std::string_view subject, std::string_view body) {
  if (trim(body).empty()) return std::string(body);
  const auto value = json::parse(body);
  if (!value) return Error{Errc::Syntax, value.error().text};
  BodyCheck check(access, inboxes);
  Status allowed;
  switch (kind_of(subject)) {
    case ApiBodyKind::Stream: allowed = check.stream(*value, subject::token_at(subject, 4)); break;
    case ApiBodyKind::Consumer: {
      const bool is_durable = subject::token_at(subject, 3) == "DURABLE";
      allowed = check.consumer(*value, subject::token_at(subject, is_durable ? 5 : 4));
      break;
    }
    case ApiBodyKind::Snapshot: allowed = check.snapshot(*value); break;
    case ApiBodyKind::None: return std::string(body);
  }
  if (!allowed) return allowed.error();
  json::Writer out;
  write_with(out, *value, check);
  return out.take();
}

std::string api_error(std::string_view subject, const Error& error) {
  // "$JS.API.STREAM.MSG.GET.x" is answered by a stream_msg_get_response.
  const auto tokens = split(subject, '.');
  std::string type;
  const bool has_three = tokens.size() > 4 && (tokens[3] == "MSG" || tokens[3] == "DURABLE");
  for (size_t i = 2; i < tokens.size() && i < (has_three ? 5U : 4U); ++i) {
    if (tokens[i] != "DURABLE") type += to_lower(tokens[i]) + "_";
  }
  if (type == "info_") type = "account_info_";
  json::Writer out;
  out.begin_object().field("type", "io.nats.jetstream.api.v1." + type + "response");
  out.key("error").begin_object();
  if (error.code == Errc::Syntax) {
    out.field("code", 400).field("err_code", 10025);
    out.field("description", "invalid JSON: " + error.text);
  } else if (error.code == Errc::PermissionDenied) {
    out.field("code", 403).field("err_code", 10003);
    out.field("description", "permissions violation: " + error.text);
  } else {
    out.field("code", 503).field("err_code", 10008).field("description", error.text);
  }
  return out.end_object().end_object().take();
}

}  // namespace brokkr::workload
