// brokkr stream ls, report, find, subjects: tables over many streams or subjects.

#include <algorithm>

#include "base/bytes.h"
#include "cli/columns.h"
#include "cli/stream_commands.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

using Streams = std::vector<json::Value>;

const json::Value& member(const json::Value& object, const char* name) {
  static const json::Value kNone;
  const json::Value* found = object.find(name);
  return found == nullptr ? kNone : *found;
}
const json::Value& config_of(const json::Value& info) { return member(info, "config"); }
const json::Value& state_of(const json::Value& info) { return member(info, "state"); }
std::string name_of(const json::Value& info) { return std::string(config_of(info).get_string("name")); }
uint64_t count_of(const json::Value& object, const char* name) {
  return member(object, name).as_uint().value_or(0);
}

// Each request's filter: "\"subject\":\"a.>\"", or nothing.
std::string subject_filter(const std::string& subject) {
  if (subject.empty()) return {};
  std::string out = "\"subject\":";
  json::append_quoted(out, subject);
  return out;
}

std::string streams_table(const JetStream& js, Streams streams, const std::string& filter) {
  std::stable_sort(streams.begin(), streams.end(), [](const json::Value& a, const json::Value& b) {
    return count_of(state_of(a), "bytes") < count_of(state_of(b), "bytes");
  });
  Table table(filter.empty() ? "Streams" : "Streams matching " + filter);
  table.header({"Name", "Description", "Created", "Messages", "Size", "Last Message"});
  for (const json::Value& info : streams) {
    const json::Value& state = state_of(info);
    table.row({name_of(info), std::string(config_of(info).get_string("description")),
               date_text(info.get_string("created")), comma(count_of(state, "messages")),
               short_bytes(count_of(state, "bytes")),
               long_duration(time_between(state.get_string("last_ts"), info.get_string("ts")))});
  }
  return table.text() + "\n" + missing_tables(js, "Streams");
}

void print_names(const std::vector<std::string>& names, bool is_json) {
  if (!is_json) {
    for (const std::string& name : names) print_line(name);
    return;
  }
  json::Writer out({2, true});
  out.begin_array();
  for (const std::string& name : names) out.string(name);
  print_line(names.empty() ? "null" : out.end_array().text());
}

std::string placement_text(const json::Value* placement) {
  if (placement == nullptr) return {};
  std::string out;
  if (const auto cluster = placement->get_string("cluster"); !cluster.empty()) {
    out = "cluster: " + std::string(cluster) + " ";
  }
  const auto tags = texts_of(placement->find("tags"));
  return tags.empty() ? out : out + "tags: " + joined(tags);
}

std::string lost_text(const json::Value& state, bool is_raw) {
  const json::Value& lost = member(state, "lost");
  const size_t count = member(lost, "msgs").items().size();
  if (count == 0) return "0";
  const uint64_t bytes = count_of(lost, "bytes");
  return is_raw ? std::to_string(count) + " (" + std::to_string(bytes) + ")"
                : comma(uint64_t{count}) + " (" + short_bytes(bytes) + ")";
}

std::string level_text(const json::Value& info) {
  const auto level = member(config_of(info), "metadata").get_string("_nats.req.level");
  return level.empty() ? "0" : std::string(level);
}

std::string report_table(const Streams& streams, bool is_raw) {
  Table table("Stream Report");
  table.header({"Stream", "Storage", "Placement", "Consumers", "Messages", "Bytes", "Lost",
                "Deleted", "API Level", "Replicas"});
  if (is_raw) {
    for (const size_t column : {3, 4, 5, 7}) table.align_right(column);
  }
  for (const json::Value& info : streams) {
    const json::Value& state = state_of(info);
    const auto number = [&](const char* name) {
      const uint64_t value = count_of(state, name);
      return is_raw ? std::to_string(value) : comma(value);
    };
    const uint64_t bytes = count_of(state, "bytes");
    std::vector<std::string> cells{
        name_of(info), config_of(info).get_string("storage") == "memory" ? "Memory" : "File",
        placement_text(config_of(info).find("placement")), number("consumer_count"),
        number("messages"), is_raw ? std::to_string(bytes) : short_bytes(bytes),
        lost_text(state, is_raw), number("num_deleted"), level_text(info),
        cluster_text(info.find("cluster"))};
    // The original leaves the level out of its raw table.
    if (is_raw) cells.erase(cells.begin() + 8);
    table.row(std::move(cells));
  }
  return table.text();
}

std::vector<std::string> replication_row(const json::Value& info, const json::Value& source,
                                         bool is_mirror, bool is_raw) {
  std::vector<std::string> filters;
  if (!is_mirror) {
    for (const json::Value& transform : member(source, "subject_transforms").items()) {
      filters.push_back(std::string(transform.get_string("src")) + " to " +
                        std::string(transform.get_string("dest")));
    }
    if (const auto filter = source.get_string("filter_subject"); filters.empty() && !filter.empty()) {
      filters.push_back(std::string(filter) + " untransformed");
    }
  }
  const Duration active(source.get_int("active"));
  const json::Value& error = member(source, "error");
  return {name_of(info),
          is_mirror ? "Mirror" : "Source",
          std::string(member(source, "external").get_string("api")),
          std::string(source.get_string("name")),
          joined(filters),
          is_raw ? format_go_duration(active) : long_duration(active),
          is_raw ? std::to_string(count_of(source, "lag")) : comma(count_of(source, "lag")),
          error.is_object() ? std::string(error.get_string("description")) + " (" +
                                  std::to_string(error.get_int("err_code")) + ")"
                            : ""};
}

// Empty when no stream of these copies another.
std::string replication_table(const Streams& streams, bool is_raw) {
  Table table("Replication Report");
  table.header({"Stream", "Kind", "API Prefix", "Source Stream", "Filters and Transforms", "Active",
                "Lag", "Error"});
  if (is_raw) {
    table.align_right(5);
    table.align_right(6);
  }
  bool has_any = false;
  for (const json::Value& info : streams) {
    has_any |= config_of(info).find("mirror") != nullptr ||
               !member(config_of(info), "sources").items().empty();
    if (const json::Value* mirror = info.find("mirror")) {
      table.row(replication_row(info, *mirror, true, is_raw));
    }
    for (const json::Value& source : member(info, "sources").items()) {
      table.row(replication_row(info, source, false, is_raw));
    }
  }
  return has_any ? table.text() : std::string();
}

void sort_report(Streams& streams, const Values& values) {
  const auto by = [&](auto key) {
    std::stable_sort(streams.begin(), streams.end(), [&](const json::Value& a, const json::Value& b) {
      return key(a) < key(b);
    });
  };
  if (values.is_on("consumers")) {
    by([](const json::Value& info) { return count_of(state_of(info), "consumer_count"); });
  } else if (values.is_on("messages")) {
    by([](const json::Value& info) { return count_of(state_of(info), "messages"); });
  } else if (values.is_on("name")) {
    by(name_of);
  } else if (values.is_on("storage")) {
    by([](const json::Value& info) { return std::string(config_of(info).get_string("storage")); });
  } else {
    by([](const json::Value& info) { return count_of(state_of(info), "bytes"); });
  }
}

// Whether every subject `subject` stands for is one that `pattern` stands for.
bool is_subset(std::string_view subject, std::string_view pattern) {
  const auto words = split(subject, '.');
  const auto wanted = split(pattern, '.');
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] == ">") return words.size() > i;
    if (i >= words.size() || words[i] == ">") return false;
    if (wanted[i] != "*" && wanted[i] != words[i]) return false;
  }
  return words.size() == wanted.size();
}

bool has_peer(const json::Value& info, const std::string& server) {
  const json::Value& cluster = member(info, "cluster");
  if (cluster.get_string("leader").find(server) != std::string_view::npos) return true;
  for (const json::Value& replica : member(cluster, "replicas").items()) {
    if (replica.get_string("name").find(server) != std::string_view::npos) return true;
  }
  return false;
}

// Whether one stream meets every given condition; --invert turns each around.
bool is_found(const json::Value& info, const Values& values, WallTime now) {
  const bool is_inverted = values.is_on("invert");
  const json::Value& config = config_of(info);
  const json::Value& state = state_of(info);
  const auto age = [&](std::string_view since) {
    const auto time = parse_time(since);
    return time ? Duration(now - *time) : Duration::max();
  };
  const auto limit = [&](const char* flag) { return parse_int(values.text(flag)).value_or(0); };
  bool is_match = true;
  const auto check = [&](bool is_asked, bool is_true) {
    if (is_asked && is_true == is_inverted) is_match = false;
  };
  check(values.has("created"), age(info.get_string("created")) >= values.duration("created"));
  check(values.has("idle"), age(state.get_string("last_ts")) > values.duration("idle"));
  check(values.is_on("empty"), count_of(state, "messages") == 0);
  check(values.has("consumers") && limit("consumers") >= 0,
        state.get_int("consumer_count") <= limit("consumers"));
  check(values.has("replicas"), config.get_int("num_replicas") <= limit("replicas"));
  check(values.is_on("sourced"), !member(config, "sources").items().empty());
  check(values.is_on("mirrored"), config.find("mirror") != nullptr);
  check(values.has("leader"), member(info, "cluster").get_string("leader") == values.text("leader"));
  check(values.has("cluster"), member(info, "cluster").get_string("name").find(values.text("cluster")) !=
                                   std::string_view::npos);
  check(values.has("server-name"), has_peer(info, values.text("server-name")));
  check(values.has("api-level"), parse_int(level_text(info)).value_or(0) >= limit("api-level"));
  if (values.has("subject")) {
    bool is_any = false;
    for (const std::string& subject : texts_of(config.find("subjects"))) {
      is_any |= is_subset(subject, values.text("subject")) != is_inverted;
    }
    is_match &= is_any;
  }
  return is_match;
}

// As many columns side by side as fit short subjects; read downwards.
std::string subjects_table(const std::string& title, const std::vector<std::string>& names,
                           const std::vector<uint64_t>& counts) {
  size_t longest = 0;
  uint64_t most = 0;
  for (const std::string& name : names) longest = std::max(longest, name.size());
  for (const uint64_t count : counts) most = std::max(most, count);
  const size_t width = longest + comma(most).size();
  const size_t columns = width < 20 ? 3 : width < 30 ? 2 : 1;
  Table table(title);
  std::vector<std::string> header;
  for (size_t i = 0; i < columns; ++i) header.insert(header.end(), {"Subject", "Count"});
  table.header(std::move(header));
  const size_t rows = (names.size() + columns - 1) / columns;
  for (size_t row = 0; row < rows; ++row) {
    std::vector<std::string> cells;
    for (size_t column = 0; column < columns; ++column) {
      const size_t at = row + column * rows;
      const bool is_there = at < names.size();
      cells.push_back(is_there ? names[at] : "");
      cells.push_back(is_there && counts[at] > 0 ? comma(counts[at]) : "");
    }
    table.row(std::move(cells));
  }
  return table.text();
}

// The subjects of a stream and how many messages each has.
Result<std::vector<std::pair<std::string, uint64_t>>> read_subjects(JetStream& js,
                                                                    const std::string& stream,
                                                                    const std::string& filter) {
  std::vector<std::pair<std::string, uint64_t>> out;
  while (true) {
    std::string body = "{\"offset\":" + std::to_string(out.size()) + ",\"subjects_filter\":";
    json::append_quoted(body, filter);
    auto info = js.request("STREAM.INFO." + stream, body + "}");
    if (!info) return info.error();
    const auto& page = member(state_of(*info), "subjects").members();
    for (const auto& [name, count] : page) out.emplace_back(name, count.as_uint().value_or(0));
    if (page.empty() || out.size() >= count_of(*info, "total")) return out;
  }
}

}  // namespace

std::string missing_tables(const JetStream& js, const std::string& kind) {
  std::string out;
  if (!js.missing.empty()) {
    auto names = js.missing;
    std::sort(names.begin(), names.end());
    Table table("Inaccessible " + kind);
    const size_t rows = (names.size() + 3) / 4;
    for (size_t row = 0; row < rows; ++row) {
      std::vector<std::string> cells;
      for (size_t at = row; at < rows * 4; at += rows) cells.push_back(at < names.size() ? names[at] : "");
      table.row(std::move(cells));
    }
    out += "\n" + table.text();
  }
  if (!js.offline.empty()) {
    auto pairs = js.offline;
    std::sort(pairs.begin(), pairs.end());
    Table table("Offline " + kind);
    for (const auto& [name, why] : pairs) table.row({name, why});
    out += "\n" + table.text();
  }
  return out;
}

std::string cluster_text(const json::Value* cluster) {
  if (cluster == nullptr) return {};
  std::vector<std::string> peers;
  if (const auto leader = cluster->get_string("leader"); !leader.empty()) {
    peers.push_back(std::string(leader) + "*");
  }
  for (const json::Value& replica : member(*cluster, "replicas").items()) {
    const bool is_behind = replica.get_bool("offline") || !replica.get_bool("current");
    peers.push_back(std::string(replica.get_string("name")) + (is_behind ? "!" : ""));
  }
  std::sort(peers.begin(), peers.end());
  return joined(peers);
}

int run_stream_list(const Context& context, const Values& values) {
  auto js = JetStream::open(context, values);
  if (!js) return fail(context.program, prefixed("setup failed", js.error()));
  const std::string filter = values.text("subject");
  if (values.is_on("names")) {
    auto names = js->names("STREAM.NAMES", "streams", subject_filter(filter));
    if (!names) return fail(context.program, names.error());
    print_names(*names, values.is_on("json"));
    return 0;
  }
  auto streams = js->list("STREAM.LIST", "streams", subject_filter(filter));
  if (!streams) return fail(context.program, prefixed("could not list streams", streams.error()));
  const size_t count = streams->size();
  if (!values.is_on("all")) {
    std::erase_if(*streams, [](const json::Value& info) { return is_internal_stream(name_of(info)); });
  }
  if (values.is_on("json")) {
    std::vector<std::string> names;
    for (const json::Value& info : *streams) names.push_back(name_of(info));
    print_names(names, true);
    return 0;
  }
  if (streams->empty() && js->missing.empty() && js->offline.empty()) {
    print_line(count > 0 ? "No Streams defined, pass -a to include system streams"
                         : "No Streams defined");
    return 0;
  }
  print_line(streams_table(*js, std::move(*streams), filter));
  return 0;
}

int run_stream_report(const Context& context, const Values& values) {
  auto js = JetStream::open(context, values);
  if (!js) return fail(context.program, prefixed("setup failed", js.error()));
  print("Obtaining Stream stats\n\n");
  auto streams = js->list("STREAM.LIST", "streams", subject_filter(values.text("subject")));
  if (!streams) return fail(context.program, streams.error());
  if (values.has("cluster")) {
    std::erase_if(*streams, [&](const json::Value& info) {
      const json::Value* cluster = info.find("cluster");
      return cluster != nullptr && cluster->get_string("name") != values.text("cluster");
    });
  }
  if (streams->empty() && js->missing.empty() && js->offline.empty()) {
    print_line("No Streams defined");
    return 0;
  }
  sort_report(*streams, values);
  const bool is_raw = values.is_on("raw");
  print_line(report_table(*streams, is_raw));
  if (const std::string table = replication_table(*streams, is_raw); !table.empty()) print_line(table);
  print(missing_tables(*js, "Streams"));
  return 0;
}

int run_stream_find(const Context& context, const Values& values) {
  if (values.has("expression")) {
    return fail(context.program, "--expression is not supported; use the other flags or --json with a filter of your own");
  }
  auto js = JetStream::open(context, values);
  if (!js) return fail(context.program, prefixed("setup failed", js.error()));
  auto streams = js->list("STREAM.LIST", "streams");
  if (!streams) return fail(context.program, streams.error());
  const WallTime now = js->session().clock().wall_now();
  std::erase_if(*streams, [&](const json::Value& info) { return !is_found(info, values, now); });
  if (!values.is_on("names")) {
    js->missing.clear();
    js->offline.clear();
    print_line(streams_table(*js, std::move(*streams), values.text("subject")));
    return 0;
  }
  std::vector<std::string> names;
  for (const json::Value& info : *streams) names.push_back(name_of(info));
  std::sort(names.begin(), names.end());
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : "\n") + name;
  print_line(out);
  return 0;
}

int run_stream_subjects(const Context& context, const Values& values) {
  auto task = open_stream(context, values, false);
  if (!task) return fail(context.program, task.error());
  const std::string filter = values.has("filter") ? values.text("filter") : ">";
  auto subjects = read_subjects(task->js, task->stream.name, filter);
  if (!subjects) return fail(context.program, subjects.error());
  std::sort(subjects->begin(), subjects->end());
  if (values.is_on("json")) {
    json::Writer out({2, true});
    out.begin_object();
    for (const auto& [name, count] : *subjects) out.field(name, count);
    print_line(subjects->empty() ? "{}" : out.end_object().text());
    return 0;
  }
  if (task->stream.was_asked) print("\n");
  if (subjects->empty()) {
    print_line("No subjects found matching " + filter);
    return 0;
  }
  const std::string order = values.text("sort");
  if (order != "name" && order != "subjects") {
    std::stable_sort(subjects->begin(), subjects->end(),
                     [](const auto& a, const auto& b) { return a.second < b.second; });
  }
  if (values.is_on("reverse")) std::reverse(subjects->begin(), subjects->end());
  std::vector<std::string> names;
  std::vector<uint64_t> counts;
  for (const auto& [name, count] : *subjects) {
    names.push_back(name);
    counts.push_back(count);
  }
  if (values.is_on("names")) {
    print_names(names, false);
    return 0;
  }
  print_line(subjects_table(std::to_string(names.size()) + " Subjects in stream " + task->stream.name,
                            names, counts));
  return 0;
}

}  // namespace brokkr::cli
