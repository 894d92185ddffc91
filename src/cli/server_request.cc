// brokkr server request: the monitoring answers of servers as they are, one line each.

#include <algorithm>
#include <ctime>

#include "base/bytes.h"
#include "cli/files.h"
#include "cli/server_commands.h"
#include "cli/system_api.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

void add_page(Draft& body, const Values& values) {
  body.number("offset", static_cast<int64_t>(values.number("offset")));
  body.number("limit", static_cast<int64_t>(values.number("limit")));
}

void add_text(Draft& body, const Values& values, const char* member, const char* flag) {
  if (const std::string text = values.text(flag); !text.empty()) body.text(member, text);
}

void add_flag(Draft& body, const Values& values, const char* member, const char* flag) {
  if (values.is_on(flag)) body.flag(member, true);
}

void fill_accounts(Draft& body, const Values& values) {
  add_text(body, values, "account", "account");
}

void fill_connections(Draft& body, const Values& values) {
  body.text("sort", values.text("sort"));
  body.flag("auth", true);
  body.flag("subscriptions", values.is_on("subscriptions"));
  body.flag("subscriptions_detail", values.is_on("subscriptions"));
  add_page(body, values);
  body.number("cid", static_cast<int64_t>(values.number("filter-cid")));
  const std::string state = values.text("filter-state");
  body.number("state", state == "all" ? 2 : state == "closed" ? 1 : 0);
  add_text(body, values, "user", "filter-user");
  add_text(body, values, "acc", "filter-account");
  add_text(body, values, "filter_subject", "filter-subject");
}

void fill_gateways(Draft& body, const Values& values) {
  const std::string account = values.text("filter-account");
  body.text("name", values.text("filter-name"));
  body.flag("accounts", values.is_on("accounts") || !account.empty());
  body.text("account_name", account);
  const bool is_detailed = !account.empty() && values.is_on("subscriptions");
  body.flag("subscriptions", is_detailed);
  body.flag("subscriptions_detail", is_detailed);
}

void fill_health(Draft& body, const Values& values) {
  add_flag(body, values, "js-enabled-only", "js-enabled");
  add_flag(body, values, "js-server-only", "server-only");
  for (const char* flag : {"account", "stream", "consumer"})
    add_text(body, values, flag, flag);
  add_flag(body, values, "details", "details");
}

void fill_jetstream(Draft& body, const Values& values) {
  add_text(body, values, "account", "account");
  const bool is_all = values.is_on("all");
  for (const auto& [flag, member] : {std::pair("accounts", "accounts"),
                                     {"streams", "streams"},
                                     {"consumer", "consumer"},
                                     {"config", "config"},
                                     {"raft", "raft"}}) {
    if (is_all || values.is_on(flag)) body.flag(member, true);
  }
  add_flag(body, values, "leader_only", "leader");
  add_flag(body, values, "stream_leader_only", "stream-leader");
  add_page(body, values);
}

void fill_leafnodes(Draft& body, const Values& values) {
  body.flag("subscriptions", values.is_on("subscriptions"));
}

void fill_routes(Draft& body, const Values& values) {
  body.flag("subscriptions", values.is_on("subscriptions"));
  body.flag("subscriptions_detail", values.is_on("subscriptions"));
}

void fill_subscriptions(Draft& body, const Values& values) {
  add_page(body, values);
  body.flag("subscriptions", values.is_on("detail"));
  add_text(body, values, "account", "filter-account");
  add_text(body, values, "test", "filter-subject");
}

void fill_queues(Draft& body, const Values& values) {
  body.flag("all", values.is_on("all"));
  body.text("filter", values.text("filter"));
}

void fill_raft(Draft& body, const Values& values) {
  body.text("account", values.text("account"));
  body.text("group", values.text("group"));
}

// The answers of the servers that the flags choose; how many to wait for is asked of one of them.
Result<std::vector<ServerReply>> ask_chosen(SystemApi& api, const Values& values,
                                            const std::string& verb, Draft body) {
  add_server_filter(body, values, "name");
  uint64_t expected = values.has("wait") ? values.number("wait") : 0;
  if (values.is_on("leader")) expected = 1;
  if (expected == 0 && (values.has("host") || values.has("name"))) expected = 1;
  if (expected == 0) {
    if (auto active = api.active_servers()) expected = *active;
  }
  const std::string subject = "$SYS.REQ.SERVER.PING." + verb;
  auto replies = api.ask(subject, body.text(), expected);
  if (!replies) return Error{replies.error().code, subject + ": " + replies.error().text};
  return replies;
}

using FillBody = void (*)(Draft&, const Values&);

int run_ask(const Context& context, const Values& values, const char* verb, FillBody fill) {
  auto api = SystemApi::open(context, values);
  if (!api) return fail(context.program, api.error());
  Draft body;
  if (fill != nullptr) fill(body, values);
  auto replies = ask_chosen(*api, values, verb, std::move(body));
  if (!replies) return fail(context.program, replies.error());
  for (const ServerReply& reply : *replies) {
    if (values.is_on("filter-empty") && number_in(reply.data(), "num_connections") == 0) continue;
    print_line(reply.text);
  }
  return 0;
}

int run_kick(const Context& context, const Values& values) {
  auto api = SystemApi::open(context, values);
  if (!api) return fail(context.program, api.error());
  Draft body;
  body.number("cid", static_cast<int64_t>(values.number("client")));
  auto replies = api->ask("$SYS.REQ.SERVER." + values.text("server_id") + ".KICK", body.text(), 1);
  if (!replies) return fail(context.program, replies.error());
  if (replies->empty()) return fail(context.program, "no responses received");
  json::Writer out({2, true});
  print_line(out.value(replies->front().json).text());
  return replies->front().error().empty() ? 0 : 1;
}

std::string profile_path(const Values& values, std::string_view server) {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  char stamp[32];
  const size_t length = std::strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &parts);
  return values.text("dir") + "/" + values.text("profile") + "-" + std::string(stamp, length) +
         "-" + std::string(server);
}

int run_profile(const Context& context, const Values& values) {
  static const std::vector<std::string> kProfiles{"allocs",       "heap",  "goroutine", "mutex",
                                                  "threadcreate", "block", "cpu"};
  const std::string name = values.text("profile");
  if (std::find(kProfiles.begin(), kProfiles.end(), name) == kProfiles.end()) {
    return fail(context.program,
                "profile: one of allocs, heap, goroutine, mutex, threadcreate, block, cpu");
  }
  if (!list_folder(values.text("dir"))) {
    return fail(context.program, "path '" + values.text("dir") + "' does not exist");
  }
  auto api = SystemApi::open(context, values);
  if (!api) return fail(context.program, api.error());
  Draft body;
  body.text("name", name);
  body.number("debug", static_cast<int64_t>(values.number("level")));
  if (name == "cpu") {
    body.number("duration", api->timeout().count());
    api->set_timeout(api->timeout() + std::chrono::seconds(2));
  }
  auto replies = ask_chosen(*api, values, "PROFILEZ", std::move(body));
  if (!replies) return fail(context.program, replies.error());
  if (replies->empty())
    return fail(context.program, "no server answered; profiles are a matter of Go's runtime");
  int code = 0;
  for (const ServerReply& reply : *replies) {
    const std::string server(text_in(reply.server(), "name"));
    std::string why =
        reply.error().empty() ? std::string(text_in(reply.data(), "error")) : reply.error();
    const auto profile = base64_decode(text_in(reply.data(), "profile"));
    if (why.empty() && !profile) why = "no profile in the answer";
    const std::string path = profile_path(values, server);
    if (why.empty()) {
      if (Status written = write_file(path, *profile); !written) why = written.error().text;
    }
    if (why.empty()) {
      print("Server \"" + server + "\" profile written: " + path + "\n");
    } else {
      code = fail(context.program, "Server \"" + server + "\" error: " + why);
    }
  }
  return code;
}

Command ask_command(std::string name, std::vector<std::string> aliases, std::string summary,
                    const char* verb, FillBody fill, std::vector<Flag> flags = {}) {
  Command command{std::move(name), std::move(aliases), std::move(summary)};
  command.arguments = {{"wait", "Wait for a certain number of responses", false}};
  command.flags = std::move(flags);
  command.run = [verb, fill](const Context& context, const Values& values) {
    return run_ask(context, values, verb, fill);
  };
  return command;
}

Command health_request() {
  return ask_command(
      "jetstream-health", {"healthz"}, "Request JetStream health status", "HEALTHZ", fill_health,
      {{"js-enabled,J", "Checks that JetStream should be enabled on all servers"},
       {"server-only,S",
        "Restricts the health check to the JetStream server only, do not check streams and "
        "consumers"},
       {"account", "Check only a specific Account", Kind::Text, "ACCOUNT"},
       {"stream", "Check only a specific Stream", Kind::Text, "STREAM"},
       {"consumer", "Check only a specific Consumer", Kind::Text, "CONSUMER"},
       {"details", "Include extended details about all failures", Kind::Bool, "", "true"}});
}

Command connections_request() {
  return ask_command(
      "connections", {"conn", "connz"}, "Show connection details", "CONNZ", fill_connections,
      {{"sort", "Sort by a specific property", Kind::Text, "SORT", "cid"},
       {"subscriptions", "Show subscriptions"},
       {"filter-cid", "Filter on a specific CID", Kind::Number, "CID"},
       {"filter-state", "Filter on a specific account state (open, closed, all)", Kind::Text,
        "STATE", "open"},
       {"filter-user", "Filter on a specific username", Kind::Text, "USER"},
       {"filter-account", "Filter on a specific account", Kind::Text, "ACCOUNT"},
       {"filter-subject",
        "Limits responses only to those connections with matching subscription interest",
        Kind::Text, "SUBJECT"},
       {"filter-empty", "Only shows responses that have connections"}});
}

Command gateways_request() {
  Command gateways = ask_command(
      "gateways", {"gateway", "gwy", "gatewayz"}, "Show gateway details", "GATEWAYZ", fill_gateways,
      {{"filter-account", "Show only a certain account in account detail", Kind::Text, "ACCOUNT"},
       {"accounts", "Show account detail"},
       {"subscriptions", "Show subscription details", Kind::Bool, "", "true"}});
  gateways.arguments.push_back({"filter-name", "Filter results on gateway name", false});
  return gateways;
}

Command jetstream_request() {
  return ask_command(
      "jetstream", {"jsz", "js"}, "Show JetStream details", "JSZ", fill_jetstream,
      {{"account", "Show statistics scoped to a specific account", Kind::Text, "ACCOUNT"},
       {"accounts", "Include details about accounts"},
       {"streams", "Include details about Streams"},
       {"consumer", "Include details about Consumers"},
       {"config", "Include details about configuration"},
       {"raft", "Include details about raft groups"},
       {"leader", "Request a response from the Meta-group leader only"},
       {"stream-leader", "Request a response from Stream leaders only"},
       {"all", "Include accounts, streams, consumers and configuration"}});
}

Command kick_request() {
  Command kick{"kick", {}, "Disconnects a client immediately"};
  kick.arguments = {{"client", "The Client ID to disconnect"},
                    {"server_id", "The Server ID to disconnect the client from"}};
  kick.run = run_kick;
  return kick;
}

Command profile_request() {
  Command profile{"profile", {}, "Run a profile"};
  profile.description =
      "Profiles are made by Go's runtime: a server that is no nats-server has none.";
  profile.arguments = {
      {"profile",
       "Specify the name of the profile to run (allocs, heap, goroutine, mutex, threadcreate, "
       "block, cpu)"},
      {"dir", "Set the output directory for profile files", false}};
  profile.flags = {{"level", "Set the debug level of the profile", Kind::Number, "LEVEL"}};
  profile.run = run_profile;
  return profile;
}

}  // namespace

Command server_request_command() {
  Command command{"request", {"req"}, "Request monitoring data from a specific server"};
  Flag tags{"tags", "Limit to servers with these configured tags", Kind::Text, "TAGS"};
  tags.is_repeated = true;
  command.flags = {
      {"limit", "Limit the responses to a certain amount of records", Kind::Number, "", "2048"},
      {"offset", "Start at a certain record", Kind::Number, "", "0"},
      {"name", "Limit to servers matching a server name", Kind::Text, "NAME"},
      {"host", "Limit to servers matching a server host name", Kind::Text, "HOST"},
      {"cluster", "Limit to servers matching a cluster name", Kind::Text, "CLUSTER"},
      tags,
  };
  auto& parts = command.subcommands;
  parts.push_back(ask_command(
      "accounts", {"accountz", "acct"}, "Show account details", "ACCOUNTZ", fill_accounts,
      {{"account", "Retrieve information for a specific account", Kind::Text, "ACCOUNT"}}));
  parts.push_back(connections_request());
  parts.push_back(gateways_request());
  parts.push_back(ask_command(
      "ipqueue", {"ipq", "ipqueuesz"}, "Show IP Queue details", "IPQUEUESZ", fill_queues,
      {{"all", "Shows all available information", Kind::Bool, "", "true"},
       {"filter", "Filter results for specific queues", Kind::Text, "FILTER"}}));
  parts.push_back(health_request());
  parts.push_back(jetstream_request());
  parts.push_back(kick_request());
  parts.push_back(ask_command("leafnodes", {"leaf", "leafz"}, "Show leafnode details", "LEAFZ",
                              fill_leafnodes, {{"subscriptions", "Show subscription detail"}}));
  parts.push_back(profile_request());
  parts.push_back(ask_command("raft", {"raftz"}, "Show RAFT state details", "RAFTZ", fill_raft,
                              {{"account", "Filters on an specific account", Kind::Text, "ACCOUNT"},
                               {"group", "Filters on a specific group", Kind::Text, "GROUP"}}));
  parts.push_back(ask_command("routes", {"route", "routez"}, "Show route details", "ROUTEZ",
                              fill_routes, {{"subscriptions", "Show subscription detail"}}));
  parts.push_back(
      ask_command("subscriptions", {"sub", "subsz"}, "Show subscription information", "SUBSZ",
                  fill_subscriptions,
                  {{"detail", "Include detail about all subscriptions"},
                   {"filter-account", "Filter on a specific account", Kind::Text, "ACCOUNT"},
                   {"filter-subject", "Filter based on subscriptions matching this subject",
                    Kind::Text, "SUBJECT"}}));
  parts.push_back(
      ask_command("variables", {"var", "varz"}, "Show runtime variables", "VARZ", nullptr));
  return command;
}

}  // namespace brokkr::cli
