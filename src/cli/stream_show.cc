// A stream's configuration and state as a report.

#include <algorithm>

#include "base/bytes.h"
#include "cli/columns.h"
#include "cli/json_shape.h"
#include "cli/stream_commands.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

Duration nanoseconds(const json::Value& object, const char* member) {
  return Duration(object.get_int(member));
}

std::string capitalized(std::string_view word) {
  if (word == "workqueue") return "WorkQueue";
  if (word == "s2") return "S2 Compression";
  std::string out(word);
  if (!out.empty() && out[0] >= 'a' && out[0] <= 'z') out[0] = static_cast<char>(out[0] - 32);
  return out;
}

void add_limit(Columns& out, const char* name, int64_t value, bool is_unlimited, bool is_bytes) {
  if (is_unlimited) {
    out.row(name, "unlimited");
  } else if (is_bytes) {
    out.row(name, short_bytes(static_cast<uint64_t>(value)));
  } else {
    out.row(name, value);
  }
}

std::string source_text(const json::Value& source) {
  std::vector<std::string> parts{std::string(source.get_string("name"))};
  if (const int64_t seq = source.get_int("opt_start_seq"); seq > 0) {
    parts.push_back("Start Seq: " + comma(seq));
  }
  if (const auto time = source.get_string("opt_start_time"); !time.empty()) {
    parts.push_back("Start Time: " + go_time_text(time));
  }
  if (const json::Value* external = source.find("external")) {
    if (const auto api = external->get_string("api"); !api.empty()) {
      parts.push_back("API Prefix: " + std::string(api));
    }
    if (const auto deliver = external->get_string("deliver"); !deliver.empty()) {
      parts.push_back("Delivery Prefix: " + std::string(deliver));
    }
  }
  if (const json::Value* consumer = source.find("consumer")) {
    std::string text = "Consumer Name: " + std::string(consumer->get_string("name"));
    if (const auto to = consumer->get_string("deliver_subject"); !to.empty()) {
      text += " (" + std::string(to) + ")";
    }
    parts.push_back(std::move(text));
  }
  return joined(parts);
}

void add_options(Columns& out, const json::Value& config) {
  out.section("Options");
  if (const json::Value* transform = config.find("subject_transform");
      transform != nullptr && !transform->get_string("dest").empty()) {
    const auto source = transform->get_string("src");
    out.row("Subject Transform", (source.empty() ? ">" : std::string(source)) + " to " +
                                     std::string(transform->get_string("dest")));
  }
  if (const json::Value* republish = config.find("republish")) {
    out.row(republish->get_bool("headers_only") ? "Republishing Headers" : "Republishing",
            std::string(republish->get_string("src")) + " to " +
                std::string(republish->get_string("dest")));
  }
  out.row("Retention", capitalized(config.get_string("retention")));
  out.row("Acknowledgments", !config.get_bool("no_ack"));
  out.row("Discard Policy", config.get_bool("discard_new_per_subject")
                                ? "New Per Subject"
                                : capitalized(config.get_string("discard")));
  out.row("Duplicate Window", nanoseconds(config, "duplicate_window"));
  if (config.get_bool("allow_direct")) out.row("Direct Get", true);
  if (config.get_bool("mirror_direct")) out.row("Mirror Direct Get", true);
  out.row("Allows Atomic Batch Publish", config.get_bool("allow_atomic"));
  out.row("Allows Fast Batch Publish", config.get_bool("allow_batched"));
  out.row("Allows Counters", config.get_bool("allow_msg_counter"));
  out.row("Allows Msg Delete", !config.get_bool("deny_delete"));
  out.row("Allows Per-Message TTL", config.get_bool("allow_msg_ttl"));
  out.row("Allows Purge", !config.get_bool("deny_purge"));
  out.row("Allows Schedules", config.get_bool("allow_msg_schedules"));
  if (const auto ttl = nanoseconds(config, "subject_delete_marker_ttl");
      config.get_bool("allow_msg_ttl") && ttl > Duration(0)) {
    out.row("Subject Delete Markers TTL", ttl);
  }
  out.row("Allows Rollups", config.get_bool("allow_rollup_hdrs"));
}

void add_limits(Columns& out, const json::Value& config) {
  out.section("Limits");
  const auto number = [&](const char* name) { return config.get_int(name); };
  add_limit(out, "Maximum Messages", number("max_msgs"), number("max_msgs") == -1, false);
  add_limit(out, "Maximum Per Subject", number("max_msgs_per_subject"),
            number("max_msgs_per_subject") <= 0, false);
  add_limit(out, "Maximum Bytes", number("max_bytes"), number("max_bytes") == -1, true);
  if (const auto age = nanoseconds(config, "max_age"); age <= Duration(0)) {
    out.row("Maximum Age", "unlimited");
  } else {
    out.row("Maximum Age", age);
  }
  add_limit(out, "Maximum Message Size", number("max_msg_size"), number("max_msg_size") == -1, true);
  add_limit(out, "Maximum Consumers", number("max_consumers"), number("max_consumers") == -1, false);
  if (const json::Value* limits = config.find("consumer_limits")) {
    if (const auto idle = nanoseconds(*limits, "inactive_threshold"); idle > Duration(0)) {
      out.row("Consumer Inactive Threshold", idle);
    }
    if (const int64_t pending = limits->get_int("max_ack_pending"); pending > 0) {
      out.row("Consumer Max Ack Pending", pending);
    }
  }
}

void add_replication(Columns& out, const json::Value& config) {
  const json::Value* mirror = config.find("mirror");
  const json::Value* sources = config.find("sources");
  const bool has_sources = sources != nullptr && !sources->items().empty();
  if (mirror != nullptr || has_sources) out.section("Replication");
  if (mirror != nullptr) out.row("Mirror", source_text(*mirror));
  if (!has_sources) return;
  auto items = sources->items();
  std::sort(items.begin(), items.end(), [](const json::Value& a, const json::Value& b) {
    return a.get_string("name") < b.get_string("name");
  });
  const char* name = "Sources";
  for (const json::Value& source : items) {
    out.row(name, source_text(source));
    name = "";
  }
}

void add_config(Columns& out, const json::Value& config) {
  out.row_if_any("Description", config.get_string("description"));
  if (const auto subjects = texts_of(config.find("subjects")); !subjects.empty()) {
    out.row("Subjects", joined(subjects));
  }
  out.row("Replicas", config.get_int("num_replicas"));
  if (config.get_bool("sealed")) out.row("Sealed", true);
  out.row("Storage", capitalized(config.get_string("storage")));
  if (const auto name = config.get_string("compression"); !name.empty() && name != "none") {
    out.row("Compression", capitalized(name));
  }
  if (const auto mode = config.get_string("persist_mode"); !mode.empty() && mode != "default") {
    out.row("Persistence Mode", capitalized(mode));
  }
  if (const int64_t first = config.get_int("first_seq"); first > 0) out.row("First Sequence", first);
  if (const json::Value* placement = config.find("placement")) {
    out.row_if_any("Placement Cluster", placement->get_string("cluster"));
    out.row_if_any("Placement Tags", joined(texts_of(placement->find("tags"))));
    out.row_if_any("Preferred", placement->get_string("preferred"));
  }
  add_options(out, config);
  add_limits(out, config);
  if (const auto metadata = user_metadata(config.find("metadata")); !metadata.empty()) {
    out.section("Metadata");
    for (const auto& [name, value] : metadata) out.row(name, value);
  }
  add_replication(out, config);
  out.line();
}

void add_replica(Columns& out, const json::Value& replica) {
  std::vector<std::string> state{std::string(replica.get_string("name"))};
  state.emplace_back(replica.get_bool("current") ? "current" : "outdated");
  if (replica.get_bool("offline")) state.emplace_back("OFFLINE");
  const Duration active = nanoseconds(replica, "active");
  state.push_back(active > Duration(0) && active < Duration::max()
                      ? "seen " + long_duration(active) + " ago"
                      : "not seen");
  if (replica.get_bool("pending")) state.emplace_back("(pending)");
  if (const int64_t lag = replica.get_int("lag"); lag > 0) {
    state.push_back(comma(lag) + (lag == 1 ? " operation behind" : " operations behind"));
  }
  out.row("Replica", joined(state));
}

void add_cluster(Columns& out, const json::Value& info) {
  const json::Value* cluster = info.find("cluster");
  if (cluster == nullptr || cluster->get_string("name").empty()) return;
  out.section("Cluster Information");
  out.row("Name", std::string(cluster->get_string("name")));
  if (cluster->get_bool("system_account")) {
    out.row("Cluster Traffic Account", "System Account");
  } else {
    out.row_if_any("Cluster Traffic Account", cluster->get_string("traffic_account"));
  }
  out.row_if_any("Cluster Group", cluster->get_string("raft_group"));
  std::string leader(cluster->get_string("leader"));
  if (const auto since = cluster->get_string("leader_since"); !since.empty()) {
    leader += " (" + long_duration(time_between(since, info.get_string("ts"))) + ")";
  }
  out.row("Leader", leader);
  if (const json::Value* replicas = cluster->find("replicas")) {
    for (const json::Value& replica : replicas->items()) add_replica(out, replica);
  }
  out.line();
}

void add_source(Columns& out, const json::Value& source) {
  out.row("Stream Name", std::string(source.get_string("name")));
  const json::Value* transforms = source.find("subject_transforms");
  if (const auto filter = source.get_string("filter_subject"); !filter.empty()) {
    out.row("Subject Filter", std::string(filter));
  } else if (transforms != nullptr && !transforms->items().empty()) {
    std::string name = transforms->items().size() > 1 ? "Subject Filters and Transforms"
                                                      : "Subject Filter and Transform";
    for (const json::Value& transform : transforms->items()) {
      const std::string to(transform.get_string("dest"));
      out.row(name, std::string(transform.get_string("src")) +
                        (to.empty() ? " untransformed" : " to " + to));
      name.clear();
    }
  }
  out.row("Lag", source.get_int("lag"));
  const Duration active = nanoseconds(source, "active");
  out.row("Last Seen", active > Duration(0) ? long_duration(active) : "never");
  if (const json::Value* external = source.find("external")) {
    out.row("Ext. API Prefix", std::string(external->get_string("api")));
    out.row_if_any("Ext. Delivery Prefix", external->get_string("deliver"));
  }
  if (const json::Value* error = source.find("error")) {
    out.row("Error", std::string(error->get_string("description")));
  }
}

void add_sequence(Columns& out, const char* name, const json::Value& state, const char* seq,
                  const char* time) {
  std::string text = comma(state.get_int(seq));
  if (const auto when = parse_time(state.get_string(time)); when && *when != WallTime()) {
    text += " @ " + date_text(state.get_string(time));
  }
  out.row(name, std::move(text));
}

void add_alternates(Columns& out, const json::Value* alternates) {
  if (alternates == nullptr) return;
  size_t names = 0;
  size_t clusters = 0;
  for (const json::Value& one : alternates->items()) {
    names = std::max(names, one.get_string("name").size());
    clusters = std::max(clusters, one.get_string("cluster").size());
  }
  const char* title = "Alternates";
  for (const json::Value& one : alternates->items()) {
    const std::string name(one.get_string("name"));
    const std::string cluster(one.get_string("cluster"));
    std::string text = std::string(names - name.size(), ' ') + name + ": Cluster: " +
                       std::string(clusters - cluster.size(), ' ') + cluster;
    if (const auto domain = one.get_string("domain"); !domain.empty()) {
      text += " Domain: " + std::string(domain);
    }
    out.row(title, std::move(text));
    title = "";
  }
}

void add_state(Columns& out, const json::Value& info, const json::Value& config) {
  static const json::Value kNone;
  const json::Value* found = info.find("state");
  const json::Value& state = found == nullptr ? kNone : *found;
  out.section("State");
  add_api_level(out, config.find("metadata"));
  out.row("Messages", state.get_int("messages"));
  out.row("Bytes", short_bytes(static_cast<uint64_t>(state.get_int("bytes"))));
  if (const json::Value* lost = state.find("lost")) {
    const json::Value* messages = lost->find("msgs");
    if (messages != nullptr && !messages->items().empty()) {
      out.row("Lost Messages", comma(uint64_t{messages->items().size()}) + " (" +
                                   short_bytes(static_cast<uint64_t>(lost->get_int("bytes"))) + ")");
    }
  }
  add_sequence(out, "First Sequence", state, "first_seq", "first_ts");
  add_sequence(out, "Last Sequence", state, "last_seq", "last_ts");
  if (const int64_t deleted = state.get_int("num_deleted"); deleted > 0) {
    out.row("Deleted Messages", deleted);
  }
  out.row("Active Consumers", state.get_int("consumer_count"));
  if (const int64_t subjects = state.get_int("num_subjects"); subjects > 0) {
    out.row("Number of Subjects", subjects);
  }
  add_alternates(out, info.find("alternates"));
}

}  // namespace

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

std::vector<std::string> texts_of(const json::Value* list) {
  std::vector<std::string> out;
  if (list == nullptr) return out;
  for (const json::Value& item : list->items()) out.emplace_back(item.as_string());
  return out;
}

std::vector<std::pair<std::string, std::string>> user_metadata(const json::Value* metadata) {
  std::vector<std::pair<std::string, std::string>> out;
  if (metadata == nullptr) return out;
  for (const auto& [name, value] : metadata->members()) {
    if (!name.starts_with("_nats.")) out.emplace_back(name, value.as_string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

void add_api_level(Columns& out, const json::Value* metadata) {
  if (metadata == nullptr) return;
  out.row_if_any("Host Version", metadata->get_string("_nats.ver"));
  const auto level = metadata->get_string("_nats.level");
  const auto required = metadata->get_string("_nats.req.level");
  if (level.empty() && required.empty()) return;
  out.row("Required API Level", std::string(required.empty() ? "0" : required) +
                                    " hosted at level " + std::string(level));
}

StreamView stream_view(const Values& values, StreamView otherwise) {
  return values.is_on("json") ? StreamView::Json : otherwise;
}

void show_stream(const json::Value& info, StreamView view) {
  if (view == StreamView::Json) {
    print_line(shaped_text(info, kStreamInfoShape));
    return;
  }
  static const json::Value kNone;
  const json::Value* found = info.find("config");
  const json::Value& config = found == nullptr ? kNone : *found;
  Columns out((view == StreamView::State ? "State for Stream " : "Information for Stream ") +
              std::string(config.get_string("name")) + " created " +
              date_text(info.get_string("created")));
  if (view == StreamView::Whole) add_config(out, config);
  add_cluster(out, info);
  if (const json::Value* mirror = info.find("mirror")) {
    out.section("Mirror Information");
    add_source(out, *mirror);
  }
  if (const json::Value* sources = info.find("sources"); sources != nullptr && !sources->items().empty()) {
    out.section("Source Information");
    for (const json::Value& source : sources->items()) {
      add_source(out, source);
      out.line();
    }
  }
  add_state(out, info, config);
  print(out.text());
}

}  // namespace brokkr::cli
