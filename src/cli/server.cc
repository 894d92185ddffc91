// brokkr server: the group, and ping.

#include <algorithm>
#include <cstdio>

#include "cli/columns.h"
#include "cli/commands.h"
#include "cli/server_commands.h"
#include "cli/system_api.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

std::string fixed(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

double to_milliseconds(Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

void print_ping(std::string name, const std::string& id, bool has_id, Duration took) {
  name.resize(std::max<size_t>(name.size(), 60), ' ');
  print_line((has_id ? id + " " : "") + name + " rtt=" + short_duration(took));
}

// How many answered in each 25 ms.
void print_distribution(const std::vector<double>& times) {
  constexpr double kStep = 25;
  std::vector<size_t> counts(
      static_cast<size_t>(*std::max_element(times.begin(), times.end()) / kStep) + 1);
  for (const double time : times)
    ++counts[static_cast<size_t>(time / kStep)];
  std::vector<Bar> bars;
  for (size_t i = 0; i < counts.size(); ++i) {
    bars.push_back({std::to_string(i * 25) + " ms", static_cast<double>(counts[i]),
                    comma(static_cast<uint64_t>(counts[i]))});
  }
  print("\n" + bar_graph("Responses per 25ms", std::move(bars), false));
}

int print_ping_statistics(const Context& context, const std::vector<double>& times,
                          uint64_t expected, bool has_graph) {
  double sum = 0;
  for (const double time : times)
    sum += time;
  print("\n---- ping statistics ----\n" + std::to_string(times.size()) +
        " replies max: " + fixed(*std::max_element(times.begin(), times.end())) +
        " min: " + fixed(*std::min_element(times.begin(), times.end())) +
        " avg: " + fixed(sum / static_cast<double>(times.size())) + "\n");
  if (has_graph) print_distribution(times);
  if (expected > times.size()) {
    return fail(context.program,
                "missing " + std::to_string(expected - times.size()) + " server(s)");
  }
  return 0;
}

// Without the system account the server itself is still there to be asked.
int ping_own_server(const Context& context, SystemApi& api, uint64_t expected) {
  auto rtt = api.session().round_trip(api.timeout());
  if (!rtt) return fail(context.program, rtt.error());
  const auto& info = api.session().connection().server_info();
  print_ping(info.server_name, {}, false, *rtt);
  remark("only the connected server; the others need a system account");
  return print_ping_statistics(context, {to_milliseconds(*rtt)}, expected, false);
}

int run_server_ping(const Context& context, const Values& values) {
  auto api = SystemApi::open(context, values);
  if (!api) return fail(context.program, api.error());
  uint64_t expected = values.has("expect") ? values.number("expect") : 0;
  constexpr const char* kSubject = "$SYS.REQ.SERVER.PING";
  auto replies = api->ask(kSubject, {}, expected);
  if ((!replies && replies.error().code == Errc::Unsupported) || (replies && replies->empty())) {
    if (context.program != "nats") return ping_own_server(context, *api, expected);
    return fail(context.program,
                std::string("503 status from ") + kSubject +
                    ", ensure a system account is used with appropriate permissions");
  }
  if (!replies) return fail(context.program, replies.error());
  std::vector<double> times;
  for (const ServerReply& reply : *replies) {
    if (times.empty() && expected == 0) {
      expected = static_cast<uint64_t>(number_in(reply.json.find("statsz"), "active_servers"));
    }
    times.push_back(to_milliseconds(reply.took));
    print_ping(std::string(text_in(reply.server(), "name")),
               std::string(text_in(reply.server(), "id")), values.is_on("id"), reply.took);
  }
  return print_ping_statistics(context, times, expected, values.is_on("graph"));
}

}  // namespace

Command server_ping_command() {
  Command ping{"ping", {}, "Ping all servers"};
  ping.arguments = {{"expect", "How many servers to expect", false}};
  ping.flags = {{"graph", "Produce a response distribution graph"},
                {"id", "Include the Server ID in the output"}};
  ping.run = run_server_ping;
  return ping;
}

Command server_command() {
  Command command{"server", {"srv", "sys", "system"}, "Server information"};
  for (auto make :
       {server_account_command, server_check_command, server_cluster_command, server_config_command,
        server_info_command, server_list_command, server_mappings_command, server_passwd_command,
        server_ping_command, server_report_command, server_request_command, server_watch_command}) {
    command.subcommands.push_back(make());
  }
  return command;
}

}  // namespace brokkr::cli
