// brokkr account report, account tls.

#include <algorithm>

#include "cli/account_commands.h"
#include "cli/columns.h"
#include "cli/connect.h"
#include "cli/connection_report.h"
#include "cli/system_api.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

int run_report_connections(const Context& context, const Values& values) {
  if (Status flags = check_connection_flags(values); !flags)
    return fail(context.program, flags.error());
  auto api = SystemApi::open(context, values);
  if (!api) return fail(context.program, api.error());
  auto all = gather_connections(*api, values, {}, 0);
  if (!all) return fail(context.program, all.error());
  print_connections(std::move(*all), values);
  return 0;
}

std::string list_text(const json::Value* object, const char* member) {
  std::string out;
  for (const json::Value& item : items_in(object, member))
    out += (out.empty() ? "" : ", ") + std::string(item.as_string());
  return out;
}

int run_report_statistics(const Context& context, const Values& values) {
  auto api = SystemApi::open(context, values);
  if (!api) return fail(context.program, api.error());
  auto replies = api->ask("$SYS.REQ.ACCOUNT.PING.STATZ", "{}", 0);
  if (!replies) return fail(context.program, replies.error());
  if (replies->empty()) return fail(context.program, "did not get results from any servers");
  Table table("Server Statistics");
  table.header({"Server", "Cluster", "Version", "Tags", "Connections", "Subscriptions", "Leafnodes",
                "Sent Bytes", "Sent Messages", "Received Bytes", "Received Messages",
                "Slow Consumers"});
  int64_t sums[8] = {};
  const auto bytes = [](int64_t count) {
    return short_bytes(static_cast<uint64_t>(std::max<int64_t>(count, 0)));
  };
  for (const ServerReply& reply : *replies) {
    if (!reply.error().empty())
      return fail(context.program, "invalid response received: " + reply.error());
    const auto& accounts = items_in(reply.data(), "account_statz");
    if (accounts.empty()) continue;
    const json::Value& one = accounts.front();
    const json::Value* sent = one.find("sent");
    const json::Value* received = one.find("received");
    const int64_t values_of[] = {one.get_int("conns"),        one.get_int("num_subscriptions"),
                                 one.get_int("leafnodes"),    number_in(sent, "bytes"),
                                 number_in(sent, "msgs"),     number_in(received, "bytes"),
                                 number_in(received, "msgs"), one.get_int("slow_consumers")};
    for (size_t i = 0; i < std::size(sums); ++i)
      sums[i] += values_of[i];
    const json::Value* server = reply.server();
    table.row({std::string(text_in(server, "host")), std::string(text_in(server, "cluster")),
               std::string(text_in(server, "ver")), list_text(server, "tags"), comma(values_of[0]),
               comma(values_of[1]), comma(values_of[2]), bytes(values_of[3]), comma(values_of[4]),
               bytes(values_of[5]), comma(values_of[6]), comma(values_of[7])});
  }
  table.footer({std::to_string(replies->size()), "", "", "", comma(sums[0]), comma(sums[1]),
                comma(sums[2]), bytes(sums[3]), comma(sums[4]), bytes(sums[5]), comma(sums[6]),
                comma(sums[7])});
  print_line(table.text());
  return 0;
}

int run_tls(const Context& context, const Values& values) {
  auto session = connect(context, values);
  if (!session) return fail(context.program, session.error());
  if ((*session)->connection().server_info().tls_required) {
    return fail(context.program,
                "the connection uses TLS and its chain was checked, but showing it is not available");
  }
  return fail(context.program, "nats: connection is not tls");
}

}  // namespace

Command account_tls_command() {
  Command tls{"tls", {}, "Report TLS chain for connected server"};
  tls.run = run_tls;
  return tls;
}

Command account_report_command() {
  Command connections{"connections", {"conn", "connz", "conns"}, "Report on connections"};
  connections.flags = connection_report_flags();
  connections.flags.push_back({"reverse,R", "Reverse sort connections"});
  connections.flags.push_back({"json,j", "Produce JSON output"});
  connections.run = run_report_connections;
  Command statistics{"statistics", {"stats", "statsz"}, "Report on server statistics"};
  statistics.run = run_report_statistics;
  Command report{"report", {"rep"}, "Report on account metrics"};
  for (Command* one : {&connections, &statistics})
    report.subcommands.push_back(std::move(*one));
  return report;
}

}  // namespace brokkr::cli
