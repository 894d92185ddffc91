// brokkr auth account imports|exports|mappings: what an account shares with others, and how its
// subjects are mapped.

#include <algorithm>
#include <memory>

#include "base/bytes.h"
#include "cli/auth_commands.h"
#include "cli/files.h"
#include "cli/prompt.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

using crypto::ExportType;

const char* kind_text(ExportType type) { return type == ExportType::Service ? "Service" : "Stream"; }
const char* bool_text(bool value) { return value ? "true" : "false"; }

// Saves the account and tells what went wrong, if anything did.
int finish_share(const Context& context, ChosenAccount& it, const std::string& text) {
  if (Status saved = it.store.save(it.op, *it.account); !saved) return fail(context.program, saved.error());
  print_line(text);
  return 0;
}

Result<bool> confirm_removal(const Values& values, const std::string& question) {
  if (values.is_on("force")) return true;
  return ask_yes(question, false);
}

std::string export_text(const crypto::Export& it) {
  Columns out("Export info for " + it.name + " exporting " + it.subject);
  out.section("Configuration");
  out.row("Name", it.name);
  out.row_if_any("Description", it.description);
  out.row("Kind", kind_text(it.type));
  out.row_if_any("Info", it.info_url);
  out.row("Subject", it.subject);
  out.row("Activation Required", it.token_req);
  out.row("Account Token Position", it.account_token_position);
  out.row("Advertised", it.advertise);
  out.section("Revocations");
  for (const auto& [key, second] : it.revocations) {
    out.row(local_date_text(WallTime(std::chrono::seconds(second))), key);
  }
  if (it.revocations.empty()) out.line("No revocations found");
  return out.text();
}

std::string import_source_text(const StoredOperator& op, const crypto::Import& it, bool is_key_wanted) {
  for (const StoredAccount& account : op.accounts) {
    if (account.claims.sub == it.account) return account.name + (is_key_wanted ? " (" + it.account + ")" : "");
  }
  return it.account;
}

const std::string& local_subject(const crypto::Import& it) {
  return it.local_subject.empty() ? it.subject : it.local_subject;
}

std::string import_text(const StoredOperator& op, const crypto::Import& it) {
  Columns out("Import info for import \"" + it.name + "\" importing \"" + local_subject(it) + "\"");
  out.section("Configuration");
  out.row("Name", it.name);
  out.row("From Account", import_source_text(op, it, true));
  out.row("Local Subject", local_subject(it));
  out.row("Kind", kind_text(it.type));
  out.row("Remote Subject", it.subject);
  out.row("Sharing Connection Info", it.share);
  if (it.type == ExportType::Stream) out.row("Allows Message Tracing", it.allow_trace);
  return out.text();
}

crypto::Export* find_export(StoredAccount& account, const std::string& subject) {
  auto& list = account.claims.exports;
  const auto found = std::find_if(list.begin(), list.end(), [&](const auto& it) { return it.subject == subject; });
  return found == list.end() ? nullptr : &*found;
}

crypto::Import* find_import(StoredAccount& account, const std::string& subject) {
  auto& list = account.claims.imports;
  const auto found = std::find_if(list.begin(), list.end(), [&](const auto& it) { return local_subject(it) == subject; });
  return found == list.end() ? nullptr : &*found;
}

void apply_export_flags(const Values& values, crypto::Export& it) {
  if (values.has("description")) it.description = values.text("description");
  if (values.has("url")) it.info_url = values.text("url");
  if (values.has("token-position")) it.account_token_position = values.number("token-position");
  if (values.has("advertise")) it.advertise = values.is_on("advertise");
}

int run_export_add(const Context& context, const Values& values) {
  auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  crypto::Export it;
  it.name = values.text("name");
  it.subject = values.text("subject");
  it.type = values.is_on("service") ? ExportType::Service : ExportType::Stream;
  if (it.type == ExportType::Service) it.response_type = "Singleton";
  apply_export_flags(values, it);
  const std::string text = export_text(it);
  (*place)->account->claims.exports.push_back(std::move(it));
  return finish_share(context, **place, text);
}

int run_export_edit(const Context& context, const Values& values) {
  auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  crypto::Export* const it = find_export(*(*place)->account, values.text("subject"));
  if (it == nullptr) return fail(context.program, "export for subject \"" + values.text("subject") + "\" not found");
  apply_export_flags(values, *it);
  return finish_share(context, **place, export_text(*it));
}

int run_export_info(const Context& context, const Values& values) {
  const auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  const crypto::Export* const it = find_export(*(*place)->account, values.text("subject"));
  if (it == nullptr) return fail(context.program, "unknown export");
  print_line(export_text(*it));
  return 0;
}

int run_export_list(const Context& context, const Values& values) {
  const auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  const StoredAccount& account = *(*place)->account;
  if (account.claims.exports.empty()) {
    print_line("No Exports defined");
    return 0;
  }
  Table table("Exports for account " + account.name);
  for (const crypto::Export& it : account.claims.exports) {
    table.row({it.name, kind_text(it.type), it.subject, bool_text(it.token_req), bool_text(it.advertise),
               std::to_string(it.account_token_position), std::to_string(it.revocations.size())});
  }
  table.header({"Name", "Kind", "Subject", "Activation Required", "Advertised", "Token Position", "Revocations"});
  table.align_right(5);
  print_line(table.text());
  return 0;
}

int run_export_remove(const Context& context, const Values& values) {
  auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  const std::string subject = values.text("subject");
  StoredAccount& account = *(*place)->account;
  const crypto::Export* const it = find_export(account, subject);
  if (it == nullptr) return fail(context.program, "subject \"" + subject + "\" is not exported");
  const auto agreed = confirm_removal(values, "Really remove the " + subject + " Export");
  if (!agreed) return fail(context.program, agreed.error());
  if (!*agreed) return 0;
  const std::string text = std::string("Removing ") + kind_text(it->type) + " Export for subject \"" + subject + "\"";
  account.claims.exports.erase(account.claims.exports.begin() + (it - account.claims.exports.data()));
  return finish_share(context, **place, text);
}

int run_import_add(const Context& context, const Values& values) {
  auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  ChosenAccount& chosen = **place;
  const std::string source = values.text("source");
  std::string key = source;
  if (!crypto::is_public_key(source, crypto::NkeyType::Account)) {
    const auto from = choose_account(chosen.op, source);
    if (!from) return fail(context.program, "could not select source account: " + from.error().text);
    key = (*from)->claims.sub;
  }
  crypto::Import it;
  it.name = values.text("name");
  it.subject = values.text("subject");
  it.account = key;
  it.local_subject = values.has("local") ? values.text("local") : it.subject;
  it.type = values.is_on("service") ? ExportType::Service : ExportType::Stream;
  it.share = values.is_on("share");
  it.allow_trace = values.is_on("traceable") && it.type == ExportType::Stream;
  const std::string text = import_text(chosen.op, it);
  chosen.account->claims.imports.push_back(std::move(it));
  return finish_share(context, chosen, text);
}

int run_import_edit(const Context& context, const Values& values) {
  auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  crypto::Import* const it = find_import(*(*place)->account, values.text("subject"));
  if (it == nullptr) return fail(context.program, "import for local subject \"" + values.text("subject") + "\" not found");
  if (values.is_on("traceable") && it->type == ExportType::Service) {
    return fail(context.program, "service imports cannot allow tracing");
  }
  if (values.has("local")) it->local_subject = values.text("local");
  if (values.has("share")) it->share = values.is_on("share");
  if (values.has("traceable")) it->allow_trace = values.is_on("traceable");
  return finish_share(context, **place, import_text((*place)->op, *it));
}

int run_import_info(const Context& context, const Values& values) {
  const auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  const crypto::Import* const it = find_import(*(*place)->account, values.text("subject"));
  if (it == nullptr) return fail(context.program, "unknown import");
  print_line(import_text((*place)->op, *it));
  return 0;
}

int run_import_list(const Context& context, const Values& values) {
  const auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  const StoredAccount& account = *(*place)->account;
  if (account.claims.imports.empty()) {
    print_line("No Imports defined");
    return 0;
  }
  Table table("Imports for account " + account.name);
  for (const crypto::Import& it : account.claims.imports) {
    table.row({it.name, kind_text(it.type), import_source_text((*place)->op, it, false), local_subject(it), it.subject,
               it.type == ExportType::Stream ? bool_text(it.allow_trace) : "", bool_text(it.share)});
  }
  table.header({"Name", "Kind", "Source", "Local Subject", "Remote Subject", "Allows Tracing", "Sharing Connection Info"});
  print_line(table.text());
  return 0;
}

int run_import_remove(const Context& context, const Values& values) {
  auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  const std::string subject = values.text("subject");
  StoredAccount& account = *(*place)->account;
  const crypto::Import* const it = find_import(account, subject);
  if (it == nullptr) return fail(context.program, "subject \"" + subject + "\" is not imported");
  const auto agreed = confirm_removal(values, "Really remove the " + subject + " import");
  if (!agreed) return fail(context.program, agreed.error());
  if (!*agreed) return 0;
  const std::string text = std::string("Removing ") + to_string(it->type) + " Import for local subject \"" + subject +
                           "\" imported from Account \"" + it->account + "\"";
  account.claims.imports.erase(account.claims.imports.begin() + (it - account.claims.imports.data()));
  return finish_share(context, **place, text);
}

using MappingList = std::vector<crypto::WeightedMapping>;

std::string mapping_text(const std::string& source, const MappingList& list) {
  Columns out("Subject mappings");
  out.section("Configuration");
  int64_t total = 0;
  for (const crypto::WeightedMapping& to : list) {
    out.row("Source", source);
    out.row("Target", to.subject);
    out.row("Weight", to.weight);
    out.row("Cluster", to.cluster);
    out.row("", "");
    total += to.weight;
  }
  out.row("Total weight", total);
  out.row("", "");
  return out.text();
}

int run_mapping_add(const Context& context, const Values& values) {
  auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  const std::string source = values.text("source");
  const std::string target = values.text("target");
  auto& list = (*place)->account->claims.mappings[source];
  for (const auto& to : list) {
    if (to.subject == target) {
      return fail(context.program, "mapping " + source + " -> " + target + " already exists");
    }
  }
  const std::string weight = values.text("weight");
  const auto number = parse_uint(weight.empty() ? "100" : weight);
  if (!number || *number > 100) return fail(context.program, "invalid weight \"" + weight + "\"");
  list.push_back({target, static_cast<int64_t>(*number), values.text("cluster")});
  return finish_share(context, **place, mapping_text(source, list));
}

int run_mapping_info(const Context& context, const Values& values) {
  const auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  const auto& mappings = (*place)->account->claims.mappings;
  if (mappings.empty()) {
    print_line("No mappings defined");
    return 0;
  }
  const auto found = mappings.find(values.text("source"));
  if (found == mappings.end()) return fail(context.program, "unknown mapping \"" + values.text("source") + "\"");
  print_line(mapping_text(found->first, found->second));
  return 0;
}

int run_mapping_list(const Context& context, const Values& values) {
  const auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  const StoredAccount& account = *(*place)->account;
  if (account.claims.mappings.empty()) {
    print_line("No mappings defined");
    return 0;
  }
  Table table("Subject mappings for account " + account.name);
  for (const auto& [source, list] : account.claims.mappings) {
    for (const auto& to : list) table.row({source, to.subject, std::to_string(to.weight), to.cluster});
  }
  table.header({"Source Subject", "Target Subject", "Weight", "Cluster"});
  table.align_right(2);
  print_line(table.text());
  return 0;
}

int run_mapping_remove(const Context& context, const Values& values) {
  auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  const std::string source = values.text("source");
  if ((*place)->account->claims.mappings.erase(source) == 0) {
    return fail(context.program, "unknown mapping \"" + source + "\"");
  }
  return finish_share(context, **place, "Deleted mapping {" + source + "}");
}

}  // namespace

std::vector<Command> auth_account_share_commands() {
  const Argument account{"account", "Account to act on", false};
  const Argument subject{"subject", "The subject to act on"};
  const Flag op{"operator", "Operator hosting the account", Kind::Text, "NAME"};
  const Flag force{"force,f", "Removes without prompting"};
  const Flag service{"service", "A Service rather than a Stream"};
  const std::vector<Flag> about = {{"description", "Friendly description", Kind::Text, "TEXT"},
                                   {"url", "Sets a URL for further information", Kind::Text, "URL"},
                                   {"token-position", "The position to use for the Account name", Kind::Number},
                                   {"advertise", "Advertise the Export"},
                                   op};
  const std::vector<Flag> sharing = {{"local", "The local Subject to use for the import", Kind::Text, "SUBJECT"},
                                     {"share", "Shares connection information with the exporter"},
                                     {"traceable", "Enable tracing messages across Stream imports"},
                                     op};
  std::vector<Flag> import_flags = sharing;
  import_flags.push_back(service);
  import_flags.push_back({"source", "The account, by name or public key, to import from", Kind::Text, "ACCOUNT"});
  std::vector<Flag> export_flags = about;
  export_flags.push_back(service);

  Command imports{"imports", {"imp", "import"}, "Manage account Imports"};
  imports.subcommands.push_back(auth_part("add", {"new", "a", "n"}, "Adds an Import",
      {{"name", "A unique name for the import"}, subject, account}, import_flags, run_import_add));
  imports.subcommands.push_back(auth_part("info", {"i", "show", "view"}, "Show information for an Import", {subject, account}, {op}, run_import_info));
  imports.subcommands.push_back(auth_part("edit", {"update"}, "Edits an Import", {subject, account}, sharing, run_import_edit));
  imports.subcommands.push_back(auth_part("ls", {"list"}, "List Imports", {account}, {op}, run_import_list));
  imports.subcommands.push_back(auth_part("rm", {}, "Removes an Import", {subject, account}, {op, force}, run_import_remove));

  Command exports{"exports", {"e", "exp", "export"}, "Manage account Exports"};
  exports.subcommands.push_back(auth_part("add", {"new", "a", "n"}, "Adds an Export",
      {{"name", "A unique name for the Export"}, subject, account}, export_flags, run_export_add));
  exports.subcommands.push_back(auth_part("info", {"i", "show", "view"}, "Show information for an Export", {subject, account}, {op}, run_export_info));
  exports.subcommands.push_back(auth_part("edit", {"update"}, "Edits an Export", {subject, account}, about, run_export_edit));
  exports.subcommands.push_back(auth_part("ls", {"list"}, "List Exports", {account}, {op}, run_export_list));
  exports.subcommands.push_back(auth_part("rm", {}, "Removes an Export", {subject, account}, {op, force}, run_export_remove));

  const Argument on{"account", "Account to act on"};
  const Argument source{"source", "The source subject of the mapping"};
  Command mappings{"mappings", {"m", "mapping", "map"}, "Manage account level subject mapping and partitioning"};
  mappings.subcommands.push_back(auth_part("add", {"new", "a"}, "Add a new mapping",
      {on, source, {"target", "The target subject of the mapping"}, {"weight", "The weight (%) of the mapping", false},
       {"cluster", "Limit the mappings to a specific cluster", false}}, {op}, run_mapping_add));
  mappings.subcommands.push_back(auth_part("ls", {"list"}, "List mappings", {account}, {op}, run_mapping_list));
  mappings.subcommands.push_back(auth_part("rm", {}, "Remove a mapping", {on, source}, {op}, run_mapping_remove));
  mappings.subcommands.push_back(auth_part("info", {"i", "show", "view"}, "Show information about a mapping", {on, source}, {op}, run_mapping_info));
  std::vector<Command> out;
  out.push_back(std::move(imports));
  out.push_back(std::move(exports));
  out.push_back(std::move(mappings));
  return out;
}

}  // namespace brokkr::cli
