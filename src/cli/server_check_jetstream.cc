// brokkr server check: stream, consumer, message, kv, jetstream.

#include <cmath>
#include <cstdlib>

#include "base/bytes.h"
#include "cli/columns.h"
#include "cli/jetstream_api.h"
#include "cli/json_shape.h"
#include "cli/pattern.h"
#include "cli/server_check.h"
#include "cli/system_api.h"
#include "cli/terminal.h"
#include "client/message.h"

namespace brokkr::cli {
namespace {

constexpr const char* kMetadataPrefix = "io.nats.monitor.";
constexpr std::string_view kNoMessageSuffix = "(10037)";

// Thresholds of a check: what a flag says, else the metadata of what is checked, else zero.
class Limits {
 public:
  Limits(const Values& values, const json::Value* config)
      : values_(values), metadata_(config == nullptr ? nullptr : config->find("metadata")) {}

  std::string text(const std::string& flag) const {
    if (values_.has(flag)) return values_.text(flag);
    return std::string(text_in(metadata_, kMetadataPrefix + flag));
  }
  // Zero when absent, negative or no number.
  int64_t number(const std::string& flag) const {
    return std::max<int64_t>(std::strtoll(text(flag).c_str(), nullptr, 10), 0);
  }
  Duration duration(const std::string& flag) const {
    Duration out{};
    return parse_duration(text(flag), out) ? out : Duration{};
  }
  bool is_on(const std::string& flag) const { return text(flag) == "true"; }

 private:
  const Values& values_;
  const json::Value* metadata_;
};

std::string counted(int64_t count, const char* what) {
  return std::to_string(count) + " " + what;
}

void add_measure(Check& check, const char* name, const char* help, int64_t value, double warn = 0,
                 double critical = 0, const char* unit = "") {
  check.measures.push_back({name, help, static_cast<double>(value), warn, critical, unit});
}

// How many of `peers` are `beyond` what is allowed.
struct PeerCount {
  int64_t inactive = 0;
  int64_t lagged = 0;
  int64_t offline = 0;
};
PeerCount count_peers(const std::vector<json::Value>& peers, Duration seen, int64_t lag,
                      bool is_strict) {
  PeerCount count;
  for (const json::Value& peer : peers) {
    const Duration active(peer.get_int("active"));
    const int64_t behind = peer.get_int("lag");
    if (seen > Duration(0) && (is_strict ? active > seen : active >= seen)) ++count.inactive;
    if (lag > 0 && (is_strict ? behind > lag : behind >= lag)) ++count.lagged;
    if (peer.get_bool("offline")) ++count.offline;
  }
  return count;
}

void judge_cluster(Check& check, const Limits& limits, const json::Value& info) {
  const int64_t expected = limits.number("peer-expect");
  const json::Value* cluster = info.find("cluster");
  const bool is_clustered =
      cluster != nullptr && number_in(info.find("config"), "num_replicas") > 1;
  if (!is_clustered && expected <= 0) return;
  if (!is_clustered) return check.critical("Stream is not clustered");
  if (text_in(cluster, "leader").empty()) return check.critical("No leader");
  const auto& replicas = items_in(cluster, "replicas");
  const auto peers = static_cast<int64_t>(replicas.size()) + 1;
  if (peers != expected) {
    return check.critical("Expected " + std::to_string(expected) + " replicas got " +
                          std::to_string(peers));
  }
  check.ok(counted(peers, "peers"));
  const Duration seen = limits.duration("peer-seen-critical");
  const int64_t lag = limits.number("peer-lag-critical");
  const PeerCount count = count_peers(replicas, seen, lag, true);
  if (count.offline > 0) check.critical(counted(count.offline, "replicas offline"));
  if (lag > 0 && count.lagged > 0) check.critical(counted(count.lagged, "replicas lagged"));
  if (lag > 0 && count.lagged == 0) check.ok("replicas are current");
  if (seen > Duration(0) && count.inactive > 0)
    check.critical(counted(count.inactive, "replicas inactive"));
  if (seen > Duration(0) && count.inactive == 0) check.ok("replicas are active");
}

void judge_messages(Check& check, const Limits& limits, int64_t messages) {
  const int64_t warn = limits.number("msgs-warn");
  const int64_t critical = limits.number("msgs-critical");
  if (warn == 0 && critical == 0) return;
  add_measure(check, "messages", "Messages stored in the stream", messages,
              static_cast<double>(warn), static_cast<double>(critical));
  const std::string text = counted(messages, "messages");
  if (critical > 0 && messages <= critical) {
    check.critical(text);
  } else if (warn > 0 && messages <= warn) {
    check.warn(text);
  } else {
    check.ok(text);
  }
}

void judge_subjects(Check& check, const Limits& limits, int64_t subjects) {
  const int64_t warn = limits.number("subjects-warn");
  const int64_t critical = limits.number("subjects-critical");
  if (warn == 0 && critical == 0) return;
  add_measure(check, "subjects", "Number of subjects stored in the stream", subjects,
              static_cast<double>(warn), static_cast<double>(critical));
  // A critical value below the other asks for at least so many.
  const auto is_beyond = [&](int64_t limit) {
    return warn < critical ? subjects >= limit : subjects <= limit;
  };
  const std::string text = counted(subjects, "subjects");
  if (is_beyond(critical)) {
    check.critical(text);
  } else if (is_beyond(warn)) {
    check.warn(text);
  } else {
    check.ok(text);
  }
}

void judge_sources(Check& check, const Limits& limits, const json::Value& info) {
  const auto& sources = items_in(&info, "sources");
  const auto count = static_cast<int64_t>(sources.size());
  const int64_t least = limits.number("min-sources");
  const int64_t most = limits.number("max-sources");
  add_measure(check, "sources", "Number of sources being consumed by this stream", count,
              static_cast<double>(least), static_cast<double>(most));
  if ((least > 0 && count < least) || (most > 0 && count > most)) {
    check.critical(counted(count, "sources"));
  } else {
    check.ok(counted(count, "sources"));
  }
  const Duration seen = limits.duration("seen-critical");
  const int64_t lag = limits.number("lag-critical");
  if (lag == 0 && seen == Duration(0)) return;
  const PeerCount bad = count_peers(sources, seen, lag, false);
  add_measure(check, "sources_lagged",
              "Number of sources that are behind more than the configured threshold", bad.lagged);
  add_measure(check, "sources_inactive", "Number of sources that are inactive", bad.inactive);
  if (bad.lagged > 0) {
    check.critical(counted(bad.lagged, "sources are lagged"));
  } else {
    check.ok(counted(count, "sources current"));
  }
  if (bad.inactive > 0) {
    check.critical(counted(bad.inactive, "sources are inactive"));
  } else {
    check.ok(counted(count, "sources active"));
  }
}

void judge_mirror(Check& check, const Limits& limits, const json::Value& info) {
  const Duration seen = limits.duration("seen-critical");
  const int64_t lag = limits.number("lag-critical");
  if ((lag == 0 && seen == Duration(0)) || !items_in(&info, "sources").empty()) return;
  const json::Value* config = info.find("config");
  const json::Value* mirror = config == nullptr ? nullptr : config->find("mirror");
  const json::Value* state = info.find("mirror");
  if (mirror == nullptr) return check.critical("not mirrored");
  if (state == nullptr) return check.critical("invalid state");
  const int64_t behind = number_in(state, "lag");
  const Duration active(number_in(state, "active"));
  add_measure(check, "lag", "Number of operations this peer is behind its origin", behind, 0,
              static_cast<double>(lag));
  check.measures.push_back({"active", "Indicates if this peer is active and catching up if lagged",
                            to_seconds(active), 0, to_seconds(seen), "s"});
  const bool is_behind = lag > 0 && behind >= lag;
  const bool is_unseen = seen > Duration(0) && active >= seen;
  if (is_behind) check.critical("Mirror Lag " + std::to_string(behind));
  if (is_unseen) check.critical("Mirror Seen " + format_go_duration(active));
  if (!is_behind && !is_unseen) check.ok("Mirror " + std::string(text_in(mirror, "name")));
}

void look_stream(const Context& context, const Values& values, Check& check) {
  auto js = JetStream::open(context, values);
  if (!js) return check.critical("could not load info: " + describe(js.error()));
  const std::string stream = values.text("stream");
  if (stream.empty()) return check.critical("stream name is required");
  auto info = js->request("STREAM.INFO." + stream);
  if (!info) return check.critical("could not load info: " + describe(info.error()));
  const Limits limits(values, info->find("config"));
  const json::Value* state = info->find("state");
  judge_cluster(check, limits, *info);
  judge_messages(check, limits, number_in(state, "messages"));
  judge_subjects(check, limits, number_in(state, "num_subjects"));
  judge_sources(check, limits, *info);
  judge_mirror(check, limits, *info);
}

// When a consumer last did something, against how long ago that may be.
void judge_last(Check& check, const Limits& limits, const std::string& flag, const char* what,
                const json::Value* place, const char* measure, const char* help) {
  const std::string_view time = text_in(place, "last_active");
  const Duration critical = limits.duration(flag);
  const bool is_known = parse_time(time).has_value();
  const Duration ago = time_between(time, {});
  const std::string title = std::string("Last ") + what;
  if (is_known)
    check.measures.push_back({measure, help, to_seconds(ago), 0, to_seconds(critical), "s"});
  if (critical <= Duration(0)) return;
  if (!is_known) {
    check.critical(std::string(what) == "ack" ? "No acks" : "No deliveries");
  } else if (ago >= critical) {
    check.critical(title + " " + format_go_duration(ago) + " ago");
  } else {
    check.ok(title + " " + go_time_text(time));
  }
}

void judge_pinned(Check& check, const Limits& limits, const json::Value& info) {
  const json::Value* config = info.find("config");
  int64_t pinned = 0;
  for (const json::Value& group : items_in(&info, "priority_groups")) {
    pinned += group.get_string("pinned_client_id").empty() ? 0 : 1;
  }
  const auto groups = static_cast<int64_t>(items_in(config, "priority_groups").size());
  const bool is_pinning = text_in(config, "priority_policy") == "pinned_client";
  if (is_pinning) {
    add_measure(check, "pinned_groups", "The number of consumers groups with pinned clients",
                pinned);
    add_measure(check, "groups", "The total number of consumers groups", groups);
  }
  if (!limits.is_on("pinned")) return;
  if (!is_pinning || groups == 0 || items_in(&info, "priority_groups").empty()) {
    check.critical("Not pinned client priority mode");
  } else if (pinned != groups) {
    check.critical(std::to_string(pinned) + " / " + std::to_string(groups) + " pinned clients");
  } else {
    check.ok(counted(pinned, "pinned clients"));
  }
}

void look_consumer(const Context& context, const Values& values, Check& check) {
  auto js = JetStream::open(context, values);
  if (!js) return check.critical("could not load info: " + describe(js.error()));
  if (values.text("stream").empty()) return check.critical("stream name is required");
  if (values.text("consumer").empty()) return check.critical("consumer name is required");
  auto info = js->request("CONSUMER.INFO." + values.text("stream") + "." + values.text("consumer"));
  if (!info) return check.critical("could not load info: " + describe(info.error()));
  const Limits limits(values, info->find("config"));
  struct Counted {
    const char* flag;
    const char* member;
    const char* measure;
    const char* help;
    const char* title;
  };
  static constexpr Counted kCounts[] = {
      {"outstanding-ack-critical", "num_ack_pending", "ack_pending",
       "The number of messages waiting to be Acknowledged", "Ack Pending: "},
      {"waiting-critical", "num_waiting", "pull_waiting", "The number of waiting Pull requests",
       "Waiting Pulls: "},
      {"unprocessed-critical", "num_pending", "pending",
       "The number of messages that have not yet been consumed", "Unprocessed Messages: "},
      {"redelivery-critical", "num_redelivered", "redelivered",
       "The number of messages currently being redelivered", "Redelivered: "}};
  for (const Counted& one : kCounts) {
    const int64_t critical = limits.number(one.flag);
    const int64_t value = info->get_int(one.member);
    add_measure(check, one.measure, one.help, value, 0, static_cast<double>(critical));
    if (critical <= 0) continue;
    const std::string text = one.title + std::to_string(value);
    if (value >= critical) {
      check.critical(text);
    } else {
      check.ok(text);
    }
  }
  judge_last(check, limits, "last-delivery-critical", "delivery", info->find("delivered"),
             "last_delivery", "Seconds since the last message was delivered");
  judge_last(check, limits, "last-ack-critical", "ack", info->find("ack_floor"), "last_ack",
             "Seconds since the last message was acknowledged");
  judge_pinned(check, limits, *info);
}

// A stored message or why there is none; absent when the subject has none.
Result<json::Value> last_message(JetStream& js, const std::string& stream,
                                 const std::string& subject) {
  Draft body;
  body.text("last_by_subj", subject);
  auto answer = js.request("STREAM.MSG.GET." + stream, body.text());
  if (!answer) return answer.error();
  const json::Value* message = answer->find("message");
  if (message == nullptr) return Error{Errc::Corrupt, "no message in the answer"};
  return *message;
}

bool is_no_message(const Error& error) {
  return error.text.ends_with(kNoMessageSuffix);
}

void look_message(const Context& context, const Values& values, Check& check) {
  auto js = JetStream::open(context, values);
  if (!js) return check.critical("could not load info: " + describe(js.error()));
  const std::string subject = values.text("subject");
  if (subject.empty() || subject.find_first_of("*> ") != std::string::npos) {
    return check.critical("Check failed: invalid subject \"" + subject + "\"");
  }
  const std::string stream = values.text("stream");
  auto message = last_message(*js, stream, subject);
  if (!message && is_no_message(message.error())) return check.critical("no message found");
  if (!message) return check.critical("msg load failed: " + describe(message.error()));
  const std::string data = base64_decode(message->get_string("data")).value_or("");
  Duration age = time_between(message->get_string("time"), {});
  if (values.is_on("body-timestamp")) {
    const auto seconds = parse_uint(trim(data));
    if (!seconds) return check.critical("invalid timestamp body: " + data);
    age = SystemClock().wall_now() - WallTime(std::chrono::seconds(static_cast<int64_t>(*seconds)));
  }
  const Duration rounded = std::chrono::round<std::chrono::milliseconds>(age);
  const Duration warn = values.duration("age-warn");
  const Duration critical = values.duration("age-critical");
  check.measures.push_back({"age", "The age of the message", to_seconds(rounded), to_seconds(warn),
                            to_seconds(critical), "s"});
  add_measure(check, "size", "The size of the message", static_cast<int64_t>(data.size()), 0, 0,
              "B");
  if (critical > Duration(0) && age > critical) {
    check.critical(format_go_duration(rounded) + " old");
  } else if (warn > Duration(0) && age > warn) {
    check.warn(format_go_duration(rounded) + " old");
  }
  const std::string expression = values.text("content");
  auto pattern = Pattern::make(expression);
  if (!pattern) return check.critical("content regex compile failed: " + pattern.error().text);
  if (!pattern->matches(data)) check.critical("does not match regex: " + expression);
  if (check.is_ok()) check.ok("Valid message on " + stream + " > " + subject);
}

void judge_key(Check& check, JetStream& js, const std::string& bucket, const std::string& key) {
  auto message = last_message(js, "KV_" + bucket, "$KV." + bucket + "." + key);
  if (!message && is_no_message(message.error()))
    return check.critical("key " + key + " not found");
  if (!message) return check.critical("key " + key + " not loaded: " + describe(message.error()));
  const std::string block = base64_decode(message->get_string("hdrs")).value_or("");
  const std::string_view operation = client::Message{{}, {}, block, {}, {}}.header("KV-Operation");
  // A deleted key is as absent as one that never was.
  if (operation == "DEL" || operation == "PURGE")
    return check.critical("key " + key + " not found");
  check.ok("key " + key + " found");
}

void judge_values(Check& check, const Values& values, int64_t count) {
  const int64_t warn = std::strtoll(values.text("values-warn").c_str(), nullptr, 10);
  const int64_t critical = std::strtoll(values.text("values-critical").c_str(), nullptr, 10);
  if (warn <= -1 && critical <= -1) return;
  const auto is_beyond = [&](int64_t limit) {
    return limit > -1 && (critical < warn ? count <= limit : count >= limit);
  };
  const std::string text = counted(count, "values");
  if (is_beyond(critical)) {
    check.critical(text);
  } else if (is_beyond(warn)) {
    check.warn(text);
  } else {
    check.ok(text);
  }
}

void look_kv(const Context& context, const Values& values, Check& check) {
  auto js = JetStream::open(context, values);
  if (!js) return check.critical("connection failed: " + describe(js.error()));
  const std::string bucket = values.text("bucket");
  auto info = js->request("STREAM.INFO.KV_" + bucket);
  if (!info && info.error().code == Errc::NotFound)
    return check.critical("bucket " + bucket + " not found");
  if (!info) return check.critical("could not load bucket: " + describe(info.error()));
  check.ok("bucket " + bucket);
  const json::Value* state = info->find("state");
  const int64_t count = number_in(state, "messages");
  const auto limit = [&](const char* flag) {
    return std::max(std::strtod(values.text(flag).c_str(), nullptr), 0.0);
  };
  add_measure(check, "values", "How many values are stored in the bucket", count,
              limit("values-warn"), limit("values-critical"));
  if (const std::string key = values.text("key"); !key.empty()) judge_key(check, *js, bucket, key);
  judge_values(check, values, count);
  add_measure(check, "bytes", "Bytes stored in the bucket", number_in(state, "bytes"), 0, 0, "B");
  add_measure(check, "replicas", "", number_in(info->find("config"), "num_replicas"));
}

// What of a limited resource is used, in percent of the limit.
void judge_resource(Check& check, const Values& values, const std::string& flag,
                    const std::string& name, const std::string& unit, int64_t limit, int64_t used) {
  const int64_t warn = std::strtoll(values.text(flag + "-warn").c_str(), nullptr, 10);
  const int64_t critical = std::strtoll(values.text(flag + "-critical").c_str(), nullptr, 10);
  const int64_t percent =
      limit > 0 ? static_cast<int64_t>(static_cast<double>(used) / static_cast<double>(limit) * 100)
                : 0;
  check.measures.push_back(
      {name, "JetStream " + name + " resource usage", static_cast<double>(used), 0, 0, unit});
  check.measures.push_back({name + "_pct", "JetStream " + name + " resource usage in percent",
                            static_cast<double>(percent),
                            static_cast<double>(std::max<int64_t>(warn, 0)),
                            static_cast<double>(std::max<int64_t>(critical, 0)), "%"});
  if (warn != -1 && critical != -1 && warn >= critical)
    return check.critical(name + ": invalid thresholds");
  if (percent > 100) return check.critical(name + ": exceed server limits");
  if (warn < 0 || critical < 0) return;
  const std::string text = std::to_string(percent) + "% " + name;
  if (percent > critical) {
    check.critical(text);
  } else if (percent > warn) {
    check.warn(text);
  }
}

// The one class each stream of a list falls into.
void judge_replicas(Check& check, const Values& values, const std::vector<json::Value>& streams) {
  const Duration seen = values.duration("replica-seen-critical");
  const auto lag = static_cast<int64_t>(values.number("replica-lag-critical"));
  int64_t healthy = 0;
  int64_t leaderless = 0;
  int64_t missing = 0;
  int64_t lagged = 0;
  int64_t unseen = 0;
  int64_t failed = 0;
  for (const json::Value& stream : streams) {
    const int64_t replicas = number_in(stream.find("config"), "num_replicas");
    const json::Value* cluster = stream.find("cluster");
    const auto& peers = items_in(cluster, "replicas");
    if (replicas <= 1) {
      ++healthy;
    } else if (cluster == nullptr) {
      ++failed;
    } else if (text_in(cluster, "leader").empty()) {
      ++leaderless;
    } else if (static_cast<int64_t>(peers.size()) != replicas - 1) {
      ++missing;
    } else {
      const PeerCount count = count_peers(peers, seen, lag, true);
      failed += count.offline;
      unseen += count.inactive;
      lagged += count.lagged;
      if (count.offline + count.inactive + count.lagged == 0) ++healthy;
    }
  }
  add_measure(check, "replicas_ok", "Streams with healthy cluster state", healthy);
  add_measure(check, "replicas_no_leader", "Streams with no leader elected", leaderless);
  add_measure(check, "replicas_missing_replicas",
              "Streams where there are fewer known replicas than configured", missing);
  check.measures.push_back({"replicas_lagged",
                            "Streams with > " + std::to_string(lag) + " lagged replicas",
                            static_cast<double>(lagged), 0, static_cast<double>(lag)});
  check.measures.push_back({"replicas_not_seen",
                            "Streams with replicas seen > " + format_go_duration(seen) + " ago",
                            static_cast<double>(unseen), 0, to_seconds(seen), "s"});
  add_measure(check, "replicas_fail", "Streams unhealthy cluster state", failed);
  const int64_t unhealthy = failed + missing + leaderless + unseen + lagged;
  if (unhealthy > 0) check.critical(counted(unhealthy, "unhealthy streams"));
}

void look_jetstream(const Context& context, const Values& values, Check& check) {
  auto js = JetStream::open(context, values);
  if (!js) return check.critical("connection failed: " + describe(js.error()));
  auto info = js->request("INFO");
  if (!info) return check.critical("JetStream not available: " + describe(info.error()));
  const json::Value* limits = info->find("limits");
  judge_resource(check, values, "mem", "memory", "B", number_in(limits, "max_memory"),
                 info->get_int("memory"));
  judge_resource(check, values, "store", "storage", "B", number_in(limits, "max_storage"),
                 info->get_int("storage"));
  judge_resource(check, values, "streams", "streams", "", number_in(limits, "max_streams"),
                 info->get_int("streams"));
  judge_resource(check, values, "consumers", "consumers", "", number_in(limits, "max_consumers"),
                 info->get_int("consumers"));
  if (!values.is_on("replicas")) return;
  auto streams = js->list("STREAM.LIST", "streams");
  if (!streams) return check.critical("JetStream not available: " + describe(streams.error()));
  judge_replicas(check, values, *streams);
}

Flag option_flag(std::string name, std::string help, std::string placeholder,
                 std::string default_text = {}) {
  return {std::move(name), std::move(help), Kind::Text, std::move(placeholder),
          std::move(default_text)};
}

}  // namespace

Command stream_check() {
  return check_command(
      "stream", {},
      "Checks the health of mirrored streams, streams with sources or clustered streams", "stream",
      "", {"stream"}, look_stream,
      {option_flag("stream", "The streams to check", "STREAM"),
       option_flag("lag-critical", "Critical threshold to allow for lag on any source or mirror",
                   "MSGS"),
       {"seen-critical",
        "Critical threshold for how long ago the source or mirror should have been seen",
        Kind::Duration},
       option_flag("min-sources", "Minimum number of sources to expect", "SOURCES"),
       option_flag("max-sources", "Maximum number of sources to expect", "SOURCES"),
       option_flag("peer-expect", "Number of cluster replicas to expect", "SERVERS"),
       option_flag("peer-lag-critical", "Critical threshold to allow for cluster peer lag", "OPS"),
       {"peer-seen-critical",
        "Critical threshold for how long ago a cluster peer should have been seen", Kind::Duration},
       option_flag("msgs-warn", "Warn if there are fewer than this many messages in the stream",
                   "MSGS"),
       option_flag("msgs-critical",
                   "Critical if there are fewer than this many messages in the stream", "MSGS"),
       option_flag("subjects-warn", "Critical threshold for subjects in the stream", "SUBJECTS"),
       option_flag("subjects-critical", "Warning threshold for subjects in the stream",
                   "SUBJECTS")});
}

Command consumer_check() {
  return check_command(
      "consumer", {}, "Checks the health of a consumer", "consumer", "", {"stream", "consumer"},
      look_consumer,
      {option_flag("stream", "The streams to check", "STREAM"),
       option_flag("consumer", "The consumer to check", "CONSUMER"),
       option_flag("outstanding-ack-critical", "Maximum number of outstanding acks to allow", "N",
                   "-1"),
       option_flag("waiting-critical", "Maximum number of waiting pulls to allow", "N", "-1"),
       option_flag("unprocessed-critical", "Maximum number of unprocessed messages to allow", "N",
                   "-1"),
       {"last-delivery-critical", "Time to allow since the last delivery", Kind::Duration, "",
        "0s"},
       {"last-ack-critical", "Time to allow since the last ack", Kind::Duration, "", "0s"},
       option_flag("redelivery-critical", "Maximum number of redeliveries to allow", "N", "-1"),
       {"pinned", "Requires Pinned Client priority with all groups having a pinned client"}});
}

Command message_check() {
  return check_command(
      "message", {}, "Checks properties of a message stored in a stream", "message",
      "Stream Message", {}, look_message,
      {option_flag("stream", "The streams to check", "STREAM"),
       option_flag("subject", "The subject to fetch a message from", "SUBJECT", ">"),
       {"age-warn", "Warning threshold for message age as a duration", Kind::Duration},
       {"age-critical", "Critical threshold for message age as a duration", Kind::Duration},
       option_flag("content", "Regular expression to check the content against", "REGEX", "."),
       {"body-timestamp", "Use message body as a unix timestamp instead of message metadata"}});
}

Command kv_check() {
  return check_command(
      "kv", {}, "Checks a NATS KV Bucket", "kv", "", {"bucket"}, look_kv,
      {option_flag("bucket", "Checks a specific bucket", "BUCKET"),
       option_flag("values-critical", "Critical threshold for number of values in the bucket", "N",
                   "-1"),
       option_flag("values-warn", "Warning threshold for number of values in the bucket", "N",
                   "-1"),
       option_flag("key", "Requires a key to have any non-delete value set", "KEY")});
}

Command jetstream_check() {
  std::vector<Flag> flags;
  for (const auto& [flag, what, least, most] :
       {std::tuple("mem", "memory storage", "75", "90"),
        {"store", "disk storage", "75", "90"},
        {"streams", "number of streams used", "-1", "-1"},
        {"consumers", "number of consumers used", "-1", "-1"}}) {
    const std::string text = std::string(" threshold for ") + what + ", in percent of limit";
    flags.push_back(option_flag(std::string(flag) + "-warn", "Warning" + text, "PERCENT", least));
    flags.push_back(
        option_flag(std::string(flag) + "-critical", "Critical" + text, "PERCENT", most));
  }
  flags.push_back(
      {"replicas", "Checks if all streams have healthy replicas", Kind::Bool, "", "true"});
  flags.push_back(
      {"replica-seen-critical",
       "Critical threshold for when a stream replica should have been seen, as a duration",
       Kind::Duration, "", "5s"});
  flags.push_back({"replica-lag-critical",
                   "Critical threshold for how many operations behind a peer can be", Kind::Number,
                   "", "200"});
  return check_command("jetstream", {"js"}, "Check JetStream account state", "jetstream",
                       "JetStream", {}, look_jetstream, std::move(flags));
}

}  // namespace brokkr::cli
