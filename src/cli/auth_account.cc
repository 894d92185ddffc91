// brokkr auth account: accounts of an operator, their limits, and what servers know of them.

#include <algorithm>
#include <memory>

#include "base/bytes.h"
#include "cli/auth_commands.h"
#include "cli/connect.h"
#include "cli/files.h"
#include "cli/prompt.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

int show_account(const Values& values, const StoredAccount& account, const StoredOperator* op) {
  if (values.is_on("json")) {
    json::Writer out(json::Writer::Options{.indent = 2});
    write_account(out, AuthStore(), account);
    print_line(out.text());
  } else {
    print_line(account_text(account, op));
  }
  return 0;
}

// A number or a size; absent leaves the limit.
Status set_limit(const Values& values, const char* flag, int64_t& out) {
  if (!values.has(flag)) return {};
  auto number = parse_bytes(values.text(flag));
  if (!number) return number.error();
  out = *number;
  return {};
}

struct NumberFlag {
  const char* name;
  const char* help;
  int64_t& (*field)(crypto::OperatorLimits&);
  bool is_jetstream = false;
};

const std::vector<NumberFlag>& number_flags() {
  using L = crypto::OperatorLimits;
  static const std::vector<NumberFlag> flags = {
      {"connections", "Maximum allowed connections", [](L& it) -> int64_t& { return it.account.conn; }},
      {"exports", "Maximum allowed exports", [](L& it) -> int64_t& { return it.account.exports; }},
      {"imports", "Maximum allowed imports", [](L& it) -> int64_t& { return it.account.imports; }},
      {"leafnodes", "Maximum allowed Leafnode connections", [](L& it) -> int64_t& { return it.account.leaf; }},
      {"payload", "Maximum allowed payload", [](L& it) -> int64_t& { return it.nats.payload; }},
      {"subscriptions", "Maximum allowed subscriptions", [](L& it) -> int64_t& { return it.nats.subs; }},
      {"js-consumers", "Sets the maximum Consumers any Stream in the account can have",
       [](L& it) -> int64_t& { return it.jetstream.consumer; }, true},
      {"js-disk", "Sets a Disk Storage quota", [](L& it) -> int64_t& { return it.jetstream.disk_storage; }, true},
      {"js-disk-stream", "Sets the maximum size a Disk Storage stream may be",
       [](L& it) -> int64_t& { return it.jetstream.disk_max_stream_bytes; }, true},
      {"js-max-pending", "Default Max Ack Pending for Tier 0 limits",
       [](L& it) -> int64_t& { return it.jetstream.max_ack_pending; }, true},
      {"js-memory", "Sets a Memory Storage quota", [](L& it) -> int64_t& { return it.jetstream.mem_storage; }, true},
      {"js-memory-stream", "Sets the maximum size a Memory Storage stream may be",
       [](L& it) -> int64_t& { return it.jetstream.mem_max_stream_bytes; }, true},
      {"js-streams", "Sets the maximum Streams the account can have",
       [](L& it) -> int64_t& { return it.jetstream.streams; }, true},
  };
  return flags;
}

// What JetStream needs to be on, asked for when no flag says it.
Status enable_jetstream(const Values& values, crypto::OperatorLimits& limits) {
  limits.jetstream.streams = crypto::kNoLimit;
  limits.jetstream.consumer = crypto::kNoLimit;
  const std::pair<const char*, int64_t*> quotas[] = {{"js-disk", &limits.jetstream.disk_storage},
                                                     {"js-memory", &limits.jetstream.mem_storage}};
  for (const auto& [flag, quota] : quotas) {
    if (values.has(flag)) continue;
    const bool is_disk = quota == &limits.jetstream.disk_storage;
    auto bytes = ask_bytes(is_disk ? "Maximum JetStream Disk Storage" : "Maximum JetStream Memory Storage", "1GB");
    if (!bytes) return bytes.error();
    *quota = *bytes;
  }
  return {};
}

Status apply_flags(const Values& values, crypto::AccountClaims& claims) {
  const bool was_enabled = claims.limits.is_jetstream_enabled();
  const bool is_enabled = values.has("jetstream") ? values.is_on("jetstream") : was_enabled;
  if (values.has("bearer")) claims.limits.account.disallow_bearer = !values.is_on("bearer");
  if (is_enabled && !was_enabled) {
    if (Status asked = enable_jetstream(values, claims.limits); !asked) return asked;
  }
  if (!is_enabled) claims.limits.jetstream = {};
  for (const NumberFlag& flag : number_flags()) {
    if (flag.is_jetstream && !is_enabled) continue;
    if (Status set = set_limit(values, flag.name, flag.field(claims.limits)); !set) return set;
  }
  if (values.has("js-stream-size-required")) claims.limits.jetstream.max_bytes_required = true;
  if (values.has("js-cluster-traffic")) claims.cluster_traffic = values.text("js-cluster-traffic");
  if (values.has("expiry")) {
    claims.exp = unix_now() + std::chrono::duration_cast<std::chrono::seconds>(values.duration("expiry")).count();
  }
  add_tags(claims.tags, values.all("tags"), values.all("no-tags"));
  return {};
}

Status ask_account_limits(const Values& values, crypto::OperatorLimits& limits) {
  const auto ask = [&](const char* flag, const char* question, int64_t& out) -> Status {
    if (values.has(flag)) return {};
    auto number = ask_number(question, "-1");
    if (!number) return number.error();
    out = *number;
    return {};
  };
  if (Status asked = ask("connections", "Maximum Connections", limits.account.conn); !asked) return asked;
  return ask("subscriptions", "Maximum Subscriptions", limits.nats.subs);
}

int run_stored_account_add(const Context& context, const Values& values) {
  const AuthStore store;
  auto op = choose_operator(store, values.text("operator"));
  if (!op) return fail(context.program, op.error());
  std::string name = values.text("account");
  if (name.empty()) {
    auto asked = ask_text("Account Name", "", true);
    if (!asked) return fail(context.program, asked.error());
    name = std::move(*asked);
  }
  if (op->find_account(name) != nullptr) return fail(context.program, "account " + name + " already exist");
  const crypto::KeyPair key = crypto::KeyPair::generate(crypto::NkeyType::Account);
  StoredAccount account{name, "", crypto::make_account_claims(key.public_key()), {}};
  account.claims.name = name;
  account.claims.iss = values.text("key");
  account.claims.limits.account.disallow_bearer = true;
  Status done;
  if (!values.is_on("defaults")) done = ask_account_limits(values, account.claims.limits);
  if (done) done = apply_flags(values, account.claims);
  if (done) done = store.add_key(key);
  if (done) done = store.save(*op, account);
  if (!done) return fail(context.program, done.error());
  return show_account(values, account, &*op);
}

int run_stored_account_edit(const Context& context, const Values& values) {
  auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  ChosenAccount& it = **place;
  Status done = apply_flags(values, it.account->claims);
  if (done) done = it.store.save(it.op, *it.account);
  if (!done) return fail(context.program, done.error());
  return show_account(values, *it.account, &it.op);
}

int run_stored_account_info(const Context& context, const Values& values) {
  const auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  return show_account(values, *(*place)->account, &(*place)->op);
}

int run_stored_account_list(const Context& context, const Values& values) {
  const auto op = choose_operator(AuthStore(), values.text("operator"));
  if (!op) return fail(context.program, op.error());
  if (op->accounts.empty()) {
    print_line("No Accounts found");
    return 0;
  }
  Table table("Accounts");
  for (const StoredAccount& account : op->accounts) {
    if (values.is_on("names")) print_line(account.name);
    table.row({account.name, account.claims.sub, std::to_string(account.users.size()),
               account.claims.limits.is_jetstream_enabled() ? "true" : "",
               account.claims.sub == op->claims.system_account ? "true" : ""});
  }
  if (values.is_on("names")) return 0;
  table.header({"Name", "Subject", "Users", "JetStream", "System"});
  table.align_right(2);
  print_line(table.text());
  return 0;
}

// What servers answered to a new token.
struct PushCount {
  size_t updated = 0;
  size_t failed = 0;
};

void count_answer(std::string_view payload, PushCount& count) {
  const auto parsed = json::parse(payload);
  if (!parsed || !parsed->is_object()) {
    ++count.failed;
    print_line("X Invalid JSON response received: " + std::string(payload));
    return;
  }
  const json::Value* const server = parsed->find("server");
  const std::string name(server == nullptr ? "" : server->get_string("name"));
  if (const json::Value* const error = parsed->find("error"); error != nullptr && error->is_object()) {
    ++count.failed;
    print_line("X Update failed on " + name + ": " + std::string(error->get_string("description")));
    return;
  }
  ++count.updated;
  print_line("✓ Update completed on " + name);
}

int report_push(const Context& context, const PushCount& count, size_t expected) {
  const std::string tail = expected > 0 ? " Expected " + std::to_string(expected) : "";
  print_line("\nSuccess " + std::to_string(count.updated) + " Failed " + std::to_string(count.failed) + tail);
  const std::string of = expected > 0 ? "/" + std::to_string(expected) : "";
  if (count.failed > 0) {
    return fail(context.program, "update failed on " + std::to_string(count.failed) + of + " servers");
  }
  if (count.updated == 0) return fail(context.program, "no servers were updated");
  if (expected > 0 && count.updated + count.failed != expected) {
    return fail(context.program, "received updated from only " + std::to_string(count.updated) + " out of " +
                                     std::to_string(expected) + " servers");
  }
  return 0;
}

int run_stored_account_push(const Context& context, const Values& values) {
  const auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  const StoredAccount& account = *(*place)->account;
  if (values.is_on("show")) print_line("Account JWT for " + account.name + "\n\n" + account.token + "\n");
  auto session = connect(context, values);
  if (!session) return fail(context.program, session.error());
  const Duration timeout = values.duration("timeout");
  const auto servers = (*session)->request_many("$SYS.REQ.SERVER.PING", "", {.timeout = timeout, .stall = std::chrono::milliseconds(300)});
  const size_t expected = servers ? servers->size() : 0;
  print_line("Updating " + std::string(expected > 0 ? "account " : "Account ") + account.name + " (" + account.claims.sub + ") on " +
             (expected > 0 ? std::to_string(expected) + " server(s)" : "all servers") + "\n");
  client::ManyOptions many{.timeout = timeout, .stall = {}};
  many.replies_max = expected;
  const auto answers =
      (*session)->request_many("$SYS.REQ.ACCOUNT." + account.claims.sub + ".CLAIMS.UPDATE", account.token, many);
  if (!answers) return fail(context.program, answers.error());
  PushCount count;
  for (const auto& answer : *answers) count_answer(answer.payload, count);
  return report_push(context, count, expected);
}

int run_stored_account_query(const Context& context, const Values& values) {
  auto op = choose_operator(AuthStore(), values.text("operator"));
  const std::string name = values.text("account");
  // An account need not be in the store to be asked for by its key.
  StoredAccount* const stored = op ? op->find_account(name) : nullptr;
  if (stored == nullptr && !crypto::is_public_key(name, crypto::NkeyType::Account)) {
    return fail(context.program, "unknown Account: " + name);
  }
  const std::string key = stored == nullptr ? name : stored->claims.sub;
  auto session = connect(context, values);
  if (!session) return fail(context.program, session.error());
  const auto reply = (*session)->request("$SYS.REQ.ACCOUNT." + key + ".CLAIMS.LOOKUP", "", values.duration("timeout"));
  if (!reply) return fail(context.program, reply.error());
  if (reply->payload.empty()) return fail(context.program, "did not receive a valid token from the server");
  auto claims = crypto::decode_account(reply->payload);
  if (!claims) return fail(context.program, claims.error());
  if (const std::string path = values.text("output"); !path.empty()) {
    if (Status written = replace_file(path, reply->payload); !written) return fail(context.program, written.error());
  }
  const StoredAccount account{claims->name.empty() ? key : claims->name, reply->payload, *claims, {}};
  print_line(account_text(account, nullptr));
  return 0;
}

std::vector<Flag> account_limit_flags() {
  std::vector<Flag> flags = {
      {"operator", "Operator hosting the account", Kind::Text, "NAME"},
      {"bearer", "Allows bearer tokens"},
      {"expiry", "How long this account should be valid for as a duration", Kind::Duration},
      {"jetstream", "Enables JetStream"},
      {"js-stream-size-required", "Requires Streams to have a maximum size declared"},
      {"js-cluster-traffic", "Sets the account used for JetStream cluster traffic", Kind::Text, "ACCOUNT"},
      {"tags", "Tags to assign to this Account", Kind::Text, "TAGS", "", "", true},
  };
  for (const NumberFlag& flag : number_flags()) flags.push_back({flag.name, flag.help, Kind::Text, "COUNT"});
  return flags;
}

}  // namespace

Command auth_account_command() {
  const Argument account{"account", "Account to act on", false};
  const Flag op{"operator", "Operator hosting the account", Kind::Text, "NAME"};
  Command group{"account", {"a", "acct", "act"}, "Manage NATS Accounts"};
  auto& parts = group.subcommands;
  auto add = account_limit_flags();
  add.push_back({"key", "The operator's signing key to sign the account with", Kind::Text, "KEY"});
  add.push_back({"defaults", "Accept default values without prompting"});
  parts.push_back(auth_part("add", {"create", "new"}, "Adds a new Account", {account}, std::move(add), run_stored_account_add));
  parts.push_back(auth_part("info", {"i", "show", "view"}, "Show Account information", {account},
                            {op, {"json,j", "Produce JSON output"}}, run_stored_account_info));
  auto edit = account_limit_flags();
  edit.push_back({"no-tags", "Tags to remove from this Account", Kind::Text, "TAGS", "", "", true});
  parts.push_back(auth_part("edit", {"update"}, "Edit Account settings", {account}, std::move(edit), run_stored_account_edit));
  parts.push_back(auth_part("ls", {"list"}, "List Accounts", {{"operator", "Operator to act on", false}},
                            {{"names", "Show just the Account names"}}, run_stored_account_list));
  parts.push_back(auth_part("push", {}, "Push the Account to the NATS Resolver", {account},
                            {op, {"show", "Show the Account JWT before pushing"}}, run_stored_account_push));
  parts.push_back(auth_part("query", {"pull"}, "Pull the Account from the NATS Resolver and view it",
                            {{"account", "Account to act on"}, {"output", "Saves the JWT to a file", false}}, {op}, run_stored_account_query));
  parts.push_back(auth_account_keys_command());
  for (Command& command : auth_account_share_commands()) parts.push_back(std::move(command));
  return group;
}

}  // namespace brokkr::cli
