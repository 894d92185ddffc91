// A consumer's configuration and state as a report, and tables of consumers.

#include <algorithm>
#include <cmath>

#include "base/bytes.h"
#include "cli/columns.h"
#include "cli/consumer_commands.h"
#include "cli/json_shape.h"
#include "cli/stream_commands.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

const json::Value& part_of(const json::Value& object, const char* name) {
  static const json::Value kNone;
  const json::Value* found = object.find(name);
  return found == nullptr ? kNone : *found;
}

Duration nanos_of(const json::Value& object, const char* member) { return Duration(object.get_int(member)); }

// "59m59s": whole seconds.
std::string whole_seconds(Duration value) {
  return format_go_duration(std::chrono::round<std::chrono::seconds>(value));
}

std::string deliver_policy_text(const json::Value& config) {
  const auto policy = config.get_string("deliver_policy");
  if (policy == "last") return "Last";
  if (policy == "new") return "New";
  if (policy == "last_per_subject") return "Last Per Subject";
  if (policy == "by_start_time") return "Since " + go_time_text(config.get_string("opt_start_time"));
  if (policy == "by_start_sequence") return "From Sequence " + std::to_string(config.get_int("opt_start_seq"));
  return "All";
}

std::string backoff_text(const std::vector<json::Value>& steps) {
  std::vector<std::string> times;
  for (size_t i = 0; i < steps.size(); ++i) {
    if (steps.size() > 15 && i >= 5 && i + 5 < steps.size()) {
      if (i == 5) times.emplace_back("...");
      continue;
    }
    times.push_back(format_go_duration(Duration(steps[i].as_int().value_or(0))));
  }
  return joined(times) + (steps.size() > 15 ? " (" + std::to_string(steps.size()) + " total)" : "");
}

void add_delivery(Columns& out, const json::Value& config) {
  const auto name = config.get_string("name");
  out.row_if_any("Name", name);
  if (const auto durable = config.get_string("durable_name"); durable != name) {
    out.row_if_any("Durable Name", durable);
  }
  out.row_if_any("Description", config.get_string("description"));
  if (is_pull(config)) {
    out.row("Pull Mode", true);
  } else {
    out.row("Delivery Subject", std::string(config.get_string("deliver_subject")));
  }
  if (const auto filter = config.get_string("filter_subject"); !filter.empty()) {
    out.row("Filter Subject", std::string(filter));
  } else {
    out.row_if_any("Filter Subjects", joined(texts_of(config.find("filter_subjects"))));
  }
  out.row("Deliver Policy", deliver_policy_text(config));
  if (!is_pull(config)) out.row_if_any("Deliver Queue Group", config.get_string("deliver_group"));
  const auto ack = config.get_string("ack_policy");
  out.row("Ack Policy", ack_policy_text(ack));
  if (ack != "none") out.row("Ack Wait", nanos_of(config, "ack_wait"));
  out.row("Replay Policy", config.get_string("replay_policy") == "original" ? "Original" : "Instant");
}

void add_limits_of(Columns& out, const json::Value& config) {
  const auto count = [&](const char* title, const char* member) {
    if (const int64_t value = config.get_int(member); value > 0) out.row(title, value);
  };
  const auto time = [&](const char* title, const char* member) {
    if (const auto value = nanos_of(config, member); value > Duration(0)) out.row(title, value);
  };
  if (const int64_t tries = config.get_int("max_deliver"); tries != -1) out.row("Maximum Deliveries", tries);
  out.row_if_any("Sampling Rate", config.get_string("sample_freq"));
  if (const int64_t rate = config.get_int("rate_limit_bps"); rate > 0) {
    out.row("Rate Limit", short_bytes(static_cast<uint64_t>(rate) / 8) + " / second");
  }
  count("Max Ack Pending", "max_ack_pending");
  count("Max Waiting Pulls", "max_waiting");
  time("Idle Heartbeat", "idle_heartbeat");
  if (!is_pull(config)) out.row("Flow Control", config.get_bool("flow_control"));
  if (config.get_bool("headers_only")) out.row("Headers Only", true);
  if (is_pull(config)) time("Inactive Threshold", "inactive_threshold");
  time("Max Pull Expire", "max_expires");
  count("Max Pull Batch", "max_batch");
  count("Max Pull MaxBytes", "max_bytes");
  if (const auto& steps = part_of(config, "backoff").items(); !steps.empty()) {
    out.row("Backoff", backoff_text(steps));
  }
  count("Replicas", "num_replicas");
  if (config.get_bool("mem_storage")) out.row("Memory Storage", true);
}

void add_pause_and_priority(Columns& out, const json::Value& info, const json::Value& config) {
  const auto until = config.get_string("pause_until");
  if (info.get_bool("paused")) {
    out.row("Paused Until Deadline", date_text(until) + " (" + whole_seconds(nanos_of(info, "pause_remaining")) +
                                         " remaining)");
  } else if (parse_time(until)) {
    out.row("Paused Until Deadline", date_text(until) + " (passed)");
  }
  const auto policy = config.get_string("priority_policy");
  if (policy.empty() || policy == "none") return;
  out.row("Priority Policy", policy == "pinned_client" ? "Pinned Client"
                             : policy == "overflow"    ? "Overflow"
                                                       : "Prioritized");
  out.row("Priority Groups", joined(texts_of(config.find("priority_groups"))));
  if (policy == "pinned_client") out.row("Pinned TTL", nanos_of(config, "priority_timeout"));
}

void add_target(Columns& out, const json::Value& metadata, const char* title, const std::string& kind) {
  const auto stream = metadata.get_string("_nats." + kind + ".stream");
  if (stream.empty()) return;
  out.section(title);
  out.row("Stream", std::string(stream));
  out.row_if_any("Account", metadata.get_string("_nats." + kind + ".acc"));
  out.row_if_any("Domain", metadata.get_string("_nats." + kind + ".domain"));
}

void add_consumer_cluster(Columns& out, const json::Value& info) {
  const json::Value& cluster = part_of(info, "cluster");
  if (cluster.get_string("name").empty()) return;
  out.section("Cluster Information");
  out.row("Name", std::string(cluster.get_string("name")));
  out.row_if_any("Raft Group", cluster.get_string("raft_group"));
  std::string leader(cluster.get_string("leader"));
  if (const auto since = cluster.get_string("leader_since"); !since.empty()) {
    leader += " (" + long_duration(time_between(since, info.get_string("ts"))) + ")";
  }
  out.row("Leader", leader);
  for (const json::Value& replica : part_of(cluster, "replicas").items()) {
    const Duration active = nanos_of(replica, "active");
    out.row("Replica", std::string(replica.get_string("name")) +
                           (replica.get_bool("current") ? ", current, " : ", outdated, ") +
                           (active == Duration(0) || active == Duration::max()
                                ? "not seen"
                                : "seen " + long_duration(active) + " ago"));
  }
}

std::string sequences_text(const json::Value& sequences, const char* last, std::string_view now) {
  std::string text = "Consumer sequence: " + comma(sequences.get_int("consumer_seq")) +
                     " Stream sequence: " + comma(sequences.get_int("stream_seq"));
  if (const auto when = sequences.get_string("last_active"); !when.empty()) {
    text += std::string(" ") + last + ": " + long_duration(time_between(when, now)) + " ago";
  }
  return text;
}

void add_interest(Columns& out, const json::Value& info, const json::Value& config) {
  if (is_pull(config)) {
    const int64_t most = config.get_int("max_waiting");
    out.row("Waiting Pulls", comma(info.get_int("num_waiting")) +
                                 (most > 0 ? " of maximum " + comma(most) : " of unlimited"));
  } else if (!info.get_bool("push_bound")) {
    out.row("Active Interest", "No interest");
  } else if (const auto group = config.get_string("deliver_group"); !group.empty()) {
    out.row("Active Interest", "Active using Queue Group " + std::string(group));
  } else {
    out.row("Active Interest", "Active");
  }
}

void add_groups(Columns& out, const json::Value& info) {
  size_t longest = 0;
  auto groups = part_of(info, "priority_groups").items();
  std::sort(groups.begin(), groups.end(), [](const json::Value& a, const json::Value& b) {
    return a.get_string("group") < b.get_string("group");
  });
  for (const json::Value& group : groups) longest = std::max(longest, group.get_string("group").size());
  const char* title = "Priority Groups";
  for (const json::Value& group : groups) {
    const std::string name(group.get_string("group"));
    const std::string client(group.get_string("pinned_client_id"));
    out.row(title, std::string(longest - name.size(), ' ') + name + ": " +
                       (client.empty() ? "No client"
                                       : "pinned " + client + " at " + date_text(group.get_string("pinned_ts"))));
    title = "";
  }
}

void add_consumer_state(Columns& out, const json::Value& info, const json::Value& config) {
  const auto now = info.get_string("ts");
  out.section("State");
  add_api_level(out, config.find("metadata"));
  out.row("Last Delivered Message", sequences_text(part_of(info, "delivered"), "Last delivery", now));
  if (config.get_string("ack_policy") != "none") {
    out.row("Acknowledgment Floor", sequences_text(part_of(info, "ack_floor"), "Last Ack", now));
    const int64_t most = config.get_int("max_ack_pending");
    out.row("Outstanding Acks",
            comma(info.get_int("num_ack_pending")) + (most > 0 ? " out of maximum " + comma(most) : ""));
    out.row("Redelivered Messages", info.get_int("num_redelivered"));
  }
  out.row("Unprocessed Messages", info.get_int("num_pending"));
  add_interest(out, info, config);
  if (info.get_bool("paused")) {
    const Duration left = nanos_of(info, "pause_remaining");
    const auto time = parse_time(now);
    out.row("Paused Until", date_text(format_rfc3339(time.value_or(WallTime()) + left)) + " (" +
                                whole_seconds(left) + " remaining)");
  }
  if (config.get_string("priority_policy") == "pinned_client") add_groups(out, info);
}

std::string unprocessed_text(const json::Value& info, uint64_t messages) {
  const uint64_t pending = part_of(info, "num_pending").as_uint().value_or(0);
  if (pending == 0) return "0";
  const uint64_t percent = messages == 0 ? 100 : std::min<uint64_t>(pending * 100 / messages, 100);
  return comma(pending) + " / " + std::to_string(percent) + "%";
}

std::vector<std::string> report_row(const json::Value& info, uint64_t messages, bool is_raw) {
  const json::Value& config = part_of(info, "config");
  const auto count = [&](const json::Value& object, const char* member) {
    return is_raw ? std::to_string(object.get_int(member)) : comma(object.get_int(member));
  };
  const Duration wait = nanos_of(config, "ack_wait");
  const auto level = part_of(config, "metadata").get_string("_nats.req.level");
  return {std::string(info.get_string("name")),
          is_pull(config) ? "Pull" : "Push",
          ack_policy_text(config.get_string("ack_policy")),
          is_raw ? format_go_duration(wait) : long_duration(wait),
          count(info, "num_ack_pending"),
          count(info, "num_redelivered"),
          is_raw ? std::to_string(info.get_int("num_pending")) : unprocessed_text(info, messages),
          count(part_of(info, "ack_floor"), "stream_seq"),
          level.empty() ? "0" : std::string(level),
          cluster_text(info.find("cluster"))};
}

bool is_wanted(const json::Value& info, const Values& values, WallTime now) {
  const bool is_inverted = values.is_on("invert");
  const json::Value& config = part_of(info, "config");
  bool is_match = true;
  const auto check = [&](bool is_asked, bool is_true) {
    if (is_asked && is_true == is_inverted) is_match = false;
  };
  const auto age = [&](std::string_view since) {
    const auto time = parse_time(since);
    return time ? Duration(now - *time) : Duration::max();
  };
  const auto fewer = [&](const char* flag, const char* member) {
    const int64_t limit = parse_int(values.text(flag)).value_or(0);
    const int64_t value = info.get_int(member);
    if (limit > 0) is_match &= value > 0 && (is_inverted ? value > limit : value < limit);
  };
  check(values.is_on("push"), !is_pull(config));
  check(values.is_on("pull"), is_pull(config));
  check(values.is_on("bound"), info.get_bool("push_bound") || info.get_int("num_waiting") > 0);
  fewer("waiting", "num_waiting");
  fewer("ack-pending", "num_ack_pending");
  fewer("pending", "num_pending");
  check(values.has("idle"),
        age(part_of(info, "delivered").get_string("last_active")) > values.duration("idle"));
  check(values.has("created"), age(info.get_string("created")) >= values.duration("created"));
  check(values.has("replicas"),
        config.get_int("num_replicas") <= parse_int(values.text("replicas")).value_or(0));
  check(values.has("leader"), part_of(info, "cluster").get_string("leader") == values.text("leader"));
  const auto& groups = part_of(info, "priority_groups").items();
  check(values.is_on("pinned"),
        !groups.empty() && std::all_of(groups.begin(), groups.end(), [](const json::Value& group) {
          return !group.get_string("pinned_client_id").empty();
        }));
  check(values.has("api-level"),
        parse_int(part_of(config, "metadata").get_string("_nats.req.level")).value_or(0) >=
            parse_int(values.text("api-level")).value_or(0));
  return is_match;
}

}  // namespace

std::string ack_policy_text(std::string_view word) {
  return word == "all" ? "All" : word == "explicit" ? "Explicit" : word == "flow_control" ? "Flow Control" : "None";
}

bool is_pull(const json::Value& config) { return config.get_string("deliver_subject").empty(); }

ConsumerView consumer_view(const Values& values, ConsumerView otherwise) {
  return values.is_on("json") ? ConsumerView::Json : otherwise;
}

void show_consumer(const json::Value& info, ConsumerView view) {
  if (view == ConsumerView::Json) {
    print_line(shaped_text(info, kConsumerInfoShape));
    return;
  }
  const json::Value& config = part_of(info, "config");
  Columns out((view == ConsumerView::State ? "State for Consumer " : "Information for Consumer ") +
              std::string(info.get_string("stream_name")) + " > " + std::string(info.get_string("name")) +
              " created " + date_text(info.get_string("created")));
  if (view == ConsumerView::Whole) {
    out.section("Configuration");
    add_delivery(out, config);
    add_limits_of(out, config);
    add_pause_and_priority(out, info, config);
    add_target(out, part_of(config, "metadata"), "Mirror Target", "mirror");
    add_target(out, part_of(config, "metadata"), "Source Target", "src");
    if (const auto metadata = user_metadata(config.find("metadata")); !metadata.empty()) {
      out.section("Metadata");
      for (const auto& [name, value] : metadata) out.row(name, value);
    }
  }
  add_consumer_cluster(out, info);
  add_consumer_state(out, info, config);
  print(out.text());
}

int run_consumer_list(const Context& context, const Values& values) {
  auto task = open_consumer(context, values, false, values.is_on("no-select"));
  if (!task) return fail(context.program, task.error());
  auto names = task->js.names("CONSUMER.NAMES." + task->stream, "consumers");
  if (!names) return fail(context.program, prefixed("could not load Consumers", names.error()));
  if (values.is_on("json")) {
    json::Writer out({2, true});
    out.begin_array();
    for (const std::string& name : *names) out.string(name);
    print_line(names->empty() ? "null" : out.end_array().text());
    return 0;
  }
  if (values.is_on("names")) {
    for (const std::string& name : *names) print_line(name);
    return 0;
  }
  if (names->empty()) {
    print_line("No Consumers defined");
    return 0;
  }
  auto consumers = task->js.list("CONSUMER.LIST." + task->stream, "consumers");
  if (!consumers) return fail(context.program, consumers.error());
  Table table("Consumers");
  table.header({"Name", "Description", "Created", "Ack Pending", "Unprocessed", "Last Delivery"});
  table.align_right(3);
  table.align_right(4);
  for (const json::Value& info : *consumers) {
    table.row({std::string(info.get_string("name")),
               std::string(part_of(info, "config").get_string("description")),
               date_text(info.get_string("created")), std::to_string(info.get_int("num_ack_pending")),
               std::to_string(info.get_int("num_pending")),
               long_duration(time_between(part_of(info, "delivered").get_string("last_active"),
                                          info.get_string("ts")))});
  }
  print_line(table.text() + "\n" + missing_tables(task->js, "Consumers"));
  return 0;
}

int run_consumer_report(const Context& context, const Values& values) {
  auto task = open_consumer(context, values, false);
  if (!task) return fail(context.program, task.error());
  auto stream = stream_info(task->js, task->stream);
  if (!stream) return fail(context.program, stream.error());
  const json::Value& state = part_of(*stream, "state");
  auto consumers = task->js.list("CONSUMER.LIST." + task->stream, "consumers");
  if (!consumers) return fail(context.program, consumers.error());
  Table table("Consumer report for " + task->stream + " with " + comma(state.get_int("consumer_count")) +
              " consumers");
  table.header({"Consumer", "Mode", "Ack Policy", "Ack Wait", "Ack Pending", "Redelivered", "Unprocessed",
                "Ack Floor", "API Level", "Cluster"});
  const bool is_raw = values.is_on("raw");
  if (is_raw) {
    for (size_t column = 3; column <= 7; ++column) table.align_right(column);
  }
  const uint64_t messages = part_of(state, "messages").as_uint().value_or(0);
  for (const json::Value& info : *consumers) table.row(report_row(info, messages, is_raw));
  print_line(table.text());
  print(missing_tables(task->js, "Consumers"));
  return 0;
}

int run_consumer_find(const Context& context, const Values& values) {
  if (values.has("expression")) {
    return fail(context.program, "--expression is not supported; use the other flags or --json with a filter of your own");
  }
  auto task = open_consumer(context, values, false);
  if (!task) return fail(context.program, task.error());
  auto consumers = task->js.list("CONSUMER.LIST." + task->stream, "consumers");
  if (!consumers) return fail(context.program, consumers.error());
  const WallTime now = task->js.session().clock().wall_now();
  for (const json::Value& info : *consumers) {
    if (is_wanted(info, values, now)) print_line(info.get_string("name"));
  }
  return 0;
}

}  // namespace brokkr::cli
