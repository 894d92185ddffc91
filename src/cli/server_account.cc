// brokkr server account: what servers know of an account; removing its assets.

#include <algorithm>

#include "cli/columns.h"
#include "cli/prompt.h"
#include "cli/server_commands.h"
#include "cli/system_api.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

constexpr const char* kAccountz = "$SYS.REQ.SERVER.PING.ACCOUNTZ";
constexpr size_t kAccountsShown = 20;

std::string member_text(const json::Value& object, const char* member) {
  return std::string(object.get_string(member));
}

std::vector<std::pair<std::string, json::Value>> sorted_members(const json::Value* object) {
  auto members = object == nullptr ? std::vector<json::Value::Member>{} : object->members();
  std::stable_sort(members.begin(), members.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  return members;
}

std::string ago_text(std::string_view time) {
  return date_text(time) + " (" + long_duration(time_between(time, {})) + " ago)";
}

void add_mappings(Columns& out, const json::Value& account) {
  const auto mappings = sorted_members(account.find("mappings"));
  if (mappings.empty()) return;
  out.section("Mappings");
  for (const auto& [subject, destinations] : mappings) {
    out.indent(2);
    out.line(subject);
    out.indent(4);
    for (const json::Value& one : destinations.items()) {
      std::string text = member_text(one, "subject");
      if (const std::string cluster = member_text(one, "cluster"); !cluster.empty())
        text += ", in cluster " + cluster;
      if (one.get_int("weight") != 100)
        text += ", with weight " + std::to_string(one.get_int("weight"));
      out.row("Destination", text);
    }
    out.indent(0);
    out.line();
  }
}

void add_import(Columns& out, const json::Value& import) {
  const std::string subject = member_text(import, "subject");
  std::string local = member_text(import, "local_subject");
  if (local.empty()) local = subject;
  if (local.empty()) return;
  if (import.get_bool("invalid")) out.row("Invalid", true);
  const bool is_renamed = subject != local;
  std::string text = local + (is_renamed ? " from subject " + subject : "");
  if (const std::string account = member_text(import, "account"); !account.empty()) {
    text += (is_renamed ? " in account " : " from account ") + account;
  }
  out.row("Subject", text);
  out.row("Type", member_text(import, "type"));
  out.row_if_any("Name", member_text(import, "name"));
  out.row("Sharing", import.get_bool("share"));
  out.row("Tracking", import.get_bool("tracking"));
  out.line();
}

void add_names(Columns& out, const std::string& title, const std::vector<std::string>& names) {
  if (names.empty()) return;
  out.row(title, names.size() > kAccountsShown ? "Rendering 20/" + std::to_string(names.size()) +
                                                     " use --json for the full list"
                                               : "");
  for (size_t i = 0; i < std::min(names.size(), kAccountsShown); ++i)
    out.row("", names[i]);
}

void add_export(Columns& out, const json::Value& one) {
  out.row("Subject", member_text(one, "subject"));
  out.row("Type", member_text(one, "type"));
  out.row("Tokens Required", one.get_bool("token_req"));
  out.row("Response Type", member_text(one, "response_type"));
  if (const int64_t threshold = one.get_int("response_threshold"); threshold > 0) {
    out.row("Response Threshold", Duration(threshold));
  }
  out.row_if_any("Description", member_text(one, "description"));
  out.row_if_any("Info URL", member_text(one, "info_url"));
  out.row_if_any("Name", member_text(one, "name"));
  if (one.get_int("account_token_position") > 0)
    out.row("Account Token Pos", one.get_int("account_token_position"));
  std::vector<std::string> names;
  for (const json::Value& account : items_in(&one, "approved_accounts"))
    names.emplace_back(account.as_string());
  add_names(out, "Accounts", names);
  names.clear();
  for (const auto& [account, time] : sorted_members(one.find("revocations")))
    names.push_back(account);
  add_names(out, "Revocations", names);
  out.line();
}

std::string account_text(const json::Value& account) {
  Columns out("Account information for account " + member_text(account, "account_name"));
  out.section("Details");
  out.row("Complete", account.get_bool("complete"));
  out.row("Expired", account.get_bool("expired"));
  out.row("System Account", account.get_bool("is_system"));
  out.row("Updated", ago_text(account.get_string("update_time")));
  out.row("JetStream", account.get_bool("jetstream_enabled"));
  out.row_if_any("Issuer", member_text(account, "issuer_key"));
  out.row_if_any("Tag", member_text(account, "name_tag"));
  std::string tags;
  for (const json::Value& tag : items_in(&account, "tags"))
    tags += (tags.empty() ? "" : ", ") + std::string(tag.as_string());
  out.row_if_any("Tags", tags);
  add_mappings(out, account);
  const auto& imports = items_in(&account, "imports");
  if (!imports.empty()) out.section("Imports");
  for (const json::Value& one : imports)
    add_import(out, one);
  const auto& exports = items_in(&account, "exports");
  if (!exports.empty()) out.section("Exports");
  for (const json::Value& one : exports)
    add_export(out, one);
  const auto responses = sorted_members(account.find("responses"));
  if (!responses.empty()) out.section("Responses");
  for (const auto& [id, one] : responses)
    add_import(out, one);
  const auto revoked = sorted_members(account.find("revoked_user"));
  if (!revoked.empty()) out.section("Revoked Users");
  for (const auto& [user, time] : revoked)
    out.row(user, ago_text(time.as_string()));
  return out.text();
}

int run_account_of_server(const Context& context, const Values& values) {
  auto api = SystemApi::open(context, values);
  if (!api) return fail(context.program, api.error());
  Draft body;
  body.text("account", values.text("account"));
  if (const std::string host = values.text("host"); !host.empty()) body.text("server_name", host);
  body.flag("exact_match", true);
  auto replies = api->ask(kAccountz, body.text(), 1);
  if (!replies) return fail(context.program, std::string(kAccountz) + ": " + replies.error().text);
  if (replies->empty()) {
    return fail(context.program,
                "no responses received, ensure the account used has system privileges and "
                "appropriate permissions");
  }
  const ServerReply& reply = replies->front();
  if (!reply.error().empty()) return fail(context.program, reply.error());
  const json::Value* account =
      reply.data() == nullptr ? nullptr : reply.data()->find("account_detail");
  if (account == nullptr) return fail(context.program, "no account information received");
  if (values.is_on("json")) {
    json::Writer out({2, true});
    print_line(out.value(*account).text());
  } else {
    print(account_text(*account));
  }
  return 0;
}

int run_account_purge(const Context& context, const Values& values) {
  const std::string account = values.text("account");
  if (!values.is_on("force")) {
    print("This operation deletes all data from the " + account +
          " account and cannot be reversed.\n\n");
    auto answer = ask_yes("Really purge account " + account, false);
    if (!answer) return fail(context.program, answer.error());
    if (!*answer) return 0;
  }
  auto api = SystemApi::open(context, values);
  if (!api) return fail(context.program, api.error());
  auto replies = api->ask("$JS.API.ACCOUNT.PURGE." + account, {}, 1);
  if (!replies) return fail(context.program, replies.error());
  if (replies->empty()) return fail(context.program, "context deadline exceeded");
  if (const std::string error = replies->front().error(); !error.empty())
    return fail(context.program, error);
  print_line("Purge operation on account " + account + " initiated");
  return 0;
}

}  // namespace

Command server_account_command() {
  Command info{"info", {"i"}, "Shows information for an account"};
  info.arguments = {{"account", "The name of the account to view"}};
  info.flags = {{"host", "Request information from a specific server", Kind::Text, "HOST"}};
  info.run = run_account_of_server;
  Command purge{"purge", {}, "Purge assets from JetStream clusters"};
  purge.arguments = {{"account", "The name of the account to purge"}};
  purge.flags = {{"force,f", "Perform the operation without prompting"}};
  purge.run = run_account_purge;
  Command command{"account", {"acct"}, "Interact with accounts"};
  command.flags = {{"json,j", "Produce JSON output"}};
  for (Command* one : {&info, &purge})
    command.subcommands.push_back(std::move(*one));
  return command;
}

}  // namespace brokkr::cli
