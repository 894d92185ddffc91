// brokkr ls and stats: what runs, and how it does.

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/terminal.h"
#include "cli/workload_client.h"

namespace brokkr::cli {
namespace {

// One line of the list: what runs, what is wanted, or both.
struct ListedWorkload {
  workload::WorkloadSummary summary;
  const workload::RolloutStatus* wanted = nullptr;
};

std::string words_of(const workload::Pairs& pairs) {
  std::string out;
  for (const auto& [key, value] : pairs) out += (out.empty() ? "" : ",") + key + "=" + value;
  return out;
}

// "key=value" is a tag; other words are ids, names or patterns of names with "*".
bool matches_filter(const workload::WorkloadSummary& one, const std::string& filter) {
  const size_t equals = filter.find('=');
  if (equals != std::string::npos) {
    const std::pair<std::string, std::string> tag{filter.substr(0, equals), filter.substr(equals + 1)};
    const auto has = [&](const workload::Pairs& pairs) { return std::find(pairs.begin(), pairs.end(), tag) != pairs.end(); };
    return has(one.tags) || has(one.metadata);
  }
  const size_t star = filter.find('*');
  if (star == std::string::npos) return one.id == filter || one.name == filter;
  const std::string_view before = std::string_view(filter).substr(0, star);
  const std::string_view after = std::string_view(filter).substr(star + 1);
  return one.name.size() >= before.size() + after.size() && one.name.starts_with(before) && one.name.ends_with(after);
}

bool is_wanted_line(const workload::WorkloadSummary& one, const Values& values) {
  if (values.has("type") && one.workload_type != values.text("type")) return false;
  const auto filters = values.all("filter");
  return std::all_of(filters.begin(), filters.end(), [&](const auto& filter) { return matches_filter(one, filter); });
}

std::vector<ListedWorkload> join_lists(std::vector<workload::WorkloadSummary>& running,
                                       const std::vector<workload::RolloutStatus>& wanted) {
  std::map<std::pair<std::string, std::string>, const workload::RolloutStatus*> by_name;
  for (const auto& one : wanted) by_name[{one.ns, one.name}] = &one;
  std::vector<ListedWorkload> out;
  std::set<const workload::RolloutStatus*> seen;
  for (workload::WorkloadSummary& one : running) {
    const auto found = by_name.find({one.ns, one.name});
    ListedWorkload& line = out.emplace_back();
    if (found != by_name.end()) seen.insert(line.wanted = found->second);
    line.summary = std::move(one);
  }
  for (const auto& one : wanted) {
    if (seen.contains(&one)) continue;
    ListedWorkload& line = out.emplace_back();
    line.wanted = &one;
    line.summary.id = one.id;
    line.summary.ns = one.ns;
    line.summary.name = one.name;
    line.summary.workload_type = one.workload_type;
    line.summary.workload_lifecycle = one.workload_lifecycle;
    line.summary.workload_state = one.slots.empty() || one.state == "failed" ? one.state : one.slots.front().state;
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) {
    return std::tie(a.summary.ns, a.summary.name, a.summary.id) < std::tie(b.summary.ns, b.summary.name, b.summary.id);
  });
  return out;
}

std::string replicas_text(const ListedWorkload& line) {
  if (line.wanted == nullptr) return "-";
  return std::to_string(line.wanted->running) + "/" + std::to_string(line.wanted->replicas);
}

std::string node_text(const ListedWorkload& line) {
  if (line.wanted == nullptr) return "-";
  for (const workload::SlotStatus& slot : line.wanted->slots) {
    if (slot.workload_id == line.summary.id) return slot.node_name.empty() ? slot.node : slot.node_name;
  }
  return "-";
}

void print_list(const std::vector<ListedWorkload>& lines, const Values& values) {
  const bool is_wide = values.is_on("wide") || values.is_on("show-metadata");
  const bool has_namespaces = values.is_on("all");
  Table table("Workloads");
  std::vector<std::string> header{"ID", "Name", "Type", "Lifecycle", "State", "Running"};
  if (has_namespaces) header.insert(header.begin(), "Namespace");
  if (is_wide) header.insert(header.end(), {"Replicas", "Generation", "Node", "Tags", "Metadata"});
  table.header(std::move(header));
  for (const ListedWorkload& line : lines) {
    const workload::WorkloadSummary& one = line.summary;
    std::vector<std::string> row{one.id, one.name, one.workload_type, one.workload_lifecycle, one.workload_state,
                                 one.runtime.empty() ? "-" : one.runtime};
    if (has_namespaces) row.insert(row.begin(), one.ns);
    if (is_wide) {
      row.insert(row.end(), {replicas_text(line), line.wanted == nullptr ? "-" : std::to_string(line.wanted->generation),
                             node_text(line), words_of(one.tags), words_of(one.metadata)});
    }
    table.row(std::move(row));
  }
  print(table.text());
}

int run_workload_list(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  if (values.is_on("all")) (*workloads)->see_all_namespaces();
  auto found = (*workloads)->list({});
  if (!found) return fail(context.program, found.error());
  std::erase_if(*found, [&](const auto& one) { return !is_wanted_line(one, values); });
  if (values.is_on("json")) {
    print_line(workload::encode(*found));
    return 0;
  }
  auto wanted = (*workloads)->statuses();
  if (!wanted) wanted = std::vector<workload::RolloutStatus>{};
  std::vector<ListedWorkload> lines = join_lists(*found, *wanted);
  std::erase_if(lines, [&](const auto& line) { return !is_wanted_line(line.summary, values); });
  if (lines.empty()) {
    print_line("No workloads found");
    return 0;
  }
  print_list(lines, values);
  return 0;
}

struct StatsBefore {
  uint64_t calls = 0;
  MonotonicTime time{};
};

// One picture of all workloads; rates come from the picture before.
Result<std::string> stats_text(WorkloadClient& workloads, const Values& values, std::map<std::string, StatsBefore>& before) {
  auto found = workloads.list({});
  if (!found) return found.error();
  Table table("Workloads");
  table.header({"Name", "ID", "State", "Instances", "Calls", "Calls/s", "Errors", "Average", "Waiting", "Restarts", "Memory"});
  for (const size_t column : {3, 4, 5, 6, 7, 8, 9, 10}) table.align_right(column);
  for (const workload::WorkloadSummary& one : *found) {
    if (!is_wanted_line(one, values)) continue;
    auto info = workloads.info_of(one.id);
    if (!info) continue;  // gone meanwhile
    const MonotonicTime now = workloads.session().clock().now();
    StatsBefore& last = before[one.id];
    std::string rate = "-";
    if (last.time != MonotonicTime{} && now > last.time) {
      const double seconds = std::chrono::duration<double>(now - last.time).count();
      rate = format_count(static_cast<uint64_t>(static_cast<double>(info->calls - last.calls) / seconds));
    }
    last = {info->calls, now};
    table.row({one.name, one.id, one.workload_state, std::to_string(info->instances), format_count(info->calls), rate,
               format_count(info->errors), info->calls == 0 ? "-" : short_duration(Duration(info->total_ns / info->calls)),
               format_count(info->in_flight + info->queued), format_count(info->restarts), format_bytes(info->memory_bytes)});
  }
  return table.text();
}

int run_stats(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  const bool is_live = is_terminal_stdout() && !values.is_on("once");
  const uint64_t rounds = values.has("count") ? values.number("count") : is_live ? 0 : 1;
  std::map<std::string, StatsBefore> before;
  for (uint64_t round = 1;; ++round) {
    auto text = stats_text(**workloads, values, before);
    if (!text) return fail(context.program, text.error());
    print(is_live ? "\x1b[H\x1b[J" + *text : *text);
    std::fflush(stdout);
    if (rounds > 0 && round >= rounds) return 0;
    client::Session& session = (*workloads)->session();
    client::run_until(session.loop(), values.duration("interval"),
                      [&] { return session.connection().state() == client::State::Closed; });
    if (session.connection().state() == client::State::Closed) return fail(context.program, session.connection().last_error());
  }
}

}  // namespace

Command list_command() {
  Command command{"list", {"ls"}, "List workloads"};
  command.flags = {namespace_flag(),
                   {"all,A", "Those of all namespaces"},
                   {"wide,w", "Show replicas, nodes, tags and metadata too"},
                   {"filter", "Only this id, name, pattern of names or tag key=value, repeatable", Kind::Text, "FILTER", "", "", true},
                   {"type", "Only this type", Kind::Text, "TYPE"},
                   {"show-metadata", "The same as --wide", Kind::Bool, "", "", "", false, true},
                   {"json,j", "Produce JSON output"}};
  command.run = run_workload_list;
  return command;
}

Command stats_command() {
  Command command{"stats", {}, "Show calls, errors, memory of workloads, again and again"};
  command.flags = {namespace_flag(),
                   {"interval", "Time between pictures", Kind::Duration, "DURATION", "2s"},
                   {"count", "Quit after so many pictures", Kind::Number, "COUNT"},
                   {"once", "Show one picture"},
                   {"filter", "Only this id, name, pattern of names or tag key=value, repeatable", Kind::Text, "FILTER", "", "", true},
                   {"type", "Only this type", Kind::Text, "TYPE"}};
  command.run = run_stats;
  return command;
}

}  // namespace brokkr::cli
