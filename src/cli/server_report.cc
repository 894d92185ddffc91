// brokkr server report: the group, connections and accounts.

#include "cli/server_report.h"

#include <algorithm>
#include <map>

#include "cli/columns.h"
#include "cli/connection_report.h"
#include "cli/server_commands.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

// The connections of one account, summed.
struct AccountSum {
  std::string account;
  std::vector<ReportedConnection> connections;
  std::vector<json::Value> servers;
  int64_t in_msgs = 0;
  int64_t out_msgs = 0;
  int64_t in_bytes = 0;
  int64_t out_bytes = 0;
  int64_t subscriptions = 0;
};

std::vector<AccountSum> sum_accounts(std::vector<ReportedConnection> all) {
  std::map<std::string, AccountSum> sums;
  for (ReportedConnection& one : all) {
    const std::string name(one.info.get_string("account"));
    AccountSum& sum = sums[name];
    sum.account = name;
    sum.in_msgs += one.info.get_int("in_msgs");
    sum.out_msgs += one.info.get_int("out_msgs");
    sum.in_bytes += one.info.get_int("in_bytes");
    sum.out_bytes += one.info.get_int("out_bytes");
    sum.subscriptions += static_cast<int64_t>(items_in(&one.info, "subscriptions_list").size());
    const bool is_known =
        std::any_of(sum.servers.begin(), sum.servers.end(), [&](const json::Value& server) {
          return server.get_string("id") == one.server.get_string("id");
        });
    if (!is_known) sum.servers.push_back(one.server);
    sum.connections.push_back(std::move(one));
  }
  std::vector<AccountSum> out;
  for (auto& [name, sum] : sums)
    out.push_back(std::move(sum));
  return out;
}

int64_t sort_value(const AccountSum& sum, const std::string& key) {
  if (key == "in-bytes") return sum.in_bytes;
  if (key == "out-bytes") return sum.out_bytes;
  if (key == "in-msgs") return sum.in_msgs;
  if (key == "out-msgs") return sum.out_msgs;
  if (key == "conns") return static_cast<int64_t>(sum.connections.size());
  return sum.subscriptions;
}

void write_account(json::Writer& out, const AccountSum& sum) {
  out.begin_object().field("account", sum.account);
  out.field("connections", static_cast<uint64_t>(sum.connections.size())).key("connection_info");
  write_connections(out, sum.connections);
  out.field("in_msgs", sum.in_msgs).field("out_msgs", sum.out_msgs);
  out.field("in_bytes", sum.in_bytes).field("out_bytes", sum.out_bytes);
  out.field("subscriptions", sum.subscriptions).key("server").begin_array();
  for (const json::Value& server : sum.servers)
    out.value(server);
  out.end_array().end_object();
}

std::string accounts_text(const std::vector<AccountSum>& sums) {
  Table table(comma(static_cast<uint64_t>(sums.size())) + " Accounts Overview");
  table.header({"Account", "Connections", "In Msgs", "Out Msgs", "In Bytes", "Out Bytes", "Subs"});
  for (const AccountSum& sum : sums) {
    table.row({sum.account, comma(static_cast<uint64_t>(sum.connections.size())),
               comma(sum.in_msgs), comma(sum.out_msgs),
               short_bytes(static_cast<uint64_t>(sum.in_bytes)),
               short_bytes(static_cast<uint64_t>(sum.out_bytes)), comma(sum.subscriptions)});
  }
  return "\n" + table.text();
}

int report_one_account(ReportCall& call, std::vector<AccountSum> sums, const std::string& account) {
  if (sums.size() != 1) {
    return fail(call.context.program,
                "received results for multiple accounts, expected " + account);
  }
  if (sums.front().account != account) {
    return fail(call.context.program, "did not receive any results for account " + account);
  }
  if (call.values.is_on("json")) {
    json::Writer out({2, true});
    write_account(out, sums.front());
    print_line(out.text());
    return 0;
  }
  print("\n" + connections_text(std::move(sums.front().connections), call.values));
  return 0;
}

int report_accounts(ReportCall& call) {
  const Values& values = call.values;
  const std::string key = values.text("sort");
  if (Status sort = check_choice("sort", key,
                                 {"in-bytes", "out-bytes", "in-msgs", "out-msgs", "conns", "subs"});
      !sort) {
    return fail(call.context.program, sort.error());
  }
  const std::string account = values.text("account");
  auto all = gather_connections(call.api, values, account, call.expected);
  if (!all) return fail(call.context.program, all.error());
  auto sums = sum_accounts(std::move(*all));
  if (!account.empty()) return report_one_account(call, std::move(sums), account);
  std::stable_sort(sums.begin(), sums.end(), [&](const AccountSum& a, const AccountSum& b) {
    return values.is_on("reverse") ? sort_value(b, key) < sort_value(a, key)
                                   : sort_value(a, key) < sort_value(b, key);
  });
  if (const size_t top = values.number("top"); top > 0 && top < sums.size()) {
    // The greatest ones, which stand at the end unless reversed.
    if (!values.is_on("reverse"))
      std::rotate(sums.begin(), sums.end() - static_cast<std::ptrdiff_t>(top), sums.end());
    sums.erase(sums.begin() + static_cast<std::ptrdiff_t>(top), sums.end());
  }
  if (!values.is_on("json")) {
    print(accounts_text(sums));
    return 0;
  }
  json::Writer out({2, true});
  out.begin_array();
  for (const AccountSum& sum : sums)
    write_account(out, sum);
  print_line(out.end_array().text());
  return 0;
}

int report_connections(ReportCall& call) {
  if (Status flags = check_connection_flags(call.values); !flags)
    return fail(call.context.program, flags.error());
  auto all = gather_connections(call.api, call.values, call.values.text("account"), call.expected);
  if (!all) return fail(call.context.program, all.error());
  print_connections(std::move(*all), call.values);
  return 0;
}

// Runs the report once, or again and again until interrupted.
int run_report(const Context& context, const Values& values, Report report) {
  auto api = SystemApi::open(context, values);
  if (!api) return fail(context.program, api.error());
  const bool is_filtered = values.has("host") || values.has("cluster") || values.has("tags");
  const uint64_t every_seconds = values.number("watch");
  while (true) {
    ReportCall call{context, values, *api, values.has("limit") ? values.number("limit") : 0};
    if (call.expected == 0 && values.has("host")) call.expected = 1;
    if (call.expected == 0 && !is_filtered) {
      auto active = api->active_servers();
      // Connections of one's own account anyone may ask for; a report on servers is not that.
      const bool is_on_connections = report == report_connections || report == report_accounts;
      if (!active && is_on_connections) return fail(context.program, active.error());
      if (active) call.expected = *active;
    }
    if (every_seconds > 0 && is_terminal_stdout()) print("\x1b[2J\x1b[H");
    const int code = report(call);
    if (every_seconds == 0 || code != 0) return code;
    std::fflush(stdout);
    client::run_until(api->session().loop(), std::chrono::seconds(every_seconds),
                      [] { return false; });
  }
}

}  // namespace

Result<std::vector<ServerReply>> ask_for_report(ReportCall& call, const std::string& verb,
                                                Draft body) {
  add_server_filter(body, call.values, "host");
  const std::string subject = "$SYS.REQ.SERVER.PING" + (verb.empty() ? "" : "." + verb);
  auto replies = call.api.ask(subject, body.text(), call.expected);
  if (!replies) return Error{replies.error().code, subject + ": " + replies.error().text};
  for (const ServerReply& reply : *replies) {
    if (!reply.error().empty()) return Error{Errc::Unavailable, reply.coded_error()};
  }
  return replies;
}

Command report_command(std::string name, std::vector<std::string> aliases, std::string summary,
                       Report report, std::vector<Flag> flags) {
  Command command{std::move(name), std::move(aliases), std::move(summary)};
  command.arguments = {{"limit", "Limit the responses to a certain amount of servers", false}};
  command.flags = std::move(flags);
  for (Flag& flag : server_filter_flags())
    command.flags.push_back(std::move(flag));
  command.flags.push_back(
      {"watch", "Display the results and update it every (WATCH) seconds", Kind::Number, "WATCH"});
  command.run = [report](const Context& context, const Values& values) {
    return run_report(context, values, report);
  };
  return command;
}

Command server_report_command() {
  const Flag json{"json,j", "Produce JSON output"};
  const Flag account{"account", "Produce the report for a specific account", Kind::Text, "ACCOUNT"};
  Command command{"report", {"rep"}, "Report on various server metrics"};
  command.flags = {{"reverse,R", "Reverse sort connections"}};
  auto& parts = command.subcommands;
  parts.push_back(report_command(
      "accounts", {"acct"}, "Report on account activity", report_accounts,
      {{"sort", "Sort by a specific property (in-bytes,out-bytes,in-msgs,out-msgs,conns,subs)",
        Kind::Text, "SORT", "subs"},
       {"top", "Limit results to the top results", Kind::Number, "", "1000"},
       json}));
  auto& arguments = parts.back().arguments;
  arguments.insert(arguments.begin(), {"account", "Account to produce a report for", false});
  std::vector<Flag> flags = connection_report_flags();
  flags.insert(flags.begin(),
               {"account", "Limit report to a specific account", Kind::Text, "ACCOUNT"});
  flags.push_back(json);
  parts.push_back(report_command("connections", {"conn", "connz", "conns"}, "Report on connections",
                                 report_connections, std::move(flags)));
  parts.push_back(report_command("cpu", {}, "Report on CPU usage", report_cpu, {json}));
  parts.push_back(report_command(
      "gateways", {"super", "gateway"}, "Repost on Gateway (Super Cluster) connections",
      report_gateways,
      {{"filter-name", "Limits responses to a certain name", Kind::Text, "NAME"},
       {"sort", "Sorts by a specific property (server,cluster)", Kind::Text, "SORT", "cluster"}}));
  parts.push_back(
      report_command("health", {}, "Report on Server health", report_health,
                     {{"js-enabled,J", "Checks that JetStream should be enabled on all servers"},
                      {"server-only,S",
                       "Restricts the health check to the JetStream server only, do not check "
                       "streams and consumers"},
                      {"account", "Check only a specific Account", Kind::Text, "ACCOUNT"},
                      {"stream", "Check only a specific Stream", Kind::Text, "STREAM"},
                      {"consumer", "Check only a specific Consumer", Kind::Text, "CONSUMER"}}));
  parts.push_back(report_command(
      "jetstream", {"jsz", "js"}, "Report on JetStream activity", report_jetstream,
      {account,
       {"sort",
        "Sort by a specific property (name,cluster,streams,consumers,msgs,mbytes,mem,file,api)",
        Kind::Text, "SORT", "cluster"},
       {"compact", "Compact server names", Kind::Bool, "", "true"},
       {"leaders,l", "Show details about cluster leaders"}}));
  parts.push_back(report_command("leafnodes", {"leaf", "leafz"}, "Report on Leafnode connections",
                                 report_leafnodes,
                                 {account,
                                  {"sort",
                                   "Sort by a specific property "
                                   "(server,name,account,subs,in-bytes,out-bytes,in-msgs,out-msgs)",
                                   Kind::Text, "SORT", "server"}}));
  parts.push_back(report_command("mem", {}, "Report on Memory usage", report_memory, {json}));
  parts.push_back(report_command(
      "routes", {"route"}, "Report on Route (Cluster) connections", report_routes,
      {{"sort", "Sort by a specific property (server,cluster,name,account,subs,in-bytes,out-bytes)",
        Kind::Text, "SORT", "server"}}));
  return command;
}

}  // namespace brokkr::cli
